//! What a tunnel runs over: what both tables permit, by a refusal with a name if that cannot be had, and
//! never by less.

use std::time::Duration;

use anyhow::{Result, ensure};
use ringback_proto::ipsec::IKE_PORT;
use tokio::time::Instant;

use crate::field::{Field, Wishes};
use crate::scene::{set_up, set_up_without, start_web, url};

/// How a service was reached.
#[derive(Debug, PartialEq, Eq)]
enum By {
    Ipsec,
    Tls,
    Nothing,
}

/// One access, and what it came by.
async fn access(field: &mut Field) -> Result<By> {
    let heard = |field: &mut Field| {
        field.process("public").events("a dial-back has said hello").into_iter()
    };
    let before = heard(field).count();
    let page = field.curl(&["-w", "%{http_code}", &url()]).await?;
    let heard: Vec<_> = heard(field).skip(before).collect();
    ensure!(heard.len() == 1, "one dial-back: {heard:?}");
    if !page.contains("5.4 mmol/l") {
        // It was told over TLS, and that is all that TLS was for.
        ensure!(page.contains("RB-NO-TUNNEL") && page.ends_with("503"), "{page}");
        ensure!(heard[0]["protocol"] == "Tls" && heard[0]["outcome"] == "NoTunnel", "{heard:?}");
        return Ok(By::Nothing);
    }
    Ok(if heard[0]["protocol"] == "Ipsec" { By::Ipsec } else { By::Tls })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_is_what_both_tables_permit_and_is_not_lowered_where_udp_is_blocked() -> Result<()>
{
    for (public, private, open, blocked) in [
        ("ipsec", "ipsec", By::Ipsec, By::Nothing),
        ("ipsec", "ipsec-or-tls", By::Ipsec, By::Nothing),
        ("ipsec-or-tls", "ipsec", By::Ipsec, By::Nothing),
        ("ipsec-or-tls", "ipsec-or-tls", By::Ipsec, By::Tls),
        ("ipsec-or-tls", "tls", By::Tls, By::Tls),
        ("tls", "ipsec-or-tls", By::Tls, By::Tls),
    ] {
        let wishes = Wishes { public: "linger_seconds = 0".into(), ..Wishes::default() };
        let Some(mut field) = set_up(public, private, wishes).await? else { return Ok(()) };
        start_web(&mut field).await?;
        let case = format!("{public} here, {private} there");
        assert_eq!(access(&mut field).await?, open, "{case}");
        field.lab.gateway.block_udp(IKE_PORT).await?;
        let began = Instant::now();
        assert_eq!(access(&mut field).await?, blocked, "{case}, UDP blocked");
        assert!(began.elapsed() < Duration::from_secs(15), "{case}: a bound is a bound");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_charon_there_is_a_named_refusal_or_tls_where_both_tables_permit_it() -> Result<()>
{
    for (absent, tunnel, by) in [
        ("public", "ipsec", By::Nothing),
        ("public", "ipsec-or-tls", By::Tls),
        ("private", "ipsec", By::Nothing),
        ("private", "ipsec-or-tls", By::Tls),
    ] {
        let mut wishes = Wishes { public: "linger_seconds = 0".into(), ..Wishes::default() };
        let lines = if absent == "public" { &mut wishes.public } else { &mut wishes.private };
        lines.push_str("\n[ipsec]\ncharon = \"nowhere\"");
        let Some(mut field) = set_up_without(tunnel, tunnel, wishes).await? else { return Ok(()) };
        start_web(&mut field).await?;
        let present = if absent == "public" { "private" } else { "public" };
        field.process(present).says("IPsec is ready").await?;
        field.process(absent).says("RB-IPSEC: no IPsec").await?;
        field.process(absent).says("charon is not installed").await?;
        let case = format!("{tunnel}, none at the {absent} proxy");
        let began = Instant::now();
        if absent == "public" && by == By::Nothing {
            let page = field.curl(&[&url()]).await?;
            ensure!(page.contains("RB-NO-TUNNEL"), "{case}: {page}");
            assert_eq!(field.sms(), 0, "{case}: nobody is rung");
        } else {
            assert_eq!(access(&mut field).await?, by, "{case}");
        }
        assert!(began.elapsed() < Duration::from_secs(15), "{case}: a bound is a bound");
    }
    Ok(())
}
