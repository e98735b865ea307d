//! Who is inside a session's own association and says nothing, or something else: it holds nobody up.

use anyhow::{Context, Result, ensure};
use ringback_proto::access_request::SessionKeys;
use ringback_proto::hello::{Hello, Outcome, confirm_private};
use ringback_proto::ipsec::{Association, Inner};
use ringback_proto::switchboard::PublicKey;

use crate::order::hex;
use crate::scene::Scene;
use crate::strongswan::{As, Loot, arm, initiates, spis, start};

/// More silent connections than are heard at once, then one that says another session's hello, then the
/// true one. Told: what was answered, and whether the latest silent one was still being heard before.
const CALLS: &str = "import socket,sys\n\
    def dial():\n \
     s=socket.socket(socket.AF_INET6); s.settimeout(10); s.bind((sys.argv[1],0))\n \
     s.connect((sys.argv[2],7443)); return s\n\
    def say(name,hello):\n \
     s=dial(); s.sendall(bytes.fromhex(hello)); print(name,s.recv(99).hex(),flush=True)\n\
    silent=[dial() for _ in range(6)]\n\
    say('other',sys.argv[3])\n\
    silent[5].settimeout(0)\n\
    try: print('silent',silent[5].recv(9))\n\
    except BlockingIOError: print('silent waits')\n\
    say('true',sys.argv[4])\n";

#[tokio::test(flavor = "multi_thread")]
async fn neither_silence_nor_another_sessions_hello_inside_holds_the_true_one_up() -> Result<()> {
    let Some(mut scene) = Scene::over_ipsec().await? else { return Ok(()) };
    start(&mut scene.field).await?;
    let _access = scene.access()?;
    let signal = scene.overheard(1).await?;
    let (_, session) = scene.opened(&signal)?;
    // The signal that is sent again: a session of its own, which is pending, too.
    let signal = scene.overheard(2).await?;
    let (_, other) = scene.opened(&signal)?;

    let psk = *session.psk.expose();
    let loot = Loot { place: As::Private, identity: "private", psk: Some(psk) };
    arm(&scene.field, &session, loot).await?;
    ensure!(initiates(&scene.field).await?, "the tool does not work");
    let key = |name: &str| -> Result<PublicKey> {
        let spki = pem::parse(std::fs::read(scene.field.path(name))?)?.into_contents();
        PublicKey::parse(&spki).context("no key")
    };
    let (private, public) = (key("private.pub")?, key("public.pub")?);
    let inner = Inner::of(&session, &public);
    let (initiator_spi, responder_spi) = spis(&scene.field).await?;
    let association = Association { initiator_spi, responder_spi, private, public, inner };
    let hello = |keys: &SessionKeys| {
        let mac = confirm_private(keys, &association.exporter(&keys.sid));
        let hello = Hello { sid: keys.sid, mac, outcome: Outcome::NotTried, bare: false };
        hex(&hello.encode())
    };
    let (from, to) = (inner.private.to_string(), inner.public.to_string());
    let (other, session) = (hello(&other), hello(&session));
    let words = ["-u", "-c", CALLS, &from, &to, &other, &session];
    let output = scene.field.from(&scene.field.lab.client, "python3", &words).await?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> = told.lines().map(str::trim).collect();
    ensure!(lines.len() == 3 && lines[..2] == ["other", "silent waits"], "{output:?}");
    ensure!(lines[2].starts_with("true 01"), "not let in: {output:?}");
    let heard = scene.field.process("public").events("a dial-back has said hello");
    ensure!(heard.len() == 1 && heard[0]["protocol"] == "Ipsec", "one is told of: {heard:?}");
    Ok(())
}
