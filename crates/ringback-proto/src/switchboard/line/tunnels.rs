//! What a line does with tunnels: lets them in, gives them a client, keeps them, closes them.

use std::sync::Arc;
use std::time::Instant;

use crate::hello::{self, Outcome};
use crate::limits;
use crate::refusal::Refusal;

use super::{
    CallEnd, Calling, Client, Duty, Ledger, Line, OwnRings, Paired, PublicKey, Session, Tunnel,
    Waiting,
};
use crate::switchboard::paired::Heard;
use crate::switchboard::{ClientId, Command, Over, RingId, TunnelId};

impl Line {
    /// Lets in whoever proves to have opened the signal of `ring`; a hello that proves less costs
    /// the ring nothing.
    pub(in crate::switchboard) fn hello_heard(
        &mut self,
        ring: RingId,
        heard: Heard,
        now: Instant,
        ledger: &mut Ledger,
    ) {
        let (tunnel, outcome) = (heard.tunnel, heard.hello.outcome);
        let keys = self.rings.get(&ring).and_then(|it| it.keys.as_ref());
        let permitted = heard.is_permitted(self.id.through);
        let good = keys.filter(|_| permitted).and_then(|keys| {
            let paired = Paired::check(keys, &self.terminal.private_proxy, &heard)?;
            Some((paired, hello::confirm_public(keys, &heard.exporter)))
        });
        let Some((paired, mac)) = good else {
            let unproven = Some(self.terminal.kid);
            return ledger.commands.push_back(Command::Dismiss { tunnel, unproven });
        };
        let Some(mut rung) = self.consume(ring, ledger) else { return };
        rung.withdraw(ring, ledger);
        if let Over::Route(route) = rung.over {
            self.route_answered(route, rung.held, now, ledger);
        }

        let connected = outcome == Outcome::Connected;
        let refusal = Refusal::of(outcome);
        // Without the line's own tunnel none of its services is reached, and this one carries nobody.
        let useless = outcome == Outcome::NoTunnel;
        if let Some(refusal) = refusal {
            self.refuse_queue(refusal, (!useless).then_some(rung.service), ledger);
        }
        let fits = |id: &&ClientId| {
            !connected || self.clients.get(id).is_some_and(|it| it.service == rung.service)
        };
        // Whoever has sent the signal comes first.
        let sender = match rung.over {
            Over::Client(id) => self.queue.iter().find(|it| **it == id).filter(fits),
            Over::Route(_) | Over::Tunnel { .. } => None,
        };
        let client = sender.or_else(|| self.queue.iter().find(fits)).copied();
        let kept = !connected && !useless && self.keeps(&heard.peer, ledger);
        if client.is_none() && refusal.is_none() && !kept {
            self.end_call(CallEnd::Answered, ledger);
            return ledger.commands.push_back(Command::Dismiss { tunnel, unproven: None });
        }

        ledger.commands.push_back(Command::Accept { tunnel, mac });
        ledger.tunnels.insert(tunnel, self.id);
        self.answered(now, ledger);
        self.queue.retain(|it| Some(*it) != client);
        match client {
            Some(client) if connected => {
                self.ring_over(tunnel, rung.service, &rung.admitted, now, ledger);
                self.splice((client, tunnel), heard.peer, false, paired, ledger);
            }
            Some(client) => self.open(tunnel, heard.peer, client, paired, now, ledger),
            None if kept => {
                let duty = Duty::Standby { since: now, paired };
                self.tunnels.insert(tunnel, Tunnel { peer: heard.peer, duty });
                self.ring_over(tunnel, rung.service, &rung.admitted, now, ledger);
                ledger.commands.push_back(Command::Standby { tunnel });
            }
            None => self.close(tunnel, ledger),
        }
    }

    /// Gives each standby a client while there are both.
    pub(super) fn use_standbys(&mut self, now: Instant, ledger: &mut Ledger) {
        // Whichever was heard of last comes first: it is the likeliest to be alive.
        while let Some(&client) = self.queue.front()
            && let Some((_, tunnel)) = self.by_when_heard_of().max()
            && let Some(Tunnel { peer, duty: Duty::Standby { paired, .. } }) =
                self.tunnels.remove(&tunnel)
        {
            self.queue.pop_front();
            self.open(tunnel, peer, client, paired, now, ledger);
        }
    }

    /// Acts on the reply to an open.
    pub(in crate::switchboard) fn opened(
        &mut self,
        tunnel: TunnelId,
        outcome: Outcome,
        now: Instant,
        ledger: &mut Ledger,
    ) {
        let Some(Tunnel { peer, duty }) = self.tunnels.remove(&tunnel) else { return };
        let (client, paired) = match duty {
            Duty::Opening { client, until: _, paired } => (client, paired),
            // Nobody has asked.
            duty @ Duty::Standby { .. } => {
                self.tunnels.insert(tunnel, Tunnel { peer, duty });
                return;
            }
        };

        let waits = self.clients.contains_key(&client);
        if let Some(refusal) = Refusal::of(outcome) {
            if waits {
                self.refuse(client, refusal, ledger);
            }
            if self.keeps(&peer, ledger) {
                let duty = Duty::Standby { since: now, paired };
                self.tunnels.insert(tunnel, Tunnel { peer, duty });
                return;
            }
            return self.close(tunnel, ledger);
        }
        if waits && outcome == Outcome::Connected {
            return self.splice((client, tunnel), peer, true, paired, ledger);
        }
        // Bound to a client that has gone, or a reply that makes no sense.
        self.close(tunnel, ledger);
        self.requeue(client, now, ledger);
    }

    /// Forgets a tunnel that has ended, and awaits nothing that was rung over it; a client that it
    /// was being opened for is rung for. A splice tells its own end.
    pub(in crate::switchboard) fn tunnel_lost(
        &mut self,
        tunnel: TunnelId,
        now: Instant,
        ledger: &mut Ledger,
    ) {
        let Some(lost) = self.tunnels.remove(&tunnel) else { return };
        ledger.tunnels.remove(&tunnel);
        self.lose_rings_over(tunnel);
        if let Duty::Opening { client, .. } = lost.duty {
            self.requeue(client, now, ledger);
        }
        self.wait_no_more(now, ledger);
    }

    /// Lets a client whose splice could not begin wait again, for as long as it would have waited.
    pub(in crate::switchboard) fn splice_failed(
        &mut self,
        (id, tunnel): (ClientId, TunnelId),
        stopping: bool,
        now: Instant,
        ledger: &mut Ledger,
    ) {
        let Some((mut client, _)) = self.unsplice(id, tunnel, ledger) else { return };
        client.own = client.own.map(|_| OwnRings::new(now));
        self.lose_rings_over(tunnel);
        let given_up = client.give_up_at <= now;
        if given_up || stopping {
            let refusal = if given_up { Refusal::NoAnswer } else { Refusal::Stopping };
            ledger.commands.push_back(Command::Refuse { client: id, refusal });
            return self.wait_no_more(now, ledger);
        }

        ledger.waits(id, Waiting { line: self.id, source: client.admitted.source() });
        self.clients.insert(id, client);
        self.requeue(id, now, ledger);
    }

    /// Forgets a splice, and the client that was joined by it.
    fn unsplice(
        &mut self,
        whose: ClientId,
        tunnel: TunnelId,
        ledger: &mut Ledger,
    ) -> Option<(Client, PublicKey)> {
        self.sessions.get(&tunnel).filter(|it| it.id == whose)?;
        let Session { peer, client, id: _ } = self.sessions.remove(&tunnel)?;
        ledger.tunnels.remove(&tunnel);
        Some((client, peer))
    }

    /// Forgets a splice and its tunnel. For the next rush there may be too few standbys then: one of
    /// them carries the rings for what is missing.
    pub(in crate::switchboard) fn splice_ended(
        &mut self,
        (id, tunnel): (ClientId, TunnelId),
        now: Instant,
        ledger: &mut Ledger,
    ) {
        let Some((client, _)) = self.unsplice(id, tunnel, ledger) else { return };
        let Some((_, carrier)) = self.by_when_heard_of().max() else { return };
        self.ring_over(carrier, client.service, &client.admitted, now, ledger);
    }

    /// Takes a tunnel back whose session came to its end in both directions: it stands by like a fresh
    /// one, and whoever waits gets it at once.
    pub(in crate::switchboard) fn tunnel_returned(
        &mut self,
        (client, tunnel): (ClientId, TunnelId),
        paired: Paired,
        stopping: bool,
        now: Instant,
        ledger: &mut Ledger,
    ) {
        let Some((_, peer)) = self.unsplice(client, tunnel, ledger) else { return };
        if stopping || !self.keeps(&peer, ledger) {
            return ledger.commands.push_back(Command::Close { tunnel });
        }

        ledger.tunnels.insert(tunnel, self.id);
        self.tunnels.insert(tunnel, Tunnel { peer, duty: Duty::Standby { since: now, paired } });
        if !self.queue.is_empty() {
            // Its far end is there, as if it had dialed back.
            self.answered(now, ledger);
        }
    }

    /// Closes tunnels that took too long to open: they are likely to be cut without knowing it.
    pub(super) fn expire_opening(&mut self, now: Instant, ledger: &mut Ledger) {
        let late = |it: &Tunnel| match it.duty {
            Duty::Opening { until, .. } => until <= now,
            Duty::Standby { .. } => false,
        };
        let late: Vec<TunnelId> =
            self.tunnels.iter().filter(|(_, it)| late(it)).map(|(id, _)| *id).collect();
        // What has gone silent between both proxies has for the others too: a client that has waited
        // for one of them must not wait for each of them in turn.
        if !late.is_empty() {
            self.close_standbys(ledger);
        }
        for tunnel in late {
            ledger.commands.push_back(Command::Close { tunnel });
            self.tunnel_lost(tunnel, now, ledger);
        }
    }

    pub(super) fn close_standbys(&mut self, ledger: &mut Ledger) {
        let standbys: Vec<TunnelId> = self.by_when_heard_of().map(|(_, id)| id).collect();
        standbys.into_iter().for_each(|tunnel| self.close(tunnel, ledger));
    }

    /// Closes what stands by beyond what is to be expected: whichever was heard of longest ago.
    pub(super) fn close_surplus(&mut self, now: Instant, ledger: &mut Ledger) {
        let expected = self.demand.level(now).saturating_sub(self.in_use());
        let kept = expected.saturating_add(self.terminal.spares.least);
        while kept < self.standbys()
            && let Some((_, tunnel)) = self.by_when_heard_of().min()
        {
            self.close(tunnel, ledger);
        }
        let may_shrink = self.terminal.spares.least < self.standbys();
        self.surplus_ends_at = self.demand.ebbs_at(now).filter(|_| may_shrink);
    }

    pub(super) fn close(&mut self, tunnel: TunnelId, ledger: &mut Ledger) {
        self.tunnels.remove(&tunnel);
        ledger.tunnels.remove(&tunnel);
        ledger.commands.push_back(Command::Close { tunnel });
    }

    /// How many tunnels stand by.
    pub(super) fn standbys(&self) -> usize {
        self.by_when_heard_of().count()
    }

    /// What stands by, and since when.
    fn by_when_heard_of(&self) -> impl Iterator<Item = (Instant, TunnelId)> {
        self.tunnels.iter().filter_map(|(id, it)| match it.duty {
            Duty::Standby { since, .. } => Some((since, *id)),
            Duty::Opening { .. } => None,
        })
    }

    /// Whether a tunnel of this far end may stand by.
    fn keeps(&self, peer: &PublicKey, ledger: &Ledger) -> bool {
        !self.terminal.linger.is_zero()
            && *peer == self.terminal.private_proxy
            && self.standbys() < limits::STANDBYS_PER_TERMINAL
            && ledger.tunnels.len() < ledger.room.tunnels
    }

    fn open(
        &mut self,
        tunnel: TunnelId,
        peer: PublicKey,
        client: ClientId,
        paired: Paired,
        now: Instant,
        ledger: &mut Ledger,
    ) {
        let Some(it) = self.clients.get(&client) else { return self.close(tunnel, ledger) };
        let (session, service, admitted) = (it.session, it.service, Arc::clone(&it.admitted));
        let duty = Duty::Opening { client, until: now + limits::OPEN_PATIENCE, paired };
        self.tunnels.insert(tunnel, Tunnel { peer, duty });
        self.ring_over(tunnel, service, &admitted, now, ledger);
        ledger.commands.push_back(Command::Open { tunnel, client, session, service });
    }

    fn splice(
        &mut self,
        (id, tunnel): (ClientId, TunnelId),
        peer: PublicKey,
        opened: bool,
        paired: Paired,
        ledger: &mut Ledger,
    ) {
        let Some(client) = self.clients.remove(&id) else { return self.close(tunnel, ledger) };
        ledger.waits_no_more(id);
        let session = client.session;
        self.sessions.insert(tunnel, Session { peer, id, client });
        let command = Command::Splice { client: id, tunnel, session, opened, paired };
        ledger.commands.push_back(command);
    }

    /// Puts a client whose tunnel came to nothing back where it stood, and rings its routes unless
    /// another standby takes it: what was asked for over that tunnel may have gone with it.
    fn requeue(&mut self, client: ClientId, now: Instant, ledger: &mut Ledger) {
        let Some(it) = self.clients.get(&client) else { return };
        let (arrived_at, rings_itself) = (it.arrived_at, it.own.is_some());
        let earlier =
            |id: &ClientId| self.clients.get(id).is_some_and(|it| it.arrived_at < arrived_at);
        let place = self.queue.partition_point(earlier);
        self.queue.insert(place, client);
        self.use_standbys(now, ledger);
        let ringing = matches!(self.calling, Calling::Routes(_));
        if !self.queue.is_empty() && !ringing && !rings_itself {
            self.ring_by_routes(now, ledger);
        }
    }
}
