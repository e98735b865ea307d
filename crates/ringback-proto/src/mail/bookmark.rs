//! Which mails of a folder have been handled, by their UIDs (RFC 3501, 2.3.1.1).
//!
//! The newest come first, so that a thousand mails of junk do not stand before a signal. What has
//! not been handled is therefore a list of gaps and not one number.

use std::fmt;

use crate::limits::{MAIL_BACKLOG, MAIL_BATCH};

/// A folder's bookmark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bookmark {
    validity: u32,
    /// The highest UID that has been heard of.
    last: u32,
    /// Up to here, mails were there before the bookmark: whether they were handled is unknown.
    doubtful: u32,
    /// In ascending order; they neither overlap nor touch.
    gaps: Vec<Batch>,
}

/// Mails from a first to a last UID, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The lowest.
    pub first: u32,
    /// The highest.
    pub last: u32,
}

impl Bookmark {
    /// Begins a bookmark of a folder whose UIDs are valid under this number; `last` is the highest.
    pub fn new(validity: u32, last: u32) -> Self {
        let mut bookmark = Self { validity, last: 0, doubtful: last, gaps: Vec::new() };
        bookmark.arrived(last);
        bookmark
    }

    /// Whether the bookmark still holds under this number.
    pub fn is_valid(&self, validity: u32) -> bool {
        self.validity == validity
    }

    /// Whether the folder has gone back behind the bookmark, if this is the UID of its next mail:
    /// then the bookmark is of another folder, or of a time that has been undone.
    pub fn is_ahead_of(&self, next: u32) -> bool {
        next <= self.last
    }

    /// Whether nobody knows if this mail was handled: then it was if it is marked so.
    pub fn is_doubtful(&self, uid: u32) -> bool {
        uid <= self.doubtful
    }

    /// Notes that there are mails up to this UID. Of too many the oldest are passed over.
    pub fn arrived(&mut self, last: u32) {
        if last <= self.last {
            return;
        }
        match self.gaps.last_mut() {
            Some(gap) if gap.last == self.last => gap.last = last,
            Some(_) | None => self.gaps.push(Batch { first: self.last + 1, last }),
        }
        self.last = last;

        let mut room = MAIL_BACKLOG;
        for gap in self.gaps.iter_mut().rev() {
            let length = gap.last - gap.first + 1;
            if room < length {
                // A gap that gets no room at all ends up empty, and goes.
                gap.first = gap.last - room + 1;
            }
            room = room.saturating_sub(length);
        }
        self.gaps.retain(|gap| gap.first <= gap.last);
    }

    /// The next mails to handle: the newest.
    pub fn batch(&self) -> Option<Batch> {
        let gap = self.gaps.last()?;
        let first = gap.first.max(gap.last.saturating_sub(MAIL_BATCH - 1));
        Some(Batch { first, last: gap.last })
    }

    /// The next mails to handle where some of them are suspected: those one by one.
    pub fn batch_beside(&self, suspects: Batch) -> Option<Batch> {
        let batch = self.batch()?;
        if suspects.last < batch.last {
            return Some(Batch { first: batch.first.max(suspects.last + 1), ..batch });
        }
        if batch.last < suspects.first {
            return Some(batch);
        }
        Some(Batch { first: batch.last, ..batch })
    }

    /// Notes that mails have been handled.
    pub fn handled(&mut self, batch: Batch) {
        let mut gaps = Vec::with_capacity(self.gaps.len() + 1);
        for gap in &self.gaps {
            let before = batch.first.checked_sub(1).map(|it| (gap.first, gap.last.min(it)));
            let behind = batch.last.checked_add(1).map(|it| (gap.first.max(it), gap.last));
            let left = [before, behind].into_iter().flatten();
            let left = left.filter(|(first, last)| first <= last);
            gaps.extend(left.map(|(first, last)| Batch { first, last }));
        }
        self.gaps = gaps;
    }

    /// Reads what `Display` has written; `None` if it is damaged.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let mut number = || words.next()?.parse().ok();
        let (validity, last, doubtful) = (number()?, number()?, number()?);
        let mut gaps: Vec<Batch> = Vec::new();
        let mut room = MAIL_BACKLOG;
        for word in words {
            let (first, end) = word.split_once(':')?;
            let gap: Batch = Batch { first: first.parse().ok()?, last: end.parse().ok()? };
            let after = gaps.last().map_or(0, |it| it.last);
            if gap.first <= after || gap.last < gap.first || last < gap.last {
                return None;
            }
            room = room.checked_sub((gap.last - gap.first).checked_add(1)?)?;
            gaps.push(gap);
        }
        Some(Self { validity, last, doubtful, gaps })
    }
}

impl Batch {
    /// Whether it is of one mail only.
    pub fn is_single(self) -> bool {
        self.first == self.last
    }

    /// From the lowest to the highest of both.
    pub fn spanning(self, other: Self) -> Self {
        Self { first: self.first.min(other.first), last: self.last.max(other.last) }
    }
}

impl fmt::Display for Bookmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.validity, self.last, self.doubtful)?;
        self.gaps.iter().try_for_each(|gap| write!(f, " {gap}"))
    }
}

/// As IMAP has it.
impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.first, self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(bookmark: &mut Bookmark) -> Vec<(u32, u32)> {
        let mut batches = Vec::new();
        while let Some(batch) = bookmark.batch() {
            batches.push((batch.first, batch.last));
            bookmark.handled(batch);
        }
        batches
    }

    #[test]
    fn the_newest_are_handled_first_also_when_more_arrive_in_between() {
        let mut bookmark = Bookmark::new(7, 40);
        let newest = bookmark.batch().unwrap();
        assert_eq!((newest.first, newest.last), (25, 40));
        bookmark.handled(newest);
        bookmark.arrived(42);
        assert_eq!(drain(&mut bookmark), [(41, 42), (9, 24), (1, 8)]);
        bookmark.arrived(42);
        assert_eq!(bookmark.batch(), None, "nothing is handled twice");
    }

    #[test]
    fn of_too_many_the_oldest_are_passed_over() {
        let mut bookmark = Bookmark::new(7, 0);
        bookmark.arrived(10);
        bookmark.handled(Batch { first: 10, last: 10 });
        bookmark.arrived(10 + MAIL_BACKLOG);
        let batches = drain(&mut bookmark);
        assert_eq!(batches.first(), Some(&(1019, 1034)));
        assert_eq!(batches.last(), Some(&(11, 26)), "1 to 9 are passed over");
        bookmark.arrived(u32::MAX);
        assert_eq!(bookmark.batch().map(|it| it.last), Some(u32::MAX));
        assert_eq!(drain(&mut bookmark).len(), 64);
    }

    #[test]
    fn a_single_mail_out_of_the_middle_is_not_handled_again() {
        let mut bookmark = Bookmark::new(7, 5);
        bookmark.handled(Batch { first: 3, last: 3 });
        assert_eq!(drain(&mut bookmark), [(4, 5), (1, 2)]);
        bookmark.handled(Batch { first: 0, last: u32::MAX });
    }

    #[test]
    fn suspects_are_handled_one_by_one_and_the_others_as_ever() {
        let suspects = Batch { first: 20, last: 22 };
        let mut bookmark = Bookmark::new(7, 40);
        let mut batches = Vec::new();
        while let Some(batch) = bookmark.batch_beside(suspects) {
            batches.push((batch.first, batch.last));
            bookmark.handled(batch);
        }
        assert_eq!(batches, [(25, 40), (23, 24), (22, 22), (21, 21), (20, 20), (4, 19), (1, 3)]);
        let all = Batch { first: 1, last: 3 }.spanning(Batch { first: 2, last: u32::MAX });
        assert_eq!(all, Batch { first: 1, last: u32::MAX });
        bookmark.arrived(u32::MAX);
        assert!(bookmark.batch_beside(all).unwrap().is_single());
    }

    #[test]
    fn what_was_there_before_the_bookmark_is_doubtful() {
        let mut bookmark = Bookmark::new(7, 5);
        bookmark.arrived(6);
        assert!(bookmark.is_doubtful(5) && !bookmark.is_doubtful(6));
        assert!(bookmark.is_valid(7) && !bookmark.is_valid(8));
        assert!(bookmark.is_ahead_of(6) && !bookmark.is_ahead_of(7));
    }

    #[test]
    fn a_bookmark_is_read_as_it_was_written_and_a_damaged_one_not_at_all() {
        let mut bookmark = Bookmark::new(4_294_967_295, 40);
        bookmark.handled(Batch { first: 7, last: 8 });
        let text = bookmark.to_string();
        assert_eq!(text, "4294967295 40 40 1:6 9:40");
        assert_eq!(Bookmark::parse(&text), Some(bookmark));
        let bad = [
            "",
            "7",
            "7 40",
            "7 40 x",
            "7 40 40 5",
            "7 40 40 6:5",
            "7 40 40 0:5",
            "7 40 40 1:41",
            "7 40 40 1:6 6:9",
            "7 4000 0 1:2000",
            "7 40 40 1:6 ",
            "7 4294967295 0 0:4294967295",
        ];
        for text in bad {
            assert_eq!(Bookmark::parse(text), None, "{text:?}");
        }
    }

    /// Against the plainest of models: a list of what has not been handled.
    #[test]
    fn nothing_is_lost_or_repeated_whatever_the_order() {
        let mut seed = 1u64;
        let mut draw = |below: u32| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            u32::try_from(seed >> 33).unwrap() % below
        };
        let (mut bookmark, mut model, mut last) = (Bookmark::new(1, 0), Vec::new(), 0);
        for _ in 0..10_000 {
            match draw(3) {
                0 => {
                    let more = draw(40);
                    model.extend(last + 1..=last + more);
                    last += more;
                    bookmark.arrived(last);
                }
                1 => {
                    let first = draw(last + 2);
                    let batch = Batch { first, last: first + draw(20) };
                    model.retain(|it| *it < batch.first || batch.last < *it);
                    bookmark.handled(batch);
                }
                _ => {
                    let Some(batch) = bookmark.batch() else { continue };
                    assert!((batch.first..=batch.last).all(|it| model.contains(&it)));
                    model.retain(|it| *it < batch.first || batch.last < *it);
                    bookmark.handled(batch);
                }
            }
            let over = model.len().saturating_sub(MAIL_BACKLOG as usize);
            model.drain(..over);
            let left: Vec<u32> = bookmark.gaps.iter().flat_map(|it| it.first..=it.last).collect();
            assert_eq!(left, model);
            assert_eq!(Bookmark::parse(&bookmark.to_string()), Some(bookmark.clone()));
        }
    }
}
