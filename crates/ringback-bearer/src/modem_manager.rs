//! SMS by a modem that ModemManager looks after: for terminals where it, or NetworkManager with it,
//! has the modem already.
//!
//! A signal on the bus is only a reason to look: what is believed is what ModemManager answers. The
//! messages of the modem belong to this bearer alone: each is heard and deleted. ModemManager hides
//! the header of a message and writes none, so no message goes to a port; and it joins parts. PINs
//! are not entered.

use ringback_proto::limits::{MODEM_LISTING, MODEM_REST};
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info, info_span, warn};
use zbus::zvariant::OwnedObjectPath;

use crate::health::{Health, Reporter, Verdict};
use crate::limits::{MANAGER_ENABLE, MANAGER_SEARCH};
use crate::{Ends, Heard};
use bus::{Bus, Fault, Modem, State};
use hearing::Hearing;
use queue::Queue;
use sending::Sending;

mod bus;
mod hearing;
mod queue;
mod sending;

/// Which modem, and where ModemManager is.
#[derive(Clone, Debug)]
pub struct Config {
    /// The modem.
    pub modem: Which,
    /// The bus: none for the system's.
    pub bus: Option<String>,
}

/// A modem, by what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The first that there is.
    Any,
    /// By the number that ModemManager gave it; another one each time it is plugged in.
    Index(u32),
    /// By its primary port, as `ttyUSB2` or `cdc-wdm0`.
    Port(String),
    /// By the number of the equipment.
    Equipment(String),
}

/// Why there is nothing to be done for now.
#[derive(Debug, Error)]
enum Lost {
    #[error("no connection to the bus: {0}")]
    NoBus(#[source] zbus::Error),
    #[error("the bus is gone")]
    Bus,
    #[error("ModemManager ended")]
    Manager,
    #[error("the modem is gone")]
    Modem,
    #[error(transparent)]
    Fault(#[from] Fault),
}

struct Driver {
    config: Config,
    shutdown: CancellationToken,
    hearing: mpsc::Sender<Heard>,
    queue: Queue,
    sending: Option<Sending>,
    reporter: Reporter,
    /// Rests since a modem last worked.
    rests: u32,
}

/// Below this a signal is worth a second look.
const WEAK_PERCENT: u32 = 20;
const BUS: &str = "bus";
const MODEM: &str = "modem";
const NETWORK: &str = "network";
const SIGNAL: &str = "signal";
const MESSAGES: &str = "messages";
/// All that is looked at, in that order.
const LOOKS_AT: [&str; 5] = [BUS, MODEM, NETWORK, SIGNAL, MESSAGES];

impl Config {
    /// Whether this can be the address of a bus.
    pub fn is_address(text: &str) -> bool {
        zbus::Address::try_from(text).is_ok()
    }
}

impl Which {
    /// Reads `any`, an index, a number of equipment, or a port.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "any" {
            return Some(Self::Any);
        }
        if !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit()) {
            // 15 digits are an IMEI, 16 with its version; 14 are a MEID in digits only.
            return match text.len() {
                1..=5 => text.parse().ok().map(Self::Index),
                14..=16 => Some(Self::Equipment(text.to_owned())),
                _ => None,
            };
        }
        let fits = |it: char| it.is_ascii_graphic() && it != '/';
        let port = text.strip_prefix("/dev/").unwrap_or(text);
        (!port.is_empty() && port.chars().all(fits)).then(|| Self::Port(port.to_owned()))
    }
}

pub(crate) fn start(config: Config, ends: Ends<'_>) -> Health {
    let (reporter, health) = Reporter::new(&LOOKS_AT);
    let Ends { tasks, shutdown, orders, hearing } = ends;
    let queue = Queue::new(orders);
    let driver = Driver { config, shutdown, hearing, queue, sending: None, reporter, rests: 0 };
    tasks.spawn(driver.run().instrument(info_span!("modem_manager")));
    health
}

impl Driver {
    async fn run(mut self) {
        let shutdown = self.shutdown.clone();
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.work() => {}
        }
        if let Some(sending) = self.sending.take() {
            sending.lost(&mut self.queue);
        }
        self.queue.end();
    }

    /// Works for ever.
    async fn work(&mut self) {
        loop {
            let Err(lost) = self.connection().await;
            warn!(reason = %lost, "lost the modem");
            let what = match lost {
                Lost::NoBus(_) | Lost::Bus => BUS,
                Lost::Manager | Lost::Modem | Lost::Fault(_) => MODEM,
            };
            self.reporter.found(what, Verdict::Bad, lost.to_string());
            for row in LOOKS_AT.iter().skip_while(|it| **it != what).skip(1) {
                self.reporter.found(row, Verdict::Doubtful, "not known now");
            }
            if let Some(sending) = self.sending.take() {
                sending.lost(&mut self.queue);
            }
            let (shortest, longest) = MODEM_REST;
            let rest = longest.min(shortest * 2_u32.pow(self.rests.min(16)));
            self.rests += 1;
            let Err(_rested) = timeout(rest, self.queue.tend()).await;
        }
    }

    /// Works until the connection is lost, or what is at its other end.
    async fn connection(&mut self) -> Result<Never, Lost> {
        let connecting = Bus::connect(self.config.bus.as_deref());
        let (bus, mut signals) = tokio::select! {
            connected = connecting => connected?,
            never = self.queue.tend() => match never {},
        };
        self.reporter.found(BUS, Verdict::Good, "connected");
        let (news, looking) = watch::channel(());
        tokio::select! {
            lost = signals.listen(&news) => Err(lost),
            lost = self.serve(&bus, looking) => lost,
        }
    }

    /// Makes the modem ready and uses it, for as long as it is there.
    async fn serve(&mut self, bus: &Bus, mut news: watch::Receiver<()>) -> Result<Never, Lost> {
        loop {
            news.mark_unchanged();
            let looking = look_for(bus, &self.config.modem, &self.reporter);
            let ready = tokio::select! {
                ready = looking => ready?,
                never = self.queue.tend() => match never {},
            };
            if let Some(modem) = ready {
                info!(modem = modem.as_str(), "ready");
                self.rests = 0;
                return self.r#use(bus, &modem, &news).await;
            }
            let changed = timeout(MODEM_REST.1, news.changed());
            tokio::select! {
                _changed_or_rested = changed => {}
                never = self.queue.tend() => match never {},
            }
        }
    }

    async fn r#use(
        &mut self,
        bus: &Bus,
        modem: &OwnedObjectPath,
        news: &watch::Receiver<()>,
    ) -> Result<Never, Lost> {
        let Self { hearing, queue, sending, reporter, .. } = self;
        let mut heard = Hearing::new(bus, modem, hearing);
        tokio::select! {
            lost = heard.hear(news.clone(), reporter) => lost,
            lost = watch(bus, modem, news.clone(), reporter) => lost,
            lost = sending::send(bus, modem, queue, sending) => lost,
        }
    }
}

/// Nothing comes of what works for ever.
type Never = std::convert::Infallible;

/// The modem, if it is there and ready; if it is disabled, it is enabled.
async fn look_for(
    bus: &Bus,
    which: &Which,
    reporter: &Reporter,
) -> Result<Option<OwnedObjectPath>, Fault> {
    let Some((path, modem)) = bus.find(which).await? else {
        reporter.found(MODEM, Verdict::Bad, "ModemManager has no such modem: see `mmcli -L`");
        return Ok(None);
    };
    report(&modem, false, reporter);
    match modem.state {
        State::Failed | State::Locked | State::Busy => return Ok(None),
        State::Enabled | State::Searching | State::Registered => return Ok(Some(path)),
        State::Disabled => {}
    }
    debug!("the modem is disabled: it is enabled");
    match bus.call::<_, ()>(MANAGER_ENABLE, &path, bus::MODEM, "Enable", &(true,)).await {
        Ok(()) => Ok(Some(path)),
        Err(fault @ Fault::Refused { .. }) => {
            let text = format!("it cannot be enabled: {fault}");
            reporter.found(MODEM, Verdict::Bad, text);
            Ok(None)
        }
        Err(fault @ (Fault::Silent(_) | Fault::Broken(_))) => Err(fault),
    }
}

/// Looks after the modem until it is gone or of no use.
async fn watch(
    bus: &Bus,
    modem: &OwnedObjectPath,
    mut news: watch::Receiver<()>,
    reporter: &Reporter,
) -> Result<Never, Lost> {
    let search_until = Instant::now() + MANAGER_SEARCH;
    loop {
        news.mark_unchanged();
        let found = match bus.modem(modem).await {
            Ok(found) => found,
            Err(Fault::Refused { .. }) => return Err(Lost::Modem),
            Err(fault @ (Fault::Silent(_) | Fault::Broken(_))) => return Err(fault.into()),
        };
        let searched = search_until <= Instant::now();
        report(&found, searched, reporter);
        match found.state {
            State::Failed | State::Locked | State::Busy | State::Disabled => {
                return Err(Lost::Modem);
            }
            State::Enabled | State::Searching | State::Registered => {}
        }
        let rest = if searched { MODEM_LISTING } else { MANAGER_SEARCH };
        let _changed_or_due = timeout(rest, news.changed()).await;
    }
}

/// `searched`: the modem has had its time to find a network.
fn report(modem: &Modem, searched: bool, reporter: &Reporter) {
    let (verdict, text) = match modem.state {
        State::Failed => (Verdict::Bad, "it failed: see `mmcli -m any`".to_owned()),
        State::Locked => {
            (Verdict::Bad, "its card is locked: unlock it, or switch its PIN off".to_owned())
        }
        State::Busy => (Verdict::Doubtful, "it is starting or ending".to_owned()),
        State::Disabled => (Verdict::Doubtful, "it is disabled".to_owned()),
        State::Enabled | State::Searching | State::Registered => {
            (Verdict::Good, format!("{} is enabled", modem.port))
        }
    };
    reporter.found(MODEM, verdict, text);
    if modem.state == State::Registered {
        reporter.found(NETWORK, Verdict::Good, "registered");
    } else if searched {
        reporter.found(NETWORK, Verdict::Bad, "none: see to antenna and subscription");
    }
    if let Some(percent) = modem.signal_percent
        && (0 < percent || searched)
    {
        let weak = percent < WEAK_PERCENT;
        let verdict = if weak { Verdict::Doubtful } else { Verdict::Good };
        reporter.found(SIGNAL, verdict, format!("{percent} percent"));
    }
}
