//! The installation with a gateway between the operator and the private proxy that is the attacker's.

use std::process::Output;

use anyhow::{Context, Result, ensure};
use ringback::keys::{self, TerminalKeys};
use ringback_lab::Host;
use ringback_proto::access_request::{AccessRequest, SealingKey, SessionKeys, open, seal};

use crate::field::{Begun, Field, NAME, Wishes, charon_is_there};
use crate::order::{Dial, Order, Pose, Post, hex, told};

/// The private proxy's number at the operator, behind the gateway.
const BEHIND: &str = "+15550200777";
/// What an answering public proxy says at least: "accepted", and its own code.
const LET_IN: u8 = 1;

/// A server that tells every request's first line, and answers it.
pub(crate) const SERVER: &str = "import socket,threading\nl=socket.create_server(('0.0.0.0',80)); print('up',flush=True)\n\
    def serve(c):\n \
     h=c.recv(4096)\n \
     if h: print('served',h.split(b'\\r')[0],flush=True); c.sendall(b'HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: 10\\r\\n\\r\\n5.4 mmol/l')\n \
     c.close()\n\
    while True: threading.Thread(target=serve,args=(l.accept()[0],)).start()\n";

/// The installation, the gateway, and the server on the terminal.
pub(crate) struct Scene {
    pub(crate) field: Field,
    posts: usize,
    posing: bool,
}

impl Scene {
    /// Sets everything up; `None` where there can be no lab.
    pub(crate) async fn set_up() -> Result<Option<Self>> {
        Self::with(Wishes::default()).await
    }

    /// The same, whose service is reached over IPsec only.
    pub(crate) async fn over_ipsec() -> Result<Option<Self>> {
        Self::over("ipsec").await
    }

    /// The same, whose service is reached as both tables have it.
    pub(crate) async fn over(tunnel: &str) -> Result<Option<Self>> {
        if !charon_is_there()? {
            return Ok(None);
        }
        let wishes = Wishes {
            public_services: format!("id = 1\nport = 80\nhttp = true\ntunnel = \"{tunnel}\""),
            private_services: format!(
                "id = 1\naddress = \"{{terminal}}:80\"\ntunnel = \"{tunnel}\""
            ),
            private: "[ipsec]".into(),
            public: "[ipsec]".into(),
            ..Wishes::default()
        };
        let Some(mut scene) = Self::with(wishes).await? else { return Ok(None) };
        for role in ["private", "public"] {
            scene.field.process(role).says("IPsec is ready").await?;
        }
        Ok(Some(scene))
    }

    async fn with(wishes: Wishes) -> Result<Option<Self>> {
        let account = |name: &str, prefixes: &str| {
            format!(
                "[[operator.accounts]]\nsystem_id = \"{name}\"\npassword = \"field\"\n\
                 prefixes = [{prefixes}]\n"
            )
        };
        let wishes = Wishes {
            public: format!("linger_seconds = 0\n{}", wishes.public),
            terminal: "spares = 0".into(),
            operator: [
                "delay = { kind = \"fixed\", seconds = 0.0 }\n".to_owned(),
                account("gateway", "\"15550100\""),
                account("rogue", ""),
            ]
            .concat(),
            ..wishes
        };
        let Some(field) = Field::set_up(&wishes).await? else { return Ok(None) };
        let mut scene = Self { field, posts: 0, posing: false };
        std::fs::write(scene.field.path("server.py"), SERVER)?;
        scene.field.start("server", "python3", &["-u", "server.py"], "up").await?;
        scene.start("gateway", &Order::Overhear, "attacker listens").await?;
        Ok(Some(scene))
    }

    /// Starts an attacker that stays, and waits until it has said `ready`.
    pub(crate) async fn start(
        &mut self,
        name: &'static str,
        order: &Order,
        ready: &str,
    ) -> Result<()> {
        let words = order.words()?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.field.start(name, "env", &words, ready).await
    }

    /// Begins an access by an honest client.
    pub(crate) fn access(&self) -> Result<Begun> {
        let url = format!("http://{NAME}/");
        self.field.begin("curl", &["-sS", "--max-time", "45", &url])
    }

    /// The signal that the gateway overhears as the so-manyth.
    pub(crate) async fn overheard(&mut self, number: usize) -> Result<Vec<u8>> {
        let gateway = self.field.process("gateway");
        gateway.says_times("attacker overheard", number).await?;
        told(&gateway.words(), "overheard").get(number - 1).cloned().context("not told")
    }

    /// What is in a signal, for whoever has the private proxy's keys.
    pub(crate) fn opened(&self, signal: &[u8]) -> Result<(AccessRequest, SessionKeys)> {
        let key = TerminalKeys::read(&self.field.path("patient.private.keys"))?.opening()?;
        Ok(open(signal, &key)?)
    }

    /// Seals with the terminal's keys, as only its public proxy can.
    pub(crate) fn sealed(&self, request: &AccessRequest) -> Result<(Vec<u8>, SessionKeys)> {
        self.sealed_by(request, &self.sealing_key()?)
    }

    /// Seals with any keys.
    pub(crate) fn sealed_by(
        &self,
        request: &AccessRequest,
        key: &SealingKey,
    ) -> Result<(Vec<u8>, SessionKeys)> {
        let (signal, keys) = seal(request, key, keys::random()?)?;
        Ok((signal.octets().to_vec(), keys))
    }

    /// The keys of the terminal's public proxy.
    pub(crate) fn sealing_key(&self) -> Result<SealingKey> {
        Ok(TerminalKeys::read(&self.field.path("patient.public.keys"))?.sealing()?)
    }

    /// Sends signals on to the private proxy by SMS, and waits until it has judged all of them.
    pub(crate) async fn deliver(&mut self, signals: &[Vec<u8>]) -> Result<()> {
        self.posts += 1;
        let file = format!("post-{}", self.posts);
        let lines: Vec<String> = signals.iter().map(|it| hex(it)).collect();
        std::fs::write(self.field.path(&file), lines.join("\n"))?;
        let heard = self.field.process("private").count("\"message\":\"heard\"");
        let post = Post { file, to: BEHIND.into(), per_second: 500 };
        let said = self.run(&self.field.lab.smsc, &Order::Post(post)).await?;
        ensure!(said.contains("attacker posted"), "{said}");
        let private = self.field.process("private");
        private.says_times("\"message\":\"heard\"", heard + signals.len()).await
    }

    /// Who of those that dial back so is let in, from a process beside the client.
    pub(crate) async fn let_in(&self, dials: Vec<Dial>) -> Result<Vec<bool>> {
        let count = dials.len();
        let said = self.run(&self.field.lab.client, &Order::Dial(dials)).await?;
        let heard = told(&said, "dialed");
        ensure!(heard.len() == count, "no verdict: {said}");
        Ok(heard.iter().map(|it| it.first() == Some(&LET_IN)).collect())
    }

    /// Puts an impostor of the public proxy in the place of the one before.
    pub(crate) async fn pose(&mut self, pose: Pose) -> Result<()> {
        if std::mem::replace(&mut self.posing, true) {
            self.field.process("impostor").kill().await?;
        }
        self.start("impostor", &Order::Pose(pose), "attacker poses").await
    }

    /// The honest client has been served by the terminal's own server, and by nobody else.
    pub(crate) async fn assert_served(&self, access: Begun) -> Result<()> {
        let output: Output = access.output().await?;
        let page = String::from_utf8_lossy(&output.stdout);
        ensure!(page == "5.4 mmol/l", "not served: {output:?}");
        Ok(())
    }

    /// How often the private proxy has said that it would not obey, and why.
    pub(crate) fn rejections(&mut self) -> Vec<String> {
        let events = self.field.process("private").events("not obeyed");
        events.iter().map(|it| it["rejection"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// How many dial-backs the private proxy has begun.
    pub(crate) fn dials(&mut self) -> usize {
        self.field.process("private").count("\"step\":\"G\"")
    }

    async fn run(&self, host: &Host, order: &Order) -> Result<String> {
        let words = order.words()?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = self.field.from(host, "env", &words).await?;
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
