//! Whoever poses as the public proxy, to which the private proxy's packets are led astray.

use std::time::Duration;

use anyhow::Result;
use ringback::keys;
use ringback::tunnel::{Acceptor, Asks, Dialer, Identity, Tunnel};
use ringback_lab::addresses;
use ringback_proto::gate::Level;
use ringback_proto::hello::{
    ANSWER_OCTETS, Answer, Caller, ClientAddress, HELLO_OCTETS, SessionId, ToPrivate,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::order::{Pose, tell};

/// How long the private proxy may take to say something more.
const SOON: Duration = Duration::from_secs(2);
/// What would reach the service if the private proxy believed the impostor.
const STOLEN: &[u8] = b"GET /stolen HTTP/1.1\r\nHost: patient.ring.example\r\n\r\n";

/// Accepts one dial-back after another and tells what each says and hears.
pub(crate) async fn pose(pose: &Pose) -> Result<()> {
    let identity = match &pose.identity {
        Some(file) => keys::read_identity(file.as_ref())?,
        None => Identity::from_pem(&Identity::generate()?)?,
    };
    let listener = TcpListener::bind(("0.0.0.0", 7443)).await?;
    let acceptor = Acceptor::new(&identity);
    tell("poses", b"");
    loop {
        let (stream, _) = listener.accept().await?;
        let Ok((_, mut tunnel)) = acceptor.accept(stream).await else {
            tell("shunned", b"");
            continue;
        };
        let mut hello = [0; HELLO_OCTETS];
        if tunnel.read_exact(&mut hello).await.is_err() {
            tell("shunned", b"");
            continue;
        }
        tell("hello", &hello);
        match &pose.relay_as {
            Some(file) => relay(&mut tunnel, file, &hello).await?,
            None => lie(&mut tunnel).await?,
        }
    }
}

/// Says yes without having sealed the signal, and goes on as if that were believed.
async fn lie(tunnel: &mut Tunnel) -> Result<()> {
    let caller = Caller { address: ClientAddress::UNKNOWN, level: Level::Open, identity: None };
    let bound = ToPrivate::Bound { session: SessionId(7), bare: false, caller }.encode()?;
    tunnel.write_all(&Answer::Accepted { mac: [7; 32] }.encode()).await?;
    tunnel.write_all(&[&bound, STOLEN].concat()).await?;
    tunnel.flush().await?;
    let mut heard = Vec::new();
    let _ = timeout(SOON, tunnel.read_to_end(&mut heard)).await;
    tell("lied", &heard);
    Ok(())
}

/// Says the very hello to the real public proxy, in the private proxy's own name.
async fn relay(tunnel: &mut Tunnel, file: &str, hello: &[u8]) -> Result<()> {
    let (identity, public) =
        (keys::read_identity(file.as_ref())?, keys::read_public_key("public.pub".as_ref())?);
    let stream = TcpStream::connect((addresses::PUBLIC, 7443)).await?;
    let mut real = Dialer::new(identity).dial(stream, &public, Asks::DialBack).await?;
    real.write_all(hello).await?;
    real.flush().await?;
    let mut answer = [0; ANSWER_OCTETS];
    real.read_exact(&mut answer).await?;
    tell("relayed", &answer);
    tunnel.write_all(&answer).await?;
    tunnel.flush().await?;
    Ok(())
}
