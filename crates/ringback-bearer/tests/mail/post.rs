//! Exim and Dovecot, running without privileges on this machine, in a folder of their own.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::soon;

const EXIM: &str = "/usr/sbin/exim4";
const DOVECOT: &str = "/usr/sbin/dovecot";

/// What a test wants otherwise than usual.
pub(crate) struct Wish {
    /// What the mailbox says to be able to do.
    pub(crate) capability: &'static str,
    /// How one logs in to the submission server.
    pub(crate) mechanism: &'static str,
}

/// A post office: a submission server and a mailbox called `car-7`.
pub(crate) struct Post {
    pub(crate) folder: TempDir,
    pub(crate) submission: u16,
    pub(crate) submissions: u16,
    pub(crate) imap: u16,
    pub(crate) imaps: u16,
    exim: Option<Child>,
    dovecot: Option<Child>,
}

impl Post {
    /// Starts both servers; `None` if they are not installed.
    pub(crate) async fn open() -> Option<Self> {
        Self::open_with(Wish { capability: "", mechanism: "PLAIN" }).await
    }

    pub(crate) async fn open_with(wish: Wish) -> Option<Self> {
        if ![EXIM, DOVECOT].into_iter().all(|it| Path::new(it).exists()) {
            let required = std::env::var_os("RINGBACK_PEERS").is_some_and(|it| it == "require");
            assert!(!required, "exim4 or dovecot is missing: run `cargo xtask peers`");
            println!("skipped: exim4 or dovecot is missing: run `cargo xtask peers`");
            return None;
        }
        let [submission, submissions, imap, imaps] = free_ports();
        let folder = TempDir::new().unwrap();
        let mut post =
            Self { folder, submission, submissions, imap, imaps, exim: None, dovecot: None };
        for name in ["run", "state", "spool", "mail"] {
            fs::create_dir(post.path(name)).unwrap();
            own(&post.path(name));
        }
        // Wherever these servers are wanted: the crates are neighbors.
        let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ringback-bearer/tests/peers");
        fs::copy(peers.join("center.cert.pem"), post.path("cert.pem")).unwrap();
        fs::copy(peers.join("center.key.pem"), post.path("key.pem")).unwrap();
        for name in ["exim.conf", "dovecot.conf"] {
            let text = fs::read_to_string(peers.join(name)).unwrap();
            fs::write(post.path(name), post.fill(&text, &wish)).unwrap();
        }
        ["cert.pem", "key.pem"].iter().for_each(|it| own(&post.path(it)));
        own(post.folder.path());
        post.start_exim().await;
        post.start_dovecot().await;
        Some(post)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) async fn start_exim(&mut self) {
        let conf = self.path("exim.conf");
        self.exim = Some(daemon(EXIM, &["-C", conf.to_str().unwrap(), "-bdf", "-q1s"]));
        listens(self.submission).await;
    }

    pub(crate) async fn start_dovecot(&mut self) {
        let conf = self.path("dovecot.conf");
        self.dovecot = Some(daemon(DOVECOT, &["-F", "-c", conf.to_str().unwrap()]));
        listens(self.imap).await;
    }

    pub(crate) fn kill_exim(&mut self) {
        kill(self.exim.take());
    }

    pub(crate) fn kill_dovecot(&mut self) {
        kill(self.dovecot.take());
    }

    /// Puts a mail into a folder, past the servers, as a delivery agent would.
    pub(crate) fn deliver(&self, folder: &str, name: &str, mail: &str) {
        let maildir = self.path("mail/car-7").join(folder);
        let mut made = vec![maildir.clone(), maildir.join("tmp").join(name)];
        for part in ["tmp", "new", "cur"] {
            fs::create_dir_all(maildir.join(part)).unwrap();
            made.push(maildir.join(part));
        }
        if !folder.is_empty() {
            made.extend([maildir.join("maildirfolder"), self.path("mail/car-7")]);
            fs::write(maildir.join("maildirfolder"), "").unwrap();
        }
        fs::write(maildir.join("tmp").join(name), mail).unwrap();
        made.iter().for_each(|it| own(it));
        // Whoever watches the folder sees a whole mail that the server may touch, or none.
        fs::rename(maildir.join("tmp").join(name), maildir.join("new").join(name)).unwrap();
    }

    /// How many mails are in the inbox.
    pub(crate) fn mails(&self) -> usize {
        let count = |part: &str| fs::read_dir(self.path("mail/car-7").join(part)).unwrap().count();
        count("new") + count("cur")
    }

    /// Makes the numbers of the inbox's mails void, as when a server was restored. It must not run.
    pub(crate) fn forget_uids(&self) {
        let inbox = self.path("mail/car-7");
        for file in fs::read_dir(&inbox).unwrap() {
            let file = file.unwrap().path();
            let name = file.file_name().unwrap().to_str().unwrap().to_owned();
            if name.starts_with("dovecot.") {
                fs::remove_file(&file).unwrap();
            }
            if name == "dovecot-uidlist" {
                let list = fs::read_to_string(&file).unwrap();
                let validity = list.split(" V").nth(1).unwrap().split(' ').next().unwrap();
                let other = (validity.parse::<u32>().unwrap() + 7).to_string();
                fs::write(&file, format!("3 V{other} N1\n")).unwrap();
            }
        }
    }

    fn fill(&self, text: &str, wish: &Wish) -> String {
        let (user, group, uid, gid) = match is_root() {
            true => ("nobody".to_owned(), "nogroup".to_owned(), 65534, 65534),
            false => {
                let own = fs::metadata("/proc/self").unwrap();
                (name(&["-un"]), name(&["-gn"]), own.uid(), own.gid())
            }
        };
        let login = wish.mechanism == "LOGIN";
        [
            ("folder", self.folder.path().to_str().unwrap()),
            ("submission", &self.submission.to_string()),
            ("submissions", &self.submissions.to_string()),
            ("imap", &self.imap.to_string()),
            ("imaps", &self.imaps.to_string()),
            ("user", &user),
            ("group", &group),
            ("uid", &uid.to_string()),
            ("gid", &gid.to_string()),
            ("capability", wish.capability),
            ("mechanism", wish.mechanism),
            ("prompts", if login { "User : Password" } else { ":" }),
            ("password", if login { "2" } else { "3" }),
        ]
        .iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        self.kill_exim();
        self.kill_dovecot();
    }
}

fn daemon(program: &str, words: &[&str]) -> Child {
    let mut command = Command::new(if is_root() { "setpriv" } else { program });
    if is_root() {
        command.args(["--reuid=nobody", "--regid=nogroup", "--groups=nogroup", program]);
    }
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.process_group(0).spawn().unwrap()
}

/// Kills a server and all that it has started.
fn kill(child: Option<Child>) {
    let Some(mut child) = child else { return };
    let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
    child.wait().unwrap();
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Gives a file or a folder to whom the servers run as.
fn own(place: &Path) {
    if is_root() {
        std::os::unix::fs::chown(place, Some(65534), Some(65534)).unwrap();
    }
}

fn name(words: &[&str]) -> String {
    let output = Command::new("id").args(words).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Ports that were free just now. These servers cannot tell which ones they were given.
fn free_ports() -> [u16; 4] {
    [(); 4]
        .map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap())
        .map(|it| it.local_addr().unwrap().port())
}

async fn listens(port: u16) {
    soon(async {
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
