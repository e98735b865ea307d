//! One tenant's dead terminals must not stop the rings of another.

use std::net::IpAddr;

use ringback_proto::access_request::Kid;
use ringback_proto::budget::{Budgets, Charge, Money, Rules};
use ringback_proto::gate::Source;
use ringback_proto::switchboard::{Call, CallEnd};
use ringback_proto::terminal::TenantName;

const NOON: u64 = 1_800_000_000;

fn charge(kid: u32, host: u32, tenant: &str, id: u64) -> Charge {
    Charge {
        kid: Kid(kid),
        source: Source::of(IpAddr::V4(host.into())),
        tenant: TenantName::parse(tenant).expect("a good name"),
        price: Money::from_micros(1),
        call: Call { id, signal: 1 },
    }
}

#[test]
fn four_dead_terminals_of_one_tenant_do_not_stop_another_tenant() {
    let mut budgets = Budgets::new(Rules::default());
    let mut id = 0;
    for dead in 0..4 {
        for _ in 0..3 {
            id += 1;
            let record = budgets.ask(&charge(dead, 1 + id as u32 / 10, "bad", id), NOON);
            budgets.enter(&record.expect("within every budget"));
            let ended = budgets.ended(id, Kid(dead), CallEnd::Unanswered, NOON);
            budgets.enter(&ended);
        }
    }
    let honest = budgets.ask(&charge(99, 99, "good", 99), NOON);
    assert!(honest.is_ok(), "{honest:?}");
}
