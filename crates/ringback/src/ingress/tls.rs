//! The terminal's name in a ClientHello (RFC 8446; server name: RFC 6066, 3).
//!
//! Reads it with rustls and ends nothing: the handshake is between the client and the service.

use ringback_proto::terminal::TerminalName;
use rustls::server::Acceptor;

use super::Cause;

/// The server name of a whole ClientHello, however many records and segments it came in.
pub(super) fn name(octets: &[u8]) -> Result<Option<TerminalName>, Cause> {
    let mut acceptor = Acceptor::default();
    let mut rest = octets;
    while !rest.is_empty() {
        acceptor.read_tls(&mut rest).map_err(|_| Cause::Malformed)?;
        let Some(accepted) = acceptor.accept().map_err(|_| Cause::Malformed)? else { continue };
        let hello = accepted.client_hello();
        let name = hello.server_name().ok_or(Cause::Nameless)?;
        return TerminalName::parse(name).map(Some).map_err(|_| Cause::Nameless);
    }
    Ok(None)
}
