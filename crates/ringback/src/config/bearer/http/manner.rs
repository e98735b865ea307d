//! `api = "custom"`: how an API is asked and how it answers, as its operator describes it.

use std::ops::RangeInclusive;
use std::time::Duration;

use ringback_proto::sms_api::answer::{Place, Says, Test};
use ringback_proto::sms_api::body::Body;
use ringback_proto::sms_api::preset::{Authorization, Manner, Method};

use super::super::super::section::Section;

pub(super) fn read(section: &mut Section<'_>) -> Option<Manner> {
    let method = method(section, "method", Method::Post);
    let shown: Option<String> = section.text("authorization");
    let authorization = match shown.as_deref() {
        None | Some("none") => Some(Authorization::None),
        Some("basic") => Some(Authorization::Basic),
        Some("bearer") => Some(Authorization::Bearer),
        Some(_) => {
            section.wrong("authorization", "must be \"none\", \"basic\" or \"bearer\"");
            None
        }
    };
    let text = body(section, "form", "json");
    if text.is_none() && section.lacks("form") && section.lacks("json") {
        section.wrong("form", "missing: what is posted, as `form` or as `json`");
    }
    let binary = body(section, "binary_form", "binary_json");
    let test = test(section);
    let method = method?;
    if method == Method::Get && matches!(text, Some(Body::Json(_))) {
        section.wrong("json", "a GET has no body: use `form`");
        return None;
    }
    Some(Manner {
        method,
        authorization: authorization?,
        text: text?,
        binary,
        test: test?,
        validity: Duration::from_secs(1)..=super::LONGEST,
    })
}

/// A method, or the usual one.
pub(super) fn method(
    section: &mut Section<'_>,
    key: &'static str,
    usual: Method,
) -> Option<Method> {
    let text: Option<String> = section.text(key);
    match text.as_deref() {
        None => Some(usual),
        Some("GET") => Some(Method::Get),
        Some("POST") => Some(Method::Post),
        Some("DELETE") if usual == Method::Delete => Some(Method::Delete),
        Some(_) => {
            let known = if usual == Method::Delete { "GET, POST or DELETE" } else { "GET or POST" };
            section.wrong(key, format!("must be {known}"));
            None
        }
    }
}

fn body(section: &mut Section<'_>, form: &'static str, json: &'static str) -> Option<Body> {
    let (lines, document): (Vec<String>, Option<String>) = (section.list(form), section.text(json));
    if let Some(document) = document {
        if !lines.is_empty() {
            section.wrong(json, format!("give this or `{form}`, not both"));
        }
        return Body::json(&document).map_err(|fault| section.wrong(json, fault)).ok();
    }
    if lines.is_empty() {
        return None;
    }
    let fields: Option<Vec<(&str, &str)>> = lines.iter().map(|it| it.split_once('=')).collect();
    let Some(fields) = fields else {
        section.wrong(form, "each must be \"name=template\"");
        return None;
    };
    Body::form(&fields).map_err(|fault| section.wrong(form, fault.to_string())).ok()
}

fn test(section: &mut Section<'_>) -> Option<Test> {
    let status: Option<String> = section.text("success_status");
    let status = range(status.as_deref().unwrap_or("200-299"));
    if status.is_none() {
        section.wrong("success_status", "must be a status, or two with a hyphen: \"200-299\"");
    }
    let pointer = pointer(section, "success_pointer");
    let value: Option<String> = section.text("success_value");
    let text: Option<String> = section.text("success_text");
    let says = match (pointer, value, text) {
        (None, None, None) => Some(None),
        (Some(pointer), Some(value), None) => Some(Some(Says::At(pointer, value))),
        (None, None, Some(text)) => Some(Some(Says::Containing(text))),
        (Some(_), _, _) | (None, Some(_), _) => {
            let text = "goes with `success_value`, and without `success_text`";
            section.wrong("success_pointer", text);
            None
        }
    };
    let at = pointer_of(section);
    let code = self::pointer(section, "code_pointer");
    let later = section.list("later_codes");
    Some(Test { status: status?, says: says?, message_id: at?, code, later })
}

fn pointer_of(section: &mut Section<'_>) -> Option<Place> {
    let at = pointer(section, "message_id_pointer");
    let field: Option<String> = section.text("message_id_header");
    let behind: Option<String> = section.text("message_id_after");
    match (at, field, behind) {
        (None, None, None) => Some(Place::Nowhere),
        (Some(at), None, None) => Some(Place::At(at)),
        (None, Some(field), None) => Some(Place::Field(field.to_ascii_lowercase())),
        (None, None, Some(behind)) => Some(Place::Behind(behind)),
        (_, _, _) => {
            section.wrong("message_id_pointer", "an id is in one place: give one of the three");
            None
        }
    }
}

fn pointer(section: &mut Section<'_>, key: &'static str) -> Option<String> {
    let pointer: String = section.text(key)?;
    if !pointer.starts_with('/') {
        section.wrong(key, "no JSON pointer: it begins with a slash (RFC 6901)");
        return None;
    }
    Some(pointer)
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (least, most) = text.split_once('-').unwrap_or((text, text));
    let status = |it: &str| it.parse().ok().filter(|it| (200..600).contains(it));
    let (least, most) = (status(least)?, status(most)?);
    (least <= most).then_some(least..=most)
}
