//! What may be depended on: `deny.toml`, checked by cargo-deny.
//!
//! Advisories need a database from elsewhere and are checked only when asked for.

use anyhow::Result;

use crate::peers;
use crate::tool::tool;

/// Checks all dependencies.
pub(crate) fn deny(advisories: bool) -> Result<()> {
    let installed = peers::venv().join("bin/cargo-deny");
    let program = if installed.is_file() { installed } else { "cargo-deny".into() };
    let mut words = vec!["--workspace", "check", "licenses", "bans", "sources"];
    if advisories {
        words.push("advisories");
    }
    tool(program).args(&words).run()
}
