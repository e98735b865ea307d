//! The simulated modem against foreign programs, so that it is a modem and not only what we think
//! one is.
//!
//! `cargo xtask peers` installs them; without it these tests say that they were skipped, or
//! fail if `RINGBACK_PEERS=require`.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::brain::Traits;
use crate::simulator::Simulator;
use crate::stories::{plain, soon};

#[tokio::test]
async fn gammu_sends_by_the_simulated_modem() {
    let simulator = Simulator::new(Traits { reports: false, ..Traits::storing() });
    let Some(said) =
        gammu(&simulator, &["sendsms", "TEXT", "+15550100777", "-text", "RB hello"]).await
    else {
        return;
    };
    let sent = simulator.with(|it| it.sent.pop()).expect(&said);
    assert_eq!(sent.tp_user_data, b"RB hello");
    assert_eq!(sent.tp_destination_address.unwrap().address, "15550100777");
}

#[tokio::test]
async fn gammu_reads_and_deletes_what_the_simulated_modem_has_stored() {
    let simulator = Simulator::new(Traits::storing());
    simulator.with(|it| {
        it.store("SM", 0, &plain("from the card"));
        it.store("ME", 1, &plain("from the modem"));
    });
    let Some(said) = gammu(&simulator, &["getallsms"]).await else { return };
    assert!(said.contains("from the card") && said.contains("from the modem"), "{said}");
    assert!(said.contains("+447711223344"), "{said}");
    let Some(said) = gammu(&simulator, &["deletesms", "1", "1"]).await else { return };
    assert!(simulator.with(|it| it.stores["SM"].is_empty()), "{said}");
}

#[tokio::test]
async fn smstools_send_octets_and_hear_text_by_the_simulated_modem() {
    let simulator = Simulator::new(Traits { reports: false, ..Traits::storing() });
    simulator.with(|it| it.store("SM", 0, &plain("RB to smstools")));
    let place = tempfile::tempdir().unwrap();
    let folder = |name: &str| place.path().join(name);
    for name in ["outgoing", "checked", "incoming", "sent", "failed"] {
        std::fs::create_dir(folder(name)).unwrap();
    }
    let letter = "To: 15550100777\nAlphabet: binary\nUDH: false\n\nRB\u{1}\u{7f}";
    std::fs::write(folder("outgoing").join("letter"), letter).unwrap();
    let Some(mut smsd) = smsd(&simulator, place.path()) else { return };

    soon(simulator.until(|it| !it.sent.is_empty() && it.stores["SM"].is_empty())).await;
    // Asked to end, it finishes what it is at, and takes its processes with it.
    let daemon = Pid::from_raw(smsd.id().unwrap().cast_signed()).unwrap();
    kill_process(daemon, Signal::TERM).unwrap();
    soon(smsd.wait()).await.unwrap();
    let sent = simulator.with(|it| it.sent.pop()).unwrap();
    assert_eq!(sent.tp_user_data, b"RB\x01\x7f");
    assert_eq!(sent.tp_destination_address.unwrap().address, "15550100777");
    let heard = std::fs::read_dir(folder("incoming")).unwrap().next().unwrap().unwrap();
    let heard = std::fs::read_to_string(heard.path()).unwrap();
    assert!(heard.contains("From: 447711223344") && heard.contains("RB to smstools"), "{heard}");
}

/// Starts the daemon of smstools on the modem; nothing if it is missing.
fn smsd(simulator: &Simulator, place: &Path) -> Option<Child> {
    let folder = |name: &str| format!("{name} = {}/{name}\n", place.display());
    let folders: String =
        ["outgoing", "checked", "incoming", "sent", "failed"].map(folder).concat();
    let device = simulator.device();
    let settings = format!(
        "devices = M\n{folders}delaytime = 1\nblocktime = 1\nerrorsleeptime = 1\n\
         [M]\ndevice = {}\nincoming = yes\nbaudrate = 115200\n",
        device.display()
    );
    std::fs::write(place.join("smsd.conf"), settings).unwrap();
    let option = |letter: &str, name: &str| format!("-{letter}{}/{name}", place.display());
    let mut command = Command::new("/usr/sbin/smsd");
    command.arg("-t").arg(option("c", "smsd.conf")).arg(option("l", "log"));
    command.arg(option("i", "info")).arg(option("p", "pid"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    command.spawn().map_err(|_| missing("smstools")).ok()
}

/// Runs gammu on the modem and gives what it says; nothing if it is missing.
async fn gammu(simulator: &Simulator, words: &[&str]) -> Option<String> {
    let place = tempfile::tempdir().unwrap();
    let settings = place.path().join("gammurc");
    let device = simulator.device();
    let text = format!("[gammu]\ndevice = {}\nconnection = at\n", device.display());
    std::fs::write(&settings, text).unwrap();
    let mut command = Command::new("gammu");
    command.arg("-c").arg(&settings).args(words).env("LC_ALL", "C.UTF-8");
    let running = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = timeout(Duration::from_secs(120), running).await.expect("within two minutes");
    let output = match output {
        Ok(output) => output,
        Err(_missing) => {
            missing("gammu");
            return None;
        }
    };
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}\n{:?}", simulator.with(|it| it.asked.clone()));
    Some(said)
}

fn missing(program: &str) {
    let required = std::env::var_os("RINGBACK_PEERS").is_some_and(|it| it == "require");
    assert!(!required, "{program} is missing: run `cargo xtask peers`");
    println!("skipped: {program} is missing: run `cargo xtask peers`");
}
