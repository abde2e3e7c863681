//! What CRI asks of containers.

use std::sync::Arc;
use std::time::Duration;

use crate::api::cri;
use crate::supervisor::context::Supervisor;
use crate::supervisor::error::Error;
use crate::supervisor::shim_client::{ExecOutput, KillScope};
use crate::supervisor::store::Container;
use crate::types::{ContainerId, Signal};

/// CreateContainer.
///
/// # Errors
/// [`Error`]; then nothing of it is left.
#[expect(clippy::unused_async, reason = "a skeleton")]
pub async fn create(
    _supervisor: &Arc<Supervisor>,
    _request: cri::CreateContainerRequest,
) -> Result<ContainerId, Error> {
    Err(Error::Unsupported("CreateContainer".into()))
}

/// StartContainer.
///
/// # Errors
/// [`Error`]; `WrongState` leaves the container as it was, every other ends it with `StartError`.
#[expect(clippy::unused_async, reason = "a skeleton")]
pub async fn start(
    _supervisor: &Arc<Supervisor>,
    _container: &Arc<Container>,
) -> Result<(), Error> {
    Err(Error::Unsupported("StartContainer".into()))
}

/// StopContainer: its stop signal, and SIGKILL after `grace`. Does nothing where it has ended.
///
/// # Errors
/// [`Error`]; may be called again.
#[expect(clippy::unused_async, reason = "a skeleton")]
pub async fn stop(
    _supervisor: &Arc<Supervisor>,
    _container: &Arc<Container>,
    _grace: Duration,
) -> Result<(), Error> {
    Err(Error::Unsupported("StopContainer".into()))
}

/// RemoveContainer, which kills a running one.
///
/// # Errors
/// [`Error`]; may be called again.
#[expect(clippy::unused_async, reason = "a skeleton")]
pub async fn remove(
    _supervisor: &Arc<Supervisor>,
    _container: &Arc<Container>,
) -> Result<(), Error> {
    Err(Error::Unsupported("RemoveContainer".into()))
}

/// UpdateContainerResources: fields that are zero or empty stay as they are.
///
/// # Errors
/// [`Error`].
#[expect(clippy::unused_async, reason = "a skeleton")]
pub async fn update(
    _supervisor: &Arc<Supervisor>,
    _container: &Arc<Container>,
    _resources: cri::LinuxContainerResources,
) -> Result<(), Error> {
    Err(Error::Unsupported("UpdateContainerResources".into()))
}

/// ReopenContainerLog.
///
/// # Errors
/// [`Error`].
#[expect(clippy::unused_async, reason = "a skeleton")]
pub async fn reopen_log(_container: &Arc<Container>) -> Result<(), Error> {
    Err(Error::Unsupported("ReopenContainerLog".into()))
}

/// ExecSync.
///
/// # Errors
/// [`Error`].
#[expect(clippy::unused_async, reason = "a skeleton")]
pub async fn exec_sync(
    _supervisor: &Arc<Supervisor>,
    _container: &Arc<Container>,
    _command: Vec<String>,
    _timeout: Option<Duration>,
) -> Result<ExecOutput, Error> {
    Err(Error::Unsupported("ExecSync".into()))
}

/// Kill of the control service: any signal.
///
/// # Errors
/// [`Error`].
#[expect(clippy::unused_async, reason = "a skeleton")]
pub async fn kill(
    _container: &Arc<Container>,
    _signal: Signal,
    _scope: KillScope,
) -> Result<(), Error> {
    Err(Error::Unsupported("Kill".into()))
}
