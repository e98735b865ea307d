//! The dialog with modems of several makers, as their manuals and the specification have it.
//!
//! A transcript is a text file in `tests/transcripts`, one step a line:
//!
//! ```text
//! # a comment                          config pin=1234 center=+44… silent
//! > AT+CMGF=0      we write this       ! start | opened | closed | taken N | declined N | shutdown
//! >^Z 0031…        …and ^Z             ! submit N +NUMBER text… | 0xOCTETS
//! >^[              ESC and a return    wait 300ms    nothing is said for so long
//! < OK             the modem says      = Ready       the machine wants this
//! <>               it shows a prompt   include setup.txt
//! ```
//!
//! Nothing may be written or wanted that the transcript does not have.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ringback_proto::modem::at::{Config, Event, HandedId, Modem, Submission, SubmissionId};
use ringback_proto::modem::pin::Pin;
use ringback_proto::modem::tpdu::{Address, Content};

#[test]
fn every_transcript_is_followed_to_the_letter() {
    let mut count = 0;
    for entry in fs::read_dir(place()).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        if text.starts_with("# A part") {
            continue;
        }
        count += 1;
        for octets in [usize::MAX, 1, 7] {
            Story::new(octets).follow(&path);
        }
    }
    assert!(7 <= count, "only {count} transcripts were found");
}

/// A modem's machine, and how many octets of what is said come to it at once.
struct Story {
    config: Option<Config>,
    modem: Option<Modem>,
    now: Instant,
    octets: usize,
}

impl Story {
    fn new(octets: usize) -> Self {
        let config = Config { pin: None, center: None, reports: true };
        #[expect(clippy::disallowed_methods, reason = "any instant will do to count from")]
        let now = Instant::now();
        Self { config: Some(config), modem: None, now, octets }
    }

    fn follow(&mut self, path: &Path) {
        self.read(path);
        self.assert_idle(&format!("the end of {}", path.display()));
    }

    fn read(&mut self, path: &Path) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        for (index, line) in fs::read_to_string(path).unwrap().lines().enumerate() {
            let line = line.split(" # ").next().unwrap().trim_end();
            let at = format!("{name}:{}: {line}", index + 1);
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "" | "#" => {}
                "config" => self.configure(rest),
                "include" => self.read(&place().join(rest)),
                ">" => self.assert_written(&format!("{rest}\r"), &at),
                ">^Z" => self.assert_written(&format!("{rest}\u{1a}"), &at),
                ">^[" => self.assert_written("\u{1b}\r", &at),
                "=" => {
                    let wanted = self.modem().poll_command().map(|it| format!("{it:?}"));
                    assert_eq!(wanted.as_deref(), Some(rest), "{at}");
                }
                "<" => self.say(&format!("\r\n{rest}\r\n"), &at),
                "<>" => self.say("\r\n> ", &at),
                "wait" => self.wait(rest, &at),
                "!" => self.happen(rest, &at),
                _ => panic!("{at}: not a step"),
            }
        }
    }

    fn modem(&mut self) -> &mut Modem {
        let (config, now) = (&mut self.config, self.now);
        self.modem.get_or_insert_with(|| Modem::new(config.take().unwrap(), now))
    }

    fn configure(&mut self, settings: &str) {
        let config = self.config.as_mut().expect("before the first step");
        for setting in settings.split_whitespace() {
            match setting.split_once('=') {
                Some(("pin", pin)) => config.pin = Some(Pin::new(pin).unwrap()),
                Some(("center", center)) => config.center = Some(Address::parse(center).unwrap()),
                _ if setting == "silent" => config.reports = false,
                _ => panic!("{setting}: not a setting"),
            }
        }
    }

    fn say(&mut self, text: &str, at: &str) {
        self.assert_idle(at);
        let now = self.now;
        let octets = self.octets;
        for part in text.as_bytes().chunks(octets.min(text.len())) {
            self.modem().handle_input(part, now);
        }
    }

    fn wait(&mut self, time: &str, at: &str) {
        self.assert_idle(at);
        let time = match time.strip_suffix("ms") {
            Some(milliseconds) => Duration::from_millis(milliseconds.parse().unwrap()),
            None => Duration::from_secs(time.strip_suffix('s').unwrap().parse().unwrap()),
        };
        let end = self.now + time;
        while let Some(due) = self.modem().poll_timeout().filter(|it| *it <= end) {
            if self.now < due {
                self.assert_idle(at);
            }
            self.now = due.max(self.now);
            let now = self.now;
            self.modem().handle_timeout(now);
            let next = self.modem().poll_timeout();
            assert!(next.is_none_or(|it| now < it), "{at}: a timeout that does not pass");
        }
        self.now = end;
    }

    fn happen(&mut self, words: &str, at: &str) {
        if words == "start" {
            return self.wait("0ms", at);
        }
        self.assert_idle(at);
        let mut words = words.splitn(4, ' ');
        let mut word = || words.next().unwrap_or_default();
        let event = match word() {
            "opened" => Event::Opened,
            "closed" => Event::Closed,
            "shutdown" => Event::ShutDown,
            "taken" => Event::Taken(HandedId(word().parse().unwrap())),
            "declined" => Event::Declined(HandedId(word().parse().unwrap())),
            "submit" => {
                let id = SubmissionId(word().parse().unwrap());
                let destination = Address::parse(word()).unwrap();
                let content = match word() {
                    text if !text.starts_with("0x") => Content::Text(text.to_owned()),
                    octets => Content::Octets(octets_of(&octets[2..])),
                };
                let until = self.now + Duration::from_secs(60);
                Event::Submit(id, Submission { destination, content, until })
            }
            other => panic!("{at}: {other} does not happen"),
        };
        let now = self.now;
        self.modem().handle_event(event, now);
    }

    fn assert_written(&mut self, expected: &str, at: &str) {
        let written = self.modem().poll_output();
        let written = written.map(|it| String::from_utf8(it).unwrap());
        assert_eq!(written.as_deref(), Some(expected), "{at}");
    }

    fn assert_idle(&mut self, at: &str) {
        let output = self.modem().poll_output().map(|it| String::from_utf8(it).unwrap());
        let command = self.modem().poll_command();
        assert_eq!((output, command), (None, None), "before {at}");
    }
}

fn place() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts")
}

fn octets_of(digits: &str) -> Vec<u8> {
    let octet = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.as_bytes().chunks(2).map(octet).collect()
}
