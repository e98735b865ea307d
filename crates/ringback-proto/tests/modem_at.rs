//! The dialog with a modem that says anything at any time.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ringback_proto::limits::{MODEM_HANDED, MODEM_TRIES};
use ringback_proto::modem::at::{
    Command, Config, Event, HandedId, Modem, Submission, SubmissionId,
};
use ringback_proto::modem::pin::Pin;
use ringback_proto::modem::tpdu::{Address, Content};

const MESSAGE: &str = "0791447758100650040C914477112233440000621132904000000AE8329BFD4697D9EC37";

/// What modems say, in whatever order.
const LINES: [&str; 24] = [
    "OK",
    "OK",
    "OK",
    "OK",
    "ERROR",
    "+CMS ERROR: 42",
    "+CMS ERROR: 1",
    "+CMS ERROR: 332",
    "+CME ERROR: 14",
    "+CMGS: 7",
    "+CMT: ,29",
    "+CMGL: 1,0,,29",
    "+CMGL: 2,0,,29",
    "+CMGR: 0,,29",
    "+CMTI: \"SM\",3",
    "+CMTI: \"ME\",4",
    MESSAGE,
    MESSAGE,
    "+CPIN: READY",
    "+CPIN: SIM PIN",
    "+CREG: 1,1",
    "+CREG: 0",
    "RDY",
    "> ",
];

#[test]
fn whatever_a_modem_says_time_passes_and_every_story_ends_once() {
    for seed in 0..300 {
        let mut world = World::new(seed);
        world.agree();
        for _ in 0..1_000 {
            world.step();
        }
        world.end();
    }
}

#[test]
fn no_beginning_and_no_mutation_of_a_line_breaks_the_dialog() {
    let mut world = World::new(7);
    world.agree();
    for line in LINES.into_iter().filter(|it| *it != MESSAGE).chain([&MESSAGE[..40]]) {
        for end in 0..line.len() {
            world.say(&format!("\r\n{}\r\n", &line[..end]));
            for octet in 0..=u8::MAX {
                let mut octets = format!("\r\n{line}\r\n").into_bytes();
                octets[2 + end] = octet;
                world.modem.handle_input(&octets, world.now);
                world.drain();
            }
        }
        world.pass(Duration::from_millis(400));
        world.drain();
    }
    world.end();
}

#[test]
fn without_a_network_its_store_is_listed_all_the_same() {
    let mut world = World::new(1);
    world.agree();
    world.listings = 0;
    for _ in 0..100 {
        world.say("\r\n+CREG: 0,2\r\n");
        world.say("\r\nOK\r\n");
        world.pass(Duration::from_secs(1));
        world.drain();
    }
    assert!(0 < world.listings, "it was not listed");
}

#[test]
fn a_flood_is_held_within_bounds() {
    let mut world = World::new(1);
    world.agree();
    for index in 0..10_000 {
        world.say(&format!("\r\n+CMTI: \"SM\",{index}\r\n"));
        world.say(&format!("\r\n+CMT: ,29\r\n{MESSAGE}\r\n"));
    }
    assert_eq!(world.handed.len(), MODEM_HANDED);

    // Started anew again and again, with nobody who takes anything.
    for _ in 0..10 {
        world.say("\r\nRDY\r\n");
        world.agree();
        for _ in 0..100 {
            world.say(&format!("\r\n+CMT: ,29\r\n{MESSAGE}\r\n"));
        }
        assert_eq!(world.handed.len(), MODEM_HANDED);
    }
}

#[test]
fn what_the_network_may_have_is_never_given_again() {
    for said in ["ERROR", "NO CARRIER", "+CMS ERROR: 500", "+CMS ERROR: 518", "+CME ERROR: 100"] {
        let mut world = World::new(1);
        world.agree();
        world.submit();
        world.answer_until_given();
        world.say(&format!("\r\n{said}\r\n"));
        assert_eq!(world.stories.get(&SubmissionId(1)), Some(&true), "{said}: it is over");
        world.agree();
        assert_eq!(world.given, 1, "{said}");
    }
}

#[test]
fn what_is_taken_back_or_too_late_at_the_prompt_is_not_given() {
    for late in [false, true] {
        let mut world = World::new(1);
        world.agree();
        world.submit();
        world.drain();
        world.say("\r\nOK\r\n");
        if late {
            world.now += Duration::from_secs(70);
        } else {
            world.modem.retain(|_| false);
        }
        world.say("\r\n> ");
        assert_eq!(world.given, 0, "late: {late}");
        assert_eq!(world.stories.get(&SubmissionId(1)), Some(&late), "late: {late}");
        world.stories.insert(SubmissionId(1), true);
        // What it says to the break belongs to nothing that is asked next.
        world.say("\r\nOK\r\n");
        world.submit();
        world.answer_until_given();
        assert_eq!(world.given, 1);
    }
}

#[test]
fn a_modem_that_always_starts_over_is_given_up_for_a_while() {
    let mut world = World::new(1);
    world.agree();
    for _ in 0..100 {
        world.say("\r\nRDY\r\n");
        world.pass(Duration::from_millis(400));
        world.drain();
        world.say("\r\nOK\r\n");
    }
    assert!(0 < world.closed, "its port was never opened anew");
}

#[test]
fn a_card_that_is_busy_for_ever_is_not_given_the_pin_for_ever() {
    let mut world = World::new(1);
    for _ in 0..600 {
        world.pass(Duration::from_millis(500));
        world.drain();
        let said = match world.asked.as_str() {
            "AT+CPIN?\r" => "+CPIN: SIM PIN\r\n\r\nOK",
            it if it.starts_with("AT+CPIN=") => "+CME ERROR: 14",
            _ => "OK",
        };
        world.say(&format!("\r\n{said}\r\n"));
    }
    assert_eq!(world.pins, 2);
}

#[test]
fn a_message_that_lost_a_digit_on_the_line_is_read_once_more() {
    let mut world = World::new(1);
    world.agree();
    world.say("\r\n+CMTI: \"SM\",3\r\n");
    world.settle();
    world.say(&format!("\r\n+CMGR: 0,,29\r\n{}\r\n\r\nOK\r\n", &MESSAGE[1..]));
    assert_eq!((world.handed.len(), world.asked.as_str()), (0, "AT+CMGR=3\r"));
    world.say(&format!("\r\n+CMGR: 0,,29\r\n{MESSAGE}\r\n\r\nOK\r\n"));
    assert_eq!(world.handed.len(), 1);
}

#[test]
fn a_full_store_keeps_nobody_from_ringing() {
    let mut world = World::new(1);
    world.agree();
    for index in 0..40 {
        world.say(&format!("\r\n+CMTI: \"SM\",{index}\r\n"));
    }
    world.submit();
    for _ in 0..2 {
        world.say("\r\nOK\r\n");
    }
    assert!(world.asked.starts_with("AT+CMGS"), "{} is asked", world.asked);
}

struct World {
    modem: Modem,
    now: Instant,
    chance: u64,
    seed: u64,
    ready: bool,
    listings: u32,
    submitted: u64,
    /// Whether each message's story has ended.
    stories: BTreeMap<SubmissionId, bool>,
    /// How often any was given to the modem.
    given: u32,
    handed: Vec<HandedId>,
    /// Messages that may be deleted or acknowledged.
    done: usize,
    deleted: usize,
    /// How often its port was closed.
    closed: u32,
    /// How often the PIN was entered.
    pins: u32,
    /// What was written last.
    asked: String,
}

impl World {
    fn new(seed: u64) -> Self {
        #[expect(clippy::disallowed_methods, reason = "any instant will do to count from")]
        let now = Instant::now();
        let config = Config { pin: Pin::new("1234"), center: None, reports: true };
        Self {
            modem: Modem::new(config, now),
            now,
            chance: seed,
            seed,
            ready: false,
            listings: 0,
            submitted: 0,
            stories: BTreeMap::new(),
            given: 0,
            handed: Vec::new(),
            done: 0,
            deleted: 0,
            closed: 0,
            pins: 0,
            asked: String::new(),
        }
    }

    /// Says yes until nothing more is asked.
    fn settle(&mut self) {
        for _ in 0..10 {
            if self.asked.starts_with("AT+CMGR") {
                return;
            }
            self.say("\r\nOK\r\n");
        }
    }

    /// Says yes until the modem has the message.
    fn answer_until_given(&mut self) {
        let given = self.given;
        for _ in 0..20 {
            self.drain();
            let prompts = self.asked.starts_with("AT+CMGS");
            self.say(if prompts { "\r\n> " } else { "\r\nOK\r\n" });
            if given < self.given {
                return;
            }
        }
    }

    fn step(&mut self) {
        match self.below(10) {
            0 => self.submit(),
            1 => {
                let time = Duration::from_millis(self.below(2_000) as u64);
                self.pass(time);
            }
            2 if !self.handed.is_empty() => {
                let at = self.below(self.handed.len());
                let handed = self.handed.swap_remove(at);
                self.done += 1;
                self.modem.handle_event(Event::Taken(handed), self.now);
            }
            3 if self.below(20) == 0 => self.modem.handle_event(Event::Closed, self.now),
            4 => {
                let noise: Vec<u8> = (0..self.below(40)).map(|_| self.below(256) as u8).collect();
                self.modem.handle_input(&noise, self.now);
            }
            5 => self.until_due(),
            _ => {
                let line = LINES[self.below(LINES.len())];
                self.say(&format!("\r\n{line}\r\n"));
            }
        }
        self.drain();
    }

    fn submit(&mut self) {
        if self.modem.is_full() {
            return;
        }
        self.submitted += 1;
        let id = SubmissionId(self.submitted);
        let destination = Address::parse("+15550100777").unwrap();
        let content = Content::Text("RB".to_owned());
        let until = self.now + Duration::from_secs(1 + self.below(60) as u64);
        self.stories.insert(id, false);
        let submission = Submission { destination, content, until };
        self.modem.handle_event(Event::Submit(id, submission), self.now);
    }

    fn say(&mut self, text: &str) {
        self.modem.handle_input(text.as_bytes(), self.now);
        self.drain();
    }

    /// Says yes to everything, so that it is set up.
    fn agree(&mut self) {
        for _ in 0..40 {
            self.pass(Duration::from_millis(400));
            self.drain();
            self.say("\r\nOK\r\n");
        }
        assert!(self.ready, "seed {}: not set up", self.seed);
    }

    fn until_due(&mut self) {
        let due = self.modem.poll_timeout();
        self.pass(due.map_or(Duration::ZERO, |it| it.saturating_duration_since(self.now)));
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.modem.handle_timeout(self.now);
        let next = self.modem.poll_timeout();
        assert!(next.is_none_or(|it| self.now < it), "seed {}: no time passes", self.seed);
    }

    fn drain(&mut self) {
        while let Some(command) = self.modem.poll_command() {
            match command {
                Command::Open => self.modem.handle_event(Event::Opened, self.now),
                Command::Submitted(id, _) | Command::Unknown(id) | Command::Failed(id, _) => {
                    let ended = self.stories.insert(id, true);
                    assert_eq!(ended, Some(false), "seed {}: {id:?} ended twice", self.seed);
                }
                Command::Hand { handed, .. } => self.handed.push(handed),
                Command::Dropped(_) | Command::Report(_) => self.done += 1,
                Command::Ready => self.ready = true,
                Command::Forget => self.handed.clear(),
                Command::Close(_) => self.closed += 1,
                Command::Trouble(_) => {}
            }
        }
        while let Some(octets) = self.modem.poll_output() {
            let text = String::from_utf8(octets).unwrap();
            self.listings += u32::from(text == "AT+CMGL=4\r");
            self.given += u32::from(text.ends_with('\u{1a}'));
            self.pins += u32::from(text.starts_with("AT+CPIN="));
            let deletes = text.starts_with("AT+CMGD") || text == "AT+CNMA\r";
            self.deleted += usize::from(deletes);
            assert!(self.deleted <= self.done, "seed {}: {text} before it was taken", self.seed);
            self.asked = text;
        }
    }

    fn end(&mut self) {
        self.modem.handle_event(Event::ShutDown, self.now);
        self.drain();
        assert!(self.modem.is_ended());
        let open = self.stories.values().filter(|ended| !**ended).count();
        assert_eq!(open, 0, "seed {}: stories without an end", self.seed);
        let most = self.submitted as u32 * u32::from(MODEM_TRIES);
        assert!(self.given <= most, "seed {}: given {} times", self.seed, self.given);
    }

    fn below(&mut self, bound: usize) -> usize {
        self.chance = self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.chance >> 33) as usize % bound
    }
}
