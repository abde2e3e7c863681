//! Removes pods whose containers have ended, where the containers are marked so ([`crate::api::annotations`]):
//! `outlive run -d --rm` does not wait for the end itself.
//!
//! ```text
//! exits::ended   --> a marked container has ended --> its pod is removed, unless another container of it has not ended
//! recovery::run  --> every shim was asked         --> the same for containers that ended while no supervisor ran, and
//!                                                     for pods whose removal stopped after that of their containers
//! ```
//!
//! Both are needed: `exits::ended` sees an end once, and the supervisor may be killed right after it.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::context::Supervisor;
use super::error::Error;
use super::pod::sandbox;
use super::store::{self, Container, ContainerStatus, Pod, Recovery};
use crate::api::annotations::{LOG_DIRECTORY, NAMESPACE, REMOVE_WHEN_ENDED, YES};
use crate::supervisor::crash;
use crate::sys::file;
use crate::types::ContainerId;
use crate::types::error::chain;

/// How long the first pause between two attempts is; doubled each time up to [`AGAIN_MOST`].
const AGAIN: Duration = Duration::from_millis(100);
const AGAIN_MOST: Duration = Duration::from_secs(60);

/// Removes the pod of `container`, which has ended, in a task of its own; does nothing unless it is marked. Before the
/// container's shim was asked it leaves that to [`after_recovery`]: the recovery still works on the pod.
pub fn container_ended(supervisor: &Arc<Supervisor>, container: &Container) {
    if container.recovery() == Recovery::Pending || !is_marked(container) {
        return;
    }
    if let Some(meta) = container.meta() {
        tokio::spawn(remove(Arc::clone(supervisor), meta.pod.clone()));
    }
}

/// Removes those of `pods` that are marked and in which nothing runs any more, each in a task of its own: the pods that
/// were there when the supervisor started. In a newer one a container may just be made.
pub fn after_recovery(supervisor: &Arc<Supervisor>, pods: &[Arc<Pod>]) {
    for pod in pods {
        if is_over(supervisor, pod) {
            tokio::spawn(remove(Arc::clone(supervisor), pod.id().clone()));
        }
    }
}

fn is_marked(container: &Container) -> bool {
    let meta = container.meta();
    let mark = meta.and_then(|meta| meta.config.annotations.get(REMOVE_WHEN_ENDED));
    mark.is_some_and(|mark| mark == YES)
}

/// Whether all containers are marked and have ended. Without containers the mark of a pod of `outlive run`
/// counts: they were removed, or it ended before it made one.
fn is_over(supervisor: &Supervisor, pod: &Pod) -> bool {
    let containers = supervisor.store.containers_of(pod.id());
    if containers.is_empty() {
        return pod.meta().is_some_and(|meta| {
            let mark = meta.config.annotations.get(REMOVE_WHEN_ENDED);
            let metadata = meta.config.metadata.as_ref();
            // As `outlive run` makes it: a pod's uid is the API server's under Kubernetes, and none that a user can choose.
            let of_run = metadata.is_some_and(|metadata| {
                metadata.namespace == NAMESPACE && metadata.uid == metadata.name
            });
            of_run && mark.is_some_and(|mark| mark == YES)
        });
    }
    containers.iter().all(|container| {
        is_marked(container) && matches!(container.status(), ContainerStatus::Exited { .. })
    })
}

/// Removes the logs and the pod; tries again until the pod is gone. Boxed: removing a container calls
/// [`container_ended`], and a future cannot contain itself.
fn remove(
    supervisor: Arc<Supervisor>,
    id: ContainerId,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        let mut pause = AGAIN;
        while let Ok(pod) = supervisor.store.pod(id.as_str()) {
            if !is_over(&supervisor, &pod) {
                return;
            }
            crash::point("remove_when_ended.begun");
            remove_logs(&supervisor, &pod).await;
            crash::point("remove_when_ended.logs");
            match sandbox::remove(&supervisor, &pod).await {
                Ok(()) => {
                    log::info!(pod = id.as_str(); "removed: its containers have ended");
                    return;
                }
                // The start or the stop in which the container ended has not returned yet.
                Err(error @ Error::WrongState { .. }) => {
                    log::debug!(pod = id.as_str(), error:% = chain(&error); "removing a pod whose containers have ended, to be tried again");
                }
                Err(error) => {
                    log::warn!(pod = id.as_str(), error:% = chain(&error); "removing a pod whose containers have ended, to be tried again");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(AGAIN_MOST);
        }
    })
}

/// Removes the log directory, where a container's mark and the pod's configuration agree on which it is. Where that
/// fails, the pod is removed all the same.
async fn remove_logs(supervisor: &Supervisor, pod: &Pod) {
    let Some(meta) = pod.meta() else { return };
    let containers = supervisor.store.containers_of(pod.id());
    let owned = containers.iter().filter_map(|container| {
        let annotations = &container.meta()?.config.annotations;
        annotations.get(LOG_DIRECTORY)
    });
    let Some(directory) = owned
        .map(PathBuf::from)
        .find(|owned| owned.is_absolute() && *owned == *meta.config.log_directory)
    else {
        return;
    };
    let gone = directory.clone();
    let removed = store::blocking("remove", directory, move || file::remove_with_files(&gone));
    if let Err(error) = removed.await {
        log::warn!(pod = pod.id().as_str(), error:% = chain(&error); "the log directory cannot be removed");
    }
}
