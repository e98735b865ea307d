//! The budgets of a public proxy's file: what terminals, sources and tenants may spend.

use std::collections::BTreeMap;

use ringback_proto::budget::{Money, Rules, TenantRules};
use ringback_proto::limits::WAITING_CLIENTS_PER_SOURCE;
use ringback_proto::terminal::TenantName;

use super::section::Section;

/// What may be spent, and who may wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetConfig {
    /// How much is allowed.
    pub rules: Rules,
    /// What the operator calls its money.
    pub currency: String,
    /// Clients of one source that may wait at once.
    pub waiting_per_source: usize,
}

/// The most that can be configured of anything that is counted: more is no limit at all.
const MOST: u64 = 1_000_000_000;

/// Reads `[budget]` and `[[tenant]]`; what is missing is as it was measured to be enough.
pub(super) fn read(root: &mut Section<'_>) -> BudgetConfig {
    let defaults = Rules::default();
    let mut config = BudgetConfig {
        rules: defaults.clone(),
        currency: String::new(),
        waiting_per_source: WAITING_CLIENTS_PER_SOURCE,
    };
    if let Some(mut section) = root.section("budget") {
        let mut number = |key, default| section.number(key, 0, MOST, default);
        config.rules = Rules {
            terminal_per_5_minutes: number(
                "terminal_per_5_minutes",
                defaults.terminal_per_5_minutes,
            ),
            terminal_per_hour: number("terminal_per_hour", defaults.terminal_per_hour),
            terminal_per_day: number("terminal_per_day", defaults.terminal_per_day),
            source_per_hour: number("source_per_hour", defaults.source_per_hour),
            breaker_unanswered: number("breaker_unanswered", defaults.breaker_unanswered),
            tenant: TenantRules {
                rings_per_day: number("rings_per_day", defaults.tenant.rings_per_day),
                money_per_day: Money::default(),
            },
            breaker_seconds: section.number("breaker_seconds", 1, 3600, defaults.breaker_seconds),
            tenants: BTreeMap::new(),
        };
        let waiting = WAITING_CLIENTS_PER_SOURCE as u64;
        let waiting = section.number("waiting_per_source", 1, 16_384, waiting);
        config.waiting_per_source = usize::try_from(waiting).unwrap_or(WAITING_CLIENTS_PER_SOURCE);
        config.currency = section.text("currency").unwrap_or_default();
        if !config.currency.bytes().all(|it| it.is_ascii_alphanumeric()) {
            section.wrong("currency", "letters and digits only, such as EUR");
        }
        section.finish();
    }
    config.rules.tenants = read_tenants(root, config.rules.tenant);
    config
}

fn read_tenants(root: &mut Section<'_>, default: TenantRules) -> BTreeMap<TenantName, TenantRules> {
    let mut tenants = BTreeMap::new();
    for mut section in root.sections("tenant") {
        let name: Option<TenantName> = section.required("name");
        let rings_per_day = section.number("rings_per_day", 0, MOST, default.rings_per_day);
        let money_per_day: Money = section.text("money_per_day").unwrap_or_default();
        let rules = TenantRules { rings_per_day, money_per_day };
        if let Some(name) = name
            && tenants.insert(name, rules).is_some()
        {
            section.wrong("name", "another tenant has this name");
        }
        section.finish();
    }
    tenants
}
