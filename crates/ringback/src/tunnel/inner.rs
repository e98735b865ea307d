//! The inner TLS 1.3, from the client to the private proxy: the public proxy carries it blindly.
//!
//! Each end lets in only keys that it was given; the client says which terminal and service it
//! means, and the private proxy aborts if that is not the one that was asked of it. Neither end
//! believes an end that the other has not said inside.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ringback_proto::gate::Identity as Name;
use ringback_proto::switchboard::PublicKey;
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, CommonState, DigitallySignedStruct,
    DistinguishedName, Error, ServerConfig, SignatureScheme, version,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::Identity;
use super::tls::{Anyone, Only, provider};
use crate::splice::Leg;

/// How the inner protocol is called in its handshake (RFC 7301).
const PROTOCOL: &[u8] = b"ringback-e2e/1";

/// A session's octets, end to end.
#[derive(Debug)]
pub struct Inner<C>(Box<TlsStream<C>>);

/// Shakes hands as the private proxy. A handshake that fails leaves the carrier behind, on which its
/// alert has been said.
pub async fn accept<C: Leg>(
    carrier: C,
    identity: &Identity,
    server_name: &str,
    clients: &[(Name, PublicKey)],
) -> Result<(Inner<C>, Name), (io::Error, C)> {
    let listed = Listed { anyone: Anyone(provider()), clients: clients.to_vec() };
    let exactly = Exactly { server_name: server_name.to_owned(), key: identity.key.clone() };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])
        .expect("the provider has suites and a group for TLS 1.3")
        .with_client_cert_verifier(Arc::new(listed))
        .with_cert_resolver(Arc::new(exactly));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    let accepted = TlsAcceptor::from(Arc::new(config)).accept(carrier).into_fallible().await?;
    let shown = peer(accepted.get_ref().1);
    let name = clients.iter().find(|(_, key)| Some(*key) == shown);
    match name {
        Some((name, _)) => Ok((Inner(Box::new(accepted.into())), name.clone())),
        None => Err((stranger(), accepted.into_inner().0)),
    }
}

/// Shakes hands as the client, with the terminal's key and no other. Whether the client was let in
/// shows only in what is read: in TLS 1.3 a client's handshake ends first.
pub async fn dial<C: Leg>(
    carrier: C,
    identity: &Identity,
    server_name: &str,
    terminal: &PublicKey,
) -> io::Result<Inner<C>> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])
        .expect("the provider has suites and a group for TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Only(*terminal, provider())))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(
            identity.key.clone(),
        )));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.resumption = Resumption::disabled();
    let name = ServerName::try_from(server_name.to_owned()).map_err(io::Error::other)?;
    let dialed = TlsConnector::from(Arc::new(config)).connect(name, carrier).await?;
    match peer(dialed.get_ref().1) {
        Some(shown) if shown == *terminal => Ok(Inner(Box::new(dialed.into()))),
        Some(_) | None => Err(stranger()),
    }
}

/// Whether the other end, whose key was proved, has said that it does not let us in.
pub fn is_denied(fault: &io::Error) -> bool {
    let inside = fault.get_ref().and_then(|it| it.downcast_ref::<Error>());
    inside == Some(&Error::AlertReceived(AlertDescription::AccessDenied))
}

/// The other end's key, if it speaks our protocol: rustls lets a peer without any ALPN through.
fn peer(session: &CommonState) -> Option<PublicKey> {
    let [key] = session.peer_certificates()? else { return None };
    PublicKey::parse(key).filter(|_| session.alpn_protocol() == Some(PROTOCOL))
}

fn stranger() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the other end does not speak ringback-e2e/1")
}

/// Shows the key to whoever names exactly this server, and to nobody else.
#[derive(Debug)]
struct Exactly {
    server_name: String,
    key: Arc<CertifiedKey>,
}

/// Accepts the keys of a list, proved.
#[derive(Debug)]
struct Listed {
    anyone: Anyone,
    clients: Vec<(Name, PublicKey)>,
}

impl ResolvesServerCert for Exactly {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        (hello.server_name() == Some(&self.server_name)).then(|| self.key.clone())
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Listed {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        key: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if !self.clients.iter().any(|(_, listed)| listed.0 == key.as_ref()) {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, Error> {
        self.anyone.verify_tls12_signature(message, key, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, Error> {
        self.anyone.verify_tls13_signature(message, key, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.anyone.supported_verify_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl<C> Inner<C> {
    /// What it was carried by.
    pub fn into_carrier(self) -> C {
        match *self.0 {
            TlsStream::Client(it) => it.into_inner().0,
            TlsStream::Server(it) => it.into_inner().0,
        }
    }
}

impl<C: Leg> Leg for Inner<C> {
    fn arm(&self) -> io::Result<()> {
        self.0.get_ref().0.arm()
    }

    fn disarm(&self) -> io::Result<()> {
        self.0.get_ref().0.disarm()
    }
}

impl<C: Leg> AsyncRead for Inner<C> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buffer)
    }
}

impl<C: Leg> AsyncWrite for Inner<C> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, octets)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}
