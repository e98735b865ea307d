//! A dialog with a modem that says anything at any time: time passes, and every story ends once.
#![no_main]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use ringback_proto::limits::MODEM_HANDED;
use ringback_proto::modem::at::{
    Command, Config, Event, HandedId, Modem, Submission, SubmissionId,
};
use ringback_proto::modem::pin::Pin;
use ringback_proto::modem::tpdu::{Address, Content};

/// What a mutation would hardly find.
const WORDS: [&str; 16] = [
    "\r\nOK\r\n",
    "\r\nERROR\r\n",
    "\r\n> ",
    "\r\n+CMS ERROR: ",
    "\r\n+CME ERROR: ",
    "\r\n+CMGS: ",
    "\r\n+CMT: ,29\r\n",
    "\r\n+CDS: 26\r\n",
    "\r\n+CMGL: 1,0,,29\r\n",
    "\r\n+CMGR: 0,,29\r\n",
    "\r\n+CMTI: \"SM\",",
    "0791447758100650040C914477112233440000621132904000000AE8329BFD4697D9EC37\r\n",
    "\r\n+CPIN: READY\r\n",
    "\r\n+CPIN: SIM PIN\r\n",
    "\r\n+CREG: 1,",
    "\r\nRDY\r\n",
];

fuzz_target!(|octets: &[u8]| {
    let mut dialog = Dialog::new();
    let mut rest = octets;
    while let [act, argument, behind @ ..] = rest {
        rest = behind;
        match act % 8 {
            0 | 1 => dialog.hear(WORDS[usize::from(*argument) % WORDS.len()].as_bytes()),
            2 => {
                let (said, behind) = rest.split_at(rest.len().min(usize::from(*argument)));
                rest = behind;
                dialog.hear(said);
            }
            3 => dialog.pass(Duration::from_millis(u64::from(*argument) * 100)),
            4 => dialog.until_due(),
            5 => dialog.submit(*argument),
            6 => dialog.settle(usize::from(*argument)),
            _ => dialog.modem.handle_event(Event::Closed, dialog.now),
        }
        dialog.drain();
    }
    dialog.end();
});

struct Dialog {
    modem: Modem,
    now: Instant,
    next: u64,
    open: BTreeSet<SubmissionId>,
    handed: Vec<HandedId>,
}

impl Dialog {
    fn new() -> Self {
        let now = Instant::now();
        let config = Config { pin: Pin::new("1234"), center: None, reports: true };
        let (open, handed) = (BTreeSet::new(), Vec::new());
        Self { modem: Modem::new(config, now), now, next: 0, open, handed }
    }

    fn hear(&mut self, octets: &[u8]) {
        self.modem.handle_input(octets, self.now);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.modem.handle_timeout(self.now);
        assert!(self.modem.poll_timeout().is_none_or(|it| self.now < it), "no time passes");
    }

    fn until_due(&mut self) {
        let due = self.modem.poll_timeout();
        self.pass(due.map_or(Duration::ZERO, |it| it.saturating_duration_since(self.now)));
    }

    fn submit(&mut self, seconds: u8) {
        if self.modem.is_full() {
            return;
        }
        self.next += 1;
        let id = SubmissionId(self.next);
        self.open.insert(id);
        let destination = Address::parse("+15550100777").expect("a number");
        let content = Content::Octets(vec![seconds; usize::from(seconds)]);
        let until = self.now + Duration::from_secs(u64::from(seconds));
        let submission = Submission { destination, content, until };
        self.modem.handle_event(Event::Submit(id, submission), self.now);
    }

    fn settle(&mut self, at: usize) {
        if self.handed.is_empty() {
            return;
        }
        let handed = self.handed.swap_remove(at % self.handed.len());
        let event = if at % 2 == 0 { Event::Taken(handed) } else { Event::Declined(handed) };
        self.modem.handle_event(event, self.now);
    }

    fn drain(&mut self) {
        while self.modem.poll_output().is_some() {}
        while let Some(command) = self.modem.poll_command() {
            match command {
                Command::Open => self.modem.handle_event(Event::Opened, self.now),
                Command::Submitted(id, _) | Command::Unknown(id) | Command::Failed(id, _) => {
                    assert!(self.open.remove(&id), "a story ended twice");
                }
                Command::Hand { handed: id, .. } => self.handed.push(id),
                Command::Forget => self.handed.clear(),
                Command::Close(_)
                | Command::Ready
                | Command::Report(_)
                | Command::Dropped(_)
                | Command::Trouble(_) => {}
            }
        }
        assert!(self.handed.len() <= MODEM_HANDED, "more is handed out than may be in hand");
    }

    fn end(&mut self) {
        self.modem.handle_event(Event::ShutDown, self.now);
        self.drain();
        assert!(self.open.is_empty(), "a story without an end");
    }
}
