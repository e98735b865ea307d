//! TLS that ends at the public proxy, client certificates, and the knock page: `curl` and
//! `openssl s_client`, unmodified, against real processes on loopback.

mod house;

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use house::{BINARY, House, NAME};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, SanType, date_time_ymd,
};
use ringback::config::Config;
use ringback::limits;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A service whose TLS ends at the public proxy, as the tests' own server.
const ENDED: &str =
    "id = 2\nport = 443\ntls = true\ncertificate = \"tls.pem\"\ncertificate_key = \"tls.key\"\n";
/// How long anything may take, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn https_ends_here_and_the_service_is_told_who_came_how() -> Result<()> {
    let house = furnished(&format!("{ENDED}http = true\nforwarded = true\n")).await?;
    let _server = server(&house, heads).await?;
    for (version, words) in [
        ("1.2", &["--tls-max", "1.2", "--http1.1", "-H", "Forwarded: for=10.0.0.1"][..]),
        ("1.3", &["--tlsv1.3", "-v", "--data", "value=7.7"]),
    ] {
        let told = curl(&house, words).await?;
        let head = String::from_utf8_lossy(&told.stdout);
        assert!(told.status.success(), "{version}: {told:?}");
        let ours = format!(
            "Forwarded: for=127.0.0.1;host=\"{NAME}:{}\";proto=https\r\n",
            house.tls.port()
        );
        assert!(head.contains(&ours) && !head.contains("10.0.0.1"), "{version}: {head}");
        if version == "1.3" {
            assert!(head.ends_with("\r\n\r\nvalue=7.7"), "the body follows its head: {head}");
            assert!(String::from_utf8_lossy(&told.stderr).contains("accepted http/1.1"));
        }
    }
    assert_eq!(house.sms()?, 2);

    // A name that is not the certificate's reaches nobody, and costs nothing.
    let other = curl(&house, &["-w", "%{http_code}", "-H", "Host: other.localhost"]).await?;
    assert!(String::from_utf8_lossy(&other.stdout).ends_with("421"), "{other:?}");
    assert_eq!(house.sms()?, 2);
    house.assert_quiet_logs()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_inside_is_a_page_for_http_and_a_cut_for_anything_else() -> Result<()> {
    // Nobody listens at the terminal.
    let house = furnished(&format!("{ENDED}http = true\n")).await?;
    let page = curl(&house, &["-w", "%{http_code}", "-H", "Accept: text/html"]).await?;
    let page = String::from_utf8_lossy(&page.stdout).into_owned();
    assert!(page.contains("RB-TERMINAL-REFUSED") && page.ends_with("502"), "{page}");

    let house = furnished(ENDED).await?;
    let mut client = connect(&house, &[]).await?;
    let ended = timeout(SOON, client.read_to_end(&mut Vec::new())).await?;
    ended.expect_err("a refusal that looks like an end");
    assert_eq!(house.sms()?, 1);
    house.assert_quiet_logs()
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_and_cuts_pass_an_ended_tls_as_they_are() -> Result<()> {
    let house = furnished(ENDED).await?;
    let (told, mut tells) = tokio::sync::mpsc::unbounded_channel();
    let listener = TcpListener::bind(house.other).await?;
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a listener");
            let mut heard = Vec::new();
            let ended = stream.read_to_end(&mut heard).await;
            told.send((heard.len(), ended.is_ok())).expect("a test");
            if heard == b"cut me" {
                stream.set_zero_linger().expect("a socket");
                continue;
            }
            let _ = stream.write_all(&heard).await;
        }
    });

    // A client that has said all still hears all, and then a clean end.
    let said = vec![7; 300_000];
    let mut client = connect(&house, &[b"mqtt"]).await?;
    client.write_all(&said).await?;
    client.shutdown().await?;
    let mut heard = Vec::new();
    timeout(SOON, client.read_to_end(&mut heard)).await??;
    assert_eq!((heard == said, tells.recv().await), (true, Some((said.len(), true))));

    // An end without TLS's own end is a cut: the service must not take it for all there was.
    let mut client = connect(&house, &[]).await?;
    client.write_all(b"half of it").await?;
    client.flush().await?;
    house.says("public", "client spliced", 2).await?;
    let (mut tcp, _) = client.into_inner();
    tcp.shutdown().await?;
    assert_eq!(timeout(SOON, tells.recv()).await?.map(|(_, clean)| clean), Some(false));

    // A service that resets is a cut to the client, and never TLS's end.
    let mut client = connect(&house, &[]).await?;
    client.write_all(b"cut me").await?;
    client.shutdown().await?;
    let cut = timeout(SOON, client.read_to_end(&mut Vec::new())).await?;
    cut.expect_err("a cut that looks like an end");
    house.assert_quiet_logs()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_certificate_of_the_services_authority_rings() -> Result<()> {
    let allowed = "clients_allowed = [\"lee@clinic.example\", \"expired\"]\n";
    let service =
        format!("{ENDED}http = true\nlevel = \"mtls\"\nclient_roots = \"roots.pem\"\n{allowed}");
    let house = furnished(&service).await?;
    let _server = server(&house, heads).await?;
    for version in ["1.2", "1.3"] {
        for (who, alert) in [
            ("absent", "alert"),
            ("stranger", "alert unknown ca"),
            ("forged", "alert"),
            ("self-signed", "alert unknown ca"),
            ("expired", "alert certificate expired"),
            ("unlisted", "alert access denied"),
            ("server-only", "alert"),
        ] {
            let (pem, key) = (format!("{who}.pem"), format!("{who}.key"));
            let mut words = vec!["--tls-max", version];
            if who != "absent" {
                words.extend(["--cert", &pem, "--key", &key]);
            }
            let refused = curl(&house, &words).await?;
            assert!(!refused.status.success(), "{who} is let in by TLS {version}");
            let refused = s_client(&house, version, who).await?;
            assert!(refused.contains(alert), "{who}, TLS {version}: {refused}");
        }
    }
    let stalled = stall(&house).await?;
    assert!(limits::HANDSHAKE_PATIENCE <= stalled + Duration::from_secs(1), "{stalled:?}");
    assert!(stalled < limits::HANDSHAKE_PATIENCE + Duration::from_secs(4), "{stalled:?}");
    let plain = format!("http://{NAME}:{}/", house.http.port());
    let plain = run(&house, "curl", &["-sS", "-w", "%{http_code}", &plain]).await?;
    assert!(String::from_utf8_lossy(&plain.stdout).ends_with("401"), "in clear: {plain:?}");
    assert_eq!(house.sms()?, 0, "somebody was rung for");

    for (sms, version) in [(1, "1.2"), (2, "1.3")] {
        let words = ["--tls-max", version, "--cert", "lee.pem", "--key", "lee.key"];
        let served = curl(&house, &words).await?;
        assert!(served.status.success(), "TLS {version}: {served:?}");
        assert_eq!(house.sms()?, sms);
    }
    let served = s_client(&house, "1.3", "lee").await?;
    assert!(served.contains("HTTP/1.1 200"), "{served}");
    house.assert_quiet_logs()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_is_closed_to_whoever_has_not_knocked() -> Result<()> {
    let mut house = House::empty().await?;
    furnish(&house)?;
    let raw = house.raw;
    let ended = ENDED.replace("id = 2", "id = 1");
    let services = format!(
        "{ended}http = true\n[[terminal.service]]\nid = 2\nport = 22\nraw = \"{raw}\"\n\
         level = \"knock\"\nknock_minutes = 5\nusers = \"knock.users\"\n"
    );
    let make =
        format!("printf sesame | {BINARY} key user lee > knock.users && chmod 600 knock.users");
    assert!(run(&house, "sh", &["-c", &make]).await?.status.success());
    house.fill(&services).await?;
    // The reset may come before the connection is known to be there.
    let knocking = async {
        let mut client = TcpStream::connect(raw).await?;
        client.read_to_end(&mut Vec::new()).await
    };
    let closed = timeout(SOON, knocking).await?.expect_err("a closed port that ends in order");
    assert_eq!(closed.kind(), ErrorKind::ConnectionReset);

    let page = "/.well-known/ringback/knock";
    let in_clear = format!("http://{NAME}:{}{page}", house.http.port());
    let in_tls = format!("https://{NAME}:{}{page}", house.tls.port());
    let html = ["-H", "Accept: text/html"];
    for (url, status, said, words) in [
        (&in_clear, "200", "not encrypted", &html[..]),
        (&in_tls, "200", "for 5 minutes", &html),
        (&in_tls, "401", "RB-UNAUTHORIZED", &["-u", "lee:wrong"]),
        (&in_tls, "403", "not right", &["-H", "Accept: text/html", "--data", "user=a&password=b"]),
        (&in_clear, "413", "", &["--data", &"a".repeat(limits::LOG_IN_OCTETS + 1)]),
        (&in_clear, "405", "", &["-X", "DELETE"]),
    ] {
        let words = [&["-sS", "--cacert", "ca.pem", "-w", "%{http_code}"], words, &[url]].concat();
        let told = run(&house, "curl", &words).await?;
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        assert!(told.ends_with(status) && told.contains(said), "{words:?}: {told}");
    }
    let mut slow = TcpStream::connect(house.http).await?;
    let kind = "Content-Type: application/x-www-form-urlencoded";
    let head =
        format!("POST {page} HTTP/1.1\r\nHost: {NAME}\r\n{kind}\r\nContent-Length: 9\r\n\r\nuser");
    slow.write_all(head.as_bytes()).await?;
    let mut told = String::new();
    timeout(SOON, slow.read_to_string(&mut told)).await.context("half a log-in is kept")??;
    assert!(told.starts_with("HTTP/1.1 408 "), "{told}");
    assert_eq!(house.sms()?, 0);

    // Whoever has logged in is let in for a while, by the port itself and for one SMS.
    let words = ["-sS", "--cacert", "ca.pem", "--data", "user=lee&password=sesame", &in_tls];
    let told = run(&house, "curl", &words).await?;
    assert!(String::from_utf8_lossy(&told.stdout).contains("open"), "{told:?}");
    let echo = TcpListener::bind(house.other).await?;
    let mut client = TcpStream::connect(raw).await?;
    client.write_all(b"through").await?;
    let (mut served, _) = timeout(SOON, echo.accept()).await??;
    let mut heard = [0; 7];
    timeout(SOON, served.read_exact(&mut heard)).await??;
    assert_eq!((&heard, house.sms()?), (b"through", 1));
    house.assert_quiet_logs()
}

#[tokio::test]
async fn mistakes_about_certificates_are_told_before_anything_is_bound() -> Result<()> {
    let house = House::empty().await?;
    furnish(&house)?;
    let mtls = "level = \"mtls\"\nclient_roots = \"roots.pem\"\n";
    for (service, mistake) in [
        (ENDED.replace("tls = true\n", ""), "set `tls` too"),
        (ENDED.replace("tls.key", "lee.key"), "cannot be used"),
        (ENDED.replace("tls.key", "shown.key"), "chmod 600"),
        (ENDED.replace("tls.key", "tls.pem"), "readable by others"),
        (ENDED.replace("tls.pem", "tls.key"), "has no certificate in PEM"),
        (format!("{ENDED}level = \"mtls\"\n"), "client_roots: give it with level"),
        (format!("{ENDED}client_roots = \"roots.pem\"\n"), "client_roots: give it with level"),
        (format!("{ENDED}clients_allowed = [\"lee\"]\n"), "give `client_roots` too"),
        (format!("id = 2\ntls = true\n{mtls}"), "level \"mtls\" needs TLS that ends here"),
        ("id = 2\nlevel = \"knock\"\n".to_owned(), "give `raw` too"),
        ("id = 2\nknock_minutes = 5\n".to_owned(), "give it with level = \"knock\""),
        (format!("{ENDED}{mtls}clients_allowed = [\"a b\"]\n"), "no name for a client"),
    ] {
        house.write_files(&service)?;
        let told = Config::load(&house.path("public.toml")).expect_err("a mistake").to_string();
        assert!(told.contains(mistake), "{service}: {told}");
    }
    let right = format!("{ENDED}{mtls}clients_allowed = [\"lee\"]\n");
    house.write_files(&right)?;
    Config::load(&house.path("public.toml"))?;
    // A responder alone has none of these files.
    let responder = format!(
        "[responder]\nlisten = \"{}\"\nzone = \"localhost\"\naddresses = \"127.0.0.1\"\n\
         [[terminal]]\nname = \"{NAME}\"\n[[terminal.service]]\n{right}",
        house.dns
    );
    let elsewhere = tempfile::tempdir()?;
    std::fs::write(elsewhere.path().join("responder.toml"), responder)?;
    Config::load(&elsewhere.path().join("responder.toml"))?;
    Ok(())
}

/// A house with certificates and one service.
async fn furnished(service: &str) -> Result<House> {
    let mut house = House::empty().await?;
    furnish(&house)?;
    house.fill(service).await?;
    Ok(house)
}

/// Certificates of an authority for the server and for clients of every kind.
fn furnish(house: &House) -> Result<()> {
    let ours = authority("an authority")?;
    let (strangers, impostors) = (authority("another authority")?, authority("an authority")?);
    let client = |name: &str| -> Result<CertificateParams> {
        let mut wanted = CertificateParams::default();
        wanted.subject_alt_names = vec![if name.contains('@') {
            SanType::Rfc822Name(name.try_into()?)
        } else {
            SanType::DnsName(name.try_into()?)
        }];
        wanted.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        Ok(wanted)
    };
    let mut expired = client("expired")?;
    expired.not_after = date_time_ymd(2020, 1, 1);
    let mut server_only = client("lee@clinic.example")?;
    server_only.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let server = CertificateParams::new(vec![NAME.to_owned()])?;
    for (name, mut wanted, authority) in [
        ("tls", server, Some(&ours)),
        ("lee", client("lee@clinic.example")?, Some(&ours)),
        ("unlisted", client("kim@clinic.example")?, Some(&ours)),
        ("expired", expired, Some(&ours)),
        ("server-only", server_only, Some(&ours)),
        ("stranger", client("lee@clinic.example")?, Some(&strangers)),
        ("forged", client("lee@clinic.example")?, Some(&impostors)),
        ("self-signed", client("lee@clinic.example")?, None),
    ] {
        let key = KeyPair::generate()?;
        wanted.distinguished_name.push(DnType::CommonName, name);
        let certificate = match authority {
            Some(authority) => wanted.signed_by(&key, authority)?,
            None => wanted.self_signed(&key)?,
        };
        write(house, &format!("{name}.pem"), "CERTIFICATE", certificate.der())?;
        write(house, &format!("{name}.key"), "PRIVATE KEY", &key.serialize_der())?;
        let secret = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(house.path(&format!("{name}.key")), secret)?;
    }
    write(house, "shown.key", "PRIVATE KEY", &KeyPair::generate()?.serialize_der())?;
    write(house, "ca.pem", "CERTIFICATE", ours.der())?;
    write(house, "roots.pem", "CERTIFICATE", ours.der())
}

fn authority(name: &str) -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut wanted = CertificateParams::default();
    wanted.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    wanted.distinguished_name.push(DnType::CommonName, name);
    Ok(CertifiedIssuer::self_signed(wanted, KeyPair::generate()?)?)
}

fn write(house: &House, name: &str, tag: &str, der: &[u8]) -> Result<()> {
    Ok(std::fs::write(house.path(name), pem::encode(&pem::Pem::new(tag, der)))?)
}

/// The tests' own server at the terminal; it ends with what is returned.
async fn server<F: Future<Output = ()> + Send>(
    house: &House,
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> Result<JoinSet<()>> {
    let listener = TcpListener::bind(house.other).await?;
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a listener");
            serve(stream).await;
        }
    });
    Ok(serving)
}

/// Answers one request with its own octets.
async fn heads(mut stream: TcpStream) {
    let mut head = Vec::new();
    let whole = |head: &[u8]| {
        let text = String::from_utf8_lossy(head);
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        body.is_some_and(|body| !text.contains("Content-Length") || body.len() == 9)
    };
    while !whole(&head) {
        if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", head.len());
    let _ = stream.write_all(&[answer.as_bytes(), &head].concat()).await;
}

async fn curl(house: &House, words: &[&str]) -> Result<Output> {
    let url = format!("https://{NAME}:{}/", house.tls.port());
    let words = [&["-sS", "--max-time", "30", "--cacert", "ca.pem"], words, &[&url]].concat();
    run(house, "curl", &words).await
}

/// What `openssl s_client` says while it asks for a page.
async fn s_client(house: &House, version: &str, who: &str) -> Result<String> {
    let (pem, key) = (format!("{who}.pem"), format!("{who}.key"));
    let to = house.tls.to_string();
    let version = if version == "1.2" { "-tls1_2" } else { "-tls1_3" };
    let mut words = vec!["s_client", "-connect", &to, "-servername", NAME, "-CAfile", "ca.pem"];
    words.extend(["-ign_eof", version]);
    if who != "absent" {
        words.extend(["-cert", &pem, "-key", &key]);
    }
    let mut command = Command::new("openssl");
    command.args(&words).current_dir(house.folder.path()).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("openssl")?;
    let request = format!("GET / HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n");
    let mut stdin = child.stdin.take().context("no stdin")?;
    // A client that was refused has ended before it can ask.
    let _ = stdin.write_all(request.as_bytes()).await;
    let output = timeout(SOON, child.wait_with_output()).await??;
    Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

async fn run(house: &House, program: &str, words: &[&str]) -> Result<Output> {
    let mut command = Command::new(program);
    command.args(words).current_dir(house.folder.path()).stdin(Stdio::null()).kill_on_drop(true);
    timeout(2 * SOON, command.output()).await?.with_context(|| program.to_owned())
}

/// A TLS client that trusts our authority and offers these protocols.
async fn connect(house: &House, protocols: &[&[u8]]) -> Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    for root in ringback::keys::read_certificates(&house.path("ca.pem"))? {
        roots.add(root)?;
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|it| it.to_vec()).collect();
    let stream = TcpStream::connect(house.tls).await?;
    let connecting = TlsConnector::from(Arc::new(config)).connect(NAME.try_into()?, stream);
    Ok(timeout(SOON, connecting).await??)
}

/// How long a client is kept that says a whole ClientHello and nothing more.
async fn stall(house: &House) -> Result<Duration> {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let mut client = rustls::ClientConnection::new(Arc::new(config), NAME.try_into()?)?;
    let mut hello = Vec::new();
    client.write_tls(&mut hello)?;
    let (begun, mut stream) = (Instant::now(), TcpStream::connect(house.tls).await?);
    stream.write_all(&hello).await?;
    let mut said = Vec::new();
    let ended = timeout(SOON, stream.read_to_end(&mut said)).await;
    ended.context("half a handshake is kept")?.ok();
    ensure!(said.first() == Some(&0x16), "no ServerHello");
    Ok(begun.elapsed())
}
