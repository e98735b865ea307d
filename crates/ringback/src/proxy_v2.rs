//! The PROXY protocol's header, version 2: tells a service that reads it who its client is.
//!
//! Writes headers for TCP; reads none. Its TLVs (`docs/protocol.md`) tell session, identity and level.

use std::net::{IpAddr, SocketAddr};

use ringback_proto::hello::{Caller, SessionId};

/// What every header starts with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const UNSPECIFIED: u8 = 0x00;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

const UNIQUE_ID: u8 = 0x05;
/// Of the range for applications' own use (0xE0 to 0xEF).
const IDENTITY: u8 = 0xe0;
const LEVEL: u8 = 0xe1;

/// The header to send before a session's first octet: the client's address and the service's, and
/// who the client is; or `LOCAL`, which says nothing, if the client's address is not known.
/// Addresses of two families are both given as v6.
pub fn header(session: SessionId, caller: &Caller, service: SocketAddr) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    let Some(client) = caller.address.address() else {
        header.extend([LOCAL, UNSPECIFIED, 0, 0]);
        return header;
    };
    let mut body = Vec::new();
    let family = match (client.ip().to_canonical(), service.ip().to_canonical()) {
        (IpAddr::V4(client), IpAddr::V4(service)) => {
            body.extend(client.octets());
            body.extend(service.octets());
            TCP_OVER_IPV4
        }
        (client, service) => {
            body.extend(v6(client));
            body.extend(v6(service));
            TCP_OVER_IPV6
        }
    };
    body.extend(client.port().to_be_bytes());
    body.extend(service.port().to_be_bytes());
    append(&mut body, UNIQUE_ID, &session.to_string());
    if let Some(identity) = &caller.identity {
        append(&mut body, IDENTITY, identity.as_str());
    }
    append(&mut body, LEVEL, caller.level.name());
    header.extend([PROXY, family]);
    header.extend((body.len() as u16).to_be_bytes());
    header.extend(body);
    header
}

/// Appends one TLV; none of ours is longer than an identity.
fn append(body: &mut Vec<u8>, kind: u8, value: &str) {
    body.push(kind);
    body.extend((value.len() as u16).to_be_bytes());
    body.extend(value.as_bytes());
}

fn v6(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

#[cfg(test)]
mod tests {
    use ringback_proto::gate::{Identity, Level};
    use ringback_proto::hello::ClientAddress;

    use super::*;

    /// The layout of the specification (haproxy, proxy-protocol.txt, 2.2), octet by octet.
    #[test]
    fn a_header_is_laid_out_as_the_specification_says() {
        let mut v4 = vec![0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];
        v4.extend([0x21, 0x11, 0x00, 0x2f]); // version 2, PROXY; AF_INET, STREAM; 47 octets
        v4.extend([192, 0, 2, 7, 10, 0, 0, 5]); // source, destination
        v4.extend([0x12, 0x67, 0x00, 0x50]); // source port 4711, destination port 80
        v4.extend(b"\x05\x00\x10000000000000beef");
        v4.extend(b"\xe0\x00\x06dr-lee");
        v4.extend(b"\xe1\x00\x04http");
        assert_eq!(of("192.0.2.7:4711", Some("dr-lee")), v4);
        assert_eq!(of("[::ffff:192.0.2.7]:4711", Some("dr-lee")), v4);

        let mut v6 = SIGNATURE.to_vec();
        v6.extend([0x21, 0x21, 0x00, 0x3e]); // AF_INET6, STREAM; 62 octets
        v6.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        v6.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 5]);
        v6.extend([0x12, 0x67, 0x00, 0x50]);
        v6.extend(b"\x05\x00\x10000000000000beef\xe1\x00\x04http");
        assert_eq!(of("[2001:db8::1]:4711", None), v6);
    }

    #[test]
    fn an_unknown_client_is_local() {
        let header = header(SessionId(1), &caller(ClientAddress::UNKNOWN, None), service());
        assert_eq!(header[12..], [0x20, 0x00, 0x00, 0x00]);
    }

    fn of(client: &str, identity: Option<&str>) -> Vec<u8> {
        let client: SocketAddr = client.parse().unwrap();
        header(SessionId(0xbeef), &caller(client.into(), identity), service())
    }

    fn caller(address: ClientAddress, identity: Option<&str>) -> Caller {
        let identity = identity.map(|it| Identity::parse(it).unwrap());
        Caller { address, level: Level::Http, identity }
    }

    fn service() -> SocketAddr {
        "10.0.0.5:80".parse().unwrap()
    }
}
