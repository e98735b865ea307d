//! Networks out of namespaces, with an operator's real NAT and firewall. Linux only.
//!
//! It knows no role and no protocol of ours, keeps no name on disk and contains no unsafe code: it
//! runs the binaries an operator would (`ip`, `nft`, `conntrack`), as root or as an ordinary user.

pub mod addresses;
mod cable;
mod gateway;
mod host;
mod lab;
mod limits;
mod terminal;

pub use cable::Cable;
pub use gateway::Gateway;
pub use host::Host;
pub use lab::{Lab, Plan};
pub use terminal::Terminal;
