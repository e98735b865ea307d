//! The knock page's visitors: each is shown the page, or logged in and its source armed.

use std::collections::BTreeMap;
use std::sync::Arc;
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
    /// Who it is, for each of the services, that logs in so from there; a refusal if it is nobody
    /// for all of them.
    fn who(
        &self,
        services: &[&ListedService],
        from: Source,
        log_in: &LogIn,
    ) -> impl Future<Output = Result<Vec<Option<Identity>>, Refusal>> + Send;
}

impl Users for Gate {
    async fn who(
        &self,
        services: &[&ListedService],
        from: Source,
        log_in: &LogIn,
    ) -> Result<Vec<Option<Identity>>, Refusal> {
        let users = |of: &ListedService| of.access.users.clone();
        // Services that share their users ask them once.
        let files: BTreeMap<_, _> =
            services.iter().filter_map(|it| users(it)).map(|it| (it.print(), it)).collect();
        let asked: Vec<_> = files.values().map(Arc::as_ref).collect();
        let told = self.log_in(&asked, &log_in.user, &log_in.password, from).await?;
        let known: BTreeMap<_, _> = files.keys().zip(told).collect();
        let who = |of: &&ListedService| known.get(&users(of)?.print()).cloned().flatten();
        Ok(services.iter().map(who).collect())
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
    let (services, mut ports) = (knocks(terminal).collect::<Vec<_>>(), Vec::new());
    let told = match users.who(&services, source, log_in).await {
        Ok(told) => told,
        Err(refusal) => {
            debug!(%kid, %source, code = refusal.code(), "knocked in vain");
            return (Said::Refused(refusal), ports);
        }
    };
    for (service, identity) in services.into_iter().zip(told) {
        let Some(identity) = identity else { continue };
        armed.arm((kid, service.id), source, identity, clock::now());
        ports.extend(port(service));
    }
    if ports.is_empty() {
        return (Said::Refused(Refusal::Unauthorized), ports);
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
    use ringback_proto::access_request::{Kid, SealingKey};
    use ringback_proto::secret::Secret;
    use ringback_proto::switchboard::{PublicKey, Spares, Terminal};
    use ringback_proto::terminal::{CallNumber, Callees, ServiceId, TenantName, TerminalName};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_util::task::TaskTracker;
    use zeroize::Zeroizing;

    use super::*;
    use crate::config::Access;
    use crate::{limits, users};

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

    #[tokio::test]
    async fn one_log_in_is_one_try_for_all_services_that_share_their_users() {
        let lee = Identity::parse("lee").unwrap();
        let line = users::password_line(&lee, "open").unwrap();
        let mut terminal = listed();
        terminal.services[0].access.users = Some(Arc::new(users::Users::parse(&line).unwrap()));
        let mut second = terminal.services[0].clone();
        second.access.users = Some(Arc::new(users::Users::parse(&line).unwrap()));
        terminal.services.push(second);
        let (gate, source) = (Gate::new(TaskTracker::new()).unwrap(), Source::of([127; 4].into()));
        let services: Vec<_> = knocks(&terminal).collect();
        let who = async |password: &str| {
            let password = Zeroizing::new(password.to_owned());
            gate.who(&services, source, &LogIn { user: Zeroizing::new("lee".to_owned()), password })
                .await
        };
        for _ in 1..limits::FAILURES {
            assert_eq!(who("wrong").await, Err(Refusal::Unauthorized));
        }
        assert_eq!(who("open").await, Ok(vec![Some(lee.clone()); 2]));
        assert_eq!(gate.checked(), limits::FAILURES as usize, "each was hashed once");
        let access = &services[0].access;
        assert!(access.knocks(&lee) && !access.knocks(&Identity::parse("ann").unwrap()));
    }

    struct Lee;

    impl Users for Lee {
        async fn who(
            &self,
            _: &[&ListedService],
            _: Source,
            it: &LogIn,
        ) -> Result<Vec<Option<Identity>>, Refusal> {
            let known = (it.user.as_str(), it.password.as_str()) == ("lee", "5.4 mmol/l");
            if !known {
                return Err(Refusal::Unauthorized);
            }
            Ok(vec![Identity::parse("lee").ok()])
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
            spares: Spares::fixed(0),
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
            bare: false,
            access,
            tunnel: Default::default(),
        };
        let psk = Secret::new([2; 32]);
        ListedTerminal {
            keys_file: "".into(),
            since: 0,
            asked: None,
            name: TerminalName::parse("car.example").unwrap(),
            terminal: Arc::new(terminal),
            key: SealingKey { kid: Kid(7), epoch: 0, psk, hpke_public: None },
            callees: Callees::new(CallNumber::parse("+15550100777").ok(), None).unwrap(),
            announce: ([192, 0, 2, 1], 7443).into(),
            routes: Vec::new(),
            services: vec![service],
        }
    }
}
