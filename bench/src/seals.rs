//! Signals: sealed for one key id, opened with it, and judged by a dialer that knows nobody else.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ringback_proto::access_request::{
    AccessRequest, Kid, OpeningKey, Purpose, Ratchet, SealingKey, Suite, TunnelType, hpke_public,
    open, seal,
};
use ringback_proto::dialer::{Allowed, Command, DialOutcome, Dialer, Event, Over, Subscriber};
use ringback_proto::freshness::ReplayWindow;
use ringback_proto::secret::Secret;
use ringback_proto::terminal::{CallNumber, Callee, ServiceId};

const KID: Kid = Kid(0x0bad_cafe);
const ISSUED: u32 = 1_764_000_000;
const PSK: [u8; 32] = [9; 32];
const HPKE: [u8; 32] = [7; 32];

/// One key id's two ends.
#[derive(Debug)]
pub struct Seals {
    sealing: SealingKey,
    opening: OpeningKey,
    sealed: u32,
}

/// A dialer, and the signals that it hears.
#[derive(Debug)]
pub struct Ear {
    seals: Seals,
    dialer: Dialer,
    now: Instant,
}

impl Seals {
    /// Both ends of one suite.
    pub fn of(suite: Suite) -> Self {
        let private = match suite {
            Suite::Psk => None,
            Suite::Hpke => Some(Secret::new(HPKE)),
        };
        let public = private.as_ref().map(hpke_public);
        let sealing = SealingKey { kid: KID, epoch: 0, psk: Secret::new(PSK), hpke_public: public };
        let psk = Ratchet::new(0, Secret::new(PSK));
        let opening = OpeningKey { kid: KID, psk, hpke_private: private };
        Self { sealing, opening, sealed: 0 }
    }

    /// Seals the next signal.
    ///
    /// # Panics
    ///
    /// If it cannot be sealed, which no request of ours is.
    pub fn seal(&mut self) -> Vec<u8> {
        self.sealed += 1;
        let mut entropy = [0x5e; 32];
        entropy[..4].copy_from_slice(&self.sealed.to_be_bytes());
        let sealed = seal(&request(self.sealed), &self.sealing, entropy);
        sealed.expect("a request of ours can be sealed").0.octets().to_vec()
    }

    /// Opens a signal.
    ///
    /// # Panics
    ///
    /// If it is none of ours.
    pub fn open(&self, octets: &[u8]) -> AccessRequest {
        open(octets, &self.opening).expect("a signal of ours can be opened").0
    }
}

impl Ear {
    /// A dialer with one subscriber of this suite.
    pub fn of(suite: Suite) -> Self {
        let seals = Seals::of(suite);
        let subscriber = Subscriber {
            key: seals.opening.clone(),
            callee: vec![request(0).callee],
            public_proxies: vec![Allowed {
                address: request(0).public_proxy,
                public_proxy: 0,
                listed: true,
            }],
            fleets: Vec::new(),
            services: BTreeMap::from([(ServiceId(1), TunnelType::Tls)]),
            window: ReplayWindow::new(),
        };
        #[allow(clippy::disallowed_methods, reason = "all other moments are counted from it")]
        let now = Instant::now();
        Self { seals, dialer: Dialer::new(vec![subscriber]), now }
    }

    /// Seals the next signal for it.
    pub fn signal(&mut self) -> Vec<u8> {
        self.seals.seal()
    }

    /// Hears a signal, has it remembered, and dials until it is served.
    ///
    /// # Panics
    ///
    /// If it is not obeyed.
    pub fn obey(&mut self, octets: Vec<u8>) {
        // Far enough apart for any rate at which a dialer obeys.
        self.now += Duration::from_secs(60);
        let heard = Event::RingHeard {
            octets,
            over: Over::Bearer,
            unix_seconds: u64::from(ISSUED),
            synchronized: true,
        };
        self.dialer.handle_event(heard, self.now);
        let mut dialed = false;
        while let Some(command) = self.dialer.poll_command() {
            let event = match command {
                Command::Remember { kid, .. } => Event::Remembered { kid },
                Command::Dial { dial, .. } => {
                    dialed = true;
                    Event::DialEnded { dial, outcome: DialOutcome::Served }
                }
                Command::Adopt { .. } => continue,
                Command::Reject { rejection, .. } => panic!("not obeyed: {rejection}"),
            };
            self.dialer.handle_event(event, self.now);
        }
        assert!(dialed, "a sound signal is dialed");
    }
}

fn request(seq: u32) -> AccessRequest {
    let number = CallNumber::parse("+15550100777").expect("a number");
    AccessRequest {
        purpose: Purpose::Access,
        tunnel: TunnelType::Tls,
        seq: 64_000_000 + seq,
        issued: ISSUED,
        ttl_seconds: 60,
        service: ServiceId(1),
        public_proxy: ([192, 0, 2, 10], 443).into(),
        callee: Callee::Number(number),
        key: Secret::new([4; 16]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_repeated_is_what_happens() {
        for suite in [Suite::Psk, Suite::Hpke] {
            let mut ear = Ear::of(suite);
            for _ in 0..100 {
                let signal = ear.signal();
                assert_eq!(ear.seals.open(&signal).service, ServiceId(1));
                ear.obey(signal);
            }
        }
    }
}
