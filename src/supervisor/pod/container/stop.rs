//! StopContainer, and signals.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tonic::Code;

use super::{busy, running, silent};
use crate::supervisor::cleanup;
use crate::supervisor::context::Supervisor;
use crate::supervisor::crash;
use crate::supervisor::error::Error;
use crate::supervisor::exits::{self, Ended};
use crate::supervisor::shim_client::{KillScope, ShimClient, ShimError};
use crate::supervisor::store::{Container, ContainerStatus, Phase};
use crate::types::Signal;

/// How long the end may take to become known after SIGKILL. A process in an uninterruptible wait takes longer; the
/// call may be repeated then.
pub(super) const AFTER_KILL: Duration = Duration::from_secs(20);

/// StopContainer: its stop signal, and SIGKILL after `grace`. Does nothing where it has ended or never ran. Where the shim
/// does not answer, the container is ended without it (`silent.rs`).
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
    let signal = container
        .meta()
        .map_or(Signal::TERM, |meta| meta.stop_signal);
    let shim = match connected(supervisor, container).await {
        Shim::Connected(shim) => shim,
        Shim::Gone => return end_without_shim(supervisor, container).await,
        Shim::Silent => {
            let polite = (!grace.is_zero()).then_some((signal, grace));
            return silent::end(supervisor, container, polite).await;
        }
    };
    if !grace.is_zero() {
        let began = Instant::now();
        if send(&shim, signal, KillScope::Init).await? == Sent::Unanswered {
            let left = grace.saturating_sub(began.elapsed());
            return silent::end(supervisor, container, Some((signal, left))).await;
        }
        crash::point("stop.signalled");
        if has_ended(container, grace).await {
            return Ok(());
        }
    }
    let sent = send(&shim, Signal::KILL, KillScope::All).await?;
    crash::point("stop.killed");
    if sent == Sent::Answered && has_ended(container, AFTER_KILL).await {
        return Ok(());
    }
    silent::end(supervisor, container, None).await
}

/// What there is of a container's shim.
enum Shim {
    Connected(ShimClient),
    /// No process listens at its address, or the address is not known.
    Gone,
    /// It does not accept.
    Silent,
}

/// The connection to the shim, made anew where there is none: a shim that was silent when the supervisor started may
/// answer by now.
async fn connected(supervisor: &Arc<Supervisor>, container: &Arc<Container>) -> Shim {
    if let Some(shim) = container.shim() {
        return Shim::Connected(shim);
    }
    let bundle = supervisor.store.layout().bundle(container.id());
    match ShimClient::connect(container.id(), &bundle).await {
        Ok(shim) => {
            container.set_shim(Some(shim.clone()));
            exits::monitor(supervisor, container);
            Shim::Connected(shim)
        }
        Err(ShimError::Timeout { .. }) => Shim::Silent,
        Err(_) => Shim::Gone,
    }
}

/// Whether the shim has sent a signal, or has not said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Answered,
    Unanswered,
}

/// A process that has ended meanwhile is as good as one that got the signal, and so is a shim that is gone: whoever
/// waits for it cleans up.
async fn send(shim: &ShimClient, signal: Signal, scope: KillScope) -> Result<Sent, Error> {
    let killed = tokio::select! {
        killed = shim.kill(signal, scope) => killed,
        () = silent::until_silent(shim) => return Ok(Sent::Unanswered),
    };
    match killed {
        Ok(())
        | Err(
            ShimError::Gone { .. }
            | ShimError::Refused {
                code: Code::NotFound,
                ..
            },
        ) => Ok(Sent::Answered),
        Err(ShimError::Timeout { .. }) => Ok(Sent::Unanswered),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn has_ended(container: &Arc<Container>, within: Duration) -> bool {
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
                return cleanup::clean_once(supervisor, container).await;
            }
            let (supervisor, container) = (Arc::clone(supervisor), Arc::clone(container));
            tokio::spawn(async move { cleanup::clean_when_saved(&supervisor, &container).await });
            return Ok(());
        }
        Ok(None) => Ended::unknown("stopped; nothing was known of its process"),
        Err(why) => Ended::unknown(format!(
            "stopped; its record of exits was unreadable: {why}"
        )),
    };
    cleanup::clean_once(supervisor, container).await?;
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
