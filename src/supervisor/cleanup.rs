//! What an ended container leaves is removed: its task, its shim, its bundle.
//!
//! Called by who holds the container's task lock, and for an end that is known only when it is on disk: until then
//! the shim and its journal are the only record of it.

use std::sync::Arc;
use std::time::Duration;

use tonic::Code;

use super::context::Supervisor;
use super::crash;
use super::error::Error;
use super::recovery::scan::endpoint_of;
use super::remove_dir;
use super::shim_client::{self, KillScope, ShimClient, ShimError};
use super::store::{self, Container, StoreError};
use crate::bundle::Bundle;
use crate::config::supervisor::Runtime;
use crate::types::error::chain;
use crate::types::{ContainerId, Signal};

/// How long the first pause between two attempts to clean up is; doubled each time.
const CLEAN_AGAIN: Duration = Duration::from_millis(200);
/// How often cleaning up is attempted; what is left then is done by the next start of the supervisor.
const CLEAN_TRIES: u32 = 8;
/// How long the end of a task that was killed to be deleted may take to become known.
const AFTER_KILL: Duration = Duration::from_secs(10);
/// How long a shim that was told to end, or what it was still doing, may take.
const LAST_BREATH: Duration = Duration::from_secs(2);

/// Deletes the task, ends the shim and removes the bundle, once the container's end is on disk: before that, theirs is
/// the only record of it.
pub async fn clean_when_saved(supervisor: &Arc<Supervisor>, container: &Arc<Container>) {
    container.until_saved().await;
    let _task = container.lock_task().await;
    clean(supervisor, container).await;
}

/// Deletes the task, ends the shim and removes the bundle; tries again for a while. For an ended container, by one who
/// holds its task lock.
pub async fn clean(supervisor: &Arc<Supervisor>, container: &Arc<Container>) {
    let mut pause = CLEAN_AGAIN;
    for attempt in 1..=CLEAN_TRIES {
        match clean_once(supervisor, container).await {
            Ok(()) => return,
            Err(error) if attempt == CLEAN_TRIES => {
                log::error!(container = container.id().as_str(), error:% = chain(&error); "what the container left cannot be removed");
            }
            Err(error) => {
                log::debug!(container = container.id().as_str(), error:% = chain(&error); "cleaning up, to be tried again");
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
    }
}

/// One attempt of [`clean`].
///
/// # Errors
/// What the shim or the disk answered; may be called again.
pub async fn clean_once(
    supervisor: &Arc<Supervisor>,
    container: &Arc<Container>,
) -> Result<(), Error> {
    let shim = match container.shim() {
        Some(shim) => Some(shim),
        None => found_again(supervisor, container).await,
    };
    let Some(shim) = shim else {
        return remove_bundle(supervisor, container).await;
    };
    let task = delete_task(&shim).await?;
    crash::point("clean.deleted");
    match shim.shutdown().await {
        Ok(()) | Err(ShimError::Gone { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    crash::point("clean.shut_down");
    container.set_shim(None);
    match task {
        Task::Deleted => discard(&supervisor.store.layout().bundle(container.id())).await,
        Task::NotKnown => {
            // What it was still doing ends with it.
            drop(tokio::time::timeout(LAST_BREATH, shim.gone()).await);
            remove_bundle(supervisor, container).await
        }
    }
}

/// What became of a task that was to be deleted.
enum Task {
    /// The shim has deleted it.
    Deleted,
    /// The shim knows of none. Another shim than ours may be creating one all the same, for a supervisor that died.
    NotKnown,
}

/// Deletes the task, killed first where it has not ended.
async fn delete_task(shim: &ShimClient) -> Result<Task, ShimError> {
    let deleted = match shim.delete().await {
        Err(ShimError::Refused {
            code: Code::FailedPrecondition,
            ..
        }) => {
            shim.kill(Signal::KILL, KillScope::All).await?;
            // Delete says whether it has ended.
            drop(tokio::time::timeout(AFTER_KILL, shim.wait()).await);
            shim.delete().await
        }
        other => other,
    };
    match deleted {
        Ok(()) => Ok(Task::Deleted),
        Err(ShimError::Gone { .. }) => Ok(Task::NotKnown),
        Err(error) if error.is_not_found() => Ok(Task::NotKnown),
        Err(error) => Err(error),
    }
}

/// The shim whose address in the bundle cannot be believed, so that it does not stay behind. `start` answers where the
/// container's shim listens, one that lives already included (containerd `docs/runtime-v2.md`, `start`).
async fn found_again(
    supervisor: &Arc<Supervisor>,
    container: &Arc<Container>,
) -> Option<ShimClient> {
    let bundle = supervisor.store.layout().bundle(container.id());
    let read = bundle.clone();
    let look = move || Ok(endpoint_of(&read).is_err());
    let is_damaged = store::blocking("read", bundle.address(), look).await;
    if !is_damaged.unwrap_or(false) {
        return None;
    }
    let runtime = runtime_of(supervisor, container)?;
    let found = ShimClient::launch(&supervisor.home, runtime, container.id(), &bundle).await;
    match found {
        Ok(shim) => {
            container.set_shim(Some(shim.clone()));
            Some(shim)
        }
        Err(error) => {
            log::warn!(container = container.id().as_str(), error:% = chain(&error); "looking for the shim of a damaged bundle");
            None
        }
    }
}

/// Which shim the container has; the default one where that is not known any more.
fn runtime_of<'a>(supervisor: &'a Supervisor, container: &Container) -> Option<&'a Runtime> {
    let name = container.meta().map_or("", |meta| meta.runtime.as_str());
    let config = &supervisor.config;
    config.runtime(name).or_else(|| config.runtime(""))
}

/// Runs the shim's `delete`, which kills, unmounts and removes what is left, and removes the bundle.
pub async fn remove_bundle(
    supervisor: &Arc<Supervisor>,
    container: &Arc<Container>,
) -> Result<(), Error> {
    let bundle = supervisor.store.layout().bundle(container.id());
    if !bundle.dir().exists() {
        return Ok(());
    }
    if let Some(runtime) = runtime_of(supervisor, container) {
        delete_left(supervisor, runtime, container.id(), &bundle).await?;
    }
    crash::point("clean.shim_deleted");
    discard(&bundle).await
}

/// Runs the `delete` of a shim that is gone.
///
/// # Errors
/// The shim's, where it had begun to make a container.
pub async fn delete_left(
    supervisor: &Supervisor,
    runtime: &Runtime,
    id: &ContainerId,
    bundle: &Bundle,
) -> Result<(), Error> {
    // The first file that a shim writes when it creates a container, ours and containerd's own.
    let record = bundle.runtime();
    let look = record.clone();
    let has_begun = store::blocking("look for", record, move || look.try_exists()).await?;
    match shim_client::delete_action(&supervisor.home, runtime, id, bundle).await {
        // containerd's own finds nothing to delete and calls that an error.
        Err(error) if !has_begun => {
            log::debug!(container = id.as_str(), error:% = chain(&error); "deleting what no shim has made");
            Ok(())
        }
        done => Ok(done?),
    }
}

/// Removes a bundle in which nothing is mounted any more.
///
/// # Errors
/// What the file system answered.
pub async fn discard(bundle: &Bundle) -> Result<(), Error> {
    let (dir, rootfs) = (bundle.dir().to_owned(), bundle.rootfs());
    // A mount that is left would have its files removed with the bundle's.
    match remove_dir::remove_dir(&rootfs).await {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            return Err(StoreError {
                operation: "remove",
                path: rootfs,
                source,
            }
            .into());
        }
        _ => {}
    }
    crash::point("clean.unmounted");
    let gone = dir.clone();
    store::blocking("remove", dir, move || {
        match std::fs::remove_dir_all(&gone) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    })
    .await?;
    Ok(())
}
