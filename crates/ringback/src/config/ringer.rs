//! The bearer of a client that rings by itself: one `[[bearer]]` table, as the proxies' files have it,
//! and whom it may be used for.

use std::fmt;
use std::path::Path;

use ringback_bearer::Bearer;
use ringback_proto::terminal::{Callee, MailAddress};

use super::section::{Section, Source};
use super::{Mistakes, bearer, text_of};

/// Whom a public proxy may have a client ring: beginnings of call numbers, mail addresses, and mail
/// domains with their `@`. If nobody is named, it is everybody.
#[derive(Clone, Default)]
pub struct OnlyTo(Vec<String>);

impl OnlyTo {
    /// Whether this address may be rung.
    pub fn allows(&self, to: &Callee) -> bool {
        let fits = |it: &String| match to {
            Callee::Number(number) => format!("+{}", number.digits()).starts_with(it),
            Callee::Mail(mail) if it.starts_with('@') => {
                it[1..].eq_ignore_ascii_case(mail.domain())
            }
            Callee::Mail(mail) => it.eq_ignore_ascii_case(mail.as_str()),
        };
        self.0.is_empty() || self.0.iter().any(fits)
    }
}

/// Shows how many they are only: numbers and addresses are personal data.
impl fmt::Debug for OnlyTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OnlyTo({})", self.0.len())
    }
}

/// Reads the one bearer of a client's file, which must be of this kind, and whom it may ring.
pub fn own_bearer(file: &Path, kind: &str) -> Result<(Bearer, OnlyTo), Mistakes> {
    let text = text_of(file)?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let problems = |problems| Mistakes { file: file.to_owned(), problems };
    let source = Source::parse(&text, folder).map_err(problems)?;
    let mut root = source.root();
    let only_to = read_only_to(&mut root);
    let bearer = read(&mut root, kind);
    root.finish();
    source.verdict(bearer.map(|it| (it, only_to))).map_err(problems)
}

fn read_only_to(root: &mut Section<'_>) -> OnlyTo {
    let all: Vec<String> = root.list("only_to");
    let digits = |it: &str| !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit());
    let good = |it: &String| {
        it.strip_prefix('+').is_some_and(digits)
            || it.strip_prefix('@').is_some_and(|it| MailAddress::parse(&format!("a@{it}")).is_ok())
            || MailAddress::parse(it).is_ok()
    };
    if !all.iter().all(good) || all.is_empty() && root.has("only_to") {
        let text = "must list beginnings of numbers (\"+1555\"), mail addresses or mail domains (\"@a.b\")";
        root.wrong("only_to", text);
    }
    OnlyTo(all)
}

fn read(root: &mut Section<'_>, kind: &str) -> Option<Bearer> {
    let mut tables = root.sections("bearer");
    let bearers = bearer::read_all(root, None, Path::new("."));
    let [table] = tables.as_mut_slice() else {
        root.wrong("bearer", "must be one table: a client rings by one bearer");
        return None;
    };
    let found: Option<String> = table.text("kind");
    if found.as_deref().is_some_and(|found| found != kind) {
        table.wrong("kind", format!("--ring-with says {kind:?}"));
    }
    let bearer = bearers.into_values().next();
    if matches!(&bearer, Some(Bearer::Mail(it)) if it.mailbox.is_some()) {
        table.wrong(
            "mailbox",
            "a client hears nothing: leave it out, or its mails are marked as read",
        );
    }
    if bearer.as_ref().is_some_and(|it| !it.transmits()) {
        let key = if kind == "smpp" { "mode" } else { "kind" };
        table.wrong(key, "it hears only: a client sends by it");
    }
    bearer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state;

    const SMPP: &str = "[[bearer]]\nname = \"own\"\nkind = \"smpp\"\naddress = \"127.0.0.1:2775\"\n\
        system_id = \"us\"\npassword_file = \"password\"\nmode = \"receiver\"\n";
    const MAIL: &str = "[[bearer]]\nname = \"own\"\nkind = \"mail\"\ntls_roots = \"roots.pem\"\n\
        submission = \"mail.example:465\"\nfrom = \"lee@fleet.example\"\n";
    const MAILBOX: &str = "mailbox = \"mail.example:993\"\nmailbox_user = \"lee\"\n\
        mailbox_password_file = \"password\"\n";

    #[test]
    fn a_clients_own_mailbox_is_left_alone() {
        assert!(mistakes("mail", MAIL).is_none());
        let mistakes = mistakes("mail", &format!("{MAIL}{MAILBOX}")).expect("mistakes");
        assert!(mistakes.contains("bearer[0].mailbox: a client hears nothing"), "{mistakes}");
    }

    #[test]
    fn a_client_has_one_bearer_of_the_kind_it_says() {
        let modem = "[[bearer]]\nname = \"own\"\nkind = \"modem\"\ndevice = \"/dev/ttyUSB0\"\n";
        assert!(mistakes("modem", modem).is_none());
        for (kind, text, told) in [
            ("mail", modem.to_owned(), "bearer[0].kind: --ring-with says \"mail\""),
            ("modem", String::new(), "must be one table"),
            ("modem", modem.repeat(2), "must be one table"),
            ("modem", format!("{modem}price = \"1\"\n"), "price"),
            ("modem", format!("[public]\n{modem}"), "public"),
            ("smpp", SMPP.to_owned(), "bearer[0].mode: it hears only"),
        ] {
            let mistakes = mistakes(kind, &text).expect("mistakes");
            assert!(mistakes.contains(told), "{told}: {mistakes}");
        }
    }

    #[test]
    fn a_public_proxy_has_a_client_ring_only_whom_its_file_lists() {
        let modem = "[[bearer]]\nname = \"own\"\nkind = \"modem\"\ndevice = \"/dev/ttyUSB0\"\n";
        let listed = "only_to = [\"+1555\", \"lee@b.example\", \"@Fleet.example\"]\n";
        let (_, only_to) = read(&format!("{listed}{modem}")).unwrap();
        for (to, allowed) in [
            ("+15550100777", true),
            ("+19005550100", false),
            ("+155", false),
            ("car7@fleet.example", true),
            ("car7@dear.fleet.example", false),
            ("lee@b.example", true),
            ("kim@b.example", false),
        ] {
            assert_eq!(only_to.allows(&to.parse().unwrap()), allowed, "{to}");
        }
        assert_eq!(format!("{only_to:?}"), "OnlyTo(3)");
        assert!(read(modem).unwrap().1.allows(&"+19005550100".parse().unwrap()));
        for wrong in ["[]", "[\"\"]", "[\"+\"]", "[\"1555\"]", "[\"@\"]", "[\"a b@c\"]"] {
            let text = format!("only_to = {wrong}\n{modem}");
            assert!(mistakes("modem", &text).unwrap().contains("only_to"), "{wrong}");
        }
    }

    fn read(text: &str) -> Result<(Bearer, OnlyTo), Mistakes> {
        of("modem", text)
    }

    fn mistakes(kind: &str, text: &str) -> Option<String> {
        of(kind, text).err().map(|it| it.to_string())
    }

    fn of(kind: &str, text: &str) -> Result<(Bearer, OnlyTo), Mistakes> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("own.toml");
        std::fs::write(&file, text).unwrap();
        state::replace(&folder.path().join("password"), b"canary\n").unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let made = rcgen::CertificateParams::new(vec!["mail.example".to_owned()]).unwrap();
        let made = made.self_signed(&key).unwrap();
        let pem = pem::encode(&pem::Pem::new("CERTIFICATE", made.der().to_vec()));
        std::fs::write(folder.path().join("roots.pem"), pem).unwrap();
        own_bearer(&file, kind)
    }
}
