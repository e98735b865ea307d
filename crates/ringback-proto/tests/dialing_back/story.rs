//! What the stories of dialing back share: one dialer in virtual time, and a disk that the test plays.

use std::time::{Duration, Instant};

use ringback_proto::access_request::{
    AccessRequest, Kid, OpeningKey, Purpose, Ratchet, SealingKey, SessionKeys, TunnelType, seal,
};
use ringback_proto::dialer::{
    Allowed, Command, Counters, DialId, DialOutcome, Dialer, Event, Over, Rejection, Subscriber,
    Verified,
};
use ringback_proto::freshness::ReplayWindow;
use ringback_proto::secret::Secret;
use ringback_proto::terminal::{CallNumber, Callee, MailAddress, ServiceId};

use crate::{ISSUED, KID, OTHER_KID};

/// One dialer, its clock, and what it is told.
pub(crate) struct Story {
    pub(crate) dialer: Dialer,
    pub(crate) now: Instant,
    pub(crate) unix_seconds: u64,
    pub(crate) synchronized: bool,
}

impl Story {
    pub(crate) fn new() -> Self {
        let key = OpeningKey { kid: OTHER_KID, ..subscriber().key };
        Self::of(vec![subscriber(), Subscriber { key, ..subscriber() }])
    }

    pub(crate) fn of(subscribers: Vec<Subscriber>) -> Self {
        #[allow(clippy::disallowed_methods, reason = "all other moments are counted from it")]
        let now = Instant::now();
        let dialer = Dialer::new(subscribers);
        Self { dialer, now, unix_seconds: u64::from(ISSUED) + 3, synchronized: true }
    }

    pub(crate) fn happens(&mut self, event: Event) {
        self.dialer.handle_event(event, self.now);
    }

    /// Lets time pass, and holds the machine to the law of timeouts.
    pub(crate) fn passes(&mut self, time: Duration) {
        self.now += time;
        self.dialer.handle_timeout(self.now);
        assert!(self.dialer.poll_timeout().is_none_or(|at| self.now < at));
    }

    pub(crate) fn ring(&mut self, request: &AccessRequest, over: Over) {
        let (octets, _) = sealed(request);
        let (unix_seconds, synchronized) = (self.unix_seconds, self.synchronized);
        self.happens(Event::RingHeard { octets, over, unix_seconds, synchronized });
    }

    pub(crate) fn hear(&mut self, request: &AccessRequest) {
        self.ring(request, Over::Bearer);
    }

    pub(crate) fn hear_octets(&mut self, octets: &[u8]) {
        self.hear_octets_over(octets, Over::Bearer);
    }

    pub(crate) fn hear_octets_over(&mut self, octets: &[u8], over: Over) {
        let octets = octets.to_vec();
        let (unix_seconds, synchronized) = (self.unix_seconds, self.synchronized);
        self.happens(Event::RingHeard { octets, over, unix_seconds, synchronized });
    }

    /// The disk takes the window, and the dial is asked for.
    pub(crate) fn obeyed(&mut self) -> (DialId, Verified) {
        self.expect_remember();
        self.happens(Event::Remembered { kid: KID });
        self.expect_dial()
    }

    pub(crate) fn expect_remember(&mut self) -> [u8; ReplayWindow::OCTETS] {
        match self.dialer.poll_command() {
            Some(Command::Remember { window, .. }) => window,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn expect_dial(&mut self) -> (DialId, Verified) {
        match self.dialer.poll_command() {
            Some(Command::Dial { dial, verified }) => (dial, verified),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn expect_rejection(&mut self, rejection: Rejection) {
        match self.dialer.poll_command() {
            Some(Command::Reject { kid, rejection: ours }) => {
                assert_eq!((ours, kid), (rejection, Some(KID)));
            }
            other => panic!("{other:?}, not {rejection:?}"),
        }
        self.expect_nothing();
    }

    pub(crate) fn expect_nothing(&mut self) {
        assert_eq!(self.dialer.poll_command(), None);
    }

    /// Nothing was counted but these, and all that was heard.
    pub(crate) fn expect_counters(&self, set: fn(&mut Counters)) {
        let mut counters = Counters { heard: self.dialer.counters().heard, ..Counters::default() };
        set(&mut counters);
        assert_eq!(*self.dialer.counters(), counters);
    }
}

pub(crate) fn subscriber() -> Subscriber {
    Subscriber {
        key: OpeningKey { kid: KID, psk: ratchet(), hpke_private: None },
        callee: vec![
            Callee::Number(CallNumber::parse("+15550100777").unwrap()),
            Callee::Mail(MailAddress::parse("car@fleet.example").unwrap()),
        ],
        public_proxies: vec![Allowed {
            address: ([192, 0, 2, 10], 443).into(),
            public_proxy: 5,
            listed: true,
        }],
        fleets: Vec::new(),
        services: [0, 1].map(|it| (ServiceId(it), TunnelType::Tls)).into(),
        window: ReplayWindow::new(),
    }
}

/// Stands at the epoch that [`sealing_key`] seals in.
fn ratchet() -> Ratchet {
    Ratchet::new(0, Secret::new([9; 32]))
}

pub(crate) fn request(seq: u32) -> AccessRequest {
    AccessRequest {
        purpose: Purpose::Access,
        tunnel: TunnelType::Tls,
        seq: 64_000_000 + seq,
        issued: ISSUED,
        ttl_seconds: 60,
        service: ServiceId(1),
        public_proxy: ([192, 0, 2, 10], 443).into(),
        callee: subscriber().callee[0].clone(),
        key: Secret::new([4; 16]),
    }
}

pub(crate) fn dial_ended(dial: DialId, outcome: DialOutcome) -> Event {
    Event::DialEnded { dial, outcome }
}

pub(crate) fn cancel(seq: u32, session: &SessionKeys) -> AccessRequest {
    AccessRequest { purpose: Purpose::Cancel, key: Secret::new(session.sid.0), ..request(seq) }
}

pub(crate) fn sealed(request: &AccessRequest) -> (Vec<u8>, SessionKeys) {
    sealed_by(KID, request)
}

pub(crate) fn sealed_by(kid: Kid, request: &AccessRequest) -> (Vec<u8>, SessionKeys) {
    let key = SealingKey { kid, ..sealing_key() };
    let (signal, keys) = seal(request, &key, [request.seq as u8; 32]).unwrap();
    (signal.octets().to_vec(), keys)
}

pub(crate) fn sealing_key() -> SealingKey {
    SealingKey { kid: KID, epoch: 0, psk: Secret::new([9; 32]), hpke_public: None }
}
