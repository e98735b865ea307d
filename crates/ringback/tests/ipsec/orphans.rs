//! What a charon has of no living session is swept away, and a charon that served before us and serves on
//! after us keeps nothing.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use ringback_proto::vici::Message;

use crate::charon::{Known, ask_for, command, known};
use crate::field::{Field, Wishes};
use crate::scene::{comes_true, forgotten_by, set_up, set_up_without, socket, start_web, url};

/// The system's charon of a proxy's machine, as an administrator might have it.
const CHARON: &str = "charon-systemd {\n\
    load = random nonce openssl pem pkcs1 pkcs8 pubkey x509 constraints kdf curve25519 aes sha2 hmac \
    gcm kernel-libipsec kernel-netlink socket-default vici\n\
    port = 0\nport_nat_t = {port}\ninstall_virtual_ip = no\n\
    plugins {\nvici {\nsocket = unix://{socket}\n}\nkernel-libipsec {\nallow_peer_ts = yes\n}\n}\n\
    filelog {\nstderr {\ndefault = 1\nflush_line = yes\n}\n}\n}\n";

/// What nobody's session has: a key, a connection, by such a name.
fn plant(socket: &std::path::Path, name: &str) -> Result<()> {
    let key = Message::default()
        .with("id", name)
        .with("type", "ppk")
        .with("data", [7; 32])
        .with_list("owners", [format!("{name}@ringback.invalid")]);
    let end = |auth| Message::default().with("auth", auth);
    let connection = Message::default()
        .with("version", "2")
        .with_section("local", end("psk"))
        .with_section("remote", end("psk"));
    for (what, message) in
        [("load-shared", key), ("load-conn", Message::default().with_section(name, connection))]
    {
        let done = command(socket, what, message)?;
        ensure!(done.text("success") == Some("yes"), "{what}: {done:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_no_session_is_swept_and_what_does_or_is_not_ours_stays() -> Result<()> {
    let wishes = Wishes { terminal: "spares = 0".into(), ..Wishes::default() };
    let Some(mut field) = set_up("ipsec", "ipsec", wishes).await? else { return Ok(()) };
    start_web(&mut field).await?;
    // The tunnel lingers, and its association with it.
    let page = field.curl(&[&url()]).await?;
    assert!(page.contains("5.4 mmol/l"), "{page}");
    for role in ["private", "public"] {
        let socket = socket(&field, role);
        let before = known(&socket)?;
        ensure!(before.associations.len() == 1, "{role}: {before:?}");
        plant(&socket, "ringback-0123456789abcdef")?;
        plant(&socket, "somebody-elses")?;
        comes_true("the orphan is swept", || {
            let known = known(&socket)?;
            Ok(!known.keys.iter().chain(&known.connections).any(|it| it.ends_with("cdef")))
        })
        .await?;
        let after = known(&socket)?;
        ensure!(after.associations == before.associations, "{role}: {before:?} {after:?}");
        ensure!(after.keys.iter().any(|it| it == "somebody-elses"), "{role}: {after:?}");
        ensure!(after.connections.len() == 2, "{role}: {after:?}");
    }
    let page = field.curl(&[&url()]).await?;
    assert!(page.contains("5.4 mmol/l"), "{page}");
    assert_eq!(field.sms(), 1, "by the same tunnel");
    Ok(())
}

/// Starts the system's charon beside a proxy.
async fn start_charon(field: &mut Field, role: &str, socket: &std::path::Path) -> Result<()> {
    let (name, port) =
        if role == "public" { ("public-charon", "4500") } else { ("private-charon", "0") };
    let file = format!("{name}.conf");
    let text = CHARON.replace("{socket}", &socket.display().to_string()).replace("{port}", port);
    std::fs::write(field.path(&file), text)?;
    let words = [&format!("STRONGSWAN_CONF={file}"), "/usr/sbin/charon-systemd"];
    field.start(name, "env", &words, "worker threads").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charon_that_runs_already_serves_sessions_and_keeps_nothing_of_them() -> Result<()> {
    let wishes = Wishes {
        public: "linger_seconds = 0\n[ipsec]\nvici = \"public-charon.vici\"".into(),
        private: "[ipsec]\nvici = \"private-charon.vici\"".into(),
        ..Wishes::default()
    };
    let Some(mut field) = set_up_without("ipsec", "ipsec", wishes).await? else { return Ok(()) };
    start_web(&mut field).await?;
    let refused = field.curl(&[&url()]).await?;
    ensure!(refused.contains("RB-NO-TUNNEL"), "without a charon: {refused}");
    assert_eq!(field.sms(), 0, "nobody is rung");

    let sockets: [PathBuf; 2] =
        ["private", "public"].map(|it| field.path(&format!("{it}-charon.vici")));
    for (role, socket) in ["private", "public"].into_iter().zip(&sockets) {
        start_charon(&mut field, role, socket).await?;
        field.process(role).says("IPsec is ready").await?;
    }
    for _ in 0..2 {
        let page = field.curl(&[&url()]).await?;
        ensure!(page.contains("5.4 mmol/l"), "{page}");
        let heard = field.process("public").events("a dial-back has said hello");
        ensure!(heard.iter().all(|it| it["protocol"] == "Ipsec"), "{heard:?}");
        forgotten_by(sockets.clone()).await?;
    }
    assert_eq!(field.sms(), 2, "an SMS a session");

    // What could not be unloaded is swept here, too.
    plant(&sockets[1], "ringback-0123456789abcdef")?;
    comes_true("the orphan is swept", || Ok(known(&sockets[1])? == Known::default())).await?;

    // The charons go on without the proxies, and have no key of theirs any more.
    for (role, socket) in ["private", "public"].into_iter().zip(&sockets) {
        let keys = || anyhow::Ok(ask_for(socket, "get-keys")?.list("keys").len());
        ensure!(keys()? == 1, "{role}: the proxy's own key");
        let pid = field.process(role).child.id().context("it has ended")?.to_string();
        field.lab.inet.run(&["kill", "-TERM", &pid]).await?;
        comes_true("its key is forgotten", || Ok(keys()? == 0)).await?;
    }
    Ok(())
}
