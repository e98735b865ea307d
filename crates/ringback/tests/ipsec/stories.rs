//! The service is reached through an association, and through nothing else.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use ringback_lab::addresses;

use crate::charon::{ask_for, known};
use crate::field::Wishes;
use crate::scene::{
    all_is_forgotten, both_halves, has_come, set_up, socket, start_halves, url, with_web,
};

#[tokio::test(flavor = "multi_thread")]
async fn curl_reaches_the_terminal_by_ike_and_esp_and_nothing_else() -> Result<()> {
    let wishes = Wishes { public: "linger_seconds = 0".into(), ..Wishes::default() };
    let Some(mut field) = with_web(wishes).await? else { return Ok(()) };
    // All that reaches or leaves the public proxy but for the client's own connection and the SMS: inner
    // addresses of either family would be seen here, whoever they are sent to.
    let others = "not (tcp port 80 and host 203.0.113.10) and not tcp port 2775";
    let words = ["-Z", "root", "--immediate-mode", "-i", "eth0", "-n", "-l", others];
    field.start("tap", "tcpdump", &words, "listening on").await?;
    let page = field.curl(&[&url()]).await?;
    assert!(page.contains("5.4 mmol/l"), "{page}");
    assert_eq!(field.sms(), 1, "one access, one SMS");
    all_is_forgotten(&field).await?;

    let seen = field.process("tap").words();
    let is_packet = |it: &&str| it.contains(" IP ") || it.contains(" IP6 ");
    let packets: Vec<&str> = seen.lines().filter(is_packet).collect();
    let is_ike = |it: &&str| it.contains("isakmp") && it.contains(".4500");
    let is_esp = |it: &&str| it.contains("UDP-encap: ESP") && it.contains(".4500");
    // IPv6 looks for its neighbors on every link.
    let neighbors = ["neighbor", "router", "multicast listener"];
    let is_discovery =
        |it: &&str| it.contains(" ICMP6, ") && neighbors.iter().any(|what| it.contains(what));
    let others: Vec<_> =
        packets.iter().filter(|it| !is_ike(it) && !is_esp(it) && !is_discovery(it)).collect();
    assert!(others.is_empty(), "{others:?}");
    assert!(4 <= packets.iter().filter(|it| is_ike(it)).count(), "{seen}");
    assert!(10 <= packets.iter().filter(|it| is_esp(it)).count(), "{seen}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_sessions_at_once_have_ten_associations_and_leave_nothing() -> Result<()> {
    const SESSIONS: usize = 10;
    const OCTETS: usize = 1024 * 1024;
    let wishes = Wishes { public: "linger_seconds = 0".into(), ..Wishes::default() };
    let Some(mut field) = set_up("ipsec", "ipsec", wishes).await? else { return Ok(()) };
    start_halves(&mut field, OCTETS).await?;
    let names: Vec<String> = (0..SESSIONS).map(|it| format!("got-{it}")).collect();
    let url = url();
    let begin = |name: &String| field.begin("curl", &["-sS", "--max-time", "60", "-o", name, &url]);
    let downloads = names.iter().map(begin).collect::<Result<Vec<_>>>()?;
    for name in &names {
        has_come(&field, name, 100_000).await?;
    }
    // A signal sent again may have brought one more, for nobody: it goes.
    let mut looks = 0;
    let [there, here] = loop {
        let both = [known(&socket(&field, "public"))?, known(&socket(&field, "private"))?];
        looks += 1;
        if both.iter().all(|it| it.associations.len() == SESSIONS) || looks == 300 {
            break both;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    for known in [&there, &here] {
        assert_eq!(known.associations.len(), SESSIONS, "{known:?}");
        let ends: BTreeSet<_> = known.associations.iter().map(|(_, remote)| remote).collect();
        assert_eq!(ends.len(), SESSIONS, "each has an identity of its own: {known:?}");
    }
    let keys: BTreeSet<_> = there.keys.iter().collect();
    assert!(SESSIONS <= keys.len(), "and a key of its own: {there:?}");

    std::fs::write(field.path("go"), "")?;
    for (name, download) in names.iter().zip(downloads) {
        let output = download.output().await?;
        assert!(output.status.success(), "{name}: {output:?}");
        let whole = std::fs::read(field.path(name))? == both_halves(OCTETS);
        assert!(whole, "{name} is altered");
    }
    all_is_forgotten(&field).await?;
    for host in [&field.lab.private, &field.lab.public] {
        let forgotten = async {
            while host
                .run(&["ip", "-6", "address", "show", "dev", "lo"])
                .await?
                .contains("inet6 fd")
            {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            anyhow::Ok(())
        };
        let bound = std::time::Duration::from_secs(20);
        tokio::time::timeout(bound, forgotten).await.context("an address is left")??;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_that_stands_by_serves_the_next_sessions_in_the_same_association() -> Result<()> {
    let wishes = Wishes { terminal: "spares = 0".into(), ..Wishes::default() };
    let Some(mut field) = with_web(wishes).await? else { return Ok(()) };
    for _ in 0..4 {
        let page = field.curl(&[&url()]).await?;
        assert!(page.contains("5.4 mmol/l"), "{page}");
    }
    assert_eq!(field.sms(), 1, "a standby tunnel costs no SMS");
    let known = known(&socket(&field, "public"))?;
    assert_eq!(known.associations.len(), 1, "{known:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_are_loaded_anew_disturb_no_session() -> Result<()> {
    /// More than after which they are.
    const SESSIONS: usize = 140;
    let wishes = Wishes {
        public: "linger_seconds = 0".into(),
        operator: "delay = { kind = \"fixed\", seconds = 0.0 }".into(),
        ..Wishes::default()
    };
    let Some(mut field) = with_web(wishes).await? else { return Ok(()) };
    let all = format!("{}?[1-{SESSIONS}]", url());
    let words = ["-sS", "-Z", "--parallel-immediate", "--parallel-max", "6", "--max-time", "55"];
    let output = field.client("curl", &[&words[..], &["-o", "page-#1", &all]].concat()).await?;
    assert!(output.status.success(), "{output:?}");
    for number in 1..=SESSIONS {
        let page = std::fs::read_to_string(field.path(&format!("page-{number}")))?;
        assert!(page.contains("5.4 mmol/l"), "{number}: {page}");
    }
    for role in ["private", "public"] {
        field.process(role).says("the daemon's credentials were loaded anew").await?;
        let own = ask_for(&socket(&field, role), "get-keys")?;
        assert_eq!(own.list("keys").len(), 1, "{role}: its own key");
    }
    all_is_forgotten(&field).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_service_is_no_concern_of_the_operators_where_there_is_no_tls_to_go_past()
-> Result<()> {
    let Some(mut field) = with_web(Wishes::default()).await? else { return Ok(()) };
    field.edit("public.toml", "http = true", "bare = true")?;
    field.edit("private.toml", "tunnel = \"ipsec\"", "bare = true\ntunnel = \"ipsec\"")?;
    for role in ["private", "public"] {
        field.hang_up(role)?;
        field.process(role).says("\"message\":\"reloaded").await?;
    }
    let by = format!("socks5h://{}:1080", addresses::PUBLIC);
    let page = field.curl(&["--proxy", &by, &url()]).await?;
    assert!(page.contains("5.4 mmol/l"), "{page}");
    field.process("public").says("client spliced").await?;
    assert_eq!(field.process("public").count("RB-BARE"), 0, "bare in both files");
    Ok(())
}
