//! One bearer, started.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ringback_bearer::mail::{Config, Mailbox, Security, Server, Submission};
use ringback_bearer::{Bearer, Body, Delivery, Health, Message, Receiver, Tls, Transmitter};
use ringback_proto::mail::account::Account;
use ringback_proto::terminal::{Callee, MailAddress};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::post::Post;
use crate::soon;

pub(crate) struct Party {
    pub(crate) transmitter: Transmitter,
    pub(crate) receiver: Receiver,
    pub(crate) health: Health,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Party {
    pub(crate) fn start(submission: Option<Submission>, mailbox: Option<Mailbox>) -> Self {
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let bearer = Bearer::Mail(Config { submission, mailbox });
        let (transmitter, receiver, health) = bearer.start(&tasks, shutdown.clone());
        Self { transmitter, receiver, health, tasks, shutdown }
    }

    /// Sends and waits for what becomes of it first.
    pub(crate) async fn ring(&self, message: Message) -> Delivery {
        soon(self.transmitter.ring(message).next()).await.unwrap()
    }

    /// The next text, without the white space around it.
    pub(crate) async fn hear(&mut self) -> String {
        let heard = soon(self.receiver.hear()).await.unwrap();
        assert_eq!(heard.to, "car-7");
        String::from_utf8(heard.octets).unwrap().trim().to_owned()
    }

    pub(crate) async fn end(self) {
        self.shutdown.cancel();
        self.tasks.close();
        soon(self.tasks.wait()).await;
    }
}

pub(crate) fn submission(port: u16, security: Security) -> Submission {
    let from = MailAddress::parse("proxy@operator.example").unwrap();
    let server = server(port, security);
    Submission { server, account: Account::new("proxy", "canary-of-mail"), from }
}

pub(crate) fn mailbox(post: &Post) -> Mailbox {
    mailbox_at(post, post.imaps, Security::Implicit)
}

pub(crate) fn mailbox_at(post: &Post, port: u16, security: Security) -> Mailbox {
    // Beside the post office's own folders, which belong to somebody else.
    mailbox_in(post.folder.path(), port, security)
}

pub(crate) fn mailbox_in(folder: &Path, port: u16, security: Security) -> Mailbox {
    let account = Account::new("car-7", "canary-of-mail").unwrap();
    Mailbox::new(server(port, security), account, folder.join("bookmarks"))
}

pub(crate) fn server(port: u16, security: Security) -> Server {
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers");
    let certificate = CertificateDer::from_pem_file(peers.join("center.cert.pem")).unwrap();
    Server {
        address: format!("localhost:{port}"),
        security,
        tls: trust(&[certificate], "localhost"),
    }
}

pub(crate) fn trust(roots: &[CertificateDer<'static>], name: &str) -> Tls {
    let mut store = rustls::RootCertStore::empty();
    store.add_parsable_certificates(roots.iter().cloned());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(store)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    Tls { config: Arc::new(config), name }
}

pub(crate) fn message(text: &str) -> Message {
    to("car-7@mail.test", text)
}

pub(crate) fn to(address: &str, text: &str) -> Message {
    let to = Callee::Mail(MailAddress::parse(address).unwrap());
    Message { to, body: Body::Text(text.to_owned()), valid_for: Duration::from_secs(60) }
}
