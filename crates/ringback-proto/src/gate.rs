//! The ring gate: whether a client may cause a ring.
//!
//! Pure. What a client has shown is found out by the ingress; here it is weighed against what its
//! service asks for. Only the gate makes an [`Admitted`], and no client causes a ring without one; a
//! probe is the operator's own.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

use crate::limits;

/// Proof that the client on whose behalf a ring is asked for may cause it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    level: Level,
    source: Source,
    identity: Option<Identity>,
}

/// What a client must have shown before its terminal is rung, the weakest first. Discriminants are
/// the tunnel's wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing but a request that names a known terminal and one of its services.
    Open = 0,
    /// That it comes from one of the service's networks.
    Allow = 1,
    /// That somebody has logged in from its address a short while ago.
    Knock = 2,
    /// A user's credential (RFC 7617, RFC 7616, RFC 6750).
    Http = 3,
    /// A certificate of an authority that the service trusts.
    Mtls = 4,
    /// One of the service's client keys, which the terminal's side asks for once more.
    EndToEnd = 5,
}

/// What a client has shown. Each value is made where the thing was checked, and nowhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Nothing.
    Nothing,
    /// It comes from a network that the service allows.
    Network,
    /// Its address was armed by this user, and not too long ago.
    Armed(Identity),
    /// It knows this user's credential.
    Credential(Identity),
    /// It holds this certificate's key.
    Certificate(Identity),
    /// It holds this client's key.
    ClientKey(Identity),
}

/// What a user or a client is called: one to 64 printable ASCII characters without space or quotes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(String);

/// The text is no identity.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("no name for a client: 1 to 64 printable ASCII characters, no space, quote, colon, comma")]
pub struct NoIdentity;

/// Whose doing counts together: one IPv4 address, or one IPv6 network of 64 bits (RFC 6177).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(IpAddr);

/// Admits a client whose request was complete, if what it has shown is what its service asks for.
///
/// A client key stands for everything below it: who holds one is known by name.
pub fn admit(wanted: Level, shown: Shown, source: Source) -> Option<Admitted> {
    let enough = match &shown {
        Shown::Nothing => wanted == Level::Open,
        Shown::Network => wanted <= Level::Allow,
        Shown::Armed(_) => matches!(wanted, Level::Open | Level::Knock),
        Shown::Credential(_) => matches!(wanted, Level::Open | Level::Http),
        Shown::Certificate(_) => matches!(wanted, Level::Open | Level::Mtls),
        Shown::ClientKey(_) => true,
    };
    let identity = match shown {
        Shown::Nothing | Shown::Network => None,
        Shown::Armed(it)
        | Shown::Credential(it)
        | Shown::Certificate(it)
        | Shown::ClientKey(it) => Some(it),
    };
    enough.then_some(Admitted { level: wanted, source, identity })
}

impl Admitted {
    /// What its service asks for; only clients of one level share a ring.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Where it comes from.
    pub fn source(&self) -> Source {
        self.source
    }

    /// Who it is, if that was asked.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }
}

impl Level {
    /// Every level, the weakest first.
    pub const ALL: [Self; 6] =
        [Self::Open, Self::Allow, Self::Knock, Self::Http, Self::Mtls, Self::EndToEnd];

    /// What configurations call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Allow => "allow",
            Self::Knock => "knock",
            Self::Http => "http",
            Self::Mtls => "mtls",
            Self::EndToEnd => "end-to-end",
        }
    }
}

impl FromStr for Level {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let names = Self::ALL.map(Self::name);
        let found = Self::ALL.into_iter().find(|it| it.name() == text);
        found.ok_or_else(|| format!("no level; known: {}", names.join(", ")))
    }
}

impl Identity {
    /// Reads a name.
    pub fn parse(text: &str) -> Result<Self, NoIdentity> {
        let good = |it: u8| it.is_ascii_graphic() && !b"\"'\\:,;<>".contains(&it);
        if text.is_empty() || limits::IDENTITY_OCTETS < text.len() || !text.bytes().all(good) {
            return Err(NoIdentity);
        }
        Ok(Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Identity {
    type Err = NoIdentity;
    fn from_str(text: &str) -> Result<Self, NoIdentity> {
        Self::parse(text)
    }
}

impl Source {
    /// The source that an address belongs to.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(v4.into()),
            IpAddr::V6(v6) => Self(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into()),
        }
    }

    /// Its address, or its network's first.
    pub fn address(self) -> IpAddr {
        self.0
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Shows the first letter only: who asks for what is personal data.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", &self.0[..1])
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(v4) => v4.fmt(f),
            IpAddr::V6(v6) => write!(f, "{v6}/64"),
        }
    }
}

/// Shows a wider network only: an address is personal data.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", crate::dns::source_prefix(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_level_asks_for_admits() {
        let who = || Identity::parse("lee").unwrap();
        let source = Source::of([192, 0, 2, 7].into());
        let (o, a, k, h, m, e) =
            (Level::Open, Level::Allow, Level::Knock, Level::Http, Level::Mtls, Level::EndToEnd);
        for (shown, levels) in [
            (Shown::Nothing, vec![o]),
            (Shown::Network, vec![o, a]),
            (Shown::Armed(who()), vec![o, k]),
            (Shown::Credential(who()), vec![o, h]),
            (Shown::Certificate(who()), vec![o, m]),
            (Shown::ClientKey(who()), vec![o, a, k, h, m, e]),
        ] {
            for level in Level::ALL {
                let admitted = admit(level, shown.clone(), source);
                assert_eq!(admitted.is_some(), levels.contains(&level), "{shown:?} for {level}");
            }
        }
    }

    #[test]
    fn one_address_of_four_and_one_network_of_six_count_together() {
        let of = |text: &str| Source::of(text.parse().unwrap());
        assert_eq!(of("192.0.2.7"), of("::ffff:192.0.2.7"));
        assert_ne!(of("192.0.2.7"), of("192.0.2.8"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    }

    #[test]
    fn a_name_that_could_break_a_header_is_none() {
        for text in ["", "a b", "a\"b", "a\r\nb", "ä", "a:b", "a,b", &"a".repeat(65)] {
            assert_eq!(Identity::parse(text), Err(NoIdentity), "{text}");
        }
        assert_eq!(Identity::parse("dr.lee@clinic.example").unwrap().as_str().len(), 21);
    }

    #[test]
    fn a_level_is_read_by_its_name() {
        assert!(Level::ALL.into_iter().all(|it| it.name().parse() == Ok(it)));
        assert!("none".parse::<Level>().is_err());
    }
}
