//! One request to an API, over a connection of its own.
//!
//! It tells whether the API may have read the request, which decides whether it may be repeated.
//! Rings are rare: a connection is not kept.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{
    AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use ringback_proto::sms_api::answer::{Answer, Outcome, Place, Test};
use ringback_proto::sms_api::body::Body;
use ringback_proto::sms_api::preset::{Authorization, Method};
use ringback_proto::sms_api::template::Values;
use ringback_proto::sms_api::url::Url;
use rustls::ClientConfig;
use std::future::pending;
use std::sync::Arc;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::Api;
use crate::limits;

/// Why there is no answer.
#[derive(Debug, Error)]
pub(super) enum Unanswered {
    /// Nothing was written: the API knows nothing of it.
    #[error("no connection: {0}")]
    Unsent(std::io::Error),
    /// The request cannot be written down.
    #[error("the URL or the account cannot stand in a request")]
    Unwritable,
    /// It was written, wholly or in part, and no answer came.
    #[error("no answer")]
    Silent,
}

/// An answer to a request.
pub(super) struct Reply {
    status: u16,
    retry_after: Option<String>,
    field: Option<String>,
    body: Bytes,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Reply {
    /// What it means for a message.
    pub(super) fn judged(&self, test: &Test) -> Outcome {
        test.judge(&Answer {
            status: self.status,
            retry_after: self.retry_after.as_deref(),
            field: self.field.as_deref(),
            body: &self.body,
        })
    }

    /// Its status.
    pub(super) fn status(&self) -> u16 {
        self.status
    }
}

/// Sees whether the API can be connected to.
pub(super) async fn knock(api: &Api) -> Result<(), Unanswered> {
    connect(api).await.map(drop).map_err(Unanswered::Unsent)
}

/// Posts a message.
pub(super) async fn post(api: &Api, body: &Body, values: &Values) -> Result<Reply, Unanswered> {
    ask(api, (api.manner.method, &api.url), Some(body), values).await
}

/// Asks to take a message back.
pub(super) async fn cancel(
    api: &Api,
    (method, url): &(Method, Url),
    values: &Values,
) -> Result<Reply, Unanswered> {
    ask(api, (*method, url), None, values).await
}

async fn ask(
    api: &Api,
    to: (Method, &Url),
    body: Option<&Body>,
    values: &Values,
) -> Result<Reply, Unanswered> {
    let request = request(api, to, body, values).ok_or(Unanswered::Unwritable)?;
    let stream = connect(api).await.map_err(Unanswered::Unsent)?;
    let until = Instant::now() + api.patience;
    let mut builder = http1::Builder::new();
    builder.max_buf_size(limits::HTTP_HEAD_OCTETS).max_headers(limits::HTTP_FIELDS);
    let shaken = builder.handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(|_| Unanswered::Silent)?;
    let talk = async {
        let response = sender.send_request(request).await.map_err(|_| Unanswered::Silent)?;
        Ok(read(response, &api.manner.test.message_id, until).await)
    };
    // A connection that has ended makes `talk` end by itself.
    let connection = async {
        let _ = connection.await;
        pending::<()>().await;
    };
    tokio::select! {
        reply = timeout_at(until, talk) => reply.unwrap_or(Err(Unanswered::Silent)),
        () = connection => Err(Unanswered::Silent),
    }
}

async fn read(response: Response<Incoming>, place: &Place, until: Instant) -> Reply {
    let text = |name: &str| {
        response.headers().get(name).and_then(|it| it.to_str().ok()).map(str::to_owned)
    };
    let status = response.status().as_u16();
    let retry_after = text(RETRY_AFTER.as_str());
    let field = match place {
        Place::Field(name) => text(name),
        Place::Nowhere | Place::At(_) | Place::Behind(_) => None,
    };
    let body = Limited::new(response.into_body(), limits::HTTP_ANSWER_OCTETS);
    // The status has come: what is missing of the rest is as if it had never been there.
    let body = match timeout_at(until, body.collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) | Err(_) => Bytes::new(),
    };
    Reply { status, retry_after, field, body }
}

fn request(
    api: &Api,
    (method, url): (Method, &Url),
    body: Option<&Body>,
    values: &Values,
) -> Option<Request<Full<Bytes>>> {
    let filled = body.map(|it| it.fill(values)).unwrap_or_default();
    let mut target = url.target(values);
    let (method, octets) = match method {
        Method::Get => {
            if !filled.is_empty() {
                target.push(if target.contains('?') { '&' } else { '?' });
                target.push_str(std::str::from_utf8(&filled).ok()?);
            }
            (hyper::Method::GET, Vec::new())
        }
        Method::Post => (hyper::Method::POST, filled),
        Method::Delete => (hyper::Method::DELETE, Vec::new()),
    };
    let mut request = Request::builder()
        .method(&method)
        .uri(target)
        .header(HOST, url.authority())
        .header(USER_AGENT, "ringback")
        .header(CONNECTION, "close");
    if let Some(body) = body.filter(|_| method == hyper::Method::POST) {
        request = request.header(CONTENT_TYPE, body.content_type());
    }
    let shown = match api.manner.authorization {
        Authorization::None => None,
        Authorization::Basic => {
            let account = Zeroizing::new(format!("{}:{}", api.user, *api.password));
            Some(Zeroizing::new(format!("Basic {}", STANDARD.encode(account.as_bytes()))))
        }
        Authorization::Bearer => Some(Zeroizing::new(format!("Bearer {}", *api.password))),
    };
    if let Some(shown) = shown {
        let mut value = HeaderValue::from_str(&shown).ok()?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    request.body(Full::new(octets.into())).ok()
}

async fn connect(api: &Api) -> std::io::Result<Box<dyn Stream>> {
    let connecting = async {
        let tcp = TcpStream::connect(api.url.address()).await?;
        tcp.set_nodelay(true)?;
        let Some(tls) = &api.tls else {
            if api.url.secure {
                return Err(std::io::Error::other("nobody is trusted: give tls_roots"));
            }
            return Ok(Box::new(tcp) as Box<dyn Stream>);
        };
        let config: Arc<ClientConfig> = Arc::clone(&tls.config);
        let tls = TlsConnector::from(config).connect(tls.name.clone(), tcp).await?;
        Ok(Box::new(tls) as Box<dyn Stream>)
    };
    let late = || std::io::Error::from(std::io::ErrorKind::TimedOut);
    timeout(limits::CONNECT_PATIENCE, connecting).await.map_err(|_| late())?
}
