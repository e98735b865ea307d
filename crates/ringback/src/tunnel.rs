//! The authenticated pipe to the public proxy, from a private proxy or from a client with a key.
//!
//! Proves to each end who the other one is, and carries octets. Whether that other one may come in
//! is not asked here: that is the switchboard's question, and the hello's. Handshakes have no limit
//! of their own: whoever starts one bounds the time up to the whole hello.

mod carrier;
mod framed;
pub mod inner;
pub mod ipsec;
#[cfg(feature = "quic")]
pub mod quic;
mod records;
mod talk;
pub mod tls;
#[cfg(feature = "quic")]
mod whole;

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use aws_lc_rs::signature::Ed25519KeyPair;
use ringback_proto::access_request::{Protocol, Sid};
use ringback_proto::switchboard::PublicKey;
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::sign::any_eddsa_type;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use thiserror::Error;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use crate::socket;
use crate::splice::Leg;

use records::Records;

pub use carrier::Carrier;
pub use framed::Framed;
pub use talk::Talk;
pub use tls::{Acceptor, Asks, Dialer, SERVER_NAME};
#[cfg(feature = "quic")]
pub use whole::Whole;

/// What a proxy, or a client with a key, proves with who it is.
#[derive(Clone)]
pub struct Identity {
    key: Arc<CertifiedKey>,
    /// The private key in DER (PKCS #8), for a daemon that proves it in our place.
    pkcs8: Arc<Zeroizing<Vec<u8>>>,
    public: PublicKey,
}

/// One tunnel, by the type of its security protocol. End of input without the other end having
/// said so is an error, never an end.
#[derive(Debug)]
pub enum Tunnel {
    /// TLS 1.3 with raw public keys.
    Tls(Box<tls::TlsTunnel>),
    /// TCP inside an association of IKEv2 and ESP.
    Ipsec(Box<ipsec::IpsecTunnel>),
    /// A stream of a QUIC connection.
    #[cfg(feature = "quic")]
    Quic(Box<Whole<quic::QuicTunnel>>),
}

/// Why a key cannot be used as an identity.
#[derive(Debug, Error)]
pub enum BadKey {
    /// Not PEM, or not labelled as a private key.
    #[error(
        "not a PEM file with one PRIVATE KEY; make one with `openssl genpkey -algorithm ed25519`"
    )]
    Pem,
    /// Not an Ed25519 key.
    #[error(
        "not an Ed25519 private key in PKCS #8; make one with `openssl genpkey -algorithm ed25519`"
    )]
    Ed25519,
    /// The system gave no randomness.
    #[error("no key could be made: the system gives no randomness")]
    Randomness,
}

/// Why there is no tunnel.
#[derive(Debug, Error)]
pub enum NoTunnel {
    /// The connection broke or the other end is not who it should be.
    #[error("the tunnel's handshake failed; see that each proxy has the other's public key")]
    Handshake(#[from] io::Error),
    /// The other end is no proxy of ours.
    #[error("the other end does not speak ringback/1; see that the port is a public proxy's")]
    Protocol,
}

impl NoTunnel {
    /// Whether the other end was reached and is not who it should be: dialing again is of no use.
    pub fn is_permanent(&self) -> bool {
        match self {
            // What TLS itself has refused comes as invalid data; anything else is the network's.
            Self::Handshake(fault) => fault.kind() == io::ErrorKind::InvalidData,
            Self::Protocol => true,
        }
    }
}

impl Identity {
    /// Makes a private key, as the PEM text to keep.
    pub fn generate() -> Result<Zeroizing<String>, BadKey> {
        let pair = Ed25519KeyPair::generate().map_err(|_| BadKey::Randomness)?;
        let der = pair.to_pkcs8v1().map_err(|_| BadKey::Randomness)?;
        Ok(Zeroizing::new(pem::encode(&pem::Pem::new("PRIVATE KEY", der.as_ref()))))
    }

    /// Reads a private key in PEM.
    pub fn from_pem(text: &str) -> Result<Self, BadKey> {
        let parsed = pem::parse(text).map_err(|_| BadKey::Pem)?;
        if parsed.tag() != "PRIVATE KEY" {
            return Err(BadKey::Pem);
        }
        Self::from_der(&Zeroizing::new(parsed.into_contents()))
    }

    /// Reads a private key in DER (PKCS #8).
    pub fn from_der(pkcs8: &[u8]) -> Result<Self, BadKey> {
        let key = any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8)).map_err(|_| BadKey::Ed25519)?;
        let spki = key.public_key().ok_or(BadKey::Ed25519)?;
        let public = PublicKey::parse(&spki).ok_or(BadKey::Ed25519)?;
        let certificate = vec![CertificateDer::from(spki.to_vec())];
        let pkcs8 = Arc::new(Zeroizing::new(pkcs8.to_vec()));
        Ok(Self { key: Arc::new(CertifiedKey::new(certificate, key)), pkcs8, public })
    }

    /// Signs what can be taken for nothing that TLS signs (RFC 8446, 4.4.3): no text that begins
    /// with 64 spaces.
    pub(crate) fn sign(&self, said: &[u8]) -> Option<Vec<u8>> {
        self.key.key.choose_scheme(&[SignatureScheme::ED25519])?.sign(said).ok()
    }

    /// Lends the private key out, for the daemon that proves it in IKE.
    pub(crate) fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The key that others know it by.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }
}

impl Tunnel {
    /// What it runs over.
    pub fn protocol(&self) -> Protocol {
        match self {
            Self::Tls(_) => Protocol::Tls,
            Self::Ipsec(_) => Protocol::Ipsec,
            #[cfg(feature = "quic")]
            Self::Quic(_) => Protocol::Quic,
        }
    }

    /// Who the other end has proved to be.
    pub fn peer(&self) -> &PublicKey {
        match self {
            Self::Tls(tunnel) => tunnel.peer(),
            Self::Ipsec(tunnel) => tunnel.peer(),
            #[cfg(feature = "quic")]
            Self::Quic(tunnel) => tunnel.stream().peer(),
        }
    }

    /// What only the two ends of this very tunnel know, bound to one session.
    pub fn exporter(&self, sid: &Sid) -> [u8; 32] {
        match self {
            Self::Tls(tunnel) => tunnel.exporter(sid),
            Self::Ipsec(tunnel) => tunnel.exporter(sid),
            #[cfg(feature = "quic")]
            Self::Quic(tunnel) => tunnel.stream().exporter(sid),
        }
    }

    /// Cuts the tunnel: the other end sees an error, never an end.
    pub fn reset(self) {
        // Fails only on a socket that is broken already.
        let _ = self.arm();
    }

    /// The TCP connection below, if there is one of its own.
    pub fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tls(tunnel) => Some(tunnel.records().stream()),
            Self::Ipsec(tunnel) => Some(tunnel.records().stream()),
            #[cfg(feature = "quic")]
            Self::Quic(_) => None,
        }
    }

    /// Registers its own TCP connection, if it has one, with the runtime that this is called on.
    fn move_here(&mut self) -> io::Result<()> {
        match self {
            Self::Tls(tunnel) => socket::move_here(tunnel.records_mut().stream_mut()),
            Self::Ipsec(tunnel) => socket::move_here(tunnel.records_mut().stream_mut()),
            // Its connection has a task of its own, wherever its streams are read.
            #[cfg(feature = "quic")]
            Self::Quic(_) => Ok(()),
        }
    }

    /// Which connection it is part of, if that was there before it, and may have died since.
    #[cfg(feature = "quic")]
    pub fn found(&self) -> Option<quic::Found> {
        match self {
            Self::Tls(_) | Self::Ipsec(_) => None,
            Self::Quic(tunnel) => tunnel.stream().found(),
        }
    }

    /// The other end is known by its hello to be no stranger any more.
    pub fn welcome(&self) {
        match self {
            Self::Tls(_) | Self::Ipsec(_) => {}
            #[cfg(feature = "quic")]
            Self::Quic(tunnel) => tunnel.stream().welcome(),
        }
    }

    /// The TCP connection of a session that passes TLS.
    fn passed(&mut self) -> io::Result<&mut Records> {
        match self {
            Self::Tls(tunnel) => Ok(tunnel.records_mut()),
            Self::Ipsec(_) => Err(io::ErrorKind::Unsupported.into()),
            #[cfg(feature = "quic")]
            Self::Quic(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// What one record has said and nobody has taken; empty at the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        match self {
            Self::Tls(tunnel) => Pin::new(tunnel.stream()).poll_fill_buf(cx),
            Self::Ipsec(tunnel) => tunnel.poll_fill(cx),
            #[cfg(feature = "quic")]
            Self::Quic(tunnel) => tunnel.poll_fill(cx),
        }
    }

    fn consume(&mut self, octets: usize) {
        match self {
            Self::Tls(tunnel) => Pin::new(tunnel.stream()).consume(octets),
            Self::Ipsec(tunnel) => tunnel.records_mut().consume(octets),
            #[cfg(feature = "quic")]
            Self::Quic(tunnel) => tunnel.consume(octets),
        }
    }

    /// Whether something else than records may come.
    fn be_exact(&mut self, exact: bool) {
        match self {
            Self::Tls(tunnel) => tunnel.records_mut().be_exact(exact),
            // No session of theirs is bare.
            Self::Ipsec(_) => {}
            #[cfg(feature = "quic")]
            Self::Quic(_) => {}
        }
    }

    /// Whether whole records have come, and what is next may be none.
    fn is_between(&self) -> bool {
        match self {
            Self::Tls(tunnel) => tunnel.records().is_between() && !tunnel.holds_back(),
            Self::Ipsec(_) => false,
            #[cfg(feature = "quic")]
            Self::Quic(_) => false,
        }
    }

    /// Whether all that was read of the TCP connection was taken.
    fn is_level(&self) -> bool {
        match self {
            Self::Tls(tunnel) => tunnel.records().is_level(),
            Self::Ipsec(_) => false,
            #[cfg(feature = "quic")]
            Self::Quic(_) => false,
        }
    }

    /// Whether octets were taken that have not left.
    fn holds_back(&self) -> bool {
        match self {
            Self::Tls(tunnel) => tunnel.holds_back(),
            Self::Ipsec(tunnel) => tunnel.holds_back(),
            #[cfg(feature = "quic")]
            Self::Quic(tunnel) => tunnel.holds_back(),
        }
    }

    fn writing(&mut self) -> Pin<&mut (dyn AsyncWrite + Unpin)> {
        Pin::new(match self {
            Self::Tls(tunnel) => tunnel.stream(),
            Self::Ipsec(tunnel) => &mut **tunnel,
            #[cfg(feature = "quic")]
            Self::Quic(tunnel) => &mut **tunnel,
        })
    }
}

impl From<ipsec::IpsecTunnel> for Tunnel {
    fn from(tunnel: ipsec::IpsecTunnel) -> Self {
        Self::Ipsec(Box::new(tunnel))
    }
}

impl Leg for Tunnel {
    fn arm(&self) -> io::Result<()> {
        match self {
            Self::Tls(tunnel) => socket::arm(tunnel.records().stream()),
            Self::Ipsec(tunnel) => socket::arm(tunnel.records().stream()),
            #[cfg(feature = "quic")]
            Self::Quic(tunnel) => tunnel.stream().arm(true),
        }
    }

    fn disarm(&self) -> io::Result<()> {
        match self {
            Self::Tls(tunnel) => socket::disarm(tunnel.records().stream()),
            Self::Ipsec(tunnel) => socket::disarm(tunnel.records().stream()),
            #[cfg(feature = "quic")]
            Self::Quic(tunnel) => tunnel.stream().arm(false),
        }
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(tunnel) => Pin::new(tunnel.stream()).poll_read(cx, buffer),
            Self::Ipsec(tunnel) => Pin::new(&mut **tunnel).poll_read(cx, buffer),
            #[cfg(feature = "quic")]
            Self::Quic(tunnel) => Pin::new(&mut **tunnel).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().writing().poll_write(cx, octets)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().writing().poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().writing().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().writing().poll_shutdown(cx)
    }
}

/// Shows the public key only.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.public).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8410, 10.3 and 10.1.
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PUBLIC KEY-----\n";

    #[test]
    fn the_key_of_the_specification_has_the_public_key_of_the_specification() {
        let identity = Identity::from_pem(PRIVATE).unwrap();
        let public = PublicKey::parse(pem::parse(PUBLIC).unwrap().contents()).unwrap();
        assert_eq!(*identity.public_key(), public);
    }

    #[test]
    fn a_generated_key_reads_back_and_is_another_each_time() {
        let (one, other) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let public = |text: &str| *Identity::from_pem(text).unwrap().public_key();
        assert_ne!(public(&one), public(&other));
        assert_eq!(public(&one), public(&one));
    }

    #[test]
    fn what_is_no_ed25519_private_key_is_no_identity() {
        assert!(matches!(Identity::from_pem("nothing"), Err(BadKey::Pem)));
        assert!(matches!(Identity::from_pem(PUBLIC), Err(BadKey::Pem)));
        assert!(matches!(Identity::from_der(&[0x30, 0]), Err(BadKey::Ed25519)));
    }
}
