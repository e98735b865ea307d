//! The command line: what can be asked of the binary.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use ringback_proto::gate::Identity;
use ringback_proto::terminal::{ServiceId, TerminalName};

use crate::config::is_host_and_port;
use crate::connect::Target;
use crate::keys::Suite;
use crate::telemetry::Format;
use crate::users::Realm;

/// Reach a server on a terminal behind an operator's NAT and firewall: it is rung, and calls back.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, arg_required_else_help = true)]
pub struct Cli {
    /// How log lines look; RINGBACK_LOG chooses which there are.
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    pub log: Format,
    /// End when standard input ends, and so with whoever has started this process.
    #[arg(long, global = true, hide = true)]
    pub with_parent: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the whole method on this machine: ring by SMS, dial back, splice.
    Demo(Demo),
    /// Run a public proxy: hold clients, ring, pair, splice (and answer DNS, if configured).
    Public(File),
    /// Run a private proxy: hear rings, connect to the terminal, dial back.
    Private(File),
    /// Answer DNS for terminals' names, where the public proxy does not do so itself.
    Responder(File),
    /// Run a simulated operator: a message center that speaks SMPP, for tests without a SIM.
    Operator(File),
    /// Check a configuration and everything it names, and do nothing else.
    Check(File),
    /// Say what a configuration opens and to whom, and how its bearers fare.
    ///
    /// Asks the running proxy; where none runs, starts its bearers for some seconds and takes no
    /// message from anybody. Exit code: 0, or 1 if anything is bad.
    Doctor(Doctor),
    /// Ring a terminal once by one route, and tell each stage: to see that the route works.
    ///
    /// A real signal, charged like any; the running public proxy sends it. No client is joined: the
    /// tunnel is closed as soon as it has said whether the service can be reached. Exit codes as of
    /// `ringback connect`.
    Ring(Ring),
    /// Show what is spent of each budget, and when more is free.
    Budget(Show),
    /// Reach a service of a terminal with a key of one's own, end to end where it can be.
    ///
    /// Joins standard input and output with the service, as for ssh -o ProxyCommand='ringback
    /// connect --key me.key %h:ssh'. Exit codes: 0 the session came to its end; 64 bad usage or
    /// files; 69 the public proxy cannot be reached or refuses; 74 the session was cut; 75 refused
    /// for now; 76 not the public proxy or terminal of the contact; 77 refused for who you are.
    Connect(Connect),
    /// Print a terminal's contact file, which its clients keep; there is nothing secret in it.
    Contact(ContactOf),
    /// Make keys, or list them.
    Key {
        /// Whose.
        #[command(subcommand)]
        of: Key,
    },
    /// Enroll a terminal: agree on its keys by a one-time code, and prove its number.
    Enrol {
        /// Which step.
        #[command(subcommand)]
        step: Enrol,
    },
    /// Erase a terminal's keys for ever, and cut what they carry.
    Revoke {
        /// The terminal's name, or a kid.
        whom: String,
        /// The public or the private proxy's configuration.
        #[command(flatten)]
        file: File,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Make the demo's one access, and print it as JSON.
    #[command(hide = true)]
    Visit {
        /// Who is asked for the name.
        #[arg(long)]
        dns: SocketAddr,
        /// The port that is connected to.
        #[arg(long)]
        port: u16,
        /// Whose name is asked for.
        host: String,
    },
    /// Try to connect without any proxy, and print what came of it.
    #[command(hide = true)]
    Direct {
        /// Where to.
        to: SocketAddr,
    },
    /// Run the demo's mobile server: a patient's readings.
    #[command(hide = true)]
    Readings {
        /// Where it listens.
        #[arg(long)]
        listen: SocketAddr,
    },
}

impl Command {
    /// How much it logs unless it is told: nothing that is no error beside what a client says
    /// itself, and nothing beside the doctor's table.
    pub fn usually_logs(&self) -> &'static str {
        if matches!(self, Self::Doctor(_)) {
            return "off";
        }
        if matches!(self, Self::Connect(_)) { "error" } else { "info" }
    }

    /// Whether it serves until it is stopped, with TLS.
    pub fn is_role(&self) -> bool {
        match self {
            Self::Public(_) | Self::Private(_) => true,
            Self::Demo(_)
            | Self::Responder(_)
            | Self::Operator(_)
            | Self::Check(_)
            | Self::Doctor(_)
            | Self::Ring(_)
            | Self::Budget(_)
            | Self::Connect(_)
            | Self::Contact(_)
            | Self::Key { .. }
            | Self::Enrol { .. }
            | Self::Revoke { .. }
            | Self::Visit { .. }
            | Self::Direct { .. }
            | Self::Readings { .. } => false,
        }
    }
}

/// A command that reads a configuration file.
#[derive(Debug, Args)]
pub struct File {
    /// The configuration file (TOML).
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
}

/// What is shown of a configuration, for people or for machines.
#[derive(Debug, Args)]
pub struct Show {
    /// Whose.
    #[command(flatten)]
    pub file: File,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// What is examined.
#[derive(Debug, Args)]
pub struct Doctor {
    /// What is shown, and how.
    #[command(flatten)]
    pub show: Show,
    /// Read the configuration only: ask no proxy, start no bearer.
    #[arg(long)]
    pub offline: bool,
}

/// What is rung, and by which route.
#[derive(Debug, Args)]
pub struct Ring {
    /// The terminal's name.
    pub name: TerminalName,
    /// The public proxy's configuration.
    #[command(flatten)]
    pub file: File,
    /// The route: its place from 1, or its bearer's name [default: the first].
    #[arg(long, value_name = "ROUTE")]
    pub route: Option<String>,
    /// The service that the private proxy is to reach, by number [default: the first].
    #[arg(long, value_name = "ID")]
    pub service: Option<u16>,
    /// Print each stage as one JSON object a line.
    #[arg(long)]
    pub json: bool,
}

/// What is reached, and by whom.
#[derive(Debug, Args)]
pub struct Connect {
    /// The terminal, and which of its services: by the contact's name for it or by number.
    #[arg(value_name = "NAME[:SERVICE]")]
    pub target: Target,
    /// The terminal's contact file.
    #[arg(long, value_name = "FILE", conflicts_with = "contacts")]
    pub contact: Option<PathBuf>,
    /// The folder of contact files, NAME.toml each [default: ~/.config/ringback/contacts].
    #[arg(long, value_name = "DIR")]
    pub contacts: Option<PathBuf>,
    /// The client's own key, as `ringback key client` makes it.
    #[arg(long, value_name = "CLIENT.key")]
    pub key: PathBuf,
    /// Listen here instead, and reach the service for each connection.
    #[arg(short = 'L', value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
    /// Have the terminal's own ports opened for this machine's address, and end.
    #[arg(long, conflicts_with = "listen")]
    pub knock: bool,
    /// Ring by a bearer of one's own: modem, mail (or smtp), smpp; the public proxy must allow it.
    #[arg(
        long, value_name = "KIND", requires = "bearer", conflicts_with = "knock",
        value_parser = bearer_kind
    )]
    pub ring_with: Option<String>,
    /// The file of that bearer: one `[[bearer]]` table, as the proxies' files have it.
    #[arg(long, value_name = "FILE", requires = "ring_with")]
    pub bearer: Option<PathBuf>,
    /// Tell how it goes on standard error as one JSON object a line.
    #[arg(long)]
    pub json: bool,
}

/// Whose contact is printed.
#[derive(Debug, Args)]
pub struct ContactOf {
    /// The public proxy's configuration.
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// By which address clients reach `dial_back`, several times if there are several [default:
    /// those that are announced to private proxies].
    #[arg(long = "address", value_name = "HOST:PORT", value_parser = host_and_port)]
    pub addresses: Vec<String>,
    /// The terminal.
    pub name: TerminalName,
}

/// Keys that can be made or listed.
#[derive(Debug, Subcommand)]
pub enum Key {
    /// A proxy's identity: NAME.key stays with it, NAME.pub goes to the other proxy.
    Identity {
        /// Path without suffix.
        #[arg(long, value_name = "NAME")]
        out: PathBuf,
    },
    /// A client's key: NAME.key stays with it, NAME.pub goes to the tables of both proxies.
    Client {
        /// Path without suffix.
        #[arg(long, value_name = "NAME")]
        out: PathBuf,
    },
    /// One terminal's keys: NAME.public.keys and NAME.private.keys, one for each proxy.
    Terminal {
        /// Path without suffix.
        #[arg(long, value_name = "NAME")]
        out: PathBuf,
        /// How its signals are sealed.
        #[arg(long, value_enum, default_value_t = Suite::Hpke)]
        suite: Suite,
    },
    /// One line of a service's users file; the password is typed, or read from standard input.
    User {
        /// What the user is called.
        name: Identity,
        /// How it proves who it is.
        #[command(flatten)]
        by: Proof,
    },
    /// The keys of a proxy's configuration and keyring: whose, how old, how far; never what is in them.
    List {
        /// The public or the private proxy's configuration.
        #[command(flatten)]
        file: File,
        /// Print one JSON object a line.
        #[arg(long)]
        json: bool,
    },
}

/// How a user of a service proves who it is; without either by a password that is shown (Basic).
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct Proof {
    /// By a password that is never shown (Digest): what the login is for, the same for a whole file.
    #[arg(long, value_name = "REALM")]
    pub digest: Option<Realm>,
    /// By a token that is made now and shown once (Bearer), for programs.
    #[arg(long)]
    pub bearer: bool,
}

/// The steps of an enrolment.
#[derive(Debug, Subcommand)]
pub enum Enrol {
    /// At the public proxy: make a one-time code for a terminal of its configuration.
    Offer {
        /// The terminal's name.
        name: TerminalName,
        /// The public proxy's configuration.
        #[command(flatten)]
        file: File,
        /// How long the code is good: seconds, minutes, hours or days (90s, 30m, 1h, 2d).
        #[arg(long, default_value = "1h", value_parser = duration)]
        valid: Duration,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
        /// Show the code and its picture even where no terminal is.
        #[arg(long, conflicts_with = "json")]
        qr: bool,
    },
    /// At the private proxy: redeem a code, which is asked for or read from standard input.
    Redeem {
        /// The private proxy's configuration; begun if it is not there.
        #[command(flatten)]
        file: File,
        /// Read the code from this file, which nobody else can read.
        #[arg(long, value_name = "FILE")]
        code_file: Option<PathBuf>,
        /// Dial this address although it lies inside a private network; may be repeated.
        #[arg(long, value_name = "ADDRESS")]
        allow_address: Vec<IpAddr>,
        /// Have this service reached at HOST:PORT from now on; may be repeated. Those that are not
        /// named are written as comments, for a person to decide on.
        #[arg(long, value_name = "ID=HOST:PORT", value_parser = service)]
        service: Vec<(ServiceId, String)>,
    },
    /// At the public proxy: ring a terminal whose code was redeemed, to prove its number.
    Prove {
        /// The terminal's name.
        name: TerminalName,
        /// The public proxy's configuration.
        #[command(flatten)]
        file: File,
    },
}

/// How the demo is run.
#[derive(Clone, Debug, Args)]
pub struct Demo {
    /// Make one access with a plain HTTP client, print its steps, and exit: 0 if it succeeded.
    #[arg(long)]
    pub once: bool,
    /// Print one JSON object a line instead of an account for people.
    #[arg(long)]
    pub json: bool,
    /// Expose this local server instead of the built-in one.
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "lab", value_parser = host_and_port)]
    pub to: Option<String>,
    /// How long the simulated operator takes to deliver an SMS.
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, value_parser = sms_delay)]
    pub sms_delay: f64,
    /// Run everything in network namespaces behind a real NAT and firewall.
    #[arg(long)]
    pub lab: bool,
    /// How much later everything between the lab's operator and its Internet arrives, each way.
    #[arg(long, hide = true, value_name = "MILLISECONDS", requires = "lab")]
    pub lab_delay: Option<u16>,
}

fn host_and_port(text: &str) -> Result<String, String> {
    if !is_host_and_port(text) {
        return Err("must be host:port, such as localhost:8000".into());
    }
    Ok(text.into())
}

fn bearer_kind(text: &str) -> Result<String, Infallible> {
    Ok(if text == "smtp" { "mail" } else { text }.to_owned())
}

fn service(text: &str) -> Result<(ServiceId, String), String> {
    let (id, address) =
        text.split_once('=').ok_or("must be ID=HOST:PORT, such as 1=localhost:80")?;
    let id = id.parse().map_err(|_| "must begin with the service's number, 0 to 65535")?;
    Ok((ServiceId(id), host_and_port(address)?))
}

fn duration(text: &str) -> Result<Duration, String> {
    let unit = text.chars().last().unwrap_or_default();
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err("give a unit: 90s, 30m, 1h or 2d".into()),
    };
    let number: u64 =
        text[..text.len() - 1].parse().map_err(|_| "not a whole number".to_owned())?;
    let wanted = number.checked_mul(seconds).map(Duration::from_secs);
    let most = crate::limits::OFFER_VALIDITY;
    let fits = |it: &Duration| !it.is_zero() && *it <= most;
    wanted.filter(fits).ok_or_else(|| "must lie between 1s and 7d".into())
}

fn sms_delay(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.trim_end_matches('s').parse().map_err(|_| "not a number of seconds")?;
    if (0.0..=50.0).contains(&seconds) {
        return Ok(seconds);
    }
    Err("must lie between 0 and 50 seconds: clients wait 60".into())
}
