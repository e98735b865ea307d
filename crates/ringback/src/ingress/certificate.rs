//! Whom a client's certificate is for: the first of its names that can name a client.
//!
//! Reads certificates that have been verified, and judges none. The subject's common name is not
//! looked at (RFC 9525, 2), and a URI is never a client's name: it has a colon.

use ringback_proto::gate::{Identity, NoIdentity};

use crate::keys::{hex, sha256};

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;
/// The extensions of a certificate (RFC 5280, 4.1).
const EXTENSIONS: u8 = 0xa3;
/// 2.5.29.17, the subject's alternative names (RFC 5280, 4.2.1.6), and two kinds of them.
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
const MAIL: u8 = 0x81;
const DNS: u8 = 0x82;

/// Its first DNS name or mail address that fits, or else its fingerprint.
pub(super) fn identity(certificate: &[u8]) -> Result<Identity, NoIdentity> {
    let names = alternative_names(certificate).into_iter().flatten();
    let named = names.filter(|(tag, _)| matches!(*tag, MAIL | DNS)).find_map(|(_, name)| {
        std::str::from_utf8(name).ok().and_then(|it| Identity::parse(it).ok())
    });
    named.map_or_else(|| fingerprint(certificate), Ok)
}

/// As many digits of SHA-256 as a client's name has room for.
fn fingerprint(certificate: &[u8]) -> Result<Identity, NoIdentity> {
    Identity::parse(&format!("sha256-{}", hex(&sha256(certificate)[..28])))
}

fn alternative_names(certificate: &[u8]) -> Option<Elements<'_>> {
    let whole = Elements(certificate).content(SEQUENCE)?;
    let signed = Elements(whole).content(SEQUENCE)?;
    let extensions = Elements(Elements(signed).content(EXTENSIONS)?).content(SEQUENCE)?;
    let names = Elements(extensions).find_map(|(_, extension)| {
        let of = Elements(extension).content(OBJECT_IDENTIFIER)?;
        if of != ALTERNATIVE_NAMES {
            return None;
        }
        Elements(extension).content(OCTET_STRING)
    })?;
    Some(Elements(Elements(names).content(SEQUENCE)?))
}

/// The elements of a DER value one after another, each with its tag; ends where it is no DER.
struct Elements<'d>(&'d [u8]);

impl<'d> Elements<'d> {
    /// The content of the first element of this tag.
    fn content(mut self, tag: u8) -> Option<&'d [u8]> {
        self.find(|(it, _)| *it == tag).map(|(_, content)| content)
    }
}

impl<'d> Iterator for Elements<'d> {
    type Item = (u8, &'d [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let &[tag, length, ref rest @ ..] = self.0 else { return None };
        let (length, rest) = if length < 0x80 {
            (usize::from(length), rest)
        } else {
            let octets = usize::from(length & 0x7f);
            let (length, rest) = rest.split_at_checked(octets).filter(|_| octets <= 3)?;
            (length.iter().fold(0, |sum, it| sum << 8 | usize::from(*it)), rest)
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    #[test]
    fn a_client_is_called_by_the_first_name_that_fits() {
        let (dns, mail, uri) = (
            SanType::DnsName("lee.clinic.example".try_into().unwrap()),
            SanType::Rfc822Name("lee@clinic.example".try_into().unwrap()),
            SanType::URI("urn:clinic:lee".try_into().unwrap()),
        );
        let long = SanType::DnsName(["a".repeat(60), "b".repeat(60)].join(".").try_into().unwrap());
        for (names, called) in [
            (vec![dns.clone(), mail.clone()], "lee.clinic.example"),
            (vec![mail.clone(), dns.clone()], "lee@clinic.example"),
            (vec![uri.clone(), long.clone(), dns], "lee.clinic.example"),
        ] {
            assert_eq!(identity(&certificate(names)).unwrap().as_str(), called);
        }
        for names in [vec![uri, long], vec![]] {
            let certificate = certificate(names);
            let called = identity(&certificate).unwrap();
            assert!(called.as_str().starts_with("sha256-") && called.as_str().len() == 63);
            assert_eq!(called, identity(&certificate).unwrap());
        }
    }

    #[test]
    fn a_broken_certificate_is_read_without_harm() {
        let whole = certificate(vec![SanType::DnsName("lee.example".try_into().unwrap())]);
        for length in 0..whole.len() {
            let _ = identity(&whole[..length]);
        }
        for place in 0..whole.len() {
            let mut broken = whole.clone();
            broken[place] ^= 0xff;
            let _ = identity(&broken);
        }
    }

    fn certificate(names: Vec<SanType>) -> Vec<u8> {
        let mut wanted = CertificateParams::default();
        wanted.subject_alt_names = names;
        let key = KeyPair::generate().unwrap();
        wanted.self_signed(&key).unwrap().der().to_vec()
    }
}
