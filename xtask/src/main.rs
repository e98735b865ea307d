//! One entry point for whoever works on the project. It builds and checks; it ships nothing.

mod bench;
mod deny;
mod fuzz;
mod instructions;
mod peers;
mod secrets;
mod test;
mod tidy;
mod tool;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;

use crate::tool::cargo;

const USAGE: &str = "usage: cargo xtask COMMAND

  test     every test: installs what is missing (see peers), then tidy, then all tests
  peers    installs the foreign programs that tests talk to, or says which are missing
  secrets  searches what the last test run has left behind for secrets
  tidy     checks what the compiler does not: openings, lengths, the map in ARCHITECTURE.md
  deny     checks licenses, bans and sources of all dependencies [--advisories: those too]
  fuzz     each decoder against what nobody would write [SECONDS [NAME]: for so long, that one]
  ci       all that must be true of a change: format, lints, tidy, deny, test, fuzz,
           instructions, the demo once
  instructions  counts what hot paths execute, and fails if one takes more [--bless: takes it over]
  bench    our own overhead on loopback and in the lab, if the machine is quiet enough;
           bench smpp: submissions a second, ours beside other clients;
           bench plane [--quick] [--only NAMES] …: the data plane beside every tunnel installed;
           bench load [KIND] …: many sessions at once, many rings a second, many in turn
           (peers --bench installs those other tunnels; bench/README.md tells the rest)";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["test"] => test::test(),
        ["peers"] => peers::install().map(drop),
        ["peers", "--bench"] => peers::bench::install(),
        ["secrets"] => secrets::search(),
        ["tidy"] => tidy::tidy(),
        ["deny"] => deny::deny(false),
        ["deny", "--advisories"] => deny::deny(true),
        ["fuzz"] => fuzz::fuzz(None, None),
        ["fuzz", seconds] => fuzz::fuzz(Some(seconds), None),
        ["fuzz", seconds, name] => fuzz::fuzz(Some(seconds), Some(name)),
        ["ci"] => ci(),
        ["instructions"] => instructions::instructions(false),
        ["instructions", "--bless"] => instructions::instructions(true),
        ["bench"] => bench::bench(),
        ["bench", "smpp"] => bench::smpp(),
        ["bench", "plane", ref words @ ..] => bench::plane(words),
        ["bench", "load", ref words @ ..] => bench::sessions(words),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(64);
        }
    };
    let Err(error) = done else { return ExitCode::SUCCESS };
    eprintln!("xtask: {error:#}");
    ExitCode::FAILURE
}

/// Runs what continuous integration runs, cheapest first.
fn ci() -> Result<()> {
    cargo(&["fmt", "--all", "--check"]).run()?;
    cargo(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]).run()?;
    cargo(&[
        "clippy",
        "--package",
        "ringback",
        "--all-targets",
        "--all-features",
        "--",
        "--deny",
        "warnings",
    ])
    .run()?;
    peers::install()?;
    deny::deny(false)?;
    test::test()?;
    fuzz::fuzz(None, None)?;

    instructions::instructions(false)?;

    // The last proof: the README's first command, by the binary that would be shipped.
    cargo(&["run", "--release", "--", "demo", "--once"]).run()
}

/// The root of the repository.
fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Where everything built or installed goes.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |it| root().join(it))
}
