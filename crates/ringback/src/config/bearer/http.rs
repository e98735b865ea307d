//! `kind = "http"`: a provider's HTTP API for SMS, known by name or described.
//!
//! `url` or the account begins an API; a table `webhook` begins a listener for its posts.

use std::time::Duration;

use ringback_bearer::http::{Api, Config};
use ringback_bearer::{Tls, limits};
use ringback_proto::sms_api::preset::{self, Authorization, Method};
use ringback_proto::sms_api::template::from_hex;
use ringback_proto::sms_api::url::Url;
use zeroize::Zeroizing;

use super::super::section::Section;
use super::read_roots;
use crate::keys;

mod manner;
mod webhook;

pub(super) fn read(section: &mut Section<'_>) -> Option<Config> {
    let name: Option<String> = section.required("api");
    let kind = name.and_then(|name| {
        let found = preset::Api::ALL.into_iter().find(|it| it.name() == name);
        if found.is_none() {
            let known = preset::Api::ALL.map(preset::Api::name).join(", ");
            section.wrong("api", format!("{name:?} is no API; known: {known}"));
        }
        found
    });
    let posted = section.has("webhook");
    let webhook = section.section("webhook").map(|mut it| {
        let webhook = webhook::read(&mut it, kind.unwrap_or(preset::Api::Custom));
        it.finish();
        webhook.map(Box::new)
    });
    let sends = ["url", "user", "password_file", "token_file"].iter().any(|it| section.has(it));
    // Without either, what is missing of an API is told.
    let api = (sends || !posted).then(|| read_api(section, kind));
    let (api, webhook) = (api.map_or(Some(None), |it| it.map(Some))?, webhook);
    Some(Config { api: api.map(Box::new), webhook: webhook.map_or(Some(None), |it| it.map(Some))? })
}

fn read_api(section: &mut Section<'_>, kind: Option<preset::Api>) -> Option<Api> {
    let usual = kind.and_then(preset::Api::url);
    let text: Option<String> = match usual {
        Some(usual) => section.text("url").or_else(|| Some(usual.to_owned())),
        None => section.required("url"),
    };
    let url = text.as_deref().and_then(|it| read_url(section, "url", it));
    let from = section.text("from").unwrap_or_default();
    let udh: String = section.text("udh").unwrap_or_default();
    let udh = from_hex(udh.as_bytes());
    if udh.is_none() {
        section.wrong("udh", "no hex digits");
    }
    let per_second = section.number("per_second", 1, 10_000, 1);
    let window = section.number("window", 1, 100, 4);
    let patience = section.seconds("answer_seconds", 1, 60, limits::HTTP_ANSWER.as_secs());
    let tls = url.as_ref().and_then(|it| read_tls(section, it));
    let manner = kind?.manner().or_else(|| manner::read(section));
    let (user, password) = read_account(section, kind?, manner.as_ref());
    let cancel = match (kind?.cancel(), text) {
        (Some((method, behind)), Some(text)) => {
            read_url(section, "url", &format!("{text}{behind}")).map(|it| Some((method, it)))
        }
        (Some(_), None) => None,
        (None, _) => read_cancel(section, kind?, url.as_ref()),
    };
    let url = url?;
    if url.secure && tls.is_none() {
        return None;
    }
    Some(Api {
        url,
        tls,
        manner: manner?,
        cancel: cancel?,
        from,
        udh: udh?,
        user: user?,
        password: password?,
        per_second: u32::try_from(per_second).ok()?,
        window: usize::try_from(window).ok()?,
        patience,
    })
}

fn read_url(section: &Section<'_>, key: &'static str, text: &str) -> Option<Url> {
    match Url::parse(text) {
        Ok(url) if url.secure || url.is_loopback() => Some(url),
        Ok(_) => {
            section.wrong(key, "would show the account to everybody on the way: use https");
            None
        }
        Err(fault) => {
            section.wrong(key, fault.to_string());
            None
        }
    }
}

fn read_tls(section: &mut Section<'_>, url: &Url) -> Option<Tls> {
    if !url.secure {
        if section.has("tls_roots") {
            section.wrong("tls_roots", "belongs to an https URL");
        }
        return None;
    }
    let config = section.file("tls_roots", read_roots)?;
    let name = super::server_name(section, "url", &url.address())?;
    Some(Tls { config, name })
}

fn read_account(
    section: &mut Section<'_>,
    kind: preset::Api,
    manner: Option<&preset::Manner>,
) -> (Option<String>, Option<Zeroizing<String>>) {
    // What is missing depends on the manner; if that is wrong, it is told first.
    let Some(manner) = manner else { return (None, None) };
    let optional = kind == preset::Api::Custom;
    match manner.authorization {
        Authorization::Bearer => {
            let user = section.text("user").unwrap_or_default();
            (Some(user), section.file("token_file", read_secret_line))
        }
        // A custom API may need neither.
        Authorization::None if optional && !section.has("password_file") => {
            (Some(section.text("user").unwrap_or_default()), Some(Zeroizing::default()))
        }
        Authorization::Basic | Authorization::None => {
            (section.required("user"), section.file("password_file", read_secret_line))
        }
    }
}

/// Reads a file of one secret that can stand in a head.
fn read_secret_line(file: &std::path::Path) -> Result<Zeroizing<String>, String> {
    let secret = keys::read_password(file).map_err(|fault| fault.to_string())?;
    let secret = Zeroizing::new(secret);
    if secret.is_empty() || secret.contains(char::is_control) {
        return Err("must hold one line: the secret".to_owned());
    }
    Ok(secret)
}

/// `Some(None)` if a message cannot be taken back, `None` after a mistake.
fn read_cancel(
    section: &mut Section<'_>,
    kind: preset::Api,
    url: Option<&Url>,
) -> Option<Option<(Method, Url)>> {
    if kind != preset::Api::Custom || !section.has("cancel_url") {
        return Some(None);
    }
    let text: String = section.text("cancel_url")?;
    let method = manner::method(section, "cancel_method", Method::Delete)?;
    let cancel = read_url(section, "cancel_url", &text)?;
    if url.is_some_and(|it| it.address() != cancel.address() || it.secure != cancel.secure) {
        section.wrong("cancel_url", "must be at the same host as `url`");
        return None;
    }
    Some(Some((method, cancel)))
}

/// The longest time that a signal is worth delivering at a custom API.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
