//! Levels `http` and `allow` with real processes and real `curl`: who shows a good credential rings
//! once, who does not costs no SMS, and the service is told who came by somebody it can check.

mod house;

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use house::{House, PASSWORD, PATIENCE, installed, required};
use ringback::limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

/// Debian's own Python, which has Debian's JWT and nothing of ours.
const PYTHON: &str = "/usr/bin/python3";

#[tokio::test(flavor = "multi_thread")]
async fn every_way_of_proving_it_rings_once_and_the_service_never_sees_the_credential() -> Result<()>
{
    if !installed("curl")? {
        return Ok(());
    }
    let house = House::open().await?;
    let (lee, ann) = (format!("lee:{PASSWORD}"), format!("ann:{PASSWORD}"));
    let (http, inside) = (house.url("clinic"), "http://clinic.localhost/");
    let (connect, socks) = (format!("http://{}", house.proxy), house.proxy.to_string());
    let ways: [(&str, Vec<&str>); 6] = [
        ("lee", vec!["--basic", "--user", &lee, &http]),
        ("ann", vec!["--digest", "--user", &ann, &http]),
        ("robot", vec!["--oauth2-bearer", &house.token, &http]),
        ("lee", vec!["-p", "-x", &connect, "--proxy-basic", "--proxy-user", &lee, inside]),
        ("ann", vec!["-p", "-x", &connect, "--proxy-digest", "--proxy-user", &ann, inside]),
        ("lee", vec!["--socks5-hostname", &socks, "--proxy-user", &lee, inside]),
    ];
    for (round, (user, words)) in ways.into_iter().enumerate() {
        let forged = "Ringback-Identity: forged";
        let said =
            house.curl(&[&words[..], &["-H", forged, "-H", "remote_user: eve"]].concat()).await?;
        ensure!(said.stdout.starts_with(b"5.4 mmol/l"), "{user} by {words:?}: {said:?}");
        assert_eq!(house.sms()?, 1 + round, "{user} by {words:?}");

        let head = house.heads.last();
        let lower = head.to_ascii_lowercase();
        assert_eq!(lower.matches("ringback-identity: ").count(), 1, "{head}");
        assert!(lower.contains("\r\nforwarded: for=127.0.0.1;"), "{head}");
        assert!(lower.contains("\r\nconnection: close\r\n"), "{head}");
        for unwanted in ["authorization", "forged", "eve"] {
            assert!(!lower.contains(unwanted), "{unwanted} in {head}");
        }
        assert_eq!(subject(&head)?, user);
    }
    let passed = house.curl(&["--user", &lee, &house.url("passing")]).await?;
    ensure!(passed.stdout.starts_with(b"5.4 mmol/l"), "{passed:?}");
    let head = house.heads.last();
    assert!(
        head.contains("\r\nAuthorization: Basic ") && head.contains("\r\nRingback-Identity: ey")
    );
    assert!(!head.contains("Forwarded"), "nobody asked for it: {head}");

    // What SOCKS has carried was the public proxy's; what stands in the request is the service's own.
    let own = ["-H", "Authorization: Bearer own"];
    let words = ["--socks5-hostname", &socks, "--proxy-user", &lee, inside];
    house.curl(&[&words[..], &own[..]].concat()).await?;
    let head = house.heads.last();
    assert!(
        head.contains("\r\nAuthorization: Bearer own\r\n") && subject(&head)? == "lee",
        "{head}"
    );
    house.assert_discreet()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_wrong_credential_costs_an_sms_and_each_is_challenged_in_its_own_protocol() -> Result<()>
{
    if !installed("curl")? {
        return Ok(());
    }
    let house = House::open().await?;
    let (http, inside) = (house.url("clinic"), "http://clinic.localhost/");
    let (connect, socks) = (format!("http://{}", house.proxy), house.proxy.to_string());
    let token = "Authorization: Basic bGVlOnNlc2FtZSwgb3BlbiE=";
    let other = "authorization: Bearer x";
    let for_proxy = "Proxy-Authorization: Basic bGVlOnNlc2FtZSwgb3BlbiE=";
    let by_http: [Vec<&str>; 10] = [
        vec![&http],
        vec!["--user", "lee:wrong", &http],
        vec!["--user", "eve:sesame, open!", &http],
        vec!["--user", "ann:sesame, open!", &http],
        vec!["--digest", "--user", "ann:wrong", &http],
        vec!["--digest", "--user", "lee:sesame, open!", &http],
        vec!["--oauth2-bearer", "wrong", &http],
        vec!["-H", token, "-H", other, &http],
        vec!["-H", for_proxy, &http],
        vec!["-H", token, "-H", for_proxy, &http],
    ];
    let by_connect: [Vec<&str>; 4] = [
        vec!["-p", "-x", &connect, inside],
        vec!["-p", "-x", &connect, "--proxy-user", "lee:wrong", inside],
        vec!["-p", "-x", &connect, "--proxy-digest", "--proxy-user", "ann:wrong", inside],
        vec!["-p", "-x", &connect, "--proxy-header", token, inside],
    ];
    let by_socks: [Vec<&str>; 2] = [
        vec!["--socks5-hostname", &socks, inside],
        vec!["--socks5-hostname", &socks, "--proxy-user", "lee:wrong", inside],
    ];
    let mut source = 1;
    let mut from_elsewhere = || {
        source += 1;
        format!("127.0.0.{source}")
    };
    for words in by_http {
        let from = from_elsewhere();
        let said = house.curl(&[&["-i", "--interface", &from], &words[..]].concat()).await?;
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        let last = text.rsplit("HTTP/1.1 ").next().unwrap_or_default();
        assert!(last.starts_with("401 Unauthorized\r\n"), "{words:?}: {text}");
        assert!(last.contains("\"code\":\"RB-UNAUTHORIZED\""), "{words:?}: {text}");
        for challenge in
            ["Digest realm=\"clinic\"", "Basic realm=\"clinic\"", "Bearer realm=\"clinic\""]
        {
            assert!(last.contains(&format!("\r\nWWW-Authenticate: {challenge}")), "{text}");
        }
    }
    for words in by_connect {
        let from = from_elsewhere();
        let said = house.curl(&[&["-v", "--interface", &from], &words[..]].concat()).await?;
        let told = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(!said.status.success(), "{words:?}: {told}");
        assert!(told.contains("< HTTP/1.1 407 Proxy Authentication Required"), "{words:?}: {told}");
        assert!(told.contains("< Proxy-Authenticate: Digest realm=\"clinic\""), "{told}");
    }
    for words in by_socks {
        let from = from_elsewhere();
        let said = house.curl(&[&["--interface", &from], &words[..]].concat()).await?;
        assert_eq!(said.status.code(), Some(97), "{words:?}: {said:?}");
    }
    assert_eq!(house.sms()?, 0);
    assert!(house.heads.all().is_empty(), "somebody got through");
    house.assert_discreet()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_is_locked_out_for_a_while_and_nobody_else() -> Result<()> {
    if !installed("curl")? {
        return Ok(());
    }
    let house = House::open().await?;
    let (lee, url) = (format!("lee:{PASSWORD}"), house.url("clinic"));
    let ask = async |from: &str, user: &str| -> Result<String> {
        let said = house.curl(&["-i", "--interface", from, "--user", user, &url]).await?;
        Ok(String::from_utf8_lossy(&said.stdout).into_owned())
    };
    assert!(ask("127.0.0.9", &lee).await?.contains("200 OK"));
    for from in ["127.0.0.8", "127.0.0.9"] {
        for _ in 0..limits::FAILURES {
            assert!(ask(from, "lee:wrong").await?.starts_with("HTTP/1.1 401 "));
        }
    }
    let refused = ask("127.0.0.8", &lee).await?;
    assert!(refused.starts_with("HTTP/1.1 429 ") && refused.contains("RB-LOCKED-OUT"), "{refused}");
    let wait = refused.split("\r\nRetry-After: ").nth(1).context("no wait")?;
    let wait: u64 = wait.lines().next().unwrap_or_default().parse()?;
    assert!((1..=1 + limits::FAILURES_WINDOW.as_secs()).contains(&wait), "{wait}");
    assert_eq!(house.sms()?, 1, "the right password after too many wrong ones rings nobody");
    assert!(ask("127.0.0.7", &lee).await?.contains("200 OK"), "another source");
    assert!(ask("127.0.0.9", &lee).await?.contains("200 OK"), "good a moment ago");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_asserted_identity_is_verified_by_somebody_elses_program() -> Result<()> {
    let has_jwt = Command::new(PYTHON).args(["-c", "import jwt, cryptography"]).output().await;
    let has_jwt = has_jwt.is_ok_and(|it| it.status.success());
    ensure!(has_jwt || !required(), "python3-jwt is required and not installed");
    if !has_jwt || !installed("curl")? {
        eprintln!("skipped: python3-jwt is not installed");
        return Ok(());
    }
    let house = House::open().await?;
    let lee = format!("lee:{PASSWORD}");
    let said = house.curl(&["--user", &lee, &house.url("clinic")]).await?;
    ensure!(said.stdout.starts_with(b"5.4 mmol/l"), "{said:?}");
    let token = token(&house.heads.last())?;
    std::fs::write(house.path("token"), &token)?;
    let script = "import sys, jwt, json, hashlib\n\
        from cryptography.hazmat.primitives import serialization as s\n\
        pem = open(sys.argv[1], 'rb').read()\n\
        key = s.load_pem_public_key(pem)\n\
        der = key.public_bytes(s.Encoding.DER, s.PublicFormat.SubjectPublicKeyInfo)\n\
        said = jwt.decode(open('token').read(), key, algorithms=['EdDSA'], audience=sys.argv[2],\n \
            issuer=hashlib.sha256(der).hexdigest(), options={'require': ['exp','iat','sub','jti']})\n\
        print(said['sub'], said['lvl'], said['exp'] - said['iat'], said['jti'])\n";
    let verify = async |key: &str, audience: &str| {
        let words = ["-c", script, key, audience];
        Command::new(PYTHON).args(words).current_dir(house.folder.path()).output().await
    };
    let verified = verify("public.pub", "clinic.localhost").await?;
    let told = String::from_utf8_lossy(&verified.stdout).into_owned();
    let (who, session) = told.trim().rsplit_once(' ').with_context(|| format!("{verified:?}"))?;
    assert_eq!(who, format!("lee http {}", limits::ASSERTION_LIFE.as_secs()));
    let log = std::fs::read_to_string(house.path("public.log"))?;
    assert!(session.len() == 16 && log.contains(session), "{session} is no session of the log");

    for (key, audience) in
        [("public.pub", "passing.localhost"), ("private.pub", "clinic.localhost")]
    {
        assert!(!verify(key, audience).await?.status.success(), "{key} for {audience}");
    }
    let last = if token.ends_with('A') { "g" } else { "A" };
    std::fs::write(house.path("token"), format!("{}{last}", &token[..token.len() - 1]))?;
    assert!(!verify("public.pub", "clinic.localhost").await?.status.success(), "a changed token");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_not_allowed_is_refused_in_every_protocol_for_no_sms() -> Result<()> {
    let house = House::open().await?;
    let get = b"GET / HTTP/1.1\r\nHost: walled.localhost\r\n\r\n";
    assert!(told(house.http, get).await?.starts_with("HTTP/1.1 403 Forbidden\r\n"));
    let connect = b"CONNECT walled.localhost:80 HTTP/1.1\r\n\r\n";
    assert!(told(house.proxy, connect).await?.contains("RB-NOT-ALLOWED"));
    let socks = b"\x05\x01\x00\x05\x01\x00\x03\x10walled.localhost\x00\x50";
    assert!(told(house.proxy, socks).await?.starts_with("\x05\x00\x05\x02"));
    assert_eq!(
        told(house.tls, &client_hello("walled.localhost")).await?,
        "\x15\x03\x03\0\x02\x02\x31"
    );
    assert!(told(house.raw, b"").await.is_err(), "a raw client is reset");
    assert_eq!(house.sms()?, 0);

    for (at, served) in [(Some(house.http), 1), (house.http_v6, 2)] {
        let Some(at) = at else {
            eprintln!("skipped: no IPv6 on loopback");
            continue;
        };
        let get = b"GET / HTTP/1.1\r\nHost: home.localhost\r\nConnection: close\r\n\r\n";
        assert!(told(at, get).await?.ends_with("5.4 mmol/l"));
        assert_eq!(house.sms()?, served);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_proxy_whose_gate_admits_everybody_does_not_start() -> Result<()> {
    let mut house = House::prepare().await?;
    let file = house.path("public.toml");
    let text = std::fs::read_to_string(&file)?;
    let wall = "allow = [\"192.0.2.0/24\"]";
    assert!(text.contains(wall));
    std::fs::write(&file, text.replace(wall, "allow = [\"0.0.0.0/0\", \"::/0\"]"))?;
    house.spawn("public", &["--config", "public.toml"])?;
    let public = house.roles.last_mut().context("started")?;
    assert_eq!(timeout(PATIENCE, public.wait()).await??.code(), Some(1));
    let log = std::fs::read_to_string(house.path("public.log"))?;
    assert!(log.contains("RB-SELF-TEST: service 1 of walled.localhost admits"), "{log}");
    assert!(!log.contains("\"message\":\"listening\""), "nothing is bound before: {log}");
    Ok(())
}

#[tokio::test]
async fn a_level_that_cannot_be_asked_for_is_a_mistake_with_a_cure() -> Result<()> {
    let house = House::prepare().await?;
    let text = std::fs::read_to_string(house.path("public.toml"))?;
    let users = "users = \"clinic.users\"";
    for (instead, words) in [
        (format!("{users}\ntls = true"), "level: raw TCP and TLS that is passed through carry no"),
        (
            format!("{users}\nraw = \"127.0.0.1:9\""),
            "level: raw TCP and TLS that is passed through",
        ),
        (String::new(), "users: missing: level \"http\" needs a file"),
        (format!("{users}\ncredential = \"keep\""), "must be \"consume\" or \"pass\""),
        ("users = \"public.pub\"".to_owned(), "run chmod 600 on it"),
    ] {
        std::fs::write(house.path("wrong.toml"), text.replacen(users, &instead, 1))?;
        let checked = house.run(&["check", "--config", "wrong.toml"], "").await?;
        let told = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(checked.status.code() == Some(64) && told.contains(words), "{instead}: {told}");
    }
    let open = text.replacen("level = \"http\"\n", "", 1);
    std::fs::write(house.path("wrong.toml"), open)?;
    let checked = house.run(&["check", "--config", "wrong.toml"], "").await?;
    let told = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(
        told.contains("users: give it with level = \"http\" or \"knock\", and only there"),
        "{told}"
    );
    Ok(())
}

/// The token in a head's `Ringback-Identity`.
fn token(head: &str) -> Result<String> {
    let after = head.split("\r\nRingback-Identity: ").nth(1).context("no identity")?;
    Ok(after.lines().next().unwrap_or_default().to_owned())
}

/// Who the token in a head says that the client is.
fn subject(head: &str) -> Result<String> {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    let token = token(head)?;
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).context("no claims")?)?;
    let claims: serde_json::Value = serde_json::from_slice(&claims)?;
    Ok(claims["sub"].as_str().context("no subject")?.to_owned())
}

/// What is answered to these octets until the end.
async fn told(address: SocketAddr, octets: &[u8]) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(octets).await?;
    let mut heard = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut heard)).await??;
    Ok(heard.into_iter().map(char::from).collect())
}

fn client_hello(name: &str) -> Vec<u8> {
    let vector = |octets: &[u8]| [&(octets.len() as u16).to_be_bytes(), octets].concat();
    let entry = [&[0][..], &vector(name.as_bytes())].concat();
    let extensions = [
        [&[0, 0][..], &vector(&vector(&entry))].concat(),
        vec![0, 13, 0, 4, 0, 2, 8, 7],
        vec![0, 43, 0, 3, 2, 3, 4],
        vec![0, 10, 0, 4, 0, 2, 0, 29],
        [&[0, 51, 0, 38, 0, 36, 0, 29, 0, 32][..], &[9; 32]].concat(),
    ];
    let body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 19, 1, 1, 0], &vector(&extensions.concat())];
    let body = body.concat();
    let message = [&[1, 0][..], &vector(&body)].concat();
    [&[22, 3, 1][..], &vector(&message)].concat()
}
