//! Reopening of logs that somebody has renamed. Two ways to ask:
//!
//! ```text
//! SIGUSR2 to the shim                       every log of every task of this shim; the result is in the shim's log
//! outlive.shim.v1.Shim/ReopenLogs, ttrpc    the logs of one process; after OK nothing is written to the old files,
//!                                           after an error there is no new one and the old ones are written on
//!     message ReopenLogsRequest { string id = 1; string exec_id = 2; }      exec_id: empty for init
//!     response: google.protobuf.Empty
//! ```
//!
//! The call is served by [`super::methods`], on the socket of the task service.

use std::io;

use log::{error, info, warn};
use nix::sys::signal::Signal;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;

use super::registry::Registry;
use super::task::Command;
use crate::sys::signals::listen;
use crate::types::ContainerId;

/// Starts to listen for SIGUSR2; the future that this returns serves it for as long as it is polled.
///
/// # Errors
/// What installing the signal handler answered.
pub fn on_signal(registry: Registry) -> io::Result<impl Future<Output = ()>> {
    let mut requests = listen(Signal::SIGUSR2)?;
    Ok(async move {
        let error = loop {
            match requests.next().await {
                Ok(()) => reopen_all(&registry),
                Err(error) => break error,
            }
        };
        error!("SIGUSR2 is not heard any more: {error}");
    })
}

/// Asks every task at once, and waits for none: a start that hangs in one of them delays no other, and no later signal.
fn reopen_all(registry: &Registry) {
    let tasks = registry.tasks().into_iter();
    let asked: Vec<_> = tasks
        .map(|(id, commands)| spawn_local(reopen(registry.clone(), id, commands)))
        .collect();
    drop(spawn_local(async move {
        for task in asked {
            drop(task.await);
        }
        info!("logs reopened");
    }));
}

/// Reopens the logs of one task. Without `commands` it is being created, and may have opened its logs before they were
/// renamed.
async fn reopen(registry: Registry, id: ContainerId, commands: Option<mpsc::Sender<Command>>) {
    let commands = match commands {
        Some(commands) => Ok(commands),
        None => registry.commands(&id).await,
    };
    // A task that is gone has no logs.
    let Ok(commands) = commands else { return };
    let (reply, answer) = oneshot::channel();
    if commands
        .send(Command::ReopenLogs(None, reply))
        .await
        .is_ok()
        && let Ok(Err(error)) = answer.await
    {
        warn!(container = id.as_str(); "reopen logs: {}", error.chain());
    }
}
