//! The ring gate at the public proxy: finds out what a client has shown, and has it weighed.
//!
//! Takes a credential as the ingress has read it, of whatever stream. Whether what was shown is
//! enough is `ringback_proto::gate`'s to say. Nothing is hashed for who has failed too often, and
//! nobody is rung before all of this is over.

mod authorization;
mod failures;
mod nonces;
mod passwords;
mod self_test;

use std::net::IpAddr;

use aws_lc_rs::hmac;
use ringback_proto::gate::{Admitted, Identity, Level, Shown, Source, admit};
use ringback_proto::refusal::Refusal;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use crate::clock;
use crate::config::Access;
use crate::ingress::Credential;
use crate::keys::{self, KeyFault};
use crate::users::Users;
use authorization::{Authorization, Digest};
use failures::Failures;
use nonces::Nonces;
use passwords::Passwords;

pub use self_test::self_test;

/// What is remembered of credentials, good and bad; it ends with the process.
#[derive(Debug)]
pub struct Gate {
    failures: Failures,
    nonces: Nonces,
    passwords: Passwords,
}

/// What a client shows, each found where its stream was read.
#[derive(Debug, Default)]
pub struct Showing {
    /// What its request says.
    pub credential: Credential,
    /// Who has armed its source for the service.
    pub armed: Option<Identity>,
    /// Whose certificate it has proved.
    pub certificate: Option<Identity>,
}

/// Why a client may not ring, and what it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Why.
    pub refusal: Refusal,
    /// Challenges (RFC 9110, 11.6.1), for a client whose protocol has words for them.
    pub challenges: Vec<String>,
}

impl Gate {
    /// A gate with keys of its own; its costly checks are tasks of the tracker.
    pub fn new(tasks: TaskTracker) -> Result<Self, KeyFault> {
        let key = || -> Result<_, KeyFault> {
            let octets = Zeroizing::new(keys::random::<32>()?);
            Ok(hmac::Key::new(hmac::HMAC_SHA256, &*octets))
        };
        Ok(Self {
            failures: Failures::new(),
            nonces: Nonces::new(key()?, clock::now()),
            passwords: Passwords::new(key()?, tasks),
        })
    }

    /// Weighs what a client has shown: without its word nobody is rung.
    pub async fn weigh(
        &self,
        access: &Access,
        showing: &Showing,
        from: IpAddr,
    ) -> Result<Admitted, Denied> {
        let source = Source::of(from);
        let shown = match access.level {
            Level::Allow if access.allow.iter().any(|it| it.contains(from)) => Shown::Network,
            Level::Http => match &access.users {
                Some(users) => {
                    Shown::Credential(self.credential(users, &showing.credential, source).await?)
                }
                None => Shown::Nothing,
            },
            Level::Knock => showing.armed.clone().map_or(Shown::Nothing, Shown::Armed),
            Level::Mtls => showing.certificate.clone().map_or(Shown::Nothing, Shown::Certificate),
            Level::Open | Level::Allow | Level::EndToEnd => Shown::Nothing,
        };
        let refusal = match access.level {
            Level::Open | Level::Allow => Refusal::NotAllowed,
            Level::Knock => Refusal::NotArmed,
            Level::Http | Level::Mtls => Refusal::Unauthorized,
            Level::EndToEnd => Refusal::EndToEndOnly,
        };
        admit(access.level, shown, source).ok_or(Denied::from(refusal))
    }

    /// Whose name and password they are, for whoever logs in by a page.
    pub async fn log_in(
        &self,
        users: &Users,
        user: &str,
        password: Zeroizing<String>,
        source: Source,
    ) -> Result<Identity, Refusal> {
        let login = Credential::Login { user: user.to_owned(), password };
        self.credential(users, &login, source).await.map_err(|it| it.refusal)
    }

    /// Whose credential it is. Who has shown none has failed nothing, and is asked for one.
    async fn credential(
        &self,
        users: &Users,
        credential: &Credential,
        source: Source,
    ) -> Result<Identity, Denied> {
        let unauthorized = |stale| self.challenge(users, source, stale);
        let authorization = match credential {
            Credential::Nothing => return Err(unauthorized(false)),
            Credential::Odd => None,
            Credential::Login { user, password } => {
                Some(Authorization::Basic { user: user.clone(), password: password.clone() })
            }
            Credential::Field { value, .. } => Authorization::parse(value),
        };
        let known = match (authorization, credential) {
            (Some(Authorization::Basic { user, password }), _) => {
                self.password(users, &user, password, source).await?
            }
            (Some(Authorization::Digest(digest)), Credential::Field { method, target, .. })
                if users.have_digests() =>
            {
                self.digest(users, &digest, (method, target), source)?
            }
            // A token cannot be guessed: a good one is good even where others have failed.
            (Some(Authorization::Bearer(token)), _) if users.have_tokens() => users.bearer(&token),
            (Some(_) | None, _) => None,
        };
        let Some(user) = known else {
            self.not_locked_out(source)?;
            self.failures.count(source, clock::now());
            return Err(unauthorized(false));
        };
        Ok(user)
    }

    /// Whose password it is: remembered, or checked if the source may still try.
    async fn password(
        &self,
        users: &Users,
        user: &str,
        password: Zeroizing<String>,
        source: Source,
    ) -> Result<Option<Identity>, Denied> {
        // That nobody has an empty name is known without a hash.
        let found = users.password(user).filter(|_| !user.is_empty());
        let Some((known, hash)) = found else { return Ok(None) };
        let print = self.passwords.print(source, [user, &password, &hash.to_string()]);
        if self.passwords.knows(&print) {
            return Ok(known);
        }
        self.not_locked_out(source)?;
        let turn = self.passwords.turn().await?;
        // While it waited others of its source have succeeded, or failed too often.
        if self.passwords.knows(&print) {
            return Ok(known);
        }
        self.not_locked_out(source)?;
        let (fits, _turn) = self.passwords.check(turn, password, hash.clone()).await?;
        let Some(known) = known.filter(|_| fits) else {
            self.failures.count(source, clock::now());
            return Err(self.challenge(users, source, false));
        };
        self.passwords.remember(print);
        Ok(Some(known))
    }

    /// Whose answer to a challenge it is. It must be made for this very request, and once.
    fn digest(
        &self,
        users: &Users,
        digest: &Digest,
        (method, target): (&str, &str),
        source: Source,
    ) -> Result<Option<Identity>, Denied> {
        let (known, secret) = users.digest(&digest.user);
        let hash = keys::hex(secret.expose());
        let print = self.passwords.print(source, ["digest", &digest.user, &Zeroizing::new(hash)]);
        if !self.passwords.knows(&print) {
            self.not_locked_out(source)?;
        }
        let fits = digest.is_made_with(secret, method)
            && digest.target == target
            && digest.realm == users.realm().to_string();
        let Some(known) = known.filter(|_| fits) else { return Ok(None) };
        if !self.nonces.spend(&digest.nonce, digest.count, source, clock::now()) {
            // Who could make it knows the password: that is no failure, only too late or too often.
            return Err(self.challenge(users, source, true));
        }
        self.passwords.remember(print);
        Ok(Some(known))
    }

    fn not_locked_out(&self, source: Source) -> Result<(), Denied> {
        let wait = self.failures.wait(source, clock::now());
        wait.map_or(Ok(()), |wait| Err(Refusal::LockedOut(wait).into()))
    }

    /// Asks for a credential, in every way that anybody of the file has one.
    fn challenge(&self, users: &Users, source: Source, stale: bool) -> Denied {
        let realm = users.realm();
        let mut challenges = Vec::new();
        if users.have_digests()
            && let Some(nonce) = self.nonces.fresh(source, clock::now())
        {
            let stale = if stale { ", stale=true" } else { "" };
            challenges.push(format!(
                "Digest realm=\"{realm}\", qop=\"auth\", algorithm=SHA-256, nonce=\"{nonce}\"{stale}"
            ));
        }
        if users.have_passwords() {
            challenges.push(format!("Basic realm=\"{realm}\", charset=\"UTF-8\""));
        }
        if users.have_tokens() {
            challenges.push(format!("Bearer realm=\"{realm}\""));
        }
        Denied { refusal: Refusal::Unauthorized, challenges }
    }
}

impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, challenges: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use tokio::task::JoinSet;
    use tokio::time::advance;

    use super::*;
    use crate::{limits, users};

    const HERE: &str = "192.0.2.7";
    const THERE: &str = "2001:db8::7";

    struct Site {
        gate: Gate,
        access: Access,
        token: Zeroizing<String>,
    }

    impl Site {
        fn new() -> Arc<Self> {
            let lee = Identity::parse("lee").unwrap();
            let (line, token) = users::token_line(&lee).unwrap();
            let lines = [
                users::password_line(&lee, "open").unwrap(),
                users::digest_line(&lee, &"clinic".parse().unwrap(), "open"),
                line,
            ];
            let users = Users::parse(&lines.map(|it| it.to_string()).join("\n")).unwrap();
            let users = Some(Arc::new(users));
            let access = Access { level: Level::Http, users, ..Access::open() };
            Arc::new(Self { gate: Gate::new(TaskTracker::new()).unwrap(), access, token })
        }

        async fn asked(&self, credential: &Credential, from: &str) -> Result<Admitted, Denied> {
            let showing = Showing { credential: credential.clone(), ..Showing::default() };
            self.gate.weigh(&self.access, &showing, from.parse().unwrap()).await
        }

        async fn basic(&self, user: &str, password: &str, from: &str) -> Result<(), Refusal> {
            let token = STANDARD.encode(format!("{user}:{password}"));
            let asked = self.asked(&field(&format!("Basic {token}")), from).await;
            asked
                .map(|it| assert_eq!(it.identity().unwrap().as_str(), user))
                .map_err(|it| it.refusal)
        }
    }

    fn field(value: &str) -> Credential {
        let value = Zeroizing::new(value.to_owned());
        Credential::Field { value, method: "GET".to_owned(), target: "/a".to_owned() }
    }

    fn answer(nonce: &str, count: u32, target: &str, password: &str) -> Credential {
        let hash = |text: String| keys::hex(&keys::sha256(text.as_bytes()));
        let (secret, request) =
            (hash(format!("lee:clinic:{password}")), hash(format!("GET:{target}")));
        let response = hash(format!("{secret}:{nonce}:{count:08x}:c:auth:{request}"));
        field(&format!(
            "Digest username=\"lee\", realm=\"clinic\", nonce=\"{nonce}\", uri=\"{target}\", \
             algorithm=SHA-256, qop=auth, nc={count:08x}, cnonce=\"c\", response=\"{response}\""
        ))
    }

    #[tokio::test]
    async fn who_shows_nothing_is_challenged_in_every_way_and_has_failed_nothing() {
        let site = Site::new();
        for _ in 0..5 * limits::FAILURES {
            let denied = site.asked(&Credential::Nothing, HERE).await.unwrap_err();
            assert_eq!(denied.refusal, Refusal::Unauthorized);
            let [digest, basic, bearer] = &denied.challenges[..] else { panic!("{denied:?}") };
            let beginning = "Digest realm=\"clinic\", qop=\"auth\", algorithm=SHA-256, nonce=\"";
            assert!(digest.starts_with(beginning) && !digest.contains("stale"), "{digest}");
            assert_eq!(basic, "Basic realm=\"clinic\", charset=\"UTF-8\"");
            assert_eq!(bearer, "Bearer realm=\"clinic\"");
        }
        assert_eq!(site.basic("lee", "open", HERE).await, Ok(()));
        assert_eq!(site.basic("eve", "open", HERE).await, Err(Refusal::Unauthorized));
        let login = |password: &str| Credential::Login {
            user: "lee".to_owned(),
            password: Zeroizing::new(password.to_owned()),
        };
        assert!(site.asked(&login("open"), HERE).await.is_ok());
        assert!(site.asked(&login("Open"), HERE).await.is_err());
        assert!(site.asked(&Credential::Odd, HERE).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn after_too_many_failures_a_source_waits_and_nothing_is_hashed_for_it() {
        let site = Site::new();
        for _ in 0..limits::FAILURES {
            assert_eq!(site.basic("lee", "wrong", HERE).await, Err(Refusal::Unauthorized));
        }
        let wait = limits::FAILURES_WINDOW;
        let refused = site.basic("lee", "open", HERE).await.unwrap_err();
        assert!(refused.retry_after().is_some_and(|it| it <= wait + clock_step()), "{refused:?}");
        assert_eq!(site.basic("lee", "open", THERE).await, Ok(()));
        let nothing = site.asked(&Credential::Nothing, HERE).await.unwrap_err();
        assert_eq!(nothing.refusal, Refusal::Unauthorized, "it can still ask for a challenge");
        let bearer = field(&format!("Bearer {}", *site.token));
        assert!(site.asked(&bearer, HERE).await.is_ok(), "a token cannot be guessed");

        advance(wait).await;
        assert_eq!(site.basic("lee", "open", HERE).await, Ok(()));
        site.gate.passwords.close();
        for _ in 0..limits::FAILURES {
            assert!(site.asked(&field("Bearer wrong"), THERE).await.is_err());
        }
        let refused = site.basic("lee", "other", THERE).await;
        assert!(matches!(refused, Err(Refusal::LockedOut(_))), "{refused:?}");
        assert_eq!(site.basic("lee", "open", HERE).await, Ok(()), "remembered, and not hashed");
        assert_eq!(site.basic("lee", "other", HERE).await, Err(Refusal::Stopping));
    }

    fn clock_step() -> Duration {
        Duration::from_secs(1)
    }

    #[tokio::test]
    async fn a_source_that_was_good_a_moment_ago_is_not_locked_out_by_others_of_it() {
        let site = Site::new();
        assert_eq!(site.basic("lee", "open", HERE).await, Ok(()));
        for _ in 0..=limits::FAILURES {
            let _ = site.basic("lee", "wrong", HERE).await;
        }
        assert!(matches!(site.basic("lee", "wrong", HERE).await, Err(Refusal::LockedOut(_))));
        assert_eq!(site.basic("lee", "open", HERE).await, Ok(()));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn many_guesses_at_once_cost_no_more_checks_than_one_after_another() {
        let site = Site::new();
        let mut guesses = JoinSet::new();
        for guess in 0..limits::PASSWORDS_QUEUED {
            let site = site.clone();
            guesses.spawn(async move { site.basic("lee", &guess.to_string(), HERE).await });
        }
        let refused = guesses.join_all().await;
        let checked = refused.iter().filter(|it| **it == Err(Refusal::Unauthorized)).count();
        // Whoever is being checked when the last one fails has been let through already.
        let most = limits::FAILURES as usize + limits::PASSWORDS_AT_ONCE - 1;
        assert!((limits::FAILURES as usize..=most).contains(&checked), "{refused:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_page_of_many_requests_is_let_in_and_checked_no_oftener_than_runs_at_once() {
        let site = Site::new();
        let mut page = JoinSet::new();
        for _ in 0..50 {
            let site = site.clone();
            page.spawn(async move { site.basic("lee", "open", HERE).await });
        }
        assert_eq!(page.join_all().await, vec![Ok(()); 50]);
        assert!(site.gate.passwords.checked() <= limits::PASSWORDS_AT_ONCE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_digest_is_good_once_for_its_request_and_stale_after() {
        let site = Site::new();
        let nonce = || async {
            let denied = site.asked(&Credential::Nothing, HERE).await.unwrap_err();
            denied.challenges[0]
                .split("nonce=\"")
                .nth(1)
                .unwrap()
                .split('"')
                .next()
                .unwrap()
                .to_owned()
        };
        let stale = |denied: Denied| denied.challenges[0].ends_with(", stale=true");
        let first = nonce().await;
        assert!(site.asked(&answer(&first, 1, "/a", "open"), HERE).await.is_ok());
        assert!(stale(site.asked(&answer(&first, 1, "/a", "open"), HERE).await.unwrap_err()));
        assert!(site.asked(&answer(&first, 2, "/a", "open"), HERE).await.is_ok());
        assert!(stale(site.asked(&answer(&first, 3, "/a", "open"), THERE).await.unwrap_err()));
        for wrong in [answer(&first, 3, "/b", "open"), answer(&first, 3, "/a", "wrong")] {
            let denied = site.asked(&wrong, HERE).await.unwrap_err();
            assert!(!stale(denied), "a wrong answer is not only late");
        }
        let late = nonce().await;
        advance(limits::NONCE_LIFE).await;
        assert!(stale(site.asked(&answer(&late, 1, "/a", "open"), HERE).await.unwrap_err()));
        assert!(site.asked(&answer(&nonce().await, 1, "/a", "open"), HERE).await.is_ok());
    }

    #[tokio::test]
    async fn who_is_armed_or_has_a_certificate_is_let_in_by_name_where_that_is_asked_for() {
        let site = Site::new();
        let lee = || Identity::parse("lee").ok();
        let armed = Showing { armed: lee(), ..Showing::default() };
        let certified = Showing { certificate: lee(), ..Showing::default() };
        for (level, wanted, other) in
            [(Level::Knock, &armed, &certified), (Level::Mtls, &certified, &armed)]
        {
            let access = Access { level, ..site.access.clone() };
            let from = HERE.parse().unwrap();
            let admitted = site.gate.weigh(&access, wanted, from).await.unwrap();
            assert_eq!((admitted.level(), admitted.identity()), (level, lee().as_ref()));
            assert!(site.gate.weigh(&access, other, from).await.is_err(), "{level}");
            assert!(site.gate.weigh(&access, &Showing::default(), from).await.is_err());
        }
    }

    #[tokio::test]
    async fn a_network_is_asked_for_and_a_mapped_address_is_of_its_v4_network() {
        let gate = Gate::new(TaskTracker::new()).unwrap();
        let allow = ["192.0.2.0/24", "2001:db8::/32"].map(|it| it.parse().unwrap()).to_vec();
        let access = Access { level: Level::Allow, allow, ..Access::open() };
        for (from, admitted) in [
            ("192.0.2.7", true),
            ("::ffff:192.0.2.7", true),
            ("2001:db8:1::7", true),
            ("192.0.3.7", false),
            ("::ffff:192.0.3.7", false),
            ("2001:db9::7", false),
            ("::192.0.2.7", false),
        ] {
            let asked = gate.weigh(&access, &Showing::default(), from.parse().unwrap()).await;
            let wanted = if admitted { Ok(Level::Allow) } else { Err(Refusal::NotAllowed) };
            assert_eq!(asked.map(|it| it.level()).map_err(|it| it.refusal), wanted, "{from}");
        }
    }
}
