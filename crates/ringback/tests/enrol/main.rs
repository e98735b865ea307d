//! Enrolment, rotation and revocation, with every role a process of its own.

mod attacks;
mod changes;
mod house;

use anyhow::{Result, ensure};
use house::{House, NAME, REDEEM, secrets_of};
use tokio::io::AsyncWriteExt;

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_is_offered_redeemed_proved_by_one_ring_and_then_served() -> Result<()> {
    let mut house = House::open("").await?;
    house.assert_not_enrolled().await?;

    let code = house.offer().await?;
    house.assert_not_enrolled().await?;
    // The command waits for its code, and nobody sees it on its command line.
    let mut redeem = house.begin(&REDEEM)?;
    let pid = redeem.id().expect("a process that waits");
    let mut stdin = redeem.stdin.take().expect("piped");
    stdin.write_all(code.to_lowercase().replace('-', " ").as_bytes()).await?;
    for file in ["cmdline", "environ"] {
        let seen = std::fs::read(format!("/proc/{pid}/{file}"))?;
        let seen = String::from_utf8_lossy(&seen).to_uppercase();
        ensure!(!seen.contains(&code[..9]) && !seen.contains(&code.replace('-', "")), "{seen}");
    }
    drop(stdin);
    let told = house.said(redeem.wait_with_output().await?)?;
    for words in ["kept at both ends", "decide in private/private.toml", "enrol prove"] {
        ensure!(told.contains(words), "{told}");
    }

    // A complete file but for the bearer, which only a person knows.
    let check = ["check", "--config", "private/private.toml"];
    let lacks = house.failed(house.run(&check, "").await?)?;
    ensure!(lacks.contains("1 mistake in") && lacks.contains("bearer: missing"), "{lacks}");
    house.connect_bearer()?;
    let noted = house.said(house.run(&check, "").await?)?;
    ensure!(noted.contains("offers no service yet"), "{noted}");
    for side in ["public", "private"] {
        for file in house.ring(side, "keys")? {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&file)?.permissions().mode() & 0o777, 0o600, "{file:?}");
        }
    }

    // Keys alone open nothing: the number is not proved.
    house.assert_not_enrolled().await?;
    let silent = house.failed(house.prove().await?)?;
    ensure!(silent.contains("RB-UNPROVED") && house.sms()? == 1, "{silent}");
    house.assert_not_enrolled().await?;

    house.start("private", &["--config", "private/private.toml"]).await?;
    let rung = house.sms()?;
    let told = house.said(house.prove().await?)?;
    ensure!(told.contains("has dialed back"), "{told}");
    assert!(house.sms()? <= rung + 1, "one ring proves a route");

    // What it serves is for a person to decide, not for the public proxy.
    house.decide()?;
    let noted = house.said(house.run(&check, "").await?)?;
    ensure!(!noted.contains("offers no service yet"), "{noted}");
    house.kill("private").await?;
    house.start("private", &["--config", "private/private.toml"]).await?;
    house.assert_served().await?;
    let [key] = &house.keys("public").await?[..] else { panic!("one key") };
    assert_eq!((&key["standing"], &key["terminal"]), (&"in use".into(), &NAME.into()));

    for secret in secrets_of(&code)? {
        for role in ["public", "private", "operator"] {
            assert!(!house.log(role)?.contains(&secret), "{role} has logged a secret");
        }
    }
    let keys = ringback::keys::TerminalKeys::read(&house.ring("public", "keys")?[0])?;
    let psk: String = keys.psk.psk().expose().iter().map(|it| format!("{it:02x}")).collect();
    for role in ["public", "private", "operator"] {
        assert!(!house.log(role)?.contains(&psk), "{role} has logged a key");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_shown_to_a_person_only() -> Result<()> {
    let house = House::open("").await?;
    let offer = ["enrol", "offer", NAME, "--config", "public/public.toml"];
    let refused = house.failed(house.run(&offer, "").await?)?;
    ensure!(
        refused.contains("--json or --qr") && house.ring("public", "offer").is_err(),
        "{refused}"
    );

    let shown = house.said(house.run(&[&offer[..], &["--qr"]].concat(), "").await?)?;
    ensure!(shown.contains("RBE1-") && shown.contains('▀') && shown.contains("60 minutes"));
    // What is kept of it is not the code.
    let [kept] = &house.ring("public", "offer")?[..] else { panic!("one offer") };
    let code = shown.lines().find(|it| it.starts_with("RBE1-")).expect("a code");
    let kept = std::fs::read_to_string(kept)?;
    for secret in secrets_of(code)? {
        ensure!(!kept.contains(&secret), "{kept}");
    }

    let strange =
        ["enrol", "offer", "nobody.localhost", "--config", "public/public.toml", "--json"];
    ensure!(house.failed(house.run(&strange, "").await?)?.contains("RB-OFFER"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_others_could_read_are_refused() -> Result<()> {
    let house = House::enrolled("").await?;
    for side in ["public", "private"] {
        let file = format!("{side}/{side}.toml");
        let check = ["check", "--config", &file];
        house.said(house.run(&check, "").await?)?;
        let keys = house.ring(side, "keys")?[0].clone();
        let keys = keys.strip_prefix(house.path(""))?.to_str().expect("a plain name");
        let ring = House::keyring(side);
        for (name, mode, words, good) in [
            (keys, 0o640, "mode 640", 0o600),
            (keys, 0o604, "mode 604", 0o600),
            (&ring, 0o750, "mode 750", 0o700),
            (&ring, 0o701, "mode 701", 0o700),
        ] {
            house.set_mode(name, mode)?;
            let refused = house.failed(house.run(&check, "").await?)?;
            ensure!(refused.contains(words) && refused.contains("chmod"), "{refused}");
            house.set_mode(name, good)?;
        }
        house.said(house.run(&check, "").await?)?;
    }
    Ok(())
}
