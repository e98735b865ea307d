//! What time and the operator's network do to a session: late signals, neighbors, silence on the
//! device's link, and a NAT that forgets.

mod field;

use std::time::Duration;

use anyhow::{Context, Result};
use field::{Field, NAME, Wishes, installed, may_change_user};
use ringback_lab::Host;
use tokio::time::{sleep, timeout};

/// A web server from Python's standard library, on the terminal's port 80.
const WEB: [&str; 6] = ["-u", "-m", "http.server", "--directory", "web", "80"];
/// What the public proxy says of a tunnel that it lets in: the session's own, then the one that
/// stands by.
const TUNNEL: &str = "\"step\":\"H\"";
/// When a client that a standby has failed is served by an SMS, in seconds: the patience with an open
/// (8 s) and what a ring takes.
const SERVED_BY_SMS: std::ops::Range<f64> = 8.0..12.0;

async fn with_web(wishes: &Wishes) -> Result<Option<Field>> {
    let Some(mut field) = Field::set_up(wishes).await? else { return Ok(None) };
    std::fs::create_dir(field.path("web"))?;
    std::fs::write(field.path("web/index.html"), "<p id=\"it\">5.4 mmol/l</p>")?;
    field.start("web", "python3", &WEB, "Serving HTTP").await?;
    Ok(Some(field))
}

fn url() -> String {
    format!("http://{NAME}/")
}

/// How long a successful access takes, in seconds.
async fn access(field: &Field) -> Result<f64> {
    let words = ["--fail", "-o", "/dev/null", "-w", "%{time_total}", &url()];
    Ok(field.curl(&words).await?.parse()?)
}

/// The flows to the dial-back port that the gateway knows, running and ended.
async fn flows(field: &Field) -> Result<String> {
    field.lab.gateway.host.run(&["conntrack", "-L", "-p", "tcp", "--dport", "7443"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_two_hours_late_is_not_obeyed() -> Result<()> {
    if !installed("faketime")? {
        return Ok(());
    }
    let wishes = Wishes { public: "answer_seconds = 5".into(), ..Wishes::default() };
    let Some(mut field) = with_web(&wishes).await? else { return Ok(()) };
    // A message center that delivers after two hours, told apart by the hearer's clock only.
    field.process("private").kill().await?;
    let binary = env!("CARGO_BIN_EXE_ringback");
    let role = ["--log", "json", "private", "--config", "private.toml"];
    let words = [&["--exclude-monotonic", "-f", "+2h", binary], &role[..]].concat();
    field.start("private", "faketime", &words, "\"message\":\"ready\"").await?;

    let page = field.curl(&["-w", "%{http_code} %{time_total}", &url()]).await?;
    assert!(page.contains("RB-NO-ANSWER") && page.contains("504 5."), "{page}");
    assert_eq!(field.sms(), 1);
    field.process("private").says("\"message\":\"not obeyed\"").await?;
    let rejected = field.process("private").events("not obeyed");
    let why = rejected[0]["rejection"].as_str().context("no reason")?;
    assert!(why.contains("expired"), "{why}");
    assert_eq!(flows(&field).await?, "", "nobody was dialed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_own_subscribers_reach_it_as_the_internet_does() -> Result<()> {
    let Some(mut field) = with_web(&Wishes::default()).await? else { return Ok(()) };
    let neighbor = field.lab.subscribe("neighbor").await?;
    let direct = format!("http://{}/", field.lab.terminal.address());
    let direct = field.from(&neighbor.host, "curl", &["-sS", "--max-time", "2", &direct]).await?;
    assert_eq!(direct.status.code(), Some(28), "subscribers do not see each other: {direct:?}");

    let outside = field.curl(&[&url()]).await?;
    for host in [&neighbor.host, &field.lab.private] {
        let inside = field.from(host, "curl", &["-sS", "--max-time", "30", &url()]).await?;
        let inside = String::from_utf8(inside.stdout)?;
        assert_eq!(inside, outside, "from {}", host.name());
    }
    assert!(outside.contains("5.4 mmol/l"), "{outside}");
    assert_eq!(field.sms(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn between_two_accesses_not_one_packet_crosses_the_devices_link() -> Result<()> {
    if !(installed("tcpdump")? && may_change_user()) {
        return Ok(());
    }
    let wishes = Wishes { public: "linger_seconds = 0".into(), ..Wishes::default() };
    let Some(mut field) = with_web(&wishes).await? else { return Ok(()) };
    // A mobile link has neither routers to look for nor neighbors: what Ethernet adds is not ours.
    for (host, device) in
        [(&field.lab.terminal.host, "rmnet0"), (&field.lab.gateway.host, "terminal")]
    {
        host.sysctl(&format!("net.ipv6.conf.{device}.disable_ipv6"), 1).await?;
    }
    let words = ["-Z", "root", "-i", "rmnet0", "-n", "-l", "--immediate-mode"];
    field.start("capture", "tcpdump", &words, "listening on").await?;

    field.curl(&[&url()]).await?;
    field.process("private").says("session ended").await?;
    field.process("public").says("session ended").await?;
    field.process("capture").says("HTTP: GET").await?;
    // The session's last acknowledgement, and what Ethernet adds: they end by themselves.
    let quiet = async {
        loop {
            let captured = field.process("capture").words();
            sleep(Duration::from_millis(500)).await;
            let asking = is_asking(&field.lab.terminal.host, "rmnet0").await?
                || is_asking(&field.lab.gateway.host, "terminal").await?;
            if !asking && captured == field.process("capture").words() {
                return anyhow::Ok(captured);
            }
        }
    };
    let quiet = timeout(Duration::from_secs(20), quiet).await;
    let captured = quiet.context("the link does not come to rest")??;

    sleep(Duration::from_secs(8)).await;
    let idle = field.process("capture").words();
    assert_eq!(idle.strip_prefix(&captured), Some(""), "captured while idle");

    // And it was the link that was silent, not the capture.
    field.curl(&[&url()]).await?;
    field.process("capture").says_times("HTTP: GET", 2).await
}

/// Whether the kernel is about to ask, or asks, for a neighbor's Ethernet address.
async fn is_asking(host: &Host, device: &str) -> Result<bool> {
    let words = ["ip", "neighbor", "show", "dev", device, "nud", "delay", "nud", "probe"];
    Ok(!host.run(&words).await?.trim().is_empty())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_rung_for_when_its_standby_has_died_in_silence() -> Result<()> {
    let Some(mut field) = with_web(&Wishes::default()).await? else { return Ok(()) };
    access(&field).await?;
    field.process("public").says_times(TUNNEL, 2).await?;
    assert_eq!(field.sms(), 1);

    field.lab.gateway.forget_flows().await?;
    let took = access(&field).await?;
    assert!(SERVED_BY_SMS.contains(&took), "served after {took} s");
    assert_eq!(field.sms(), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_the_nat_forgets_when_idle_is_replaced() -> Result<()> {
    let Some(mut field) = with_web(&Wishes::default()).await? else { return Ok(()) };
    field.lab.gateway.forget_after(Duration::from_secs(2)).await?;
    access(&field).await?;
    field.process("public").says_times(TUNNEL, 2).await?;
    let forgotten = async {
        while flows(&field).await?.contains("ESTABLISHED") {
            sleep(Duration::from_millis(100)).await;
        }
        anyhow::Ok(())
    };
    timeout(Duration::from_secs(20), forgotten).await.context("the NAT never forgets")??;

    field.lab.gateway.forget_after(Duration::from_secs(600)).await?;
    let took = access(&field).await?;
    assert!(SERVED_BY_SMS.contains(&took), "served after {took} s");
    assert_eq!(field.sms(), 2);
    field.process("public").says_times(TUNNEL, 4).await?;
    let took = access(&field).await?;
    assert!(took < 2.0, "its replacement serves at once, not after {took} s");
    assert_eq!(field.sms(), 2);
    Ok(())
}
