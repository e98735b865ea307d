//! What becomes of each message: who may bind, where it goes, how long it takes, whether it is lost.
//!
//! Pure, like the machines of `ringback-proto`: time is an argument, chance is seeded. It speaks to
//! the sessions in the words of [`center`], and logs one line for each message's fate.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use ringback_proto::smpp::center::{self, DeliveryId};
use ringback_proto::smpp::pdu::{Bind, Cancel, Message, Role};
use ringback_proto::smpp::receipt::{self, Receipt, State};
use ringback_proto::smpp::status::{Remedy, Status};
use ringback_proto::smpp::text::{Password, Text};
use ringback_proto::smpp::validity;
use tracing::info;

use super::chance::Chance;
use super::{Account, Config};
use crate::limits::{
    OPERATOR_AGAIN, OPERATOR_BINDS, OPERATOR_DELIVERING, OPERATOR_STORED, OPERATOR_UNDER_WAY,
    OPERATOR_VALIDITY,
};

/// Names a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ConnectionId(pub(super) u64);

/// What a session has to say, or that it is gone.
pub(super) enum Event {
    Said(ConnectionId, center::Command),
    Gone(ConnectionId),
}

/// The whole state of the simulated operator.
pub(super) struct Exchange {
    config: Config,
    chance: Chance,
    accounts: Vec<Mailbox>,
    sessions: BTreeMap<ConnectionId, Session>,
    under_way: BTreeMap<(Instant, DeliveryId), Item>,
    next_id: u64,
    commands: VecDeque<(ConnectionId, center::Event)>,
}

/// What waits for one account's receivers, oldest first.
struct Mailbox {
    stored: VecDeque<(DeliveryId, Item)>,
    next_receiver: usize,
    bucket: Bucket,
}

struct Session {
    account: usize,
    role: Role,
    delivering: BTreeMap<DeliveryId, Item>,
}

/// A message or a receipt on its way to an account.
#[derive(Clone, Debug)]
struct Item {
    account: usize,
    /// The account that submitted it; a receipt's is the operator's own.
    from: Option<usize>,
    message: Message,
    message_id: Text<65>,
    accepted_at: Instant,
    until: Instant,
    fate: Fate,
    /// The account that wants to know what became of it.
    receipt_to: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Arrives,
    Lost,
}

struct Bucket {
    per_second: Option<u32>,
    tokens: f64,
    filled_at: Instant,
}

impl Exchange {
    pub(super) fn new(config: Config, now: Instant) -> Self {
        let mailbox = |_: &Account| Mailbox {
            stored: VecDeque::new(),
            next_receiver: 0,
            bucket: Bucket::new(config.throttle_per_second, now),
        };
        Self {
            chance: Chance::new(config.seed),
            accounts: config.accounts.iter().map(mailbox).collect(),
            sessions: BTreeMap::new(),
            under_way: BTreeMap::new(),
            next_id: 0,
            commands: VecDeque::new(),
            config,
        }
    }

    pub(super) fn handle_event(&mut self, event: Event, now: Instant) {
        match event {
            Event::Said(from, center::Command::Authenticate(bind)) => self.bind(from, &bind),
            Event::Said(from, center::Command::Submission(sequence, message)) => {
                let answer = self.accept(from, message, now);
                self.commands.push_back((from, center::Event::Answer(sequence, answer)));
            }
            Event::Said(from, center::Command::Cancellation(sequence, cancel)) => {
                let status = self.cancel(from, &cancel, now);
                self.commands.push_back((from, center::Event::Canceled(sequence, status)));
            }
            Event::Said(from, center::Command::Delivered(id, status)) => {
                self.delivered(from, id, status, now);
            }
            // The connection tells that it is gone once its socket is closed.
            Event::Said(_, center::Command::Disconnect(_)) => {}
            Event::Gone(connection) => self.gone(connection),
        }
        self.deliver_all();
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        while let Some(entry) = self.under_way.first_entry() {
            if now < entry.key().0 {
                break;
            }
            let ((_, id), item) = entry.remove_entry();
            self.arrive(id, item, now);
        }
        for account in 0..self.accounts.len() {
            let (stale, fresh) = std::mem::take(&mut self.accounts[account].stored)
                .into_iter()
                .partition::<VecDeque<_>, _>(|(_, item)| item.until <= now);
            self.accounts[account].stored = fresh;
            for (_, item) in stale {
                self.lost(&item, State::Expired, now);
            }
        }
        self.deliver_all();
    }

    pub(super) fn poll_command(&mut self) -> Option<(ConnectionId, center::Event)> {
        self.commands.pop_front()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let due = self.under_way.keys().next().map(|(at, _)| *at);
        let stored = self.accounts.iter().flat_map(|it| &it.stored);
        let stale = stored.map(|(_, item)| item.until).min();
        due.into_iter().chain(stale).min()
    }

    fn bind(&mut self, from: ConnectionId, bind: &Bind) {
        let answer = match self.admit(bind) {
            Ok(account) => {
                let session = Session { account, role: bind.role, delivering: BTreeMap::new() };
                self.sessions.insert(from, session);
                center::Event::Admit
            }
            Err(status) => center::Event::Refuse(status),
        };
        self.commands.push_back((from, answer));
    }

    fn admit(&self, bind: &Bind) -> Result<usize, Status> {
        let known = self.config.accounts.iter();
        let account = known.clone().position(|it| it.system_id == bind.system_id.as_str());
        let account = account.ok_or(Status::INVALID_SYSTEM_ID)?;
        if Password::new(&self.config.accounts[account].password) != Some(bind.password.clone()) {
            return Err(Status::INVALID_PASSWORD);
        }
        let binds = self.sessions.values().filter(|it| it.account == account).count();
        if OPERATOR_BINDS <= binds {
            return Err(Status::BIND_FAILED);
        }
        Ok(account)
    }

    fn accept(
        &mut self,
        from: ConnectionId,
        message: Message,
        now: Instant,
    ) -> Result<Text<65>, Status> {
        let from = self.sessions.get(&from).ok_or(Status::INVALID_BIND_STATUS)?.account;
        if !self.accounts[from].bucket.take(now) {
            return Err(Status::THROTTLED);
        }
        let account = self.route(&message).ok_or(Status::INVALID_DESTINATION)?;
        if OPERATOR_UNDER_WAY <= self.under_way.len() {
            return Err(Status::QUEUE_FULL);
        }
        let valid_for = validity::read(message.validity_period.as_str());
        let id = self.fresh_id();
        let message_id = Text::new(&format!("{:x}", id.0)).unwrap_or_default();
        let lost = self.chance.happens(self.config.loss);
        let doubled = self.chance.happens(self.config.duplicates);
        let receipt_wanted = self.config.receipts && message.registered_delivery & 1 != 0;
        let item = Item {
            account,
            // What the network has doubled is out of the operator's hands.
            from: (!doubled).then_some(from),
            message: delivery(message),
            message_id: message_id.clone(),
            accepted_at: now,
            until: now + valid_for.unwrap_or(OPERATOR_VALIDITY).min(OPERATOR_VALIDITY),
            fate: if lost { Fate::Lost } else { Fate::Arrives },
            receipt_to: receipt_wanted.then_some(from),
        };
        let system_id = &self.config.accounts[from].system_id;
        info!(message_id = message_id.as_str(), account = system_id, "sms accepted");
        if doubled {
            let copy = self.fresh_id();
            let at = now + self.delay();
            self.under_way.insert((at, copy), Item { receipt_to: None, ..item.clone() });
        }
        let at = now + self.delay();
        self.under_way.insert((at, id), item);
        Ok(message_id)
    }

    fn route(&self, message: &Message) -> Option<usize> {
        let digits = message.destination.digits.as_str();
        // The longest prefix wins, as in any numbering plan.
        let prefixes = self.config.accounts.iter().enumerate();
        let prefixes = prefixes.flat_map(|(index, it)| it.prefixes.iter().map(move |p| (p, index)));
        let matching =
            prefixes.filter(|(prefix, _)| digits.starts_with(prefix.trim_start_matches('+')));
        matching.max_by_key(|(prefix, _)| prefix.len()).map(|(_, index)| index)
    }

    fn delay(&mut self) -> Duration {
        let mut delay = self.chance.delay(self.config.delay);
        if self.chance.happens(self.config.late) {
            delay += self.chance.up_to(self.config.late_seconds);
        }
        if self.chance.happens(self.config.reordered) {
            delay += self.chance.up_to(self.config.reorder_seconds);
        }
        delay
    }

    fn arrive(&mut self, id: DeliveryId, item: Item, now: Instant) {
        if item.fate == Fate::Lost {
            // As silent as in a real network: not even a receipt comes.
            return self.log_loss(&item, State::Unknown, now);
        }
        let stored = &mut self.accounts[item.account].stored;
        let oldest = if OPERATOR_STORED <= stored.len() { stored.pop_front() } else { None };
        stored.push_back((id, item));
        if let Some((_, oldest)) = oldest {
            self.lost(&oldest, State::Deleted, now);
        }
    }

    fn lost(&mut self, item: &Item, state: State, now: Instant) {
        self.log_loss(item, state, now);
        self.receipt(item, state, now);
    }

    fn log_loss(&self, item: &Item, state: State, now: Instant) {
        if receipt::is_receipt(&item.message) {
            return;
        }
        let delay_ms = millis(now - item.accepted_at);
        info!(message_id = item.message_id.as_str(), delay_ms, ?state, "sms lost");
    }

    fn delivered(&mut self, by: ConnectionId, id: DeliveryId, status: Status, now: Instant) {
        let Some(session) = self.sessions.get_mut(&by) else { return };
        let Some(item) = session.delivering.remove(&id) else { return };
        match status.remedy() {
            Remedy::Accepted => {
                if !receipt::is_receipt(&item.message) {
                    let delay_ms = millis(now - item.accepted_at);
                    info!(message_id = item.message_id.as_str(), delay_ms, "sms delivered");
                }
                self.receipt(&item, State::Delivered, now);
            }
            Remedy::SlowDown | Remedy::Later | Remedy::Again | Remedy::Elsewhere => {
                self.under_way.insert((now + OPERATOR_AGAIN, id), item);
            }
            Remedy::Never => self.lost(&item, State::Undeliverable, now),
        }
    }

    /// Takes a message back that no receiver has been handed yet, for whoever submitted it.
    fn cancel(&mut self, by: ConnectionId, cancel: &Cancel, now: Instant) -> Status {
        let Some(account) = self.sessions.get(&by).map(|it| it.account) else {
            return Status::INVALID_BIND_STATUS;
        };
        let meant = |item: &Item| {
            item.from == Some(account)
                && item.message_id == cancel.message_id
                && item.message.destination == cancel.destination
        };
        let mut canceled: Vec<Item> =
            self.under_way.extract_if(.., |_, item| meant(item)).map(|(_, item)| item).collect();
        for mailbox in &mut self.accounts {
            let (meant, others) =
                mailbox.stored.drain(..).partition::<VecDeque<_>, _>(|(_, item)| meant(item));
            mailbox.stored = others;
            canceled.extend(meant.into_iter().map(|(_, item)| item));
        }
        let Some(item) = canceled.pop() else { return Status::CANCEL_FAILED };
        info!(message_id = item.message_id.as_str(), "sms canceled");
        self.receipt(&item, State::Deleted, now);
        Status::OK
    }

    fn receipt(&mut self, item: &Item, state: State, now: Instant) {
        let Some(account) = item.receipt_to else { return };
        let receipt = Receipt { message_id: item.message_id.clone(), state };
        let item = Item {
            account,
            from: None,
            message: receipt::write(&item.message, &receipt),
            receipt_to: None,
            fate: Fate::Arrives,
            accepted_at: now,
            until: now + OPERATOR_VALIDITY,
            message_id: item.message_id.clone(),
        };
        let id = self.fresh_id();
        self.arrive(id, item, now);
    }

    fn gone(&mut self, connection: ConnectionId) {
        let Some(session) = self.sessions.remove(&connection) else { return };
        // What was handed over and not acknowledged is delivered again, and first.
        for (id, item) in session.delivering.into_iter().rev() {
            self.accounts[item.account].stored.push_front((id, item));
        }
    }

    fn deliver_all(&mut self) {
        for account in 0..self.accounts.len() {
            while let Some(receiver) = self.receiver(account) {
                let mailbox = &mut self.accounts[account];
                let Some((id, item)) = mailbox.stored.pop_front() else { break };
                mailbox.next_receiver = mailbox.next_receiver.wrapping_add(1);
                let Some(session) = self.sessions.get_mut(&receiver) else { break };
                let event = center::Event::Deliver(id, item.message.clone());
                session.delivering.insert(id, item);
                self.commands.push_back((receiver, event));
            }
        }
    }

    /// The account's next receiver in turn that can take one more message.
    fn receiver(&self, account: usize) -> Option<ConnectionId> {
        let ready: Vec<ConnectionId> = self
            .sessions
            .iter()
            .filter(|(_, it)| it.account == account && it.role.receives())
            .filter(|(_, it)| it.delivering.len() < OPERATOR_DELIVERING)
            .map(|(id, _)| *id)
            .collect();
        let turn = self.accounts[account].next_receiver.checked_rem(ready.len())?;
        ready.get(turn).copied()
    }

    fn fresh_id(&mut self) -> DeliveryId {
        self.next_id += 1;
        DeliveryId(self.next_id)
    }
}

impl Bucket {
    fn new(per_second: Option<u32>, now: Instant) -> Self {
        Self { per_second, tokens: per_second.unwrap_or(0).into(), filled_at: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let Some(per_second) = self.per_second.map(f64::from) else { return true };
        let filled = self.tokens + per_second * (now - self.filled_at).as_secs_f64();
        self.tokens = filled.min(per_second);
        self.filled_at = now;
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

/// What of a submission reaches the other account.
fn delivery(message: Message) -> Message {
    Message {
        esm_class: message.esm_class & 0xc0,
        registered_delivery: 0,
        validity_period: Text::default(),
        receipted_message_id: None,
        message_state: None,
        ..message
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use ringback_proto::smpp::text::Address;

    use super::*;
    use crate::operator::Delay;

    const PUBLIC: ConnectionId = ConnectionId(1);
    const PRIVATE: ConnectionId = ConnectionId(2);

    #[test]
    fn what_was_not_acknowledged_is_delivered_again_and_first() {
        let (mut exchange, now) = exchange(Config::default());
        let later = now + Duration::from_secs(60);
        for count in 0..3 {
            submit(&mut exchange, count, now);
        }
        exchange.handle_timeout(later);
        let first = delivered(&mut exchange);
        assert_eq!(first.len(), 3);
        let acknowledged = center::Command::Delivered(first[0].0, Status::OK);
        exchange.handle_event(Event::Said(PRIVATE, acknowledged), later);
        exchange.handle_event(Event::Gone(PRIVATE), later);
        submit(&mut exchange, 3, later);
        exchange.handle_timeout(later + Duration::from_secs(60));

        bind(&mut exchange, PRIVATE, "private", later);
        let again: Vec<u8> = delivered(&mut exchange).iter().map(|it| it.1).collect();
        assert_eq!(again, [first[1].1, first[2].1, 3]);
    }

    #[test]
    fn what_a_receiver_cannot_take_now_comes_again_and_what_it_never_takes_does_not() {
        for (status, again) in [(Status::RECEIVER_TEMPORARY, 1), (Status::RECEIVER_PERMANENT, 0)] {
            let (mut exchange, now) = exchange(Config { receipts: false, ..Config::default() });
            submit(&mut exchange, 0, now);
            let later = now + Duration::from_secs(60);
            exchange.handle_timeout(later);
            let [(id, _)] = delivered(&mut exchange)[..] else { panic!("not delivered") };
            let refused = center::Command::Delivered(id, status);
            exchange.handle_event(Event::Said(PRIVATE, refused), later);
            exchange.handle_timeout(later + OPERATOR_AGAIN);
            assert_eq!(delivered(&mut exchange).len(), again, "{status}");
        }
    }

    #[test]
    fn messages_overtake_each_other_only_when_they_are_told_to() {
        let order = |reordered| {
            let delay = Delay::Fixed { seconds: 1.0 };
            let (mut exchange, now) = exchange(Config { delay, reordered, ..Config::default() });
            for count in 0..20 {
                submit(&mut exchange, count, now + Duration::from_millis(count.into()));
            }
            exchange.handle_timeout(now + Duration::from_secs(60));
            delivered(&mut exchange).iter().map(|it| it.1).collect::<Vec<u8>>()
        };
        assert!(order(0.0).is_sorted());
        assert!(!order(0.5).is_sorted());
        assert_eq!(order(0.5), order(0.5), "the same seed has the same luck");
        assert_eq!(order(0.5).len(), 20);
    }

    #[test]
    fn a_message_is_taken_back_once_by_its_sender_and_not_after_it_was_handed_over() {
        let (mut exchange, now) = exchange(Config { receipts: false, ..Config::default() });
        for count in 0..2 {
            submit(&mut exchange, count, now);
        }
        let id = |exchange: &Exchange, content: u8| {
            let item = exchange.under_way.values().find(|it| it.message.content == [content]);
            item.unwrap().message_id.clone()
        };
        let (first, second) = (id(&exchange, 0), id(&exchange, 1));
        assert_eq!(cancel(&mut exchange, PRIVATE, &first, now), Status::CANCEL_FAILED);
        assert_eq!(cancel(&mut exchange, PUBLIC, &first, now), Status::OK);
        assert_eq!(cancel(&mut exchange, PUBLIC, &first, now), Status::CANCEL_FAILED);

        let later = now + Duration::from_secs(60);
        exchange.handle_timeout(later);
        assert_eq!(delivered(&mut exchange).len(), 1);
        assert_eq!(cancel(&mut exchange, PUBLIC, &second, later), Status::CANCEL_FAILED);
    }

    #[test]
    fn a_late_message_is_late() {
        let delay = Delay::Fixed { seconds: 1.0 };
        let late = Config { delay, late: 1.0, late_seconds: 100.0, ..Config::default() };
        let (mut exchange, now) = exchange(late);
        submit(&mut exchange, 0, now);
        let due = exchange.poll_timeout().unwrap() - now;
        assert!(Duration::from_secs(1) < due && due <= Duration::from_secs(101), "{due:?}");
    }

    #[test]
    fn the_longest_prefix_wins_and_an_unknown_number_is_refused() {
        let (mut exchange, now) = exchange(Config::default());
        exchange.config.accounts[0].prefixes = vec!["+15550100777".into()];
        submit(&mut exchange, 0, now);
        exchange.handle_timeout(now + Duration::from_secs(60));
        let (to, _) = exchange.poll_command().unwrap();
        assert_eq!(to, PUBLIC);

        let destination = Address::parse("+999").unwrap();
        let message = Message { destination, ..Message::default() };
        let refused = exchange.accept(PUBLIC, message, now);
        assert_eq!(refused, Err(Status::INVALID_DESTINATION));
    }

    #[test]
    fn after_a_timeout_the_next_one_is_later() {
        let (mut exchange, mut now) = exchange(Config { duplicates: 0.5, ..Config::default() });
        exchange.handle_event(Event::Gone(PRIVATE), now);
        for count in 0..50 {
            submit(&mut exchange, count, now);
        }
        while let Some(at) = exchange.poll_timeout() {
            now = at;
            exchange.handle_timeout(now);
            assert!(exchange.poll_timeout().is_none_or(|it| now < it));
        }
    }

    /// Two accounts, one bind each.
    fn exchange(config: Config) -> (Exchange, Instant) {
        let account = |system_id: &str, prefix: &str| Account {
            system_id: system_id.into(),
            password: "secret".into(),
            prefixes: vec![prefix.into()],
        };
        let accounts = vec![account("public", "70707"), account("private", "+1555")];
        let now = tokio::time::Instant::now().into_std();
        let mut exchange = Exchange::new(Config { accounts, ..config }, now);
        bind(&mut exchange, PUBLIC, "public", now);
        bind(&mut exchange, PRIVATE, "private", now);
        (exchange, now)
    }

    fn bind(exchange: &mut Exchange, connection: ConnectionId, name: &str, now: Instant) {
        let bind = Bind {
            role: Role::Transceiver,
            system_id: Text::new(name).unwrap(),
            password: Password::new("secret").unwrap(),
            system_type: Text::default(),
        };
        let authenticate = center::Command::Authenticate(bind);
        exchange.handle_event(Event::Said(connection, authenticate), now);
        assert_eq!(exchange.poll_command(), Some((connection, center::Event::Admit)));
    }

    fn submit(exchange: &mut Exchange, count: u8, now: Instant) {
        let message = Message {
            destination: Address::parse("+15550100777").unwrap(),
            content: vec![count],
            ..Message::default()
        };
        let submission = center::Command::Submission(count.into(), message);
        exchange.handle_event(Event::Said(PUBLIC, submission), now);
        let Some((PUBLIC, center::Event::Answer(_, Ok(_)))) = exchange.poll_command() else {
            panic!("not accepted")
        };
    }

    fn cancel(exchange: &mut Exchange, by: ConnectionId, id: &Text<65>, now: Instant) -> Status {
        let cancel = Cancel {
            message_id: id.clone(),
            source: Address::default(),
            destination: Address::parse("+15550100777").unwrap(),
        };
        let cancellation = center::Command::Cancellation(9, cancel);
        exchange.handle_event(Event::Said(by, cancellation), now);
        let Some((_, center::Event::Canceled(9, status))) = exchange.poll_command() else {
            panic!("not answered")
        };
        status
    }

    fn delivered(exchange: &mut Exchange) -> Vec<(DeliveryId, u8)> {
        let mut delivered = Vec::new();
        while let Some((_, event)) = exchange.poll_command() {
            let center::Event::Deliver(id, message) = event else { panic!("{event:?}") };
            delivered.push((id, message.content[0]));
        }
        delivered
    }
}
