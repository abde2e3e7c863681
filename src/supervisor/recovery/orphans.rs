//! What belongs to no container and no pod is removed: bundles with their tasks and shims, namespaces, and directories
//! that were on their way in or out.
//!
//! Only what was there before the first call was taken, and only after every container was asked. A shim that does not
//! answer keeps its bundle until the next start; what is still mounted keeps its directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tonic::Code;

use super::ask::is_absent;
use super::load::Orphans;
use crate::bundle::Bundle;
use crate::supervisor::cleanup;
use crate::supervisor::context::Supervisor;
use crate::supervisor::crash;
use crate::supervisor::error::Error;
use crate::supervisor::shim_client::{KillScope, ShimClient, ShimError};
use crate::supervisor::store;
use crate::sys::mount;
use crate::types::error::chain;
use crate::types::{ContainerId, Signal};

/// How long an orphan's shim has for its first answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// How long a killed task has to end.
const END_LIMIT: Duration = Duration::from_secs(5);

/// Removes them. What cannot be removed is logged, and left to the next start.
pub async fn remove(supervisor: &Arc<Supervisor>, orphans: Orphans) {
    if crash::has_defect("orphans") {
        return;
    }
    for id in orphans.bundles {
        match bundle(supervisor, &id).await {
            Ok(()) => {
                log::warn!(container = id.as_str(); "removed the task and bundle of no known container");
            }
            Err(error) => {
                log::error!(container = id.as_str(), error:% = chain(&error); "the bundle of no known container cannot be removed");
            }
        }
    }
    let namespaces = orphans.namespaces.iter();
    let namespaces = namespaces.map(|id| supervisor.store.layout().pod_state(id));
    let ends = orphans.ends.iter();
    let ends = ends.map(|id| supervisor.store.layout().end(id));
    for path in namespaces.chain(ends).chain(orphans.leftovers) {
        let removed = directory(path.clone()).await;
        match removed {
            Ok(()) => log::warn!(path:? = path; "removed what belongs to nobody"),
            Err(error) => {
                log::error!(path:? = path, error:% = chain(&error); "what belongs to nobody cannot be removed");
            }
        }
    }
}

async fn bundle(supervisor: &Arc<Supervisor>, id: &ContainerId) -> Result<(), Error> {
    let bundle = supervisor.store.layout().bundle(id);
    match ShimClient::connect(id, &bundle).await {
        Ok(shim) => {
            end(&shim).await?;
            drop(timeout(END_LIMIT, shim.gone()).await);
            abandoned(supervisor, id, &bundle).await?;
        }
        Err(error) if is_absent(&error) => abandoned(supervisor, id, &bundle).await?,
        Err(error) => return Err(error.into()),
    }
    cleanup::discard(&bundle).await
}

/// Ends a task that nobody wants, and its shim.
async fn end(shim: &ShimClient) -> Result<(), Error> {
    match shim.state(ANSWER_LIMIT).await {
        Ok(_) => {
            // A task that has ended, or was never started, cannot be killed, and need not be.
            if shim.kill(Signal::KILL, KillScope::All).await.is_ok() {
                drop(timeout(END_LIMIT, shim.wait()).await);
            }
            match shim.delete().await {
                Ok(()) => {}
                Err(error) if error.code() == Code::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(error) if error.code() == Code::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    match shim.shutdown().await {
        Ok(()) | Err(ShimError::Gone { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Runs the default shim's `delete`: which one the bundle's was is known to nobody, and every shim finds the container
/// by what its bundle says.
async fn abandoned(
    supervisor: &Arc<Supervisor>,
    id: &ContainerId,
    bundle: &Bundle,
) -> Result<(), Error> {
    if let Some(runtime) = supervisor.config.runtime("") {
        cleanup::delete_left(supervisor, runtime, id, bundle).await?;
    }
    Ok(())
}

async fn directory(path: PathBuf) -> Result<(), store::StoreError> {
    let removed = path.clone();
    store::blocking("remove", path, move || remove_unmounted(&removed)).await
}

/// Unmounts everything in a directory, then removes it; where something stays mounted, nothing is removed.
fn remove_unmounted(path: &Path) -> io::Result<()> {
    mount::unmount_tree(path).map_err(io::Error::other)?;
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::file::scratch::Scratch;
    use std::process::Command;

    fn run(command: &[&str]) -> bool {
        Command::new(command[0])
            .args(&command[1..])
            .status()
            .unwrap()
            .success()
    }

    #[test]
    fn what_is_mounted_in_an_orphan_survives_its_removal() {
        let scratch = Scratch::new();
        scratch.write("kept/file", "x");
        scratch.write("orphan/rootfs/.keep", "");
        let (kept, rootfs) = (
            scratch.path().join("kept"),
            scratch.path().join("orphan/rootfs"),
        );
        let bind = [
            "mount",
            "--bind",
            kept.to_str().unwrap(),
            rootfs.to_str().unwrap(),
        ];
        if !run(&bind) {
            println!("skipped: no mounts can be made here");
            return;
        }
        remove_unmounted(&scratch.path().join("orphan")).unwrap();
        assert!(kept.join("file").exists());
        assert!(!scratch.path().join("orphan").exists());
        remove_unmounted(&scratch.path().join("orphan")).unwrap();
    }
}
