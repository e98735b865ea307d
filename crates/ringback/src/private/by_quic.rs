//! A dial-back over QUIC: on a connection that may be older than the dial, and that may have died.
//!
//! Whom to dial, and whether by QUIC, was decided before.

use std::net::SocketAddr;
use std::pin::pin;

use ringback_proto::dialer::{DialOutcome, Verified};
use ringback_proto::hello::Outcome;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::House;
use super::dial::{converse, reach_by_tls};
use crate::config::PublicProxy;
use crate::limits::{QUIC_ANSWER_PATIENCE, QUIC_PATIENCE};
use crate::tunnel::Talk;
use crate::tunnel::quic::Found;

/// A tunnel by QUIC; `None` if there is no way for it.
pub(super) async fn reach(
    house: &House,
    proxy: &PublicProxy,
    address: SocketAddr,
    instead_of: Option<Found>,
) -> Result<Option<Talk>, DialOutcome> {
    let dialing = house.quic.dial(address, &proxy.public_key, instead_of);
    match timeout(QUIC_PATIENCE, dialing).await {
        Ok(Ok(Some(tunnel))) => return Ok(Some(Talk::new(tunnel))),
        Ok(Ok(None)) => {
            warn!(public_proxy = proxy.name, "RB-QUIC: as many tunnels as there may be are open");
            // There is a way, and only this ring has to wait: whoever else waits is told nothing.
            return Err(DialOutcome::Unreachable);
        }
        Ok(Err(fault)) if fault.is_permanent() => {
            warn!(public_proxy = proxy.name, %fault, "RB-PEER: not the public proxy configured");
            return Err(DialOutcome::Refused);
        }
        Ok(Err(fault)) => {
            let fault = format!("{:#}", anyhow::Error::from(fault));
            warn!(public_proxy = proxy.name, fault, "RB-QUIC: no QUIC tunnel");
        }
        Err(_) => warn!(public_proxy = proxy.name, "RB-QUIC: no QUIC tunnel: nothing came back"),
    }
    Ok(None)
}

/// Asks on a younger connection than the one that was found.
pub(super) async fn again(
    house: &House,
    verified: &Verified,
    address: SocketAddr,
    found: Found,
    (failed, bare): (Option<Outcome>, bool),
) -> Result<Talk, DialOutcome> {
    debug!(%address, "a connection that was there before does not answer");
    let proxy = house.tables().public_proxy(verified.allowed()).ok_or(DialOutcome::Refused)?;
    if let Some(talk) = reach(house, &proxy, address, Some(found)).await? {
        return converse(verified, talk, failed, bare).await;
    }
    let talk = reach_by_tls(house, &proxy, address).await?;
    converse(verified, talk, Some(Outcome::NoTunnel), bare).await
}

/// Asks again where the answer is late, and listens for it all the same: the public proxy may have
/// accepted already, and accepts once. Whoever is accepted first wins; the other tunnel is ended in
/// order, which is what becomes of one that is dropped before its session.
pub(super) async fn either<T>(
    asked: impl Future<Output = Result<T, DialOutcome>>,
    again: impl Future<Output = Result<T, DialOutcome>>,
) -> Result<T, DialOutcome> {
    let (mut asked, mut again) = (pin!(asked), pin!(again));
    match timeout(QUIC_ANSWER_PATIENCE, &mut asked).await {
        Ok(Err(DialOutcome::Unreachable)) => return again.await,
        Ok(answered) => return answered,
        Err(_) => {}
    }
    tokio::select! {
        first = &mut asked => match first {
            Ok(accepted) => Ok(accepted),
            Err(outcome) => again.await.map_err(|it| of_both(outcome, it)),
        },
        second = &mut again => match second {
            Ok(accepted) => Ok(accepted),
            Err(outcome) => asked.await.map_err(|it| of_both(it, outcome)),
        },
    }
}

/// What has become of a dial of which neither tunnel was accepted.
fn of_both(one: DialOutcome, other: DialOutcome) -> DialOutcome {
    let outcomes = [one, other];
    let is_any = |outcome| outcomes.contains(&outcome);
    if is_any(DialOutcome::Gone) {
        return DialOutcome::Gone;
    }
    if is_any(DialOutcome::Unreachable) { DialOutcome::Unreachable } else { DialOutcome::Refused }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::sleep;

    use super::*;

    type Answered = Result<&'static str, DialOutcome>;

    async fn after(seconds: u64, answered: Answered) -> Answered {
        sleep(Duration::from_secs(seconds)).await;
        answered
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_asked_twice_who_answers_in_time() {
        for answered in [Ok("first"), Err(DialOutcome::Gone), Err(DialOutcome::Refused)] {
            let again = async { panic!("asked again") };
            assert_eq!(either(after(2, answered), again).await, answered);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_accepted_first_wins_and_the_other_ones_no_is_none() {
        let gone = Err(DialOutcome::Gone);
        assert_eq!(either(after(5, Ok("first")), after(100, gone)).await, Ok("first"));
        assert_eq!(either(after(5, Ok("first")), after(1, gone)).await, Ok("first"));
        assert_eq!(either(after(5, gone), after(4, Ok("second"))).await, Ok("second"));
        assert_eq!(either(after(100, gone), after(1, Ok("second"))).await, Ok("second"));
        let cut = Err(DialOutcome::Unreachable);
        assert_eq!(either(after(0, cut), after(1, Ok("second"))).await, Ok("second"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_dial_that_neither_was_accepted_of_is_tried_again_unless_its_session_is_gone() {
        let (gone, cut) = (DialOutcome::Gone, DialOutcome::Unreachable);
        for (first, second, of_both) in [(gone, cut, gone), (cut, gone, gone), (cut, cut, cut)] {
            assert_eq!(either(after(5, Err(first)), after(1, Err(second))).await, Err(of_both));
            assert_eq!(either(after(4, Err(first)), after(3, Err(second))).await, Err(of_both));
        }
        let refused = DialOutcome::Refused;
        assert_eq!(either(after(5, Err(refused)), after(1, Err(refused))).await, Err(refused));
    }
}
