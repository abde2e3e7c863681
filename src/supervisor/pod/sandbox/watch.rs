//! Waiting for the end of a shared pid namespace's init: with it every process in there dies, and the pod is not ready
//! any more.

use std::os::fd::AsFd as _;
use std::sync::Arc;

use tokio::io::Interest;

use crate::api::cri;
use crate::supervisor::context::Supervisor;
use crate::supervisor::store::{Pod, PodCheckpoint, PodState};
use crate::sys::pidfd::Pidfd;
use crate::sys::readiness::Watched;
use crate::types::ProcessIdentity;
use crate::types::error::chain;

/// Watches the pod's init, where it has one, until it ends. The watch keeps neither alive.
pub(super) fn init(supervisor: &Arc<Supervisor>, pod: &Arc<Pod>) {
    let Some(identity) = pod.checkpoint().init else {
        return;
    };
    let id = pod.id().clone();
    let (supervisor, pod) = (Arc::downgrade(supervisor), Arc::downgrade(pod));
    tokio::spawn(async move {
        if let Err(error) = until_ended(identity).await {
            log::warn!(pod = id.as_str(), error:% = chain(&error); "the pod's init cannot be watched");
            return;
        }
        let (Some(supervisor), Some(pod)) = (supervisor.upgrade(), pod.upgrade()) else {
            return;
        };
        // A stop that has ended it is waited for, and has said so already.
        let _working = pod.lock_work().await;
        let is_ready = PodCheckpoint {
            state: PodState::Ready,
            init: Some(identity),
        };
        if pod.checkpoint() != is_ready {
            return;
        }
        log::warn!(pod = id.as_str(), pid = identity.pid.get(); "the init of the pod's pid namespace has ended: the pod is not ready any more");
        let state = PodState::NotReady;
        let init = Some(identity);
        pod.observe(PodCheckpoint { state, init }).await;
        let kind = cri::ContainerEventType::ContainerStoppedEvent;
        supervisor.events.publish(&supervisor.store, &id, kind);
    });
}

async fn until_ended(identity: ProcessIdentity) -> std::io::Result<()> {
    let Some(init) = Pidfd::open(identity)? else {
        return Ok(());
    };
    let watched = Watched::new(init.as_fd().try_clone_to_owned()?, Interest::READABLE)?;
    drop(watched.readable().await?);
    init.reap()
}
