//! A tunnel over TLS 1.3: raw public keys both ways (RFC 7250), hybrid key exchange, no resumption.
//!
//! The public proxy is the server. It lets any Ed25519 key finish the handshake that proves to
//! hold its private half; whoever dials accepts one key only, the one it dials for.

use std::fmt;
use std::sync::{Arc, LazyLock};

use ringback_proto::access_request::Sid;
use ringback_proto::hello::EXPORTER_LABEL;
use ringback_proto::switchboard::PublicKey;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::crypto::{CryptoProvider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, CommonState, DigitallySignedStruct,
    DistinguishedName, Error, PeerIncompatible, ServerConfig, ServerConnection, SignatureScheme,
    version,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::records::Records;
use super::{Identity, NoTunnel, Tunnel};
use crate::limits::SEALED_OCTETS;
use crate::socket;

/// Octets that TLS takes before it blocks: a session's at once, and what stands before them.
const HELD_OCTETS: usize = SEALED_OCTETS + 64;

/// The server name that everybody gives who dials: it tells them from a terminal's own clients on a
/// shared port, and says nothing to whoever listens on the way.
pub const SERVER_NAME: &str = "ringback.invalid";

/// What whoever dials wants of the public proxy, as told by ALPN (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// A private proxy dials back.
    DialBack,
    /// A client comes by `ringback connect`.
    Client,
    /// A private proxy redeems its one-time code.
    Enrolment,
}

/// A TLS 1.3 connection whose other end has proved a key.
pub struct TlsTunnel {
    stream: TlsStream<Records>,
    peer: PublicKey,
}

/// The public proxy's end: turns connections into tunnels.
#[derive(Clone)]
pub struct Acceptor(TlsAcceptor);

/// The end of whoever dials: turns connections into tunnels.
#[derive(Clone, Debug)]
pub struct Dialer(Identity);

impl Acceptor {
    /// Accepts as the public proxy of this identity.
    pub fn new(identity: &Identity) -> Self {
        Self(TlsAcceptor::from(Arc::new(server_config(identity))))
    }

    /// Shakes hands with whoever has dialed.
    pub async fn accept(&self, stream: TcpStream) -> Result<(Asks, Tunnel), NoTunnel> {
        socket::tune(&stream)?;
        let hold_back = |it: &mut ServerConnection| it.set_buffer_limit(Some(HELD_OCTETS));
        let accepted = self.0.accept_with(Records::new(stream), hold_back).await?;
        TlsTunnel::finish(accepted.into())
    }
}

impl Dialer {
    /// Dials as whoever has this identity.
    pub fn new(identity: Identity) -> Self {
        Self(identity)
    }

    /// Shakes hands with the public proxy of this key, and with no other. That the public proxy has
    /// accepted *our* key shows only in what it sends: in TLS 1.3 a client's handshake ends first.
    pub async fn dial(
        &self,
        stream: TcpStream,
        server: &PublicKey,
        asks: Asks,
    ) -> Result<Tunnel, NoTunnel> {
        socket::tune(&stream)?;
        let config = client_config(&self.0, server, asks);
        let name = ServerName::try_from(SERVER_NAME).expect("the server name is a host name");
        let hold_back = |it: &mut ClientConnection| it.set_buffer_limit(Some(HELD_OCTETS));
        let dialing = TlsConnector::from(Arc::new(config));
        let stream = dialing.connect_with(name, Records::new(stream), hold_back).await?;
        let (asked, tunnel) = TlsTunnel::finish(stream.into())?;
        if asked != asks {
            return Err(NoTunnel::Protocol);
        }
        Ok(tunnel)
    }
}

impl Asks {
    const ALL: [Self; 3] = [Self::DialBack, Self::Client, Self::Enrolment];

    pub(super) fn protocol(self) -> &'static [u8] {
        match self {
            Self::DialBack => b"ringback/1",
            Self::Client => b"ringback-client/1",
            Self::Enrolment => b"ringback-enrol/1",
        }
    }
}

impl TlsTunnel {
    fn finish(mut stream: TlsStream<Records>) -> Result<(Asks, Tunnel), NoTunnel> {
        let (_, session) = stream.get_ref();
        let (asks, peer) = peer(session).ok_or(NoTunnel::Protocol)?;
        // Only what a private proxy has dialed is ever bare.
        stream.get_mut().0.be_exact(asks == Asks::DialBack);
        Ok((asks, Tunnel::Tls(Box::new(Self { stream, peer }))))
    }

    pub(super) fn peer(&self) -> &PublicKey {
        &self.peer
    }

    pub(super) fn exporter(&self, sid: &Sid) -> [u8; 32] {
        let (label, context) = (EXPORTER_LABEL, Some(&sid.0[..]));
        let exported = match &self.stream {
            TlsStream::Client(it) => it.get_ref().1.export_keying_material([0; 32], label, context),
            TlsStream::Server(it) => it.get_ref().1.export_keying_material([0; 32], label, context),
        };
        exported.expect("the handshake is complete and 32 octets can be exported")
    }

    pub(super) fn records(&self) -> &Records {
        self.stream.get_ref().0
    }

    pub(super) fn records_mut(&mut self) -> &mut Records {
        self.stream.get_mut().0
    }

    pub(super) fn stream(&mut self) -> &mut TlsStream<Records> {
        &mut self.stream
    }

    /// Whether octets that TLS has taken have not left.
    pub(super) fn holds_back(&self) -> bool {
        self.stream.get_ref().1.wants_write()
    }
}

/// The other end's key, if it speaks our protocol: rustls lets a peer without any ALPN through.
fn peer(session: &CommonState) -> Option<(Asks, PublicKey)> {
    let protocol = session.alpn_protocol()?;
    let asks = Asks::ALL.into_iter().find(|it| it.protocol() == protocol)?;
    let [key] = session.peer_certificates()? else { return None };
    Some((asks, PublicKey::parse(key)?))
}

/// Whoever dials the public proxy of this key, and no other.
pub(super) fn client_config(identity: &Identity, server: &PublicKey, asks: Asks) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])
        .expect("the provider has suites and a group for TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Only(*server, provider())))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(
            identity.key.clone(),
        )));
    config.alpn_protocols = vec![asks.protocol().to_vec()];
    config.resumption = Resumption::disabled();
    config
}

pub(super) fn server_config(identity: &Identity) -> ServerConfig {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])
        .expect("the provider has suites and a group for TLS 1.3")
        .with_client_cert_verifier(Arc::new(Anyone(provider())))
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(identity.key.clone())));
    config.alpn_protocols = Asks::ALL.map(|it| it.protocol().to_vec()).into();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config
}

/// One for all tunnels: each connection keeps it.
pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        let kx_groups = vec![kx_group::X25519MLKEM768];
        Arc::new(CryptoProvider { kx_groups, ..default_provider() })
    });
    PROVIDER.clone()
}

/// Accepts every Ed25519 key that is proved.
#[derive(Debug)]
pub(super) struct Anyone(pub(super) Arc<CryptoProvider>);

/// Accepts one key.
#[derive(Debug)]
pub(super) struct Only(pub(super) PublicKey, pub(super) Arc<CryptoProvider>);

impl ClientCertVerifier for Anyone {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        key: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let Some(_) = PublicKey::parse(key) else {
            return Err(CertificateError::BadEncoding.into());
        };
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify(&self.0, message, key, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ServerCertVerifier for Only {
    fn verify_server_cert(
        &self,
        key: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if key.as_ref() != self.0.0 {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify(&self.1, message, key, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

fn verify(
    provider: &CryptoProvider,
    message: &[u8],
    key: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let key = SubjectPublicKeyInfoDer::from(key.as_ref());
    let algorithms = &provider.signature_verification_algorithms;
    verify_tls13_signature_with_raw_key(message, &key, signed, algorithms)
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Acceptor")
    }
}

impl fmt::Debug for TlsTunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsTunnel").field("peer", &self.peer).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn there_is_no_tunnel_that_does_not_encrypt() {
        // A further type of tunnel must be weighed here before this compiles again.
        let encrypts = |tunnel: &Tunnel| match tunnel {
            Tunnel::Tls(_) | Tunnel::Ipsec(_) => true,
            #[cfg(feature = "quic")]
            Tunnel::Quic(_) => true,
        };
        let _ = encrypts;
        let suites: Vec<_> = provider().cipher_suites.iter().filter_map(|it| it.tls13()).collect();
        let names = suites.iter().map(|it| it.common.suite).collect::<Vec<_>>();
        use rustls::CipherSuite::{
            TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
        };
        let known =
            [TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256];
        assert!(!names.is_empty() && names.iter().all(|it| known.contains(it)), "{names:?}");
        let groups = provider().kx_groups.iter().map(|it| it.name()).collect::<Vec<_>>();
        assert_eq!(groups, [rustls::NamedGroup::X25519MLKEM768]);
    }

    #[tokio::test]
    async fn a_server_that_does_not_speak_our_protocol_is_not_believed() {
        let identity = Identity::from_pem(&Identity::generate().unwrap()).unwrap();
        let mut config = server_config(&identity);
        config.alpn_protocols.clear();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dialed = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let dialer = Dialer::new(identity.clone());
        let (tunnel, _) = tokio::join!(
            dialer.dial(dialed, identity.public_key(), Asks::DialBack),
            TlsAcceptor::from(Arc::new(config)).accept(accepted)
        );
        assert!(matches!(tunnel, Err(NoTunnel::Protocol)), "{tunnel:?}");
    }
}
