//! Budgets, exactly: never one ring too many, never one too few, whatever the clock and the crashes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ringback_proto::access_request::Kid;
use ringback_proto::budget::{
    BreakerIs, Budgets, Charge, Money, Notice, Record, Rules, TenantRules,
};
use ringback_proto::gate::Source;
use ringback_proto::limits;
use ringback_proto::refusal::Budget;
use ringback_proto::switchboard::{Call, CallEnd};
use ringback_proto::terminal::TenantName;

const NOON: u64 = 1_800_000_000;
const PRICE: u64 = 45_000;

/// A purse that keeps a journal, as the shell does.
struct Purse {
    budgets: Budgets,
    rules: Rules,
    journal: Vec<String>,
    calls: u64,
}

impl Purse {
    fn new(rules: Rules) -> Self {
        let (budgets, journal) = (Budgets::new(rules.clone()), Vec::new());
        Self { budgets, rules, journal, calls: 0 }
    }

    /// A call of one signal.
    fn calls(&mut self, kid: u32, host: u32, at: u64) -> Result<u64, (Budget, u64)> {
        self.calls += 1;
        self.signals(kid, host, self.calls, 1, at)?;
        Ok(self.calls)
    }

    fn signals(
        &mut self,
        kid: u32,
        host: u32,
        id: u64,
        signal: usize,
        at: u64,
    ) -> Result<(), (Budget, u64)> {
        let charge = Charge {
            kid: Kid(kid),
            source: source(host),
            tenant: tenant(kid),
            price: Money::from_micros(PRICE),
            call: Call { id, signal },
        };
        let asked = self.budgets.ask(&charge, at);
        let record = asked.map_err(|it| (it.budget, it.wait.as_secs()))?;
        self.note(&record);
        Ok(())
    }

    fn ends(&mut self, call: u64, kid: u32, how: CallEnd, at: u64) {
        let record = self.budgets.ended(call, Kid(kid), how, at);
        self.note(&record);
    }

    fn goes_unanswered(&mut self, kid: u32, at: u64) {
        let call = self.calls(kid, kid, at).expect("a budget");
        self.ends(call, kid, CallEnd::Unanswered, at);
    }

    fn note(&mut self, record: &Record) {
        self.journal.push(record.to_string());
        self.budgets.enter(record);
    }

    fn dies(&mut self) {
        self.budgets = Budgets::new(self.rules.clone());
        for line in &self.journal {
            self.budgets.enter(&line.parse().expect("what was written"));
        }
        self.budgets.resume();
        self.calls = 0;
    }

    fn writes_its_journal_anew(&mut self, at: u64) {
        self.journal = self.budgets.records(at).iter().map(ToString::to_string).collect();
    }
}

fn source(host: u32) -> Source {
    Source::of(IpAddr::V4(host.into()))
}

/// Terminals below 1000 are the first tenant's, the others the second's.
fn tenant(kid: u32) -> TenantName {
    TenantName::parse(if kid < 1000 { "one" } else { "two" }).expect("a good name")
}

fn with_tenant(rings_per_day: u64, signals_worth: u64) -> Rules {
    let money_per_day = Money::from_micros(signals_worth * PRICE);
    let rules = TenantRules { rings_per_day, money_per_day };
    Rules { tenants: BTreeMap::from([(tenant(0), rules)]), ..Rules::none() }
}

fn row_of(breaker_unanswered: u64) -> Rules {
    Rules { breaker_unanswered, breaker_seconds: 60, ..Rules::none() }
}

// Windows.

#[test]
fn a_terminal_is_called_three_times_in_any_five_minutes_and_then_again() {
    let mut purse = Purse::new(Rules::default());
    for (host, at) in [(1, 0), (2, 100), (3, 200)] {
        purse.calls(7, host, NOON + at).unwrap();
    }
    assert_eq!(purse.calls(7, 4, NOON + 200), Err((Budget::Terminal, 100)));
    assert_eq!(purse.calls(7, 4, NOON + 299), Err((Budget::Terminal, 1)));
    assert!(purse.calls(8, 4, NOON + 299).is_ok(), "another terminal");
    assert!(purse.calls(7, 4, NOON + 300).is_ok());
    assert_eq!(purse.calls(7, 4, NOON + 300), Err((Budget::Terminal, 100)));
}

#[test]
fn the_hour_and_the_day_of_a_terminal_are_counted_too() {
    let mut purse = Purse::new(Rules::default());
    let mut made = Vec::new();
    for second in (0..90_000).step_by(50) {
        if purse.calls(7, second, NOON + u64::from(second)).is_ok() {
            made.push(second);
        }
    }
    let within =
        |from: u32, span: u32| made.iter().filter(move |it| from <= **it && **it < from + span);
    assert_eq!(within(0, 86_400).count(), 100);
    assert_eq!(within(0, 3_600).count(), 30);
    assert!(made.iter().all(|it| within(*it, 300).count() <= 3));
    assert_eq!(within(86_400, 300).count(), 3, "a new day begins as the old one did");
}

#[test]
fn the_signals_of_one_ladder_are_one_call_and_each_is_paid() {
    let next = limits::SIGNALS_PER_RING + 1;
    let mut purse = Purse::new(Rules { terminal_per_5_minutes: 1, ..with_tenant(next as u64, 0) });
    for signal in 1..next {
        purse.signals(7, 1, 1, signal, NOON).unwrap();
    }
    let another = purse.signals(7, 1, 1, next, NOON);
    assert_eq!(another, Err((Budget::Terminal, 300)), "a ladder's worth");
    assert!(purse.signals(8, 1, 2, 1, NOON).is_ok());
    assert_eq!(purse.signals(8, 1, 2, 2, NOON), Err((Budget::Tenant, 86_400)), "all are paid");
}

#[test]
fn money_is_spent_to_the_last_signal_and_not_beyond() {
    let mut purse = Purse::new(with_tenant(0, 5));
    assert!((0..5).all(|it| purse.calls(it, it, NOON + u64::from(it)).is_ok()));
    assert_eq!(purse.calls(9, 9, NOON + 10), Err((Budget::Money, 86_390)));
    assert!(purse.calls(1000, 9, NOON + 10).is_ok(), "the other tenant has no limit");
    assert!(purse.calls(9, 9, NOON + 86_400).is_ok());
    for day in 2..5 {
        let at = NOON + day * 86_400 + 10;
        assert_eq!((0..20).filter(|it| purse.calls(*it, *it, at).is_ok()).count(), 5, "day {day}");
    }
}

#[test]
fn a_price_beyond_the_whole_budget_is_never_paid() {
    let rules = TenantRules { rings_per_day: 0, money_per_day: Money::from_micros(PRICE - 1) };
    let tenants = BTreeMap::from([(tenant(0), rules)]);
    let mut purse = Purse::new(Rules { tenants, ..Rules::none() });
    assert_eq!(purse.calls(7, 1, NOON), Err((Budget::Money, 86_400)));
}

#[test]
fn nothing_is_spent_where_one_budget_denies() {
    let mut purse = Purse::new(Rules { source_per_hour: 1, ..with_tenant(2, 0) });
    purse.calls(1, 1, NOON).unwrap();
    assert!((0..100).all(|it| purse.calls(it, 1, NOON) == Err((Budget::Client, 3_600))));
    assert!(purse.calls(1, 2, NOON).is_ok(), "the tenant still has its second");
}

#[test]
fn a_source_that_cannot_be_remembered_counts_as_spent() {
    let mut purse = Purse::new(Rules { source_per_hour: 2, ..Rules::none() });
    for host in 0..limits::BUDGET_SOURCES as u32 {
        purse.calls(host % 1000, host, NOON + u64::from(host / 1000)).unwrap();
    }
    assert_eq!(purse.calls(1, u32::MAX, NOON + 100), Err((Budget::Client, 3_500)));
    assert!(purse.calls(1, 5, NOON + 100).is_ok(), "who is remembered goes on");
    assert!(purse.calls(1, u32::MAX, NOON + 3_600).is_ok(), "the oldest are forgotten");
}

// Crashes and clocks.

#[test]
fn ten_thousand_calls_of_many_at_once_cost_each_budget_exactly_through_crashes() {
    let rules = Rules { terminal_per_5_minutes: 3, source_per_hour: 10, ..with_tenant(250, 0) };
    let mut purse = Purse::new(rules);
    let mut made: BTreeMap<(u32, u32), u64> = BTreeMap::new();
    for number in 0..10_000_u32 {
        let (kid, host) = (number % 100 + 1000 * (number % 2), number / 7 % 300);
        if purse.calls(kid, host, NOON + u64::from(number / 500)).is_ok() {
            *made.entry((kid, host)).or_default() += 1;
        }
        match number % 1_000 {
            333 => purse.dies(),
            666 => purse.writes_its_journal_anew(NOON + u64::from(number / 500)),
            _ => {}
        }
    }
    let sum = |test: &dyn Fn(u32, u32) -> bool| -> u64 {
        made.iter().filter(|((kid, host), _)| test(*kid, *host)).map(|(_, count)| count).sum()
    };
    let terminals: Vec<u32> = (0..100).map(|it| it + 1000 * (it % 2)).collect();
    assert!(terminals.iter().all(|it| sum(&|kid, _| kid == *it) == 3), "3 each, and all of them");
    assert!((0..300).all(|it| sum(&|_, host| host == it) <= 10));
    assert_eq!(sum(&|kid, _| kid < 1000), 150);
}

#[test]
fn a_tenant_that_has_spent_all_costs_the_other_nothing() {
    let mut purse = Purse::new(with_tenant(10, 0));
    let (mut one, mut two) = (0, 0);
    for number in 0..10_000_u32 {
        one += u32::from(purse.calls(number % 1000, number, NOON).is_ok());
        two += u32::from(purse.calls(1000 + number % 1000, number, NOON).is_ok());
    }
    assert_eq!((one, two), (10, 10_000));
}

#[test]
fn a_journal_that_was_written_anew_leads_to_the_same_budgets() {
    let mut purse = Purse::new(Rules { breaker_unanswered: 12, ..with_tenant(50, 40) });
    for it in 0..30 {
        purse.goes_unanswered(it % 3, NOON + u64::from(it) * 7);
    }
    let before = purse.budgets.report(NOON + 300);
    purse.writes_its_journal_anew(NOON + 300);
    purse.dies();
    assert_eq!(purse.budgets.report(NOON + 300), before);
    assert_eq!(before.tenant_breakers[&tenant(0)], BreakerIs::Closed { unanswered: 9 });
    assert_eq!(before.breaker, BreakerIs::Closed { unanswered: 4 });
}

#[test]
fn a_clock_that_jumps_back_neither_frees_nor_locks() {
    let year = 365 * 86_400;
    for crash in [false, true] {
        let mut purse = Purse::new(Rules { source_per_hour: 1, ..Rules::none() });
        purse.calls(7, 1, NOON).unwrap();
        let back = NOON - year;
        assert_eq!(purse.calls(7, 1, back), Err((Budget::Client, 3_600)), "not freed");
        purse.writes_its_journal_anew(back);
        if crash {
            purse.dies();
        }
        assert_eq!(purse.calls(7, 1, back + 3_599), Err((Budget::Client, 1)));
        assert!(purse.calls(7, 1, back + 3_600).is_ok(), "not locked either");
    }
}

#[test]
fn a_record_is_read_as_it_was_written_and_no_other_line_is() {
    let mut purse = Purse::new(row_of(2));
    purse.goes_unanswered(7, NOON);
    purse.goes_unanswered(8, NOON);
    purse.calls(9, 1, NOON + 60).unwrap();
    purse.writes_its_journal_anew(NOON + 60);
    for line in &purse.journal {
        assert_eq!(&line.parse::<Record>().unwrap().to_string(), line);
        for end in 0..line.len() {
            let cut = line[..end].parse::<Record>();
            assert!(cut.is_err() || !line[end..].contains(' '), "{:?}", &line[..end]);
        }
    }
    assert!("charged 1 2 3".parse::<Record>().is_err());
}

// The breaker and the alarm.

#[test]
fn twelve_unanswered_calls_in_a_row_stop_their_tenant_for_a_minute() {
    let mut purse = Purse::new(row_of(12));
    (0..11).for_each(|kid| purse.goes_unanswered(kid, NOON));
    assert_eq!(purse.budgets.notices(NOON)[..], [Notice::FewAnswered { answered: 0, called: 11 }]);
    purse.goes_unanswered(11, NOON);
    assert_eq!(purse.calls(99, 99, NOON), Err((Budget::Breaker, 60)));
    assert_eq!(purse.budgets.notices(NOON), [Notice::BreakerOpened { whose: Some(tenant(0)) }]);
    assert_eq!(purse.budgets.notices(NOON), [], "told once");

    let trial = purse.calls(50, 50, NOON + 60).unwrap();
    assert_eq!(purse.calls(51, 51, NOON + 61), Err((Budget::Breaker, 59)), "one at a time");
    assert!(purse.signals(50, 50, trial, 2, NOON + 68).is_ok(), "the trial rings again");
    purse.ends(trial, 50, CallEnd::Unanswered, NOON + 70);
    let trial = purse.calls(51, 51, NOON + 70).unwrap();
    assert!(purse.calls(52, 52, NOON + 71).is_err());
    purse.ends(trial, 51, CallEnd::Answered, NOON + 75);
    assert!((60..80).all(|kid| purse.calls(kid, kid, NOON + 76).is_ok()));
    assert_eq!(
        purse.budgets.notices(NOON + 76),
        [Notice::BreakerClosed { whose: Some(tenant(0)) }]
    );
}

#[test]
fn one_dead_terminal_stops_nobody() {
    let mut purse = Purse::new(row_of(12));
    (0..100).for_each(|_| purse.goes_unanswered(7, NOON));
    assert!(purse.calls(8, 8, NOON).is_ok());
    (0..9).for_each(|kid| purse.goes_unanswered(100 + kid, NOON));
    assert!(purse.calls(8, 8, NOON).is_err(), "three of it and nine others");
}

#[test]
fn an_answer_in_between_ends_the_row_and_a_client_that_leaves_does_not_lengthen_it() {
    let mut purse = Purse::new(row_of(4));
    for round in 0..10 {
        (0..3).for_each(|kid| purse.goes_unanswered(kid, NOON + round));
        for how in [CallEnd::Abandoned, CallEnd::Answered] {
            let call = purse.calls(9, 9, NOON + round).unwrap();
            purse.ends(call, 9, how, NOON + round);
        }
    }
}

#[test]
fn an_open_breaker_is_open_after_a_crash_and_a_trial_that_died_holds_nobody_for_ever() {
    let mut purse = Purse::new(row_of(2));
    purse.goes_unanswered(1, NOON);
    purse.goes_unanswered(2, NOON);
    purse.dies();
    assert_eq!(purse.calls(3, 3, NOON + 59), Err((Budget::Breaker, 1)));
    purse.calls(3, 3, NOON + 60).unwrap();
    purse.dies();
    assert_eq!(purse.calls(4, 4, NOON + 119), Err((Budget::Breaker, 1)));
    assert!(purse.calls(4, 4, NOON + 120).is_ok());
}

#[test]
fn a_trial_whose_client_leaves_keeps_its_place_until_its_time_is_over() {
    let mut purse = Purse::new(row_of(1));
    purse.goes_unanswered(1, NOON);
    let trial = purse.calls(2, 2, NOON + 60).unwrap();
    purse.ends(trial, 2, CallEnd::Abandoned, NOON + 61);
    assert_eq!(purse.calls(3, 3, NOON + 61), Err((Budget::Breaker, 59)));
}

#[test]
fn a_probe_waits_for_an_open_breaker_only_and_takes_no_trials_place() {
    let mut purse = Purse::new(row_of(1));
    purse.goes_unanswered(1, NOON);
    let probes = |purse: &mut Purse, at| {
        let call = Call::PROBE;
        let charge = Charge {
            kid: Kid(2),
            source: source(2),
            tenant: tenant(2),
            price: Money::default(),
            call,
        };
        let asked = purse.budgets.ask(&charge, at);
        asked.map(|it| purse.note(&it)).map_err(|it| (it.budget, it.wait.as_secs()))
    };
    assert_eq!(probes(&mut purse, NOON + 59), Err((Budget::Breaker, 1)));
    assert_eq!(probes(&mut purse, NOON + 60), Ok(()), "nobody else calls");
    purse.calls(3, 3, NOON + 60).expect("the trial's place is free");
    assert_eq!(probes(&mut purse, NOON + 61), Ok(()), "beside a trial");
    assert_eq!(purse.calls(4, 4, NOON + 61), Err((Budget::Breaker, 59)));
}

#[test]
fn the_alarm_is_told_when_it_begins_and_when_it_ends() {
    let mut purse = Purse::new(Rules::none());
    (0..9).for_each(|kid| purse.goes_unanswered(kid, NOON));
    assert_eq!(purse.budgets.notices(NOON), [], "nine calls prove nothing");
    purse.goes_unanswered(9, NOON);
    let begins = Notice::FewAnswered { answered: 0, called: 10 };
    assert_eq!(purse.budgets.notices(NOON), [begins]);
    assert_eq!(purse.budgets.notices(NOON + 3_599), []);
    assert_eq!(purse.budgets.notices(NOON + 3_600), [Notice::EnoughAnswered]);
}
