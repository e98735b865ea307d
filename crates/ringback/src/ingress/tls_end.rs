//! The end of a service's TLS, where it is here and not at the terminal: its certificate, and whose
//! client certificates it asks for.
//!
//! No session is resumed, so that each connection is judged anew. No revocation list is read: a
//! client is shut out by `clients_allowed` or by another authority.

use std::fmt;
use std::io;
use std::sync::Arc;

use ringback_proto::gate::Identity;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::{ClientStream, certificate, refuse};
use crate::limits;

/// One service's end of TLS.
#[derive(Clone)]
pub struct TlsEnd(TlsAcceptor);

/// What a service shows of itself: its certificate with those that lead to its authority, and the
/// key of the first.
#[derive(Debug)]
pub struct Shows {
    /// The certificates.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key.
    pub key: PrivateKeyDer<'static>,
}

/// What a service asks its clients to show.
#[derive(Debug)]
pub struct Asks {
    /// Whose certificates count.
    pub roots: Vec<CertificateDer<'static>>,
    /// Who may come; empty for everybody whose certificate counts.
    pub allowed: Vec<Identity>,
}

impl TlsEnd {
    /// Ends TLS 1.2 and 1.3. Of HTTP only version 1 is agreed on; other protocols agree on nothing.
    pub fn new(shows: Shows, asks: Option<Asks>, http: bool) -> Result<Self, Error> {
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?;
        let config = match asks {
            Some(asks) => config.with_client_cert_verifier(Arc::new(Listed::new(asks)?)),
            None => config.with_no_client_auth(),
        };
        let mut config = config.with_single_cert(shows.chain, shows.key)?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        if http {
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
        }
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// Shakes hands; says who the client is, if its certificate was asked for. A client that cannot
    /// be agreed with hears an alert, and has been parted from when this returns.
    pub async fn open(&self, stream: TcpStream) -> io::Result<(ClientStream, Option<Identity>)> {
        let shaking = self.0.accept(stream).into_fallible();
        let shaken = timeout(limits::HANDSHAKE_PATIENCE, shaking).await;
        let stream = match shaken? {
            Ok(stream) => stream,
            Err((fault, stream)) => {
                refuse::part(stream.into(), Some(Vec::new())).await;
                return Err(fault);
            }
        };
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let identity = shown.map(|it| certificate::identity(it)).transpose();
        let identity = identity.map_err(io::Error::other)?;
        Ok((stream.into(), identity))
    }
}

/// Accepts what an authority has signed, and of that only who is listed.
#[derive(Debug)]
struct Listed {
    signed: Arc<dyn ClientCertVerifier>,
    allowed: Vec<Identity>,
}

impl Listed {
    fn new(asks: Asks) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        for root in asks.roots {
            roots.add(root)?;
        }
        let provider = Arc::new(default_provider());
        let signed = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let signed = signed.build().map_err(|fault| Error::General(fault.to_string()))?;
        Ok(Self { signed, allowed: asks.allowed })
    }
}

impl ClientCertVerifier for Listed {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.signed.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.signed.verify_client_cert(shown, between, now)?;
        let listed =
            || certificate::identity(shown).is_ok_and(|identity| self.allowed.contains(&identity));
        if self.allowed.is_empty() || listed() {
            return Ok(verified);
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed.verify_tls12_signature(message, shown, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed.verify_tls13_signature(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signed.supported_verify_schemes()
    }
}

impl fmt::Debug for TlsEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsEnd")
    }
}
