//! Who gets in (S1): every thief, at the public proxy's door and in its place. Nobody does, and the
//! session that they were after is served all the same.

use anyhow::{Result, ensure};
use ringback::keys::{self, TerminalKeys};
use ringback_lab::addresses;
use ringback_proto::access_request::{AccessRequest, Purpose, SessionKeys, TunnelType};
use ringback_proto::hello::HELLO_OCTETS;
use ringback_proto::ipsec::IKE_PORT;
use ringback_proto::secret::Secret;
use ringback_proto::terminal::{CallNumber, Callee, ServiceId};

use crate::order::{Dial, Pose, told};
use crate::scene::Scene;

/// Leads what the private proxy sends to the public proxy to the impostor instead.
const HIJACK: &str = "table ip hijack {\nchain astray {\n\
    type nat hook prerouting priority dstnat; policy accept;\n\
    iifname \"private\" tcp dport 7443 dnat to 203.0.113.10:7443\n}\n}";

/// Tokens that somebody tries who knows none.
const GUESSES: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_in_with_less_than_all_secrets_and_the_session_is_served() -> Result<()> {
    let Some(scene) = Scene::set_up().await? else { return Ok(()) };
    assert_nobody_gets_in(scene).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_in_with_less_by_blocking_ipsec_where_tls_is_permitted() -> Result<()> {
    let Some(scene) = Scene::over("ipsec-or-tls").await? else { return Ok(()) };
    scene.field.lab.gateway.block_udp(IKE_PORT).await?;
    assert_nobody_gets_in(scene).await
}

/// Every thief's turn, at the public proxy's door.
async fn assert_nobody_gets_in(mut scene: Scene) -> Result<()> {
    let tenant = second_tenant(&mut scene).await?;

    // The attack works if everything is right: without this the rest would show nothing.
    let access = scene.access()?;
    let signal = scene.overheard(1).await?;
    let control = Dial::honest(&scene.opened(&signal)?.1);
    ensure!(scene.let_in(vec![control.clone()]).await? == [true], "the tool does not work");
    ensure!(scene.assert_served(access).await.is_err(), "served by nobody");
    let let_in = |scene: &mut Scene| scene.field.process("public").count("\"step\":\"H\"");
    assert_eq!(let_in(&mut scene), 1);

    let access = scene.access()?;
    let signal = scene.overheard(2).await?;
    let (request, session) = scene.opened(&signal)?;
    let (names, dials): (Vec<_>, Vec<_>) =
        thieves(&scene, &request, &session, &tenant, &control)?.into_iter().unzip();
    for (name, is_let_in) in names.iter().zip(scene.let_in(dials).await?) {
        assert!(!is_let_in, "let in: {name}");
    }
    let tried = names.len();
    assert_eq!(let_in(&mut scene), 1, "none of {tried} attackers was let in");
    scene.deliver(std::slice::from_ref(&signal)).await?;
    scene.assert_served(access).await?;
    assert_eq!(let_in(&mut scene), 2, "the honest private proxy was, for the same session");
    eprintln!("{tried} attackers were not let in");

    // A session that was served is consumed: not even everything right opens it again.
    let consumed = vec![Dial::honest(&session)];
    assert_eq!(scene.let_in(consumed).await?, [false], "let in: a consumed token");
    assert_eq!(scene.field.process("server").count("served"), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_client_has_left_lets_nobody_in() -> Result<()> {
    let Some(mut scene) = Scene::set_up().await? else { return Ok(()) };
    let access = scene.access()?;
    let signal = scene.overheard(1).await?;
    drop(access);
    scene.field.process("public").says("client left before an answer").await?;
    let session = scene.opened(&signal)?.1;
    let cancelled = vec![Dial::honest(&session)];
    assert_eq!(scene.let_in(cancelled).await?, [false], "let in: a cancelled token");

    // The terminal is reached as before.
    let access = scene.access()?;
    let signal = scene.overheard(2).await?;
    scene.deliver(&[signal]).await?;
    scene.assert_served(access).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_proxy_that_is_none_is_told_nothing_and_believed_nothing() -> Result<()> {
    let Some(mut scene) = Scene::set_up().await? else { return Ok(()) };
    let access = scene.access()?;
    let first = scene.overheard(1).await?;
    let (request, _) = scene.opened(&first)?;
    scene.field.lab.gateway.host.nft(HIJACK).await?;

    // Whoever has read the signal, but has not the public proxy's key, hears no hello.
    scene.pose(Pose { identity: None, relay_as: None }).await?;
    scene.deliver(&[fresh(&scene, &request, 1)?]).await?;
    scene.field.process("private").says("RB-PEER").await?;
    scene.field.process("impostor").says("attacker shunned").await?;
    assert_eq!(scene.field.process("impostor").count("attacker hello"), 0);

    // Whoever has its key, but has not read the signal, is heard out and not believed.
    let identity = Some("public.key".to_owned());
    scene.pose(Pose { identity: identity.clone(), relay_as: None }).await?;
    scene.deliver(&[fresh(&scene, &request, 2)?]).await?;
    scene.field.process("impostor").says("attacker lied").await?;
    let words = scene.field.process("impostor").words();
    assert_eq!(told(&words, "lied"), [Vec::<u8>::new()], "nothing was said to it after its answer");
    assert_eq!(scene.field.process("server").count("served"), 0, "no octet reached the service");

    // Whoever has both proxies' keys passes the very hello on: it is bound to another tunnel.
    scene.pose(Pose { identity, relay_as: Some("private.key".into()) }).await?;
    scene.deliver(std::slice::from_ref(&first)).await?;
    scene.field.process("impostor").says("attacker relayed").await?;
    let words = scene.field.process("impostor").words();
    assert_eq!(told(&words, "relayed"), [vec![0; 33]], "the public proxy says `gone`");

    // With the way free again, the same session is served by the signal that is sent again.
    scene.field.lab.gateway.host.nft("delete table ip hijack").await?;
    let again = scene.overheard(2).await?;
    scene.deliver(&[again]).await?;
    scene.assert_served(access).await?;
    assert_eq!(scene.field.process("server").count("served"), 1);
    assert_eq!(scene.field.process("public").count("\"step\":\"H\""), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_is_not_wholly_right_is_not_dialed_for() -> Result<()> {
    let Some(mut scene) = Scene::set_up().await? else { return Ok(()) };
    let access = scene.access()?;
    let signal = scene.overheard(1).await?;
    let (request, _) = scene.opened(&signal)?;
    let with = |at: usize, octet: u8| {
        let mut altered = signal.clone();
        altered[at] = octet;
        altered
    };
    // The header's kid and epoch, the encapsulated key, the payload, the tag; then what the right
    // keys sealed, with another tunnel or too old.
    let altered = [(4, 1), (5, 1), (6, 7), (50, 7), (signal.len() - 1, 7)];
    let mut signals: Vec<Vec<u8>> =
        altered.iter().map(|(at, flip)| with(*at, signal[*at] ^ flip)).collect();
    let ipsec =
        AccessRequest { tunnel: TunnelType::Ipsec, seq: request.seq + 9, ..request.clone() };
    let old = AccessRequest {
        issued: request.issued - 661 - u32::from(request.ttl_seconds) - 60,
        seq: request.seq + 10,
        ..request.clone()
    };
    for request in [&ipsec, &old] {
        signals.push(scene.sealed(request)?.0);
    }
    scene.deliver(&signals).await?;
    scene.field.process("private").says_times("\"not obeyed\"", signals.len()).await?;
    assert_eq!(scene.dials(), 0, "{:?}", scene.rejections());
    let rejections = scene.rejections().join("\n");
    for reason in ["does not know", "does not open", "a type of tunnel", "expired"] {
        assert!(rejections.contains(reason), "nobody was told {reason:?}: {rejections}");
    }

    // The one that they were made of is obeyed, and once.
    scene.deliver(&[signal.clone(), signal.clone()]).await?;
    scene.assert_served(access).await?;
    assert_eq!(scene.dials(), 1);

    // Whose keys are taken out of the private proxy's file is rung in vain from then on.
    let access = scene.access()?;
    let signal = scene.overheard(2).await?;
    scene.field.client("cp", &["patient.private.keys", "kept.keys"]).await?;
    let spare = ["key", "terminal", "--out", "other"];
    let made = scene.field.client(env!("CARGO_BIN_EXE_ringback"), &spare).await?;
    ensure!(made.status.success(), "{made:?}");
    scene.field.edit("private.toml", "patient.private.keys", "other.private.keys")?;
    scene.field.hang_up("private")?;
    scene.field.process("private").says("\"message\":\"reloaded").await?;
    scene.deliver(std::slice::from_ref(&signal)).await?;
    assert_eq!(scene.dials(), 1, "a revoked key id was dialed for");

    // And with them back, the same session is served.
    scene.field.edit("private.toml", "other.private.keys", "patient.private.keys")?;
    scene.field.hang_up("private")?;
    scene.field.process("private").says_times("\"message\":\"reloaded", 2).await?;
    scene.deliver(&[signal]).await?;
    scene.assert_served(access).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_id_that_its_public_proxy_has_dropped_lets_nobody_in() -> Result<()> {
    let Some(mut scene) = Scene::set_up().await? else { return Ok(()) };
    let access = scene.access()?;
    let signal = scene.overheard(1).await?;
    let revoked = Dial::honest(&scene.opened(&signal)?.1);
    let words = ["key", "terminal", "--out", "anew"];
    let made = scene.field.client(env!("CARGO_BIN_EXE_ringback"), &words).await?;
    ensure!(made.status.success(), "{made:?}");
    scene.field.edit("public.toml", "patient.public.keys", "anew.public.keys")?;
    scene.field.hang_up("public")?;
    scene.field.process("public").says("\"message\":\"reloaded").await?;
    assert_eq!(scene.let_in(vec![revoked]).await?, [false], "let in: a revoked key id");
    let told = access.output().await?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    ensure!(told.contains("RB-"), "its client is left waiting: {told}");
    Ok(())
}

/// Everybody who lacks something, by name.
fn thieves(
    scene: &Scene,
    request: &AccessRequest,
    session: &SessionKeys,
    tenant: &SessionKeys,
    consumed: &Dial,
) -> Result<Vec<(String, Dial)>> {
    let honest = Dial::honest(session);
    let identity = |file: &str| Some(file.to_owned());
    let ipsec = AccessRequest { tunnel: TunnelType::Ipsec, ..request.clone() };
    let foreign = scene.sealed(&ipsec)?.1;
    let guess = || -> Result<Dial> { Ok(Dial { sid: keys::random()?, ..honest.clone() }) };
    let mut thieves: Vec<(String, Dial)> = [
        ("the signal's secret, not the key", Dial { identity: None, ..honest.clone() }),
        ("the public proxy's key", Dial { identity: identity("public.key"), ..honest.clone() }),
        ("another tenant's key", Dial { identity: identity("tenant.key"), ..honest.clone() }),
        ("the key, not the signal's secret", Dial { key: [7; 32], ..honest.clone() }),
        (
            "the wrong end's secret",
            Dial { key: *session.confirm_public.expose(), ..honest.clone() },
        ),
        (
            "another tenant's secret",
            Dial { key: *tenant.confirm_private.expose(), ..honest.clone() },
        ),
        ("another tenant altogether", {
            let key = *tenant.confirm_private.expose();
            Dial { identity: identity("tenant.key"), key, ..honest.clone() }
        }),
        ("another tenant's session, not pending", {
            Dial { identity: identity("tenant.key"), ..Dial::honest(tenant) }
        }),
        ("another type of tunnel", {
            Dial { key: *foreign.confirm_private.expose(), ..honest.clone() }
        }),
        ("another type of tunnel and its token", Dial::honest(&foreign)),
        ("a consumed token", consumed.clone()),
        ("a consumed token's secret", Dial { key: consumed.key, ..honest.clone() }),
        ("no protocol", Dial { protocol: None, ..honest.clone() }),
        ("a web protocol", Dial { protocol: identity("h2"), ..honest.clone() }),
        ("a client's protocol", Dial { protocol: identity("ringback-client/1"), ..honest.clone() }),
        ("an enrolment's", Dial { protocol: identity("ringback-enrol/1"), ..honest.clone() }),
        ("an older TLS", Dial { tls12: true, ..honest.clone() }),
    ]
    .map(|(name, dial)| (name.to_owned(), dial))
    .into();
    for octets in 0..HELLO_OCTETS {
        thieves.push((format!("{octets} octets of a hello"), Dial { octets, ..honest.clone() }));
    }
    for number in 0..GUESSES {
        thieves.push((format!("guess {number}"), guess()?));
    }
    Ok(thieves)
}

/// Another terminal of another owner, behind a private proxy of its own; a session's keys of it.
async fn second_tenant(scene: &mut Scene) -> Result<SessionKeys> {
    let binary = env!("CARGO_BIN_EXE_ringback");
    for kind in ["identity", "terminal"] {
        let made = scene.field.client(binary, &["key", kind, "--out", "tenant"]).await?;
        ensure!(made.status.success(), "{made:?}");
    }
    let file = scene.field.path("public.toml");
    let text = std::fs::read_to_string(&file)?;
    let more = "[[terminal]]\nname = \"tenant.ring.example\"\nkeys = \"tenant.public.keys\"\n\
        number = \"+15550100778\"\nprivate_proxy = \"tenant.pub\"\nspares = 0\n\
        [[terminal.route]]\nbearer = \"sms\"\n[[terminal.service]]\nid = 1\nport = 80\nhttp = true\n";
    std::fs::write(&file, text + more)?;
    scene.field.hang_up("public")?;
    scene.field.process("public").says("\"message\":\"reloaded").await?;
    let key = TerminalKeys::read(&scene.field.path("tenant.public.keys"))?.sealing()?;
    let request = AccessRequest {
        purpose: Purpose::Access,
        tunnel: TunnelType::Tls,
        seq: 1,
        issued: 1_800_000_000,
        ttl_seconds: 60,
        service: ServiceId(1),
        public_proxy: (addresses::PUBLIC, 7443).into(),
        callee: Callee::Number(CallNumber::parse("+15550100778")?),
        key: Secret::new(keys::random()?),
    };
    Ok(scene.sealed_by(&request, &key)?.1)
}

/// A signal like that one, with a number of its own.
fn fresh(scene: &Scene, request: &AccessRequest, more: u32) -> Result<Vec<u8>> {
    let request = AccessRequest { seq: request.seq + 100 + more, ..request.clone() };
    Ok(scene.sealed(&request)?.0)
}
