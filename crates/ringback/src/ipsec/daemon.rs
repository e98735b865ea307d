//! Watches over the daemon: starts it, prepares it, hears what ends at it, sweeps it, and starts it again.
//!
//! When it ends every association ends, and every tunnel is cut at once.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;

use ringback_proto::ipsec::{End, IKE_PORT};
use ringback_proto::vici::Message;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};

use super::program::Program;
use super::session::{is_ours, list, unload};
use super::vici::Vici;
use super::{Fault, House, Running, paths};
use crate::config::{Charon, IpsecConfig};
use crate::limits::{
    ASSOCIATION_LOOK_AGAIN, ASSOCIATION_LOOKS, CHARON_LOOK, CHARON_PAUSE, CHARON_PULSE,
    CHARON_PULSE_PATIENCE, CHARON_START, IPSEC_SWEEP, IPSEC_SWEPT, PORT_LOOK,
};

/// Has a daemon there until the role stops and the last session has ended.
pub(super) async fn look_after(
    house: Arc<House>,
    config: IpsecConfig,
    running: watch::Sender<Option<Running>>,
    stop: CancellationToken,
) {
    let mut told = false;
    while !stop.is_cancelled() {
        let fault = match live(&house, &config, &running, &stop).await {
            Ok(()) => return,
            Err(fault) => fault,
        };
        let was_up = running.send_replace(None);
        let up_before = was_up.is_some();
        if let Some(was) = was_up {
            was.gone.cancel();
        }
        // One that cannot be had is told once, and not every few seconds.
        if up_before || !told {
            let code = fault.code();
            let fault = anyhow::Error::from(fault);
            error!(fault = %format!("{fault:#}"), "{code}: no IPsec; it is tried again");
            told = true;
        }
        tokio::select! {
            () = sleep(CHARON_PAUSE) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// One life of the daemon. Ends well only when it was stopped.
async fn live(
    house: &Arc<House>,
    config: &IpsecConfig,
    running: &watch::Sender<Option<Running>>,
    stop: &CancellationToken,
) -> Result<(), Fault> {
    let socket = config.socket();
    for network in &house.sealed_off {
        paths::seal_off(*network).await?;
    }
    for network in &house.own {
        paths::sweep(*network).await?;
    }
    if let (Charon::Own(_), End::Public) = (&config.charon, house.end) {
        port_is_free().await?;
    }
    let mut program = match &config.charon {
        Charon::Own(own) => Some(Program::start(own, house.end, &config.state)?),
        Charon::Running(_) => None,
    };
    if let Some(program) = &mut program {
        house.tasks.spawn(program.listen());
    }
    let (gone, starts) = (CancellationToken::new(), program.is_some());
    let lived = async {
        let mut events = prepared(house, &socket, starts).await?;
        let up = Running { socket: socket.clone(), own: starts, gone: gone.clone() };
        running.send_replace(Some(up));
        info!(own = matches!(config.charon, Charon::Own(_)), "IPsec is ready");
        let heard = async {
            loop {
                let (name, message) = events.event().await?;
                debug!(event = name, "charon");
                if name == "ike-updown" || name == "child-updown" {
                    house.tasks.spawn(look_at(house.clone(), socket.clone(), message));
                }
            }
        };
        tokio::select! {
            heard = heard => heard,
            fault = falls_silent(&socket) => Err(fault),
            never = sweeps(house, &socket) => match never {},
        }
    };
    let ended = tokio::select! {
        ended = lived => ended,
        () = over(house, stop) => Ok(()),
        () = has_ended(&mut program) => Err(Fault::Down),
    };
    if let (Ok(()), None) = (&ended, &program) {
        // A daemon that goes on without us need not know our key.
        forget(house, &socket).await;
    }
    if ended.is_err() {
        // One that hangs takes its time to end: nobody waits for that.
        gone.cancel();
    }
    if let Some(program) = program {
        program.end().await;
    }
    ended
}

/// The role has stopped, and every session has ended.
async fn over(house: &House, stop: &CancellationToken) {
    stop.cancelled().await;
    house.places.all_free().await;
}

/// Waits for the port that our daemon is to have: it would say nothing of it if somebody else had it. One
/// that was killed a moment ago may.
async fn port_is_free() -> Result<(), Fault> {
    let everywhere =
        [(Ipv4Addr::UNSPECIFIED, IKE_PORT).into(), (Ipv6Addr::UNSPECIFIED, IKE_PORT).into()];
    let taken = || {
        let tried = everywhere.into_iter().map(|it: SocketAddr| UdpSocket::bind(it));
        // Where there is no IPv6 nobody has its port either.
        tried.filter_map(Result::err).find(|it| it.kind() == std::io::ErrorKind::AddrInUse)
    };
    let free = async {
        while taken().is_some() {
            sleep(PORT_LOOK).await;
        }
    };
    if timeout(CHARON_START, free).await.is_err()
        && let Some(fault) = taken()
    {
        return Err(Fault::Taken(fault));
    }
    Ok(())
}

/// Sweeps away again and again what the daemon has and no session that lives: what could not be unloaded
/// in time, or what somebody else has left there by our names.
async fn sweeps(house: &House, socket: &Path) -> Infallible {
    let mut suspects = BTreeSet::new();
    loop {
        sleep(IPSEC_SWEEP).await;
        match sweep(house, socket, &suspects).await {
            Ok(orphans) => suspects = orphans,
            Err(fault) => debug!(%fault, "not swept"),
        }
    }
}

/// Sweeps those away that have been suspects: any other may just be unloaded. Hands back the next ones.
async fn sweep(
    house: &House,
    socket: &Path,
    suspects: &BTreeSet<String>,
) -> Result<BTreeSet<String>, Fault> {
    let found = {
        // What is loaded meanwhile lives a moment later.
        let _turn = house.loading.lock().await;
        let found = left_behind(&mut Vici::connect(socket).await?).await?;
        let live = house.live();
        found.into_iter().filter(|it| !live.contains_key(it)).collect::<BTreeSet<_>>()
    };
    for name in found.intersection(suspects).take(IPSEC_SWEPT) {
        info!(connection = name, "swept: no session has it");
        // One that cannot be unloaded does not keep those behind it.
        if let Err(fault) = unload(house, socket, name).await {
            debug!(%fault, connection = name, "not swept");
        }
    }
    Ok(found)
}

/// Asks the daemon again and again whether it answers, until it does not: one that hangs keeps its socket.
async fn falls_silent(socket: &Path) -> Fault {
    loop {
        sleep(CHARON_PULSE).await;
        let asked = async {
            let mut vici = Vici::connect(socket).await?;
            vici.ask("version", Message::default()).await
        };
        match timeout(CHARON_PULSE_PATIENCE, asked).await {
            Ok(Ok(_)) => {}
            Ok(Err(fault)) => return fault,
            Err(_) => return Fault::Deaf,
        }
    }
}

async fn has_ended(program: &mut Option<Program>) {
    match program {
        Some(program) => program.ended().await,
        None => std::future::pending().await,
    }
}

/// Waits until the daemon listens, sweeps away what another run has left, and gives it our key. Hands
/// back a connection that hears what ends.
async fn prepared(house: &House, socket: &Path, starts: bool) -> Result<Vici, Fault> {
    let connected = async {
        loop {
            match Vici::connect(socket).await {
                Ok(vici) => return Ok(vici),
                Err(Fault::Socket(_)) if starts => sleep(CHARON_LOOK).await,
                Err(fault) => return Err(fault),
            }
        }
    };
    let connected = timeout(CHARON_START, connected).await;
    let mut vici = connected.map_err(|_| Fault::Deafborn)??;
    for name in left_behind(&mut vici).await? {
        info!(connection = name, "swept: another run has left it");
        unload(house, socket, &name).await?;
    }
    house.load_identity(&mut vici).await?;
    let mut events = Vici::connect(socket).await?;
    for event in ["ike-updown", "child-updown"] {
        events.register(event).await?;
    }
    Ok(events)
}

/// What is loaded by our names.
async fn left_behind(vici: &mut Vici) -> Result<Vec<String>, Fault> {
    let connections = vici.command("get-conns", Message::default()).await?;
    let keys = vici.command("get-shared", Message::default()).await?;
    let associations = vici.list("list-sas", "list-sa", Message::default()).await?;
    let associations = associations.iter().flat_map(Message::sections).map(|(name, _)| name);
    let named = connections.list("conns").into_iter().chain(keys.list("keys")).chain(associations);
    let mut ours: Vec<String> = named.filter(|it| is_ours(it)).map(str::to_owned).collect();
    ours.sort();
    ours.dedup();
    Ok(ours)
}

/// Has the daemon forget our key.
async fn forget(house: &House, socket: &Path) {
    let forgotten = async {
        let mut vici = Vici::connect(socket).await?;
        vici.command("clear-creds", Message::default()).await.map(drop)
    };
    if let Err(fault) = forgotten.await {
        debug!(%fault, end = ?house.end, "the daemon keeps our key");
    }
}

/// Something has come up or gone down: cuts the tunnel whose association is not there any more. What
/// was only rekeyed is there.
async fn look_at(house: Arc<House>, socket: std::path::PathBuf, event: Message) {
    let names: Vec<String> =
        event.sections().map(|(name, _)| name.to_owned()).filter(|it| is_ours(it)).collect();
    for name in names {
        if event.text("up") == Some("yes") || is_there(&socket, &name).await {
            continue;
        }
        let cut = house.live().get_mut(&name).and_then(|it| it.cut.take());
        if let Some(cut) = cut {
            debug!(connection = name, "a tunnel's association has ended");
            cut.cancel();
        }
    }
}

/// Whether an association is there, as far as the daemon can be made to say.
async fn is_there(socket: &Path, name: &str) -> bool {
    for _ in 0..ASSOCIATION_LOOKS {
        match is_in_place(socket, name).await {
            Ok(is_there) => return is_there,
            Err(fault) => {
                debug!(%fault, connection = name, "the daemon does not say what is there")
            }
        }
        sleep(ASSOCIATION_LOOK_AGAIN).await;
    }
    false
}

async fn is_in_place(socket: &Path, name: &str) -> Result<bool, Fault> {
    let mut vici = Vici::connect(socket).await?;
    let in_place = |it: &Message| {
        let children = it.section("child-sas");
        let mut children = children.into_iter().flat_map(Message::sections);
        children.any(|(_, child)| child.text("state") == Some("INSTALLED"))
    };
    Ok(list(&mut vici, name).await?.iter().any(in_place))
}

/// Runs the daemon for a moment, or asks the one that runs, which version it has and what it lacks.
pub(crate) async fn examine(config: &IpsecConfig, end: End, runs: bool) -> Result<String, Fault> {
    let socket = config.socket();
    let mut program = match &config.charon {
        Charon::Own(own) if !runs => Some(Program::start(own, end, &config.state)?),
        Charon::Own(_) | Charon::Running(_) => None,
    };
    let asked = async {
        let mut vici = loop {
            match Vici::connect(&socket).await {
                Err(Fault::Socket(_)) if program.is_some() => sleep(CHARON_LOOK).await,
                connected => break connected?,
            }
        };
        let version = vici.command("version", Message::default()).await?;
        let stats = vici.command("stats", Message::default()).await?;
        let plugins = stats.list("plugins");
        let ed25519 = plugins.contains(&"curve25519") || plugins.contains(&"openssl");
        let lacking = [("pubkey", plugins.contains(&"pubkey")), ("curve25519 or openssl", ed25519)];
        let lacking: Vec<_> = lacking.iter().filter(|(_, there)| !there).map(|it| it.0).collect();
        if !lacking.is_empty() {
            let said = format!("it lacks the plugins {}", lacking.join(", "));
            return Err(Fault::Undone { what: "Ed25519".to_owned(), said });
        }
        let text = |key| version.text(key).unwrap_or("?").to_owned();
        Ok(format!("{} {}", text("daemon"), text("version")))
    };
    let found = timeout(CHARON_START, asked).await.map_err(|_| Fault::Deafborn).flatten();
    if let Some(program) = program.take() {
        program.end().await;
    }
    found
}

#[cfg(test)]
mod tests {
    use ringback_proto::vici::Packet;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    use super::*;

    const NAME: &str = "ringback-0123456789abcdef";

    /// A daemon that breaks so many connections off, then says what is there.
    async fn say(daemon: UnixListener, broken: usize, state: &str) {
        for _ in 0..broken {
            drop(daemon.accept().await.expect("somebody asks"));
        }
        let (mut stream, _) = daemon.accept().await.expect("somebody asks");
        let child = Message::default().with("state", state);
        let children = Message::default().with_section("tunnel-1", child);
        let association = Message::default().with_section("child-sas", children);
        let message = Message::default().with_section(NAME, association);
        let listed = Packet::Event { name: "list-sa".to_owned(), message };
        for (answer, last) in [
            (Packet::Confirmed, true),
            (listed, false),
            (Packet::Response(Message::default()), true),
        ] {
            stream.write_all(&answer.encode().expect("short")).await.expect("somebody reads");
            if last {
                // What was asked is known.
                let _ = stream.read(&mut [0; 512]).await;
            }
        }
    }

    #[tokio::test]
    async fn an_association_is_given_up_when_it_is_gone_and_not_when_the_daemon_stumbles() {
        for (broken, state, there) in [
            (0, "INSTALLED", true),
            (ASSOCIATION_LOOKS - 1, "INSTALLED", true),
            (ASSOCIATION_LOOKS - 1, "DELETED", false),
            (ASSOCIATION_LOOKS, "INSTALLED", false),
        ] {
            let folder = tempfile::tempdir().expect("a folder");
            let socket = folder.path().join("charon.vici");
            let daemon = UnixListener::bind(&socket).expect("a socket");
            let found = tokio::select! {
                found = is_there(&socket, NAME) => found,
                () = async { say(daemon, broken, state).await; std::future::pending().await } => false,
            };
            assert_eq!(found, there, "{broken} broken off, {state}");
        }
    }
}
