//! What must hold when something goes wrong, or goes another way: an operator's faults, crashes,
//! stops; and what a server is told of its client.

mod field;

use std::time::Duration;

use anyhow::{Context, Result};
use field::{Field, NAME, Wishes};
use ringback_lab::{Plan, addresses};
use tokio::time::{sleep, timeout};

/// A server that first does what `preface` says to the connection `c`, and then answers every
/// request with its own head.
const ECHO: &str = "import socket,sys,threading\n\
    f=socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET\n\
    l=socket.create_server((sys.argv[1],80),family=f); print('up',flush=True)\n\
    def serve(c):\n \
     if len(sys.argv)>2: print('preface',c.recv(int(sys.argv[2]),socket.MSG_WAITALL).hex(),flush=True)\n \
     h=b''\n \
     while b'\\r\\n\\r\\n' not in h:\n  \
      g=c.recv(4096)\n  \
      if not g: return\n  \
      h+=g\n \
     c.sendall(b'HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n'%len(h)+h); c.close()\n\
    while True: threading.Thread(target=serve,args=(l.accept()[0],)).start()\n";

/// A server that sends half of its answer, and the rest when the file `go` is there.
const HALVES: &str = "import os,socket,time\nl=socket.create_server(('0.0.0.0',80))\nprint('up',flush=True)\n\
    c=l.accept()[0]; c.recv(4096)\n\
    c.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 200000\\r\\n\\r\\n'+b'x'*100000)\n\
    while not os.path.exists('go'): time.sleep(0.02)\n\
    c.sendall(b'x'*100000); c.close()\n";

/// Tunnels do not stay and are not rung for in advance, so that every session has an SMS of its own.
const RUNG_EACH_TIME: &str = "linger_seconds = 0";
const NO_SPARES: &str = "spares = 0";

async fn with_echo(wishes: &Wishes, more: &[&str]) -> Result<Option<Field>> {
    let Some(mut field) = Field::set_up(wishes).await? else { return Ok(None) };
    std::fs::write(field.path("echo.py"), ECHO)?;
    let bind = if wishes.plan == Plan::Ipv6Only { "::" } else { "0.0.0.0" };
    let words = [&["-u", "echo.py", bind], more].concat();
    field.start("echo", "python3", &words, "up").await?;
    Ok(Some(field))
}

fn url() -> String {
    format!("http://{NAME}/")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_reads_the_proxy_protocol_knows_its_client() -> Result<()> {
    let wishes = Wishes {
        private_services: "id = 1\naddress = \"{terminal}:80\"\nproxy_protocol = true".into(),
        ..Wishes::default()
    };
    let Some(mut field) = with_echo(&wishes, &["54"]).await? else { return Ok(()) };
    // The first session is bound to its dial-back, the second opens a tunnel that stands by.
    for times in 1..=2 {
        let head = field.curl(&[&url()]).await?;
        assert!(head.starts_with("GET / HTTP/1.1\r\n"), "the header and nothing else: {head}");
        field.process("echo").says_times("preface ", times).await?;
    }
    let words = field.process("echo").words();
    for line in words.lines().filter_map(|it| it.strip_prefix("preface ")) {
        let terminal: std::net::Ipv4Addr = field.lab.terminal.address().to_string().parse()?;
        let hex = |octets: [u8; 4]| octets.map(|it| format!("{it:02x}")).concat();
        let before = "0d0a0d0a000d0a515549540a21110026".to_owned()
            + &hex(addresses::CLIENT.octets())
            + &hex(terminal.octets());
        assert!(line.starts_with(&before), "{line}, not {before}");
        // The service's port, the session's id, the level.
        let (id, level) = ("0050050010", "e100046f70656e");
        assert!(line[56 - 4..].starts_with(id) && line.ends_with(level), "{line}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_address_is_replaced_by_the_true_one() -> Result<()> {
    let wishes = Wishes {
        public_services: "id = 1\nport = 80\nhttp = true\nforwarded = true".into(),
        ..Wishes::default()
    };
    let Some(field) = with_echo(&wishes, &[]).await? else { return Ok(()) };
    let forged = ["Forwarded: for=6.6.6.6", "X-Forwarded-For: 6.6.6.6, 7.7.7.7"];
    let head = field.curl(&["-H", forged[0], "-H", forged[1], &url()]).await?;
    let head = head.to_lowercase();
    let client = addresses::CLIENT;
    assert!(head.contains(&format!("\r\nx-forwarded-for: {client}\r\n")), "{head}");
    assert!(
        head.contains("\r\nforwarded: for=") && head.matches("forwarded:").count() == 1,
        "{head}"
    );
    assert_eq!(head.matches(&client.to_string()).count(), 2, "{head}");
    assert!(!head.contains("6.6.6.6") && !head.contains("7.7.7.7"), "{head}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_doubled_and_overtaken_signal_is_obeyed_once() -> Result<()> {
    const SESSIONS: usize = 3;
    let wishes = Wishes {
        public: RUNG_EACH_TIME.into(),
        terminal: NO_SPARES.into(),
        operator: "delay = { kind = \"fixed\", seconds = 0.1 }\nduplicates = 1.0\n\
                   reordered = 1.0\nreorder_seconds = 1.0\nseed = 5"
            .into(),
        ..Wishes::default()
    };
    let Some(mut field) = with_echo(&wishes, &[]).await? else { return Ok(()) };
    for _ in 0..SESSIONS {
        field.curl(&[&url()]).await?;
    }
    assert_eq!(field.sms(), SESSIONS);
    field.process("private").says_times("\"message\":\"not obeyed\"", SESSIONS).await?;
    let rejected = field.process("private").events("not obeyed");
    assert_eq!(rejected.len(), SESSIONS, "{rejected:?}");
    for event in rejected {
        assert_eq!(
            (&event["level"], &event["rejection"]),
            (&"DEBUG".into(), &"already obeyed".into())
        );
    }
    let let_in = field.process("public").count("\"step\":\"H\"");
    assert_eq!(let_in, SESSIONS, "one dial-back a session is let in");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_signal_is_rung_again_and_the_client_served() -> Result<()> {
    // With this seed the first SMS is lost and the second is not.
    let wishes = Wishes {
        operator: "delay = { kind = \"fixed\", seconds = 0.1 }\nloss = 0.5\nseed = 10".into(),
        ..Wishes::default()
    };
    let Some(mut field) = with_echo(&wishes, &[]).await? else { return Ok(()) };
    let took = field.curl(&["-o", "/dev/null", "-w", "%{time_total}", &url()]).await?;
    let took: f64 = took.parse()?;
    assert!((8.0..12.0).contains(&took), "rung again after 8 s, served after {took} s");
    assert_eq!(field.sms(), 2);
    assert_eq!(field.process("operator").count("\"message\":\"sms lost\""), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_with_ipv6_is_dialed_without_translation() -> Result<()> {
    let wishes = Wishes {
        plan: Plan::Ipv6Only,
        dial_back: format!("[\"{}:7443\", \"[{}]:7443\"]", addresses::PUBLIC, addresses::PUBLIC_V6),
        terminal: "prefer = \"ipv6\"".into(),
        private: "nat64 = \"discover\"".into(),
        ..Wishes::default()
    };
    let Some(field) = with_echo(&wishes, &[]).await? else { return Ok(()) };
    field.curl(&[&url()]).await?;
    let dialed = ["ss", "-H", "-tn", "state", "established", "dport = :7443"];
    let dialed = field.lab.private.run(&dialed).await?;
    let direct = format!("[{}]:7443", addresses::PUBLIC_V6);
    assert!(dialed.contains(&direct), "the tunnel that stands by: {dialed:?}");
    assert!(dialed.lines().all(|it| it.contains(&direct)), "and no other: {dialed:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_obeyed_before_a_crash_is_not_obeyed_after_it() -> Result<()> {
    // With this seed the first SMS takes 0.3 s, and its double 3.8 s.
    let wishes = Wishes {
        public: RUNG_EACH_TIME.into(),
        terminal: NO_SPARES.into(),
        operator: "delay = { kind = \"uniform\", from_seconds = 0.0, to_seconds = 6.0 }\n\
                   duplicates = 1.0\nseed = 71"
            .into(),
        ..Wishes::default()
    };
    let Some(mut field) = with_echo(&wishes, &[]).await? else { return Ok(()) };
    field.curl(&[&url()]).await?;
    field.process("private").kill().await?;
    assert_eq!(field.process("private").count("\"message\":\"heard\""), 1, "killed too late");
    field.start_role("private").await?;
    field.process("private").says("\"message\":\"not obeyed\"").await?;
    let rejected = field.process("private").events("not obeyed");
    assert_eq!(rejected[0]["rejection"], "already obeyed", "{rejected:?}");
    assert_eq!(field.process("private").count("dialed back"), 0);

    // And it is no worse for it: the next client is served.
    field.curl(&[&url()]).await?;
    assert_eq!(field.sms(), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_a_download_finish_and_takes_no_new_client() -> Result<()> {
    let Some(mut field) = Field::set_up(&Wishes::default()).await? else { return Ok(()) };
    std::fs::write(field.path("halves.py"), HALVES)?;
    field.start("halves", "python3", &["-u", "halves.py"], "up").await?;
    let download = field.begin("curl", &["-sS", "--max-time", "40", "-o", "got", &url()])?;
    let got = field.path("got");
    while std::fs::metadata(&got).map_or(0, |it| it.len()) < 50_000 {
        tokio::task::yield_now().await;
    }
    let pid = field.process("public").child.id().context("it has ended")?;
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).context("no process id")?;
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    let refused = async {
        while field.client("curl", &["-sS", "--max-time", "2", &url()]).await?.status.code()
            != Some(7)
        {
            sleep(Duration::from_millis(20)).await;
        }
        anyhow::Ok(())
    };
    timeout(Duration::from_secs(10), refused).await.context("new clients are still taken")??;
    assert!(field.process("public").child.try_wait()?.is_none(), "it waits for the download");

    std::fs::write(field.path("go"), "")?;
    let output = download.output().await?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(std::fs::metadata(&got)?.len(), 200_000);
    let ended = timeout(Duration::from_secs(10), field.process("public").child.wait());
    let ended = ended.await.context("it waits for nothing")??;
    assert!(ended.success(), "{ended}");
    Ok(())
}
