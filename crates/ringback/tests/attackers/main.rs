//! Attackers, each a process of its own in the lab, against real proxies: nobody of them gets in,
//! sends the private proxy anywhere, or keeps an honest client from being served.
//!
//! Every SMS passes a gateway that is the attacker's: it reads, keeps back and forges what it likes
//! (map: `ringback-lab`; the gateway stands beside the SMSC, the other attackers beside the client).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../field/mod.rs"]
mod field;

mod dialing;
mod flood;
mod half_open;
mod impostor;
mod inside;
mod inward;
mod matrix;
mod order;
mod over_ipsec;
mod scene;
mod sms;
mod strongswan;

/// Not a test: it is what the attackers' processes run, told by their environment.
#[tokio::test(flavor = "multi_thread")]
async fn attacker() -> anyhow::Result<()> {
    match order::Order::of_this_process()? {
        None => Ok(()),
        Some(order::Order::Dial(dials)) => dialing::dial_all(&dials).await,
        Some(order::Order::Pose(pose)) => impostor::pose(&pose).await,
        Some(order::Order::Overhear) => sms::overhear().await,
        Some(order::Order::Post(post)) => sms::post(&post).await,
    }
}
