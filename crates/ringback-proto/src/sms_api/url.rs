//! Where an API is: a URL whose path and query may hold placeholders.
//!
//! It connects to nothing, and knows only `http` and `https`, without a user in it.

use thiserror::Error;

use super::body::percent_encode;
use super::template::{Misworded, Template, Values};

/// A URL in parts.
#[derive(Clone, Debug)]
pub struct Url {
    /// Whether it is `https`.
    pub secure: bool,
    /// The host, without the brackets of an IPv6 address.
    pub host: String,
    /// The port.
    pub port: u16,
    authority: String,
    target: Template,
}

/// Why a text is no URL for us.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BadUrl {
    /// It is neither.
    #[error("must begin with https:// or http://")]
    Scheme,
    /// No host, a bad port, a user or a fragment.
    #[error("must be https://host/path, without a user and without a fragment")]
    Form,
    /// A placeholder is wrong.
    #[error(transparent)]
    Template(#[from] Misworded),
}

impl Url {
    /// Reads `https://host[:port]/path[?query]`; placeholders stand in the path and the query.
    pub fn parse(text: &str) -> Result<Self, BadUrl> {
        let (secure, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(BadUrl::Scheme),
        };
        if !rest.bytes().all(|it| it.is_ascii_graphic()) || rest.contains('#') {
            return Err(BadUrl::Form);
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let (host, port) = split_authority(authority, if secure { 443 } else { 80 })?;
        let slash = if target.starts_with('/') { "" } else { "/" };
        let target = Template::parse(&format!("{slash}{target}"))?;
        let authority = authority.to_owned();
        Ok(Self { secure, host, port, authority, target })
    }

    /// What a request's `Host` says.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// What is connected to.
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            return format!("[{}]:{}", self.host, self.port);
        }
        format!("{}:{}", self.host, self.port)
    }

    /// Path and query for one message.
    pub fn target(&self, values: &Values) -> String {
        // Graphic ASCII by `parse`, and percent-encoded values.
        String::from_utf8_lossy(&self.target.fill(values, percent_encode)).into_owned()
    }

    /// Whether the host is this machine by its address or by its reserved name (RFC 6761, 6.3).
    pub fn is_loopback(&self) -> bool {
        let address = self.host.parse::<std::net::IpAddr>();
        self.host == "localhost" || address.is_ok_and(|it| it.is_loopback())
    }
}

fn split_authority(authority: &str, usual: u16) -> Result<(String, u16), BadUrl> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            (host, port.parse().map_err(|_| BadUrl::Form)?)
        }
        Some(_) | None => (authority, usual),
    };
    let inner = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let good = match inner {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.bytes().all(|it| it.is_ascii_alphanumeric() || b"-._".contains(&it))
        }
    };
    if !good || port == 0 {
        return Err(BadUrl::Form);
    }
    Ok((inner.unwrap_or(host).to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let url = Url::parse("https://api.example/a/{user}/b?to={to}").unwrap();
        assert_eq!((url.secure, url.address().as_str()), (true, "api.example:443"));
        let values = Values { user: "A/C".into(), to_digits: "1".into(), ..Values::default() };
        assert_eq!(url.target(&values), "/a/A%2FC/b?to=%2B1");

        let url = Url::parse("http://[::1]:13013").unwrap();
        assert_eq!((url.address().as_str(), url.is_loopback()), ("[::1]:13013", true));
        assert_eq!((url.authority(), url.target(&values).as_str()), ("[::1]:13013", "/"));
        assert!(Url::parse("http://127.9.9.9/").unwrap().is_loopback());
        assert!(!Url::parse("http://localhost.example/").unwrap().is_loopback());
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for text in [
            "",
            "ftp://a/",
            "https://",
            "https:///a",
            "https://u:p@a/",
            "https://a:0/",
            "https://a:x/",
            "https://a/#b",
            "https://a/ b",
            "https://a/\r\nb",
            "https://[a]/",
            "https://{to}/",
            "https://a/{to",
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }
}
