//! One public proxy's charon, shared: no terminal and no tenant takes all of it, and whoever finds no
//! room takes nothing from whoever waits beside it.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use ringback_lab::addresses;

use crate::charon::known;
use crate::field::{Field, Wishes};
use crate::scene::{comes_true, set_up, socket, start_web, url};

/// Terminals of a tenant: more than its share of the sessions.
const TERMINALS: usize = 70;
/// Its share: a quarter of 256.
const SHARE: usize = 64;

/// Gives the public proxy many more terminals of the tenant that has the reachable one, and one of another.
/// Nobody answers for them.
async fn add_terminals(field: &mut Field) -> Result<()> {
    let binary = env!("CARGO_BIN_EXE_ringback");
    let mut tables = String::new();
    for number in 0..=TERMINALS {
        let name = format!("t{number}");
        let made = field.client(binary, &["key", "terminal", "--out", &name]).await?;
        ensure!(made.status.success(), "{made:?}");
        let tenant = if number == TERMINALS { "bob" } else { "ada" };
        writeln!(
            tables,
            "[[terminal]]\nname = \"{name}.ring.example\"\nkeys = \"{name}.public.keys\"\n\
             tenant = \"{tenant}\"\nnumber = \"+1555011{number:04}\"\n\
             private_proxy = \"private.pub\"\n[[terminal.route]]\nbearer = \"sms\"\n\
             [[terminal.service]]\nid = 1\nport = 80\nhttp = true\ntunnel = \"ipsec\""
        )?;
    }
    let text = std::fs::read_to_string(field.path("public.toml"))?;
    std::fs::write(field.path("public.toml"), format!("{text}\n{tables}"))?;
    field.hang_up("public")?;
    field.process("public").says("\"message\":\"reloaded").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_rings_in_vain_takes_no_more_than_its_share_and_nothing_from_who_waits()
-> Result<()> {
    let wishes = Wishes {
        public:
            "linger_seconds = 0\n[ipsec]\n[[tenant]]\nname = \"ada\"\n[[tenant]]\nname = \"bob\""
                .into(),
        terminal: "tenant = \"ada\"".into(),
        ..Wishes::default()
    };
    let Some(mut field) = set_up("ipsec", "ipsec", wishes).await? else { return Ok(()) };
    start_web(&mut field).await?;
    add_terminals(&mut field).await?;

    // Its private proxy hears nothing for a while: its terminal is rung again and again.
    let private = field.process("private").child.id().context("it has ended")?.to_string();
    field.lab.inet.run(&["kill", "-STOP", &private]).await?;
    let access = field.begin("curl", &["-sS", "--max-time", "58", &url()])?;
    let charon = socket(&field, "public");
    let awaited = || anyhow::Ok(known(&charon)?.connections.len());
    comes_true("it is awaited", || Ok(awaited()? == 1)).await?;
    let there = format!("::{}:80", addresses::PUBLIC);
    let all = format!("http://t[0-{}].ring.example/", TERMINALS - 1);
    let words = ["-sS", "-Z", "--parallel-immediate", "--parallel-max", "100", "--max-time", "50"];
    let words = [&words[..], &["--connect-to", &there]].concat();
    let many = field.begin("curl", &[&words[..], &["-o", "many-#1", &all]].concat())?;
    comes_true("the share is used up", || Ok(awaited()? == SHARE)).await?;
    field.process("public").says_times("client refused", 1).await?;
    assert_eq!(awaited()?, SHARE, "and not exceeded");

    // Another tenant is rung for and awaited as if nobody were there.
    let of_bob = format!("http://t{TERMINALS}.ring.example/");
    let words = ["-sS", "--max-time", "50", "--connect-to", &there, &of_bob];
    let of_bob = field.begin("curl", &words)?;
    comes_true("another tenant's is awaited", || Ok(awaited()? == SHARE + 1)).await?;

    field.lab.inet.run(&["kill", "-CONT", &private]).await?;
    let page = access.output().await?;
    let page = String::from_utf8_lossy(&page.stdout).into_owned();
    ensure!(page.contains("5.4 mmol/l"), "whoever waited was refused: {page}");
    drop((many, of_bob));
    let refused = field.process("public").events("client refused");
    let codes: Vec<_> = refused.iter().filter_map(|it| it["code"].as_str()).collect();
    ensure!(!codes.is_empty() && codes.iter().all(|it| *it == "RB-BUSY"), "for room: {codes:?}");
    Ok(())
}
