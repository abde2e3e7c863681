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
use tokio::sync::oneshot;

use super::registry::Registry;
use super::task::Command;
use crate::sys::signals::listen;

/// Starts to listen for SIGUSR2; the future that this returns serves it for as long as it is polled.
///
/// # Errors
/// What installing the signal handler answered.
pub fn on_signal(registry: Registry) -> io::Result<impl Future<Output = ()>> {
    let mut requests = listen(Signal::SIGUSR2)?;
    Ok(async move {
        let error = loop {
            match requests.next().await {
                Ok(()) => reopen_all(&registry).await,
                Err(error) => break error,
            }
        };
        error!("SIGUSR2 is not heard any more: {error}");
    })
}

async fn reopen_all(registry: &Registry) {
    // One that is being created has its logs just opened.
    let tasks = registry.tasks().into_iter();
    for commands in tasks.filter_map(|(_, commands)| commands) {
        let (reply, answer) = oneshot::channel();
        // A task that is gone has no logs.
        if commands
            .send(Command::ReopenLogs(None, reply))
            .await
            .is_ok()
            && let Ok(Err(error)) = answer.await
        {
            warn!("reopen logs: {}", error.chain());
        }
    }
    info!("logs reopened");
}
