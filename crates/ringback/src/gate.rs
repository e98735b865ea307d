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
mod turns;

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
use passwords::{Passwords, Print};
use turns::{NoTurn, Turn};

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

/// A credential that was not good, or not tried.
struct Miss {
    denied: Denied,
    /// Whether it is one of the source's failures.
    counts: bool,
    /// The turn in which it was checked.
    turn: Option<Turn>,
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

    /// Whose name and password they are in each of these users files, each of them another; for
    /// whoever logs in by a page. It is one try, however many files there are.
    pub async fn log_in(
        &self,
        files: &[&Users],
        user: &str,
        password: &Zeroizing<String>,
        source: Source,
    ) -> Result<Vec<Option<Identity>>, Refusal> {
        let (mut found, mut missed) = (Vec::new(), None::<Miss>);
        for users in files {
            // Whoever keeps a turn while it waits for another one waits for itself.
            missed = missed.map(|it| Miss { turn: None, ..it });
            let counts = missed.as_ref().is_some_and(|it| it.counts);
            let login = (user, password.clone());
            match self.password(users, login, source).await {
                Ok(identity) => found.push(Some(identity)),
                Err(miss) => {
                    found.push(None);
                    missed = Some(Miss { counts: counts || miss.counts, ..miss });
                }
            }
        }
        match missed {
            Some(miss) if found.iter().all(Option::is_none) => Err(self.note(miss, source).refusal),
            Some(_) | None => Ok(found),
        }
    }

    /// Whose credential it is. Who has shown none has failed nothing, and is asked for one.
    async fn credential(
        &self,
        users: &Users,
        credential: &Credential,
        source: Source,
    ) -> Result<Identity, Denied> {
        let authorization = match credential {
            Credential::Nothing => return Err(self.challenge(users, source, false)),
            Credential::Odd => None,
            Credential::Login { user, password } => {
                Some(Authorization::Basic { user: user.clone(), password: password.clone() })
            }
            Credential::Field { value, .. } => Authorization::parse(value),
        };
        let known = match (authorization, credential) {
            (Some(Authorization::Basic { user, password }), _) => {
                self.password(users, (&user, password), source).await
            }
            (Some(Authorization::Digest(digest)), Credential::Field { method, target, .. })
                if users.have_digests() =>
            {
                self.digest(users, &digest, (method, target), source)
            }
            // A token cannot be guessed: a good one is good even where others have failed.
            (Some(Authorization::Bearer(token)), _) if users.have_tokens() => {
                users.bearer(&token).ok_or_else(|| self.wrong(users, source, None))
            }
            (Some(_) | None, _) => Err(self.wrong(users, source, None)),
        };
        known.map_err(|miss| self.note(miss, source))
    }

    /// Whose password it is: remembered, or checked if the source may still try.
    async fn password(
        &self,
        users: &Users,
        (user, password): (&str, Zeroizing<String>),
        source: Source,
    ) -> Result<Identity, Miss> {
        // That nobody has an empty name is known without a hash.
        let found = users.password(user).filter(|_| !user.is_empty());
        let Some((known, hash)) = found else { return Err(self.wrong(users, source, None)) };
        let print = self.passwords.print(source, [user, &password, &hash.to_string()]);
        if !self.knows(&print, source) {
            self.not_locked_out(source)?;
            // While it waited others of its source may have failed too often.
            let may_try = || self.not_locked_out(source).is_ok();
            let check = self.passwords.check((print, source), (password, hash), may_try).await?;
            let Some((fits, turn)) = check else { return Err(self.wrong(users, source, None)) };
            if !fits {
                return Err(self.wrong(users, source, turn));
            }
        }
        known.ok_or_else(|| self.wrong(users, source, None))
    }

    /// Whose answer to a challenge it is. It must be made for this very request, and once; that the
    /// last one was good only lets the next be checked where others have failed.
    fn digest(
        &self,
        users: &Users,
        digest: &Digest,
        (method, target): (&str, &str),
        source: Source,
    ) -> Result<Identity, Miss> {
        let (known, secret) = users.digest(&digest.user);
        let hash = keys::hex(secret.expose());
        let print = self.passwords.print(source, ["digest", &digest.user, &Zeroizing::new(hash)]);
        if !self.knows(&print, source) {
            self.not_locked_out(source)?;
        }
        let fits = digest.is_made_with(secret, method)
            && digest.target == target
            && digest.realm == users.realm().to_string();
        let Some(known) = known.filter(|_| fits) else {
            return Err(self.wrong(users, source, None));
        };
        if !self.nonces.spend(&digest.nonce, digest.count, source, clock::now()) {
            // Who could make it knows the password: that is no failure, only too late or too often.
            return Err(self.challenge(users, source, true).into());
        }
        self.passwords.remember(print);
        Ok(known)
    }

    /// Whether it was good a short while ago, and the source may still rely on that.
    fn knows(&self, print: &Print, source: Source) -> bool {
        self.passwords.knows(print) && !self.failures.is_notorious(source, clock::now())
    }

    /// A wrong credential: whether it is told so depends on how many there were before.
    fn wrong(&self, users: &Users, source: Source, turn: Option<Turn>) -> Miss {
        let wrong = || Miss { counts: true, ..self.challenge(users, source, false).into() };
        Miss { turn, ..self.not_locked_out(source).err().unwrap_or_else(wrong) }
    }

    /// Notes a miss before its turn is over.
    fn note(&self, miss: Miss, source: Source) -> Denied {
        let Miss { denied, counts, turn } = miss;
        if counts {
            self.failures.count(source, clock::now());
        }
        drop(turn);
        denied
    }

    /// How many passwords were hashed.
    #[cfg(test)]
    pub(crate) fn checked(&self) -> usize {
        self.passwords.checked()
    }

    fn not_locked_out(&self, source: Source) -> Result<(), Miss> {
        let wait = self.failures.wait(source, clock::now());
        let miss = |wait| Miss { counts: true, ..Denied::from(Refusal::LockedOut(wait)).into() };
        wait.map_or(Ok(()), |wait| Err(miss(wait)))
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

impl From<Denied> for Miss {
    fn from(denied: Denied) -> Self {
        Self { denied, counts: false, turn: None }
    }
}

impl From<NoTurn> for Miss {
    fn from(none: NoTurn) -> Self {
        let refusal = match none {
            NoTurn::Enough | NoTurn::Crowd | NoTurn::Full => Refusal::Busy,
            NoTurn::Closed => Refusal::Stopping,
        };
        Self { counts: none == NoTurn::Crowd, ..Denied::from(refusal).into() }
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
        assert!(refused.contains(&Err(Refusal::Busy)), "one source fills the queue: {refused:?}");
        while !matches!(site.basic("lee", "wrong", HERE).await, Err(Refusal::LockedOut(_))) {}
        // Whoever is being checked when the last one fails has been let through already.
        let most = limits::FAILURES as usize + limits::PASSWORDS_AT_ONCE - 1;
        assert!(site.gate.passwords.checked() <= most, "{refused:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_good_cannot_be_guessed_from_its_own_source() {
        let site = Site::new();
        let fresh = || site.gate.nonces.fresh(HERE.parse().map(Source::of).unwrap(), clock::now());
        let digest = |password: &str| answer(&fresh().unwrap(), 1, "/a", password);
        assert_eq!(site.basic("lee", "open", HERE).await, Ok(()));
        assert!(site.asked(&digest("open"), HERE).await.is_ok());
        for miss in 1..limits::FAILURES_OF_KNOWN {
            let wrong = if miss % 2 == 0 { digest("wrong") } else { field("Basic bGVlOng=") };
            assert!(site.asked(&wrong, HERE).await.is_err());
            assert_eq!(site.basic("lee", "open", HERE).await, Ok(()));
            assert!(site.asked(&digest("open"), HERE).await.is_ok());
        }
        assert!(site.asked(&digest("wrong"), HERE).await.is_err());
        let refused = site.basic("lee", "open", HERE).await;
        assert!(matches!(refused, Err(Refusal::LockedOut(_))), "{refused:?}");
        let refused = site.asked(&digest("open"), HERE).await.unwrap_err().refusal;
        assert!(matches!(refused, Refusal::LockedOut(_)), "{refused:?}");
        assert_eq!(site.basic("lee", "open", THERE).await, Ok(()));
    }

    #[tokio::test]
    async fn a_log_in_is_one_try_however_many_files_it_is_for() {
        let site = Site::new();
        let other = users::password_line(&Identity::parse("ann").unwrap(), "shut").unwrap();
        let files = [&*site.access.users.clone().unwrap(), &Users::parse(&other).unwrap()];
        let source = Source::of(HERE.parse().unwrap());
        let log_in = async |password: &str| {
            let password = Zeroizing::new(password.to_owned());
            site.gate.log_in(&files, "lee", &password, source).await
        };
        for _ in 1..limits::FAILURES {
            assert_eq!(log_in("wrong").await, Err(Refusal::Unauthorized));
            assert_eq!(log_in("open").await, Ok(vec![Identity::parse("lee").ok(), None]));
        }
        assert_eq!(log_in("wrong").await, Err(Refusal::Unauthorized));
        assert!(matches!(log_in("wrong").await, Err(Refusal::LockedOut(_))));
    }

    #[test]
    fn only_a_crowd_is_to_blame_that_there_is_no_turn() {
        for (none, counts) in [
            (NoTurn::Enough, false),
            (NoTurn::Crowd, true),
            (NoTurn::Full, false),
            (NoTurn::Closed, false),
        ] {
            assert_eq!(Miss::from(none).counts, counts, "{none:?}");
        }
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
