//! Who gets in where the service asks for IPsec (S1): nobody by TLS, whatever he has, and nobody by IKE
//! who lacks one of three secrets. The session that they were after is served all the same.

use anyhow::{Result, ensure};
use ringback_proto::access_request::TunnelType;

use crate::order::Dial;
use crate::scene::Scene;
use crate::strongswan::{As, Loot, arm, initiates, start, terminate};

/// Leads what the private proxy says to the public proxy's IKE to the impostor instead.
const HIJACK: &str = "table ip hijack {\nchain astray {\n\
    type nat hook prerouting priority dstnat; policy accept;\n\
    iifname \"private\" udp dport 4500 dnat to 203.0.113.10:4500\n}\n}";

#[tokio::test(flavor = "multi_thread")]
async fn not_even_all_three_secrets_open_an_ipsec_session_by_tls() -> Result<()> {
    let Some(mut scene) = Scene::over_ipsec().await? else { return Ok(()) };
    let access = scene.access()?;
    let signal = scene.overheard(1).await?;
    let (_, session) = scene.opened(&signal)?;
    let honest = Dial::honest(&session);
    let cut = Dial { octets: 48, ..honest.clone() };
    assert_eq!(scene.let_in(vec![honest, cut]).await?, [false, false], "a downgrade");
    scene.field.process("public").says("RB-PEER").await?;

    scene.deliver(std::slice::from_ref(&signal)).await?;
    scene.assert_served(access).await?;
    let heard = scene.field.process("public").events("a dial-back has said hello");
    let by: Vec<_> = heard.iter().filter_map(|it| it["protocol"].as_str()).collect();
    assert_eq!(by, ["Tls", "Ipsec"], "{heard:?}");
    assert_eq!(scene.field.process("server").count("served"), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_in_by_ike_with_less_than_all_secrets_and_the_session_is_served() -> Result<()>
{
    let Some(mut scene) = Scene::over_ipsec().await? else { return Ok(()) };
    start(&mut scene.field).await?;
    let made = ["key", "identity", "--out", "stranger"];
    let made = scene.field.client(env!("CARGO_BIN_EXE_ringback"), &made).await?;
    ensure!(made.status.success(), "{made:?}");

    // The attack works if everything is right: without this the rest would show nothing.
    let access = scene.access()?;
    let signal = scene.overheard(1).await?;
    let (_, session) = scene.opened(&signal)?;
    let psk = *session.psk.expose();
    let right = Loot { place: As::Private, identity: "private", psk: Some(psk) };
    arm(&scene.field, &session, right).await?;
    ensure!(initiates(&scene.field).await?, "the tool does not work");
    terminate(&scene.field).await?;
    drop(access);

    let access = scene.access()?;
    let signal = scene.overheard(2).await?;
    let (_, session) = scene.opened(&signal)?;
    let (psk, confirm) = (*session.psk.expose(), *session.confirm_private.expose());
    for (name, loot) in [
        (
            "the signal's secret, not the key",
            Loot { identity: "stranger", psk: Some(psk), ..right },
        ),
        ("the public proxy's key", Loot { identity: "public", psk: Some(psk), ..right }),
        ("the key, not the signal's secret", Loot { psk: Some([7; 32]), ..right }),
        ("another of its secrets", Loot { psk: Some(confirm), ..right }),
        ("the key, and no secret at all", Loot { psk: None, ..right }),
    ] {
        arm(&scene.field, &session, loot).await?;
        ensure!(!initiates(&scene.field).await?, "let in: {name}");
    }
    scene.deliver(std::slice::from_ref(&signal)).await?;
    scene.assert_served(access).await?;
    assert_eq!(scene.field.process("server").count("served"), 1);

    // A session that was served is consumed: not even everything right opens it again.
    arm(&scene.field, &session, Loot { psk: Some(psk), ..right }).await?;
    ensure!(!initiates(&scene.field).await?, "let in: a consumed session");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_ikes_place_where_tls_is_permitted_gets_nothing_but_tls() -> Result<()> {
    let Some(mut scene) = Scene::over("ipsec-or-tls").await? else { return Ok(()) };
    start(&mut scene.field).await?;
    let made = ["key", "identity", "--out", "stranger"];
    let made = scene.field.client(env!("CARGO_BIN_EXE_ringback"), &made).await?;
    ensure!(made.status.success(), "{made:?}");
    scene.field.lab.gateway.host.nft(HIJACK).await?;
    for (number, (identity, knows)) in
        [("stranger", true), ("private", true), ("public", false)].into_iter().enumerate()
    {
        let access = scene.access()?;
        let signal = scene.overheard(number + 1).await?;
        let (request, session) = scene.opened(&signal)?;
        // What is sealed is what the table says, and nobody rewrites it.
        ensure!(request.tunnel == TunnelType::IpsecOrTls, "{request:?}");
        let psk = if knows { *session.psk.expose() } else { [7; 32] };
        arm(&scene.field, &session, Loot { place: As::Public, identity, psk: Some(psk) }).await?;
        scene.deliver(std::slice::from_ref(&signal)).await?;
        scene.assert_served(access).await?;
    }
    ensure!(scene.field.process("thief").count("initiating an IKE_SA") != 0, "nobody came to it");
    let up = scene.field.process("private").count("established between");
    ensure!(up == 0, "{}", scene.field.process("private").words());
    let heard = scene.field.process("public").events("a dial-back has said hello");
    ensure!(heard.len() == 3 && heard.iter().all(|it| it["protocol"] == "Tls"), "{heard:?}");

    // With the way free again IPsec is preferred, as before.
    scene.field.lab.gateway.host.nft("delete table ip hijack").await?;
    scene.field.lab.gateway.host.run(&["conntrack", "--delete", "--proto", "udp"]).await?;
    let access = scene.access()?;
    let signal = scene.overheard(4).await?;
    scene.deliver(std::slice::from_ref(&signal)).await?;
    scene.assert_served(access).await?;
    let heard = scene.field.process("public").events("a dial-back has said hello");
    ensure!(heard[3]["protocol"] == "Ipsec", "{heard:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_proxy_that_is_none_is_believed_nothing_by_ike() -> Result<()> {
    let Some(mut scene) = Scene::over_ipsec().await? else { return Ok(()) };
    start(&mut scene.field).await?;
    let made = ["key", "identity", "--out", "stranger"];
    let made = scene.field.client(env!("CARGO_BIN_EXE_ringback"), &made).await?;
    ensure!(made.status.success(), "{made:?}");
    scene.field.lab.gateway.host.nft(HIJACK).await?;
    for (number, (identity, knows)) in
        [("stranger", true), ("private", true), ("public", false)].into_iter().enumerate()
    {
        let access = scene.access()?;
        let signal = scene.overheard(number + 1).await?;
        let (_, session) = scene.opened(&signal)?;
        let psk = if knows { *session.psk.expose() } else { [7; 32] };
        arm(&scene.field, &session, Loot { place: As::Public, identity, psk: Some(psk) }).await?;
        scene.deliver(std::slice::from_ref(&signal)).await?;
        scene.field.process("private").says_times("RB-IPSEC: no IPsec tunnel", number + 1).await?;
        let page = access.output().await?;
        let page = String::from_utf8_lossy(&page.stdout).into_owned();
        ensure!(page.contains("RB-NO-TUNNEL"), "{identity}: {page}");
    }
    assert_eq!(scene.field.process("server").count("served"), 0, "no octet reached the service");
    ensure!(scene.field.process("thief").count("initiating an IKE_SA") != 0, "nobody came to it");

    // With the way free again, the next session is served.
    scene.field.lab.gateway.host.nft("delete table ip hijack").await?;
    scene.field.lab.gateway.host.run(&["conntrack", "--delete", "--proto", "udp"]).await?;
    let access = scene.access()?;
    let signal = scene.overheard(4).await?;
    scene.deliver(std::slice::from_ref(&signal)).await?;
    scene.assert_served(access).await
}
