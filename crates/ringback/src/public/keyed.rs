//! The client's door: who comes by `ringback connect`, and shows a key instead of a name.
//!
//! A key says who somebody is, and never more: what it may reach stands in the directory. Whoever
//! may reach nothing of a terminal is told what is told of a terminal that does not exist.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ringback_proto::door::{Reply, Request, Want};
use ringback_proto::gate::{Admitted, Identity, Level, Shown, Source, admit};
use ringback_proto::refusal::Refusal;
use ringback_proto::switchboard::PublicKey;
use ringback_proto::terminal::ServiceId;
use tokio::sync::OwnedSemaphorePermit;
use tracing::debug;

use super::House;
use super::armed::Armed;
use super::clients;
use super::doorway::{Guest, Wish};
use super::lobby::Place;
use crate::clock;
use crate::config::{ListedService, ListedTerminal};
use crate::ingress::{self, Protocol};
use crate::tunnel::Tunnel;

/// Serves a client whose request is whole. It keeps its place for as long as there is only something
/// to be told: anybody can make a key, and who may not ring takes no seat from who may.
pub(super) async fn serve(
    house: Arc<House>,
    tunnel: Tunnel,
    request: Request,
    from: SocketAddr,
    place: Place,
) {
    debug!(%from, name = %request.name, want = ?request.want, "client with a key");
    match let_in(&house, tunnel.peer(), &request, from) {
        Ok((wish, admitted, seat)) => {
            drop(place);
            let guest = Guest { stream: tunnel.into(), wish, admitted, seat };
            clients::begin(house, from, guest).await;
        }
        Err(reply) => {
            debug!(%from, ?reply, "client with a key is not joined");
            tokio::select! {
                () = ingress::tell(tunnel.into(), reply.encode()) => {}
                () = place.lost() => debug!(%from, "its place was needed"),
            }
        }
    }
}

/// Lets in who may ring, the newest last; for any other there is only this reply.
fn let_in(
    house: &House,
    key: &PublicKey,
    request: &Request,
    from: SocketAddr,
) -> Result<(Wish, Admitted, OwnedSemaphorePermit), Reply> {
    let refused = |refusal: Refusal| Reply::Refused(refusal.into());
    let source = Source::of(from.ip());
    let (terminal, service, shown) = find(house, request, key, from).map_err(refused)?;
    match request.want {
        Want::Knock => {
            let armed = knock(&house.armed, &terminal, request.service, key, source);
            Err(armed.map_or(refused(Refusal::NotArmed), Reply::Armed))
        }
        Want::Connect => {
            let admitted = admit(service.access.level, shown, source);
            let admitted = admitted.ok_or(refused(Refusal::NotAllowed))?;
            let seat = house.seats.clone().try_acquire_owned();
            let seat = seat.map_err(|_| refused(Refusal::Busy))?;
            Ok((Wish { terminal, service, protocol: Protocol::Keyed, head: None }, admitted, seat))
        }
    }
}

/// Terminal and service, and what the client has shown for them.
type Found = (Arc<ListedTerminal>, ListedService, Shown);

fn find(
    house: &House,
    request: &Request,
    key: &PublicKey,
    from: SocketAddr,
) -> Result<Found, Refusal> {
    let terminal = house.directory().find(&request.name).ok_or(Refusal::Unknown)?.clone();
    let (service, shown) = choose(&terminal.services, request, key, from)?;
    let service = service.clone();
    Ok((terminal, service, shown))
}

/// Chooses among those that the client may reach; if there are none, there is no terminal.
fn choose<'a>(
    services: &'a [ListedService],
    request: &Request,
    key: &PublicKey,
    from: SocketAddr,
) -> Result<(&'a ListedService, Shown), Refusal> {
    let reach = |it: &'a ListedService| Some((it, shown(it, key, from)?));
    let reached: Vec<_> = services.iter().filter_map(reach).collect();
    if reached.is_empty() {
        return Err(Refusal::Unknown);
    }
    let wanted = |service: &ListedService| match request.service {
        None => true,
        Some(id) => service.id == id,
    };
    let knocks = |(service, shown): &(&ListedService, Shown)| match request.want {
        Want::Connect => true,
        Want::Knock => service.access.level == Level::Knock && matches!(shown, Shown::ClientKey(_)),
    };
    let mut fitting = reached.into_iter().filter(|it| wanted(it.0) && knocks(it));
    match (fitting.next(), fitting.next(), request.want) {
        (Some(one), None, _) | (Some(one), Some(_), Want::Knock) => Ok(one),
        (Some(_), Some(_), Want::Connect) => Err(Refusal::NoService),
        (None, _, Want::Knock) => Err(Refusal::NoService),
        (None, _, Want::Connect) => Err(closed(services, request.service)),
    }
}

/// Why a client that may reach another service of the terminal does not reach this one.
fn closed(services: &[ListedService], asked: Option<ServiceId>) -> Refusal {
    let service = services.iter().find(|it| Some(it.id) == asked);
    match service.map(|it| it.access.level) {
        None | Some(Level::Open) => Refusal::NoService,
        Some(Level::Allow) => Refusal::NotAllowed,
        Some(Level::Knock) => Refusal::NotArmed,
        Some(Level::Http | Level::Mtls) => Refusal::Unauthorized,
        Some(Level::EndToEnd) => Refusal::EndToEndOnly,
    }
}

/// What the client has shown for a service; none if that does not suffice.
fn shown(service: &ListedService, key: &PublicKey, from: SocketAddr) -> Option<Shown> {
    let access = &service.access;
    if let Some(identity) = identity(service, key) {
        return Some(Shown::ClientKey(identity));
    }
    match access.level {
        Level::Open => Some(Shown::Nothing),
        Level::Allow if access.allow.iter().any(|it| it.contains(from.ip())) => {
            Some(Shown::Network)
        }
        Level::Allow | Level::Knock | Level::Http | Level::Mtls | Level::EndToEnd => None,
    }
}

/// Opens for the client's address the ports of those knock services that list its key; returns how
/// long the first of them stays open.
fn knock(
    armed: &Armed,
    terminal: &ListedTerminal,
    asked: Option<ServiceId>,
    key: &PublicKey,
    source: Source,
) -> Option<Duration> {
    let knocks = terminal.services.iter().filter(|it| it.access.level == Level::Knock);
    let mut first = None;
    for service in knocks.filter(|it| asked.is_none_or(|asked| asked == it.id)) {
        let Some(identity) = identity(service, key) else { continue };
        armed.arm((terminal.key.kid, service.id), source, identity, clock::now());
        first = first.into_iter().chain([service.access.knock]).min();
    }
    first
}

/// What the holder of a key is called by a service.
fn identity(service: &ListedService, key: &PublicKey) -> Option<Identity> {
    let listed = service.access.clients.iter().find(|(_, it)| it == key);
    listed.map(|(identity, _)| identity.clone())
}

#[cfg(test)]
mod tests {
    use ringback_proto::terminal::TerminalName;

    use super::*;
    use crate::config::Access;

    const LEE: PublicKey = PublicKey([1; 44]);
    const NOBODY: PublicKey = PublicKey([2; 44]);

    #[test]
    fn a_key_reaches_what_lists_it_at_any_level_and_what_is_open_to_all() {
        for level in Level::ALL {
            let listed = [service(1, level, &[LEE])];
            let (_, shown) = ask(&listed, &LEE, Want::Connect, Some(1)).unwrap();
            assert!(matches!(shown, Shown::ClientKey(_)) && admits(level, shown), "{level}");
            let reached = ask(&listed, &NOBODY, Want::Connect, Some(1));
            assert_eq!(reached.is_ok(), matches!(level, Level::Open | Level::Allow), "{level}");
        }
    }

    #[test]
    fn a_terminal_that_is_closed_to_a_key_is_told_like_one_that_does_not_exist() {
        let closed = [service(1, Level::EndToEnd, &[LEE]), service(2, Level::Http, &[])];
        for want in [Want::Connect, Want::Knock] {
            for id in [None, Some(1), Some(2), Some(3)] {
                assert_eq!(ask(&closed, &NOBODY, want, id).unwrap_err(), Refusal::Unknown);
            }
        }
    }

    #[test]
    fn without_a_number_the_only_service_that_the_key_may_reach_is_meant() {
        let two = [service(1, Level::EndToEnd, &[LEE]), service(2, Level::Http, &[])];
        assert_eq!(ask(&two, &LEE, Want::Connect, None).unwrap().0, 1);
        assert_eq!(ask(&two, &LEE, Want::Connect, Some(2)).unwrap_err(), Refusal::Unauthorized);
        assert_eq!(ask(&two, &LEE, Want::Connect, Some(3)).unwrap_err(), Refusal::NoService);
        let open = [service(1, Level::EndToEnd, &[LEE]), service(2, Level::Open, &[])];
        assert_eq!(ask(&open, &LEE, Want::Connect, None).unwrap_err(), Refusal::NoService);
        assert_eq!(ask(&open, &NOBODY, Want::Connect, None).unwrap().0, 2);
    }

    #[test]
    fn only_a_listed_key_knocks_and_only_where_knocking_helps() {
        let knock = [service(1, Level::Knock, &[LEE]), service(2, Level::Knock, &[LEE])];
        assert!(ask(&knock, &LEE, Want::Knock, None).is_ok(), "one of them stands for all");
        let open = [service(1, Level::Knock, &[]), service(2, Level::Open, &[LEE])];
        assert_eq!(ask(&open, &LEE, Want::Knock, None).unwrap_err(), Refusal::NoService);
    }

    fn admits(level: Level, shown: Shown) -> bool {
        admit(level, shown, Source::of([192, 0, 2, 7].into())).is_some()
    }

    fn ask(
        services: &[ListedService],
        key: &PublicKey,
        want: Want,
        id: Option<u16>,
    ) -> Result<(u16, Shown), Refusal> {
        let name = TerminalName::parse("car7.fleet.example").unwrap();
        let request = Request { want, service: id.map(ServiceId), name };
        let from = "192.0.2.7:4711".parse().unwrap();
        choose(services, &request, key, from).map(|(service, shown)| (service.id.0, shown))
    }

    fn service(id: u16, level: Level, keys: &[PublicKey]) -> ListedService {
        let clients = keys.iter().map(|it| (Identity::parse("lee").unwrap(), *it)).collect();
        let allow = vec!["192.0.2.0/24".parse().unwrap()];
        ListedService {
            id: ServiceId(id),
            port: id,
            raw: None,
            http: false,
            tls: false,
            forwarded: false,
            tls_end: None,
            access: Access { level, allow, clients, ..Access::open() },
        }
    }
}
