//! The premise and the promise: unmodified clients reach servers on a terminal that nothing reaches.
//!
//! Every client and server here is somebody else's; between them stand our binary, once a role, and
//! a real NAT and firewall (map: `ringback-lab`).

mod field;

use anyhow::Result;
use field::{Field, NAME, Wishes};
use ringback_lab::{Plan, addresses};

/// A web server from Python's standard library, on the terminal's port 80.
const WEB: [&str; 6] = ["-u", "-m", "http.server", "--directory", "web", "80"];

async fn with_web(wishes: &Wishes) -> Result<Option<Field>> {
    let Some(mut field) = Field::set_up(wishes).await? else { return Ok(None) };
    std::fs::create_dir(field.path("web"))?;
    std::fs::write(field.path("web/index.html"), "<p id=\"it\">5.4 mmol/l</p>")?;
    let bind = if wishes.plan == Plan::Ipv6Only { "::" } else { "0.0.0.0" };
    let words = [&WEB[..5], &["--bind", bind, "80"]].concat();
    field.start("web", "python3", &words, "Serving HTTP").await?;
    Ok(Some(field))
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_reaches_a_terminal_that_no_connection_reaches() -> Result<()> {
    let Some(mut field) = with_web(&Wishes::default()).await? else { return Ok(()) };
    let terminal = field.lab.terminal.address().to_string();
    let route = format!("route add {terminal}/32 via {}", addresses::GATEWAY);
    field.lab.client.ip(&route).await?;
    let direct =
        field.client("curl", &["-sS", "--max-time", "2", &format!("http://{terminal}/")]).await?;
    assert_eq!(direct.status.code(), Some(28), "a direct connection must time out: {direct:?}");
    assert!(0 < field.lab.gateway.blocked().await?, "the firewall must have dropped it");
    assert_eq!(field.sms(), 0);

    let page = field.curl(&[&format!("http://{NAME}/")]).await?;
    assert!(page.contains("5.4 mmol/l"), "{page}");
    assert_eq!(field.sms(), 1, "one access, one SMS");

    // Within the linger time the tunnel that stands by is rung, which is free.
    for _ in 0..3 {
        field.curl(&[&format!("http://{NAME}/")]).await?;
    }
    assert_eq!(field.sms(), 1, "a standby tunnel costs no SMS");

    let listening = field.lab.private.run(&["ss", "-H", "-ltn"]).await?;
    assert_eq!(listening.trim(), "", "the private proxy listens on nothing");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn both_proxies_log_the_same_session() -> Result<()> {
    let Some(mut field) = with_web(&Wishes::default()).await? else { return Ok(()) };
    field.curl(&[&format!("http://{NAME}/")]).await?;
    field.process("private").says("session ended").await?;
    field.process("public").says("session ended").await?;
    let told = field.process("private").events("session ended");
    let session = told[0]["session"].as_str().expect("a session id").to_owned();
    assert!(0 < field.process("public").count(&session), "{session}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn several_clients_at_once_share_one_sms() -> Result<()> {
    let Some(mut field) = with_web(&Wishes::default()).await? else { return Ok(()) };
    let url = format!("http://{NAME}/");
    let words: Vec<&str> = [&url[..]; 6].into_iter().collect();
    let words = [&["--parallel", "--parallel-immediate"], &words[..]].concat();
    let pages = field.curl(&words).await?;
    assert_eq!(pages.matches("5.4 mmol/l").count(), 6, "{pages}");
    assert_eq!(field.sms(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_linger_every_session_is_rung_and_nothing_stays() -> Result<()> {
    let wishes = Wishes { public: "linger_seconds = 0".into(), ..Wishes::default() };
    let Some(mut field) = with_web(&wishes).await? else { return Ok(()) };
    for times in 1..=2 {
        field.curl(&[&format!("http://{NAME}/")]).await?;
        assert_eq!(field.sms(), times);
        field.process("private").says_times("session ended", times).await?;
    }
    let open = field
        .lab
        .private
        .run(&["ss", "-H", "-tn", "state", "established", "dport = :7443"])
        .await?;
    assert_eq!(open.trim(), "", "no tunnel stays: not one idle octet");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn socks_and_connect_clients_reach_it_by_name_and_port() -> Result<()> {
    let Some(field) = with_web(&Wishes::default()).await? else { return Ok(()) };
    let proxy = format!("{}:1080", addresses::PUBLIC);
    let url = format!("http://{NAME}/");
    let socks = field.curl(&["--socks5-hostname", &proxy, &url]).await?;
    assert!(socks.contains("5.4 mmol/l"), "{socks}");
    let connect = field.curl(&["--proxytunnel", "--proxy", &proxy, &url]).await?;
    assert!(connect.contains("5.4 mmol/l"), "{connect}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_name_is_refused_in_every_protocol_and_never_rings() -> Result<()> {
    let Some(mut field) = Field::set_up(&Wishes::default()).await? else { return Ok(()) };
    let (address, proxy) = (addresses::PUBLIC.to_string(), format!("{}:1080", addresses::PUBLIC));
    let stranger = "stranger.ring.example";
    let host = format!("Host: {stranger}");
    let page =
        field.curl(&["-H", &host, "-w", "%{http_code}", &format!("http://{address}/")]).await?;
    assert!(page.contains("RB-UNKNOWN") && page.ends_with("421"), "{page}");

    let url = format!("http://{stranger}/");
    let socks = field.client("curl", &["-sS", "--socks5-hostname", &proxy, &url]).await?;
    assert_eq!(socks.status.code(), Some(97), "{socks:?}");
    let resolve = format!("{stranger}:443:{address}");
    let tls = ["-sS", "--resolve", &resolve, &format!("https://{stranger}/")];
    let tls = field.client("curl", &tls).await?;
    assert!(String::from_utf8_lossy(&tls.stderr).contains("unrecognized name"), "{tls:?}");
    assert_eq!(field.sms(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_server_is_a_clean_refusal_and_costs_one_sms() -> Result<()> {
    let Some(mut field) = Field::set_up(&Wishes::default()).await? else { return Ok(()) };
    let url = format!("http://{NAME}/");
    let page = field.curl(&["-w", "%{http_code}", &url]).await?;
    assert!(page.contains("RB-TERMINAL-REFUSED") && page.ends_with("502"), "{page}");
    assert_eq!(field.sms(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_private_proxy_is_a_clean_refusal_in_time() -> Result<()> {
    let wishes = Wishes { public: "answer_seconds = 5".into(), ..Wishes::default() };
    let Some(mut field) = Field::set_up(&wishes).await? else { return Ok(()) };
    field.process("private").kill().await?;
    let page = field.curl(&["-w", "%{http_code}", &format!("http://{NAME}/")]).await?;
    assert!(page.contains("RB-NO-ANSWER") && page.ends_with("504"), "{page}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_is_cut_never_looks_complete() -> Result<()> {
    let Some(mut field) = Field::set_up(&Wishes::default()).await? else { return Ok(()) };
    // No Content-Length and no chunks: only the connection's end tells that the answer is whole.
    let endless = "import socket,time\nl=socket.create_server(('0.0.0.0',80))\nprint('up',flush=True)\n\
                   c=l.accept()[0]; c.recv(4096); c.sendall(b'HTTP/1.0 200 OK\\r\\n\\r\\n')\n\
                   while True: c.sendall(b'x'*1000); time.sleep(0.01)\n";
    std::fs::write(field.path("endless.py"), endless)?;
    field.start("endless", "python3", &["-u", "endless.py"], "up").await?;

    let url = format!("http://{NAME}/");
    let (url, got) = (&url[..], field.path("got"));
    let download = field.begin("curl", &["-sS", "--max-time", "40", "-o", "got", url])?;
    while std::fs::metadata(&got).map_or(0, |it| it.len()) < 10_000 {
        tokio::task::yield_now().await;
    }
    field.process("private").kill().await?;
    let download = download.output().await?;
    assert_eq!(download.status.code(), Some(56), "reset, not ended: {download:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ipv6_only_operator_reaches_an_ipv4_public_proxy_by_nat64() -> Result<()> {
    let wishes = Wishes {
        plan: Plan::Ipv6Only,
        private: "nat64 = \"2001:db8:64:ff9b::/96\"".into(),
        ..Wishes::default()
    };
    let Some(field) = with_web(&wishes).await? else { return Ok(()) };
    let page = field.curl(&[&format!("http://{NAME}/")]).await?;
    assert!(page.contains("5.4 mmol/l"), "{page}");
    Ok(())
}
