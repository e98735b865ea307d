//! The demo: every role of the method as a real process, and a live account of the steps A–I.
//!
//! Nothing in it is a special case of the product: it makes keys, writes the configurations a user
//! would write, starts the binary once a role, and reads what the roles log.

mod account;
mod line;
mod parts;
mod ports;
mod stage;
mod visit;

use std::process::ExitCode;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

pub use visit::{direct, visit};

use crate::cli::Demo;
use account::Account;
use stage::Stage;

/// Runs the demo until it is stopped or, with `--once`, until one access has been made.
pub async fn run(wanted: Demo, stop: CancellationToken) -> anyhow::Result<ExitCode> {
    let (mut account, lines) = Account::new(wanted.json);
    let raised = tokio::select! {
        raised = Stage::raise(&wanted, lines) => raised,
        () = stop.cancelled() => return Ok(ExitCode::SUCCESS),
    };
    let mut stage = raised.context("RB-DEMO: the demo cannot be set up")?;
    account.introduce(&stage, &wanted);

    let code = tokio::select! {
        code = show(&mut stage, &mut account, &wanted) => code,
        () = stop.cancelled() => Ok(ExitCode::SUCCESS),
    };
    stage.strike().await;
    code
}

async fn show(stage: &mut Stage, account: &mut Account, wanted: &Demo) -> anyhow::Result<ExitCode> {
    if let Some(premise) = stage.premise().await? {
        account.premise(&premise);
    }
    if !wanted.once {
        return tokio::select! {
            () = account.follow() => anyhow::bail!("RB-DEMO: the log of the roles has ended"),
            gone = stage.lost() => Err(gone),
        };
    }
    let mut client = stage.client()?;
    let visit = tokio::select! {
        visit = client.visit() => visit?,
        () = account.follow() => anyhow::bail!("RB-DEMO: the log of the roles has ended"),
        gone = stage.lost() => return Err(gone),
    };
    account.conclude(&visit).await;
    Ok(if visit.succeeded() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
