//! Every decoder against octets that nobody would write: the targets of `fuzz/`, each for a while.
//!
//! The targets are built by the ordinary compiler, with the coverage counters that libFuzzer steers
//! by; there is no unsafe code that a sanitizer could watch. What is found new stays in the target
//! folder; a fault's octets are printed by their file's name and belong into `fuzz/corpus`.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::tool::{cargo, tool};
use crate::{root, target};

/// How long each target runs unless told otherwise, in seconds.
const SECONDS: u32 = 60;
/// Targets that run together.
const TOGETHER: usize = 2;
/// What libFuzzer needs of the compiler: counters at every edge, and what is compared.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

/// Runs the target of that name, or all of them, for so many seconds each.
pub(crate) fn fuzz(seconds: Option<&str>, wanted: Option<&str>) -> Result<()> {
    let seconds = seconds.map_or(Ok(SECONDS), str::parse).context("how many seconds?")?;
    let triple = tool("rustc").args(&["--print", "host-tuple"]).read()?;
    let triple = triple.trim();
    let folder = target().join("fuzz");
    // With a triple named, the flags reach neither build scripts nor macros.
    let words = ["build", "--release", "--manifest-path", "fuzz/Cargo.toml", "--target", triple];
    cargo(&words).env("RUSTFLAGS", FLAGS).env("CARGO_TARGET_DIR", &folder).run()?;

    let mut names = Vec::new();
    for file in fs::read_dir(root().join("fuzz/fuzz_targets"))? {
        let file = file?.path();
        names.extend(file.file_stem().map(|it| it.to_string_lossy().into_owned()));
    }
    names.retain(|it| wanted.is_none_or(|wanted| wanted == it));
    ensure!(!names.is_empty(), "no such target; fuzz/fuzz_targets has them");
    names.sort();
    let programs = folder.join(triple).join("release");
    let mut faulty = Vec::new();
    for some in names.chunks(TOGETHER) {
        let running: Result<Vec<_>> =
            some.iter().map(|name| Ok((name, start(name, &programs, &folder, seconds)?))).collect();
        for (name, mut running) in running? {
            let log = folder.join(format!("{name}.log"));
            if running.wait()?.success() {
                eprintln!("xtask: fuzz {name}: {}", last_line(&log)?);
            } else {
                eprintln!("{}", fs::read_to_string(&log)?);
                faulty.push(name.as_str());
            }
        }
    }
    ensure!(faulty.is_empty(), "faults were found by {}", faulty.join(", "));
    Ok(())
}

/// Starts one target on a copy of its corpus.
fn start(name: &str, programs: &Path, folder: &Path, seconds: u32) -> Result<Child> {
    let (found, faults) = (folder.join("found").join(name), folder.join("faults"));
    fs::create_dir_all(&found)?;
    fs::create_dir_all(&faults)?;
    let log = fs::File::create(folder.join(format!("{name}.log")))?;
    let faults = format!("-artifact_prefix={}/{name}-", faults.display());
    let time = format!("-max_total_time={seconds}");
    let fuzzer = programs.join(name);
    Command::new(&fuzzer)
        .args([time.as_str(), &faults, "-timeout=10", "-rss_limit_mb=1024", "-max_len=20000"])
        .arg(found)
        .arg(root().join("fuzz/corpus").join(name))
        .stdin(Stdio::null())
        .stderr(log)
        .spawn()
        .with_context(|| format!("run {}", fuzzer.display()))
}

fn last_line(log: &Path) -> Result<String> {
    let log = fs::read_to_string(log)?;
    Ok(log.lines().rfind(|it| !it.is_empty()).unwrap_or("nothing said").to_owned())
}
