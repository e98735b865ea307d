//! The PROXY protocol's header, version 2: tells a service that reads it who its client is.
//!
//! Writes headers for TCP; reads none, and adds no TLV.

use std::net::{IpAddr, SocketAddr};

/// What every header starts with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const UNSPECIFIED: u8 = 0x00;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

/// The header to send before a session's first octet: the client's address and the service's, or
/// `LOCAL`, which says nothing, if the client's is not known. Addresses of two families are both
/// given as v6.
pub fn header(client: Option<SocketAddr>, service: SocketAddr) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    let Some(client) = client else {
        header.extend([LOCAL, UNSPECIFIED, 0, 0]);
        return header;
    };
    match (client.ip().to_canonical(), service.ip().to_canonical()) {
        (IpAddr::V4(client), IpAddr::V4(service)) => {
            header.extend([PROXY, TCP_OVER_IPV4, 0, 4 + 4 + 2 + 2]);
            header.extend(client.octets());
            header.extend(service.octets());
        }
        (client, service) => {
            header.extend([PROXY, TCP_OVER_IPV6, 0, 16 + 16 + 2 + 2]);
            header.extend(v6(client));
            header.extend(v6(service));
        }
    }
    header.extend(client.port().to_be_bytes());
    header.extend(service.port().to_be_bytes());
    header
}

fn v6(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The layout of the specification (haproxy, proxy-protocol.txt, 2.2), octet by octet.
    #[test]
    fn a_header_is_laid_out_as_the_specification_says() {
        let mut v4 = vec![0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];
        v4.extend([0x21, 0x11, 0x00, 0x0c]); // version 2, PROXY; AF_INET, STREAM; 12 octets
        v4.extend([192, 0, 2, 7, 10, 0, 0, 5]); // source, destination
        v4.extend([0x12, 0x67, 0x00, 0x50]); // source port 4711, destination port 80
        assert_eq!(header(address("192.0.2.7:4711"), service("10.0.0.5:80")), v4);
        assert_eq!(header(address("[::ffff:192.0.2.7]:4711"), service("10.0.0.5:80")), v4);

        let mut v6 = SIGNATURE.to_vec();
        v6.extend([0x21, 0x21, 0x00, 0x24]); // AF_INET6, STREAM; 36 octets
        v6.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        v6.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 5]);
        v6.extend([0x12, 0x67, 0x00, 0x50]);
        assert_eq!(header(address("[2001:db8::1]:4711"), service("10.0.0.5:80")), v6);
    }

    #[test]
    fn an_unknown_client_is_local() {
        assert_eq!(header(None, service("10.0.0.5:80"))[12..], [0x20, 0x00, 0x00, 0x00]);
    }

    fn address(text: &str) -> Option<SocketAddr> {
        Some(service(text))
    }

    fn service(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }
}
