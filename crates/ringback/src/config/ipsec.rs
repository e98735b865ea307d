//! `[ipsec]`, of either proxy: whose daemon it uses, and what encrypts.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::section::Section;

/// How a proxy comes to IPsec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpsecConfig {
    /// Its daemon.
    pub charon: Charon,
    /// Where its own daemon's files are.
    pub state: PathBuf,
}

/// Whose daemon it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Charon {
    /// One that the proxy runs for itself.
    Own(OwnCharon),
    /// One that runs already, by its control socket.
    Running(PathBuf),
}

/// The daemon that a proxy runs for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnCharon {
    /// Its program, if it is not where distributions have it.
    pub program: Option<PathBuf>,
    /// What encrypts.
    pub esp: Esp,
}

/// What encrypts packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Esp {
    /// The daemon itself, over `/dev/net/tun`.
    #[default]
    User,
    /// The kernel.
    Kernel,
}

/// Reads `[ipsec]`, if there is one.
pub(super) fn read(root: &mut Section<'_>, state: Option<&Path>) -> Option<IpsecConfig> {
    let mut section = root.section("ipsec")?;
    let mut path = |key| if section.has(key) { section.path(key) } else { None };
    let (running, program) = (path("vici"), path("charon"));
    let esp: Option<Esp> = section.text("esp");
    if running.is_some() && (program.is_some() || esp.is_some()) {
        section.wrong("vici", "a daemon that runs already has its own program and configuration");
    }
    section.finish();
    let charon = match running {
        Some(socket) => Charon::Running(socket),
        None => Charon::Own(OwnCharon { program, esp: esp.unwrap_or_default() }),
    };
    Some(IpsecConfig { charon, state: state?.to_owned() })
}

impl FromStr for Esp {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "user" => Ok(Self::User),
            "kernel" => Ok(Self::Kernel),
            _ => Err("must be \"user\" or \"kernel\""),
        }
    }
}

/// What is told where a service wants IPsec and there is no table for it.
pub(super) const WANTED: &str =
    "a service's `tunnel` is IPsec: give an [ipsec] table, if only an empty one";
