//! Where the world's signals are paid for: the real budgets, and a count of every coin beside them.

use ringback_proto::budget::{Budgets, Charge, Denial, Money, Record, Rules};
use ringback_proto::limits;
use ringback_proto::refusal::Budget;

/// What one signal costs.
pub(crate) const PRICE: Money = Money::from_micros(45_000);

pub(crate) struct Till {
    budgets: Budgets,
    rules: Rules,
    paid: Vec<(u64, Charge)>,
    /// How many signals were denied by a budget of any kind.
    pub(crate) denied: usize,
    journal: Vec<String>,
}

impl Till {
    pub(crate) fn new(rules: Rules) -> Self {
        let budgets = Budgets::new(rules.clone());
        Self { budgets, rules, paid: Vec::new(), denied: 0, journal: Vec::new() }
    }

    /// Asks the budgets, and checks their word by counting all that was ever paid.
    pub(crate) fn ask(&mut self, charge: Charge, at: u64) -> Result<(), Denial> {
        match self.budgets.ask(&charge, at) {
            Ok(record) => {
                self.note(&record);
                self.paid.push((at, charge.clone()));
                for (budget, used, limit) in self.counts(&charge, at) {
                    assert!(limit == 0 || used <= limit, "{budget:?}: {used} of {limit}");
                }
                Ok(())
            }
            Err(denial) => {
                self.denied += 1;
                self.paid.push((at, charge.clone()));
                let full = self.counts(&charge, at).into_iter().any(|(budget, used, limit)| {
                    budget == denial.budget && 0 < limit && limit < used
                });
                self.paid.pop();
                assert!(full || denial.budget == Budget::Breaker, "{denial:?} without need");
                assert!(!denial.wait.is_zero());
                Err(denial)
            }
        }
    }

    pub(crate) fn ended(&mut self, record: impl FnOnce(&mut Budgets) -> Record) {
        let record = record(&mut self.budgets);
        self.note(&record);
    }

    /// The process is killed and begins anew with what was written down.
    pub(crate) fn dies(&mut self) {
        self.budgets = Budgets::new(self.rules.clone());
        for line in &self.journal {
            self.budgets.enter(&line.parse().expect("what was written can be read"));
        }
        self.budgets.resume();
    }

    fn note(&mut self, record: &Record) {
        self.journal.push(record.to_string());
        self.budgets.enter(record);
    }

    /// What was paid in each window that this charge counts in, itself included.
    fn counts(&self, charge: &Charge, at: u64) -> Vec<(Budget, u64, u64)> {
        if self.rules == Rules::none() {
            return Vec::new();
        }
        let within = |span: u64, test: &dyn Fn(&Charge) -> bool| {
            let counts = self.paid.iter().filter(|(then, it)| at < then + span && test(it));
            counts.count() as u64
        };
        let first = |it: &Charge| it.call.signal % limits::SIGNALS_PER_RING == 1;
        let rules = &self.rules;
        let tenant = rules.tenants.get(&charge.tenant).copied().unwrap_or(rules.tenant);
        let rings = within(86_400, &|it| it.tenant == charge.tenant);
        let spent =
            self.paid.iter().filter(|(then, it)| at < then + 86_400 && it.tenant == charge.tenant);
        let money = spent.map(|(_, it)| it.price.micros()).sum();
        let mut counts = vec![
            (Budget::Tenant, rings, tenant.rings_per_day),
            (Budget::Money, money, tenant.money_per_day.micros()),
        ];
        if first(charge) {
            let terminal = |it: &Charge| it.kid == charge.kid && first(it);
            let source = |it: &Charge| it.source == charge.source && first(it);
            counts.extend([
                (Budget::Terminal, within(300, &terminal), rules.terminal_per_5_minutes),
                (Budget::Terminal, within(3_600, &terminal), rules.terminal_per_hour),
                (Budget::Terminal, within(86_400, &terminal), rules.terminal_per_day),
                (Budget::Client, within(3_600, &source), rules.source_per_hour),
            ]);
        }
        counts
    }
}
