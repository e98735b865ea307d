//! The demo as a user runs it: told right, ended clean, and never in another demo's way.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use ringback_lab::{Lab, Plan};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

const ONCE: [&str; 5] = ["demo", "--once", "--json", "--sms-delay", "0.2"];

#[test]
fn one_access_tells_every_step_and_what_it_cost() -> Result<()> {
    let house = House::new()?;
    let output = house.command(&ONCE).output()?;
    let told = told(&output)?;
    assert_succeeded(&output, &told);
    house.assert_left_empty();
    Ok(())
}

#[test]
fn an_account_for_people_has_no_colors_where_nobody_sees_them() -> Result<()> {
    let house = House::new()?;
    let output = house.command(&["demo", "--once", "--sms-delay", "0"]).output()?;
    let told = text(&output.stdout);
    assert!(output.status.success() && told.contains("reached: HTTP 200"), "{output:?}");
    assert!(!told.contains('\x1b') && !text(&output.stderr).contains('\x1b'), "{told:?}");
    Ok(())
}

#[test]
fn ones_own_server_is_reached() -> Result<()> {
    let house = House::new()?;
    let server = TcpListener::bind("127.0.0.1:0")?;
    let address = server.local_addr()?.to_string();
    let serving = std::thread::spawn(move || -> Result<String> {
        let (mut stream, _) = server.accept()?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut octet = [0];
            stream.read_exact(&mut octet)?;
            head.extend(octet);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmine")?;
        Ok(text(&head))
    });
    let output = house.command(&[&ONCE[..], &["--to", &address]].concat()).output()?;
    let told = told(&output)?;
    assert_succeeded(&output, &told);
    let head = serving.join().ok().context("the server failed")??;
    assert!(head.starts_with("GET / HTTP/1.1\r\nHost: patient.localhost"), "{head}");
    Ok(())
}

#[test]
fn a_server_that_is_not_there_is_told_and_fails() -> Result<()> {
    let house = House::new()?;
    // Bound and never listened on: nobody else is given the port meanwhile, and nobody answers.
    let nobody = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    nobody.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    let address = nobody.local_addr()?.as_socket().context("no address")?.to_string();
    let output = house.command(&[&ONCE[..], &["--to", &address]].concat()).output()?;
    let told = told(&output)?;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let last = told.last().context("nothing told")?;
    assert_eq!(last["succeeded"], false, "{last}");
    assert_eq!(last["visit"]["status"], 502, "{last}");
    house.assert_left_empty();
    Ok(())
}

#[test]
fn a_stopped_demo_leaves_nothing_behind() -> Result<()> {
    let house = House::new()?;
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let (mut demo, ready) = house.begin(&["demo", "--json"])?;
        assert_eq!(ready["ready"], true, "{ready}");
        assert!(5 <= house.processes(), "one process a role");
        let pid = rustix::process::Pid::from_child(&demo);
        rustix::process::kill_process(pid, signal)?;
        assert!(demo.wait()?.success(), "stopping is no failure");
        house.assert_left_empty();
    }
    Ok(())
}

#[test]
fn a_demo_that_is_stopped_while_it_sets_up_leaves_nothing_behind() -> Result<()> {
    let house = House::new()?;
    let mut demo = house.command(&["demo", "--json"]).stderr(Stdio::null()).spawn()?;
    while house.processes() < 3 {
        assert!(demo.try_wait()?.is_none(), "it ended by itself");
        std::thread::yield_now();
    }
    let pid = rustix::process::Pid::from_child(&demo);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    assert!(demo.wait()?.success(), "stopping is no failure");
    house.assert_left_empty();
    Ok(())
}

#[test]
fn demos_at_once_do_not_collide() -> Result<()> {
    let houses = [House::new()?, House::new()?, House::new()?];
    let demos: Vec<Child> = houses
        .iter()
        .map(|house| {
            let mut command = house.command(&ONCE);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
        })
        .collect::<Result<_, _>>()?;
    for demo in demos {
        let output = demo.wait_with_output()?;
        assert_succeeded(&output, &told(&output)?);
    }
    Ok(())
}

#[test]
fn in_the_lab_it_fails_directly_and_succeeds_by_ringing() -> Result<()> {
    if let Err(reason) = Lab::available(Plan::Cgnat) {
        let required = std::env::var_os("RINGBACK_LAB").is_some_and(|it| it == "require");
        anyhow::ensure!(!required, "the lab is required but unavailable: {reason}");
        writeln!(std::io::stderr(), "skipped: a test that needs the lab; {reason}")?;
        return Ok(());
    }
    let house = House::new()?;
    let output = house.command(&[&ONCE[..], &["--lab"]].concat()).output()?;
    let told = told(&output)?;
    assert_succeeded(&output, &told);
    let premise = told.iter().find(|it| it.get("direct").is_some()).context("no premise told")?;
    assert_eq!(premise["direct"], "no answer in 3 s", "{premise}");
    assert!(premise["blocked_packets"].as_u64().is_some_and(|it| 0 < it), "{premise}");
    house.assert_left_empty();
    Ok(())
}

/// A folder for everything temporary, which also marks the processes that belong to it.
struct House(TempDir);

impl House {
    fn new() -> Result<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringback"));
        command.args(words).env("TMPDIR", self.0.path()).stdin(Stdio::null());
        command
    }

    /// Starts a demo and waits for the first object that it tells.
    fn begin(&self, words: &[&str]) -> Result<(Child, Value)> {
        let mut demo = self.command(words).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(demo.stdout.take().context("no output")?).read_line(&mut line)?;
        Ok((demo, serde_json::from_str(&line)?))
    }

    /// How many processes live with this folder in their environment.
    fn processes(&self) -> usize {
        let mark = format!("TMPDIR={}", self.0.path().display());
        let Ok(all) = std::fs::read_dir("/proc") else { return 0 };
        all.flatten()
            .filter_map(|it| std::fs::read(it.path().join("environ")).ok())
            .filter(|it| it.split(|octet| *octet == 0).any(|it| it == mark.as_bytes()))
            .count()
    }

    fn assert_left_empty(&self) {
        // A process that was killed takes a moment to be gone.
        let until = Instant::now() + Duration::from_secs(5);
        while 0 < self.processes() && Instant::now() < until {
            std::thread::yield_now();
        }
        assert_eq!(self.processes(), 0, "a process was left behind");
        let left: Vec<_> = std::fs::read_dir(self.0.path()).into_iter().flatten().collect();
        assert!(left.is_empty(), "left behind: {left:?}");
    }
}

fn told(output: &Output) -> Result<Vec<Value>> {
    let lines = text(&output.stdout);
    let parsed = lines.lines().map(|it| serde_json::from_str(it).with_context(|| it.to_owned()));
    parsed.collect::<Result<_>>().with_context(|| format!("{output:?}"))
}

fn assert_succeeded(output: &Output, told: &[Value]) {
    assert!(output.status.success(), "{output:?}");
    let steps: BTreeSet<&str> = told.iter().filter_map(|it| it["step"].as_str()).collect();
    assert_eq!(steps.into_iter().collect::<String>(), "ABCDEFGHI", "{told:?}");
    let last = &told[told.len() - 1];
    assert_eq!(last["succeeded"], true, "{last}");
    let own = last["own_overhead_ms"].as_f64().expect("a number");
    assert!(0.0 < own && own < 2_000.0, "{last}");
    assert!(190.0 <= last["operator_ms"].as_f64().expect("a number"), "{last}");
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}
