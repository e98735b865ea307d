//! A hangup signal: every role takes over its changed file, and nobody who is being served notices.

mod field;

use std::time::Duration;

use anyhow::{Context, Result};
use field::{Field, NAME, Wishes};
use ringback_lab::addresses;
use tokio::time::{sleep, timeout};

/// Answers every request at once, but one for `/slow` only in part until the file `go` is there.
const WEB: &str = "import os,socket,threading,time\n\
    l=socket.create_server(('0.0.0.0',80)); print('up',flush=True)\n\
    def serve(c):\n \
     h=c.recv(4096)\n \
     c.sendall(b'HTTP/1.1 200 OK\\r\\nConnection: close\\r\\n')\n \
     if b'/slow' in h:\n  \
      c.sendall(b'Content-Length: 200000\\r\\n\\r\\n'+b'x'*100000)\n  \
      while not os.path.exists('go'): time.sleep(0.02)\n  \
      c.sendall(b'x'*100000)\n \
     else: c.sendall(b'Content-Length: 10\\r\\n\\r\\n5.4 mmol/l')\n \
     c.close()\n\
    while True: threading.Thread(target=serve,args=(l.accept()[0],)).start()\n";

/// What every role says when it goes on with a new configuration.
const RELOADED: &str = "\"message\":\"reloaded";
/// What every role says when it goes on with the old one.
const KEPT: &str = "\"message\":\"not reloaded";

async fn with_web() -> Result<Option<Field>> {
    let Some(mut field) = Field::set_up(&Wishes::default()).await? else { return Ok(None) };
    std::fs::write(field.path("web.py"), WEB)?;
    field.start("web", "python3", &["-u", "web.py"], "up").await?;
    Ok(Some(field))
}

/// Adds to the end of one of the installation's files.
fn append(field: &Field, file: &str, more: &str) -> Result<()> {
    let text = std::fs::read_to_string(field.path(file))?;
    Ok(std::fs::write(field.path(file), text + more)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_has_moved_is_reached_at_its_new_address() -> Result<()> {
    let Some(mut field) = with_web().await? else { return Ok(()) };
    let url = format!("http://{NAME}/");
    assert_eq!(field.curl(&[&url]).await?, "5.4 mmol/l");

    let old = field.lab.terminal.address().to_string();
    let new = field.lab.terminal.attach(&field.lab.gateway).await?.to_string();
    let code = ["-o", "/dev/null", "-w", "%{http_code}", &url];
    let at_old = field.curl(&code).await?;
    assert!(["502", "504"].contains(&&at_old[..]), "nobody is at the old address: {at_old}");

    field.edit("private.toml", &old, &new)?;
    field.hang_up("private")?;
    field.process("private").says(RELOADED).await?;
    assert_eq!(field.curl(&[&url]).await?, "5.4 mmol/l");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_comes_and_goes_while_a_download_goes_on() -> Result<()> {
    let Some(mut field) = with_web().await? else { return Ok(()) };
    let slow = format!("http://{NAME}/slow");
    let download = field.begin("curl", &["-sS", "--max-time", "60", "-o", "got", &slow])?;
    let got = field.path("got");
    while std::fs::metadata(&got).map_or(0, |it| it.len()) < 50_000 {
        tokio::task::yield_now().await;
    }

    let second = "second.ring.example";
    let binary = env!("CARGO_BIN_EXE_ringback");
    let made = field.client(binary, &["key", "terminal", "--out", "second"]).await?;
    assert!(made.status.success(), "{made:?}");
    let named = format!("[[terminal]]\nname = \"{second}\"\n");
    let service = "[[terminal.service]]\nid = 1\nport = 80\nhttp = true\n";
    let listed = format!(
        "{named}keys = \"second.public.keys\"\nnumber = \"+15550100778\"\n\
         private_proxy = \"private.pub\"\n[[terminal.route]]\nbearer = \"sms\"\n{service}"
    );
    let answered_for = format!(
        "[[terminal]]\nkeys = \"second.private.keys\"\nnumber = \"+15550100778\"\n\
         public_proxies = \"public\"\n[[terminal.service]]\nid = 1\naddress = \"{}:80\"\n",
        field.lab.terminal.address()
    );
    append(&field, "public.toml", &listed)?;
    append(&field, "responder.toml", &format!("{named}{service}"))?;
    append(&field, "private.toml", &answered_for)?;
    for role in ["public", "responder", "private"] {
        field.hang_up(role)?;
        field.process(role).says(RELOADED).await?;
    }
    assert_eq!(field.curl(&[&format!("http://{second}/")]).await?, "5.4 mmol/l");

    // A file with a mistake changes nothing, at no role.
    for role in ["public", "responder", "private"] {
        append(&field, &format!("{role}.toml"), "[mistake]\n")?;
        field.hang_up(role)?;
        field.process(role).says(KEPT).await?;
        field.edit(&format!("{role}.toml"), "[mistake]\n", "")?;
    }
    assert_eq!(field.curl(&[&format!("http://{second}/")]).await?, "5.4 mmol/l");

    field.edit("public.toml", &listed, "")?;
    field.hang_up("public")?;
    field.process("public").says_times(RELOADED, 2).await?;
    let (host, address) = (format!("Host: {second}"), addresses::PUBLIC.to_string());
    let removed = field.curl(&["-H", &host, "-w", "%{http_code}", &address]).await?;
    assert!(removed.contains("RB-UNKNOWN") && removed.ends_with("421"), "{removed}");
    assert_eq!(field.curl(&[&format!("http://{NAME}/")]).await?, "5.4 mmol/l");

    std::fs::write(field.path("go"), "")?;
    let download = download.output().await?;
    assert!(download.status.success(), "{download:?}");
    assert_eq!(std::fs::metadata(&got)?.len(), 200_000);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_opens_and_closes_with_its_service() -> Result<()> {
    let Some(mut field) = with_web().await? else { return Ok(()) };
    let url = format!("http://{}:2207/", addresses::PUBLIC);
    let refused = ["-sS", "--max-time", "5", &url];
    assert_eq!(field.client("curl", &refused).await?.status.code(), Some(7), "open too early");

    let port =
        format!("[[terminal.service]]\nid = 2\nport = 81\nraw = \"{}:2207\"\n", addresses::PUBLIC);
    let target = format!(
        "[[terminal.service]]\nid = 2\naddress = \"{}:80\"\n",
        field.lab.terminal.address()
    );
    append(&field, "private.toml", &target)?;
    append(&field, "public.toml", &port)?;
    for role in ["private", "public"] {
        field.hang_up(role)?;
        field.process(role).says(RELOADED).await?;
    }
    assert_eq!(field.curl(&[&url]).await?, "5.4 mmol/l");

    field.edit("public.toml", &port, "")?;
    field.hang_up("public")?;
    field.process("public").says_times(RELOADED, 2).await?;
    let closed = async {
        while field.client("curl", &refused).await?.status.code() != Some(7) {
            sleep(Duration::from_millis(20)).await;
        }
        anyhow::Ok(())
    };
    timeout(Duration::from_secs(10), closed).await.context("still open")??;
    assert_eq!(field.curl(&[&format!("http://{NAME}/")]).await?, "5.4 mmol/l");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_ends_no_role() -> Result<()> {
    let Some(mut field) = with_web().await? else { return Ok(()) };
    for role in ["operator", "responder", "private", "public"] {
        field.hang_up(role)?;
    }
    for role in ["responder", "private", "public"] {
        field.process(role).says(RELOADED).await?;
    }
    // All four are needed for this one.
    assert_eq!(field.curl(&[&format!("http://{NAME}/")]).await?, "5.4 mmol/l");
    assert_eq!(field.sms(), 1);
    for role in ["operator", "responder", "private", "public"] {
        let ended = field.process(role).child.try_wait().context("cannot tell")?;
        assert_eq!(ended, None, "{role} has ended");
    }
    Ok(())
}
