//! What must hold when something goes wrong beneath a session: nothing that was cut looks whole, and
//! what can be mended is.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ringback_proto::ipsec::{End, INNER_BITS, network};
use ringback_proto::switchboard::PublicKey;
use ringback_proto::vici::Message;
use tokio::time::timeout;

use crate::charon::{associations, command, known};
use crate::field::{Field, Wishes};
use crate::scene::{
    all_is_forgotten, both_halves, comes_true, has_come, set_up, socket, start_halves, start_web,
    url,
};

/// Octets of an answer: more than all buffers on the way hold.
const OCTETS: usize = 24 * 1024 * 1024;
/// Octets by which a session is surely under way.
const BEGUN: u64 = 100_000;
/// How long a session may take to be cut, or to go on, after a fault: the far end is asked after 5 seconds
/// of silence, and given up 13 seconds later.
const BOUND: Duration = Duration::from_secs(30);

async fn with_halves() -> Result<Option<Field>> {
    let wishes = Wishes { public: "linger_seconds = 0".into(), ..Wishes::default() };
    let Some(mut field) = set_up("ipsec", "ipsec", wishes).await? else { return Ok(None) };
    start_halves(&mut field, OCTETS).await?;
    Ok(Some(field))
}

/// The next session is served whole.
async fn assert_whole(field: &Field, role: &str) -> Result<()> {
    let told = field.curl(&["-o", "whole", &url(), "-w", "%{http_code}"]).await?;
    let whole = std::fs::read(field.path("whole"))?;
    let page = String::from_utf8_lossy(&whole[..whole.len().min(300)]).into_owned();
    ensure!(told == "200" && whole == both_halves(OCTETS), "{role}: {told}, {page}");
    Ok(())
}

/// The process ids of the charons in a proxy's place.
async fn charons(field: &Field, role: &str) -> Result<Vec<String>> {
    let host = if role == "public" { &field.lab.public } else { &field.lab.private };
    let sockets = host.run(&["ss", "-H", "-lunp"]).await?;
    let pids = sockets.lines().filter(|it| it.contains("charon"));
    let pids = pids.filter_map(|it| it.split_once("pid=")?.1.split(',').next());
    let mut pids: Vec<String> = pids.map(str::to_owned).collect();
    pids.sort();
    pids.dedup();
    Ok(pids)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charon_that_is_killed_cuts_its_sessions_and_is_started_again() -> Result<()> {
    for role in ["private", "public"] {
        let Some(mut field) = with_halves().await? else { return Ok(()) };
        let url = url();
        let download = field.begin("curl", &["-sS", "--max-time", "40", "-o", "got", &url])?;
        has_come(&field, "got", BEGUN).await?;
        let pids = charons(&field, role).await?;
        ensure!(pids.len() == 1, "{role}: {pids:?}");
        field.lab.inet.run(&["kill", "-KILL", &pids[0]]).await?;
        let cut = timeout(BOUND, download.output()).await.context("not cut in time")??;
        assert_eq!(cut.status.code(), Some(56), "{role}: reset, not ended: {cut:?}");
        field.process(role).says("RB-IPSEC: no IPsec").await?;

        // The next session is served by the next charon.
        field.process(role).says_times("IPsec is ready", 2).await?;
        std::fs::write(field.path("go"), "")?;
        assert_whole(&field, role).await?;
        all_is_forgotten(&field).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charon_that_hangs_refuses_by_name_cuts_its_sessions_and_is_started_again() -> Result<()>
{
    for role in ["private", "public"] {
        let Some(mut field) = with_halves().await? else { return Ok(()) };
        let url = url();
        let download = field.begin("curl", &["-sS", "--max-time", "40", "-o", "got", &url])?;
        has_come(&field, "got", BEGUN).await?;
        let pids = charons(&field, role).await?;
        ensure!(pids.len() == 1, "{role}: {pids:?}");
        field.lab.inet.run(&["kill", "-STOP", &pids[0]]).await?;
        // Nobody knows of it yet: whoever comes now is refused all the same.
        let refused = timeout(BOUND, field.curl(&[&url])).await.context("no bound")??;
        ensure!(refused.contains("RB-NO-TUNNEL"), "{role}: {refused}");
        let cut = timeout(BOUND, download.output()).await.context("not cut in time")??;
        assert_eq!(cut.status.code(), Some(56), "{role}: reset, not ended: {cut:?}");
        field.process(role).says("charon does not answer").await?;
        field.process(role).says("RB-IPSEC: no IPsec").await?;

        // The next session is served by the next charon, and the one that hung is gone.
        field.process(role).says_times("IPsec is ready", 2).await?;
        std::fs::write(field.path("go"), "")?;
        assert_whole(&field, role).await?;
        all_is_forgotten(&field).await?;
        ensure!(!charons(&field, role).await?.contains(&pids[0]), "{role}: it hangs still");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_somebody_else_has_is_told_by_name_and_used_once_it_is_free() -> Result<()> {
    const HOLDER: &str = "import socket,time\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n\
        s.bind(('0.0.0.0',4500)); print('holds it',flush=True); time.sleep(120)";
    let wishes = Wishes { public: "linger_seconds = 0".into(), ..Wishes::default() };
    let Some(mut field) = set_up("ipsec", "ipsec", wishes).await? else { return Ok(()) };
    start_web(&mut field).await?;
    field.process("public").kill().await?;
    no_charons(&field, "public").await?;
    field.start("tap", "python3", &["-c", HOLDER], "holds it").await?;
    field.start_role("public").await?;
    field.process("public").says("RB-IPSEC-PORT: no IPsec").await?;
    field.process("public").says("UDP port 4500 is taken").await?;
    let refused = field.curl(&[&url()]).await?;
    ensure!(refused.contains("RB-NO-TUNNEL"), "{refused}");
    assert_eq!(field.sms(), 0, "nobody is rung");

    field.process("tap").kill().await?;
    field.process("public").says("IPsec is ready").await?;
    let page = field.curl(&[&url()]).await?;
    ensure!(page.contains("5.4 mmol/l"), "{page}");
    Ok(())
}

/// Waits until no charon is there in a proxy's place.
async fn no_charons(field: &Field, role: &str) -> Result<()> {
    let waiting = async {
        while !charons(field, role).await?.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::Ok(())
    };
    timeout(BOUND, waiting).await.with_context(|| format!("{role}: a charon is left"))?
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_proxy_that_a_reload_has_brought_leads_out_in_clear_no_more_than_any_other()
-> Result<()> {
    let wishes = Wishes { public: "linger_seconds = 0".into(), ..Wishes::default() };
    let Some(mut field) = set_up("ipsec", "ipsec", wishes).await? else { return Ok(()) };
    start_web(&mut field).await?;
    let spki = pem::parse(std::fs::read(field.path("public.pub"))?)?.into_contents();
    let key = PublicKey::parse(&spki).context("no key")?;
    let network = format!("{}/{INNER_BITS}", network(&key, End::Public));
    let sealed = async |field: &Field| {
        let words = ["ip", "-6", "route", "show", "type", "blackhole"];
        anyhow::Ok(field.lab.private.run(&words).await?.contains(&network))
    };
    ensure!(sealed(&field).await?, "the one that was there at the start");

    // The private proxy starts anew and knows another one only.
    field.process("private").kill().await?;
    no_charons(&field, "private").await?;
    field.lab.private.run(&["ip", "-6", "route", "flush", "type", "blackhole"]).await?;
    field.edit("private.toml", "public_key = \"public.pub\"", "public_key = \"lee.pub\"")?;
    field.start_role("private").await?;
    field.process("private").says("IPsec is ready").await?;
    ensure!(!sealed(&field).await?, "nothing is sealed off for whom it does not know");

    field.edit("private.toml", "public_key = \"lee.pub\"", "public_key = \"public.pub\"")?;
    field.hang_up("private")?;
    field.process("private").says("\"message\":\"reloaded").await?;
    let page = field.curl(&[&url()]).await?;
    ensure!(page.contains("5.4 mmol/l"), "{page}");
    ensure!(sealed(&field).await?, "the one that came by a reload");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_killed_leaves_no_charon_and_no_secret_behind() -> Result<()> {
    for role in ["private", "public"] {
        let Some(mut field) = with_halves().await? else { return Ok(()) };
        let url = url();
        let download = field.begin("curl", &["-sS", "--max-time", "40", "-o", "got", &url])?;
        has_come(&field, "got", BEGUN).await?;
        field.process(role).kill().await?;
        let cut = timeout(BOUND, download.output()).await.context("not cut in time")??;
        assert_eq!(cut.status.code(), Some(56), "{role}: reset, not ended: {cut:?}");
        no_charons(&field, role).await?;

        field.start_role(role).await?;
        field.process(role).says("IPsec is ready").await?;
        std::fs::write(field.path("go"), "")?;
        assert_whole(&field, role).await?;
        all_is_forgotten(&field).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_survives_a_nat_that_forgets_its_mapping() -> Result<()> {
    let Some(field) = with_halves().await? else { return Ok(()) };
    let download = field.begin("curl", &["-sS", "--max-time", "60", "-o", "got", &url()])?;
    has_come(&field, "got", BEGUN).await?;
    // Of the flows the association's alone: the gateway stands between the private proxy and the terminal, too.
    field.lab.gateway.host.run(&["conntrack", "--delete", "--proto", "udp"]).await?;
    std::fs::write(field.path("go"), "")?;
    let whole = timeout(BOUND, download.output()).await.context("it does not go on")??;
    assert!(whole.status.success(), "{whole:?}");
    ensure!(std::fs::read(field.path("got"))? == both_halves(OCTETS), "altered");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_notices_nothing_of_its_rekeying() -> Result<()> {
    let Some(field) = with_halves().await? else { return Ok(()) };
    let download = field.begin("curl", &["-sS", "--max-time", "60", "-o", "got", &url()])?;
    has_come(&field, "got", BEGUN).await?;
    let spis = |role: &str| -> Result<Vec<String>> {
        let found = associations(&socket(&field, role))?;
        let alive = found.iter().filter(|(_, it)| it.text("state") == Some("ESTABLISHED"));
        Ok(alive.filter_map(|(_, it)| Some(it.text("initiator-spi")?.to_owned())).collect())
    };
    let before = spis("private")?;
    for (role, what) in
        [("private", "child"), ("public", "child"), ("private", "ike"), ("public", "ike")]
    {
        let (name, _) = associations(&socket(&field, role))?.swap_remove(0);
        let name = if what == "ike" { name } else { "tunnel".to_owned() };
        let rekeyed = command(&socket(&field, role), "rekey", Message::default().with(what, name))?;
        // What was rekeyed a moment ago may still be there.
        ensure!(rekeyed.text("matches").is_some_and(|it| it != "0"), "{role} {what}: {rekeyed:?}");
        let settled = || {
            let found = known(&socket(&field, "private"))?.associations.len();
            Ok(found == 1 && known(&socket(&field, "public"))?.associations.len() == 1)
        };
        comes_true("one association is left", settled).await?;
    }
    comes_true("the association is another", || Ok(spis("private")? != before)).await?;
    std::fs::write(field.path("go"), "")?;
    let whole = timeout(BOUND, download.output()).await.context("it does not go on")??;
    assert!(whole.status.success(), "{whole:?}");
    ensure!(std::fs::read(field.path("got"))? == both_halves(OCTETS), "altered");
    all_is_forgotten(&field).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inner_address_never_leads_out_in_clear() -> Result<()> {
    let wishes = Wishes::default();
    let Some(mut field) = set_up("ipsec", "ipsec", wishes).await? else { return Ok(()) };
    start_web(&mut field).await?;
    let page = field.curl(&[&url()]).await?;
    assert!(page.contains("5.4 mmol/l"), "{page}");
    // The tunnel lingers: both ends have the other's inner address, by a device of charon's.
    let mut inner = Vec::new();
    for host in [&field.lab.private, &field.lab.public] {
        let routes = host.run(&["ip", "-6", "route", "show", "table", "220"]).await?;
        let to = routes.split_whitespace().next().context("no route inside")?.to_owned();
        let way = host.run(&["ip", "-6", "route", "get", &to]).await?;
        ensure!(way.contains("dev ipsec0"), "{way}");
        inner.push((host, to));
    }
    for role in ["private", "public"] {
        let pids = charons(&field, role).await?;
        field.lab.inet.run(&["kill", "-KILL", &pids[0]]).await?;
    }
    for (host, to) in inner {
        let waiting = async {
            loop {
                let way =
                    host.run(&["sh", "-c", &format!("ip -6 route get {to} 2>&1; true")]).await?;
                // A device that is going has another name for a moment, and leads nowhere.
                if way.contains("blackhole") || way.contains("Invalid argument") {
                    return anyhow::Ok(());
                }
                ensure!(!way.contains(" via ") && !way.contains("dev eth0"), "it leaks: {way}");
            }
        };
        timeout(BOUND, waiting).await.context("the device stays")??;
    }
    Ok(())
}
