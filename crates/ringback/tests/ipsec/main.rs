//! Tunnels over IPsec, by Debian's strongSwan in both proxies' places, across a symmetric NAT
//! (map: `ringback-lab`). Every charon is one that a proxy of ours runs, in its own network.

#[path = "../field/mod.rs"]
mod field;

mod charon;
mod faults;
mod figures;
mod orphans;
mod policy;
mod scene;
mod sharing;
mod stories;
