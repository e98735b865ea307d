//! How a bearer fares, by its own findings: the newest of each kind, for whoever looks.

use tokio::sync::watch;

/// What a bearer has found of itself so far.
#[derive(Clone, Debug)]
pub struct Health {
    findings: watch::Receiver<Vec<Finding>>,
}

/// One thing that a bearer has looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What, in a word or two of the bearer's trade.
    pub what: &'static str,
    /// Whether that is as it should be.
    pub verdict: Verdict,
    /// What was found, without any secret; if it is bad, what to do.
    pub text: String,
}

/// Whether something is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is not known yet.
    Pending,
    /// It is.
    Good,
    /// It works, and is worth a second look.
    Doubtful,
    /// It is not: the bearer cannot work so.
    Bad,
}

/// The bearer's side of [`Health`].
#[derive(Debug)]
pub(crate) struct Reporter {
    findings: watch::Sender<Vec<Finding>>,
}

impl Health {
    /// The findings, in the order in which the bearer looks.
    pub fn findings(&self) -> Vec<Finding> {
        self.findings.borrow().clone()
    }

    /// Waits until every finding has a verdict; for ever, if one never has. Cancel safe.
    pub async fn settled(&mut self) {
        let settled = |all: &Vec<Finding>| all.iter().all(|it| it.verdict != Verdict::Pending);
        // A bearer that has ended has said what it had to say.
        let _ = self.findings.wait_for(settled).await;
    }
}

impl Reporter {
    /// With what the bearer will look at, all pending.
    pub(crate) fn new(looks_at: &[&'static str]) -> (Self, Health) {
        let pending = |what: &&'static str| Finding {
            what,
            verdict: Verdict::Pending,
            text: "not known yet".to_owned(),
        };
        let (findings, found) = watch::channel(looks_at.iter().map(pending).collect());
        (Self { findings }, Health { findings: found })
    }

    /// Replaces the finding of that kind, or adds it.
    pub(crate) fn found(&self, what: &'static str, verdict: Verdict, text: impl Into<String>) {
        let finding = Finding { what, verdict, text: text.into() };
        self.findings.send_if_modified(|all| {
            match all.iter_mut().find(|it| it.what == what) {
                Some(known) if *known == finding => return false,
                Some(known) => *known = finding,
                None => all.push(finding),
            }
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn health_is_settled_once_nothing_is_pending() {
        let (reporter, mut health) = Reporter::new(&["bind", "clock"]);
        reporter.found("bind", Verdict::Good, "bound");
        tokio::select! {
            biased;
            () = health.settled() => panic!("the clock is pending"),
            () = std::future::ready(()) => {}
        }
        reporter.found("clock", Verdict::Bad, "wrong: set it");
        health.settled().await;
        assert_eq!(health.findings().len(), 2);
    }

    #[tokio::test]
    async fn a_bearer_that_ended_is_settled() {
        let (reporter, mut health) = Reporter::new(&["bind"]);
        drop(reporter);
        health.settled().await;
    }
}
