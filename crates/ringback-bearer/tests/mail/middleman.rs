//! Somebody between us and a server: strips what the server offers, or plays a server himself.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

/// Listens somewhere and notes what is said to him.
pub(crate) struct Middleman {
    pub(crate) port: u16,
    pub(crate) overheard: Arc<Mutex<Vec<u8>>>,
    /// Tells when somebody has hung up.
    pub(crate) gone: mpsc::UnboundedReceiver<()>,
}

/// Questions that begin so are answered so; what is not in it is not answered.
pub(crate) type Script = &'static [(&'static str, &'static str)];

impl Middleman {
    /// Passes on what both say, but takes the word STARTTLS out of the server's mouth.
    pub(crate) async fn strip(to: u16, tasks: &TaskTracker) -> Self {
        let (middleman, listener, gone) = Self::listen().await;
        let (overheard, own) = (middleman.overheard.clone(), tasks.clone());
        tasks.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await.unwrap();
                let (overheard, gone) = (overheard.clone(), gone.clone());
                own.spawn(async move {
                    strip(client, server, &overheard).await;
                    let _ = gone.send(());
                });
            }
        });
        middleman
    }

    /// Plays a server, with TLS from the first octet or without any.
    pub(crate) async fn play(
        greeting: &'static str,
        script: Script,
        tls: bool,
        tasks: &TaskTracker,
    ) -> Self {
        let (middleman, listener, gone) = Self::listen().await;
        let (overheard, own) = (middleman.overheard.clone(), tasks.clone());
        tasks.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (overheard, gone) = (overheard.clone(), gone.clone());
                own.spawn(async move {
                    if !tls {
                        play(client, greeting, script, &overheard).await;
                    } else if let Ok(client) = acceptor().accept(client).await {
                        play(client, greeting, script, &overheard).await;
                    }
                    let _ = gone.send(());
                });
            }
        });
        middleman
    }

    pub(crate) fn heard(&self, words: &str) -> usize {
        let overheard = self.overheard.lock().unwrap();
        overheard.windows(words.len()).filter(|it| *it == words.as_bytes()).count()
    }

    async fn listen() -> (Self, TcpListener, mpsc::UnboundedSender<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, gone) = mpsc::unbounded_channel();
        (Self { port, overheard: Arc::default(), gone }, listener, sender)
    }
}

async fn strip(client: TcpStream, server: TcpStream, overheard: &Mutex<Vec<u8>>) {
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let out = async {
        let mut octets = [0; 4096];
        while let Ok(count @ 1..) = from_client.read(&mut octets).await {
            overheard.lock().unwrap().extend(&octets[..count]);
            to_server.write_all(&octets[..count]).await.unwrap();
        }
    };
    let back = async {
        let mut octets = [0; 4096];
        while let Ok(count @ 1..) = from_server.read(&mut octets).await {
            let said = String::from_utf8_lossy(&octets[..count]).replace("STARTTLS", "XTARTTLS");
            if to_client.write_all(said.as_bytes()).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = out => {}
        () = back => {}
    }
}

async fn play(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    greeting: &str,
    script: Script,
    overheard: &Mutex<Vec<u8>>,
) {
    client.write_all(greeting.as_bytes()).await.unwrap();
    client.flush().await.unwrap();
    let (mut said, mut octets) = (String::new(), [0; 4096]);
    while let Ok(count @ 1..) = client.read(&mut octets).await {
        overheard.lock().unwrap().extend(&octets[..count]);
        said += &String::from_utf8_lossy(&octets[..count]);
        while let Some((line, rest)) = said.split_once('\n') {
            let (tag, _) = line.split_once(' ').unwrap_or((line, ""));
            let answer = script.iter().find(|(question, _)| line.contains(question));
            let answer = answer.map(|(_, answer)| {
                let flags = "* 9 FETCH (UID 9 FLAGS (\\Seen))\r\n".repeat(100);
                answer.replace("{tag}", tag).replace("{flags}", &flags)
            });
            said = rest.to_owned();
            let Some(answer) = answer else { continue };
            if answer.is_empty() {
                return;
            }
            if client.write_all(answer.as_bytes()).await.is_err() || client.flush().await.is_err() {
                return;
            }
        }
    }
}

fn acceptor() -> TlsAcceptor {
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers");
    let certificate = CertificateDer::from_pem_file(peers.join("center.cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(peers.join("center.key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}
