//! Serves the demo's readings on the address given, until interrupted.

use anyhow::{Context, Result, bail};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let address = words.next().unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    if words.next().is_some() || address.starts_with('-') {
        bail!("usage: readings [ADDRESS:PORT]");
    }

    let listener =
        TcpListener::bind(&address).await.with_context(|| format!("listen on {address}"))?;
    println!("readings at http://{}/", listener.local_addr()?);

    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let told_to_stop = async {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        shutdown.cancel();
        Ok(())
    };
    tokio::try_join!(readings::serve(listener, shutdown.clone()), told_to_stop)?;
    Ok(())
}
