//! What one seal, one opening, one judgment and one session cost the machines, in time.

use divan::Bencher;
use divan::counter::ItemsCount;
use ringback_bench::board::Board;
use ringback_bench::seals::{Ear, Seals};
use ringback_proto::access_request::Suite;

const SUITES: [Named; 2] = [Named(Suite::Psk), Named(Suite::Hpke)];

/// A suite whose name is printed.
#[derive(Clone, Copy, Debug)]
struct Named(Suite);

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

fn main() {
    divan::main();
}

#[divan::bench(args = SUITES)]
fn seal(bencher: Bencher<'_, '_>, Named(suite): Named) {
    let mut seals = Seals::of(suite);
    bencher.counter(ItemsCount::new(1_u8)).bench_local(|| seals.seal());
}

#[divan::bench(args = SUITES)]
fn open(bencher: Bencher<'_, '_>, Named(suite): Named) {
    let mut seals = Seals::of(suite);
    let signal = seals.seal();
    bencher.counter(ItemsCount::new(1_u8)).bench_local(|| seals.open(divan::black_box(&signal)));
}

/// A dialer's judgment of a sound signal, from its octets to the dial's end.
#[divan::bench(args = SUITES)]
fn obey(bencher: Bencher<'_, '_>, Named(suite): Named) {
    let mut ear = Ear::of(suite);
    let signals = std::cell::RefCell::new(Ear::of(suite));
    bencher
        .counter(ItemsCount::new(1_u8))
        .with_inputs(|| signals.borrow_mut().signal())
        .bench_local_values(|signal| ear.obey(signal));
}

/// A session from its client's arrival to its end, beside so many terminals with tunnels that stand by.
#[divan::bench(args = [1_000, 100_000, 1_000_000], sample_count = 200)]
fn session(bencher: Bencher<'_, '_>, terminals: u32) {
    let mut board = Board::of(terminals);
    bencher.counter(ItemsCount::new(1_u8)).bench_local(|| board.rung());
}
