//! The bearer of a client that rings by itself: one `[[bearer]]` table, as the proxies' files have it.

use std::path::Path;

use ringback_bearer::Bearer;

use super::section::{Section, Source};
use super::{Mistakes, bearer, text_of};

/// Reads the one bearer of a client's file, which must be of this kind.
pub fn own_bearer(file: &Path, kind: &str) -> Result<Bearer, Mistakes> {
    let text = text_of(file)?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let problems = |problems| Mistakes { file: file.to_owned(), problems };
    let source = Source::parse(&text, folder).map_err(problems)?;
    let mut root = source.root();
    let bearer = read(&mut root, kind);
    root.finish();
    source.verdict(bearer).map_err(problems)
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

    fn mistakes(kind: &str, text: &str) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("own.toml");
        std::fs::write(&file, text).unwrap();
        state::replace(&folder.path().join("password"), b"canary\n").unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let made = rcgen::CertificateParams::new(vec!["mail.example".to_owned()]).unwrap();
        let made = made.self_signed(&key).unwrap();
        let pem = pem::encode(&pem::Pem::new("CERTIFICATE", made.der().to_vec()));
        std::fs::write(folder.path().join("roots.pem"), pem).unwrap();
        own_bearer(&file, kind).err().map(|it| it.to_string())
    }
}
