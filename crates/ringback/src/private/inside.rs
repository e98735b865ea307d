//! Whether an address leads inside: to this machine, or by a translator to what is never dialed.
//!
//! Asked before the first packet, for addresses that only lie in a listed network; the dialer has
//! already refused what shows from the address alone. It sends nothing.

use std::io;
use std::net::{IpAddr, UdpSocket};

use ringback_proto::dialer::forbidden;
use ringback_proto::nat64::Prefix;
use rustix::io::Errno;

/// Why an address must not be dialed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inside {
    /// It is this machine's own.
    Own,
    /// The network's translator would turn it into one that is never dialed.
    Translated,
}

/// Whether the address that a signal names, or the one that it is translated to, leads inside. One
/// that cannot be told is an error: it is not dialed either.
pub(super) fn inside(
    named: IpAddr,
    dialed: IpAddr,
    translator: Option<Prefix>,
) -> io::Result<Option<Inside>> {
    if forbidden(named, translator).is_some() {
        return Ok(Some(Inside::Translated));
    }
    Ok((is_own(named)? || is_own(dialed)?).then_some(Inside::Own))
}

/// Only an own address can be bound to. That of a network's broadcast can be too, and is refused
/// with them.
fn is_own(address: IpAddr) -> io::Result<bool> {
    match UdpSocket::bind((address, 0)) {
        Ok(_) => Ok(true),
        Err(fault) if fault.kind() == io::ErrorKind::AddrNotAvailable => Ok(false),
        // Of a family that the system does not speak it has no address.
        Err(fault) if fault.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error()) => Ok(false),
        Err(fault) => Err(fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_own_address_is_own() {
        assert!(is_own("127.0.0.1".parse().unwrap()).unwrap());
        assert!(is_own("127.9.9.9".parse().unwrap()).unwrap());
        assert!(!is_own("203.0.113.250".parse().unwrap()).unwrap());
    }

    #[test]
    fn an_address_that_is_translated_to_the_inside_is_of_the_inside() {
        let translator = Prefix::parse("2001:db8:64:ff9b::/96").unwrap();
        let hidden = translator.embed("127.0.0.1".parse().unwrap()).into();
        assert_eq!(inside(hidden, hidden, Some(translator)).unwrap(), Some(Inside::Translated));
    }

    #[test]
    fn a_translator_inside_the_network_leads_out_of_it() {
        let (outside, own) = ("203.0.113.250".parse().unwrap(), "127.0.0.1".parse().unwrap());
        let translator = Prefix::parse("fd00:64::/96").unwrap();
        let dialed = translator.embed("203.0.113.250".parse().unwrap()).into();
        assert_eq!(inside(outside, dialed, Some(translator)).unwrap(), None);
        assert_eq!(inside(outside, own, None).unwrap(), Some(Inside::Own));
    }
}
