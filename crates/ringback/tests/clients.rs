//! Other people's clients and servers, unmodified, through the NAT: ssh, psql, TLS, a browser.

mod field;

use std::os::unix::fs::{PermissionsExt, chown};

use anyhow::{Context, Result};
use field::{Field, NAME, Wishes, installed, may_change_user};
use ringback_lab::addresses;

/// Services reached on ports of their own at the public proxy.
fn raw(port: u16, at_terminal: u16) -> Wishes {
    let address = addresses::PUBLIC;
    Wishes {
        public_services: format!("id = 1\nport = {at_terminal}\nraw = \"{address}:{port}\""),
        private_services: format!("id = 1\naddress = \"{{terminal}}:{at_terminal}\""),
        ..Wishes::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ssh_logs_in() -> Result<()> {
    if !(installed("sshd")? && may_change_user()) {
        return Ok(());
    }
    let Some(mut field) = Field::set_up(&raw(2207, 22)).await? else { return Ok(()) };
    start_sshd(&mut field).await?;
    let login = ssh(&field, &["-p", "2207"]).await?;
    assert_eq!(String::from_utf8_lossy(&login.stdout).trim(), "1000000", "{login:?}");
    assert_eq!(field.sms(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ssh_logs_in_end_to_end_where_no_port_is_open() -> Result<()> {
    if !(installed("sshd")? && may_change_user()) {
        return Ok(());
    }
    let lee =
        "level = \"end-to-end\"\n[[terminal.service.client]]\nname = \"lee\"\nkey = \"lee.pub\"";
    let wishes = Wishes {
        public_services: format!("id = 1\nport = 22\n{lee}"),
        private_services: format!("id = 1\naddress = \"{{terminal}}:22\"\n{lee}"),
        ..Wishes::default()
    };
    let Some(mut field) = Field::set_up(&wishes).await? else { return Ok(()) };
    start_sshd(&mut field).await?;
    let binary = env!("CARGO_BIN_EXE_ringback");
    let contact = field.client(binary, &["contact", "--config", "public.toml", NAME]).await?;
    std::fs::write(field.path(&format!("{NAME}.toml")), contact.stdout)?;

    let proxy = format!("ProxyCommand={binary} connect --contacts . --key lee.key %h:ssh");
    for _ in 0..2 {
        let login = ssh(&field, &["-o", &proxy]).await?;
        assert_eq!(String::from_utf8_lossy(&login.stdout).trim(), "1000000", "{login:?}");
    }
    assert_eq!(field.sms(), 1, "the second came by the standby");
    Ok(())
}

/// An SSH server on the terminal, and a user's key that it takes.
async fn start_sshd(field: &mut Field) -> Result<()> {
    for key in ["host", "user"] {
        let words = ["-q", "-t", "ed25519", "-N", "", "-f", key];
        field.client("ssh-keygen", &words).await?;
    }
    std::fs::create_dir_all("/run/sshd")?;
    let at = |name: &str| field.path(name).display().to_string();
    let config = format!(
        "ListenAddress 0.0.0.0:22\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPidFile none\n",
        at("host"),
        at("user.pub")
    );
    std::fs::write(field.path("sshd.conf"), config)?;
    let config = at("sshd.conf");
    field.start("sshd", "/usr/sbin/sshd", &["-D", "-e", "-f", &config], "Server listening").await
}

/// Logs in and runs a command there.
async fn ssh(field: &Field, way: &[&str]) -> Result<std::process::Output> {
    let login = format!("root@{NAME}");
    let command = "head -c 1000000 /dev/zero | wc -c; cat";
    let words = ["-i", "user", "-o", "StrictHostKeyChecking=no"];
    let quiet = ["-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"];
    field.client("ssh", &[way, &words, &quiet, &[&login, command]].concat()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_reads_and_writes() -> Result<()> {
    let Some(bin) = postgres_folder() else {
        return installed("postgres").map(|_| ());
    };
    if !(installed("psql")? && may_change_user()) {
        return Ok(());
    }
    let Some(mut field) = Field::set_up(&raw(5432, 5432)).await? else { return Ok(()) };
    let data = field.path("data");
    std::fs::create_dir(&data)?;
    std::fs::set_permissions(field.folder.path(), std::fs::Permissions::from_mode(0o755))?;
    let (uid, gid) = user("postgres")?;
    chown(&data, Some(uid), Some(gid))?;
    let data = data.display().to_string();
    let (uid, gid) = (format!("--reuid={uid}"), format!("--regid={gid}"));
    let become_it = [uid.as_str(), gid.as_str(), "--clear-groups", "--"];

    let initdb = format!("{bin}/initdb");
    let words = [&become_it[..], &[&initdb, "-D", &data, "--auth=trust", "--no-sync"]].concat();
    let made = field.client("setpriv", &words).await?;
    assert!(made.status.success(), "{made:?}");
    std::fs::write(format!("{data}/pg_hba.conf"), "host all all all trust\n")?;
    let postgres = format!("{bin}/postgres");
    let server = [&postgres[..], "-D", &data, "-h", "0.0.0.0", "-k", ""];
    let words = [&become_it[..], &server[..]].concat();
    field.start("postgres", "setpriv", &words, "ready to accept connections").await?;

    let sql = "create table r(v numeric); insert into r values (5.4),(6.1); select sum(v) from r";
    let words = ["-h", NAME, "-p", "5432", "-U", "postgres", "-Atqc", sql];
    let answer = field.client("psql", &words).await?;
    assert_eq!(String::from_utf8_lossy(&answer.stdout).trim(), "11.5", "{answer:?}");
    assert_eq!(field.sms(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_passed_through_untouched() -> Result<()> {
    let wishes = Wishes {
        public_services: "id = 1\nport = 443\ntls = true".into(),
        private_services: "id = 1\naddress = \"{terminal}:443\"".into(),
        ..Wishes::default()
    };
    let Some(mut field) = Field::set_up(&wishes).await? else { return Ok(()) };
    let name = format!("subjectAltName=DNS:{NAME}");
    let words = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=terminal",
        "-addext",
        &name,
        "-keyout",
        "tls.key",
        "-out",
        "tls.pem",
    ];
    assert!(field.client("openssl", &words).await?.status.success());
    let words = ["s_server", "-accept", "443", "-key", "tls.key", "-cert", "tls.pem", "-www"];
    field.start("s_server", "openssl", &words, "ACCEPT").await?;

    let page = field.curl(&["--cacert", "tls.pem", &format!("https://{NAME}/")]).await?;
    assert!(page.contains("s_server"), "{page}");
    assert_eq!(field.sms(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_the_page_and_enters_a_reading() -> Result<()> {
    if !installed("chromium")? {
        return Ok(());
    }
    let Some(mut field) = Field::set_up(&Wishes::default()).await? else { return Ok(()) };
    let listen = format!("{}:80", field.lab.terminal.address());
    let binary = env!("CARGO_BIN_EXE_ringback");
    let words = ["--log", "json", "readings", "--listen", &listen];
    field.start("readings", binary, &words, "\"message\":\"ready\"").await?;

    let url = format!("http://{NAME}/");
    let profile = format!("--user-data-dir={}", field.path("browser").display());
    let words = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--virtual-time-budget=20000",
        &profile,
        "--dump-dom",
        &url,
    ];
    let page = field.client("chromium", &words).await?;
    let page = String::from_utf8_lossy(&page.stdout).into_owned();
    assert!(page.contains("mmol/L") && page.contains("<svg"), "{page}");
    assert_eq!(field.sms(), 1, "a page and all that it loads cost one SMS");

    field.curl(&["--data", "value=7.7", &format!("{url}readings")]).await?;
    let readings = field.curl(&[&format!("{url}readings.json")]).await?;
    assert!(readings.contains("7.7"), "{readings}");
    Ok(())
}

fn postgres_folder() -> Option<String> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut folders: Vec<_> = versions.flatten().map(|it| it.path().join("bin")).collect();
    folders.sort();
    folders.pop().map(|it| it.display().to_string())
}

fn user(name: &str) -> Result<(u32, u32)> {
    let users = std::fs::read_to_string("/etc/passwd")?;
    let line =
        users.lines().find(|it| it.split(':').next() == Some(name)).context("no such user")?;
    let number = |place: usize| line.split(':').nth(place)?.parse().ok();
    number(2).zip(number(3)).context("a strange /etc/passwd")
}
