//! The gate's self-test: before a public proxy serves anybody, its gate must have refused somebody.
//!
//! A credential that is configured and silently ignored leaves a service open, and nobody notices
//! (CVE-2024-43798 was such a case). So each service's own access check is tried with what must
//! never do, by the very functions that clients are weighed and logged in by.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::ensure;
use ringback_proto::gate::{Level, Source};
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use super::{Gate, Showing};
use crate::config::{Access, Directory};
use crate::ingress::Credential;
use crate::keys::{self, hex};

/// Addresses that no client has (RFC 1112, 4; RFC 6666): a network that has both is everybody.
const NOBODY: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(240, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1)),
];

/// Checks that every service's access check refuses what it must; an error if one does not.
pub async fn self_test(directory: &Directory) -> anyhow::Result<()> {
    let services = directory.terminals().flat_map(|it| it.services.iter().map(move |of| (it, of)));
    let mut tested = Tested::new();
    for (terminal, service) in services {
        let access = &service.access;
        let wrong = wrong_credentials(access, &mut tested)?;
        // A gate of its own, so that its failures count for nobody, and no lockout speaks for it.
        let gate = Gate::new(TaskTracker::new())?;
        if let Some(what) = flaw(access, &wrong, checked_by(&gate, access)).await {
            let (name, id) = (&terminal.name, service.id);
            anyhow::bail!("RB-SELF-TEST: service {id} of {name} admits {what}");
        }
    }
    Ok(())
}

/// How a gate checks what a client shows: at level `knock` by the log-in that would arm its source.
fn checked_by(gate: &Gate, access: &Access) -> impl AsyncFn(&Credential, IpAddr) -> bool {
    async move |credential: &Credential, from| {
        if let (Level::Knock, Some(users), Credential::Login { user, password }) =
            (access.level, &access.users, credential)
        {
            let found = gate.log_in(&[&**users], user, password, Source::of(from)).await;
            return found.is_ok_and(|it| it.iter().any(Option::is_some));
        }
        let showing = Showing { credential: credential.clone(), ..Showing::default() };
        gate.weigh(access, &showing, from).await.is_ok()
    }
}

/// What one access check admits and must not.
async fn flaw(
    access: &Access,
    wrong: &[(Credential, &'static str)],
    admits: impl AsyncFn(&Credential, IpAddr) -> bool,
) -> Option<&'static str> {
    if access.level == Level::Open {
        return None;
    }
    let mut everywhere = true;
    for from in NOBODY {
        everywhere &= admits(&Credential::Nothing, from).await;
    }
    if everywhere {
        return Some("whoever shows nothing, from anywhere");
    }
    if !matches!(access.level, Level::Http | Level::Knock) {
        return None;
    }
    for from in NOBODY {
        if admits(&Credential::Nothing, from).await {
            return Some("whoever shows nothing");
        }
    }
    for (credential, what) in wrong {
        if admits(credential, NOBODY[0]).await {
            return Some(what);
        }
    }
    None
}

/// Users files by their print, each for one way to ask for a password of theirs.
type Tested = BTreeSet<([u8; 32], Level)>;

/// Credentials that nobody has. One is hashed for, which takes its time: it is there once for each
/// users file and level.
fn wrong_credentials(
    access: &Access,
    tested: &mut Tested,
) -> anyhow::Result<Vec<(Credential, &'static str)>> {
    let random = hex(&keys::random::<16>()?);
    let digest = format!(
        "Digest username=\"{random}\", realm=\"{random}\", nonce=\"{random}\", uri=\"/\", \
         algorithm=SHA-256, qop=auth, nc=00000001, cnonce=\"{random}\", response=\"{random}{random}\""
    );
    let field = |value: &str| Credential::Field {
        value: Zeroizing::new(value.to_owned()),
        method: "GET".to_owned(),
        target: "/".to_owned(),
    };
    let login = |user: &str, password: &str| Credential::Login {
        user: user.to_owned(),
        password: Zeroizing::new(password.to_owned()),
    };
    let mut cases = vec![
        (Credential::Odd, "a credential that is none"),
        (field(""), "an empty credential"),
        (field("Basic Og=="), "an empty name and password"),
        (field(&digest), "a random digest"),
        (field(&format!("Bearer {random}")), "a random token"),
        (login("", ""), "an empty login"),
    ];
    if let Some(users) = &access.users
        && tested.insert((users.print(), access.level))
    {
        cases.push((login(&random, &random), "a random password"));
    }
    ensure!(cases.len() < crate::limits::FAILURES as usize, "the self-test locks itself out");
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::users::Users;

    fn access(level: Level, allow: &[&str]) -> Access {
        let users = format!("lee:bearer:{}", "0".repeat(64));
        let known = matches!(level, Level::Http | Level::Knock);
        Access {
            level,
            allow: allow.iter().map(|it| it.parse().unwrap()).collect(),
            users: known.then(|| Arc::new(Users::parse(&users).unwrap())),
            ..Access::open()
        }
    }

    async fn real(access: &Access) -> Option<&'static str> {
        let gate = Gate::new(TaskTracker::new()).unwrap();
        let wrong = wrong_credentials(access, &mut Tested::new()).unwrap();
        flaw(access, &wrong, checked_by(&gate, access)).await
    }

    #[tokio::test]
    async fn the_gate_passes_at_every_level() {
        for level in Level::ALL {
            assert_eq!(
                real(&access(level, &["192.0.2.0/24", "2001:db8::/32"])).await,
                None,
                "{level}"
            );
        }
        let everybody = access(Level::Allow, &["0.0.0.0/0", "::/0"]);
        assert_eq!(real(&everybody).await, Some("whoever shows nothing, from anywhere"));
    }

    #[tokio::test]
    async fn a_gate_that_ignores_what_it_should_ask_for_fails() {
        for level in [Level::Allow, Level::Knock, Level::Http, Level::Mtls, Level::EndToEnd] {
            let found = flaw(&access(level, &[]), &[], async |_: &Credential, _| true).await;
            assert_eq!(found, Some("whoever shows nothing, from anywhere"), "{level}");
        }
        for level in [Level::Http, Level::Knock] {
            let access = access(level, &[]);
            let all = wrong_credentials(&access, &mut Tested::new()).unwrap();
            assert_eq!(all.last().unwrap().1, "a random password");
            for (wrong, what) in &all {
                let lax = async |it: &Credential, _| it == wrong;
                assert_eq!(flaw(&access, &all, lax).await, Some(*what), "{level}");
            }
        }
    }

    #[test]
    fn a_users_file_is_hashed_for_once_at_each_level_that_asks_for_it() {
        let (http, knock) = (access(Level::Http, &[]), access(Level::Knock, &[]));
        let mut tested = Tested::new();
        let mut hashed = |access: &Access| {
            let cases = wrong_credentials(access, &mut tested).unwrap();
            cases.iter().any(|(_, what)| *what == "a random password")
        };
        assert!(hashed(&knock) && hashed(&http), "one way to ask stands for another");
        assert!(!hashed(&http) && !hashed(&knock) && !hashed(&access(Level::Mtls, &[])));
    }
}
