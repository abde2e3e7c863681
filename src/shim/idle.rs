//! When a server without tasks leaves, although nobody said Shutdown.
//!
//! containerd says it after each Delete, and runs `delete` for a shim that it cannot load; but one that is killed between
//! the start of a shim and Create, or between Delete and Shutdown, forgets it (1.6 for good). Then:
//!
//! ```text
//! no task, and a connection was lost since there was work  -> leave after 10 s, or `idle_exit_seconds` if that is less
//! no task, whoever is connected                            -> leave after `idle_exit_seconds` (0: not for that)
//! no task, and SIGTERM, SIGINT or SIGHUP                   -> leave now
//! a task, and one of these signals                         -> stay; leave when the last task was deleted
//! ```
//!
//! The server of a group stays, but for a signal: its pod may be between two containers.
//!
//! containerd's own shim leaves at the first SIGTERM or SIGINT (`pkg/shim/shim_unix.go`, `handleExitSignals`), its
//! containers behind it without anybody who hears their exit. A shim that has a task has nothing more important to do.

use std::io;
use std::time::Duration;

use log::{info, warn};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use super::listener::Connections;
use super::registry::Registry;

const CHECK_INTERVAL: Duration = Duration::from_secs(5);
const ABANDONED_LIMIT: Duration = Duration::from_secs(10);

/// Returns when the server has no reason to stay; `limit` is how long it may be empty with everybody there, `None` for
/// as long as they like.
pub async fn wait_until_useless(
    registry: Registry,
    connections: Connections,
    limit: Option<Duration>,
) {
    let empty_limit = limit.unwrap_or(Duration::MAX);
    let mut empty_since = Instant::now();
    let mut lost_before = connections.lost();
    loop {
        let abandoned = connections.lost() != lost_before;
        let limit = if abandoned {
            ABANDONED_LIMIT.min(empty_limit)
        } else {
            empty_limit
        };
        let left = limit.saturating_sub(empty_since.elapsed());
        if !registry.is_empty() {
            registry.emptied().await;
            (empty_since, lost_before) = (Instant::now(), connections.lost());
        } else if left.is_zero() && registry.close() {
            return info!(abandoned = abandoned; "no task is left and nobody says shutdown: leaving");
        } else {
            sleep(left.clamp(Duration::from_millis(10), CHECK_INTERVAL)).await;
        }
    }
}

/// Starts to listen for the signals that ask a process to end; the future that this returns is done when the server may.
///
/// # Errors
/// What installing a signal handler answered.
pub fn wait_until_told(registry: Registry) -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hang_up.recv() => {}
        }
        while !registry.close() {
            warn!("told to end, with tasks left: leaving when the last of them is deleted");
            registry.emptied().await;
        }
        info!("told to end, and no task is left: leaving");
    })
}
