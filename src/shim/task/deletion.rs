//! The deletion of a process: its output is drained, its OCI container and its mounts go.

use std::rc::Rc;
use std::time::Duration;

use log::{info, warn};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::Shared;
use super::facts::Fact;
use super::work::{remove_file, simple, tell};
use crate::cgroup::Cgroup;
use crate::oci::command::DeleteMode;
use crate::oci::{Command, FailureKind};
use crate::shim::error::ShimError;
use crate::shim::rootfs;
use crate::shim::stdio::{Drained, ProcessStdio};
use crate::types::{ExecId, ExitRecord};

/// How long the end of a task that was killed by its deletion may take to be seen.
const KILLED_LIMIT: Duration = Duration::from_secs(5);

/// What the deletion of init takes with it.
pub struct DeleteInit {
    /// Tells init's end, where it is still to come: a created task is killed by its deletion.
    pub end: Option<oneshot::Receiver<Result<ExitRecord, ShimError>>>,
    /// Its output.
    pub output: Output,
}

/// The stdio of a process that is being deleted.
pub struct Output {
    /// The stdio, if it is open.
    pub stdio: Option<ProcessStdio>,
    /// When the caller of the deletion gives up.
    pub deadline: Option<Instant>,
    /// Who could still write there.
    pub cgroup: Option<Rc<Cgroup>>,
}

/// Removes every trace of the container but its bundle.
pub async fn delete_init(shared: Rc<Shared>, work: DeleteInit) {
    let result = run_delete(&shared, work).await;
    tell(&shared, Fact::DeleteAnswered(None, result));
}

async fn run_delete(
    shared: &Shared,
    DeleteInit { end, mut output }: DeleteInit,
) -> Result<(), ShimError> {
    if end.is_none() {
        output.drain(shared).await;
    }
    let mode = if end.is_some() {
        DeleteMode::Force
    } else {
        DeleteMode::Ended
    };
    let deleted = call_delete(shared, mode).await;
    if let (Ok(()), Some(end)) = (&deleted, end)
        && timeout(KILLED_LIMIT, end).await.is_err()
    {
        warn!(container = shared.caller.id.as_str(); "the end of a deleted task is not seen");
    }
    output.close(shared).await;
    // Both are done, whatever becomes of the other: nothing may be left mounted.
    let unmounted = rootfs::unmount(&shared.caller.bundle).await;
    deleted.and(unmounted)?;
    // From now on there is nothing that the `delete` action would have to clean up.
    remove_file(&shared.caller.bundle.runtime());
    Ok(())
}

/// Has the OCI runtime remove what it keeps of the container; what it does not know is removed.
async fn call_delete(shared: &Shared, mode: DeleteMode) -> Result<(), ShimError> {
    let mut deleted = simple(shared, Command::Delete(mode)).await;
    // On cgroup v2 SIGKILL ends what is frozen, but the group stays frozen, which runc calls paused and does not delete
    // (`libcontainer/container_linux.go`, `refreshState`). Not by force: that would signal init's pid, which is free.
    if let (DeleteMode::Ended, Err(ShimError::Oci(error))) = (mode, &deleted)
        && error.kind() == FailureKind::Other
        && simple(shared, Command::Resume).await.is_ok()
    {
        deleted = simple(shared, Command::Delete(mode)).await;
    }
    match deleted {
        Err(ShimError::Oci(error)) if error.kind() == FailureKind::NoSuchContainer => Ok(()),
        other => other,
    }
}

impl Output {
    /// Reads what a dead process wrote to its end, or for as long as anybody of the container may have it open; and never
    /// so long that the caller would not be there to hear the answer.
    async fn drain(&mut self, shared: &Shared) {
        let Some(stdio) = &self.stdio else { return };
        let cgroup = self.cgroup.take();
        let others_gone = move || {
            let empty = cgroup.as_ref().map(|cgroup| cgroup.is_empty());
            matches!(empty, Some(Ok(true)))
        };
        let cap = shared.options.drain_cap();
        // A quarter is left for the OCI runtime's part.
        let left = |deadline: Instant| (deadline - Instant::now()).mul_f32(0.75);
        let cap = self
            .deadline
            .map_or(cap, |deadline| cap.min(left(deadline)));
        match stdio.drained(cap, others_gone).await {
            Drained::Everything => {}
            ended => {
                info!(container = shared.caller.id.as_str(); "output is held open and not read on: {ended:?}");
            }
        }
    }

    async fn close(self, shared: &Shared) {
        if let Some(stdio) = self.stdio {
            shared.loggers.add(stdio.close().await);
        }
    }
}

/// Closes what is left of an exec.
pub async fn delete_exec(shared: Rc<Shared>, exec: ExecId, mut output: Output) {
    output.drain(&shared).await;
    output.close(&shared).await;
    tell(&shared, Fact::DeleteAnswered(Some(exec), Ok(())));
}
