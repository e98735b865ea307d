//! A program that xtask runs, in the root of the repository. Its failure is an error that names it.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::root;

/// A program about to be run.
#[derive(Debug)]
pub(crate) struct Tool(Command);

/// Prepares cargo: the one that runs us.
pub(crate) fn cargo(words: &[&str]) -> Tool {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    tool(cargo).args(words)
}

/// Prepares a program.
pub(crate) fn tool(program: impl AsRef<OsStr>) -> Tool {
    let mut command = Command::new(program);
    command.current_dir(root());
    Tool(command)
}

impl Tool {
    /// Adds words to the command line.
    pub(crate) fn args(mut self, words: &[&str]) -> Self {
        self.0.args(words);
        self
    }

    /// Sets a variable of the environment.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    /// Says what is run, and runs it to its end.
    pub(crate) fn run(mut self) -> Result<()> {
        let line = self.line();
        eprintln!("xtask: {line}");
        let status = self.0.status().with_context(|| format!("run {line}"))?;
        ensure!(status.success(), "{line} failed");
        Ok(())
    }

    /// Runs it to its end and returns what it printed; its complaints are shown.
    pub(crate) fn read(mut self) -> Result<String> {
        let line = self.line();
        let output = self.0.stderr(Stdio::inherit()).output();
        let output = output.with_context(|| format!("run {line}"))?;
        ensure!(output.status.success(), "{line} failed");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Tells whether it succeeds; what it prints is of no interest.
    pub(crate) fn succeeds(mut self) -> bool {
        let quiet = self.0.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        quiet.status().is_ok_and(|it| it.success())
    }

    fn line(&self) -> String {
        let words = std::iter::once(self.0.get_program()).chain(self.0.get_args());
        words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
    }
}
