//! Configurations as users write them: the examples, and every way to get one wrong.
//!
//! The binary is asked, except where twenty thousand files are: those go to `Config::parse`.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use ringback::config::{Config, Contact};
use tempfile::TempDir;

/// The exit code of bad usage (sysexits.h, EX_USAGE).
const BAD_USAGE: Option<i32> = Some(64);

#[test]
fn every_example_has_no_mistakes() -> Result<()> {
    let fleet = Fleet::new()?;
    for file in &fleet.files {
        let checked = fleet.ringback(&["check", "--config", file])?;
        assert!(checked.status.success(), "{}", said(&checked));
    }
    assert_eq!(fleet.files.len(), 5, "{:?}", fleet.files);
    Ok(())
}

#[test]
fn the_example_of_a_contact_is_the_one_that_is_printed() -> Result<()> {
    let fleet = Fleet::new()?;
    let example = "examples/fleet/contacts/car7.fleet.example.toml";
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(example);
    std::fs::create_dir(fleet.path("contacts"))?;
    std::fs::copy(example, fleet.path("contacts/car7.toml"))?;

    let at = ["--address", "gate.fleet.example:7443"];
    let words = [&["contact", "--config", "public.toml"], &at[..], &["car7.fleet.example"]];
    let printed = fleet.ringback(&words.concat())?;
    assert!(printed.status.success(), "{}", said(&printed));
    std::fs::write(fleet.path("printed.toml"), &printed.stdout)?;
    let printed = Contact::load(&fleet.path("printed.toml"))?;
    let mut example = Contact::load(&fleet.path("contacts/car7.toml"))?;
    let (ssh, named) = (example.services.remove("ssh"), printed.services.get("port-2222"));
    assert_eq!(ssh.as_ref(), named, "a client may call it as it likes");
    assert!(example.services.iter().all(|(name, it)| printed.services.get(name) == Some(it)));
    assert_eq!(example.public_key, printed.public_key);
    assert_eq!(example.terminal_key, printed.terminal_key);
    assert_eq!(example.addresses, printed.addresses);
    Ok(())
}

#[test]
fn a_grant_that_cannot_be_kept_is_a_mistake() -> Result<()> {
    let fleet = Fleet::new()?;
    let private = std::fs::read_to_string(fleet.path("private.toml"))?;
    let client = "\n[[terminal.service.client]]\nname = \"dr-lee\"\nkey = \"lee.pub\"\n";
    for (from, to, mistake) in [
        ("\nname = \"car7.fleet.example\"", "\n", "needs the terminal's `name`"),
        ("end-to-end\"", "http\"", "with level = \"end-to-end\", and only there"),
        ("key = \"lee.pub\"\n", "", "client[0].key: missing"),
        ("name = \"dr-lee\"", "name = \"dr lee\"", "no name for a client"),
        ("\"end-to-end\" ", "\"end-to-end\"\nidentities = \"dr-lee\" ", "all who is let in"),
        ("key = \"lee.pub\"\n", &format!("key = \"lee.pub\"\n{client}"), "has this name"),
        (
            "key = \"lee.pub\"\n",
            &format!("key = \"lee.pub\"\n{}", client.replace("dr-lee", "dr-who")),
            "has this key",
        ),
    ] {
        assert!(private.contains(from), "no {from:?}");
        std::fs::write(fleet.path("wrong.toml"), private.replace(from, to))?;
        let told = fleet.ringback(&["check", "--config", "wrong.toml"])?;
        assert_eq!(told.status.code(), BAD_USAGE, "{to}: {}", said(&told));
        assert!(said(&told).contains(mistake), "no {mistake:?} in {}", said(&told));
    }
    Ok(())
}

#[test]
fn a_service_that_no_client_could_use_is_a_mistake() -> Result<()> {
    let fleet = Fleet::new()?;
    let public = std::fs::read_to_string(fleet.path("public.toml"))?;
    let end_to_end = "port = 2222\nlevel = \"end-to-end\"";
    for (from, to, mistake) in [
        (
            end_to_end,
            format!("http = true\nforwarded = true\n{end_to_end}"),
            "nothing is read here",
        ),
        ("id = 4\n", "id = 65535\n".to_owned(), "must be a whole number from 0 to 65534"),
    ] {
        assert!(public.contains(from), "no {from:?}");
        std::fs::write(fleet.path("wrong.toml"), public.replacen(from, &to, 1))?;
        let told = fleet.ringback(&["check", "--config", "wrong.toml"])?;
        assert_eq!(told.status.code(), BAD_USAGE, "{to}: {}", said(&told));
        assert!(said(&told).contains(mistake), "no {mistake:?} in {}", said(&told));
    }
    Ok(())
}

#[test]
fn what_is_read_on_its_way_cannot_be_bare() -> Result<()> {
    let fleet = Fleet::new()?;
    let public = "bare: what is read here is not encrypted end to end";
    let private = "bare: what a public proxy reads";
    let (ssh, meter) = ("port = 2222\nlevel = \"end-to-end\"", "level = \"mtls\"");
    let granted = "level = \"end-to-end\"";
    for (file, from, to, mistake) in [
        ("public.toml", ssh, "port = 2222\nhttp = true\nlevel = \"end-to-end\"", public),
        ("public.toml", ssh, "port = 2222\nforwarded = true\nlevel = \"end-to-end\"", public),
        ("public.toml", ssh, "port = 2222\nlevel = \"http\"", public),
        ("public.toml", ssh, "port = 2222\nlevel = \"mtls\"", public),
        // Its certificate alone.
        ("public.toml", meter, "level = \"open\"", public),
        ("private.toml", granted, "level = \"http\"", private),
        ("private.toml", granted, "level = \"mtls\"", private),
    ] {
        let text = std::fs::read_to_string(fleet.path(file))?;
        assert!(text.contains(from), "no {from:?}");
        let bare = text.replacen(from, &format!("bare = true\n{to}"), 1);
        std::fs::write(fleet.path("wrong.toml"), &bare)?;
        let told = fleet.ringback(&["check", "--config", "wrong.toml"])?;
        assert_eq!(told.status.code(), BAD_USAGE, "{to}: {}", said(&told));
        assert!(said(&told).contains(mistake), "{to}: no {mistake:?} in {}", said(&told));
        std::fs::write(fleet.path("wrong.toml"), bare.replacen("bare = true\n", "", 1))?;
        let told = fleet.ringback(&["check", "--config", "wrong.toml"])?;
        assert!(!said(&told).contains("bare:"), "{to}: {}", said(&told));
    }
    for (file, at) in [("public.toml", ssh), ("private.toml", granted)] {
        let text = std::fs::read_to_string(fleet.path(file))?;
        let bare = text.replacen(at, &format!("bare = true\n{at}"), 1);
        std::fs::write(fleet.path("bare.toml"), bare)?;
        let told = fleet.ringback(&["check", "--config", "bare.toml"])?;
        assert!(told.status.success(), "nobody reads it: {}", said(&told));
    }
    Ok(())
}

#[test]
fn all_mistakes_are_told_at_once_and_nothing_is_bound() -> Result<()> {
    let fleet = Fleet::new()?;
    let text = "[public]\nidentity = \"public.key\"\nstate = \"state\"\ndial_back = \"here\"\n\
                htttp = \"0.0.0.0:80\"\nanswer_seconds = 3\nworkers = 0\ncongestion = \"fast\"\n\
                [[bearer]]\nname = \"operator\"\nkind = \"pigeon\"\n";
    std::fs::write(fleet.path("wrong.toml"), text)?;
    for role in ["check", "public"] {
        let told = fleet.ringback(&[role, "--config", "wrong.toml"])?;
        assert_eq!(told.status.code(), BAD_USAGE, "{}", said(&told));
        for mistake in [
            "7 mistakes in wrong.toml",
            "line 1: public: clients cannot come: give http, tls, proxy, a service's raw, or clients with keys",
            "line 4: public.dial_back: \"here\"",
            "line 5: public.htttp: unknown key; did you mean http?",
            "line 6: public.answer_seconds: must be a whole number from 5 to 600",
            "line 7: public.workers: must be a whole number from 1 to 64",
            "line 8: public.congestion: \"fast\": must be \"system\"",
            "line 11: bearer[0].kind: \"pigeon\" is no kind of bearer; known: smpp",
        ] {
            assert!(said(&told).contains(mistake), "no {mistake:?} in {}", said(&told));
        }
    }
    assert!(!fleet.path("state").exists(), "a wrong file makes no state");
    Ok(())
}

#[test]
fn every_mistake_in_what_rings_may_cost_is_told_at_once() -> Result<()> {
    let fleet = Fleet::new()?;
    let text = std::fs::read_to_string(fleet.path("public.toml"))?;
    let edits = [
        ("source_per_hour = 10", "source_per_hour = -1"),
        ("currency = \"EUR\"", "currency = \"€\""),
        ("money_per_day = \"25.00\"", "money_per_day = \"much\""),
        ("price = \"0.045\"", "price = \"0,045\""),
        ("tenant = \"clinic\"", "tenant = \"clinik\""),
        ("waiting = 64", "waiting = 0"),
        ("breaker_seconds", "breaker_secnds"),
    ];
    let wrong = edits.iter().fold(text, |text, (right, wrong)| {
        assert!(text.contains(right), "{right}");
        text.replacen(right, wrong, 1)
    });
    std::fs::write(fleet.path("wrong.toml"), wrong)?;
    let told = said(&fleet.ringback(&["check", "--config", "wrong.toml"])?);
    for mistake in [
        "7 mistakes",
        "budget.source_per_hour: must be a whole number from 0 to 1000000000",
        "budget.currency: letters and digits only",
        "tenant[0].money_per_day: \"much\": no amount of money",
        "bearer[0].price: \"0,045\": no amount of money",
        "terminal[0].tenant: no [[tenant]] is called \"clinik\"",
        "terminal[0].waiting: must be a whole number from 1 to 4096",
        "budget.breaker_secnds: unknown key; did you mean breaker_seconds?",
    ] {
        assert!(told.contains(mistake), "no {mistake:?} in {told}");
    }
    Ok(())
}

#[test]
fn an_address_that_its_bearer_cannot_go_to_is_a_mistake() -> Result<()> {
    let fleet = Fleet::new()?;
    let public = std::fs::read_to_string(fleet.path("public.toml"))?;
    std::fs::copy(fleet.path("meter1.pem"), fleet.path("roots.pem"))?;
    let bearer = |name: &str, more: &str| {
        format!(
            "[[bearer]]\nname = \"{name}\"\nkind = \"mail\"\ntls_roots = \"roots.pem\"\n{more}\n"
        )
    };
    let post = bearer("post", "submission = \"mail.example:465\"\nfrom = \"us@fleet.example\"\n");
    let deaf = "mailbox = \"mail.example:993\"\nmailbox_user = \"us\"\n\
                mailbox_password_file = \"smpp.password\"\n";
    let account = |name: &str, mode: &str| {
        format!(
            "[[bearer]]\nname = \"{name}\"\nkind = \"smpp\"\naddress = \"127.0.0.1:2775\"\n\
             system_id = \"us\"\npassword_file = \"smpp.password\"\nmode = \"{mode}\"\n"
        )
    };
    let (ear, mouth) = (account("ear", "receiver"), account("mouth", "transmitter"));
    let public = format!("{public}\n{post}{}{ear}{mouth}", bearer("box", deaf));
    let number = "number = \"+15550100777\"";
    let both = format!("{number}\nmail = \"car7@fleet.example\"");
    let route = |more: &str| format!("\n[[terminal.route]]\n{more}\n[[terminal.route]]");
    for (rung_by, more, mistake) in [
        (both.as_str(), "bearer = \"post\"", ""),
        (number, "bearer = \"post\"\nto = \"all@fleet.example\"", ""),
        (number, "bearer = \"post\"", "route[0].to: missing: the terminal has no `mail`"),
        (both.as_str(), "bearer = \"post\"\nto = \"+1555\"", "e-mail goes to a mail address"),
        (both.as_str(), "bearer = \"post\"\nform = \"binary\"", "e-mail carries text only"),
        (both.as_str(), "bearer = \"post\"\nto = \"car7\"", "neither a call number"),
        (both.as_str(), "bearer = \"box\"", "hears only: give it a `submission`"),
        (both.as_str(), "bearer = \"ear\"", "hears only: have its `mode` be \"transceiver\""),
        (both.as_str(), "bearer = \"mouth\"", ""),
        (both.as_str(), "bearer = \"operator\"\nto = \"a@b\"", "goes to a call number"),
        ("mail = \"a@b\"", "bearer = \"post\"", "an SMS cannot hold a signal that names"),
        ("mail = \"a\"", "bearer = \"post\"", "terminal[0].mail: \"a\": not a mail address"),
        ("", "bearer = \"post\"", "terminal[0].number: missing: a terminal is rung by"),
    ] {
        let text = public.replacen(number, rung_by, 1);
        let text = text.replacen("\n[[terminal.route]]", &route(more), 1);
        std::fs::write(fleet.path("wrong.toml"), text)?;
        let told = fleet.ringback(&["check", "--config", "wrong.toml"])?;
        if mistake.is_empty() {
            assert!(told.status.success(), "{more}: {}", said(&told));
            continue;
        }
        assert_eq!(told.status.code(), BAD_USAGE, "{more}: {}", said(&told));
        assert!(said(&told).contains(mistake), "no {mistake:?} in {}", said(&told));
    }
    let private = std::fs::read_to_string(fleet.path("private.toml"))?;
    std::fs::write(fleet.path("wrong.toml"), format!("{private}\n{post}{ear}{mouth}"))?;
    let told = fleet.ringback(&["check", "--config", "wrong.toml"])?;
    assert!(said(&told).contains("\"post\" hears nothing: give it a `mailbox`"), "{}", said(&told));
    assert!(said(&told).contains("\"mouth\" hears nothing: have its `mode`"), "{}", said(&told));
    assert!(!said(&told).contains("\"ear\" hears nothing"), "{}", said(&told));
    Ok(())
}

#[test]
fn an_operator_that_cannot_be_run_is_a_mistake_of_its_file() -> Result<()> {
    let fleet = Fleet::new()?;
    for (wrong, words) in [("loss = 2.0", "loss: a share lies"), ("los = 0.1", "los")] {
        std::fs::write(fleet.path("wrong.toml"), format!("[operator]\n{wrong}\n"))?;
        let told = fleet.ringback(&["check", "--config", "wrong.toml"])?;
        assert_eq!(told.status.code(), BAD_USAGE, "{}", said(&told));
        assert!(said(&told).contains(words), "{}", said(&told));
    }
    Ok(())
}

#[test]
fn a_key_that_others_can_read_is_refused_with_the_cure() -> Result<()> {
    let fleet = Fleet::new()?;
    let everybody = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(fleet.path("car7.public.keys"), everybody)?;
    let told = fleet.ringback(&["check", "--config", "public.toml"])?;
    assert_eq!(told.status.code(), BAD_USAGE, "{}", said(&told));
    assert!(said(&told).contains("run chmod 600 on it"), "{}", said(&told));
    Ok(())
}

#[test]
fn swapped_keys_are_told_on_both_sides() -> Result<()> {
    let fleet = Fleet::new()?;
    for (left, right) in [("car7.public.keys", "car7.private.keys"), ("public.key", "public.pub")] {
        std::fs::rename(fleet.path(left), fleet.path("aside"))?;
        std::fs::rename(fleet.path(right), fleet.path(left))?;
        std::fs::rename(fleet.path("aside"), fleet.path(right))?;
    }
    // The public half may be read by all, and that is not what is wrong with it.
    std::fs::set_permissions(fleet.path("public.key"), std::fs::Permissions::from_mode(0o600))?;
    for (file, mistakes) in [
        ("public.toml", ["terminal[0].keys", "public.identity"]),
        ("private.toml", ["terminal[0].keys", "public_proxy[0].public_key"]),
    ] {
        let told = fleet.ringback(&["check", "--config", file])?;
        assert_eq!(told.status.code(), BAD_USAGE, "{}", said(&told));
        assert!(mistakes.iter().all(|it| said(&told).contains(it)), "{}", said(&told));
    }
    Ok(())
}

#[test]
fn a_public_proxy_that_is_listed_inside_is_noted_and_no_mistake() -> Result<()> {
    let fleet = Fleet::new()?;
    let text = std::fs::read_to_string(fleet.path("private.toml"))?;
    let listed = "addresses = [\"203.0.113.20:7443\", \"[2001:db8::20]:7443\"]";
    ensure!(text.contains(listed), "the example lists other addresses");
    for (addresses, notes) in [
        (listed, &[][..]),
        (
            "addresses = [\"127.0.0.1:7443\", \"203.0.113.20:7443\"]",
            &["127.0.0.1:7443 is a loopback address"],
        ),
        ("networks = \"203.0.113.0/24:7443\"", &[]),
    ] {
        std::fs::write(fleet.path("inside.toml"), text.replace(listed, addresses))?;
        let told = fleet.ringback(&["check", "--config", "inside.toml"])?;
        assert!(told.status.success(), "{}", said(&told));
        let stdout = String::from_utf8_lossy(&told.stdout).into_owned();
        assert_eq!(stdout.matches("note: ").count(), notes.len(), "{stdout}");
        assert!(notes.iter().all(|it| stdout.contains(it)), "{stdout}");
    }
    for (networks, mistake) in [
        ("networks = \"203.0.113.7:7443\"", "list it under addresses"),
        ("networks = \"203.0.113.0/24\"", "no network and port"),
    ] {
        std::fs::write(fleet.path("inside.toml"), text.replace(listed, networks))?;
        let told = fleet.ringback(&["check", "--config", "inside.toml"])?;
        assert_eq!(told.status.code(), BAD_USAGE, "{}", said(&told));
        assert!(said(&told).contains(mistake), "{}", said(&told));
    }
    Ok(())
}

#[test]
fn a_busy_port_is_one_clear_error() -> Result<()> {
    let fleet = Fleet::new()?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?;
    std::fs::write(fleet.path("busy.toml"), format!("[operator]\nlisten = \"{address}\"\n"))?;
    let public = std::fs::read_to_string(fleet.path("public.toml"))?
        .replace("\"0.0.0.0:7443\", \"[::]:7443\"", "\"127.0.0.1:0\"")
        .replace("\"0.0.0.0:80\"", &format!("\"{address}\""));
    std::fs::write(fleet.path("busy-public.toml"), public)?;
    for (role, file) in [("operator", "busy.toml"), ("public", "busy-public.toml")] {
        let told = fleet.ringback(&[role, "--config", file])?;
        assert_eq!(told.status.code(), Some(1), "{}", said(&told));
        let errors = said(&told).matches("error: ").count();
        let clear = said(&told).contains(&format!("RB-BIND: cannot listen on {address}"));
        assert!(clear && errors == 1, "{}", said(&told));
    }
    Ok(())
}

#[test]
fn a_file_of_another_role_says_whose_it_is() -> Result<()> {
    let fleet = Fleet::new()?;
    let told = fleet.ringback(&["private", "--config", "public.toml"])?;
    assert_eq!(told.status.code(), BAD_USAGE, "{}", said(&told));
    assert!(said(&told).contains("run it with `ringback public`"), "{}", said(&told));
    Ok(())
}

#[test]
fn no_file_makes_the_reader_panic() -> Result<()> {
    const FILES: u64 = 20_000;
    let fleet = Fleet::new()?;
    let texts: Vec<Vec<u8>> =
        fleet.files.iter().map(|it| std::fs::read(fleet.path(it))).collect::<Result<_, _>>()?;
    let mut wrong = 0;
    for seed in 0..FILES {
        let mut chance = Chance(seed);
        let mut text = texts[chance.below(texts.len())].clone();
        for _ in 0..=chance.below(4) {
            chance.mutate(&mut text, &texts);
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        if let Err(problems) = Config::parse(&text, fleet.folder.path()) {
            assert!(!problems.is_empty(), "wrong without a mistake, seed {seed}:\n{text}");
            wrong += 1;
        }
    }
    assert!(FILES / 4 < wrong, "only {wrong} of {FILES} were wrong");
    Ok(())
}

/// A copy of the example, with the keys that its comments tell one to make.
struct Fleet {
    folder: TempDir,
    files: Vec<String>,
}

impl Fleet {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut fleet = Self { folder, files: Vec::new() };
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/fleet");
        for entry in std::fs::read_dir(examples)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                continue;
            }
            let name = entry.file_name().into_string().ok().context("a strange name")?;
            std::fs::copy(
                Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/fleet").join(&name),
                fleet.path(&name),
            )?;
            fleet.files.push(name);
        }
        let told: Vec<String> = fleet
            .files
            .iter()
            .map(|it| std::fs::read_to_string(fleet.path(it)))
            .collect::<Result<_, _>>()?;
        let mut made = 0;
        for line in told.iter().flat_map(|it| it.lines()) {
            let Some(words) = line.strip_prefix("#   ringback ") else { continue };
            let words = words.split('→').next().unwrap_or_default();
            let words: Vec<&str> = words.split_whitespace().collect();
            let output = fleet.ringback(&words)?;
            ensure!(output.status.success(), "{words:?}: {}", said(&output));
            made += 1;
        }
        fleet.make_certificate()?;
        ensure!(made == 7, "the comments tell of {made} commands that make keys");
        let user = format!("robot:bearer:{}\n", "0".repeat(64));
        for (name, text) in [("smpp.password", "secret\n"), ("car7.users", &user)] {
            std::fs::write(fleet.path(name), text)?;
            let secret = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(fleet.path(name), secret)?;
        }
        Ok(fleet)
    }

    /// What another authority would make: it signs itself, and clients too.
    fn make_certificate(&self) -> Result<()> {
        let key = rcgen::KeyPair::generate()?;
        let names = vec!["meter1.fleet.example".to_owned()];
        let made = rcgen::CertificateParams::new(names)?.self_signed(&key)?;
        let pem = |tag, der: &[u8]| pem::encode(&pem::Pem::new(tag, der));
        std::fs::write(self.path("meter1.pem"), pem("CERTIFICATE", made.der()))?;
        std::fs::write(self.path("clinic-ca.pem"), pem("CERTIFICATE", made.der()))?;
        let key = pem("PRIVATE KEY", &key.serialize_der());
        std::fs::write(self.path("meter1.key"), key)?;
        let secret = std::fs::Permissions::from_mode(0o600);
        Ok(std::fs::set_permissions(self.path("meter1.key"), secret)?)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn ringback(&self, words: &[&str]) -> Result<Output> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringback"));
        Ok(command.args(words).current_dir(self.folder.path()).output()?)
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// SplitMix64: the same file for the same seed.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap_or_default()
    }

    /// Changes an octet, loses or doubles a piece, or grafts a line of another file.
    fn mutate(&mut self, text: &mut Vec<u8>, others: &[Vec<u8>]) {
        let from = self.below(text.len());
        let to = text.len().min(from + self.below(40));
        match self.below(5) {
            0 => text.truncate(from),
            1 => drop(text.drain(from..to)),
            2 => {
                let piece = text[from..to].to_vec();
                let at = self.below(text.len());
                text.splice(at..at, piece);
            }
            3 => {
                let lines: Vec<&[u8]> =
                    others[self.below(others.len())].split_inclusive(|it| *it == b'\n').collect();
                let line = lines[self.below(lines.len())];
                let starts: Vec<usize> =
                    (0..text.len()).filter(|at| *at == 0 || text[at - 1] == b'\n').collect();
                let at = starts.get(self.below(starts.len())).copied().unwrap_or_default();
                text.splice(at..at, line.iter().copied());
            }
            _ => {
                const TELLING: &[u8] = b"\"[]{}=#.\n0-9a\x00\xff";
                if let Some(octet) = text.get_mut(from) {
                    *octet = TELLING[self.below(TELLING.len())];
                }
            }
        }
    }
}
