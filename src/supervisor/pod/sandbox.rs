//! RunPodSandbox, StopPodSandbox, RemovePodSandbox.

use std::sync::Arc;

use crate::api::cri;
use crate::supervisor::context::Supervisor;
use crate::supervisor::error::Error;
use crate::supervisor::store::Pod;
use crate::types::ContainerId;

/// Makes a pod, ready for containers.
///
/// # Errors
/// [`Error`]; then nothing of it is left.
#[expect(clippy::unused_async, reason = "a skeleton")]
pub async fn run(
    _supervisor: &Arc<Supervisor>,
    _request: cri::RunPodSandboxRequest,
) -> Result<ContainerId, Error> {
    Err(Error::Unsupported("RunPodSandbox".into()))
}

/// Stops a pod: its containers are killed, its network and namespaces given up. Does nothing where it is stopped.
///
/// # Errors
/// [`Error`]; may be called again.
#[expect(clippy::unused_async, reason = "a skeleton")]
pub async fn stop(_supervisor: &Arc<Supervisor>, _pod: &Arc<Pod>) -> Result<(), Error> {
    Err(Error::Unsupported("StopPodSandbox".into()))
}

/// Removes a pod and its containers, stopped or not.
///
/// # Errors
/// [`Error`]; may be called again.
#[expect(clippy::unused_async, reason = "a skeleton")]
pub async fn remove(_supervisor: &Arc<Supervisor>, _pod: &Arc<Pod>) -> Result<(), Error> {
    Err(Error::Unsupported("RemovePodSandbox".into()))
}
