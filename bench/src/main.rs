//! Loads and measures the data plane, ours beside direct connections and other tunnels.
//!
//! Nothing of it is shipped, and nothing of it runs in a process that is measured. `README.md`
//! beside it says how noise is kept out and what the figures mean.

mod clock;
mod cores;
mod drive;
mod figure;
mod load;
mod plane;
mod process;
mod raw;
mod report;
mod serve;
mod targets;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What loads and measures.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure all targets side by side; in a network namespace of its own, as root.
    Plane(plane::Plane),
    /// Load one public proxy with what it must bear; in a network namespace of its own, as root.
    Load(load::Load),
    /// Be what is behind the tunnels: take and give bytes, echo, answer HTTP.
    Serve,
    /// Load one address with one kind of work, and print one JSON object.
    Drive(drive::Drive),
    /// Keep one core awake until standard input ends.
    Awake {
        /// Which.
        core: usize,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Plane(plane) => plane.run(),
        Command::Load(load) => load.run(),
        Command::Serve => serve::serve(),
        Command::Drive(drive) => drive.run(),
        Command::Awake { core } => cores::stay_awake(core),
    };
    let Err(error) = done else { return ExitCode::SUCCESS };
    eprintln!("bench: {error:#}");
    ExitCode::FAILURE
}
