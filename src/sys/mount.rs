//! The mounts of a container's root filesystem: made as containerd describes them, and taken away again.
//!
//! Owns: reading options, keeping a target inside the root filesystem, bind, overlay, loop and idmapped mounts, and
//! `<bundle>/idmapped/N`, the mapped lower directories that exist while an overlay is being mounted. Does not own: the
//! bundle and its `rootfs` directory, and programs such as mount.fuse3, which the shim starts itself.
//!
//! ```text
//! <bundle>/rootfs       mount(.., rootfs), once an entry, in order;  unmount_tree(rootfs) takes all of it away
//! <bundle>/idmapped/N   lower directory N, mapped; gone when `mount` returns, or with unmount_tree after a crash
//! ```
//!
//! All of this blocks, and belongs on a worker thread. It follows containerd's `core/mount/mount_linux.go`; where it
//! goes further, the functions say so.

mod detached;
mod error;
mod job;
mod options;
mod overlay;
mod target;
mod unmount;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

pub use self::error::{Failure, MountError, Step};
use self::job::Job;
pub use self::overlay::escape;
use self::target::Target;
use crate::types::Mount;

/// The helper programs of containerd, by the prefix of the types that they mount.
const HELPERS: [(&str, &str); 2] = [("fuse.", "mount.fuse"), ("fuse3.", "mount.fuse3")];

/// The program that mounts `mount` on `target`, with its arguments, where its type (`fuse.X`, `fuse3.X`) has one:
/// `mount.fuse3 SOURCE TARGET -o OPTION... -t X`. `target` is best what [`target_path`] answers. Pure.
#[must_use]
pub fn helper(mount: &Mount, target: &Path) -> Option<Vec<OsString>> {
    let (kind, program) = HELPERS
        .iter()
        .find_map(|&(prefix, program)| Some((mount.kind.strip_prefix(prefix)?, program)))?;
    let mut argv = vec![program.into(), mount.source.clone().into(), target.into()];
    for option in &mount.options {
        argv.extend(["-o".into(), option.into()]);
    }
    argv.extend(["-t".into(), kind.into()]);
    Some(argv)
}

/// The real path of the mount's target below `rootfs`, made where it is missing, for a program that is given a path.
///
/// # Errors
/// [`MountError::Step`].
pub fn target_path(mount: &Mount, rootfs: &Path) -> Result<PathBuf, MountError> {
    let path = Target::find_or_make(rootfs, &mount.target)
        .and_then(|found| fs::read_link(found.as_path()));
    path.map_err(|error| Job { mount, rootfs }.failed(Step::Target, error))
}

/// Mounts `mount` below `rootfs`, which exists. Blocks.
///
/// The target is resolved as if `rootfs` were `/`, and made where it is missing (containerd does not make it). A bind
/// mount gets every flag that it is asked for and keeps those of its source; containerd's gets flags only together
/// with `ro`, and loses both its source's and its id mapping then. On an error something may be mounted already:
/// [`unmount_tree`] is the way back.
///
/// # Errors
/// [`MountError`], all but `Unmount`.
pub fn mount(mount: &Mount, rootfs: &Path) -> Result<(), MountError> {
    if HELPERS
        .iter()
        .any(|(prefix, _)| mount.kind.starts_with(prefix))
    {
        return Err(MountError::NeedsHelper {
            kind: mount.kind.clone(),
        });
    }
    Job { mount, rootfs }.run()
}

/// Unmounts everything on or below `rootfs`, what lies on top first, and what [`mount`] left beside it when it was
/// killed. Blocks, for busy mounts up to half a second; then they are detached. Nothing mounted, or no `rootfs`, is fine.
///
/// # Errors
/// [`MountError::Unmount`] with all that is left.
pub fn unmount_tree(rootfs: &Path) -> Result<(), MountError> {
    let failed = |path: &Path, error| MountError::Unmount {
        rootfs: rootfs.to_owned(),
        failures: vec![Failure {
            path: path.to_owned(),
            error,
        }],
    };
    let (Some(bundle), Some(name)) = (rootfs.parent(), rootfs.file_name()) else {
        return Err(failed(rootfs, Errno::EINVAL.into()));
    };
    // The list of mounts has real paths; `rootfs` itself is no link, and may be hidden by what is mounted on it.
    let bundle = match fs::canonicalize(Path::new(".").join(bundle)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|error| failed(bundle, error))?,
    };
    let idmapped = bundle.join(unmount::IDMAPPED);
    let mut failures = unmount::below(&[bundle.join(name), idmapped.clone()])
        .map_err(|error| failed(Path::new("/proc/thread-self/mountinfo"), error))?;
    if let Err(failure) = unmount::remove_directories(&idmapped) {
        failures.push(failure);
    }
    if failures.is_empty() {
        return Ok(());
    }
    Err(MountError::Unmount {
        rootfs: rootfs.to_owned(),
        failures,
    })
}
