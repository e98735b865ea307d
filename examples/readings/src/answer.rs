//! From a request to its answer.
//!
//! Every answer may be kept by nobody and framed by nobody: these are health data.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::timeout;

use crate::journal::Journal;
use crate::reading::{Entry, Outgoing};
use crate::{limits, page};

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// What the page may load and do: its own style, its own form, and nothing else.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";

type Answer = Response<Full<Bytes>>;

/// How an entry was sent, which decides how it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Form,
    Json,
}

/// Answers one request.
pub(crate) async fn answer(
    request: Request<Incoming>,
    journal: Arc<Mutex<Journal>>,
) -> Result<Answer, Infallible> {
    let method = request.method().clone();
    Ok(match request.uri().path() {
        "/" if reads(&method) => plain(StatusCode::OK, HTML, page::page(&open(&journal), None)),
        "/readings.json" if reads(&method) => plain(StatusCode::OK, JSON, listing(&open(&journal))),
        "/readings" if method == Method::POST => enter(request, &journal).await,
        "/" | "/readings.json" => not_allowed("GET, HEAD"),
        "/readings" => not_allowed("POST"),
        _ => plain(StatusCode::NOT_FOUND, TEXT, "there is nothing here; the readings are at /\n"),
    })
}

fn reads(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

/// Takes a new reading, from a form or from JSON.
async fn enter(request: Request<Incoming>, journal: &Mutex<Journal>) -> Answer {
    // Another site's page must not write here with a visitor's browser.
    let site = request.headers().get("sec-fetch-site");
    if site.is_some_and(|it| it == "cross-site" || it == "same-site") {
        return plain(
            StatusCode::FORBIDDEN,
            TEXT,
            "a reading is entered on this site's own page\n",
        );
    }
    let Some(encoding) = encoding(&request) else {
        let accepted = "send a form (application/x-www-form-urlencoded) or JSON\n";
        return plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, TEXT, accepted);
    };

    let body = Limited::new(request.into_body(), limits::BODY_OCTETS).collect();
    let body = match timeout(limits::REQUEST, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => {
            return last(StatusCode::PAYLOAD_TOO_LARGE, "a reading is much smaller than that\n");
        }
        Err(_) => return last(StatusCode::REQUEST_TIMEOUT, "the reading did not come in time\n"),
    };

    let entry = match encoding {
        Encoding::Form => Entry::from_form(&body),
        Encoding::Json => Entry::from_json(&body),
    };
    let entry = match entry {
        Ok(entry) => entry,
        Err(complaint) => {
            return reject(StatusCode::BAD_REQUEST, encoding, &complaint, None, journal);
        }
    };
    match entry.check(SystemTime::now()) {
        Ok(reading) => {
            let accepted = json(&reading.outgoing());
            open(journal).add(reading);
            accept(encoding, accepted)
        }
        Err(complaint) => {
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            reject(status, encoding, &complaint, Some(&entry), journal)
        }
    }
}

fn encoding(request: &Request<Incoming>) -> Option<Encoding> {
    let value = request.headers().get(header::CONTENT_TYPE)?.to_str().ok()?;
    match value.split(';').next()?.trim().to_ascii_lowercase().as_str() {
        "application/x-www-form-urlencoded" => Some(Encoding::Form),
        "application/json" => Some(Encoding::Json),
        _ => None,
    }
}

fn accept(encoding: Encoding, reading: String) -> Answer {
    let (mut answer, location) = match encoding {
        // Back to the page, so that reloading it does not enter the reading again.
        Encoding::Form => (plain(StatusCode::SEE_OTHER, TEXT, "entered\n"), "/"),
        Encoding::Json => (plain(StatusCode::CREATED, JSON, reading), "/readings.json"),
    };
    answer.headers_mut().insert(header::LOCATION, HeaderValue::from_static(location));
    answer
}

fn reject(
    status: StatusCode,
    encoding: Encoding,
    complaint: &str,
    entry: Option<&Entry>,
    journal: &Mutex<Journal>,
) -> Answer {
    match encoding {
        Encoding::Form => {
            let entry = entry.cloned().unwrap_or_default();
            plain(status, HTML, page::page(&open(journal), Some((&entry, complaint))))
        }
        Encoding::Json => plain(status, JSON, json(&serde_json::json!({ "error": complaint }))),
    }
}

fn listing(journal: &Journal) -> String {
    let readings: Vec<Outgoing<'_>> = journal.readings().map(|it| it.outgoing()).collect();
    json(&serde_json::json!({ "unit": "mmol/L", "invented": true, "readings": readings }))
}

fn json(value: &impl serde::Serialize) -> String {
    let mut text = serde_json::to_string(value).expect("readings are plain numbers and text");
    text.push('\n');
    text
}

fn not_allowed(allow: &'static str) -> Answer {
    let text = format!("allowed here: {allow}\n");
    let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, TEXT, text);
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    answer
}

/// An answer after which the connection closes, as the request's body was not read to its end.
fn last(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = plain(status, TEXT, text);
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}

fn plain(status: StatusCode, kind: &'static str, body: impl Into<String>) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body.into())));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// Opens the journal. A request that panicked has left it whole: every change is one push.
fn open(journal: &Mutex<Journal>) -> MutexGuard<'_, Journal> {
    journal.lock().unwrap_or_else(PoisonError::into_inner)
}
