//! How a client is let in: what it says names the terminal, what it shows is weighed by the ring gate.
//!
//! Holds nobody and rings nobody: whoever comes through may, and everybody else has been refused.

use std::net::SocketAddr;
use std::sync::Arc;

use ringback_proto::gate::{Admitted, Identity, Source};
use ringback_proto::refusal::Refusal;
use ringback_proto::terminal::Callee;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tracing::debug;

use super::{House, knocks};
use crate::clock;
use crate::config::{ListedService, ListedTerminal};
use crate::gate::{Denied, Showing};
use crate::ingress::{self, Asked, ClientStream, Credential, HeadPrint, Listening, Protocol};

/// How clients of one listener say whom they want.
#[derive(Clone, Debug)]
pub(super) enum Door {
    /// By their first octets.
    Named(Listening),
    /// By the port itself, as the directory has it.
    Raw(SocketAddr),
}

/// What a client wants, and how to speak to it.
pub(super) struct Wish {
    pub(super) terminal: Arc<ListedTerminal>,
    pub(super) service: ListedService,
    pub(super) protocol: Protocol,
    /// The request's head, if the service is to have it.
    pub(super) head: Option<HeadPrint>,
}

/// A client that may ring.
pub(super) struct Guest {
    pub(super) stream: ClientStream,
    pub(super) wish: Wish,
    pub(super) admitted: Admitted,
    /// It has a bearer of its own, and may use it.
    pub(super) rings_itself: Option<Callee>,
    /// One of [`crate::limits::CLIENTS`].
    pub(super) seat: OwnedSemaphorePermit,
}

/// Lets a client in that says all it must; any other has been refused when this returns.
pub(super) async fn let_in(
    house: &House,
    stream: TcpStream,
    from: SocketAddr,
    door: Door,
) -> Option<Box<Guest>> {
    let (stream, wish, showing) = match door {
        Door::Raw(port) => match house.directory().behind(port) {
            Some((terminal, service)) => {
                let armed = armed(house, &terminal, &service, Source::of(from.ip()));
                let wish = Wish { terminal, service, protocol: Protocol::Raw, head: None };
                (stream.into(), wish, Showing { armed, ..Showing::default() })
            }
            // The port is open, so its terminal is listed: it has no keys yet.
            None => {
                ingress::refuse(stream.into(), Protocol::Raw, Refusal::NotEnrolled).await;
                return None;
            }
        },
        Door::Named(listening) => name(house, stream, from, &listening).await?,
    };
    let weighed = house.gate.weigh(&wish.service.access, &showing, from.ip()).await;
    let seated = weighed.and_then(|admitted| {
        let seat = house.seats.clone().try_acquire_owned().map_err(|_| Refusal::Busy)?;
        Ok((admitted, seat))
    });
    match seated {
        Ok((admitted, seat)) => {
            Some(Box::new(Guest { stream, wish, admitted, rings_itself: None, seat }))
        }
        Err(Denied { refusal, challenges }) => {
            debug!(%from, code = refusal.code(), "client refused at the door");
            ingress::challenge(stream, wish.protocol, refusal, &challenges).await;
            None
        }
    }
}

/// Whom a client wants, by what it says, and what it shows with it.
async fn name(
    house: &House,
    mut stream: TcpStream,
    from: SocketAddr,
    listening: &Listening,
) -> Option<(ClientStream, Wish, Showing)> {
    let asked = match ingress::name(&mut stream, listening).await {
        Ok(asked) => asked,
        Err(unnamed) => {
            debug!(%from, %unnamed, "client named no terminal");
            ingress::turn_away(stream, unnamed).await;
            return None;
        }
    };
    let stream = ClientStream::from(stream);
    let source = Source::of(from.ip());
    if asked.protocol == Protocol::Http
        && let Some(terminal) = house.directory().find(&asked.name)
        && knocks::is_asked(&stream, terminal)
    {
        knocks::serve(&house.armed, &house.gate, stream, source, terminal).await;
        return None;
    }
    let wish = match wish(house, &asked) {
        Ok(wish) => wish,
        Err(refusal) => {
            ingress::refuse(stream, asked.protocol, refusal).await;
            return None;
        }
    };
    match (stream, asked.protocol, wish.service.tls_end.clone()) {
        (ClientStream::Plain(stream), Protocol::Tls, Some(end)) => {
            let (stream, certificate) = match end.open(stream).await {
                Ok(opened) => opened,
                Err(fault) => {
                    debug!(%from, %fault, "no TLS with the client");
                    return None;
                }
            };
            let (stream, wish, credential) = inside(house, stream, source, wish).await?;
            let showing = Showing { credential, certificate, ..Showing::default() };
            Some((stream, wish, showing))
        }
        (stream, _, _) => {
            let credential = asked.credential;
            let armed = armed(house, &wish.terminal, &wish.service, source);
            Some((stream, wish, Showing { credential, armed, ..Showing::default() }))
        }
    }
}

/// Reads what names the terminal once more, inside a TLS that has ended here, if it is HTTP.
async fn inside(
    house: &House,
    mut stream: ClientStream,
    source: Source,
    wish: Wish,
) -> Option<(ClientStream, Wish, Credential)> {
    if !wish.service.http {
        return Some((stream, wish, Credential::Nothing));
    }
    let asked = match ingress::name_inside(&mut stream).await {
        Ok(asked) if asked.name == wish.terminal.name => asked,
        Ok(_) => {
            ingress::refuse(stream, Protocol::Http, Refusal::Unknown).await;
            return None;
        }
        Err(unnamed) => {
            ingress::turn_away(stream, unnamed).await;
            return None;
        }
    };
    if knocks::is_asked(&stream, &wish.terminal) {
        knocks::serve(&house.armed, &house.gate, stream, source, &wish.terminal).await;
        return None;
    }
    let wish = Wish { protocol: Protocol::Http, head: asked.head, ..wish };
    Some((stream, wish, asked.credential))
}

/// Who is asked for; an unknown name never reaches the switchboard, and so never rings.
fn wish(house: &House, asked: &Asked) -> Result<Wish, Refusal> {
    let directory = house.directory();
    let terminal =
        directory.find(&asked.name).ok_or_else(|| directory.missing(&asked.name))?.clone();
    let protocol = asked.protocol;
    let fits = |service: &&ListedService| match protocol {
        Protocol::Raw | Protocol::Keyed => false,
        Protocol::Http => service.http,
        Protocol::Tls => service.tls,
        Protocol::Socks5 | Protocol::Connect => Some(service.port) == asked.port,
    };
    let service = terminal.services.iter().find(fits).ok_or(Refusal::NoService)?.clone();
    Ok(Wish { terminal, service, protocol, head: asked.head })
}

/// Who has armed the client's source for the service.
fn armed(
    house: &House,
    terminal: &ListedTerminal,
    service: &ListedService,
    source: Source,
) -> Option<Identity> {
    let (port, open) = ((terminal.key.kid, service.id), service.access.knock);
    // A log-in that a reload has overtaken may have armed for somebody who is not known any more.
    house.armed.who(port, source, open, clock::now()).filter(|it| service.access.knocks(it))
}
