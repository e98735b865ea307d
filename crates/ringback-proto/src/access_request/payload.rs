//! The sealed payload: the fields of an access request as octets, each in its only form.
//!
//! Whatever is read here would be written back alike, to the octet; there is nothing to negotiate
//! and nothing to skip.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use zeroize::Zeroizing;

use super::{AccessRequest, Purpose, TunnelType};
use crate::secret::Secret;
use crate::terminal::{CallNumber, Callee, MailAddress, ServiceId};

/// What the payload of a signal may measure: with a call number, then with ever longer mail
/// addresses.
pub(super) const LENGTHS: [usize; 6] = [FIXED, BLOCK, 2 * BLOCK, 3 * BLOCK, 4 * BLOCK, 5 * BLOCK];

const FIXED: usize = 56;
const BLOCK: usize = 64;
const NO_NUMBER: [u8; 8] = [0xff; 8];
const MAIL_ADDRESS: u8 = 1;

/// Writes the fields, sound or not; whoever seals them reads them back first.
pub(super) fn write(request: &AccessRequest) -> Zeroizing<Vec<u8>> {
    let mut octets = Zeroizing::new(Vec::with_capacity(5 * BLOCK));
    octets.extend([request.purpose as u8, request.tunnel as u8]);
    octets.extend(request.seq.to_be_bytes());
    octets.extend(request.issued.to_be_bytes());
    octets.extend(request.ttl_seconds.to_be_bytes());
    octets.extend(request.service.0.to_be_bytes());
    octets.extend(request.public_proxy.port().to_be_bytes());
    octets.extend(match request.public_proxy.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    });
    octets.extend(match &request.callee {
        Callee::Number(number) => write_number(number),
        Callee::Mail(_) => NO_NUMBER,
    });
    octets.extend(request.key.expose());

    if let Callee::Mail(address) = &request.callee {
        let address = address.as_str().as_bytes();
        // An address has at most 254 octets, so its length fits one.
        octets.extend([MAIL_ADDRESS, address.len() as u8]);
        octets.extend(address);
        let padded = octets.len().next_multiple_of(BLOCK);
        octets.resize(padded, 0);
    }
    octets
}

/// Reads the fields, or names the first one that is out of its range or not in its only form.
pub(super) fn read(octets: &[u8]) -> Result<AccessRequest, &'static str> {
    let rest = &mut &*octets;
    let [purpose, tunnel] = take(rest)?;
    let purpose = match purpose {
        1 => Purpose::Access,
        2 => Purpose::Cancel,
        3 => Purpose::Probe,
        _ => return Err("message type"),
    };
    let tunnel = match tunnel {
        1 => TunnelType::Tls,
        3 => TunnelType::Ipsec,
        4 => TunnelType::Quic,
        5 => TunnelType::IpsecOrTls,
        _ => return Err("tunnel type"),
    };
    let seq = u32::from_be_bytes(take(rest)?);
    let issued = u32::from_be_bytes(take(rest)?);
    let ttl_seconds = u16::from_be_bytes(take(rest)?);
    if !(1..=3600).contains(&ttl_seconds) {
        return Err("time to live");
    }
    let service = ServiceId(u16::from_be_bytes(take(rest)?));
    let port = u16::from_be_bytes(take(rest)?);
    if port == 0 {
        return Err("port");
    }
    let public_proxy = SocketAddr::new(read_address(take(rest)?)?, port);
    let number: [u8; 8] = take(rest)?;
    let key = Secret::new(take(rest)?);
    let callee = if number == NO_NUMBER { read_mail(rest)? } else { read_number(number)? };

    let request = AccessRequest {
        purpose,
        tunnel,
        seq,
        issued,
        ttl_seconds,
        service,
        public_proxy,
        callee,
        key,
    };
    // Catches all that has a second form: padding, octets left over, the nibbles after a number.
    if *write(&request) != octets { Err("form") } else { Ok(request) }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], &'static str> {
    let (head, tail) = rest.split_first_chunk().ok_or("length")?;
    *rest = tail;
    Ok(*head)
}

/// A v4 address has one form only, the mapped one: neither the long gone `::a.b.c.d` (RFC 4291,
/// 2.5.5.1) nor an address that means every address is one to dial back to.
fn read_address(octets: [u8; 16]) -> Result<IpAddr, &'static str> {
    let address = Ipv6Addr::from(octets);
    match address.to_ipv4_mapped() {
        Some(Ipv4Addr::UNSPECIFIED) => Err("address"),
        Some(address) => Ok(address.into()),
        None if octets[..12] == [0; 12] && address != Ipv6Addr::LOCALHOST => Err("address"),
        None => Ok(address.into()),
    }
}

/// A nibble with the number of digits, then the digits, then F to the end.
fn write_number(number: &CallNumber) -> [u8; 8] {
    let digits = number.digits().as_bytes();
    let mut nibbles = [0xf; 16];
    nibbles[0] = digits.len() as u8;
    for (nibble, digit) in nibbles[1..].iter_mut().zip(digits) {
        *nibble = digit - b'0';
    }
    std::array::from_fn(|at| nibbles[2 * at] << 4 | nibbles[2 * at + 1])
}

fn read_number(octets: [u8; 8]) -> Result<Callee, &'static str> {
    let mut nibbles = octets.iter().flat_map(|octet| [octet >> 4, octet & 0xf]);
    let count = nibbles.next().unwrap_or(0);
    let digits = nibbles.take(count.into()).map(|it| char::from_digit(it.into(), 10));
    let text: Option<String> = std::iter::once(Some('+')).chain(digits).collect();
    let number = text.and_then(|it| CallNumber::parse(&it).ok()).ok_or("call number")?;
    Ok(Callee::Number(number))
}

fn read_mail(rest: &[u8]) -> Result<Callee, &'static str> {
    let [MAIL_ADDRESS, length, after @ ..] = rest else { return Err("mail address") };
    let address = after.get(..usize::from(*length)).and_then(|it| std::str::from_utf8(it).ok());
    let address = address.and_then(|it| MailAddress::parse(it).ok()).ok_or("mail address")?;
    Ok(Callee::Mail(address))
}
