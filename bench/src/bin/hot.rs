//! Repeats one hot path so many times and ends: what it executes is counted from outside.
//!
//! `cargo xtask instructions` runs it for N and for 2 N times, so that start and set-up cancel out.

use std::hint::black_box;
use std::process::ExitCode;

use ringback_bench::board::Board;
use ringback_bench::seals::{Ear, Seals};
use ringback_proto::access_request::Suite;
use ringback_proto::hello::{HELLO_OCTETS, Hello, ToPrivate};

/// Terminals that a switchboard knows while sessions come and go.
const TERMINALS: u32 = 2_000;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let Some((path, Ok(times))) = words.get(1).zip(words.get(2).map(|it| it.parse::<usize>()))
    else {
        eprintln!("usage: hot PATH TIMES");
        return ExitCode::from(64);
    };
    match path.as_str() {
        "seal-psk" => seal(Suite::Psk, times),
        "seal-hpke" => seal(Suite::Hpke, times),
        "open-psk" => open(Suite::Psk, times),
        "open-hpke" => open(Suite::Hpke, times),
        "obey-psk" => obey(times),
        "session" => session(times),
        "hello" => hello(times),
        "frame" => frame(times),
        other => {
            eprintln!("hot: no path is called {other}");
            return ExitCode::from(64);
        }
    }
    ExitCode::SUCCESS
}

fn seal(suite: Suite, times: usize) {
    let mut seals = Seals::of(suite);
    for _ in 0..times {
        black_box(seals.seal());
    }
}

fn open(suite: Suite, times: usize) {
    let mut seals = Seals::of(suite);
    let signal = seals.seal();
    for _ in 0..times {
        black_box(seals.open(black_box(&signal)));
    }
}

/// A dialer's whole judgment of a signal; sealing it is part of the path, and counted apart too.
fn obey(times: usize) {
    let mut ear = Ear::of(Suite::Psk);
    for _ in 0..times {
        let signal = ear.signal();
        ear.obey(signal);
    }
}

/// A client's arrival, its ring, the hello, the splice and its end.
fn session(times: usize) {
    let mut board = Board::of(TERMINALS);
    for _ in 0..times {
        board.rung();
    }
}

fn hello(times: usize) {
    let mut octets = [0x5a; HELLO_OCTETS];
    octets[HELLO_OCTETS - 1] = 0;
    for _ in 0..times {
        black_box(Hello::decode(black_box(&octets))).ok();
    }
}

fn frame(times: usize) {
    let octets = ToPrivate::Ring(vec![0x11; 110]).encode().unwrap_or_default();
    for _ in 0..times {
        black_box(ToPrivate::decode(black_box(&octets))).ok();
    }
}
