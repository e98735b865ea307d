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
use ringback_proto::terminal::{Callee, Callees, ServiceId};
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
            let rings_itself = rings_itself(&wish.terminal.callees, request.want);
            let guest = Guest { stream: tunnel.into(), wish, admitted, rings_itself, seat };
            clients::begin(house, from, Box::new(guest)).await;
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
    let (terminal, service, shown) = find(house, request, key).map_err(refused)?;
    match request.want {
        Want::Knock => {
            let armed = knock(&house.armed, &terminal, request.service, key, source);
            Err(armed.map_or(refused(Refusal::NotArmed), Reply::Armed))
        }
        Want::Connect | Want::RingNumber | Want::RingMail => {
            if !may_ring_so(&service, &shown, &terminal.callees, request.want) {
                return Err(refused(Refusal::NoOwnRing));
            }
            let admitted = admit(service.access.level, shown, source);
            let admitted = admitted.ok_or(refused(Refusal::NotAllowed))?;
            let seat = house.seats.clone().try_acquire_owned();
            let seat = seat.map_err(|_| refused(Refusal::Busy))?;
            Ok((Wish { terminal, service, protocol: Protocol::Keyed, head: None }, admitted, seat))
        }
    }
}

/// The terminal's address that a client wants to ring by a bearer of its own, if it does and there is
/// one.
fn rings_itself(callees: &Callees, want: Want) -> Option<Callee> {
    match want {
        Want::Connect | Want::Knock => None,
        Want::RingNumber => callees.number().cloned().map(Callee::Number),
        Want::RingMail => callees.mail().cloned().map(Callee::Mail),
    }
}

/// Whether a client may ring as it wants to: by no bearer of its own, or by one that leads there.
fn may_ring_so(service: &ListedService, shown: &Shown, callees: &Callees, want: Want) -> bool {
    if matches!(want, Want::Connect | Want::Knock) {
        return true;
    }
    let may = matches!(shown, Shown::ClientKey(it) if service.access.may_ring.contains(it));
    may && rings_itself(callees, want).is_some()
}

/// Terminal and service, and what the client has shown for them.
type Found = (Arc<ListedTerminal>, ListedService, Shown);

fn find(house: &House, request: &Request, key: &PublicKey) -> Result<Found, Refusal> {
    let terminal = house.directory().find(&request.name).ok_or(Refusal::Unknown)?.clone();
    let (service, identity) = choose(&terminal.services, request, key)?;
    let service = service.clone();
    Ok((terminal, service, Shown::ClientKey(identity)))
}

/// Chooses among those that list the client's key; if there are none, there is no terminal. What is
/// open to others by other doors is not open here: nobody has put it here.
fn choose<'a>(
    services: &'a [ListedService],
    request: &Request,
    key: &PublicKey,
) -> Result<(&'a ListedService, Identity), Refusal> {
    let reach = |it: &'a ListedService| Some((it, identity(it, key)?));
    let reached: Vec<_> = services.iter().filter_map(reach).collect();
    if reached.is_empty() {
        return Err(Refusal::Unknown);
    }
    let wanted = |service: &ListedService| match request.service {
        None => true,
        Some(id) => service.id == id,
    };
    let knocks = |service: &ListedService| match request.want {
        Want::Connect | Want::RingNumber | Want::RingMail => true,
        Want::Knock => service.access.level == Level::Knock,
    };
    let mut fitting = reached.into_iter().filter(|it| wanted(it.0) && knocks(it.0));
    match (fitting.next(), fitting.next(), request.want) {
        (Some(one), None, _) | (Some(one), Some(_), Want::Knock) => Ok(one),
        (Some(_), Some(_), Want::Connect | Want::RingNumber | Want::RingMail)
        | (None, _, Want::Knock) => Err(Refusal::NoService),
        (None, _, Want::Connect | Want::RingNumber | Want::RingMail) => {
            Err(closed(services, request.service))
        }
    }
}

/// Why a client that may reach another service of the terminal does not reach this one.
fn closed(services: &[ListedService], asked: Option<ServiceId>) -> Refusal {
    let service = services.iter().find(|it| Some(it.id) == asked);
    match service.map(|it| it.access.level) {
        None => Refusal::NoService,
        Some(Level::Open | Level::Allow | Level::Knock | Level::Http | Level::Mtls) => {
            Refusal::Unauthorized
        }
        Some(Level::EndToEnd) => Refusal::EndToEndOnly,
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
    use ringback_proto::terminal::{CallNumber, MailAddress, TerminalName};

    use super::*;
    use crate::config::Access;

    const LEE: PublicKey = PublicKey([1; 44]);
    const NOBODY: PublicKey = PublicKey([2; 44]);

    #[test]
    fn a_key_reaches_what_lists_it_at_any_level_and_nothing_else() {
        for level in Level::ALL {
            let listed = [service(1, level, &[LEE])];
            let (_, identity) = ask(&listed, &LEE, Want::Connect, Some(1)).unwrap();
            assert!(admits(level, Shown::ClientKey(identity)), "{level}");
            let reached = ask(&listed, &NOBODY, Want::Connect, Some(1));
            assert_eq!(reached.unwrap_err(), Refusal::Unknown, "{level}");
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
        let both = [service(1, Level::EndToEnd, &[LEE]), service(2, Level::Open, &[LEE])];
        assert_eq!(ask(&both, &LEE, Want::Connect, None).unwrap_err(), Refusal::NoService);
    }

    #[test]
    fn only_a_listed_key_knocks_and_only_where_knocking_helps() {
        let knock = [service(1, Level::Knock, &[LEE]), service(2, Level::Knock, &[LEE])];
        assert!(ask(&knock, &LEE, Want::Knock, None).is_ok(), "one of them stands for all");
        let open = [service(1, Level::Knock, &[]), service(2, Level::Open, &[LEE])];
        assert_eq!(ask(&open, &LEE, Want::Knock, None).unwrap_err(), Refusal::NoService);
    }

    #[test]
    fn only_who_may_rings_by_itself_and_only_where_its_bearer_leads() {
        let number = Callees::new(CallNumber::parse("+15550100777").ok(), None).unwrap();
        let mail = Callees::new(None, MailAddress::parse("car7@fleet.example").ok()).unwrap();
        let lee = Shown::ClientKey(Identity::parse("lee").unwrap());
        let mut listed = service(1, Level::EndToEnd, &[LEE]);
        for want in [Want::RingNumber, Want::RingMail] {
            assert!(!may_ring_so(&listed, &lee, &number, want), "listed, and no more");
        }
        listed.access.may_ring.insert(Identity::parse("lee").unwrap());
        let mallory = Shown::ClientKey(Identity::parse("mallory").unwrap());
        assert!(may_ring_so(&listed, &lee, &number, Want::RingNumber));
        assert!(may_ring_so(&listed, &lee, &mail, Want::RingMail));
        assert!(!may_ring_so(&listed, &lee, &number, Want::RingMail));
        assert!(!may_ring_so(&listed, &lee, &mail, Want::RingNumber));
        assert!(!may_ring_so(&listed, &mallory, &number, Want::RingNumber));
        assert!(may_ring_so(&listed, &mallory, &number, Want::Connect));
    }

    fn admits(level: Level, shown: Shown) -> bool {
        admit(level, shown, Source::of([192, 0, 2, 7].into())).is_some()
    }

    fn ask(
        services: &[ListedService],
        key: &PublicKey,
        want: Want,
        id: Option<u16>,
    ) -> Result<(u16, Identity), Refusal> {
        let name = TerminalName::parse("car7.fleet.example").unwrap();
        let request = Request { want, service: id.map(ServiceId), name };
        choose(services, &request, key).map(|(service, identity)| (service.id.0, identity))
    }

    fn service(id: u16, level: Level, keys: &[PublicKey]) -> ListedService {
        let clients = keys.iter().map(|it| (Identity::parse("lee").unwrap(), *it)).collect();
        ListedService {
            id: ServiceId(id),
            port: id,
            raw: None,
            http: false,
            tls: false,
            forwarded: false,
            bare: false,
            tls_end: None,
            access: Access { level, clients, ..Access::open() },
            tunnel: Default::default(),
        }
    }
}
