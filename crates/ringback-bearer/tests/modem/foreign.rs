//! The simulated modem against a foreign program, so that it is a modem and not only what we think
//! one is.
//!
//! `cargo xtask peers` installs the program; without it these tests say that they were skipped, or
//! fail if `RINGBACK_PEERS=require`.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::brain::Traits;
use crate::simulator::Simulator;
use crate::stories::plain;

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
            let required = std::env::var_os("RINGBACK_PEERS").is_some_and(|it| it == "require");
            assert!(!required, "gammu is missing: run `cargo xtask peers`");
            println!("skipped: gammu is missing: run `cargo xtask peers`");
            return None;
        }
    };
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}\n{:?}", simulator.with(|it| it.asked.clone()));
    Some(said)
}
