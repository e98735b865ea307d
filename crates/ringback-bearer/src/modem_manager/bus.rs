//! ModemManager's part of a D-Bus: what is asked of it, what it says unasked, and what it is to say
//! of a modem.
//!
//! Every call has its patience.

use std::collections::{BTreeMap, HashMap};
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::timeout;
use zbus::export::futures_core::Stream;
use zbus::fdo::DBusProxy;
use zbus::message::Type;
use zbus::zvariant::{self, DynamicDeserialize, DynamicType, OwnedObjectPath, OwnedValue};
use zbus::{Connection, MatchRule, Message, MessageStream};

use super::{Lost, Which};
use crate::limits::{CONNECT_PATIENCE, MANAGER_ANSWER};

/// Its name on the bus.
const NAME: &str = "org.freedesktop.ModemManager1";
const ROOT: &str = "/org/freedesktop/ModemManager1";
pub(super) const MODEM: &str = "org.freedesktop.ModemManager1.Modem";
pub(super) const MESSAGING: &str = "org.freedesktop.ModemManager1.Modem.Messaging";
pub(super) const SMS: &str = "org.freedesktop.ModemManager1.Sms";

/// A connection to a bus.
pub(super) struct Bus {
    connection: Connection,
}

/// What is said unasked.
pub(super) struct Signals {
    messages: MessageStream,
}

/// Why something asked for did not come.
#[derive(Debug, Error)]
pub(super) enum Fault {
    #[error("ModemManager did not answer {0} in time")]
    Silent(&'static str),
    #[error("{text}")]
    Refused { name: String, text: String },
    #[error("the bus is broken: {0}")]
    Broken(#[source] zbus::Error),
}

/// What ModemManager says of an object, by property.
pub(super) type Properties = BTreeMap<String, OwnedValue>;

/// What it says of a modem.
pub(super) struct Modem {
    pub(super) state: State,
    pub(super) port: String,
    pub(super) signal_percent: Option<u32>,
    equipment: String,
}

/// What it says that a modem can do (`MMModemState`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Failed,
    Locked,
    /// On its way to another state.
    Busy,
    Disabled,
    Enabled,
    Searching,
    Registered,
}

impl Bus {
    /// Connects to the bus of this address, or to the system's.
    pub(super) async fn connect(address: Option<&str>) -> Result<(Self, Signals), Lost> {
        let connecting = async {
            let builder = match address {
                Some(address) => zbus::connection::Builder::address(address)?,
                None => zbus::connection::Builder::system()?,
            };
            let connection = builder.build().await?;
            let messages = MessageStream::from(&connection);
            let bus = DBusProxy::new(&connection).await?;
            let signals = || MatchRule::builder().msg_type(Type::Signal);
            bus.add_match_rule(signals().sender(NAME)?.build()).await?;
            let ending = signals().sender("org.freedesktop.DBus")?.member("NameOwnerChanged")?;
            bus.add_match_rule(ending.arg(0, NAME)?.build()).await?;
            Ok::<_, zbus::Error>((Self { connection }, Signals { messages }))
        };
        match timeout(CONNECT_PATIENCE, connecting).await {
            Ok(connected) => connected.map_err(Lost::NoBus),
            Err(_) => Err(Fault::Silent("us").into()),
        }
    }

    /// Asks an object for something.
    pub(super) async fn call<B, R>(
        &self,
        patience: Duration,
        object: &str,
        interface: &'static str,
        member: &'static str,
        body: &B,
    ) -> Result<R, Fault>
    where
        B: Serialize + DynamicType,
        R: for<'a> DynamicDeserialize<'a>,
    {
        let call = self.connection.call_method(Some(NAME), object, Some(interface), member, body);
        let reply = match timeout(patience, call).await {
            Err(_) => return Err(Fault::Silent(member)),
            Ok(reply) => reply?,
        };
        Ok(reply.body().deserialize()?)
    }

    /// All that is known of an object.
    pub(super) async fn properties(
        &self,
        object: &str,
        interface: &'static str,
    ) -> Result<Properties, Fault> {
        let properties = "org.freedesktop.DBus.Properties";
        self.call(MANAGER_ANSWER, object, properties, "GetAll", &(interface,)).await
    }

    pub(super) async fn modem(&self, path: &OwnedObjectPath) -> Result<Modem, Fault> {
        Ok(Modem::new(&self.properties(path, MODEM).await?))
    }

    /// The first modem that is the wanted one.
    pub(super) async fn find(
        &self,
        which: &Which,
    ) -> Result<Option<(OwnedObjectPath, Modem)>, Fault> {
        type Objects = HashMap<OwnedObjectPath, BTreeMap<String, Properties>>;
        let manager = "org.freedesktop.DBus.ObjectManager";
        let objects: Objects =
            self.call(MANAGER_ANSWER, ROOT, manager, "GetManagedObjects", &()).await?;
        let modems = objects.into_iter().filter_map(|(path, interfaces)| {
            let modem = Modem::new(interfaces.get(MODEM)?);
            modem.is(which, &path).then_some((path, modem))
        });
        Ok(modems.min_by_key(|(path, _)| number(path)))
    }
}

impl Signals {
    /// Tells of whatever is said, until nothing more can be.
    pub(super) async fn listen(&mut self, news: &watch::Sender<()>) -> Lost {
        loop {
            let next = poll_fn(|context| Pin::new(&mut self.messages).poll_next(context));
            let Some(Ok(message)) = next.await else { return Lost::Bus };
            if message.message_type() != Type::Signal {
                continue;
            }
            if has_lost_its_owner(&message) {
                return Lost::Manager;
            }
            news.send_replace(());
        }
    }
}

/// Whether ModemManager ended: whatever follows it knows other objects, by the same names.
fn has_lost_its_owner(message: &Message) -> bool {
    let header = message.header();
    // Anybody on the bus may say this to us; only the bus itself knows.
    if header.sender().is_none_or(|it| it.as_str() != "org.freedesktop.DBus")
        || header.member().is_none_or(|it| it.as_str() != "NameOwnerChanged")
    {
        return false;
    }
    let body = message.body();
    let changed: zbus::Result<(&str, &str, &str)> = body.deserialize();
    changed.is_ok_and(|(name, old, _)| name == NAME && !old.is_empty())
}

impl Modem {
    fn new(properties: &Properties) -> Self {
        let quality = properties.get("SignalQuality");
        let quality = quality.and_then(|it| it.downcast_ref::<zvariant::Structure<'_>>().ok());
        let percent = quality.and_then(|it| it.fields().first()?.downcast_ref::<u32>().ok());
        Self {
            state: State::new(number_of(properties, "State").unwrap_or(0)),
            port: text_of(properties, "PrimaryPort"),
            signal_percent: percent,
            equipment: text_of(properties, "EquipmentIdentifier"),
        }
    }

    fn is(&self, which: &Which, path: &OwnedObjectPath) -> bool {
        match which {
            Which::Any => true,
            Which::Index(index) => number(path) == Some(*index),
            Which::Port(port) => *port == self.port,
            Which::Equipment(equipment) => *equipment == self.equipment,
        }
    }
}

impl State {
    fn new(number: i32) -> Self {
        match number {
            2 => Self::Locked,
            3 => Self::Disabled,
            6 => Self::Enabled,
            7 => Self::Searching,
            // Registered; and connecting, connected, disconnecting, which messages do not mind.
            8..=11 => Self::Registered,
            // Unknown, initializing, disabling, enabling.
            0 | 1 | 4 | 5 => Self::Busy,
            i32::MIN..=-1 | 12..=i32::MAX => Self::Failed,
        }
    }
}

/// The number at the end of an object's path.
pub(super) fn number(path: &OwnedObjectPath) -> Option<u32> {
    path.rsplit_once('/')?.1.parse().ok()
}

pub(super) fn text_of(properties: &Properties, name: &str) -> String {
    let text = properties.get(name).and_then(|it| it.downcast_ref::<&str>().ok());
    text.unwrap_or_default().to_owned()
}

fn number_of(properties: &Properties, name: &str) -> Option<i32> {
    properties.get(name)?.downcast_ref().ok()
}

impl From<zbus::Error> for Fault {
    fn from(error: zbus::Error) -> Self {
        #[expect(clippy::wildcard_enum_match_arm, reason = "zbus may add errors")]
        match error {
            zbus::Error::MethodError(name, text, _) => {
                let text = text.unwrap_or_else(|| name.to_string());
                Self::Refused { name: name.to_string(), text }
            }
            error => Self::Broken(error),
        }
    }
}
