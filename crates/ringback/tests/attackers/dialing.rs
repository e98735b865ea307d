//! Whoever dials the public proxy back without being the private proxy that was rung.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use ringback::tunnel::SERVER_NAME;
use ringback_lab::addresses;
use ringback_proto::access_request::{SessionKeys, Sid};
use ringback_proto::hello::{EXPORTER_LABEL, HELLO_OCTETS, Hello, Outcome, confirm_private};
use ringback_proto::secret::Secret;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group, sign::any_eddsa_type};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme, version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::order::{Dial, tell};

/// How long an answer may take. Whoever is let in would hear it in a few milliseconds.
const SOON: Duration = Duration::from_secs(2);

impl Dial {
    /// Everything right: what only the private proxy can say.
    pub(crate) fn honest(keys: &SessionKeys) -> Self {
        Self {
            identity: Some("private.key".into()),
            sid: keys.sid.0,
            key: *keys.confirm_private.expose(),
            protocol: Some("ringback/1".into()),
            tls12: false,
            octets: HELLO_OCTETS,
        }
    }
}

/// Dials as each, one after another, and tells all that each hears.
pub(crate) async fn dial_all(dials: &[Dial]) -> Result<()> {
    for each in dials {
        tell("dialed", &dial(each).await?);
    }
    Ok(())
}

/// Dials, says its hello, and returns all that it hears.
async fn dial(dial: &Dial) -> Result<Vec<u8>> {
    let stream = TcpStream::connect((addresses::PUBLIC, 7443)).await?;
    let connector = TlsConnector::from(Arc::new(config(dial)?));
    let name = ServerName::try_from(SERVER_NAME)?;
    let Ok(mut tunnel) = connector.connect(name, stream).await else {
        return Ok(Vec::new());
    };
    let sid = Sid(dial.sid);
    let session = tunnel.get_ref().1;
    let exporter = session.export_keying_material([0; 32], EXPORTER_LABEL, Some(&sid.0));
    let hello = hello(dial, &exporter.unwrap_or_default());
    let mut heard = Vec::new();
    let exchanged = async {
        tunnel.write_all(&hello[..dial.octets]).await?;
        if dial.octets < HELLO_OCTETS {
            tunnel.shutdown().await?;
        }
        tunnel.flush().await?;
        tunnel.read_to_end(&mut heard).await
    };
    // Whether it was ended in order, cut or left waiting does not matter: what was said does.
    let _ = timeout(SOON, exchanged).await;
    Ok(heard)
}

fn hello(dial: &Dial, exporter: &[u8; 32]) -> [u8; HELLO_OCTETS] {
    let (sid, unused) = (Sid(dial.sid), Secret::new([0; 32]));
    let keys = SessionKeys {
        sid,
        psk: unused.clone(),
        confirm_private: Secret::new(dial.key),
        confirm_public: unused,
    };
    let mac = confirm_private(&keys, exporter);
    Hello { sid, mac, outcome: Outcome::Connected, bare: false }.encode()
}

fn config(dial: &Dial) -> Result<ClientConfig> {
    let kx_groups = vec![kx_group::X25519MLKEM768, kx_group::X25519];
    let provider = CryptoProvider { kx_groups, ..default_provider() };
    let version = if dial.tls12 { &version::TLS12 } else { &version::TLS13 };
    let key = Arc::new(identity(dial.identity.as_deref())?);
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Gullible))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(key)));
    config.alpn_protocols = dial.protocol.iter().map(|it| it.clone().into_bytes()).collect();
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn identity(file: Option<&str>) -> Result<CertifiedKey> {
    let text = match file {
        Some(file) => std::fs::read_to_string(file)?,
        None => ringback::tunnel::Identity::generate()?.to_string(),
    };
    let der = pem::parse(text)?.into_contents();
    let key = any_eddsa_type(&PrivatePkcs8KeyDer::from(der.as_slice()))?;
    let spki = key.public_key().context("no Ed25519 key")?.to_vec();
    Ok(CertifiedKey::new(vec![CertificateDer::from(spki)], key))
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
