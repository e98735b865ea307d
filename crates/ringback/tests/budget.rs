//! Budgets with real processes on loopback: what they allow is what the operator sees in SMS.

mod tenants;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tenants::{House, NAMES};
use tokio::time::timeout;

/// How long a client may take to be served or refused.
const PATIENCE: Duration = Duration::from_secs(30);

/// The terminals' windows are wide open, the tenant has six signals a day.
const SIX_A_DAY: &str = "[budget]\nterminal_per_5_minutes = 0\nsource_per_hour = 0\n\
     breaker_unanswered = 0\ncurrency = \"EUR\"\n\
     [[tenant]]\nname = \"one\"\nrings_per_day = 6\n[[tenant]]\nname = \"two\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn so_many_connects_cost_exactly_the_budget_in_sms_also_after_a_kill() -> Result<()> {
    let mut house = House::open(SIX_A_DAY).await?;
    for _ in 0..3 {
        house.asks(NAMES[0]).await?.is_served()?;
    }
    house.kill_the_public_proxy().await?;
    for _ in 0..3 {
        house.asks(NAMES[0]).await?.is_served()?;
    }
    house.kill_the_public_proxy().await?;
    for _ in 0..20 {
        let told = house.asks(NAMES[0]).await?;
        told.is_refused_with("RB-BUDGET-TENANT")?;
        let after = told.retry_after()?;
        ensure!((86_000..=86_400).contains(&after), "Retry-After: {after}");
    }
    assert_eq!(house.sms()?, 6);

    house.asks(NAMES[1]).await?.is_served()?;
    assert_eq!(house.sms()?, 7, "the other tenant is rung as ever");

    let report = house.ringback(&["budget", "--json", "--config", "public.toml"]).await?;
    let report: serde_json::Value = serde_json::from_str(&report)?;
    let rings = &report["tenants"][0]["rings_per_day"];
    assert_eq!((&rings["used"], &rings["limit"]), (&6.into(), &6.into()), "{report}");
    assert_eq!(report["tenants"][1]["money_per_day"]["used"], "0.045", "{report}");
    assert_eq!(report["last_hour"]["answered"], 7, "{report}");
    let table = house.ringback(&["budget", "--config", "public.toml"]).await?;
    ensure!(table.contains("6 / 6") && table.contains("breaker   closed"), "{table}");
    ensure!(!table.contains('\x1b'), "colors where nobody looks");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_are_served_or_refused_and_never_cost_a_signal_too_many() -> Result<()> {
    let house = House::open(SIX_A_DAY).await?;
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..40 {
        let asks = house.asks(NAMES[number % 2]);
        clients.spawn(async move { timeout(PATIENCE, asks).await.context("left waiting")? });
    }
    let mut served = 0;
    while let Some(told) = clients.join_next().await {
        let told = told??;
        if told.is_served().is_ok() {
            served += 1;
            continue;
        }
        ensure!(
            ["RB-BUDGET-TENANT", "RB-BUSY"].iter().any(|it| told.is_refused_with(it).is_ok()),
            "{told:?}"
        );
    }
    ensure!(20 <= served, "{served} served: the tenant without a limit has 20 of the clients");
    for _ in 0..10 {
        house.asks(NAMES[0]).await?;
    }
    assert_eq!(house.charged("one").await?, 6);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_and_a_source_are_told_their_own_limits() -> Result<()> {
    let text = "[budget]\nterminal_per_5_minutes = 2\nsource_per_hour = 3\n";
    let house = House::open(text).await?;
    house.asks(NAMES[0]).await?.is_served()?;
    house.asks(NAMES[0]).await?.is_served()?;
    let told = house.asks(NAMES[0]).await?;
    told.is_refused_with("RB-BUDGET-TERMINAL")?;
    ensure!((250..=300).contains(&told.retry_after()?));
    house.asks(NAMES[1]).await?.is_served()?;
    let told = house.asks(NAMES[1]).await?;
    told.is_refused_with("RB-BUDGET-CLIENT")?;
    ensure!((3_500..=3_600).contains(&told.retry_after()?));
    assert_eq!(house.sms()?, 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_leaves_the_directory_has_its_sessions_cut_and_not_ended() -> Result<()> {
    let house = House::open(SIX_A_DAY).await?;
    let (gone, kept) = (house.begins(NAMES[0]).await?, house.begins(NAMES[1]).await?);
    house.removes_the_first_terminal().await?;
    let fault = timeout(PATIENCE, gone.end()).await?.expect_err("a cut is no end");
    assert_eq!(fault.kind(), std::io::ErrorKind::ConnectionReset);
    house.asks(NAMES[0]).await?.is_refused_with("RB-UNKNOWN")?;
    ensure!(timeout(Duration::from_millis(300), kept.end()).await.is_err(), "the other goes on");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_whose_end_is_torn_is_told_and_goes_on() -> Result<()> {
    let mut house = House::open(SIX_A_DAY).await?;
    house.asks(NAMES[0]).await?.is_served()?;
    house.tears_the_journal()?;
    house.kill_the_public_proxy().await?;
    house.says("public", "cut short", 1).await?;
    house.asks(NAMES[0]).await?.is_served()?;
    assert_eq!(house.charged("one").await?, 2);
    Ok(())
}
