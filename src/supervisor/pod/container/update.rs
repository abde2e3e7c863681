//! UpdateContainerResources and ReopenContainerLog.

use std::sync::Arc;

use super::{meta, running, wrong_state};
use crate::api::cri;
use crate::supervisor::context::Supervisor;
use crate::supervisor::error::Error;
use crate::supervisor::spec;
use crate::supervisor::store::{self, Checkpoint, Container, ContainerStatus};
use crate::sys::file;

/// UpdateContainerResources: fields that are zero or empty stay as they are.
///
/// # Errors
/// [`Error`].
pub async fn update(
    supervisor: &Arc<Supervisor>,
    container: &Arc<Container>,
    change: cri::LinuxContainerResources,
) -> Result<(), Error> {
    let _task = container.lock_task().await;
    meta(container)?;
    let resources = spec::updated(&container.checkpoint().resources, &change);
    let limits = spec::resources("linux", &resources, &supervisor.host)?;
    match container.status() {
        ContainerStatus::Running { .. } => {
            let json = serde_json::to_vec(&limits).map_err(|error| {
                Error::invalid("linux", format!("cannot be written as JSON: {error}"))
            })?;
            running(container)?.update(json).await?;
        }
        ContainerStatus::Created { .. } => {
            let path = container.dir().join("config.json");
            let changed = path.clone();
            store::blocking("change", path, move || {
                let mut spec: serde_json::Value =
                    serde_json::from_slice(&std::fs::read(&changed)?)?;
                let kept = spec["linux"]["resources"]["devices"].take();
                spec["linux"]["resources"] = serde_json::to_value(&limits)?;
                spec["linux"]["resources"]["devices"] = kept;
                file::replace(&changed, &serde_json::to_vec(&spec)?)
            })
            .await?;
        }
        ContainerStatus::Exited { .. } | ContainerStatus::Unknown { .. } => {
            return Err(wrong_state(container, "it must be CREATED or RUNNING"));
        }
    }
    container
        .commit(|before| {
            Some(Checkpoint {
                resources,
                ..before.clone()
            })
        })
        .await?;
    Ok(())
}

/// ReopenContainerLog: after OK nothing goes to the old file.
///
/// # Errors
/// [`Error`]; then no new file exists.
pub async fn reopen_log(container: &Arc<Container>) -> Result<(), Error> {
    Ok(running(container)?.reopen_logs().await?)
}
