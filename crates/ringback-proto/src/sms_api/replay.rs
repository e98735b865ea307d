//! Which posts have been taken: the newest so many, so that a post that comes twice counts once.
//!
//! It saves useless work only. Whether a signal is fresh is not judged here.

use std::collections::{BTreeSet, VecDeque};

use sha2::{Digest, Sha256};

use super::post::Posted;
use crate::limits::SMS_API_REMEMBERED_POSTS;

/// The posts that have been taken.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    order: VecDeque<Mark>,
    known: BTreeSet<Mark>,
}

/// What one post is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark([u8; 32]);

impl Mark {
    /// By the provider's name for the SMS, else by all that was posted.
    pub fn of(posted: &Posted, all: &[u8]) -> Self {
        let (kind, octets) = posted.id.as_ref().map_or((b"a", all), |it| (b"i", &it[..]));
        Self(Sha256::new().chain_update(kind).chain_update(octets).finalize().into())
    }
}

impl Taken {
    /// Whether it was taken before, as far as that is remembered.
    pub fn knows(&self, mark: Mark) -> bool {
        self.known.contains(&mark)
    }

    /// Remembers one more; the oldest is forgotten.
    pub fn remember(&mut self, mark: Mark) {
        if !self.known.insert(mark) {
            return;
        }
        self.order.push_back(mark);
        if SMS_API_REMEMBERED_POSTS < self.order.len()
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(id: Option<usize>, all: &[u8]) -> Mark {
        let id = id.map(|it| it.to_string().into_bytes());
        Mark::of(&Posted { from: "".into(), to: "".into(), octets: vec![1], id }, all)
    }

    #[test]
    fn a_post_is_known_by_its_id_and_without_one_by_all_of_it() {
        assert_eq!(mark(Some(1), b"a"), mark(Some(1), b"b"));
        assert_ne!(mark(Some(1), b"a"), mark(Some(2), b"a"));
        assert_ne!(mark(None, b"a"), mark(None, b"b"));
        assert_ne!(mark(None, b"1"), mark(Some(1), b"1"));
    }

    #[test]
    fn the_oldest_is_forgotten_and_nothing_grows() {
        let mut taken = Taken::default();
        for id in 0..=SMS_API_REMEMBERED_POSTS {
            taken.remember(mark(Some(id), b""));
            taken.remember(mark(Some(id), b""));
        }
        assert!(!taken.knows(mark(Some(0), b"")) && taken.knows(mark(Some(1), b"")));
        assert!(taken.knows(mark(Some(SMS_API_REMEMBERED_POSTS), b"")));
        assert_eq!(
            (taken.order.len(), taken.known.len()),
            (SMS_API_REMEMBERED_POSTS, SMS_API_REMEMBERED_POSTS)
        );
    }
}
