//! The public proxy's listeners: all bound before anything is accepted, each with its own limit.
//!
//! Each worker accepts for itself, by a socket of its own on the same port; the kernel spreads the
//! connections over them (`docs/decisions/0018-a-session-stays-on-its-core.md`).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{self, SocketAddr};
use std::sync::Arc;

use anyhow::Context;
use ringback_proto::dns::{Throttle, Zone};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Handle;
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
use crate::socket as tuning;
#[cfg(feature = "quic")]
use crate::tunnel::quic::Accepted;

/// Every socket of the role, bound and not yet accepted from by anybody.
#[derive(Debug)]
pub(super) struct Listeners {
    named: Vec<(Bound, Listening)>,
    raw: BTreeMap<SocketAddr, Bound>,
    dial_back: Vec<Bound>,
    /// Beside each of them, where a service may be reached over QUIC.
    #[cfg(feature = "quic")]
    streams: Vec<net::UdpSocket>,
    responder: Option<(Sockets, ResponderConfig)>,
}

/// One address, by a socket for each worker.
type Bound = Vec<net::TcpListener>;

/// The ports that belong to one service each; they come and go with the directory.
#[derive(Debug)]
pub(super) struct RawPorts {
    open: BTreeMap<SocketAddr, CancellationToken>,
}

/// The responder's sockets, a pair for each address.
pub(super) type Sockets = Vec<(UdpSocket, TcpListener)>;

/// How many descriptors it takes to listen: each worker has its own of every port, and three besides.
pub(super) fn sockets(config: &PublicConfig) -> usize {
    let PublicConfig { dial_back, http, tls, proxy, responder, .. } = config;
    let raw = raw_addresses(&config.directory).len();
    let ports = dial_back.len() + http.len() + tls.len() + proxy.len() + raw;
    let dns = responder.as_ref().map_or(0, |it| 2 * it.listen.len());
    config.workers * (ports + 3) + dns
}

/// Binds everything that the configuration names; one failure is enough to bind nothing.
pub(super) fn bind(config: &PublicConfig, workers: usize) -> anyhow::Result<Listeners> {
    let mut named = Vec::new();
    let addresses = [
        ("http", &config.http, Listening::Http),
        ("tls", &config.tls, Listening::Tls),
        ("proxy", &config.proxy, Listening::Proxy),
    ];
    for (key, addresses, listening) in addresses {
        for address in addresses {
            named.push((listen(key, *address, workers)?, listening));
        }
    }
    let mut raw = BTreeMap::new();
    for address in raw_addresses(&config.directory) {
        raw.insert(address, listen("raw", address, workers)?);
    }
    let dial_back = config.dial_back.iter().map(|it| listen("dial_back", *it, workers));
    let dial_back = dial_back.collect::<anyhow::Result<Vec<Bound>>>()?;
    let mut tunnels = dial_back.iter().flatten();
    if let Err(fault) = tunnels.try_for_each(|it| config.congestion.apply(it)) {
        warn!(%fault, chosen = ?config.congestion, "the system does not let congestion be chosen");
    }
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
fn bind_streams(config: &PublicConfig, dial_back: &[Bound]) -> anyhow::Result<Vec<net::UdpSocket>> {
    if !config.directory.wants(ringback_proto::access_request::Protocol::Quic) {
        return Ok(Vec::new());
    }
    // All sockets of an address have its port.
    let bound = dial_back.iter().filter_map(|it| it.first()).map(|beside| {
        let address = beside.local_addr()?;
        let bound = socket(address, Type::DGRAM, Protocol::UDP, false);
        let told = || format!("RB-BIND: cannot listen on {address} (dial_back, UDP)");
        Ok(bound.with_context(told)?.into())
    });
    bound.collect()
}

/// Binds what a responder answers on.
pub(super) fn bind_responder(config: &ResponderConfig) -> anyhow::Result<Sockets> {
    let mut sockets = Vec::new();
    for address in &config.listen {
        let udp = socket(*address, Type::DGRAM, Protocol::UDP, false)
            .and_then(|socket| UdpSocket::from_std(socket.into()))
            .with_context(|| format!("RB-BIND: cannot listen on {address} (responder, UDP)"))?;
        let [tcp] =
            <[_; 1]>::try_from(listen("responder", *address, 1)?).expect("one was asked for");
        sockets.push((udp, TcpListener::from_std(tcp)?));
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
        for (bound, listening) in self.named {
            for (worker, listener) in each(house, bound) {
                let door = Door::Named(listening);
                let accepts = clients(listener, door, house.clone(), house.stop.clone());
                house.tasks.spawn_on(accepts, worker);
            }
        }
        let mut raw = RawPorts { open: BTreeMap::new() };
        for (address, bound) in self.raw {
            raw.open(address, bound, house);
        }
        let lobby = Arc::new(Lobby::new(files.strangers, STRANGERS_PER_NETWORK));
        for (worker, listener) in self.dial_back.into_iter().flat_map(|it| each(house, it)) {
            house.tasks.spawn_on(strangers(listener, lobby.clone(), house.clone()), worker);
        }
        #[cfg(feature = "quic")]
        let workers: Vec<_> = house.workers.all().collect();
        #[cfg(feature = "quic")]
        for (worker, socket) in workers.into_iter().cycle().zip(self.streams) {
            // All of a connection stays where its socket is.
            let _context = worker.enter();
            match Accepted::endpoint(&house.identity, socket, &house.tasks) {
                Ok(endpoint) => {
                    let strangers = streams::strangers(endpoint, lobby.clone(), house.clone());
                    house.tasks.spawn_on(strangers, worker);
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
            match listen("raw", address, house.workers.count()) {
                Ok(bound) => self.open(address, bound, house),
                Err(fault) => error!(fault = %format!("{fault:#}"), "a service has no port"),
            }
        }
    }

    fn open(&mut self, address: SocketAddr, bound: Bound, house: &Arc<House>) {
        let close = house.stop.child_token();
        for (worker, listener) in each(house, bound) {
            let accepts = clients(listener, Door::Raw(address), house.clone(), close.clone());
            house.tasks.spawn_on(accepts, worker);
        }
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

/// Each socket of an address, on the worker that accepts from it.
fn each(house: &House, bound: Bound) -> Vec<(&Handle, TcpListener)> {
    let listeners = house.workers.all().zip(bound).filter_map(|(worker, socket)| {
        let _context = worker.enter();
        match TcpListener::from_std(socket) {
            Ok(listener) => Some((worker, listener)),
            Err(fault) => {
                error!(%fault, "RB-ACCEPT: a worker cannot accept");
                None
            }
        }
    });
    listeners.collect()
}

/// Binds an address once for each worker. The first socket is bound as if it were alone, so that one
/// that anybody else listens on is an error and is never shared with them.
fn listen(key: &str, address: SocketAddr, workers: usize) -> anyhow::Result<Bound> {
    let bind = || {
        let first = socket(address, Type::STREAM, Protocol::TCP, false)?;
        let address = first.local_addr()?.as_socket().unwrap_or(address);
        let mut sockets = vec![first];
        if 1 < workers {
            sockets[0].set_reuse_port(true)?;
        }
        while sockets.len() < workers {
            sockets.push(socket(address, Type::STREAM, Protocol::TCP, true)?);
        }
        for socket in &sockets {
            tuning::tune(socket)?;
            socket.listen(BACKLOG)?;
        }
        info!(listener = key, %address, "listening");
        io::Result::Ok(sockets.into_iter().map(Into::into).collect())
    };
    bind().with_context(|| format!("RB-BIND: cannot listen on {address} ({key})"))
}

/// A bound socket. An IPv6 one takes no IPv4, so that `0.0.0.0` and `[::]` can share a port.
fn socket(address: SocketAddr, kind: Type, protocol: Protocol, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(shared)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn loopback() -> [SocketAddr; 2] {
        [([127, 0, 0, 1], 0).into(), ([0, 0, 0, 0, 0, 0, 0, 1], 0).into()]
    }

    #[test]
    fn each_worker_has_a_socket_on_the_same_port_and_every_connection_comes_to_one() {
        for address in loopback() {
            let bound = listen("test", address, 3).unwrap();
            let addresses: BTreeSet<_> = bound.iter().map(|it| it.local_addr().unwrap()).collect();
            assert_eq!((bound.len(), addresses.len()), (3, 1));
            let port = *addresses.first().unwrap();
            let clients: Vec<_> = (0..64).map(|_| net::TcpStream::connect(port).unwrap()).collect();
            let accepted: Vec<usize> =
                bound.iter().map(|it| std::iter::from_fn(|| it.accept().ok()).count()).collect();
            assert_eq!(accepted.iter().sum::<usize>(), clients.len());
            assert!(accepted.iter().all(|it| 0 < *it), "{accepted:?}");
        }
    }

    #[test]
    fn an_address_that_somebody_listens_on_is_shared_with_nobody() {
        let [address, _] = loopback();
        let theirs = listen("theirs", address, 2).unwrap();
        let taken = theirs[0].local_addr().unwrap();
        for workers in [1, 2] {
            let fault = listen("ours", taken, workers).unwrap_err();
            assert!(fault.to_string().starts_with("RB-BIND"), "{fault:#}");
        }
    }

    #[test]
    fn what_is_accepted_is_prompt_and_watched() {
        let [address, _] = loopback();
        let bound = listen("test", address, 1).unwrap();
        let _client = net::TcpStream::connect(bound[0].local_addr().unwrap()).unwrap();
        let (accepted, _) = bound[0].accept().unwrap();
        let accepted = socket2::SockRef::from(&accepted);
        assert!(accepted.tcp_nodelay().unwrap() && accepted.keepalive().unwrap());
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), crate::limits::KEEPALIVE_AFTER);
        assert_eq!(accepted.linger().unwrap(), None);
    }

    #[test]
    fn a_tunnel_goes_by_the_congestion_control_of_its_listener() {
        use crate::socket::Congestion;
        let [address, _] = loopback();
        let bound = listen("test", address, 1).unwrap();
        // Every kernel has this one, and lets everybody choose it.
        Congestion::Reno.apply(&bound[0]).unwrap();
        let _client = net::TcpStream::connect(bound[0].local_addr().unwrap()).unwrap();
        let (accepted, _) = bound[0].accept().unwrap();
        let name = socket2::SockRef::from(&accepted).tcp_congestion().unwrap();
        assert!(name.starts_with(b"reno"), "{name:?}");
    }
}
