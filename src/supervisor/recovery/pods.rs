//! Pods at the start: those that were ready are looked at, those that were being made are undone.

use std::sync::Arc;

use crate::supervisor::context::Supervisor;
use crate::supervisor::pod::sandbox;
use crate::supervisor::store::{Pod, PodState};

/// Finds out what a pod is now: whether its namespaces are still there.
pub async fn restore(supervisor: Arc<Supervisor>, pod: Arc<Pod>) {
    let verdict = sandbox::restore(&supervisor, &pod).await;
    log::debug!(pod = pod.id().as_str(), verdict:?; "a pod was looked at");
}

/// Undoes the pods whose making was cut off.
pub async fn undo(supervisor: &Arc<Supervisor>, pods: &[Arc<Pod>]) {
    for pod in pods {
        // A stop or a removal may have come first.
        let _working = pod.lock_work().await;
        if pod.checkpoint().state == PodState::Creating {
            sandbox::undo_or_keep(supervisor, pod).await;
        }
    }
}
