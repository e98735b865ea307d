//! Whom a breaker stops: one tenant's dead terminals no other, and a few of many terminals nobody.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use ringback_proto::access_request::Kid;
use ringback_proto::budget::{
    BreakerIs, Budgets, Charge, Denial, Money, Record, Rules, SteadyClock,
};
use ringback_proto::gate::Source;
use ringback_proto::limits;
use ringback_proto::refusal::Budget;
use ringback_proto::switchboard::{Call, CallEnd};
use ringback_proto::terminal::TenantName;

const NOON: u64 = 1_800_000_000;

struct Story {
    budgets: Budgets,
    journal: Vec<Record>,
    calls: u64,
}

impl Story {
    fn new() -> Self {
        let rules = Rules { breaker_unanswered: 12, breaker_seconds: 60, ..Rules::none() };
        Self { budgets: Budgets::new(rules), journal: Vec::new(), calls: 0 }
    }

    fn calls(&mut self, tenant: &str, kid: u32, at: u64) -> Result<u64, Denial> {
        self.calls += 1;
        let charge = Charge {
            kid: Kid(kid),
            source: Source::of(IpAddr::V4(kid.into())),
            tenant: name(tenant),
            price: Money::from_micros(1),
            call: Call { id: self.calls, signal: 1 },
        };
        let record = self.budgets.ask(&charge, at)?;
        self.note(record);
        Ok(self.calls)
    }

    fn note(&mut self, record: Record) {
        self.budgets.enter(&record);
        self.journal.push(record);
    }

    /// A call that ends so many seconds later.
    fn ends(&mut self, tenant: &str, kid: u32, (how, after): (CallEnd, u64), at: u64) {
        let call = self.calls(tenant, kid, at).expect("no breaker open");
        let record = self.budgets.ended(call, Kid(kid), how, at + after);
        self.note(record);
    }

    fn unanswered(&mut self, tenant: &str, kids: impl IntoIterator<Item = u32>) {
        for kid in kids {
            self.ends(tenant, kid, (CallEnd::Unanswered, 0), NOON);
        }
    }

    fn answered(&mut self, tenant: &str, kids: impl IntoIterator<Item = u32>) {
        for kid in kids {
            self.ends(tenant, kid, (CallEnd::Answered, 0), NOON);
        }
    }

    fn is_stopped(&mut self, tenant: &str) -> bool {
        let before = self.journal.len();
        let asked = self.calls(tenant, 9_999, NOON + 30);
        assert!(asked.is_ok() || asked.is_err_and(|it| it.budget == Budget::Breaker));
        self.journal.len() == before
    }
}

fn name(tenant: &str) -> TenantName {
    TenantName::parse(tenant).expect("a good name")
}

/// Three calls each of four terminals.
fn four_dead() -> impl Iterator<Item = u32> {
    (0..12).map(|it| it / 3)
}

#[test]
fn four_dead_terminals_of_one_tenant_do_not_stop_another_tenant() {
    let mut story = Story::new();
    story.unanswered("bad", four_dead());
    assert!(story.is_stopped("bad"));
    assert!(!story.is_stopped("good"));
}

#[test]
fn four_dead_terminals_of_many_stop_nobody_and_twelve_do() {
    let mut story = Story::new();
    story.answered("one", 100..130);
    story.unanswered("one", four_dead());
    assert!(!story.is_stopped("one"));
    story.unanswered("one", 4..11);
    assert!(!story.is_stopped("one"), "eleven of them");
    story.unanswered("one", 11..12);
    assert!(story.is_stopped("one"));
}

#[test]
fn everybody_is_stopped_when_three_tenants_get_no_answer_and_by_no_two() {
    let mut story = Story::new();
    story.unanswered("one", 0..11);
    story.unanswered("two", 100..111);
    assert!(!story.is_stopped("four"));
    story.unanswered("three", 200..203);
    assert!(!story.is_stopped("four"), "a third of the row each");
    story.unanswered("three", 203..204);
    assert!(story.is_stopped("four"));
}

#[test]
fn an_answer_of_any_tenant_ends_the_row_of_all_but_not_that_of_another_tenant() {
    let mut story = Story::new();
    story.unanswered("one", 0..11);
    story.unanswered("two", 100..111);
    story.answered("four", [300]);
    story.unanswered("three", 200..211);
    assert!(!story.is_stopped("four"));
    story.unanswered("one", 11..12);
    assert!(story.is_stopped("one") && !story.is_stopped("two"));
}

#[test]
fn clients_that_hang_up_late_hide_no_dead_terminal_and_early_they_make_none_seem_dead() {
    let late = limits::ABANDONED_COUNTS_AFTER.as_secs();
    for (after, stopped) in [(0, false), (late - 1, false), (late, true)] {
        let mut story = Story::new();
        (0..12).for_each(|kid| story.ends("one", kid, (CallEnd::Abandoned, after), NOON));
        assert_eq!(story.is_stopped("one"), stopped, "{after} s");
    }
}

#[test]
fn breakers_are_the_same_after_a_crash_and_after_the_journal_was_written_anew() {
    let mut story = Story::new();
    story.answered("one", 100..130);
    for (tenant, kids) in [("one", 0..11), ("two", 200..212), ("three", 300..303)] {
        story.unanswered(tenant, kids);
    }
    let before = story.budgets.report(NOON);
    assert_eq!(before.tenant_breakers[&name("two")], BreakerIs::Open { seconds: 60 });
    assert_eq!(before.breaker, BreakerIs::Closed { unanswered: 11 });
    let anew = story.budgets.records(NOON);
    for journal in [story.journal, anew] {
        let mut again = Story::new();
        for record in journal {
            again.note(record.to_string().parse().expect("what was written"));
        }
        assert_eq!(again.budgets.report(NOON), before);
        again.calls = 1_000;
        assert!(again.is_stopped("two") && !again.is_stopped("one"));
        again.unanswered("three", 303..304);
        assert!(again.is_stopped("one"));
    }
}

#[test]
fn a_clock_is_believed_as_far_as_time_has_passed() {
    #[allow(clippy::disallowed_methods, reason = "all other moments are counted from it")]
    let begun = Instant::now();
    let clock = SteadyClock::new(NOON, begun);
    let slack = limits::CLOCK_SLACK_SECONDS;
    for (says, passed, believed) in [
        (NOON + 10, 10, NOON + 10),
        (NOON + 10 + slack, 10, NOON + 10 + slack),
        (NOON + 86_400, 10, NOON + 10 + slack),
        (NOON + 86_400, 86_400, NOON + 86_400),
        (NOON - 86_400, 10, NOON - 86_400),
    ] {
        assert_eq!(clock.believe(says, begun + Duration::from_secs(passed)), believed);
    }
}
