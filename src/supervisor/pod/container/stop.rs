//! StopContainer, and signals.

use std::sync::Arc;
use std::time::Duration;

use tonic::Code;

use super::{busy, running, subject};
use crate::supervisor::context::Supervisor;
use crate::supervisor::crash;
use crate::supervisor::error::Error;
use crate::supervisor::exits::{self, Ended};
use crate::supervisor::shim_client::{KillScope, ShimClient, ShimError};
use crate::supervisor::store::{Container, ContainerStatus, Phase};
use crate::types::Signal;

/// How long the end may take to become known after SIGKILL. A process in an uninterruptible wait takes longer; the
/// call may be repeated then.
const AFTER_KILL: Duration = Duration::from_secs(20);

/// StopContainer: its stop signal, and SIGKILL after `grace`. Does nothing where it has ended or never ran.
///
/// # Errors
/// [`Error`]; may be called again.
pub async fn stop(
    supervisor: &Arc<Supervisor>,
    container: &Arc<Container>,
    grace: Duration,
) -> Result<(), Error> {
    if container.phase() == Phase::Starting {
        // What is being started is stopped when it has been.
        drop(container.lock_task().await);
    }
    let _stopping = match container.begin(Phase::Stopping) {
        Ok(guard) => Some(guard),
        // Another waits for the same end.
        Err(Phase::Stopping) => None,
        Err(phase) => return Err(busy(container, phase)),
    };
    end(supervisor, container, grace).await
}

/// As [`stop`], within whatever phase the caller has begun.
pub(super) async fn end(
    supervisor: &Arc<Supervisor>,
    container: &Arc<Container>,
    grace: Duration,
) -> Result<(), Error> {
    match container.status() {
        ContainerStatus::Created { .. } | ContainerStatus::Exited { .. } => return Ok(()),
        ContainerStatus::Running { .. } | ContainerStatus::Unknown { .. } => {}
    }
    let Some(shim) = container.shim() else {
        return end_without_shim(supervisor, container).await;
    };
    let signal = container
        .meta()
        .map_or(Signal::TERM, |meta| meta.stop_signal);
    if !grace.is_zero() {
        send(&shim, signal, KillScope::Init).await?;
        crash::point("stop.signalled");
        if has_ended(container, grace).await {
            return Ok(());
        }
    }
    send(&shim, Signal::KILL, KillScope::All).await?;
    crash::point("stop.killed");
    if has_ended(container, AFTER_KILL).await {
        Ok(())
    } else {
        Err(Error::Deadline {
            operation: format!("{}: SIGKILL", subject(container)),
            seconds: AFTER_KILL.as_secs(),
        })
    }
}

/// A process that has ended meanwhile is as good as one that got the signal, and so is a shim that is gone: whoever
/// waits for it cleans up.
async fn send(shim: &ShimClient, signal: Signal, scope: KillScope) -> Result<(), Error> {
    match shim.kill(signal, scope).await {
        Ok(())
        | Err(
            ShimError::Gone { .. }
            | ShimError::Refused {
                code: Code::NotFound,
                ..
            },
        ) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn has_ended(container: &Arc<Container>, within: Duration) -> bool {
    let mut watch = container.watch();
    let ended =
        watch.wait_for(|checkpoint| matches!(checkpoint.status, ContainerStatus::Exited { .. }));
    tokio::time::timeout(within, ended).await.is_ok()
}

/// Nobody knows of a task: whatever there is goes, and with it the container has ended.
async fn end_without_shim(
    supervisor: &Arc<Supervisor>,
    container: &Arc<Container>,
) -> Result<(), Error> {
    let _task = container.lock_task().await;
    let end = match exits::journal(supervisor, container).await {
        Ok(Some(entry)) => {
            // On disk before its only other record goes.
            exits::ended(supervisor, container, Ended::recorded(&entry)).await;
            if container.is_saved() {
                return exits::clean_once(supervisor, container).await;
            }
            let (supervisor, container) = (Arc::clone(supervisor), Arc::clone(container));
            tokio::spawn(async move { exits::clean_when_saved(&supervisor, &container).await });
            return Ok(());
        }
        Ok(None) => Ended::unknown("stopped; nothing was known of its process"),
        Err(why) => Ended::unknown(format!(
            "stopped; its record of exits was unreadable: {why}"
        )),
    };
    exits::clean_once(supervisor, container).await?;
    crash::point("stop.cleaned");
    exits::ended(supervisor, container, end).await;
    Ok(())
}

/// Kill of the control service: any signal.
///
/// # Errors
/// [`Error`].
pub async fn kill(
    container: &Arc<Container>,
    signal: Signal,
    scope: KillScope,
) -> Result<(), Error> {
    Ok(running(container)?.kill(signal, scope).await?)
}
