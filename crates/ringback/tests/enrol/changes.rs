//! Keys that change under running clients: new generations, new epochs, none any more.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use ringback::keys::TerminalKeys;
use tokio::time::{sleep, timeout};

use super::house::{House, is_reset};

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_served_all_the_while_a_terminal_is_enrolled_anew() -> Result<()> {
    let mut house = House::enrolled("").await?;
    let held = house.held().await?;
    let old = house.keys("public").await?[0]["kid"].clone();

    let (told, served) = serve_while_redeeming(&house).await?;
    ensure!(0 < served, "nobody came in the meantime");
    ensure!(told.contains("has taken them over") && told.contains("is enrolled"), "{told}");
    house.assert_served().await?;

    let public = house.keys("public").await?;
    let private = house.keys("private").await?;
    assert_eq!(public.len(), 1, "the public proxy keeps none that it does not use");
    assert_ne!(public[0]["kid"], old);
    let standing =
        |kid| private.iter().find(|it| it["kid"] == kid).map(|it| it["standing"].clone());
    assert_eq!(standing(old.clone()), Some("replaced".into()));
    assert_eq!(standing(public[0]["kid"].clone()), Some("in use".into()));
    // Whoever was served with the old keys goes on.
    drop(held);

    // A month later the private proxy has forgotten the old ones.
    let old = old.as_str().expect("a kid");
    let file = house.path(&format!("private/keyring/{old}.keys"));
    let mut keys = TerminalKeys::read(&file)?;
    let enrolment = keys.enrolment.as_mut().expect("of an enrolment");
    assert!(enrolment.retire.is_some_and(|at| now() + 29 * 86_400 < at));
    enrolment.retire = Some(now() - 1);
    keys.write(&file)?;
    house.kill("private").await?;
    house.start("private", &["--config", "private/private.toml"]).await?;
    let erased = async {
        while file.exists() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(10), erased).await?;
    house.assert_served().await
}

/// Redeems a code while one client comes after the other; what was told, and how many came.
async fn serve_while_redeeming(house: &House) -> Result<(String, usize)> {
    let (mut served, code) = (0, house.offer().await?);
    let redeem = async { house.said(house.redeem(&code).await?) };
    let mut redeem = std::pin::pin!(redeem);
    loop {
        // Every visit is let come to its end: none may fail.
        let visit = house.assert_served();
        tokio::select! {
            told = &mut redeem => {
                house.assert_served().await?;
                return Ok((told?, served));
            }
            visit = visit => visit?,
        }
        served += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_keys_that_are_not_proved_take_nothing_from_the_old() -> Result<()> {
    let mut house = House::enrolled("").await?;
    house.kill("private").await?;
    let told = house.said(house.redeem(&house.offer().await?).await?)?;
    ensure!(told.contains("ringback enrol prove"), "{told}");
    house.start("private", &["--config", "private/private.toml"]).await?;
    house.assert_served().await?;
    let standing: BTreeSet<String> =
        house.keys("public").await?.iter().map(|it| it["standing"].to_string()).collect();
    assert_eq!(standing, BTreeSet::from(["\"in use\"".into(), "\"unproved\"".into()]));
    house.said(house.prove().await?)?;
    house.assert_served().await?;
    assert_eq!(house.keys("public").await?.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_is_proved_three_times_an_hour_at_most() -> Result<()> {
    let house = House::open("").await?;
    house.said(house.redeem(&house.offer().await?).await?)?;
    // As if it had been rung three times just now.
    let file = house.ring("public", "keys")?.remove(0);
    let mut keys = TerminalKeys::read(&file)?;
    keys.enrolment.as_mut().expect("of an enrolment").probes = vec![now() - 2; 3];
    keys.write(&file)?;
    let refused = house.failed(house.prove().await?)?;
    ensure!(refused.contains("too often"), "{refused}");
    assert_eq!(house.sms()?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_turn_from_epoch_to_epoch_while_clients_come() -> Result<()> {
    let mut house = House::enrolled("ratchet_seconds = 1\n").await?;
    let epoch = |house: &House, side: &str| -> Result<u32> {
        Ok(TerminalKeys::read(&house.ring(side, "keys")?[0])?.psk.epoch())
    };
    let stolen = TerminalKeys::read(&house.ring("private", "keys")?[0])?;
    let begun = stolen.psk.epoch();
    // Not more often than a private proxy dials for one key id in a minute.
    while epoch(&house, "public")? < begun + 5 {
        house.assert_served().await?;
        sleep(Duration::from_millis(700)).await;
    }
    house.assert_served().await?;
    let turned = async {
        while epoch(&house, "private").unwrap_or(0) < begun + 4 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(10), turned).await?;
    let keys = TerminalKeys::read(&house.ring("private", "keys")?[0])?;
    assert!(keys.psk.previous().len() <= 2);
    let held: Vec<_> = [keys.psk.psk()].into_iter().chain(keys.psk.previous()).collect();
    assert!(!held.contains(&stolen.psk.psk()), "an old epoch was not erased");
    let public = TerminalKeys::read(&house.ring("public", "keys")?[0])?;
    assert!(public.psk.previous().is_empty());

    // Both come back where they were.
    for role in ["public", "private"] {
        house.kill(role).await?;
    }
    house.start("private", &["--config", "private/private.toml"]).await?;
    house.start("public", &["--config", "public/public.toml"]).await?;
    house.assert_served().await?;

    // A file that nobody may write is let be, and that is told once.
    let file = house.ring("public", "keys")?.remove(0);
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o400))?;
    house.says("public", "RB-RATCHET", 1).await?;
    let stands = epoch(&house, "public")?;
    for _ in 0..3 {
        sleep(Duration::from_millis(1_100)).await;
        house.assert_served().await?;
    }
    assert_eq!((epoch(&house, "public")?, house.count("public", "RB-RATCHET")?), (stands, 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_its_private_proxy_revokes_is_cut_at_once() -> Result<()> {
    let house = House::enrolled("").await?;
    let held = house.held().await?;
    let told = house.revoke("private").await?;
    ensure!(told.contains("in effect: the running proxy"), "{told}");
    assert!(is_reset(held).await?, "a revoked session ended as if it were complete");
    assert!(house.ring("private", "keys")?.is_empty());
    assert_eq!(house.keys("private").await?[0]["standing"], "revoked");

    let answer = house.get().await?;
    ensure!(answer.contains("RB-NO-ANSWER"), "{answer}");
    let again = house.run(&["revoke", "nobody.localhost", "--config", "private/private.toml"], "");
    ensure!(house.failed(again.await?)?.contains("RB-REVOKED"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_its_public_proxy_revokes_is_never_rung_again() -> Result<()> {
    let mut house = House::enrolled("").await?;
    house.assert_served().await?;
    let offered = house.offer().await?;
    let kid = house.keys("public").await?[0]["kid"].clone();
    let told = house.revoke("public").await?;
    ensure!(told.contains("in effect: the running proxy"), "{told}");
    house.assert_not_enrolled().await?;
    assert!(house.ring("public", "keys")?.is_empty());
    ensure!(house.failed(house.redeem(&offered).await?)?.contains("RB-CODE"), "its offer stands");

    // Nor after a restart, nor if somebody puts the keys of a backup back.
    let backup = house.ring("private", "keys")?.remove(0);
    let name = format!("public/keyring/{}.keys", kid.as_str().expect("a kid"));
    let mut keys = TerminalKeys::read(&backup)?;
    keys.hpke_private = None;
    keys.write(&house.path(&name))?;
    house.kill("public").await?;
    house.start("public", &["--config", "public/public.toml"]).await?;
    house.assert_not_enrolled().await?;

    // It is welcome with new keys.
    std::fs::remove_file(house.path(&name))?;
    house.said(house.redeem(&house.offer().await?).await?)?;
    house.assert_served().await
}

fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("after 1970").as_secs()
}
