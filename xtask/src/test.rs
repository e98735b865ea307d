//! The one test command: everything, as strictly as this machine allows.
//!
//! What cannot run here is skipped loudly. Where it can be required it is required, so that a test
//! never passes by not having run.

use std::env;

use anyhow::Result;

use crate::peers;
use crate::secrets;
use crate::tidy;
use crate::tool::{Tool, cargo, tool};

/// Runs every test.
pub(crate) fn test() -> Result<()> {
    let complete = peers::install()?;
    tidy::tidy()?;

    secrets::prepare()?;
    let lab = complete && (env::var_os("CI").is_some() || may_have_lab());
    let tests = cargo(&["test", "--workspace", "--no-fail-fast"])
        .env("RINGBACK_ARTEFACTS", secrets::folder());
    strictly(tests, complete, lab).run()?;
    // What is off by default; the same words otherwise, so that no dependency is built twice.
    let quic = cargo(&["test", "--workspace", "--features", "ringback/quic", "--test", "quic"])
        .env("RINGBACK_ARTEFACTS", secrets::folder());
    strictly(quic, complete, lab).run()?;
    secrets::search()?;

    // The same networks again as an ordinary user has them.
    let rootless = cargo(&["test", "--package", "ringback-lab", "--test", "premise"]);
    strictly(rootless, complete, lab).env("RINGBACK_LAB_USERNS", "1").run()
}

fn strictly(tests: Tool, peers: bool, lab: bool) -> Tool {
    let tests = tests.env("RINGBACK_PYTHON", peers::python());
    let tests = if peers { tests.env("RINGBACK_PEERS", "require") } else { tests };
    if lab { tests.env("RINGBACK_LAB", "require") } else { tests }
}

/// Root can have every network, unless it is locked into a container without that right.
fn may_have_lab() -> bool {
    peers::is_root() && tool("unshare").args(&["--net", "--mount", "true"]).succeeds()
}
