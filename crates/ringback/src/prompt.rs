//! A password from whoever runs the command: typed without being shown, or piped in.
//!
//! Never an argument: those are everybody's to read.

use std::io::{BufRead, IsTerminal, Read, stderr, stdin};

use anyhow::{Context, ensure};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::limits::PASSWORD_OCTETS;

/// Asks for a new password; twice if somebody types it.
pub async fn new_password(stop: &CancellationToken) -> anyhow::Result<Zeroizing<String>> {
    let password = password("Password: ", stop).await?;
    if stdin().is_terminal() {
        ensure!(password == self::password("Again: ", stop).await?, "the two are not the same");
    }
    ensure!(!password.is_empty(), "an empty password protects nothing: give one");
    let control = password.chars().any(char::is_control);
    ensure!(!control, "a password cannot hold control characters: give another");
    Ok(password)
}

async fn password(question: &str, stop: &CancellationToken) -> anyhow::Result<Zeroizing<String>> {
    let _hidden = Hidden::begin(question).context("cannot hide what is typed")?;
    // A line that is still being read when the process ends is not waited for.
    let reading = tokio::task::spawn_blocking(line);
    tokio::select! {
        line = reading => line?,
        () = stop.cancelled() => anyhow::bail!("stopped before there was a password"),
    }
}

fn line() -> anyhow::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::new());
    stdin().lock().take(PASSWORD_OCTETS + 1).read_line(&mut line).context("cannot be read")?;
    ensure!(line.len() as u64 <= PASSWORD_OCTETS, "longer than {PASSWORD_OCTETS} octets");
    Ok(Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned()))
}

/// A terminal that does not show what is typed; it does again when this is dropped.
struct Hidden(Option<Termios>);

impl Hidden {
    fn begin(question: &str) -> rustix::io::Result<Self> {
        if !stdin().is_terminal() {
            return Ok(Self(None));
        }
        let before = tcgetattr(stdin())?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(stdin(), OptionalActions::Flush, &hidden)?;
        // Nobody who cannot be asked can answer.
        let _ = std::io::Write::write_all(&mut stderr(), question.as_bytes());
        Ok(Self(Some(before)))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let Some(before) = &self.0 else { return };
        let _ = tcsetattr(stdin(), OptionalActions::Flush, before);
        eprintln!();
    }
}
