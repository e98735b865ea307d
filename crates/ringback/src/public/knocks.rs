//! The knock page's visitors: each is shown the page, or logged in and its source armed.

use std::time::Duration;

use ringback_proto::gate::{Identity, Level, Source};
use ringback_proto::refusal::Refusal;
use tracing::debug;

use super::armed::Armed;
use crate::clock;
use crate::config::{ListedService, ListedTerminal};
use crate::gate::Gate;
use crate::ingress::knock::{self, Doors, LogIn, Said};
use crate::ingress::{self, ClientStream};

/// Whoever knows the users of a service.
pub(super) trait Users {
    /// Who it is that logs in so, from there.
    fn who(
        &self,
        service: &ListedService,
        from: Source,
        log_in: &LogIn,
    ) -> impl Future<Output = Result<Identity, Refusal>> + Send;
}

impl Users for Gate {
    async fn who(
        &self,
        service: &ListedService,
        from: Source,
        log_in: &LogIn,
    ) -> Result<Identity, Refusal> {
        let users = service.access.users.as_ref().ok_or(Refusal::Unauthorized)?;
        self.log_in(users, &log_in.user, log_in.password.clone(), from).await
    }
}

/// Whether the client asks for the terminal's knock page; its head must be whole.
pub(super) fn is_asked(stream: &ClientStream, terminal: &ListedTerminal) -> bool {
    knocks(terminal).next().is_some() && knock::is_asked(&stream.look())
}

/// Serves one visitor to its end.
pub(super) async fn serve(
    armed: &Armed,
    users: &impl Users,
    mut stream: ClientStream,
    source: Source,
    terminal: &ListedTerminal,
) {
    let visit = match knock::hear(&mut stream).await {
        Ok(visit) => visit,
        Err(unnamed) => return ingress::turn_away(stream, unnamed).await,
    };
    let (said, ports) = match visit.log_in() {
        None => (Said::Form, knocks(terminal).filter_map(port).collect()),
        Some(log_in) => open(armed, users, source, terminal, log_in).await,
    };
    knock::reply(stream, &visit, &Doors { name: &terminal.name, source, ports }, said).await;
}

/// Opens those services of the terminal whose users know the visitor.
async fn open(
    armed: &Armed,
    users: &impl Users,
    source: Source,
    terminal: &ListedTerminal,
    log_in: &LogIn,
) -> (Said, Vec<(u16, Duration)>) {
    let kid = terminal.key.kid;
    let (mut ports, mut refused) = (Vec::new(), Refusal::Unauthorized);
    for service in knocks(terminal) {
        match users.who(service, source, log_in).await {
            Ok(identity) => {
                armed.arm((kid, service.id), source, identity, clock::now());
                ports.extend(port(service));
            }
            Err(refusal) => {
                debug!(%kid, %source, code = refusal.code(), "knocked in vain");
                refused = refusal;
            }
        }
    }
    if ports.is_empty() {
        return (Said::Refused(refused), ports);
    }
    (Said::Open(clock::unix_seconds()), ports)
}

fn knocks(terminal: &ListedTerminal) -> impl Iterator<Item = &ListedService> {
    terminal.services.iter().filter(|it| it.access.level == Level::Knock)
}

fn port(service: &ListedService) -> Option<(u16, Duration)> {
    Some((service.raw?.port(), service.access.knock))
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use ringback_proto::access_request::{Kid, SealingKey};
    use ringback_proto::secret::Secret;
    use ringback_proto::switchboard::{PublicKey, Terminal};
    use ringback_proto::terminal::{CallNumber, Callee, ServiceId, TenantName, TerminalName};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::config::Access;

    const OPEN: Duration = Duration::from_secs(600);

    #[tokio::test]
    async fn a_log_in_arms_its_source_and_a_wrong_one_does_not() {
        let (armed, source) = (Armed::default(), Source::of([192, 0, 2, 7].into()));
        let armed_by = || armed.who((Kid(7), ServiceId(1)), source, OPEN, clock::now());
        let kind = "Content-Type: application/x-www-form-urlencoded\r\n";
        let form = |body: &str| {
            format!(
                "POST {} HTTP/1.1\r\nHost: car.example\r\n{kind}\
            Content-Length: {}\r\n\r\n{body}",
                knock::PATH,
                body.len()
            )
        };
        for (request, status, who) in [
            (form("user=lee&password=wrong"), "401", None),
            (form("user=lee"), "400", None),
            (form("user=lee&password=5.4+mmol%2Fl"), "200", Some("lee")),
        ] {
            let told = visited(&armed, source, &request).await;
            assert!(told.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {told}");
            assert_eq!(armed_by().as_ref().map(Identity::as_str), who, "{request}");
        }
    }

    struct Lee;

    impl Users for Lee {
        async fn who(&self, _: &ListedService, _: Source, it: &LogIn) -> Result<Identity, Refusal> {
            let known = (it.user.as_str(), it.password.as_str()) == ("lee", "5.4 mmol/l");
            Identity::parse("lee").ok().filter(|_| known).ok_or(Refusal::Unauthorized)
        }
    }

    async fn visited(armed: &Armed, source: Source, request: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let stream = ClientStream::from(listener.accept().await.unwrap().0);
        client.write_all(request.as_bytes()).await.unwrap();
        let hearing = async {
            let mut told = String::new();
            client.read_to_string(&mut told).await.unwrap();
            client.shutdown().await.unwrap();
            told
        };
        let terminal = listed();
        let ((), told) = tokio::join!(serve(armed, &Lee, stream, source, &terminal), hearing);
        told
    }

    /// A terminal with one service, on a port that opens to whoever knocks.
    pub(in crate::public) fn listed() -> ListedTerminal {
        let terminal = Terminal {
            kid: Kid(7),
            private_proxy: PublicKey([1; 44]),
            routes: Vec::new(),
            answer_patience: Duration::from_secs(60),
            linger: Duration::ZERO,
            spares: 0,
            tenant: TenantName::default(),
            waiting: 1,
        };
        let access = Access { level: Level::Knock, knock: OPEN, ..Access::open() };
        let service = ListedService {
            id: ServiceId(1),
            port: 22,
            raw: Some(([127, 0, 0, 1], 2207).into()),
            http: false,
            tls: false,
            tls_end: None,
            forwarded: false,
            access,
        };
        let psk = Secret::new([2; 32]);
        ListedTerminal {
            keys_file: "".into(),
            since: 0,
            asked: None,
            name: TerminalName::parse("car.example").unwrap(),
            terminal: Arc::new(terminal),
            key: SealingKey { kid: Kid(7), epoch: 0, psk, hpke_public: None },
            callee: Callee::Number(CallNumber::parse("+15550100777").unwrap()),
            announce: ([192, 0, 2, 1], 7443).into(),
            routes: Vec::new(),
            services: vec![service],
        }
    }
}
