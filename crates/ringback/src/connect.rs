//! `ringback connect`: a client that shows its own key, and speaks end to end where it can.
//!
//! Joins its standard streams, or local connections, with a service of a terminal. Never takes less
//! security than its contact says, and never lets a cut session look like one that has ended.

mod call;
mod local;
mod ringer;
mod stdio;
mod teller;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use ringback_proto::door::{Request, Told, Want};
use ringback_proto::refusal::Refusal;
use ringback_proto::terminal::TerminalName;
use thiserror::Error;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cli::{Connect, ContactOf};
use crate::config::{Config, Contact, ContactService, Mistakes, own_bearer};
use crate::keys;
use crate::limits::OWN_BEARER_END;
use crate::tunnel::{Identity, NoTunnel};

use call::Agent;
use ringer::Ringer;
pub(crate) use teller::Teller;

/// What a client asks for, as `NAME` or `NAME:SERVICE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    name: TerminalName,
    service: Option<String>,
}

/// Why a session did not begin, or did not come to its end.
#[derive(Debug, Error)]
pub enum Fault {
    /// No address of the public proxy could be connected to.
    #[error(
        "RB-UNREACHABLE: the public proxy cannot be reached: {0}; see that this machine is online"
    )]
    Unreachable(std::io::Error),
    /// Whoever answers there is not the public proxy of the contact.
    #[error(
        "RB-PEER: what answers is not the contact's public proxy: {0}; get the contact file anew"
    )]
    Stranger(NoTunnel),
    /// The public proxy, or the terminal's own side, has said why not.
    #[error("{}", refusal_text(.0))]
    Refused(Told),
    /// No inner handshake with the terminal of the contact.
    #[error(
        "RB-TERMINAL-PEER: no end-to-end session with the contact's terminal: {0}; get the contact \
         file anew, and if that does not help, do not trust the public proxy"
    )]
    NotTheTerminal(std::io::Error),
    /// The client's own bearer has not sent the signal.
    #[error(
        "RB-NOT-RUNG: {cause}; mend the bearer's file, or leave --ring-with out and let the public \
         proxy ring"
    )]
    NotRung {
        /// In the bearer's words.
        cause: String,
        /// Whether it never will.
        permanent: bool,
    },
    /// The session was cut.
    #[error("RB-CUT: the session was cut: {0}; what has arrived may be incomplete")]
    Cut(std::io::Error),
    /// Our own end of it failed.
    #[error("RB-LOCAL: standard input or output failed: {0}")]
    Local(std::io::Error),
    /// We were asked to stop.
    #[error("RB-STOPPED: stopped before the session has come to its end")]
    Stopped,
}

/// Does what the command line wants.
pub async fn run(wanted: Connect, stop: CancellationToken) -> anyhow::Result<ExitCode> {
    let file = contact_file(&wanted)?;
    let contact = Contact::load(&file)?;
    if contact.name != wanted.target.name {
        let text = format!("it is the contact of {}, not of {}", contact.name, wanted.target.name);
        return Err(Mistakes::one(&file, text).into());
    }
    let service = service(&file, &contact, &wanted)?;
    let identity: Identity = keys::read_identity(&wanted.key)
        .map_err(|fault| Mistakes::one(&wanted.key, fault.to_string()))?;
    let kind = wanted.ring_with.as_deref();
    let own = kind.zip(wanted.bearer.as_deref());
    let own = own.map(|(kind, file)| Ok::<_, Mistakes>((kind, own_bearer(file, kind)?)));
    let own = own.transpose()?;
    let want = match kind {
        None if wanted.knock => Want::Knock,
        None => Want::Connect,
        Some("mail") => Want::RingMail,
        Some(_) => Want::RingNumber,
    };
    let request = Request { want, service: service.map(|it| it.id), name: contact.name.clone() };
    let end_to_end = service.is_some_and(|it| it.end_to_end);
    let teller = Teller::new(wanted.json);
    let (tasks, ended) = (TaskTracker::new(), CancellationToken::new());
    let ringer = own.map(|(kind, own)| Ringer::start(kind, own, &tasks, ended.clone()));
    let agent = Agent { contact, request, end_to_end, identity, ringer };
    let code = serve(agent, &wanted, teller, &stop).await;
    ended.cancel();
    tasks.close();
    // A bearer that hangs is not waited for: what the process was started for is done.
    let _ = timeout(OWN_BEARER_END, tasks.wait()).await;
    code
}

async fn serve(
    agent: Agent,
    wanted: &Connect,
    teller: Teller,
    stop: &CancellationToken,
) -> anyhow::Result<ExitCode> {
    let ended = match wanted.listen {
        Some(listen) => return local::serve(agent, listen, teller, stop).await,
        None if wanted.knock => knock(&agent, &teller, stop).await,
        None => stdio::serve(&agent, &teller, stop).await,
    };
    Ok(match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            teller.fault(&fault);
            fault.exit_code().into()
        }
    })
}

/// The contact file of one terminal, as text.
pub fn contact(wanted: &ContactOf) -> Result<String, Mistakes> {
    let file = &wanted.config;
    let config = Config::load(file)?;
    let Config::Public(config) = config else {
        return Err(Mistakes::of_role(file, "public", &config));
    };
    let contact = Contact::of(&config, &wanted.name, &wanted.addresses);
    let contact = contact.ok_or_else(|| Mistakes::one(file, "no [[terminal]] has this name"))?;
    Ok(contact.to_text())
}

async fn knock(agent: &Agent, teller: &Teller, stop: &CancellationToken) -> Result<(), Fault> {
    let armed = tokio::select! {
        armed = teller.watch(agent.knock(teller)) => armed?,
        () = stop.cancelled() => return Err(Fault::Stopped),
    };
    teller.armed(armed);
    Ok(())
}

fn contact_file(wanted: &Connect) -> Result<PathBuf, Mistakes> {
    if let Some(file) = &wanted.contact {
        return Ok(file.clone());
    }
    let folder = wanted.contacts.clone().or_else(|| {
        let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
        let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".config"));
        Some(config.or_else(home)?.join("ringback/contacts"))
    });
    let missing = "no folder of contacts: give --contact FILE or --contacts DIR";
    let folder = folder.ok_or_else(|| Mistakes::one(Path::new("contacts"), missing))?;
    Ok(folder.join(format!("{}.toml", wanted.target.name)))
}

/// The service that is meant: by the contact's name for it, by number, or because it is the only one.
fn service(
    file: &Path,
    contact: &Contact,
    wanted: &Connect,
) -> Result<Option<ContactService>, Mistakes> {
    let mut known = contact.services.values();
    let names: Vec<&str> = contact.services.keys().map(String::as_str).collect();
    let Some(name) = &wanted.target.service else {
        return match (known.next(), known.next()) {
            (Some(only), None) => Ok(Some(*only)),
            (None, _) => Ok(None),
            (Some(_), Some(_)) if wanted.knock => Ok(None),
            (Some(_), Some(_)) => {
                let text = format!("has several services: add one of :{}", names.join(", :"));
                Err(Mistakes::one(file, text))
            }
        };
    };
    let by_number = || known.find(|it| it.id.to_string() == *name);
    let found = contact.services.get(name).or_else(by_number);
    let unknown = || Mistakes::one(file, format!("has no service {name}: {}", names.join(", ")));
    found.copied().map(Some).ok_or_else(unknown)
}

impl Fault {
    /// What the process ends with, as in sysexits.h.
    pub fn exit_code(&self) -> u8 {
        let refusal = match self {
            Self::Unreachable(_) | Self::NotRung { permanent: true, .. } => return 69, // EX_UNAVAILABLE
            Self::NotRung { permanent: false, .. } => return 75, // EX_TEMPFAIL
            Self::Stranger(_) | Self::NotTheTerminal(_) => return 76, // EX_PROTOCOL
            Self::Cut(_) | Self::Local(_) | Self::Stopped => return 74, // EX_IOERR
            Self::Refused(told) => told,
        };
        if refusal.retry.is_some() {
            return 75; // EX_TEMPFAIL
        }
        match refusal.refusal() {
            Some(
                Refusal::NotAllowed
                | Refusal::Unauthorized
                | Refusal::NotArmed
                | Refusal::EndToEndOnly
                | Refusal::NotGranted
                | Refusal::NoOwnRing,
            ) => 77, // EX_NOPERM
            Some(_) | None => 69,
        }
    }

    /// Its stable name.
    pub fn code(&self) -> &str {
        match self {
            Self::Unreachable(_) => "RB-UNREACHABLE",
            Self::Stranger(_) => "RB-PEER",
            Self::Refused(told) => &told.code,
            Self::NotTheTerminal(_) => "RB-TERMINAL-PEER",
            Self::NotRung { .. } => "RB-NOT-RUNG",
            Self::Cut(_) => "RB-CUT",
            Self::Local(_) => "RB-LOCAL",
            Self::Stopped => "RB-STOPPED",
        }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal.into())
    }
}

fn refusal_text(told: &Told) -> String {
    let wait = told.retry.map(|it| format!(" (again in {} s)", it.as_secs())).unwrap_or_default();
    match told.refusal() {
        Some(it) => format!("{}: {} {}{wait}", it.code(), it.sentence(), it.cure()),
        None => format!("{}: refused{wait}; a newer ringback may say why", told.code),
    }
}

impl FromStr for Target {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, service) = match text.split_once(':') {
            Some((_, "")) => return Err("names no service after the colon".into()),
            Some((name, service)) => (name, Some(service.to_owned())),
            None => (text, None),
        };
        let name = TerminalName::parse(name).map_err(|fault| fault.to_string())?;
        Ok(Self { name, service })
    }
}
