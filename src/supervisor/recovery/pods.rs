//! Pods at the start: those that were ready are looked at, those that were being made are undone.

use std::sync::Arc;

use crate::supervisor::context::Supervisor;
use crate::supervisor::pod::sandbox;
use crate::supervisor::pod::sandbox::recover::Verdict;
use crate::supervisor::store::{Pod, PodState};
use crate::types::error::chain;

/// Finds out what a pod is now: whether its namespaces are still there.
pub async fn restore(supervisor: Arc<Supervisor>, pod: Arc<Pod>) {
    match sandbox::restore(&supervisor, &pod).await {
        Verdict::Ready(_) => {}
        Verdict::NotReady(why) | Verdict::Unknown(why) => {
            log::info!(pod = pod.id().as_str(), reason = why.as_str(); "the pod is not ready");
        }
        // Later: its containers may still be looked at.
        Verdict::Undo => {}
    }
}

/// Undoes the pods whose making was cut off.
pub async fn undo(supervisor: &Arc<Supervisor>, pods: &[Arc<Pod>]) {
    for pod in pods {
        if pod.checkpoint().state != PodState::Creating {
            continue;
        }
        match sandbox::undo(supervisor, pod.id()).await {
            Ok(()) => {
                log::info!(pod = pod.id().as_str(); "a pod whose making was cut off is undone");
                supervisor.store.remove_pod(pod.id());
            }
            Err(error) => {
                log::error!(pod = pod.id().as_str(), error:% = chain(&error); "a pod whose making was cut off cannot be undone; it stays until it is removed");
            }
        }
    }
}
