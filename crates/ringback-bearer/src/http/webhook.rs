//! The door where a provider posts what has come: a small HTTP/1.1 server that answers one thing.
//!
//! Whoever cannot show that it is the provider learns nothing: the wrong path, a wrong secret and a
//! wrong signature get the same empty answer. Nothing of a post is logged.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use ringback_proto::sms_api::post::{Fields, Malformed};
use ringback_proto::sms_api::replay::{Mark, Taken};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, debug, error, info};

use super::{Webhook, signature};
use crate::health::{Reporter, Verdict};
use crate::{Heard, limits};

/// The door and who stands behind it.
pub(super) struct Door {
    inner: Arc<Inner>,
}

struct Inner {
    webhook: Webhook,
    hearing: mpsc::Sender<Heard>,
    reporter: Arc<Reporter>,
    book: Mutex<Book>,
}

/// What has come so far.
#[derive(Default)]
struct Book {
    address: String,
    taken: Taken,
    posts: u64,
    last_unix_seconds: u64,
    rejected: u64,
}

/// What becomes of a post.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdicted {
    Taken,
    Doubled,
    /// Nobody takes it now: the provider is to come again.
    Full,
    /// It is the provider's, and holds no SMS.
    Malformed(Malformed),
    /// It is not shown to be the provider's.
    Unproven,
}

impl Door {
    pub(super) fn new(
        webhook: Webhook,
        hearing: mpsc::Sender<Heard>,
        reporter: Arc<Reporter>,
    ) -> Self {
        let book = Mutex::default();
        Self { inner: Arc::new(Inner { webhook, hearing, reporter, book }) }
    }

    /// Works until it is shut down.
    pub(super) async fn run(self, shutdown: CancellationToken) {
        let Some(Some(listener)) = shutdown.run_until_cancelled(self.listen()).await else {
            return;
        };
        let mut connections = JoinSet::new();
        let mut oldest_first: VecDeque<AbortHandle> = VecDeque::new();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => {
                    let Ok((stream, _)) = accepted else {
                        // Out of descriptors, most likely: they come back as connections end.
                        sleep(limits::HTTP_PAUSE.0).await;
                        continue;
                    };
                    // Strangers who say nothing must not keep the provider waiting.
                    oldest_first.retain(|it| !it.is_finished());
                    if limits::HTTP_CONNECTIONS <= oldest_first.len()
                        && let Some(oldest) = oldest_first.pop_front()
                    {
                        oldest.abort();
                    }
                    let inner = Arc::clone(&self.inner);
                    let meeting = async move { inner.meet(stream).await };
                    oldest_first.push_back(connections.spawn(meeting.instrument(Span::current())));
                }
            }
        }
        // A post that is cut off here is posted again.
        connections.shutdown().await;
    }

    async fn listen(&self) -> Option<TcpListener> {
        let Inner { webhook, reporter, .. } = &*self.inner;
        loop {
            match TcpListener::bind(webhook.listen).await {
                Ok(listener) => {
                    let address = listener.local_addr().ok()?;
                    self.inner.book().address = address.to_string();
                    info!(%address, "listening for posts");
                    let text = format!("listening on {address}; no post yet");
                    reporter.found("webhook", Verdict::Good, text);
                    return Some(listener);
                }
                Err(cause) => {
                    error!(error = %cause, "cannot listen for posts");
                    let text = format!("cannot listen on {}: {cause}", webhook.listen);
                    reporter.found("webhook", Verdict::Bad, text);
                    sleep(limits::HTTP_LISTEN_AGAIN).await;
                }
            }
        }
    }
}

impl Inner {
    async fn meet(self: Arc<Self>, stream: TcpStream) {
        let talk = async {
            let Some(tls) = self.webhook.tls.clone() else { return self.serve(stream).await };
            let shaking = TlsAcceptor::from(tls.0).accept(stream);
            let Ok(Ok(stream)) = timeout(limits::HTTP_READ, shaking).await else { return };
            self.serve(stream).await;
        };
        // Whoever is cut off posts again.
        let _ = timeout(limits::HTTP_CONNECTION, talk).await;
    }

    async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let posts = AtomicU32::new(0);
        let service = service_fn(|request| {
            let last =
                posts.fetch_add(1, Ordering::Relaxed) + 1 == limits::HTTP_POSTS_PER_CONNECTION;
            async move { Ok::<_, Infallible>(self.answer(request, last).await) }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits::HTTP_READ)
            .max_buf_size(limits::HTTP_HEAD_OCTETS)
            .max_headers(limits::HTTP_FIELDS)
            .serve_connection(TokioIo::new(stream), service);
        if let Err(cause) = served.await {
            debug!(error = %cause, "a connection ended badly");
        }
    }

    async fn answer(&self, request: Request<Incoming>, last: bool) -> Response<Full<Bytes>> {
        let verdict = match timeout(limits::HTTP_READ, self.weigh(request)).await {
            Ok(verdict) => verdict,
            Err(_) => Verdicted::Unproven,
        };
        self.enter(verdict);
        let status = match verdict {
            Verdicted::Taken | Verdicted::Doubled => StatusCode::OK,
            Verdicted::Full => StatusCode::SERVICE_UNAVAILABLE,
            Verdicted::Malformed(_) => StatusCode::BAD_REQUEST,
            Verdicted::Unproven => StatusCode::FORBIDDEN,
        };
        let twiml = self.webhook.twiml && status == StatusCode::OK;
        let body = if twiml { Bytes::from_static(b"<Response/>") } else { Bytes::new() };
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        if twiml {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/xml"));
        }
        // What is left of a post that was not read must not be taken for the next one.
        if last || verdict == Verdicted::Unproven {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn weigh(&self, request: Request<Incoming>) -> Verdicted {
        let proof = &self.webhook.proof;
        let (head, body) = request.into_parts();
        let method = &head.method;
        let expected = method == Method::POST || method == Method::GET && proof.is_token();
        if !expected
            || !proof.fits_path(&self.webhook.path, head.uri.path())
            || !proof.fits_head(&head.headers)
        {
            return Verdicted::Unproven;
        }
        let body = Limited::new(body, limits::HTTP_POST_OCTETS).collect().await;
        let Ok(body) = body.map(|it| it.to_bytes()) else { return Verdicted::Unproven };
        if !proof.fits_body(&head.headers, &body) {
            return Verdicted::Unproven;
        }
        let query = head.uri.query().unwrap_or_default().as_bytes();
        let fields = if method == Method::GET {
            Fields::of_form(query)
        } else {
            let kind = head.headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
            Fields::of_body(kind.unwrap_or_default(), &body)
        };
        let posted = match fields.and_then(|it| it.sms(&self.webhook.names)) {
            Ok(posted) => posted,
            Err(malformed) => return Verdicted::Malformed(malformed),
        };
        let mark = Mark::of(&posted, if method == Method::GET { query } else { &body });
        self.take(mark, Heard { octets: posted.octets, from: posted.from, to: posted.to })
    }

    /// Remembers a post only once it is taken: one that found no room may come again.
    fn take(&self, mark: Mark, heard: Heard) -> Verdicted {
        let mut book = self.book();
        if book.taken.knows(mark) {
            return Verdicted::Doubled;
        }
        if self.hearing.try_send(heard).is_err() {
            return Verdicted::Full;
        }
        book.taken.remember(mark);
        Verdicted::Taken
    }

    fn enter(&self, verdict: Verdicted) {
        let mut book = self.book();
        match verdict {
            Verdicted::Taken | Verdicted::Doubled => {
                book.posts += 1;
                book.last_unix_seconds = signature::unix_seconds();
            }
            Verdicted::Full | Verdicted::Malformed(_) | Verdicted::Unproven => book.rejected += 1,
        }
        debug!(?verdict, rejected = book.rejected, "posted");
        let Book { address, posts, last_unix_seconds: last, rejected, .. } = &*book;
        let (health, text) = if *posts == 0 {
            let text = format!(
                "listening on {address}; {rejected} rejected and none taken: \
                 check the path, the secret and the public URL"
            );
            (Verdict::Doubtful, text)
        } else {
            let text = format!(
                "listening on {address}; {posts} posts, the last at {last}; {rejected} rejected"
            );
            (Verdict::Good, text)
        };
        self.reporter.found("webhook", health, text);
    }

    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
