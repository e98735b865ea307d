//! How a line rings: over tunnels first, by the ladder of routes otherwise.
//!
//! Every ring is on behalf of a client that was admitted; none is made here without its proof.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::access_request::Protocol;
use crate::access_request::SessionKeys;
use crate::gate::Admitted;
use crate::hello::SessionId;
use crate::limits;
use crate::refusal::{Budget, Refusal};
use crate::terminal::ServiceId;

use super::{CallEnd, Calling, ClientId, Ladder, Ledger, Line, OpenCall, Rung, Step};
use crate::switchboard::{Call, Command, Over, RingId, Spares, TunnelId};

const PATIENCE: Duration = limits::TUNNEL_RING_PATIENCE;

impl Line {
    /// Keeps a ring's keys; from now on a dial-back can answer it.
    pub(in crate::switchboard) fn sealed(
        &mut self,
        ring: RingId,
        keys: SessionKeys,
        ledger: &mut Ledger,
    ) {
        let Some(rung) = self.rings.get_mut(&ring).filter(|it| it.keys.is_none()) else { return };
        ledger.sids.entry(keys.sid).or_insert(ring);
        rung.keys = Some(keys);
    }

    /// Moves on from a ring that was not taken: for good (`None`), or until the bearer says.
    ///
    /// A dial-back may answer it nevertheless: bearers have been wrong before.
    pub(in crate::switchboard) fn ring_failed(
        &mut self,
        ring: RingId,
        retry: Option<Duration>,
        now: Instant,
        ledger: &mut Ledger,
    ) {
        let Some(rung) = self.rings.get_mut(&ring).filter(|it| it.outstanding) else { return };
        rung.outstanding = false;
        match rung.over {
            Over::Route(route) => {
                let Calling::Routes(ladder) = &mut self.calling else { return };
                if ladder.failed(route, retry, now) {
                    self.route_failed(route, now, ledger);
                }
                self.climb(now, ledger);
            }
            Over::Tunnel { .. } => self.wait_no_more(now, ledger),
            Over::Client(client) => self.own_ring_failed(client, Refusal::Unringable, ledger),
        }
    }

    /// Moves on from a ring whose dial-back there is no room for. No bearer and no route is to blame, so that
    /// neither another is tried nor the same again: that might be paid for each time. If nothing has left
    /// before, whoever it was for has come at a busy time; what others want is rung for.
    pub(in crate::switchboard) fn no_room(
        &mut self,
        ring: RingId,
        now: Instant,
        ledger: &mut Ledger,
    ) {
        let Some(rung) = self.consume(ring, ledger) else { return };
        match rung.over {
            Over::Route(_) => {
                // Of a call whose first signal has not left there is nothing to tell.
                if self.call.as_ref().is_some_and(|it| it.signals == 1) {
                    self.call = None;
                }
                let Calling::Routes(ladder) = &mut self.calling else { return };
                ladder.silence();
                ladder.denied = Some((Refusal::Busy, Some(rung.admitted.source())));
                self.call(now, ledger);
            }
            Over::Tunnel { .. } => self.wait_no_more(now, ledger),
            Over::Client(client) => self.own_ring_failed(client, Refusal::Busy, ledger),
        }
    }

    /// Moves on from a ring that a budget denies. What has left before may still be answered; if
    /// there is nothing of it, [`Self::call`] refuses those concerned.
    pub(in crate::switchboard) fn ring_denied(
        &mut self,
        ring: RingId,
        (budget, wait): (Budget, Duration),
        now: Instant,
        ledger: &mut Ledger,
    ) {
        let costs = |it: &Rung| !matches!(it.over, Over::Tunnel { .. }) && it.outstanding;
        if !self.rings.get(&ring).is_some_and(costs) {
            return;
        }

        let Some(rung) = self.consume(ring, ledger) else { return };
        let refusal = Refusal::Overspent(budget, wait);
        if let Over::Client(client) = rung.over {
            return self.own_ring_failed(client, refusal, ledger);
        }
        // Of a call whose first signal has not left there is nothing to tell.
        if self.call.as_ref().is_some_and(|it| it.signals == 1) {
            self.call = None;
        }
        let Calling::Routes(ladder) = &mut self.calling else { return };
        ladder.silence();
        let whose = (budget == Budget::Client).then(|| rung.admitted.source());
        ladder.denied = Some((refusal, whose));
        self.call(now, ledger);
    }

    /// Sees to it that somebody is rung while anybody is in the queue, and nobody otherwise.
    pub(super) fn call(&mut self, now: Instant, ledger: &mut Ledger) {
        if self.queue.is_empty() {
            return self.hush(ledger);
        }
        if self.rung_for().next().is_none() {
            return self.rest(ledger);
        }

        if let Calling::Nobody = self.calling {
            self.wait_or_ring(now, ledger);
        }

        if let Calling::Routes(ladder) = &self.calling
            && ladder.is_spent()
            && !self.rings.values().any(|it| it.outstanding && !matches!(it.over, Over::Client(_)))
        {
            let (refusal, whose) = ladder.denied.unwrap_or((Refusal::Unringable, None));
            let concerned = self.rung_for().filter(|(_, client)| {
                let source = client.admitted.source();
                whose.is_none_or(|it| source == it)
            });
            let clients: Vec<ClientId> = concerned.map(|(id, _)| id).collect();
            clients.into_iter().for_each(|id| self.refuse(id, refusal, ledger));
            if self.queue.is_empty() {
                return self.hush(ledger);
            }
            if self.rung_for().next().is_none() {
                return self.rest(ledger);
            }
            // Whoever is left comes from elsewhere: another source pays for their ring.
            self.ring_by_routes(now, ledger);
        }
    }

    /// Awaits the dial-backs that were rung over tunnels; starts at the first route if there are
    /// none, or none that is likely to come any more.
    fn wait_or_ring(&mut self, now: Instant, ledger: &mut Ledger) {
        match self.dial_back_awaited_until(now) {
            Some(until) => self.calling = Calling::Tunnels { until },
            None => self.ring_by_routes(now, ledger),
        }
    }

    /// Awaits what was rung over `tunnel` no longer: it has probably gone with it. Should a
    /// dial-back come all the same, it is as good as any.
    pub(super) fn lose_rings_over(&mut self, tunnel: TunnelId) {
        let over = |it: &&mut Rung| match it.over {
            Over::Tunnel { tunnel: carrier, spare: _ } => carrier == tunnel,
            Over::Route(_) | Over::Client(_) => false,
        };
        self.rings.values_mut().filter(over).for_each(|it| it.outstanding = false);
    }

    /// Waits only for what may still come, now that a ring over a tunnel has failed or was lost.
    pub(super) fn wait_no_more(&mut self, now: Instant, ledger: &mut Ledger) {
        if let Calling::Tunnels { .. } = self.calling {
            self.wait_or_ring(now, ledger);
        }
    }

    /// Starts at the first route, for all who are in the queue by now.
    pub(super) fn ring_by_routes(&mut self, now: Instant, ledger: &mut Ledger) {
        let Some(ends_at) = self.rung_for().map(|(_, it)| it.give_up_at).max() else { return };
        self.withdraw(ledger);
        self.end_call(CallEnd::Abandoned, ledger);
        let order = ledger.standings.order(&self.terminal, now);
        let ladder = Ladder::new(Arc::clone(&self.terminal), order, ends_at, now);
        self.calling = Calling::Routes(ladder);
        self.climb(now, ledger);
    }

    /// Sends the signal that is due, if one is, and notes what fails for want of one.
    pub(super) fn climb(&mut self, now: Instant, ledger: &mut Ledger) {
        while self.rung_for().next().is_some()
            && let Calling::Routes(ladder) = &mut self.calling
            && let Some(step) = ladder.step(now)
        {
            match step {
                Step::Signal { route, attempt } => return self.signal(route, attempt, now, ledger),
                Step::Held { route } => self.route_held(route, now, ledger),
                Step::Failed { route } => self.route_failed(route, now, ledger),
            }
        }
    }

    /// Sends a signal by a route, on behalf of whoever has waited longest.
    fn signal(&mut self, route: usize, attempt: usize, now: Instant, ledger: &mut Ledger) {
        let Some((_, client)) = self.rung_for().next() else { return };
        let (service, session) = (client.service, Some(client.session));
        let admitted = Arc::clone(&client.admitted);
        let Calling::Routes(ladder) = &mut self.calling else { return };
        let rung = Rung {
            over: Over::Route(route),
            service,
            client: None,
            admitted,
            keys: None,
            sent_at: now,
            until: ladder.ends_at(),
            held: true,
            outstanding: true,
        };
        if ledger.is_full_for(self.id) {
            // As if it were lost: there is no bearer to wait for.
            return ladder.taken(route, now);
        }
        let call = self.call.get_or_insert_with(|| OpenCall { id: ledger.next_call(), signals: 0 });
        call.signals += 1;
        let call = Call { id: call.id, signal: call.signals };
        self.ring(rung, session, (attempt, Some(call)), now, ledger);
    }

    /// Tells how the call has ended, if one was made.
    pub(super) fn end_call(&mut self, how: CallEnd, ledger: &mut Ledger) {
        let Some(call) = self.call.take() else { return };
        let ended = Command::CallEnded { call: call.id, kid: self.id.kid, how };
        ledger.commands.push_back(ended);
    }

    /// Sends along with `tunnel`, before it is used, what spares other signals: a ring for each
    /// client that has none over a tunnel yet, and the spares that are wanted.
    pub(super) fn ring_over(
        &mut self,
        tunnel: TunnelId,
        service: ServiceId,
        admitted: &Arc<Admitted>,
        now: Instant,
        ledger: &mut Ledger,
    ) {
        let until = now + limits::TUNNEL_RING_TTL;
        let rung = |spare, client, service, admitted| {
            let over = Over::Tunnel { tunnel, spare };
            let (keys, sent_at, held, outstanding) = (None, now, false, true);
            Rung { over, service, client, admitted, keys, sent_at, until, held, outstanding }
        };
        let outstanding = self.rings.values().filter(|it| it.outstanding);
        let covered: BTreeSet<ClientId> = outstanding.filter_map(|it| it.client).collect();
        let uncovered = self.queue.iter().copied().filter(|id| !covered.contains(id));
        let mut rings: Vec<(Rung, Option<SessionId>)> = uncovered
            .take(limits::RINGS_PER_TUNNEL)
            .filter_map(|id| {
                let it = self.clients.get(&id)?;
                let rung = rung(false, Some(id), it.service, Arc::clone(&it.admitted));
                Some((rung, Some(it.session)))
            })
            .collect();
        let spares = (0..self.spares_wanted(now))
            .map(|_| (rung(true, None, service, Arc::clone(admitted)), None));
        rings.extend(spares);
        let awaited = self.awaited_by_tunnel().filter(|it| now < it.sent_at + PATIENCE).count();
        let room = limits::TUNNEL_RINGS_AT_ONCE.saturating_sub(awaited);
        rings.truncate(limits::RINGS_PER_TUNNEL.min(room));
        for (rung, session) in rings {
            self.ring(rung, session, (1, None), now, ledger);
        }
    }

    /// Ends what was begun by routes, because somebody has dialed back.
    ///
    /// Signals that are under way may still be answered while anybody is in the queue.
    pub(super) fn answered(&mut self, now: Instant, ledger: &mut Ledger) {
        self.withdraw(ledger);
        self.end_call(CallEnd::Answered, ledger);
        self.calling = Calling::Tunnels { until: now + PATIENCE };
    }

    /// Rings no more: nobody is in the queue, or those who were rung for have given up.
    pub(super) fn hush(&mut self, ledger: &mut Ledger) {
        self.end_call(CallEnd::Abandoned, ledger);
        self.calling = Calling::Nobody;
        self.forget_rings(ledger, |over| match over {
            Over::Route(_) => true,
            Over::Tunnel { tunnel: _, spare } => !spare,
            Over::Client(_) => false,
        });
    }

    /// Rings no more by routes: whoever is in the queue rings by itself.
    fn rest(&mut self, ledger: &mut Ledger) {
        self.end_call(CallEnd::Abandoned, ledger);
        self.calling = Calling::Nobody;
        self.forget_rings(ledger, |over| matches!(over, Over::Route(_)));
    }

    /// Gives up the rings that leave so.
    pub(super) fn forget_rings(&mut self, ledger: &mut Ledger, so: impl Fn(Over) -> bool) {
        let rings: Vec<RingId> =
            self.rings.iter().filter(|(_, it)| so(it.over)).map(|(ring, _)| *ring).collect();
        rings.into_iter().for_each(|ring| self.forget(ring, ledger));
    }

    pub(super) fn expire_rings(&mut self, now: Instant, ledger: &mut Ledger) {
        let over: Vec<RingId> =
            self.rings.iter().filter(|(_, it)| it.until <= now).map(|(ring, _)| *ring).collect();
        over.into_iter().for_each(|ring| self.forget(ring, ledger));
    }

    /// Gives a ring up: its signal is withdrawn, and nobody can answer it any more.
    pub(super) fn forget(&mut self, ring: RingId, ledger: &mut Ledger) {
        let Some(mut rung) = self.consume(ring, ledger) else { return };
        rung.withdraw(ring, ledger);
    }

    /// Refuses whoever waits: no ring could bring the tunnel that all of them want.
    pub(in crate::switchboard) fn no_tunnel(&mut self, ring: RingId, ledger: &mut Ledger) {
        self.forget(ring, ledger);
        self.refuse_queue(Refusal::NoTunnel, None, ledger);
    }

    /// Takes a ring away, so that it is answered once.
    pub(super) fn consume(&mut self, ring: RingId, ledger: &mut Ledger) -> Option<Rung> {
        let rung = self.rings.remove(&ring)?;
        ledger.forget_ring(ring);
        if self.id.through.permits(Protocol::Ipsec) {
            ledger.commands.push_back(Command::Unawait { ring });
        }
        if let Some(keys) = &rung.keys
            && ledger.sids.get(&keys.sid) == Some(&ring)
        {
            ledger.sids.remove(&keys.sid);
        }
        Some(rung)
    }

    fn withdraw(&mut self, ledger: &mut Ledger) {
        self.rings.iter_mut().for_each(|(ring, rung)| rung.withdraw(*ring, ledger));
    }

    /// Until when a dial-back that was rung over a tunnel is awaited: counted from its ring, so
    /// that one that was lost delays nobody who comes later.
    fn dial_back_awaited_until(&self, now: Instant) -> Option<Instant> {
        self.dial_back_worth_awaiting_until().filter(|until| now < *until)
    }

    /// The same, be it over or not.
    pub(super) fn dial_back_worth_awaiting_until(&self) -> Option<Instant> {
        let latest = self.awaited_by_tunnel().map(|it| it.sent_at).max()?;
        Some(latest + PATIENCE)
    }

    fn awaited_by_tunnel(&self) -> impl Iterator<Item = &Rung> {
        let awaited = |it: &&Rung| it.outstanding && matches!(it.over, Over::Tunnel { .. });
        self.rings.values().filter(awaited)
    }

    /// How many spares are missing, those counted that have been rung: the terminal deserves as many
    /// tunnels as it has had clients at once of late.
    fn spares_wanted(&self, now: Instant) -> usize {
        if self.terminal.linger.is_zero() {
            return 0;
        }
        let spare =
            |it: &&Rung| it.outstanding && matches!(it.over, Over::Tunnel { spare: true, .. });
        let coming = self.rings.values().filter(spare).count();
        let Spares { least, most } = self.terminal.spares;
        let expected = self.demand.level(now).saturating_sub(self.in_use());
        let wanted = expected.min(most).max(least).min(limits::STANDBYS_PER_TERMINAL);
        wanted.saturating_sub(self.standbys() + coming)
    }

    pub(super) fn ring(
        &mut self,
        rung: Rung,
        session: Option<SessionId>,
        (attempt, call): (usize, Option<Call>),
        now: Instant,
        ledger: &mut Ledger,
    ) {
        if ledger.is_full_for(self.id) {
            return;
        }

        let ring = ledger.next_ring(self.id);
        ledger.commands.push_back(Command::Ring {
            ring,
            kid: self.id.kid,
            service: rung.service,
            through: self.id.through,
            over: rung.over,
            session,
            attempt,
            call,
            ttl_seconds: ttl_seconds(rung.until - now),
            admitted: Arc::clone(&rung.admitted),
        });
        self.rings.insert(ring, rung);
    }
}

impl Rung {
    /// Withdraws the signal from the bearer of its route, unless that has given it up.
    pub(super) fn withdraw(&mut self, ring: RingId, ledger: &mut Ledger) {
        let Over::Route(_) = self.over else { return };
        if self.outstanding {
            self.outstanding = false;
            ledger.commands.push_back(Command::Cancel { ring });
        }
    }
}

/// Whole seconds, rounded up: a signal must not die before its ring. The signal has 1 to 3600.
fn ttl_seconds(left: Duration) -> u16 {
    let whole = left.as_secs() + u64::from(0 < left.subsec_nanos());
    u16::try_from(whole.clamp(1, 3600)).unwrap_or(3600)
}
