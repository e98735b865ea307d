//! The responder by itself: answers DNS in a process of its own, and does nothing else.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info};

use super::listeners;
use crate::config::{Config, ResponderConfig};
use crate::reload::Reload;

/// Answers DNS, and nothing else, until it is stopped.
pub async fn answer_dns(
    config: ResponderConfig,
    mut reload: Reload,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let sockets = listeners::bind_responder(&config)?;
    let tasks = TaskTracker::new();
    let zone = listeners::open_responder(sockets, &config, &tasks, &stop);
    info!(role = "responder", "ready");
    loop {
        tokio::select! {
            config = reload.next() => match config {
                Config::Responder(config) => {
                    zone.send_replace(config.zone);
                    info!("reloaded: listen addresses as before");
                }
                Config::Public(_) | Config::Private(_) | Config::Operator(_) => {
                    error!("not reloaded: the file has no [responder] table of its own any more");
                }
            },
            () = stop.cancelled() => break,
        }
    }
    tasks.close();
    tasks.wait().await;
    Ok(())
}
