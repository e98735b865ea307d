//! The figures that are measured: one kind of work each, the same for every target.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Octets of a ping, and of what a visit sends and gets.
pub(crate) const PING_OCTETS: usize = 64;
/// Where the service for bulk is behind a tunnel; the others follow.
pub(crate) const BEHIND: [u16; 3] = [7001, 7002, 7003];
/// Where a tunnel offers them.
pub(crate) const BEFORE: [u16; 3] = [8001, 8002, 8003];

/// Which of the three services a figure loads: its place in [`BEHIND`] and [`BEFORE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// Takes bytes or gives them.
    Bulk = 0,
    /// Says what it hears.
    Echo = 1,
    /// Answers HTTP.
    Http = 2,
}

/// Which way bytes flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// From the client.
    Up,
    /// To the client.
    Down,
}

/// One kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) enum Figure {
    /// Bytes as fast as they go.
    Bulk(usize, Way),
    /// Requests over connections that are kept.
    Http(usize),
    /// Connect, say 64 octets, hear 64, close: so many at once.
    Visits(usize),
    /// 64 octets there and back over one connection.
    Ping,
    /// So many connections that say nothing.
    Idle(usize),
}

/// What is measured in time, in the order of measuring.
pub(crate) const TIMED: [Figure; 9] = [
    Figure::Bulk(1, Way::Up),
    Figure::Bulk(1, Way::Down),
    Figure::Bulk(8, Way::Up),
    Figure::Bulk(8, Way::Down),
    Figure::Http(1),
    Figure::Http(64),
    Figure::Visits(1),
    Figure::Visits(64),
    Figure::Ping,
];

impl Figure {
    /// What it loads.
    pub(crate) fn service(self) -> Service {
        match self {
            Self::Bulk(..) => Service::Bulk,
            Self::Http(_) => Service::Http,
            Self::Visits(_) | Self::Ping | Self::Idle(_) => Service::Echo,
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bulk(streams, Way::Up) => write!(f, "bulk{streams}-up"),
            Self::Bulk(streams, Way::Down) => write!(f, "bulk{streams}-down"),
            Self::Http(clients) => write!(f, "http-{clients}"),
            Self::Visits(clients) => write!(f, "conn-{clients}"),
            Self::Ping => f.write_str("ping"),
            Self::Idle(connections) => write!(f, "idle-{connections}"),
        }
    }
}

impl FromStr for Figure {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown =
            || format!("{text:?} is no figure: bulk1-up, http-64, conn-1, ping, idle-1000 …");
        let count = |it: &str| it.parse().map_err(|_| unknown());
        let (kind, rest) = text.split_once('-').unwrap_or((text, ""));
        match (kind, rest) {
            ("ping", "") => Ok(Self::Ping),
            ("http", clients) => Ok(Self::Http(count(clients)?)),
            ("conn", clients) => Ok(Self::Visits(count(clients)?)),
            ("idle", connections) => Ok(Self::Idle(count(connections)?)),
            (bulk, way) => {
                let way = match way {
                    "up" => Way::Up,
                    "down" => Way::Down,
                    _ => return Err(unknown()),
                };
                let streams = bulk.strip_prefix("bulk").ok_or_else(unknown)?;
                Ok(Self::Bulk(count(streams)?, way))
            }
        }
    }
}

impl From<Figure> for String {
    fn from(figure: Figure) -> Self {
        figure.to_string()
    }
}

impl TryFrom<String> for Figure {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_read_as_it_is_written() {
        for figure in TIMED.into_iter().chain([Figure::Idle(5_000)]) {
            assert_eq!(figure.to_string().parse(), Ok(figure));
        }
        assert!("bulk-up".parse::<Figure>().is_err());
        assert!("ping-1".parse::<Figure>().is_err());
    }
}
