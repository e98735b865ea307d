//! The charon that a proxy runs for itself: its configuration, its start, its end.
//!
//! It ends with the proxy, however that ends. It serves nobody else, and nothing is read from or
//! written to the system's own strongSwan.

use std::ffi::OsString;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::{env, fs, io};

use ringback_proto::ipsec::{End, IKE_PORT};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;
use tracing::debug;

use super::Fault;
use crate::config::{Esp, OwnCharon};
use crate::limits::{CHARON_FAREWELL, IKE_AT_ONCE};

/// Where distributions have the daemon: Debian and Fedora, Alpine and others.
const PROGRAMS: [&str; 5] = [
    "/usr/sbin/charon-systemd",
    "/usr/lib/ipsec/charon",
    "/usr/libexec/ipsec/charon",
    "/usr/lib/strongswan/charon",
    "/usr/libexec/strongswan/charon",
];

/// What it needs and nothing else; openssl has all of the cryptography, and the others what an older
/// one lacks.
const PLUGINS: &str = "random nonce openssl pem pkcs1 pkcs8 pubkey x509 constraints kdf curve25519 \
     aes sha2 hmac gcm";

/// Runs the daemon until the end of the input. Only a shell can wait for both: the daemon reads no input,
/// and a proxy that is killed can tell it nothing.
const KEEPER: &str = r#"
exec 3<&0
"$0" 3<&- </dev/null & daemon=$!
{ read -r _ <&3; kill -TERM $daemon; sleep 3; kill -KILL $daemon; } 2>/dev/null & reader=$!
exec 3<&- </dev/null
wait $daemon
kill -TERM $reader 2>/dev/null
"#;

/// A daemon that we run.
#[derive(Debug)]
pub(super) struct Program {
    keeper: Child,
    input: Option<ChildStdin>,
}

/// Where the proxy's own daemon has its files.
pub(super) fn folder(state: &Path) -> PathBuf {
    state.join("ipsec")
}

/// Its control socket.
pub(super) fn socket(state: &Path) -> PathBuf {
    folder(state).join("charon.vici")
}

/// The daemon's program: as configured, or where distributions have it.
pub(crate) fn find(own: &OwnCharon) -> Result<PathBuf, Fault> {
    let candidates = match &own.program {
        Some(program) => vec![program.clone()],
        None => PROGRAMS.map(PathBuf::from).to_vec(),
    };
    candidates.into_iter().find(|it| it.is_file()).ok_or(Fault::Missing)
}

/// Where programs are, those for administrators among them.
pub(super) fn search_path() -> OsString {
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}

impl Program {
    /// Starts it; whether it has begun to listen is for the caller to find out.
    pub(super) fn start(own: &OwnCharon, end: End, state: &Path) -> Result<Self, Fault> {
        let program = find(own)?;
        let folder = folder(state);
        let written = write(&folder, &configuration(own, end, &socket(state)));
        let file = written.map_err(|fault| Fault::Start(folder, fault))?;
        // What a daemon that was killed has left would be taken for a new one's.
        let _ = fs::remove_file(socket(state));
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER])
            .arg(&program)
            .env("STRONGSWAN_CONF", &file)
            .env("PATH", search_path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|fault| Fault::Start(program, fault))?;
        let input = keeper.stdin.take();
        Ok(Self { keeper, input })
    }

    /// What it has to say, line by line, until it ends.
    pub(super) fn listen(&mut self) -> impl Future<Output = ()> + use<> {
        let (stdout, stderr) = (self.keeper.stdout.take(), self.keeper.stderr.take());
        async move {
            tokio::join!(tell(stdout), tell(stderr));
        }
    }

    /// Waits until it has ended by itself.
    pub(super) async fn ended(&mut self) {
        // Either way it serves nobody any more.
        let _ = self.keeper.wait().await;
    }

    /// Ends it; one that does not end in time is left to the end of its keeper's input.
    pub(super) async fn end(mut self) {
        drop(self.input.take());
        let _ = timeout(CHARON_FAREWELL, self.keeper.wait()).await;
    }
}

async fn tell(said: Option<impl AsyncRead + Unpin>) {
    let Some(said) = said else { return };
    let mut lines = BufReader::new(said).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        debug!(charon = line);
    }
}

fn write(folder: &Path, text: &str) -> io::Result<PathBuf> {
    let made = fs::DirBuilder::new().mode(0o700).create(folder);
    made.or_else(|it| if it.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(it) })?;
    let file = folder.join("strongswan.conf");
    fs::write(&file, text)?;
    fs::canonicalize(file)
}

/// One port for all: UDP 4500 at the public proxy, whatever is free at the private one, which answers
/// nobody. Retransmissions give up after 13 seconds, also of a far end that was there.
fn configuration(own: &OwnCharon, end: End, socket: &Path) -> String {
    let kernel = match own.esp {
        Esp::User => "kernel-libipsec kernel-netlink",
        Esp::Kernel => "kernel-netlink",
    };
    // A private proxy sets up so many at once, by default more than charon bears from one address; and
    // what a stranger leaves half open behind the same NAT must not lock it out for long. Cookies stay:
    // nobody leaves anything half open in another's name.
    let half_open = format!("block_threshold = {}\n  half_open_timeout = 5", 4 * IKE_AT_ONCE);
    let (port, initiator_only, half_open) = match end {
        End::Public => (IKE_PORT, "no", half_open),
        End::Private => (0, "yes", String::new()),
    };
    let socket = fs::canonicalize(socket.parent().unwrap_or(Path::new(".")))
        .map_or_else(|_| socket.to_owned(), |it| it.join("charon.vici"));
    let settings = format!(
        "load = {PLUGINS} {kernel} socket-default vici
  port = 0
  port_nat_t = {port}
  initiator_only = {initiator_only}
  {half_open}
  install_virtual_ip = no
  threads = 32
  keep_alive = 20s
  retransmit_timeout = 1.0
  retransmit_base = 1.5
  retransmit_tries = 4
  plugins {{
    vici {{
      socket = unix://{socket}
    }}
    kernel-libipsec {{
      load = yes
      allow_peer_ts = yes
    }}
  }}
  filelog {{
    stderr {{
      default = 0
      ike = 1
      flush_line = yes
    }}
  }}
",
        socket = socket.display()
    );
    // By whichever of its two programs it is run.
    format!("charon-systemd {{\n  {settings}}}\ncharon {{\n  {settings}}}\n")
}
