//! What a request says: a form or a JSON document, filled from templates.
//!
//! A field that would be empty is left out. What is filled in cannot become anything else: a form's
//! values are percent-encoded, a document's are put into strings that were parsed before.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::template::{Misworded, Placeholder, Template, Values};

/// The fields of a request.
#[derive(Clone, Debug)]
pub enum Body {
    /// By name, `application/x-www-form-urlencoded`; in the query where the method has no body.
    Form(Vec<(String, Template)>),
    /// A document with templates for strings.
    Json(Document),
}

/// A JSON document with templates for strings.
#[derive(Clone, Debug)]
pub struct Document(Node);

#[derive(Clone, Debug)]
enum Node {
    Fixed(Value),
    Text(Template),
    List(Vec<Node>),
    Members(Vec<(String, Node)>),
}

impl Body {
    /// A form from names and the texts of their templates.
    pub fn form(fields: &[(&str, &str)]) -> Result<Self, Misworded> {
        let field = |(name, text): &(&str, &str)| Ok(((*name).to_owned(), Template::parse(text)?));
        Ok(Self::Form(fields.iter().map(field).collect::<Result<_, _>>()?))
    }

    /// The document of a text; a string that is only a duration becomes a number.
    pub fn json(text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        Ok(Self::Json(Document(Node::of(value)?)))
    }

    /// What stands for its octets' type in a request's head.
    pub fn content_type(&self) -> &'static str {
        match self {
            Self::Form(_) => "application/x-www-form-urlencoded",
            Self::Json(_) => "application/json",
        }
    }

    /// Its octets for one message.
    pub fn fill(&self, values: &Values) -> Vec<u8> {
        match self {
            Self::Form(fields) => fill_form(fields, values),
            Self::Json(Document(node)) => node.fill(values).to_string().into_bytes(),
        }
    }
}

impl Node {
    fn of(value: Value) -> Result<Self, String> {
        Ok(match value {
            Value::String(text) => {
                let template = Template::parse(&text).map_err(|fault| fault.to_string())?;
                if template.asks_for(Placeholder::Octets)
                    || template.asks_for(Placeholder::UdhOctets)
                {
                    return Err("JSON cannot hold octets: use {hex} and {udh}".to_owned());
                }
                Self::Text(template)
            }
            Value::Array(all) => {
                Self::List(all.into_iter().map(Self::of).collect::<Result<_, _>>()?)
            }
            Value::Object(all) => {
                let member = |(name, it)| Ok::<_, String>((name, Self::of(it)?));
                Self::Members(all.into_iter().map(member).collect::<Result<_, _>>()?)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => Self::Fixed(value),
        })
    }

    fn fill(&self, values: &Values) -> Value {
        match self {
            Self::Fixed(value) => value.clone(),
            Self::Text(template) => {
                let text = template.fill(values, plain);
                let text = String::from_utf8_lossy(&text).into_owned();
                let number = if template.is_number() { text.parse::<u64>().ok() } else { None };
                number.map_or(Value::String(text), Value::from)
            }
            Self::List(all) => Value::Array(all.iter().map(|it| it.fill(values)).collect()),
            Self::Members(all) => {
                let filled = all.iter().map(|(name, it)| (name.clone(), it.fill(values)));
                let said = filled.filter(|(_, it)| it.as_str() != Some(""));
                Value::Object(said.collect::<Map<_, _>>())
            }
        }
    }
}

fn fill_form(fields: &[(String, Template)], values: &Values) -> Vec<u8> {
    let mut form = Vec::new();
    for (name, template) in fields {
        let value = template.fill(values, plain);
        if value.is_empty() {
            continue;
        }
        if !form.is_empty() {
            form.push(b'&');
        }
        percent_encode(name.as_bytes(), &mut form);
        form.push(b'=');
        percent_encode(&value, &mut form);
    }
    form
}

/// Adds octets as they are.
pub(super) fn plain(octets: &[u8], into: &mut Vec<u8>) {
    into.extend_from_slice(octets);
}

/// Adds octets so that neither a URL nor a form can mistake them (RFC 3986, 2.3).
pub fn percent_encode(octets: &[u8], into: &mut Vec<u8>) {
    let mut text = String::with_capacity(octets.len());
    for octet in octets {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(octet) {
            text.push(char::from(*octet));
        } else {
            // A string takes whatever is written to it.
            let _ = write!(text, "%{octet:02X}");
        }
    }
    into.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn values() -> Values {
        Values {
            to_digits: "447700900000".into(),
            from: "Acme & Söhne".into(),
            content: b"a \"b\"&\x00\xff".into(),
            validity: Duration::from_secs(20),
            ..Values::default()
        }
    }

    #[test]
    fn a_form_protects_every_octet_and_leaves_out_what_is_empty() {
        let fields = [("to", "{to}"), ("from", "{from}"), ("text", "{octets}"), ("udh", "{udh}")];
        let form = Body::form(&fields).unwrap().fill(&values());
        let expected = "to=%2B447700900000&from=Acme%20%26%20S%C3%B6hne&text=a%20%22b%22%26%00%FF";
        assert_eq!(String::from_utf8(form).unwrap(), expected);
    }

    #[test]
    fn a_document_keeps_its_shape_whatever_is_filled_in() {
        let text = r#"{"a":[{"to":"{to_digits}"}],"t":"{hex}","ttl":"{validity_ms}","u":"{udh}","n":null}"#;
        let filled = Body::json(text).unwrap().fill(&values());
        let expected =
            r#"{"a":[{"to":"447700900000"}],"n":null,"t":"61202262222600FF","ttl":20000}"#;
        assert_eq!(String::from_utf8(filled).unwrap(), expected);

        let hostile = Values { from: "\",\"x\":\"".into(), ..Values::default() };
        let filled = Body::json(r#"{"from":"{from}"}"#).unwrap().fill(&hostile);
        assert_eq!(String::from_utf8(filled).unwrap(), r#"{"from":"\",\"x\":\""}"#);
    }

    #[test]
    fn a_document_that_is_none_or_would_hold_octets_is_refused() {
        for text in ["", "{", r#"{"a":"{nothing}"}"#, r#"{"a":"{octets}"}"#] {
            assert!(Body::json(text).is_err(), "{text}");
        }
    }
}
