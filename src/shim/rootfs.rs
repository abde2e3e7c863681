//! The root filesystem of a container: mounted below the bundle for Create, unmounted by Delete or a failed Create.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::timeout;

use super::error::ShimError;
use super::reaper::Reaper;
use crate::bundle::layout::Bundle;
use crate::sys::mount;
use crate::sys::spawn::Spawn;
use crate::sys::worker;
use crate::types::{Mount, Signal};

/// How long a mount helper may take.
const HELPER_LIMIT: Duration = Duration::from_secs(60);

/// Mounts `mounts` in order on `bundle`'s root filesystem, which is made where it is missing.
///
/// # Errors
/// The first mount that fails; what was mounted before it is unmounted.
pub async fn mount(reaper: &Reaper, bundle: &Bundle, mounts: &[Mount]) -> Result<(), ShimError> {
    if mounts.is_empty() {
        return Ok(());
    }
    let rootfs = bundle.rootfs();
    // As containerd: nobody but root may list it before the container's own permissions hold.
    match DirBuilder::new().mode(0o711).create(&rootfs) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            return Err(ShimError::Io {
                operation: "make the directory",
                path: rootfs,
                source,
            });
        }
        _ => {}
    }
    for one in mounts {
        if let Err(error) = mount_one(reaper, rootfs.clone(), one.clone()).await {
            return match unmount(bundle).await {
                Ok(()) => Err(error),
                Err(also) => Err(ShimError::Field {
                    field: "rootfs",
                    reason: format!("{}; {}", error.chain(), also.chain()),
                }),
            };
        }
    }
    Ok(())
}

async fn mount_one(reaper: &Reaper, rootfs: PathBuf, one: Mount) -> Result<(), ShimError> {
    let target = mount::target_path(&one, &rootfs)?;
    let Some(helper) = mount::helper(&one, &target) else {
        return on_worker("mount", move || mount::mount(&one, &rootfs)).await;
    };
    let mut argv = helper.into_iter();
    let program = argv.next().unwrap_or_default();
    let failed = |source| ShimError::Io {
        operation: "mount by a helper on",
        path: target.clone(),
        source,
    };
    let spawn = Spawn {
        program,
        args: argv.collect(),
        ..Spawn::default()
    };
    let child = reaper.spawn(spawn).map_err(failed)?;
    let mut child = child;
    let Ok(ended) = timeout(HELPER_LIMIT, &mut child.exit).await else {
        drop(reaper.signal(child.pid, Signal::KILL));
        return Err(failed(io::ErrorKind::TimedOut.into()));
    };
    match ended {
        Ok(exit) if exit.record.status.get() == 0 => Ok(()),
        Ok(exit) => Err(failed(io::Error::other(format!(
            "the helper's exit status is {}",
            exit.record.status
        )))),
        Err(_) => Err(ShimError::Worker { operation: "mount" }),
    }
}

/// Unmounts everything on and below `bundle`'s root filesystem.
///
/// # Errors
/// What is still mounted, and why.
pub async fn unmount(bundle: &Bundle) -> Result<(), ShimError> {
    let rootfs = bundle.rootfs();
    on_worker("unmount", move || mount::unmount_tree(&rootfs)).await
}

async fn on_worker(
    operation: &'static str,
    work: impl FnOnce() -> Result<(), mount::MountError> + Send + 'static,
) -> Result<(), ShimError> {
    worker::run(work)
        .await
        .map_err(|_| ShimError::Worker { operation })?
        .map_err(ShimError::from)
}
