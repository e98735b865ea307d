//! The public proxy's listeners: all bound before anything is accepted, each with its own limit.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use ringback_proto::dns::{Throttle, Zone};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use super::clients;
use super::doorway::Door;
use super::files::Files;
use super::lobby::Lobby;
#[cfg(feature = "quic")]
use super::streams;
use super::{House, tunnels};
use crate::config::{Directory, PublicConfig, ResponderConfig};
use crate::ingress::Listening;
use crate::limits::{ACCEPT_PAUSE, BACKLOG, STRANGERS_PER_NETWORK};
use crate::responder::Responder;
#[cfg(feature = "quic")]
use crate::tunnel::quic::Accepted;

/// Every socket of the role, bound and not yet accepted from by anybody.
#[derive(Debug)]
pub(super) struct Listeners {
    named: Vec<(TcpListener, Listening)>,
    raw: BTreeMap<SocketAddr, TcpListener>,
    dial_back: Vec<TcpListener>,
    /// Beside each of them, where a service may be reached over QUIC.
    #[cfg(feature = "quic")]
    streams: Vec<std::net::UdpSocket>,
    responder: Option<(Sockets, ResponderConfig)>,
}

/// The ports that belong to one service each; they come and go with the directory.
#[derive(Debug)]
pub(super) struct RawPorts {
    open: BTreeMap<SocketAddr, CancellationToken>,
}

/// The responder's sockets, a pair for each address.
pub(super) type Sockets = Vec<(UdpSocket, TcpListener)>;

/// Binds everything that the configuration names; one failure is enough to bind nothing.
pub(super) fn bind(config: &PublicConfig) -> anyhow::Result<Listeners> {
    let mut named = Vec::new();
    let addresses = [
        ("http", &config.http, Listening::Http),
        ("tls", &config.tls, Listening::Tls),
        ("proxy", &config.proxy, Listening::Proxy),
    ];
    for (key, addresses, listening) in addresses {
        for address in addresses {
            named.push((listen(key, *address)?, listening));
        }
    }
    let mut raw = BTreeMap::new();
    for address in raw_addresses(&config.directory) {
        raw.insert(address, listen("raw", address)?);
    }
    let dial_back = config.dial_back.iter().map(|it| listen("dial_back", *it));
    let dial_back = dial_back.collect::<anyhow::Result<Vec<_>>>()?;
    #[cfg(feature = "quic")]
    let streams = bind_streams(config, &dial_back)?;
    let responder = match &config.responder {
        Some(config) => Some((bind_responder(config)?, config.clone())),
        None => None,
    };
    Ok(Listeners {
        named,
        raw,
        dial_back,
        #[cfg(feature = "quic")]
        streams,
        responder,
    })
}

/// Binds the UDP ports of the same number, if a service may be reached over QUIC.
#[cfg(feature = "quic")]
fn bind_streams(
    config: &PublicConfig,
    dial_back: &[TcpListener],
) -> anyhow::Result<Vec<std::net::UdpSocket>> {
    if !config.directory.wants(ringback_proto::access_request::Protocol::Quic) {
        return Ok(Vec::new());
    }
    let bound = dial_back.iter().map(|beside| {
        let address = beside.local_addr()?;
        let bound = socket(address, Type::DGRAM, Protocol::UDP);
        let told = || format!("RB-BIND: cannot listen on {address} (dial_back, UDP)");
        Ok(bound.with_context(told)?.into())
    });
    bound.collect()
}

/// Binds what a responder answers on.
pub(super) fn bind_responder(config: &ResponderConfig) -> anyhow::Result<Sockets> {
    let mut sockets = Vec::new();
    for address in &config.listen {
        let udp = socket(*address, Type::DGRAM, Protocol::UDP)
            .and_then(|socket| UdpSocket::from_std(socket.into()))
            .with_context(|| format!("RB-BIND: cannot listen on {address} (responder, UDP)"))?;
        sockets.push((udp, listen("responder", *address)?));
    }
    Ok(sockets)
}

/// Begins to answer DNS, in tasks of the tracker; another zone takes effect when it is sent.
pub(super) fn open_responder(
    sockets: Sockets,
    config: &ResponderConfig,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> watch::Sender<Arc<Zone>> {
    let (sender, zone) = watch::channel(config.zone.clone());
    for (udp, tcp) in sockets {
        let responder = Responder { zone: zone.clone(), throttle: Throttle::default() };
        let stop = stop.clone();
        tasks.spawn(async move {
            if let Err(fault) = responder.run(udp, tcp, stop).await {
                error!(%fault, "RB-DNS: the responder has ended");
            }
        });
    }
    sender
}

impl Listeners {
    /// Begins to accept, in tasks of the house.
    pub(super) fn open(
        self,
        house: &Arc<House>,
        files: Files,
    ) -> (RawPorts, Option<watch::Sender<Arc<Zone>>>) {
        for (listener, listening) in self.named {
            let door = Door::Named(listening);
            house.tasks.spawn(clients(listener, door, house.clone(), house.stop.clone()));
        }
        let mut raw = RawPorts { open: BTreeMap::new() };
        for (address, listener) in self.raw {
            raw.open(address, listener, house);
        }
        let lobby = Arc::new(Lobby::new(files.strangers, STRANGERS_PER_NETWORK));
        for listener in self.dial_back {
            house.tasks.spawn(strangers(listener, lobby.clone(), house.clone()));
        }
        #[cfg(feature = "quic")]
        for socket in self.streams {
            match Accepted::endpoint(&house.identity, socket, &house.tasks) {
                Ok(endpoint) => {
                    let strangers = streams::strangers(endpoint, lobby.clone(), house.clone());
                    house.tasks.spawn(strangers);
                }
                Err(fault) => error!(%fault, "RB-BIND: there is no QUIC"),
            }
        }
        let responder = self.responder;
        let zone = responder
            .map(|(sockets, config)| open_responder(sockets, &config, &house.tasks, &house.stop));
        (raw, zone)
    }
}

impl RawPorts {
    /// Opens and closes ports as the directory now says; held and running clients stay.
    pub(super) fn follow(&mut self, directory: &Directory, house: &Arc<House>) {
        let wanted = raw_addresses(directory);
        self.open.retain(|address, close| {
            if !wanted.contains(address) {
                close.cancel();
            }
            wanted.contains(address)
        });
        for address in wanted {
            if self.open.contains_key(&address) {
                continue;
            }
            match listen("raw", address) {
                Ok(listener) => self.open(address, listener, house),
                Err(fault) => error!(fault = %format!("{fault:#}"), "a service has no port"),
            }
        }
    }

    fn open(&mut self, address: SocketAddr, listener: TcpListener, house: &Arc<House>) {
        let close = house.stop.child_token();
        house.tasks.spawn(clients(listener, Door::Raw(address), house.clone(), close.clone()));
        self.open.insert(address, close);
    }
}

fn raw_addresses(directory: &Directory) -> BTreeSet<SocketAddr> {
    directory.raw_ports().collect()
}

/// Accepts clients.
async fn clients(listener: TcpListener, door: Door, house: Arc<House>, close: CancellationToken) {
    while let Some((stream, from)) = accept(&listener, &close).await {
        let place = house.lobby.enter(from.ip());
        house.tasks.spawn(clients::serve(house.clone(), stream, from, door.clone(), place));
    }
}

/// Accepts private proxies, clients with keys, and whoever else knocks there.
async fn strangers(listener: TcpListener, lobby: Arc<Lobby>, house: Arc<House>) {
    while let Some((stream, from)) = accept(&listener, &house.stop).await {
        let place = lobby.enter(from.ip());
        house.tasks.spawn(tunnels::serve(house.clone(), stream, from, place));
    }
}

/// The next connection, or nothing once `close` says so.
async fn accept(
    listener: &TcpListener,
    close: &CancellationToken,
) -> Option<(TcpStream, SocketAddr)> {
    loop {
        let accepted: io::Result<_> = tokio::select! {
            accepted = listener.accept() => accepted,
            () = close.cancelled() => return None,
        };
        match accepted {
            Ok(accepted) => return Some(accepted),
            Err(fault) => {
                warn!(%fault, "RB-ACCEPT: cannot accept: raise the limit on open files");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn listen(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = socket(address, Type::STREAM, Protocol::TCP).and_then(|socket| {
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    });
    let listener =
        listener.with_context(|| format!("RB-BIND: cannot listen on {address} ({key})"))?;
    info!(listener = key, address = %listener.local_addr()?, "listening");
    Ok(listener)
}

/// A bound socket. An IPv6 one takes no IPv4, so that `0.0.0.0` and `[::]` can share a port.
fn socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}
