//! `kind = "mail"`: a submission server that mails are sent by, a mailbox that they come to, or both.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use ringback_bearer::Tls;
use ringback_bearer::mail::{Config, Handled, Mailbox, Security, Server, Submission};
use ringback_proto::mail::account::Account;
use ringback_proto::mail::imap::Folder;
use ringback_proto::terminal::MailAddress;

use super::super::section::Section;
use super::{read_roots, server_name};
use crate::keys;

/// The keys of one of the two servers.
struct Keys {
    address: &'static str,
    security: &'static str,
    user: &'static str,
    password_file: &'static str,
}

const SUBMISSION: Keys = Keys {
    address: "submission",
    security: "submission_security",
    user: "submission_user",
    password_file: "submission_password_file",
};
const MAILBOX: Keys = Keys {
    address: "mailbox",
    security: "mailbox_security",
    user: "mailbox_user",
    password_file: "mailbox_password_file",
};

/// Reads the table; what was heard is remembered in the folder `state`, under the bearer's name.
pub(super) fn read(section: &mut Section<'_>, name: Option<&str>, state: &Path) -> Option<Config> {
    if section.lacks(SUBMISSION.address) & section.lacks(MAILBOX.address) {
        section.wrong("submission", "missing: give a `submission`, a `mailbox` or both");
    }
    let roots = section.file("tls_roots", read_roots);
    let submission = read_submission(section, roots.as_ref());
    let bookmarks = state.join(format!("{}.mailbox", name.unwrap_or_default()));
    let mailbox = read_mailbox(section, roots.as_ref(), &bookmarks);
    Some(Config { submission: submission?, mailbox: mailbox? })
}

/// The outer `None` stands for a mistake.
fn read_submission(section: &mut Section<'_>, roots: Option<&Roots>) -> Option<Option<Submission>> {
    let (present, from) = (section.has(SUBMISSION.address), section.has("from"));
    let [user, password] = [SUBMISSION.user, SUBMISSION.password_file].map(|it| section.has(it));
    if !present {
        let others = [
            ("from", from),
            (SUBMISSION.security, section.has(SUBMISSION.security)),
            (SUBMISSION.user, user),
            (SUBMISSION.password_file, password),
        ];
        refuse_without(section, SUBMISSION.address, &others);
        return Some(None);
    }
    let from: Option<MailAddress> = section.required("from");
    let account = if user || password { Some(read_account(section, &SUBMISSION)) } else { None };
    let server = read_server(section, &SUBMISSION, roots);
    let account = match account {
        Some(account) => Some(account?),
        None => None,
    };
    Some(Some(Submission { server: server?, account, from: from? }))
}

/// The outer `None` stands for a mistake.
fn read_mailbox(
    section: &mut Section<'_>,
    roots: Option<&Roots>,
    bookmarks: &Path,
) -> Option<Option<Mailbox>> {
    let present = section.has(MAILBOX.address);
    if !present {
        let keys = [
            MAILBOX.security,
            MAILBOX.user,
            MAILBOX.password_file,
            "folders",
            "handled",
            "idle_seconds",
            "poll_seconds",
        ];
        let others = keys.map(|it| (it, section.has(it)));
        refuse_without(section, MAILBOX.address, &others);
        return Some(None);
    }
    let account = read_account(section, &MAILBOX);
    let server = read_server(section, &MAILBOX, roots);
    let folders = read_folders(section);
    let handled = read_handled(section);
    let idle = section.seconds("idle_seconds", 30, 1680, 300);
    let poll = section.seconds("poll_seconds", 5, 3600, 15);
    let mailbox = Mailbox::new(server?, account?, bookmarks.to_owned());
    let folders = folders.unwrap_or_else(|| mailbox.folders.clone());
    Some(Some(Mailbox { folders, handled: handled?, idle, poll, ..mailbox }))
}

type Roots = Arc<rustls::ClientConfig>;

fn refuse_without(section: &Section<'_>, address: &str, keys: &[(&'static str, bool)]) {
    for (key, _) in keys.iter().filter(|(_, given)| *given) {
        section.wrong(key, format!("means nothing without `{address}`"));
    }
}

fn read_server(section: &mut Section<'_>, keys: &Keys, roots: Option<&Roots>) -> Option<Server> {
    let address = section.host_and_port(keys.address);
    let security: Option<String> = section.text(keys.security);
    let security = match security.as_deref() {
        None | Some("tls") => Security::Implicit,
        Some("starttls") => Security::StartTls,
        Some(_) => {
            section.wrong(keys.security, "must be \"tls\" or \"starttls\": nothing goes in clear");
            return None;
        }
    };
    let address = address?;
    let name = server_name(section, keys.address, &address)?;
    Some(Server { address, security, tls: Tls { config: roots?.clone(), name } })
}

fn read_account(section: &mut Section<'_>, keys: &Keys) -> Option<Account> {
    let user: Option<String> = section.required(keys.user);
    let password = section.file(keys.password_file, keys::read_password);
    let account = Account::new(&user?, &password?);
    if account.is_none() {
        section
            .wrong(keys.user, "user and password have 1 to 255 octets, and no control characters");
    }
    account
}

fn read_handled(section: &mut Section<'_>) -> Option<Handled> {
    let handled: Option<String> = section.text("handled");
    match handled.as_deref() {
        None | Some("mark") => Some(Handled::Mark),
        Some("delete") => Some(Handled::Delete),
        Some(_) => {
            section.wrong("handled", "must be \"mark\" or \"delete\"");
            None
        }
    }
}

/// `None` if they are left to the bearer.
fn read_folders(section: &mut Section<'_>) -> Option<BTreeSet<Folder>> {
    let names: Vec<String> = section.list("folders");
    if section.lacks("folders") {
        return None;
    }
    let wrong = names.iter().find(|it| Folder::parse(it).is_none());
    if let Some(name) = wrong {
        section.wrong(
            "folders",
            format!("{name:?} is no folder: printable ASCII, as its server has it"),
        );
    }
    Some(names.iter().filter_map(|it| Folder::parse(it)).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::time::Duration;

    use ringback_bearer::Bearer;
    use tempfile::TempDir;

    use super::super::super::section::Source;
    use super::super::read_all;
    use super::*;
    use crate::state;

    const SUBMITS: &str = "submission = \"mail.example:465\"\nfrom = \"a@b.example\"\n";
    const HEARS: &str = "mailbox = \"mail.example:993\"\nmailbox_user = \"car-7\"\n\
        mailbox_password_file = \"password\"\n";

    /// What is read of a bearer's table, or its mistakes.
    fn read(name: &str, table: &str) -> Result<BTreeMap<String, Bearer>, String> {
        let folder = folder();
        let head = "kind = \"mail\"\ntls_roots = \"roots.pem\"";
        let text = format!("[[bearer]]\nname = {name:?}\n{head}\n{table}");
        let source = Source::parse(&text, folder.path()).unwrap();
        let bearers = read_all(&mut source.root(), None, Path::new("state"));
        let told = |it: &super::super::super::section::Problem| it.to_string();
        source
            .verdict(Some(bearers))
            .map_err(|all| all.iter().map(told).collect::<Vec<_>>().join("\n"))
    }

    fn folder() -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        state::replace(&folder.path().join("password"), b"canary\n").unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let made = rcgen::CertificateParams::new(vec!["mail.example".to_owned()]).unwrap();
        let made = made.self_signed(&key).unwrap();
        let pem = pem::encode(&pem::Pem::new("CERTIFICATE", made.der().to_vec()));
        fs::write(folder.path().join("roots.pem"), pem).unwrap();
        folder
    }

    #[test]
    fn what_is_left_out_is_as_usual() {
        let mut bearers = read("post", &format!("{SUBMITS}{HEARS}")).unwrap();
        let Some(Bearer::Mail(config)) = bearers.remove("post") else { panic!("{bearers:?}") };
        let (submission, mailbox) = (config.submission.unwrap(), config.mailbox.unwrap());
        assert!(submission.account.is_none());
        assert_eq!(submission.server.security, Security::Implicit);
        assert_eq!(mailbox.bookmarks, Path::new("state/post.mailbox"));
        assert_eq!(mailbox.folders, BTreeSet::from([Folder::parse("INBOX").unwrap()]));
        assert_eq!(
            (mailbox.idle, mailbox.poll),
            (Duration::from_secs(300), Duration::from_secs(15))
        );
        assert_eq!(mailbox.handled, Handled::Mark);
    }

    #[test]
    fn all_that_can_be_said_is_taken() {
        let more = "mailbox_security = \"starttls\"\nfolders = [\"INBOX\", \"Junk\"]\n\
            handled = \"delete\"\nidle_seconds = 30\npoll_seconds = 5\n\
            submission_security = \"starttls\"\nsubmission_user = \"proxy\"\n\
            submission_password_file = \"password\"\n";
        let mut bearers = read("post", &format!("{SUBMITS}{HEARS}{more}")).unwrap();
        let Some(Bearer::Mail(config)) = bearers.remove("post") else { panic!("{bearers:?}") };
        let (submission, mailbox) = (config.submission.unwrap(), config.mailbox.unwrap());
        assert_eq!(submission.account.unwrap().user(), "proxy");
        assert_eq!(submission.server.security, Security::StartTls);
        assert_eq!(mailbox.server.security, Security::StartTls);
        assert_eq!((mailbox.folders.len(), mailbox.handled), (2, Handled::Delete));
        assert_eq!((mailbox.idle, mailbox.poll), (Duration::from_secs(30), Duration::from_secs(5)));
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let wrong = "submission = \"mail.example\"\nfrom = \"nobody\"\nsubmission_user = \"proxy\"\n\
            submission_security = \"none\"\nmailbox = \"mail.example:993\"\n\
            mailbox_password_file = \"nowhere\"\nmailbox_security = \"plain\"\n\
            folders = [\"INBOX\", \"Größe\"]\nhandled = \"burn\"\nidle_seconds = 29\npoll_seconds = 4\n";
        let told = read("../post", wrong).unwrap_err();
        for mistake in [
            "name: must be 1 to 64 letters",
            "submission: \"mail.example\": must be host:port",
            "from: \"nobody\": not a mail address",
            "submission_password_file: missing",
            "submission_security: must be \"tls\" or \"starttls\"",
            "mailbox_user: missing",
            "mailbox_password_file: ",
            "mailbox_security: must be \"tls\" or \"starttls\"",
            "folders: \"Größe\" is no folder",
            "handled: must be \"mark\" or \"delete\"",
            "idle_seconds: must be a whole number from 30 to 1680",
            "poll_seconds: must be a whole number from 5 to 3600",
        ] {
            assert!(told.contains(mistake), "no {mistake:?} in {told}");
        }
        assert_eq!(told.lines().count(), 12, "{told}");
    }

    #[test]
    fn one_of_the_two_is_needed_and_nothing_is_said_of_the_other() {
        assert!(read("post", "").unwrap_err().contains("give a `submission`, a `mailbox` or both"));
        assert!(read("post", SUBMITS).is_ok() && read("post", HEARS).is_ok());
        let told = read("post", &format!("{SUBMITS}folders = \"Junk\"\n")).unwrap_err();
        assert!(told.contains("folders: means nothing without `mailbox`"), "{told}");
        let told = read("post", &format!("{HEARS}from = \"a@b.example\"\n")).unwrap_err();
        assert!(told.contains("from: means nothing without `submission`"), "{told}");
    }
}
