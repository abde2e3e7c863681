//! When a server without tasks leaves, although nobody said Shutdown.
//!
//! containerd says it after each Delete, and runs `delete` for a shim that it cannot load; but one that is killed between
//! the start of a shim and Create, or between Delete and Shutdown, forgets it (1.6 for good). Then:
//!
//! ```text
//! no task, and a connection was lost since there was work  -> leave after 10 s
//! no task, whoever is connected                            -> leave after 10 min
//! ```
//!
//! The server of a group stays: its pod may be between two containers.

use std::time::Duration;

use log::info;
use tokio::time::{Instant, sleep};

use super::listener::Connections;
use super::registry::Registry;

const CHECK_INTERVAL: Duration = Duration::from_secs(5);
const ABANDONED_LIMIT: Duration = Duration::from_secs(10);
const EMPTY_LIMIT: Duration = Duration::from_secs(600);

/// Returns when the server has no reason to stay.
pub async fn wait_until_useless(registry: Registry, connections: Connections) {
    let mut empty_since = Instant::now();
    let mut lost_before = connections.lost();
    loop {
        let abandoned = connections.lost() != lost_before;
        let limit = if abandoned {
            ABANDONED_LIMIT
        } else {
            EMPTY_LIMIT
        };
        if !registry.is_empty() {
            registry.emptied().await;
            (empty_since, lost_before) = (Instant::now(), connections.lost());
        } else if empty_since.elapsed() >= limit && registry.close() {
            return info!(abandoned = abandoned; "no task is left and nobody says shutdown: leaving");
        } else {
            sleep(CHECK_INTERVAL).await;
        }
    }
}
