//! A terminal that is rung by HTTP APIs: by a real Kannel, which is an ESME of the operator's, and by
//! a strict stub of Twilio that throttles, loses and doubles.

mod house;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use house::{Carried, House, free_addresses};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

/// How long a peer may take until it is as it should be.
const PATIENCE: Duration = Duration::from_secs(20);
/// Kannel's configuration; its name says that it holds secrets.
const CONFIGURATION: &str = "kannel.conf.password";
/// The password of Kannel's accounts at the operator.
const ACCOUNT: &str = "ofkannel";
const SERVICE: &str = "id = 1\nport = 80\nhttp = true\n";

/// Kannel: one account that sends and one that hears, at the same operator.
struct Kannel {
    folder: std::path::PathBuf,
    admin: SocketAddr,
    smsbox_port: SocketAddr,
    sendsms: SocketAddr,
    bearerbox: Option<Child>,
    smsbox: Option<Child>,
}

impl Kannel {
    /// `None` where Kannel is not installed.
    fn new(house: &House, webhook: SocketAddr) -> Result<Option<Self>> {
        if !Path::new("/usr/sbin/bearerbox").exists() {
            eprintln!("skipped: no Kannel; `cargo xtask peers` installs it");
            return Ok(None);
        }
        let [admin, smsbox, sendsms] = free_addresses()?;
        let account = |id: &str| {
            format!(
                "group = smsc\nsmsc = smpp\nsmsc-id = {id}\nhost = 127.0.0.1\nport = {}\n\
                 transceiver-mode = true\nsmsc-username = {id}\nsmsc-password = {ACCOUNT}\n\
                 system-type = \"\"\nenquire-link-interval = 10\nreconnect-delay = 1\n\n",
                house.operator.port()
            )
        };
        let text = format!(
            "group = core\nadmin-port = {}\nadmin-interface = 127.0.0.1\nadmin-password = of-admin\n\
             smsbox-port = {}\nsmsbox-interface = 127.0.0.1\nbox-allow-ip = 127.0.0.1\n\
             log-level = 2\nstore-type = file\nstore-location = kannel.store\n\
             dlr-storage = internal\n\n{}{}\
             group = smsbox\nbearerbox-host = 127.0.0.1\nsendsms-port = {}\n\
             sendsms-interface = 127.0.0.1\nglobal-sender = 5550100\nlog-level = 2\n\n\
             group = sendsms-user\nusername = rb\npassword = of-kannel\nforced-smsc = public\n\
             max-messages = 1\nconcatenation = false\n\n\
             group = sms-service\nkeyword = default\ncatch-all = true\nmax-messages = 0\n\
             get-url = \"http://{webhook}/in/OfTheWebhook0123456789?from=%q&to=%Q&text=%b&id=%I\"\n",
            admin.port(),
            smsbox.port(),
            account("public"),
            account("private"),
            sendsms.port(),
        );
        secret(house, CONFIGURATION, &text)?;
        let folder = house.folder.path().to_owned();
        Ok(Some(Self {
            folder,
            admin,
            smsbox_port: smsbox,
            sendsms,
            bearerbox: None,
            smsbox: None,
        }))
    }

    /// Starts what does not run, and waits until it can send.
    async fn start(&mut self) -> Result<()> {
        if self.bearerbox.is_none() {
            self.bearerbox = Some(self.spawn("bearerbox")?);
        }
        // A smsbox that comes first gives up.
        listens(self.smsbox_port).await?;
        if self.smsbox.is_none() {
            self.smsbox = Some(self.spawn("smsbox")?);
        }
        listens(self.sendsms).await?;
        let waiting = async {
            while self.status().await?.matches("(online ").count() < 2 {
                sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        timeout(PATIENCE, waiting).await.context("Kannel never bound")?
    }

    async fn status(&self) -> Result<String> {
        let mut stream = TcpStream::connect(self.admin).await?;
        let request = "GET /status.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    fn spawn(&self, name: &str) -> Result<Child> {
        let mut command = Command::new(format!("/usr/sbin/{name}"));
        command.args(["-v", "2", CONFIGURATION]).current_dir(&self.folder).kill_on_drop(true);
        let log = std::fs::File::create(self.folder.join(format!("{name}.log")))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(command.spawn()?)
    }

    async fn kill_all(&mut self) -> Result<()> {
        for child in [self.smsbox.take(), self.bearerbox.take()].into_iter().flatten() {
            kill(child).await?;
        }
        Ok(())
    }
}

async fn listens(address: SocketAddr) -> Result<()> {
    let waiting = async {
        while TcpStream::connect(address).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, waiting).await.context("Kannel never listened")
}

/// The operator, with passwords that are no longer than SMPP and Kannel allow.
async fn operator(house: &House) -> Result<Child> {
    let text = format!(
        "[operator]\nlisten = \"{}\"\ndelay = {{ kind = \"fixed\", seconds = 0.3 }}\n\
         [[operator.accounts]]\nsystem_id = \"public\"\npassword = \"{ACCOUNT}\"\n\
         [[operator.accounts]]\nsystem_id = \"private\"\npassword = \"{ACCOUNT}\"\n\
         prefixes = [\"1555\"]\n",
        house.operator
    );
    std::fs::write(house.path("operator.toml"), text)?;
    let log = std::fs::File::create(house.path("operator.log"))?;
    let mut command = Command::new(house::BINARY);
    command.args(["--log", "json", "operator", "--config", "operator.toml"]);
    command.current_dir(house.folder.path()).env("RINGBACK_LOG", "debug").kill_on_drop(true);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
    house.says("operator", "ready", 1).await?;
    Ok(child)
}

async fn kill(mut child: Child) -> Result<()> {
    child.kill().await?;
    child.wait().await?;
    Ok(())
}

fn secret(house: &House, name: &str, text: &str) -> Result<()> {
    std::fs::write(house.path(name), text)?;
    Ok(std::fs::set_permissions(house.path(name), std::fs::Permissions::from_mode(0o600))?)
}

const ROUTE: &str = "[[terminal.route]]\nbearer = \"sms\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_client_reaches_a_terminal_through_kannel_and_through_its_restart() -> Result<()> {
    for form in ["", "form = \"binary\"\n"] {
        let mut house = House::empty().await?;
        let [webhook] = free_addresses()?;
        let Some(mut kannel) = Kannel::new(&house, webhook)? else { return Ok(()) };
        secret(&house, "kannel.password", "of-kannel")?;
        secret(&house, "webhook.token", "OfTheWebhook0123456789")?;
        house.carried = Carried {
            public: format!(
                "[[bearer]]\nname = \"sms\"\nkind = \"http\"\napi = \"kannel\"\n\
                 url = \"http://{}/cgi-bin/sendsms\"\nuser = \"rb\"\n\
                 password_file = \"kannel.password\"\nfrom = \"5550100\"\n",
                kannel.sendsms
            ),
            private: format!(
                "[[bearer]]\nname = \"sms\"\nkind = \"http\"\napi = \"kannel\"\n\
                 [bearer.webhook]\nlisten = \"{webhook}\"\npath = \"/in\"\nsignature = \"token\"\n\
                 secret_file = \"webhook.token\"\n"
            ),
            routes: format!("{ROUTE}{form}"),
            operator: false,
        };
        house.fill(SERVICE).await?;
        house.says("private", "listening for posts", 1).await?;
        let operator = operator(&house).await?;
        kannel.start().await?;
        house.assert_serves().await?;

        // Killed: what is rung now waits until it is there again.
        kannel.kill_all().await?;
        let before = house.count("public", "the API cannot be used")?;
        let back = async {
            house.says("public", "the API cannot be used", before + 1).await?;
            kannel.start().await
        };
        let (visited, back) = tokio::join!(house.visit(), back);
        back?;
        visited?;

        house.visit().await?;
        house.assert_quiet_logs()?;
        kannel.kill_all().await?;
        kill(operator).await?;
    }
    Ok(())
}

#[test]
fn every_mistake_in_an_http_bearer_is_told_at_once() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let text = "[private]\nidentity = \"none.key\"\nstate = \"state\"\n\
        [[bearer]]\nname = \"a\"\nkind = \"http\"\napi = \"twilo\"\nurl = \"http://sms.example/\"\n\
        [[bearer]]\nname = \"b\"\nkind = \"http\"\napi = \"custom\"\nurl = \"https://sms.example/{two}\"\n\
        form = [\"to\"]\nauthorization = \"digest\"\nsuccess_status = \"600\"\nsucess_text = \"a\"\n\
        success_pointer = \"sid\"\n\
        [[bearer]]\nname = \"c\"\nkind = \"http\"\napi = \"twilio\"\n\
        [[bearer]]\nname = \"d\"\nkind = \"http\"\napi = \"kannel\"\n\
        [bearer.webhook]\nlisten = \"here\"\npath = \"in\"\nsignature = \"none\"\n\
        secret_file = \"open.token\"\n\
        [[bearer]]\nname = \"e\"\nkind = \"http\"\napi = \"custom\"\n\
        url = \"http://localhost/\"\njson = '{\"to\":\"{too}\"}'\ncancel_url = \"http://127.0.0.1/{message_id}\"\n";
    std::fs::write(folder.path().join("wrong.toml"), text)?;
    std::fs::write(folder.path().join("open.token"), "OfTheWebhook0123456789")?;
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(folder.path().join("open.token"), open)?;
    let mut check = std::process::Command::new(house::BINARY);
    let told = check.args(["check", "--config", "wrong.toml"]).current_dir(&folder).output()?;
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    for mistake in [
        "bearer[0].api: \"twilo\" is no API; known: kannel, twilio, vonage, emnify, custom",
        "bearer[0].url: would show the account to everybody on the way: use https",
        "bearer[1].url: {two} stands for nothing; known: {to} ",
        "bearer[1].form: each must be \"name=template\"",
        "bearer[1].authorization: must be \"none\", \"basic\" or \"bearer\"",
        "bearer[1].success_status: must be a status",
        "bearer[1].success_pointer: no JSON pointer",
        "bearer[1].sucess_text: unknown key; did you mean success_text?",
        "bearer[2].tls_roots: missing",
        "bearer[2].user: missing",
        "bearer[2].password_file: missing",
        "bearer[3].webhook.listen: \"here\"",
        "bearer[3].webhook.path: must begin with a slash",
        "bearer[3].webhook.signature: must be \"twilio\", \"hmac\" or \"token\"",
        "bearer[3].webhook.secret_file: ",
        "bearer[4].json: {too} stands for nothing",
        "bearer[4].cancel_url: must be at the same host as `url`",
    ] {
        assert!(told.contains(mistake), "no {mistake:?} in {told}");
    }
    assert!(!told.contains("bearer[4].user"), "nothing is asked for in vain: {told}");
    assert!(!told.contains("OfTheWebhook"), "{told}");
    Ok(())
}

/// A strict stub of Twilio: both ends of it, as its documentation says.
struct Stub {
    api: TcpListener,
    webhook: SocketAddr,
}

impl Stub {
    /// Reads one message that is to be sent: its text.
    async fn message(&self) -> Result<(TcpStream, String)> {
        loop {
            let (mut stream, _) = self.api.accept().await?;
            let mut octets = Vec::new();
            // The first connection only looks whether we are there.
            while !complete(&octets) && stream.read_buf(&mut octets).await? != 0 {}
            if octets.is_empty() {
                continue;
            }
            let text = String::from_utf8(octets)?;
            ensure!(text.starts_with("POST /Accounts/AC1/Messages.json HTTP/1.1\r\n"), "{text}");
            ensure!(text.to_lowercase().contains("\r\nauthorization: basic "), "{text}");
            ensure!(text.contains("To=%2B15550100777&From=%2B15550100&ValidityPeriod="), "{text}");
            let body = text.split_once("&Body=").context("no text")?.1;
            return Ok((stream, body.to_owned()));
        }
    }

    /// Posts a text that has come, as Twilio signs it.
    async fn post(&self, body: &str, sid: &str) -> Result<String> {
        let plain = body.replace("%2A", "*");
        let signed = format!("https://hooks.example/inBody{plain}From+15550100MessageSid{sid}");
        let key = aws_lc_rs::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY;
        let key = aws_lc_rs::hmac::Key::new(key, b"of-twilio");
        let signature = STANDARD.encode(aws_lc_rs::hmac::sign(&key, signed.as_bytes()));
        let form = format!("MessageSid={sid}&From=%2B15550100&Body={body}");
        let request = format!(
            "POST /in HTTP/1.1\r\nHost: hooks.example\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\
             X-Twilio-Signature: {signature}\r\n\r\n{form}",
            form.len()
        );
        let mut stream = TcpStream::connect(self.webhook).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    /// Throttles once, loses the first, doubles the second; ends when the second was posted.
    async fn misbehave(&self) -> Result<()> {
        let (stream, throttled) = self.message().await?;
        answer(stream, "429 Too Many Requests", "Retry-After: 1\r\n", "{\"code\":20429}").await?;
        let (stream, lost) = self.message().await?;
        ensure!(throttled == lost, "it is the same message");
        answer(stream, "201 CREATED", "", "{\"sid\":\"SM1\"}").await?;
        let (stream, second) = self.message().await?;
        ensure!(second != lost, "a fresh signal");
        answer(stream, "201 CREATED", "", "{\"sid\":\"SM2\"}").await?;
        for _ in 0..2 {
            let answer = self.post(&second, "SM2").await?;
            ensure!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            ensure!(answer.ends_with("<Response/>"), "{answer}");
        }
        Ok(())
    }
}

fn complete(octets: &[u8]) -> bool {
    let text = String::from_utf8_lossy(octets).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.split("content-length: ").nth(1).and_then(|it| it.lines().next());
    length.is_none_or(|it| it.parse().is_ok_and(|it: usize| it <= body.len()))
}

async fn answer(mut stream: TcpStream, status: &str, fields: &str, body: &str) -> Result<()> {
    let length = body.len();
    let text = format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {length}\r\n\r\n{body}");
    Ok(stream.write_all(text.as_bytes()).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_stub_of_twilio_may_throttle_lose_and_double_and_the_client_is_served()
-> Result<()> {
    let mut house = House::empty().await?;
    let [webhook] = free_addresses()?;
    let api = TcpListener::bind("127.0.0.1:0").await?;
    secret(&house, "twilio.token", "of-twilio")?;
    house.carried = Carried {
        public: format!(
            "[[bearer]]\nname = \"sms\"\nkind = \"http\"\napi = \"twilio\"\n\
             url = \"http://{}/Accounts/{{user}}/Messages.json\"\nuser = \"AC1\"\n\
             password_file = \"twilio.token\"\nfrom = \"+15550100\"\n",
            api.local_addr()?
        ),
        private: format!(
            "[[bearer]]\nname = \"sms\"\nkind = \"http\"\napi = \"twilio\"\n\
             [bearer.webhook]\nlisten = \"{webhook}\"\npath = \"/in\"\n\
             public_url = \"https://hooks.example/in\"\nsecret_file = \"twilio.token\"\n"
        ),
        routes: ROUTE.to_owned(),
        operator: false,
    };
    house.fill(SERVICE).await?;
    house.says("private", "listening for posts", 1).await?;
    let stub = Stub { api, webhook };
    let (visited, misbehaved) =
        tokio::join!(house.visit(), timeout(PATIENCE * 2, stub.misbehave()));
    misbehaved.context("the stub was not asked")??;
    visited?;
    assert_eq!(house.count("private", "heard")?, 1, "one SMS of the three posts that came");
    house.assert_quiet_logs()
}
