//! A simulated modem's brain: commands in, answers and news out, as 3GPP TS 27.005 has them.
//!
//! It reads and writes messages by a codec that is not ours, and knows nothing of a port. What it
//! does not know it answers with an error, as a modem would.

use std::collections::{BTreeMap, VecDeque};
use std::io::Cursor;

use tpdu::{SmsDeliver, SmsStatusReport, SmsSubmit};

/// What a modem is, and what a network has done to it.
pub(crate) struct Brain {
    pub(crate) traits: Traits,
    settings: Settings,
    line: Vec<u8>,
    /// What `AT+CMGS` asked to send; the message is being given.
    prompt: Option<Prompt>,
    pub(crate) stores: BTreeMap<String, BTreeMap<u16, Stored>>,
    pub(crate) unlocked: bool,
    pub(crate) pin_tries: u8,
    pub(crate) registered: bool,
    /// Messages that the network has for it.
    pub(crate) queue: VecDeque<Vec<u8>>,
    /// The one that it gave straight and that is not acknowledged.
    unacknowledged: Option<Vec<u8>>,
    /// What shall become of the next submissions.
    pub(crate) faults: VecDeque<Fault>,
    /// What the network has taken.
    pub(crate) sent: Vec<SmsSubmit>,
    /// What was sent in text mode, to whom: nobody of ours would.
    pub(crate) strays: Vec<String>,
    /// Every command, in order.
    pub(crate) asked: Vec<String>,
    reference: u8,
    out: Vec<u8>,
}

/// What kind of modem it is.
#[derive(Clone)]
pub(crate) struct Traits {
    pub(crate) pin: Option<&'static str>,
    /// It knows phase 2+: messages straight from the network are acknowledged.
    pub(crate) acknowledges: bool,
    /// Places in each of its stores.
    pub(crate) places: u16,
    /// After a reset it is in text mode, as somebody once told it to be.
    pub(crate) text_mode: bool,
    /// After a reset it repeats what it is told.
    pub(crate) echo: bool,
    /// It says so when it has started.
    pub(crate) announces_start: bool,
    /// The network reports what became of a message.
    pub(crate) reports: bool,
}

#[derive(Clone)]
struct Settings {
    echo: bool,
    numbers: bool,
    text_mode: bool,
    acknowledges: bool,
    notices: [u8; 5],
    stores: [String; 3],
}

pub(crate) struct Stored {
    pub(crate) status: u8,
    pub(crate) pdu: Vec<u8>,
}

struct Prompt {
    argument: String,
    given: Vec<u8>,
}

/// What may become of a submission.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// The network refuses.
    Refused(u16),
    /// No prompt is shown.
    NoPrompt,
    /// It starts anew when it should show the prompt.
    StartsAtPrompt,
    /// The network takes the message, and it starts anew before it says so.
    StartsAfter,
    /// News comes in the middle, before the prompt and before the answer.
    News(&'static str),
}

const END: u8 = 0x1a;
const ESCAPE: u8 = 0x1b;

impl Brain {
    pub(crate) fn new(traits: Traits) -> Self {
        let stores = ["SM", "ME"].map(|it| (it.to_owned(), BTreeMap::new())).into();
        Self {
            settings: Settings::after_reset(&traits),
            line: Vec::new(),
            prompt: None,
            stores,
            unlocked: traits.pin.is_none(),
            pin_tries: 3,
            registered: true,
            queue: VecDeque::new(),
            unacknowledged: None,
            faults: VecDeque::new(),
            sent: Vec::new(),
            strays: Vec::new(),
            asked: Vec::new(),
            reference: 0,
            out: Vec::new(),
            traits,
        }
    }

    /// Takes in what came over the port.
    pub(crate) fn input(&mut self, octets: &[u8]) {
        for octet in octets {
            if self.settings.echo {
                self.out.push(*octet);
            }
            match &mut self.prompt {
                Some(prompt) => match *octet {
                    ESCAPE => {
                        self.prompt = None;
                        self.say("OK");
                    }
                    END => self.submit(),
                    b'\r' | b'\n' => {}
                    octet => prompt.given.push(octet),
                },
                None if *octet == b'\r' => {
                    let line = std::mem::take(&mut self.line);
                    self.command(String::from_utf8_lossy(&line).trim());
                }
                None if *octet == b'\n' || *octet == ESCAPE => {}
                None => self.line.push(*octet),
            }
        }
        self.network();
    }

    /// What goes out over the port.
    pub(crate) fn output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Says a line.
    pub(crate) fn say(&mut self, line: &str) {
        self.out.extend(format!("\r\n{line}\r\n").into_bytes());
    }

    /// The network has a message for it.
    pub(crate) fn deliver(&mut self, deliver: &SmsDeliver) {
        self.queue.push_back(deliver.encode().unwrap());
        self.network();
    }

    /// Puts a message into a store, as if it had come earlier.
    pub(crate) fn store(&mut self, store: &str, status: u8, deliver: &SmsDeliver) -> u16 {
        let pdu = with_center(&deliver.encode().unwrap());
        self.put(store, status, pdu).expect("a free place")
    }

    /// It starts anew: it forgets what it was told, and keeps what it has stored.
    pub(crate) fn reset(&mut self) {
        self.settings = Settings::after_reset(&self.traits);
        self.line.clear();
        self.prompt = None;
        self.unlocked = self.traits.pin.is_none();
        self.queue.extend(self.unacknowledged.take());
        if self.traits.announces_start {
            self.say("RDY");
        }
    }

    /// Nobody acknowledged in time: the network keeps the message, and no more are given straight.
    pub(crate) fn acknowledgement_missed(&mut self) {
        let missed = self.unacknowledged.take();
        self.queue.extend(missed);
        (self.settings.notices[1], self.settings.notices[3]) = (0, 0);
    }

    fn network(&mut self) {
        while self.unlocked && self.registered && self.prompt.is_none() {
            let Some(tpdu) = self.queue.pop_front() else { return };
            let is_report = tpdu[0] & 3 == 2;
            let [_, messages, _, reports, _] = self.settings.notices;
            let straight = if is_report { reports == 1 } else { messages == 2 };
            if straight {
                if self.unacknowledged.is_some() {
                    return self.queue.push_front(tpdu);
                }
                let header = if is_report { "+CDS: " } else { "+CMT: ," };
                let pdu = with_center(&tpdu);
                self.say(&format!("{header}{}\r\n{}", tpdu.len(), hex(&pdu)));
                if self.settings.acknowledges {
                    self.unacknowledged = Some(tpdu);
                }
                continue;
            }
            let store = self.settings.stores[2].clone();
            let Some(index) = self.put(&store, 0, with_center(&tpdu)) else {
                return self.queue.push_front(tpdu);
            };
            match (is_report, messages, reports) {
                (true, _, 2) => self.say(&format!("+CDSI: \"{store}\",{index}")),
                (false, 1, _) => self.say(&format!("+CMTI: \"{store}\",{index}")),
                _ => {}
            }
        }
    }

    fn put(&mut self, store: &str, status: u8, pdu: Vec<u8>) -> Option<u16> {
        let places = self.traits.places;
        let store = self.stores.get_mut(store).unwrap();
        let index = (1..=places).find(|it| !store.contains_key(it))?;
        store.insert(index, Stored { status, pdu });
        Some(index)
    }

    fn command(&mut self, line: &str) {
        if line.is_empty() {
            return;
        }
        self.asked.push(line.to_owned());
        let upper = line.to_ascii_uppercase();
        let Some(command) = upper.strip_prefix("AT") else { return };
        let answer =
            if command.starts_with('+') { self.extended(command) } else { self.basic(command) };
        match answer {
            Ok(true) => self.say("OK"),
            Ok(false) => {}
            Err(number) if self.settings.numbers => {
                let about_messages = ["+CM", "+CN", "+CSMS", "+CSCA", "+CPMS"];
                let about_messages = about_messages.iter().any(|it| command.starts_with(it));
                let kind = if about_messages { "CMS" } else { "CME" };
                self.say(&format!("+{kind} ERROR: {number}"));
            }
            Err(_) => self.say("ERROR"),
        }
    }

    fn basic(&mut self, command: &str) -> Result<bool, u16> {
        match command {
            "" | "V1" | "Z" | "I" | "&F" => {}
            "E0" | "E0V1" => self.settings.echo = false,
            "E1" | "E1V1" | "E" => self.settings.echo = true,
            _ => return Err(3),
        }
        Ok(true)
    }

    /// Whether the command is done; not if its answer comes later.
    fn extended(&mut self, command: &str) -> Result<bool, u16> {
        let (name, argument) = match command.find(['=', '?']) {
            Some(at) => command.split_at(at),
            None => (command, ""),
        };
        let needs_card =
            !matches!(name, "+CPIN" | "+CPINR" | "+CMEE" | "+CGMI" | "+CGMM" | "+CGMR");
        if needs_card && !self.unlocked {
            return Err(11);
        }
        match (name, argument) {
            ("+CMEE", "=1" | "=2") => self.settings.numbers = true,
            ("+CMEE", "=0") => self.settings.numbers = false,
            ("+CPIN", "?") if self.unlocked => self.say("+CPIN: READY"),
            ("+CPIN", "?") if self.pin_tries == 0 => self.say("+CPIN: SIM PUK"),
            ("+CPIN", "?") => self.say("+CPIN: SIM PIN"),
            ("+CPIN", pin) => self.enter(pin)?,
            ("+CPINR", _) => self.say(&format!("+CPINR: SIM PIN,{},3", self.pin_tries)),
            ("+CSMS", "=1") if !self.traits.acknowledges => return Err(303),
            ("+CSMS", "=0" | "=1") => {
                self.settings.acknowledges = argument == "=1";
                self.say("+CSMS: 1,1,1");
            }
            ("+CSMS", "?") => {
                self.say(&format!("+CSMS: {},1,1,1", u8::from(self.settings.acknowledges)));
            }
            ("+CMGF", "=0" | "=1") => self.settings.text_mode = argument == "=1",
            ("+CMGF", "?") => self.say(&format!("+CMGF: {}", u8::from(self.settings.text_mode))),
            ("+CMGF", "=?") => self.say("+CMGF: (0,1)"),
            ("+CSCA", "?") => self.say("+CSCA: \"+447785016005\",145"),
            ("+CPMS", _) => self.select(argument)?,
            ("+CNMI", "?") => {
                let [a, b, c, d, e] = self.settings.notices;
                self.say(&format!("+CNMI: {a},{b},{c},{d},{e}"));
            }
            ("+CNMI", "=?") => self.say("+CNMI: (0-2),(0-3),(0,2),(0-2),(0,1)"),
            ("+CNMI", _) => self.settings.notices = notices(argument).ok_or(302_u16)?,
            ("+CREG" | "+CEREG", "?") => {
                self.say(&format!("{name}: 0,{}", if self.registered { 1 } else { 2 }));
            }
            ("+CREG", "=0" | "=1") => {}
            ("+CMGL", _) => self.list()?,
            ("+CMGR", _) => self.read(argument)?,
            ("+CMGD", _) => self.delete(argument)?,
            ("+CNMA", "" | "=0" | "=1") => self.unacknowledged.take().map(drop).ok_or(340_u16)?,
            ("+CNMA", "=2") => {
                let declined = self.unacknowledged.take().ok_or(340_u16)?;
                self.queue.push_back(declined);
            }
            ("+CMGS", _) => return self.start_submission(argument),
            ("+CFUN", "=1") => {}
            ("+CFUN", "?") => self.say("+CFUN: 1"),
            ("+CGMI", "") => self.say("Ringback"),
            ("+CGMM", "") => self.say("Simulator"),
            ("+CGMR", "") => self.say("1.0"),
            ("+CGSN", "") => self.say("490154203237518"),
            ("+CIMI", "") => self.say("001010123456789"),
            ("+CSQ", "") => self.say("+CSQ: 20,0"),
            ("+CSCS", "=?") => self.say("+CSCS: (\"GSM\",\"UCS2\")"),
            ("+CSCS", "?") => self.say("+CSCS: \"GSM\""),
            ("+CSCS", "=\"GSM\"") => {}
            _ => return Err(3),
        }
        Ok(true)
    }

    fn enter(&mut self, pin: &str) -> Result<(), u16> {
        if self.pin_tries == 0 {
            return Err(12);
        }
        if Some(pin.trim_matches(['=', '"'])) != self.traits.pin {
            self.pin_tries -= 1;
            return Err(16);
        }
        (self.unlocked, self.pin_tries) = (true, 3);
        Ok(())
    }

    fn select(&mut self, argument: &str) -> Result<(), u16> {
        if argument == "=?" {
            self.say("+CPMS: (\"SM\",\"ME\"),(\"SM\",\"ME\"),(\"SM\",\"ME\")");
            return Ok(());
        }
        if let Some(names) = argument.strip_prefix('=') {
            for (at, name) in names.split(',').map(|it| it.trim_matches('"')).enumerate() {
                if 2 < at || !self.stores.contains_key(name) {
                    return Err(302);
                }
                self.settings.stores[at] = name.to_owned();
            }
        }
        let places = self.traits.places;
        let tell = |name: &String| {
            let used = self.stores[name].len();
            if argument == "?" {
                format!("\"{name}\",{used},{places}")
            } else {
                format!("{used},{places}")
            }
        };
        let all: Vec<String> = self.settings.stores.iter().map(tell).collect();
        self.say(&format!("+CPMS: {}", all.join(",")));
        Ok(())
    }

    fn selected(&mut self) -> &mut BTreeMap<u16, Stored> {
        self.stores.get_mut(&self.settings.stores[0]).unwrap()
    }

    fn list(&mut self) -> Result<(), u16> {
        if self.settings.text_mode {
            return Err(305);
        }
        let mut lines = Vec::new();
        for (index, stored) in self.selected() {
            let (length, digits) = (stored.length(), hex(&stored.pdu));
            lines.push(format!("+CMGL: {index},{},,{length}\r\n{digits}", stored.status));
            stored.status = stored.status.max(1);
        }
        for line in lines {
            self.say(&line);
        }
        Ok(())
    }

    fn read(&mut self, argument: &str) -> Result<(), u16> {
        let index: u16 = argument.trim_start_matches('=').parse().map_err(|_| 321_u16)?;
        let stored = self.selected().get_mut(&index).ok_or(321_u16)?;
        let (length, digits) = (stored.length(), hex(&stored.pdu));
        let line = format!("+CMGR: {},,{length}\r\n{digits}", stored.status);
        stored.status = stored.status.max(1);
        self.say(&line);
        Ok(())
    }

    fn delete(&mut self, argument: &str) -> Result<(), u16> {
        let index: u16 = argument.trim_start_matches('=').parse().map_err(|_| 321_u16)?;
        self.selected().remove(&index).map(drop).ok_or(321)
    }

    fn start_submission(&mut self, argument: &str) -> Result<bool, u16> {
        match self.faults.front() {
            Some(Fault::NoPrompt) => {
                self.faults.pop_front();
                return Ok(false);
            }
            Some(Fault::StartsAtPrompt) => {
                self.faults.pop_front();
                self.reset();
                return Ok(false);
            }
            Some(Fault::News(line)) => self.say(line),
            Some(Fault::Refused(_) | Fault::StartsAfter) | None => {}
        }
        let argument = argument.trim_start_matches('=').to_owned();
        self.prompt = Some(Prompt { argument, given: Vec::new() });
        self.out.extend(b"\r\n> ");
        Ok(false)
    }

    fn submit(&mut self) {
        let Some(Prompt { argument, given }) = self.prompt.take() else { return };
        if self.settings.text_mode {
            self.strays.push(argument);
            return self.accept();
        }
        let Some(tpdu) = self.submitted(&argument, &given) else {
            return self.say("+CMS ERROR: 304");
        };
        match self.faults.pop_front() {
            Some(Fault::Refused(number)) => return self.say(&format!("+CMS ERROR: {number}")),
            Some(Fault::StartsAfter) => {
                self.sent.push(tpdu);
                return self.reset();
            }
            Some(Fault::News(line)) => self.say(line),
            Some(Fault::NoPrompt | Fault::StartsAtPrompt) | None => {}
        }
        let wants_report = tpdu.tp_srr && self.traits.reports;
        let recipient = tpdu.tp_destination_address.clone();
        self.sent.push(tpdu);
        self.accept();
        if let (true, Some(recipient)) = (wants_report, recipient) {
            let report = SmsStatusReport::builder(recipient)
                .mr(self.reference)
                .service_centre_timestamp("26112309040000")
                .discharge_time("26112309040500")
                .status(0)
                .build();
            self.queue.push_back(report.encode().unwrap());
        }
    }

    fn accept(&mut self) {
        self.reference = self.reference.wrapping_add(1);
        self.say(&format!("+CMGS: {}", self.reference));
        self.say("OK");
    }

    /// The message, if its digits and its length are right.
    fn submitted(&self, length: &str, digits: &[u8]) -> Option<SmsSubmit> {
        let digits = std::str::from_utf8(digits).ok()?;
        let octets: Option<Vec<u8>> = (0..digits.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok())
            .collect();
        let octets = octets?;
        let tpdu = octets.get(1 + usize::from(*octets.first()?)..)?;
        if length.parse() != Ok(tpdu.len()) {
            return None;
        }
        tpdu::decode_sms_submit_tpdu(&mut Cursor::new(tpdu)).ok()
    }
}

impl Traits {
    /// A modem of today.
    pub(crate) fn modern() -> Self {
        Self {
            pin: None,
            acknowledges: true,
            places: 20,
            text_mode: false,
            echo: true,
            announces_start: true,
            reports: true,
        }
    }

    /// One that keeps messages in its store until they are read.
    pub(crate) fn storing() -> Self {
        Self { acknowledges: false, ..Self::modern() }
    }
}

impl Settings {
    fn after_reset(traits: &Traits) -> Self {
        Self {
            echo: traits.echo,
            numbers: false,
            text_mode: traits.text_mode,
            acknowledges: false,
            notices: [0; 5],
            stores: ["SM"; 3].map(str::to_owned),
        }
    }
}

impl Stored {
    /// Octets of the TPDU, the center's address not counted.
    fn length(&self) -> usize {
        self.pdu.len() - 1 - usize::from(self.pdu[0])
    }
}

fn notices(argument: &str) -> Option<[u8; 5]> {
    let fields: Option<Vec<u8>> =
        argument.trim_start_matches('=').split(',').map(|it| it.parse().ok()).collect();
    let mut all = [0; 5];
    for (at, field) in fields?.into_iter().enumerate() {
        *all.get_mut(at)? = Some(field).filter(|it| *it <= [2, 3, 2, 2, 1][at])?;
    }
    Some(all)
}

fn with_center(tpdu: &[u8]) -> Vec<u8> {
    [&[7, 0x91, 0x44, 0x77, 0x58, 0x10, 0x06, 0x50], tpdu].concat()
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|it| format!("{it:02X}")).collect()
}
