//! One session at the daemon: what is loaded for it, and what is there of it.
//!
//! A lease is held by whoever awaits the session and by its tunnel. When the last has dropped it the
//! association is ended and everything of the session is unloaded: its key, its names, its address.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ringback_proto::access_request::SessionKeys;
use ringback_proto::ipsec::{Association, CONNECTION_PREFIX, End, IKE_PORT, Inner, Names, network};
use ringback_proto::switchboard::PublicKey;
use ringback_proto::vici::Message;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::places::{Holder, Place};
use super::vici::Vici;
use super::{Fault, House, Running, paths};
use crate::limits::{
    IKE_AGAIN, IKE_FAREWELL, IKE_PATIENCE, IKE_SILENCE_SECONDS, IPSEC_LOAD_PATIENCE, IPSEC_RENEWAL,
};

const IKE: &str = "aes256gcm16-prfsha384-curve25519";
const ESP: &str = "aes256gcm16-curve25519";
/// How a session's only child is called.
const CHILD: &str = "tunnel";
/// How long an association of ESP lives and by when its successor is there, in seconds. Both are set:
/// with the one alone the daemon lets both fall on the same second, and cuts what is under way.
const LIFE_SECONDS: u64 = 3960;
const REKEY_SECONDS: u64 = 3600;

/// What is loaded for one session, to be loaded again if the daemon must forget all.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    connection: Message,
    key: Message,
    /// Cancelled when the association of its tunnel has ended. One that comes and goes before there is a
    /// tunnel, as of somebody who lacks a secret, ends nothing.
    pub(super) cut: Option<CancellationToken>,
}

/// Holding it keeps a session's association.
#[derive(Debug)]
pub(crate) struct Lease {
    house: Arc<House>,
    running: Running,
    names: Names,
    inner: Inner,
    peer: PublicKey,
    /// Handed on to whoever unloads.
    place: Option<Place>,
}

impl Lease {
    /// Loads all that a session needs, within the patience for that; with an address, of whom to dial.
    pub(super) async fn load(
        house: &Arc<House>,
        keys: &SessionKeys,
        peer: (&PublicKey, Option<IpAddr>),
        holder: Holder,
    ) -> Result<Arc<Self>, Fault> {
        let loaded = timeout(IPSEC_LOAD_PATIENCE, Self::load_in_turn(house, keys, peer, holder));
        loaded.await.map_err(|_| Fault::Deaf)?
    }

    async fn load_in_turn(
        house: &Arc<House>,
        keys: &SessionKeys,
        (peer, dialed): (&PublicKey, Option<IpAddr>),
        holder: Holder,
    ) -> Result<Arc<Self>, Fault> {
        let running = house.running()?;
        let place = house.places.take(holder)?;
        let own = house.identity.public_key();
        let public = if house.end == End::Public { own } else { peer };
        let (names, inner) = (Names::of(&keys.sid), Inner::of(keys, public));
        // From here on whatever happens is undone when it is dropped.
        let lease =
            Self { house: house.clone(), running, names, inner, peer: *peer, place: Some(place) };
        let loaded =
            Loaded { connection: lease.connection(dialed), key: lease.key(keys), cut: None };
        // The tables may have been reloaded since the start: whoever is reached, no packet leaves in clear.
        let (private, public) = (network(public, End::Private), network(public, End::Public));
        paths::seal_off(lease.both(public, private).0).await?;
        paths::add(lease.own_address()).await?;
        let _turn = house.loading.lock().await;
        let mut vici = Vici::connect(&lease.running.socket).await?;
        // One that fails, or is dropped half done, is done again for the next session.
        if house.loaded.load(Ordering::Relaxed) >= IPSEC_RENEWAL - 1 {
            house.renew(&mut vici).await?;
            house.loaded.store(0, Ordering::Relaxed);
        } else {
            house.loaded.fetch_add(1, Ordering::Relaxed);
        }
        loaded.load(&mut vici).await?;
        house.live().insert(lease.names.connection.clone(), loaded);
        Ok(Arc::new(lease))
    }

    pub(super) fn inner(&self) -> Inner {
        self.inner
    }

    /// Resolves when the daemon has ended.
    pub(super) async fn gone(&self) {
        self.running.gone.cancelled().await;
    }

    /// Cancelled when the association, or the daemon, has ended from now on: the same for all who watch.
    pub(super) fn watch(&self) -> CancellationToken {
        let cut = || self.running.gone.child_token();
        let mut live = self.house.live();
        let Some(loaded) = live.get_mut(&self.names.connection) else { return cut() };
        loaded.cut.get_or_insert_with(cut).clone()
    }

    /// Whoever waits for all to be over.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.house.tasks
    }

    /// Has the association set up, within the patience for that.
    pub(super) async fn initiate(&self) -> Result<(), Fault> {
        let initiated = async {
            let _turn = self.house.turns.acquire().await;
            let mut pauses = IKE_AGAIN.iter();
            loop {
                match (self.initiate_once().await, pauses.next()) {
                    // A daemon hears of a new address a moment after it is there, and cannot lead packets
                    // from it before: so it says at once what takes the next try no time.
                    (Err(Fault::Undone { .. }), Some(pause)) => sleep(*pause).await,
                    (initiated, _) => return initiated,
                }
            }
        };
        tokio::select! {
            initiated = timeout(IKE_PATIENCE, initiated) => initiated.map_err(|_| Fault::Silent)?,
            () = self.running.gone.cancelled() => Err(Fault::Down),
        }
    }

    async fn initiate_once(&self) -> Result<(), Fault> {
        let mut vici = Vici::connect(&self.running.socket).await?;
        let message = Message::default()
            .with("ike", &self.names.connection)
            .with("child", CHILD)
            .with("timeout", IKE_PATIENCE.as_millis().to_string());
        vici.ask("initiate", message).await.map(drop)
    }

    /// The session's association, as the daemon has it now: set up, with the session's name, its key
    /// mixed in, and between its two inner addresses. Whose key the far end has proved is what the
    /// connection of that name asks for, and no other.
    pub(super) async fn association(&self) -> Result<Association, Fault> {
        let mut vici = Vici::connect(&self.running.socket).await?;
        let found = list(&mut vici, &self.names.connection).await?;
        let (own, public_end) = (*self.house.identity.public_key(), self.house.end == End::Public);
        let (private, public) = if public_end { (self.peer, own) } else { (own, self.peer) };
        let (local, remote) = self.both(&self.names.private, &self.names.public);
        let is_ours = |it: &&Message| {
            let says = |key, value: &str| it.text(key) == Some(value);
            let in_place = says("state", "ESTABLISHED") && says("ppk", "yes");
            in_place && says("local-id", local) && says("remote-id", remote) && self.carries(it)
        };
        let found = found.iter().find(is_ours).ok_or(Fault::Stranger)?;
        let spi = |key| {
            let spi = u64::from_str_radix(found.text(key)?, 16).ok()?;
            Some(spi.to_be_bytes())
        };
        Ok(Association {
            initiator_spi: spi("initiator-spi").ok_or(Fault::Stranger)?,
            responder_spi: spi("responder-spi").ok_or(Fault::Stranger)?,
            private,
            public,
            inner: self.inner,
        })
    }

    /// Whether ESP is in place for the session's two inner addresses and nothing else.
    fn carries(&self, association: &Message) -> bool {
        let (local, remote) = self.both(self.inner.private, self.inner.public);
        let (local, remote) = (format!("{local}/128"), format!("{remote}/128"));
        let children = association.section("child-sas");
        children.into_iter().flat_map(Message::sections).any(|(_, child)| {
            child.text("state") == Some("INSTALLED")
                && child.list("local-ts") == [local.as_str()]
                && child.list("remote-ts") == [remote.as_str()]
        })
    }

    /// Ours, then the other's.
    fn both<T>(&self, private: T, public: T) -> (T, T) {
        match self.house.end {
            End::Private => (private, public),
            End::Public => (public, private),
        }
    }

    fn own_address(&self) -> std::net::Ipv6Addr {
        self.both(self.inner.private, self.inner.public).0
    }

    fn connection(&self, dialed: Option<IpAddr>) -> Message {
        let own = *self.house.identity.public_key();
        let (local_name, remote_name) = self.both(&self.names.private, &self.names.public);
        let (local, remote) = self.both(self.inner.private, self.inner.public);
        let whole = |address| [format!("{address}/128")];
        let proves = |name: &str, key: &PublicKey| {
            Message::default().with("auth", "pubkey").with("id", name).with_list("pubkeys", [key.0])
        };
        let child = Message::default()
            .with("mode", "tunnel")
            .with_list("local_ts", whole(local))
            .with_list("remote_ts", whole(remote))
            .with_list("esp_proposals", [ESP])
            .with("rekey_time", REKEY_SECONDS.to_string())
            .with("life_time", LIFE_SECONDS.to_string())
            .with("rand_time", "0")
            .with("start_action", "none")
            .with("dpd_action", "clear")
            .with("close_action", "none");
        // Where mappings change, the far end follows the authenticated packets: MOBIKE would forbid it.
        let mut connection = Message::default()
            .with("version", "2")
            .with("encap", "yes")
            .with("mobike", "no")
            .with("dpd_delay", IKE_SILENCE_SECONDS.to_string())
            .with("keyingtries", "1")
            .with("unique", "replace")
            .with_list("proposals", [IKE])
            .with("ppk_id", &self.names.key)
            .with("ppk_required", "yes");
        if let Some(address) = dialed {
            connection = connection
                .with_list("remote_addrs", [address.to_canonical().to_string()])
                .with("remote_port", IKE_PORT.to_string());
        }
        let connection = connection
            .with_section("local", proves(local_name, &own))
            .with_section("remote", proves(remote_name, &self.peer))
            .with_section("children", Message::default().with_section(CHILD, child));
        Message::default().with_section(&self.names.connection, connection)
    }

    fn key(&self, keys: &SessionKeys) -> Message {
        Message::default()
            .with("id", &self.names.connection)
            .with("type", "ppk")
            .with("data", keys.psk.expose())
            .with_list("owners", [&self.names.key])
    }
}

impl Loaded {
    async fn load(&self, vici: &mut Vici) -> Result<(), Fault> {
        vici.command("load-shared", self.key.clone()).await?;
        vici.command("load-conn", self.connection.clone()).await?;
        Ok(())
    }
}

impl House {
    /// Has the daemon forget every credential, and loads those that are needed.
    async fn renew(&self, vici: &mut Vici) -> Result<(), Fault> {
        vici.command("clear-creds", Message::default()).await?;
        self.load_identity(vici).await?;
        let live: Vec<Loaded> = self.live().values().cloned().collect();
        for loaded in &live {
            loaded.load(vici).await?;
        }
        debug!(sessions = live.len(), "the daemon's credentials were loaded anew");
        Ok(())
    }

    /// Has the daemon prove our own key.
    pub(super) async fn load_identity(&self, vici: &mut Vici) -> Result<(), Fault> {
        let key = Message::default().with("type", "any").with("data", self.identity.pkcs8());
        vici.command("load-key", key).await.map(drop)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let (Some(place), Ok(runtime)) = (self.place.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        self.house.live().remove(&self.names.connection);
        let (house, running) = (self.house.clone(), self.running.clone());
        let (name, address) = (self.names.connection.clone(), self.own_address());
        let unloading = async move {
            // With our own daemon everything that was loaded is gone already; another's may only have
            // broken our connection.
            if !(running.own && running.gone.is_cancelled())
                && let Err(fault) = unload(&house, &running.socket, &name).await
            {
                warn!(%fault, "RB-IPSEC: a session was not unloaded whole");
            }
            if let Err(fault) = paths::remove(address).await {
                debug!(%fault, "an inner address was not taken away");
            }
            drop(place);
        };
        self.house.tasks.spawn_on(unloading, &runtime);
    }
}

/// Every association with a connection of that name.
pub(super) async fn list(vici: &mut Vici, name: &str) -> Result<Vec<Message>, Fault> {
    let listed = vici.list("list-sas", "list-sa", Message::default().with("ike", name)).await?;
    let named = |it: Message| it.section(name).cloned();
    Ok(listed.into_iter().filter_map(named).collect())
}

/// Ends a session's association and unloads all that it had. What is not there is told as not done, and
/// that is as good.
pub(super) async fn unload(house: &House, socket: &Path, name: &str) -> Result<(), Fault> {
    let mut vici = Vici::connect(socket).await?;
    // Not while a renewal loads what it has found alive: nobody would unload that again.
    let turn = house.loading.lock().await;
    let unloaded = vici.command("unload-conn", Message::default().with("name", name)).await;
    let forgotten = vici.command("unload-shared", Message::default().with("id", name)).await;
    drop(turn);
    let farewell = Message::default()
        .with("ike", name)
        .with("force", "yes")
        .with("timeout", IKE_FAREWELL.as_millis().to_string());
    let terminated = vici.command("terminate", farewell).await;
    for done in [unloaded, forgotten, terminated] {
        if let Err(fault) = done
            && !matches!(fault, Fault::Undone { .. })
        {
            return Err(fault);
        }
    }
    Ok(())
}

/// Whether a connection is one of ours.
pub(super) fn is_ours(name: &str) -> bool {
    name.starts_with(CONNECTION_PREFIX)
}
