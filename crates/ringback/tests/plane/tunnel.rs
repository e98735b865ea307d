//! Who gets a tunnel, and how it ends.

use std::io::ErrorKind;
use std::sync::Arc;

use ringback::tunnel::{Asks, NoTunnel};
use ringback_proto::access_request::Sid;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, ResolvesClientCert};
use rustls::crypto::aws_lc_rs::{default_provider, kx_group, sign::any_eddsa_type};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use crate::loopback::{Proxies, identity, pair};

#[tokio::test]
async fn both_ends_know_each_other_and_share_what_nobody_else_knows() {
    let proxies = Proxies::new();
    let (private, public) = proxies.tunnel().await;
    assert_eq!(private.peer(), proxies.public.public_key());
    assert_eq!(public.peer(), proxies.private.public_key());

    let (one, other) = (Sid([1; 16]), Sid([2; 16]));
    assert_eq!(private.exporter(&one), public.exporter(&one));
    assert_ne!(private.exporter(&one), private.exporter(&other));
    let (another, _) = proxies.tunnel().await;
    assert_ne!(private.exporter(&one), another.exporter(&one));
}

#[tokio::test]
async fn a_private_proxy_dials_one_key_and_no_other() {
    let proxies = Proxies::new();
    let (dialed, accepted) = pair().await;
    let stranger = identity();
    let (tunnel, _) = tokio::join!(
        proxies.dialer.dial(dialed, stranger.public_key(), Asks::DialBack),
        proxies.acceptor.accept(accepted)
    );
    assert!(matches!(tunnel, Err(NoTunnel::Handshake(_))));
}

#[tokio::test]
async fn a_client_that_offers_less_than_all_of_it_gets_no_tunnel() {
    let proxies = Proxies::new();
    let good = Offer::default();
    assert!(accepted(&proxies, good.clone()).await, "the offer that the others are less than");
    for (offer, lacks) in [
        (Offer { protocol: None, ..good.clone() }, "ALPN"),
        (Offer { protocol: Some(b"h2"), ..good.clone() }, "our protocol"),
        (Offer { key: Key::None, ..good.clone() }, "a key"),
        (Offer { key: Key::Borrowed, ..good.clone() }, "the key's private half"),
        (Offer { group: kx_group::X25519, ..good.clone() }, "hybrid key exchange"),
        (Offer { version: &rustls::version::TLS12, ..good }, "TLS 1.3"),
    ] {
        assert!(!accepted(&proxies, offer).await, "accepted without {lacks}");
    }
}

#[tokio::test]
async fn an_end_is_an_end_only_if_it_was_said() {
    let proxies = Proxies::new();
    let mut octets = Vec::new();

    let (mut private, mut public) = proxies.tunnel().await;
    private.write_all(b"ab").await.unwrap();
    private.shutdown().await.unwrap();
    assert_eq!(public.read_to_end(&mut octets).await.unwrap(), 2);
    public.write_all(b"cd").await.unwrap();
    public.shutdown().await.unwrap();
    assert_eq!(private.read_to_end(&mut octets).await.unwrap(), 2, "the other direction is open");

    let (private, mut public) = proxies.tunnel().await;
    socket2::SockRef::from(private.tcp().unwrap()).shutdown(std::net::Shutdown::Write).unwrap();
    let cut = public.read_to_end(&mut octets).await.unwrap_err();
    assert_eq!(cut.kind(), ErrorKind::UnexpectedEof);

    let (private, mut public) = proxies.tunnel().await;
    private.reset();
    let cut = public.read_to_end(&mut octets).await.unwrap_err();
    assert_eq!(cut.kind(), ErrorKind::ConnectionReset);
}

#[derive(Clone)]
struct Offer {
    protocol: Option<&'static [u8]>,
    key: Key,
    group: &'static dyn SupportedKxGroup,
    version: &'static rustls::SupportedProtocolVersion,
}

#[derive(Clone, Copy)]
enum Key {
    Own,
    Borrowed,
    None,
}

impl Default for Offer {
    fn default() -> Self {
        let (protocol, key) = (Some(&b"ringback/1"[..]), Key::Own);
        Self { protocol, key, group: kx_group::X25519MLKEM768, version: &rustls::version::TLS13 }
    }
}

async fn accepted(proxies: &Proxies, offer: Offer) -> bool {
    let provider = CryptoProvider { kx_groups: vec![offer.group], ..default_provider() };
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[offer.version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Gullible));
    let mut config = match offer.key {
        Key::Own => builder.with_client_cert_resolver(resolver(identity_key())),
        Key::Borrowed => {
            let (mine, other) = (identity_key(), identity_key());
            builder.with_client_cert_resolver(resolver(CertifiedKey::new(other.cert, mine.key)))
        }
        Key::None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = offer.protocol.iter().map(|it| it.to_vec()).collect();
    let (dialed, accepted) = pair().await;
    let connector = TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("ringback.invalid").unwrap();
    let (tunnel, _) =
        tokio::join!(proxies.acceptor.accept(accepted), connector.connect(name, dialed));
    tunnel.is_ok()
}

fn resolver(key: CertifiedKey) -> Arc<dyn ResolvesClientCert> {
    Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::new(key)))
}

fn identity_key() -> CertifiedKey {
    let pair = aws_lc_rs::signature::Ed25519KeyPair::generate().unwrap();
    let der = pair.to_pkcs8v1().unwrap();
    let key = any_eddsa_type(&PrivatePkcs8KeyDer::from(der.as_ref())).unwrap();
    let spki = key.public_key().unwrap().to_vec();
    CertifiedKey::new(vec![CertificateDer::from(spki)], key)
}

/// Believes every server: only what the server believes is tested.
#[derive(Debug)]
struct Gullible;

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
