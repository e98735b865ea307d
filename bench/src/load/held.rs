//! Sessions that are all open at once: none may fail, and each is used again while all are held.

use anyhow::Result;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{Told, fleet, holds, standing};
use crate::clock;
use crate::process::Process;

/// The descriptors that the public proxy may have: two a session, and some for itself.
pub(super) const FILES: u64 = 20_000;

/// Sessions that are opened at once.
const OPENING: usize = 32;
/// How often each is used again.
const ROUNDS: usize = 3;

/// Opens that many, spread over all terminals, and uses each again and again.
pub(super) fn run(roles: &[Process], terminals: usize, sessions: usize) -> Result<Told> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let before = holds(roles);
        let begun = clock::now();
        let (mut held, mut lost) = open(terminals, sessions).await?;
        let opened = begun.elapsed();
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        let with_all = holds(roles);
        for _ in 0..ROUNDS {
            let mut kept = Vec::with_capacity(held.len());
            for mut stream in held {
                match standing::echo(&mut stream).await {
                    true => kept.push(stream),
                    false => lost += 1,
                }
            }
            held = kept;
        }
        let each = |name: &str| {
            let grown = with_all[name].1.saturating_sub(before[name].1);
            let files = with_all[name].0.saturating_sub(before[name].0);
            json!({ "octets": grown / sessions as u64, "descriptors": files as f64 / sessions as f64 })
        };
        eprintln!(
            "bench: {} sessions held, {lost} lost, opened at {:.0}/s",
            held.len(),
            sessions as f64 / opened.as_secs_f64()
        );
        let figures = json!({
            "sessions": sessions, "held": held.len(), "lost": lost, "rounds": ROUNDS,
            "open_seconds": opened.as_secs_f64(),
            "each": { "public": each("public"), "private": each("private") },
            "before": before, "with_all": with_all,
        });
        Ok(Told { figures, lost })
    })
}

async fn open(terminals: usize, sessions: usize) -> Result<(Vec<TcpStream>, u64)> {
    let (mut held, mut lost, mut next) = (Vec::with_capacity(sessions), 0, 0);
    let mut opening = JoinSet::new();
    loop {
        while opening.len() < OPENING && next < sessions {
            opening.spawn(standing::begin(fleet::raw_port(next % terminals)));
            next += 1;
        }
        let Some(opened) = opening.join_next().await else { return Ok((held, lost)) };
        match opened? {
            Some(stream) => held.push(stream),
            None => lost += 1,
        }
        if (held.len() + lost as usize).is_multiple_of(1_000) {
            eprintln!("bench: {} open, {lost} lost", held.len());
        }
    }
}
