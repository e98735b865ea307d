//! `[bearer.webhook]`: where a provider posts, and how it proves that it is the provider.

use std::sync::Arc;

use ringback_bearer::http::{Certified, Proof, Webhook};
use ringback_proto::sms_api::post::Names;
use ringback_proto::sms_api::preset::Api;
use ringback_proto::sms_api::signature::Writing;

use super::super::super::section::Section;
use crate::keys;

pub(super) fn read(section: &mut Section<'_>, api: Api) -> Option<Webhook> {
    let listen = section.required("listen");
    let path: Option<String> = section.required("path");
    let path = path.filter(|it| {
        let good = it.starts_with('/') && it.bytes().all(|it| it.is_ascii_graphic() && it != b'?');
        if !good {
            section.wrong("path", "must begin with a slash, without a query");
        }
        good
    });
    let proof = proof(section, api);
    let names = names(section, api);
    let tls = tls(section);
    Some(Webhook {
        listen: listen?,
        path: path?,
        proof: proof?,
        names,
        tls: tls?,
        twiml: api == Api::Twilio,
    })
}

fn proof(section: &mut Section<'_>, api: Api) -> Option<Proof> {
    let usual = if api == Api::Twilio { Some("twilio".to_owned()) } else { None };
    let kind: Option<String> = match usual {
        Some(usual) => section.text("signature").or(Some(usual)),
        None => section.required("signature"),
    };
    let secret = section.file("secret_file", super::read_secret_line);
    match kind?.as_str() {
        "twilio" => {
            let url: Option<String> = section.required("public_url");
            let url = url?;
            if !url.starts_with("https://") && !url.starts_with("http://") {
                section.wrong("public_url", "must be the whole URL, as Twilio is told it");
                return None;
            }
            Some(Proof::twilio(&secret?, url))
        }
        "hmac" => {
            let field: Option<String> = section.required("header");
            let stamp: Option<String> = section.text("timestamp_header");
            let seconds = section.number("timestamp_seconds", 1, 3600, 300);
            let writing: Option<String> = section.text("encoding");
            let writing = match writing.as_deref() {
                None | Some("hex") => Writing::Hex,
                Some("base64") => Writing::Base64,
                Some(_) => {
                    section.wrong("encoding", "must be \"hex\" or \"base64\"");
                    return None;
                }
            };
            Some(Proof::hmac(&secret?, field?, writing, stamp.map(|it| (it, seconds))))
        }
        "token" => {
            let field: Option<String> = section.text("header");
            let token = secret?;
            if token.len() < 16 || !token.bytes().all(|it| it.is_ascii_alphanumeric()) {
                let text = "a token is 16 or more letters and digits, chosen at random";
                section.wrong("secret_file", text);
                return None;
            }
            Some(match field {
                Some(field) => Proof::TokenInField { token, field },
                None => Proof::TokenInPath(token),
            })
        }
        _ => {
            section.wrong("signature", "must be \"twilio\", \"hmac\" or \"token\"");
            None
        }
    }
}

fn names(section: &mut Section<'_>, api: Api) -> Names {
    let Names { from, to, text, hex, id } = api.names();
    Names {
        from: section.text("from").or(from),
        to: section.text("to").or(to),
        text: section.text("text").or(text),
        hex: section.text("hex").or(hex),
        id: section.text("id").or(id),
    }
}

/// `Some(None)` without a certificate, `None` after a mistake.
fn tls(section: &mut Section<'_>) -> Option<Option<Certified>> {
    let (certificate, key) = (section.has("certificate"), section.has("certificate_key"));
    if !certificate && !key {
        return Some(None);
    }
    let chain = section.file("certificate", keys::read_certificates);
    let key = section.file("certificate_key", keys::read_certificate_key);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let (chain, key) = (chain?, key?);
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|it| it.with_no_client_auth().with_single_cert(chain, key));
    match config {
        Ok(config) => Some(Some(Certified(Arc::new(config)))),
        Err(fault) => {
            section.wrong("certificate", format!("cannot be used: {fault}"));
            None
        }
    }
}
