//! When a server without tasks leaves, although nobody said Shutdown.
//!
//! containerd says it after each Delete, and runs `delete` for a shim that it cannot load; but one that is killed between
//! the start of a shim and Create, or between Delete and Shutdown, forgets it (1.6 for good). Then:
//!
//! ```text
//! never a task                                             -> leave after 30 s: Create follows `start` at once
//! no task, and a connection was lost since the last Delete -> leave after 10 s
//! no task, whoever is connected                            -> leave after `idle_exit_seconds`
//! no task, and SIGTERM, SIGINT or SIGHUP                   -> leave now
//! a task, and one of these signals                         -> stay; leave when the last task was deleted
//! ```
//!
//! `idle_exit_seconds` is the most in the first two cases as well; where it is 0 the third is none. The server of a group
//! stays while its first bundle is there, but for a signal: its pod may be between two containers.
//!
//! containerd's own shim leaves at the first SIGTERM or SIGINT (`pkg/shim/shim_unix.go`, `handleExitSignals`), its
//! containers behind it without anybody who hears their exit. A shim that has a task has nothing more important to do.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use log::{info, warn};
use nix::sys::signal::Signal;
use tokio::time::{Instant, timeout};

use super::listener::Connections;
use super::registry::Registry;
use crate::sys::signals::listen;

const CHECK_INTERVAL: Duration = Duration::from_secs(5);
const GROUP_INTERVAL: Duration = Duration::from_secs(30);
const ABANDONED_LIMIT: Duration = Duration::from_secs(10);
const NEVER_USED_LIMIT: Duration = Duration::from_secs(30);

/// What keeps a server without tasks.
#[derive(Debug)]
pub struct Stay {
    /// The bundle of the first container, where the server is that of a group; it stays as long as this is there.
    pub group_of: Option<PathBuf>,
    /// How long it may be empty with everybody there; `None` for as long as they like.
    pub empty_limit: Option<Duration>,
}

impl Stay {
    fn is_needed_by_group(&self) -> bool {
        let bundle = self.group_of.as_ref();
        bundle.is_some_and(|bundle| !matches!(bundle.try_exists(), Ok(false)))
    }
}

/// Returns when the server has no reason to stay.
pub async fn wait_until_useless(registry: Registry, connections: Connections, stay: Stay) {
    let empty_limit = stay.empty_limit.unwrap_or(Duration::MAX);
    let (mut empty_since, mut used) = (Instant::now(), false);
    loop {
        let abandoned = connections.lost_since_delete();
        let limit = match (abandoned, used) {
            (true, _) => ABANDONED_LIMIT.min(empty_limit),
            (false, false) => NEVER_USED_LIMIT.min(empty_limit),
            (false, true) => empty_limit,
        };
        let left = limit.saturating_sub(empty_since.elapsed());
        if !registry.is_empty() {
            registry.emptied().await;
            (empty_since, used) = (Instant::now(), true);
            continue;
        }
        let next_look = if stay.is_needed_by_group() {
            GROUP_INTERVAL
        } else if left.is_zero() && registry.close() {
            return info!(abandoned = abandoned; "no task is left and nobody says shutdown: leaving");
        } else {
            left.clamp(Duration::from_millis(10), CHECK_INTERVAL)
        };
        // A task that comes and goes between two looks has been there.
        drop(timeout(next_look, registry.changed()).await);
    }
}

/// Starts to listen for the signals that ask a process to end; the future that this returns is done when the server may.
///
/// # Errors
/// What installing a signal handler answered.
pub fn wait_until_told(registry: Registry) -> io::Result<impl Future<Output = ()>> {
    let mut terminate = listen(Signal::SIGTERM)?;
    let mut interrupt = listen(Signal::SIGINT)?;
    let mut hang_up = listen(Signal::SIGHUP)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.next() => {}
            _ = interrupt.next() => {}
            _ = hang_up.next() => {}
        }
        while !registry.close() {
            warn!("told to end, with tasks left: leaving when the last of them is deleted");
            registry.emptied().await;
        }
        info!("told to end, and no task is left: leaving");
    })
}
