//! The operator's gateway in the attacker's hands: it reads every SMS and sends what it likes.

use std::collections::VecDeque;

use anyhow::{Context, Result};
use ringback_bearer::smpp::Config;
use ringback_bearer::{Bearer, Body, Delivery, Message, Submission};
use ringback_lab::addresses;
use ringback_proto::access_request::{Signal, find};
use ringback_proto::smpp::pdu::{Bind, Role};
use ringback_proto::smpp::text::{Address, Password, Text};
use ringback_proto::terminal::{CallNumber, Callee};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::order::{Post, tell, unhex};

/// After how many messages it tells that it goes on.
pub(crate) const TELL_EACH: usize = 500;
/// Messages under way at once.
const AT_ONCE: usize = 48;

/// Tells every signal that is sent to the terminal's number.
pub(crate) async fn overhear() -> Result<()> {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let (_transmitter, mut receiver, _) = bearer("gateway", 30)?.start(&tasks, stop);
    tell("listens", b"");
    while let Some(heard) = receiver.hear().await {
        let signal = find(&heard.octets).context("an SMS that is no signal")?;
        tell("overheard", signal.octets());
    }
    Ok(())
}

/// Sends every line of a file, as text where it has a signal's form.
pub(crate) async fn post(post: &Post) -> Result<()> {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let (transmitter, _receiver, _) = bearer("rogue", post.per_second)?.start(&tasks, stop.clone());
    let to = Callee::Number(CallNumber::parse(&post.to).ok().context("no number")?);
    tell("posts", b"");
    let mut under_way: VecDeque<Submission> = VecDeque::new();
    for (number, line) in std::fs::read_to_string(&post.file)?.lines().enumerate() {
        if number % TELL_EACH == 0 {
            tell("has come far", b"");
        }
        if AT_ONCE <= under_way.len() {
            submitted(under_way.pop_front()).await?;
        }
        let octets = unhex(line);
        let body = match Signal::from_octets(&octets) {
            Ok(signal) => Body::Text(signal.to_text()),
            Err(_) => Body::Binary(octets),
        };
        let valid_for = std::time::Duration::from_secs(600);
        under_way.push_back(transmitter.ring(Message { to: to.clone(), body, valid_for }));
    }
    while let Some(submission) = under_way.pop_front() {
        submitted(Some(submission)).await?;
    }
    tell("posted", b"");
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    Ok(())
}

async fn submitted(submission: Option<Submission>) -> Result<()> {
    let Some(mut submission) = submission else { return Ok(()) };
    match submission.next().await {
        Some(Delivery::Submitted { .. }) => Ok(()),
        other => anyhow::bail!("not submitted: {other:?}"),
    }
}

fn bearer(account: &str, per_second: u32) -> Result<Bearer> {
    let bind = Bind {
        role: Role::Transceiver,
        system_id: Text::new(account).context("too long")?,
        password: Password::new("field").context("too long")?,
        system_type: Text::new("").context("too long")?,
    };
    let source = Address::parse("15550199").context("no address")?;
    let mut config = Config::new(format!("{}:2775", addresses::SMSC), bind, source);
    (config.account.per_second, config.account.window) = (per_second, 32);
    // What has been submitted stays so, although nobody follows it.
    config.cancel = false;
    Ok(Bearer::Smpp(config))
}
