//! What a configuration file says, turned into what the program believes.
//!
//! The whole file is read before anything is bound, and every mistake in it is told at once.
//! Key files are named in it and read with it; secrets never stand in it.

use std::fmt;
use std::path::{Path, PathBuf};

mod access;
mod bearer;
mod budget;
mod callees;
mod clients;
mod contact;
mod directory;
mod grant;
mod ipsec;
mod places;
mod private;
mod public;
mod responder;
mod ringer;
mod section;
mod tls;
mod tunnel;

pub use access::{Access, Custody, Network};
pub use budget::BudgetConfig;
pub use contact::{Contact, ContactService};
pub use directory::{Directory, Enrollable, ListedService, ListedTerminal, Route};
pub use grant::{EndToEnd, Grant, server_name};
pub use ipsec::{Charon, Esp, IpsecConfig, OwnCharon};
pub use places::{ListedProxy, Place, Places, Side};
pub use private::{Nat64, PrivateConfig, PublicProxy, ServiceTarget, Subscription};
pub use public::PublicConfig;
pub use responder::ResponderConfig;
pub use ringer::{OnlyTo, own_bearer};
pub(crate) use section::is_host_and_port;
pub use section::{Problem, Section};

/// A configuration file that is right in every part.
#[derive(Debug)]
pub enum Config {
    /// It has a `[public]` table.
    Public(Box<PublicConfig>),
    /// It has a `[private]` table.
    Private(Box<PrivateConfig>),
    /// It has a `[responder]` table and no other role's.
    Responder(ResponderConfig),
    /// It has an `[operator]` table.
    Operator(crate::operator::Config),
}

/// Every mistake of one file, in the order of its lines.
#[derive(Debug)]
pub struct Mistakes {
    file: PathBuf,
    problems: Vec<Problem>,
}

impl Config {
    /// Reads and checks a file and the key files it names, relative to its own folder.
    pub fn load(file: &Path) -> Result<Self, Mistakes> {
        let mistakes = |problems| Mistakes { file: file.to_owned(), problems };
        let text = text_of(file)?;
        let folder = file.parent().unwrap_or(Path::new("."));
        Self::parse(&text, folder).map_err(mistakes)
    }

    /// What is no mistake, and yet worth a second look.
    pub fn notes(&self) -> Vec<String> {
        match self {
            Self::Private(config) => config.notes(),
            Self::Public(_) | Self::Responder(_) | Self::Operator(_) => Vec::new(),
        }
    }

    /// The command that runs a file of this kind.
    pub fn role(&self) -> &'static str {
        match self {
            Self::Public(_) => "public",
            Self::Private(_) => "private",
            Self::Responder(_) => "responder",
            Self::Operator(_) => "operator",
        }
    }

    /// Checks the text of a file whose paths are relative to `folder`.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, Vec<Problem>> {
        let source = section::Source::parse(text, folder)?;
        let mut root = source.root();
        let config = if root.has("private") {
            private::read(&mut root).map(|it| Self::Private(Box::new(it)))
        } else if root.has("operator") {
            read_operator(&mut root).map(Self::Operator)
        } else if root.has("responder") && !root.has("public") {
            responder::read_alone(&mut root).map(Self::Responder)
        } else {
            public::read(&mut root).map(|it| Self::Public(Box::new(it)))
        };
        root.finish();
        source.verdict(config)
    }
}

impl Mistakes {
    /// One mistake that concerns a whole file.
    pub fn one(file: &Path, text: impl Into<String>) -> Self {
        Self { file: file.to_owned(), problems: vec![Problem::new(0, "", text)] }
    }

    /// The one mistake of a file that is right, but for another role than was asked to run it.
    pub fn of_role(file: &Path, wanted: &str, found: &Config) -> Self {
        let cure = format!("missing: run it with `ringback {}`", found.role());
        Self { file: file.to_owned(), problems: vec![Problem::new(0, wanted, cure)] }
    }
}

fn text_of(file: &Path) -> Result<String, Mistakes> {
    std::fs::read_to_string(file)
        .map_err(|error| Mistakes::one(file, format!("cannot be read: {error}")))
}

fn read_operator(root: &mut Section<'_>) -> Option<crate::operator::Config> {
    let config: crate::operator::Config = root.deserialized("operator")?;
    if let Err(fault) = config.check() {
        root.wrong("operator", format!("{fault:#}"));
    }
    Some(config)
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        let noun = if count == 1 { "mistake" } else { "mistakes" };
        write!(f, "RB-CONFIG: {count} {noun} in {}", self.file.display())?;
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}
