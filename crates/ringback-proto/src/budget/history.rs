//! What was spent, second by second, over a span that slides.
//!
//! Exact: an entry counts until its span is over and not a second longer. At most one entry a
//! second is kept, so a day has at most 86 400.

use std::collections::VecDeque;

/// The sum of one second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When, in unix seconds.
    pub at: u64,
    /// How many signals or calls.
    pub rings: u64,
    /// What they cost, in millionths.
    pub money: u64,
}

/// The sums of a span, the oldest first.
#[derive(Debug, Default)]
pub(super) struct History {
    entries: VecDeque<Entry>,
    /// Sums of all entries, so that who has spent all is told so without counting again.
    rings: u64,
    money: u64,
}

impl History {
    /// Adds to the last second; what is older than the span is forgotten.
    pub(super) fn add(&mut self, entry: Entry, span: u64) {
        self.prune(entry.at, span);
        self.rings = self.rings.saturating_add(entry.rings);
        self.money = self.money.saturating_add(entry.money);
        match self.entries.back_mut() {
            Some(last) if entry.at <= last.at => {
                last.rings = last.rings.saturating_add(entry.rings);
                last.money = last.money.saturating_add(entry.money);
            }
            Some(_) | None => self.entries.push_back(entry),
        }
    }

    /// Forgets what is older than the span; whether anything is left.
    pub(super) fn prune(&mut self, now: u64, span: u64) -> bool {
        while let Some(oldest) = self.entries.front()
            && oldest.at.saturating_add(span) <= now
        {
            self.rings = self.rings.saturating_sub(oldest.rings);
            self.money = self.money.saturating_sub(oldest.money);
            self.entries.pop_front();
        }
        !self.entries.is_empty()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// When nothing will be left of it.
    pub(super) fn forgotten_at(&self, span: u64) -> u64 {
        self.entries.back().map_or(0, |it| it.at.saturating_add(span))
    }

    /// How much of either lies within a span that ends now.
    pub(super) fn within(&self, now: u64, span: u64) -> (u64, u64) {
        let counts = self.entries.iter().rev().take_while(|it| now < it.at.saturating_add(span));
        counts.fold((0, 0), |(rings, money), it| (rings + it.rings, money.saturating_add(it.money)))
    }

    /// How many seconds it takes until one more ring fits below `most`; 0 if it fits now, or if
    /// `most` is 0. Looks back no further than `most` rings.
    pub(super) fn wait(&self, now: u64, span: u64, most: u64) -> u64 {
        let Some(mut room) = most.checked_sub(1) else { return 0 };
        for entry in self.entries.iter().rev() {
            let until = entry.at.saturating_add(span);
            if until <= now {
                break;
            }
            match room.checked_sub(entry.rings) {
                Some(left) => room = left,
                None => return until - now,
            }
        }
        0
    }

    /// The same for the whole span that is kept, by its sum: as quick for a million rings as for one.
    pub(super) fn wait_for_ring(&self, now: u64, span: u64, most: u64) -> u64 {
        self.wait_for(now, span, (1, most), self.rings, |it| it.rings)
    }

    /// The same for an amount of money. What never fits waits a whole span.
    pub(super) fn wait_for_money(&self, now: u64, span: u64, amount: u64, most: u64) -> u64 {
        self.wait_for(now, span, (amount, most), self.money, |it| it.money)
    }

    fn wait_for(
        &self,
        now: u64,
        span: u64,
        (amount, most): (u64, u64),
        sum: u64,
        of: fn(&Entry) -> u64,
    ) -> u64 {
        if most == 0 || amount == 0 {
            return 0;
        }

        let Some(room) = most.checked_sub(amount) else { return span };
        let (mut left, mut wait) = (sum, 0);
        for oldest in &self.entries {
            if left <= room {
                break;
            }
            left = left.saturating_sub(of(oldest));
            wait = oldest.at.saturating_add(span).saturating_sub(now);
        }
        wait
    }
}
