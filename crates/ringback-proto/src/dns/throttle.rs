//! A token bucket for each source prefix, so that nobody is flooded with answers it never asked for.
//!
//! Pure: `now` is an argument. It judges queries over UDP only, whose sources can be forged, and it
//! judges prefixes, never names: a resolver turned away here is told to come over TCP.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::limits;

/// Decides which queries over UDP are answered.
#[derive(Debug)]
pub struct Throttle {
    /// How long one query takes to be forgotten.
    refill: Duration,
    /// How far ahead of the clock a bucket may run: a burst's worth of refills.
    depth: Duration,
    /// When each busy prefix will have its whole burst again, and whether its last excess was slipped.
    busy: BTreeMap<IpAddr, Bucket>,
    swept_at: Option<Instant>,
    slipped: bool,
}

#[derive(Debug)]
struct Bucket {
    full_at: Instant,
    slipped: bool,
}

/// What to do with a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Answer it.
    Serve,
    /// Tell its sender to come over TCP: every second query over the limit.
    Slip,
    /// Say nothing.
    Drop,
}

impl Throttle {
    /// Allows each prefix so many queries a second, and so many at once when it was quiet.
    pub fn new(queries_per_second: u32, burst: u32) -> Self {
        let refill = Duration::from_secs(1) / queries_per_second.max(1);
        Self {
            refill,
            depth: refill * burst.max(1),
            busy: BTreeMap::new(),
            swept_at: None,
            slipped: false,
        }
    }

    /// Judges one query, and counts it if it is served.
    pub fn judge(&mut self, source: IpAddr, now: Instant) -> Verdict {
        let prefix = source_prefix(source);
        if limits::DNS_PREFIXES <= self.busy.len() && !self.busy.contains_key(&prefix) {
            self.sweep(now);
            if limits::DNS_PREFIXES <= self.busy.len() {
                return excess(&mut self.slipped);
            }
        }

        let bucket = self.busy.entry(prefix).or_insert(Bucket { full_at: now, slipped: false });
        let full_at = bucket.full_at.max(now) + self.refill;
        if now + self.depth < full_at {
            return excess(&mut bucket.slipped);
        }
        bucket.full_at = full_at;
        Verdict::Serve
    }

    /// Forgets who has its whole burst again, at most once in the time of one refill: until then
    /// nobody new can have become quiet, and a sweep for each query would be the flood's success.
    fn sweep(&mut self, now: Instant) {
        if self.swept_at.is_some_and(|it| now < it + self.refill) {
            return;
        }
        self.swept_at = Some(now);
        self.busy.retain(|_, bucket| now < bucket.full_at);
    }
}

impl Default for Throttle {
    fn default() -> Self {
        Self::new(limits::DNS_QUERIES_PER_PREFIX_PER_SECOND, limits::DNS_QUERY_BURST)
    }
}

fn excess(slipped: &mut bool) -> Verdict {
    *slipped = !*slipped;
    if *slipped { Verdict::Slip } else { Verdict::Drop }
}

/// The /24 or /56 that an address lies in: about what one network has.
pub fn source_prefix(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(it) => Ipv4Addr::from_bits(it.to_bits() & (u32::MAX << 8)).into(),
        IpAddr::V6(it) => Ipv6Addr::from_bits(it.to_bits() & (u128::MAX << 72)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_has_its_burst_and_then_its_rate() {
        let (mut throttle, start) = throttle();
        for _ in 0..4 {
            assert_eq!(throttle.judge(address("192.0.2.1"), start), Verdict::Serve);
        }
        assert_ne!(throttle.judge(address("192.0.2.1"), start), Verdict::Serve);

        let later = start + Duration::from_millis(100);
        assert_eq!(throttle.judge(address("192.0.2.1"), later), Verdict::Serve);
        assert_ne!(throttle.judge(address("192.0.2.1"), later), Verdict::Serve);
    }

    #[test]
    fn every_second_query_over_the_limit_is_told_to_come_over_tcp() {
        let (mut throttle, start) = throttle();
        let verdicts = (0..8).map(|_| throttle.judge(address("192.0.2.1"), start));
        let over = verdicts.skip(4).collect::<Vec<_>>();
        assert_eq!(over, [Verdict::Slip, Verdict::Drop, Verdict::Slip, Verdict::Drop]);
    }

    #[test]
    fn a_network_is_one_source_and_its_neighbor_another() {
        for (one, same, other) in [
            ("192.0.2.1", "192.0.2.255", "192.0.3.1"),
            ("192.0.2.1", "::ffff:192.0.2.9", "192.0.1.255"),
            ("2001:db8:0:100::1", "2001:db8:0:1ff::2", "2001:db8:0:200::1"),
        ] {
            let (mut throttle, start) = throttle();
            for _ in 0..4 {
                throttle.judge(address(one), start);
            }
            assert_eq!(throttle.judge(address(same), start), Verdict::Slip, "{same}");
            assert_eq!(throttle.judge(address(other), start), Verdict::Serve, "{other}");
        }
    }

    #[test]
    fn a_full_table_turns_the_newest_away_until_somebody_is_quiet() {
        let (mut throttle, start) = throttle();
        for index in 0..limits::DNS_PREFIXES as u32 {
            let source = IpAddr::V4(Ipv4Addr::from_bits(index << 8));
            assert_eq!(throttle.judge(source, start), Verdict::Serve);
        }
        let newest = address("203.0.113.1");
        assert_eq!(throttle.judge(newest, start), Verdict::Slip);
        assert_eq!(throttle.judge(newest, start), Verdict::Drop);
        assert_eq!(throttle.judge(address("0.0.0.7"), start), Verdict::Serve, "still known");
        assert_eq!(throttle.busy.len(), limits::DNS_PREFIXES);

        let later = start + Duration::from_millis(100);
        assert_eq!(throttle.judge(newest, later), Verdict::Serve);
        assert_eq!(throttle.busy.len(), 2, "all but the one asked twice are forgotten");
    }

    /// Ten queries a second, four at once.
    #[expect(clippy::disallowed_methods, reason = "any instant will do as the start of time")]
    fn throttle() -> (Throttle, Instant) {
        (Throttle::new(10, 4), Instant::now())
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }
}
