//! One host of a lab: a network namespace and a mount namespace of its own.
//!
//! A child process, a shell that waits on our pipe, holds the namespaces. When the pipe closes,
//! be it by `drop` or because this process was killed, that shell kills whatever still runs in its
//! network and exits, and the kernel takes the namespaces away. Nothing is left to clean up.

use std::env;
use std::ffi::{OsStr, OsString};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::limits;

/// What the holder runs. It ignores the terminal's signals: only the end of the pipe ends it.
///
/// `/tmp` is covered for a moment so that the resolver's file needs no name on any real disk, and
/// addresses are not checked for duplicates: for a second or two they could not be used.
const HOLDER: &str = r#"
trap '' HUP INT TERM
set -e
mount -t tmpfs tmpfs /tmp
printf '%s' "$1" >/tmp/resolv.conf
mount --bind /tmp/resolv.conf /etc/resolv.conf
umount /tmp
ip link set lo up
echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
echo ready
exec >/dev/null
set +e
read -r _
for link in $(find -L /proc/[0-9]*/ns/net -maxdepth 0 -samefile /proc/$$/ns/net 2>/dev/null); do
    pid=${link#/proc/}
    pid=${pid%%/*}
    [ "$pid" = $$ ] || kill -KILL "$pid" 2>/dev/null
done
"#;

/// A machine of the lab's network. Dropping it ends every process in it.
#[derive(Debug)]
pub struct Host {
    name: &'static str,
    pid: u32,
    rootless: bool,
    holder: Child,
}

impl Host {
    /// Makes a lab's first host; without root, in a user namespace that the others will share.
    pub(crate) async fn first(name: &'static str, resolver: &str) -> Result<Self> {
        let rootless = rootless();
        let mut command = tool("unshare");
        if rootless {
            command.args(["--user", "--map-root-user"]);
        }
        Self::hold(name, command, rootless, resolver).await
    }

    /// Makes a further host, owned by the same user namespace as this one.
    pub(crate) async fn beside(&self, name: &'static str, resolver: &str) -> Result<Self> {
        if !self.rootless {
            return Self::hold(name, tool("unshare"), false, resolver).await;
        }

        let mut command = tool("nsenter");
        command.args(["--target", &self.pid.to_string(), "--user", "--preserve-credentials"]);
        command.args(["--", "unshare"]);
        Self::hold(name, command, true, resolver).await
    }

    async fn hold(
        name: &'static str,
        mut unshare: Command,
        rootless: bool,
        resolver: &str,
    ) -> Result<Self> {
        unshare.args(["--net", "--mount", "--", "sh", "-c", HOLDER, "holder", resolver]);
        let mut holder = unshare
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start the host {name}"))?;

        let stdout = holder.stdout.take().context("the holder's output is piped")?;
        let mut lines = BufReader::new(stdout).lines();
        let line = timeout(limits::HOST_UP, lines.next_line())
            .await
            .with_context(|| format!("the host {name} did not come up in time"))??;
        ensure!(line.as_deref() == Some("ready"), "the host {name} did not come up");

        let pid = holder.id().with_context(|| format!("the host {name} has already ended"))?;
        Ok(Self { name, pid, rootless, holder })
    }

    /// Tells what the host is called.
    pub fn name(&self) -> &str {
        self.name
    }

    /// Tells the process whose namespaces are this host's, for `ip link … netns PID` and the like.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Prepares a program to run on this host, in this process's working directory.
    ///
    /// The child's id is the program's own, so signals reach it. It is killed when its handle is
    /// dropped, and in any case together with the host.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = tool("nsenter");
        command.args(["--target", &self.pid.to_string(), "--net", "--mount"]);
        if self.rootless {
            command.args(["--user", "--preserve-credentials"]);
        }

        // Entering a mount namespace moves the process to its root; `env` moves it back.
        let directory = env::current_dir().unwrap_or_else(|_| "/".into());
        command.args(["--", "env", "--chdir"]).arg(directory).arg(program);
        command.kill_on_drop(true);
        command
    }

    /// Runs a tool to its end and returns what it printed; its failure is an error.
    pub async fn run(&self, words: &[&str]) -> Result<String> {
        self.feed(words, "").await
    }

    /// Loads rules, as `nft -f` reads them.
    pub async fn nft(&self, rules: &str) -> Result<()> {
        self.feed(&["nft", "-f", "-"], rules).await.map(drop)
    }

    /// Runs `ip` commands, one a line, without the word `ip`.
    pub async fn ip(&self, lines: &str) -> Result<()> {
        self.feed(&["ip", "-batch", "-"], lines).await.map(drop)
    }

    /// Sets a kernel parameter of this host's network, such as `net.ipv4.ip_forward`.
    pub async fn sysctl(&self, key: &str, value: impl ToString) -> Result<()> {
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        self.feed(&["sh", "-c", "cat >\"$1\"", "sysctl", &path], &value.to_string()).await.map(drop)
    }

    /// Runs a tool to its end on this input and returns what it printed.
    pub(crate) async fn feed(&self, words: &[&str], input: &str) -> Result<String> {
        let [program, arguments @ ..] = words else { bail!("no program named to run") };
        let mut child = self
            .command(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {program} on {}", self.name))?;

        let mut stdin = child.stdin.take().context("the tool's input is piped")?;
        let ended = timeout(limits::TOOL, async {
            // A tool that ends without reading all its input says why on its own.
            let _ = stdin.write_all(input.as_bytes()).await;
            drop(stdin);
            child.wait_with_output().await
        });
        let output = ended.await.with_context(|| {
            format!("{} on {} did not end in time", words.join(" "), self.name)
        })??;
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            bail!("{} on {} failed: {}", words.join(" "), self.name, complaint.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Closes the pipe, which ends the host. Returns the holder, to be waited for.
    pub(crate) fn close(self) -> Child {
        let mut holder = self.holder;
        drop(holder.stdin.take());
        holder
    }
}

/// Tells whether a lab needs a user namespace: for ordinary users, or when told so.
pub(crate) fn rootless() -> bool {
    let forced = env::var_os("RINGBACK_LAB_USERNS").is_some_and(|it| it == "1");
    forced || !is_root()
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|it| it.uid() == 0)
}

/// Prepares a tool of the operator's, found also where an ordinary user's `PATH` does not look.
pub(crate) fn tool(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env("PATH", search_path());
    command
}

/// The caller's `PATH`, and the places where Debian keeps the tools of an administrator.
pub(crate) fn search_path() -> OsString {
    let mut path = env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    path.push(":/usr/sbin:/sbin");
    path
}
