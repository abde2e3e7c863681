//! A pod's namespaces, held by bind mounts instead of a process, and its /dev/shm.
//!
//! Owns: which namespaces a pod has ([`Plan`]) and `STATE/pods/ID` with all that is mounted there. Used by
//! [`super::sandbox`]; the containers' OCI specs name the files (`supervisor::spec`).
//!
//! ```text
//! STATE/pods/ID/net      its network namespace, unless it is on the host's network
//! STATE/pods/ID/uts      its host name's, unless it is on the host's network
//! STATE/pods/ID/ipc      its System V IPC's and message queues', unless those are the host's
//! STATE/pods/ID/shm/     its /dev/shm, likewise
//! STATE/pods/ID/pid      its pid namespace, where its containers share one: held by super::sandbox_init
//! ```

mod plan;

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use tonic::Code;

pub use self::plan::{PidScope, Plan, Scope};
use crate::supervisor::crash;
use crate::sys::mount::{self, MountError};
use crate::sys::namespace::{self, Kind};
use crate::types::Mount;

/// How much the pod's /dev/shm holds: containerd's and Docker's default.
const SHM_SIZE: &str = "size=65536k";
/// The pod's /dev/shm.
pub const SHM: &str = "shm";

/// Why a pod's namespaces are not as they should be.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// A call failed.
    #[error("{operation} {}", .path.display())]
    Call {
        /// Which.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The host name was not taken.
    #[error("set the pod's host name to {name:?}")]
    Hostname {
        /// The name.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A sysctl was not taken.
    #[error("linux.sysctls: set {name} to {value:?}")]
    Sysctl {
        /// Its name, as asked for.
        name: String,
        /// Its value.
        value: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Mounting or unmounting.
    #[error(transparent)]
    Mount(#[from] MountError),
}

impl NamespaceError {
    /// The gRPC code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            // Of this kernel: unknown, or a value that it refuses.
            Self::Sysctl { source, .. }
                if matches!(
                    source.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::InvalidInput
                ) =>
            {
                Code::InvalidArgument
            }
            Self::Call { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Code::ResourceExhausted
            }
            Self::Call { .. } | Self::Hostname { .. } | Self::Sysctl { .. } | Self::Mount(_) => {
                Code::Internal
            }
        }
    }
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> NamespaceError {
    let path = path.to_owned();
    move |source| NamespaceError::Call {
        operation,
        path,
        source,
    }
}

impl Plan {
    /// Makes the namespaces and /dev/shm in `dir`, which is made too. Blocks.
    ///
    /// # Errors
    /// [`NamespaceError`]; then [`unmake`] takes away what there is.
    pub fn make(&self, dir: &Path) -> Result<(), NamespaceError> {
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(dir);
        made.map_err(failed("make", dir))?;
        let kinds = self.pinned();
        for kind in &kinds {
            make_file(&dir.join(kind.name()))?;
        }
        if self.pid == PidScope::Pod {
            make_file(&dir.join(Kind::Pid.name()))?;
        }
        if !kinds.is_empty() {
            namespace::in_thread(|| self.settle(&kinds, dir))
                .map_err(failed("start a thread for", dir))??;
        }
        crash::point("run_pod.pinned");
        if self.ipc == Scope::Pod {
            let shm = dir.join(SHM);
            fs::create_dir(&shm).map_err(failed("make", &shm))?;
            let options = ["nosuid", "nodev", "noexec", "mode=1777", SHM_SIZE];
            let tmpfs = Mount {
                kind: "tmpfs".into(),
                source: "shm".into(),
                target: String::new(),
                options: options.map(str::to_owned).to_vec(),
            };
            mount::mount(&tmpfs, &shm)?;
        }
        Ok(())
    }

    /// In a thread of its own: new namespaces, all settings, and then the pins.
    fn settle(&self, kinds: &[Kind], dir: &Path) -> Result<(), NamespaceError> {
        namespace::leave(kinds).map_err(failed("unshare namespaces for", dir))?;
        if let Some(name) = &self.hostname {
            let set = nix::unistd::sethostname(name);
            set.map_err(|error| NamespaceError::Hostname {
                name: name.clone(),
                source: error.into(),
            })?;
        }
        for sysctl in &self.sysctls {
            // The kernel's files show the namespace of the thread that opens them.
            let written = OpenOptions::new().write(true).open(&sysctl.path);
            let written = written
                .and_then(|mut file| io::Write::write_all(&mut file, sysctl.value.as_bytes()));
            written.map_err(|source| NamespaceError::Sysctl {
                name: sysctl.name.clone(),
                value: sysctl.value.clone(),
                source,
            })?;
        }
        for kind in kinds {
            let path = dir.join(kind.name());
            namespace::pin_own(*kind, &path).map_err(failed("bind a namespace on", &path))?;
        }
        Ok(())
    }

    /// The first of what [`Plan::make`] made (and the pid namespace's pin) that is not in `dir` any more. Blocks.
    ///
    /// # Errors
    /// Where that cannot be found out.
    pub fn missing(&self, dir: &Path) -> Result<Option<&'static str>, NamespaceError> {
        let mut kinds = self.pinned();
        if self.pid == PidScope::Pod {
            kinds.push(Kind::Pid);
        }
        for kind in kinds {
            let path = dir.join(kind.name());
            if !namespace::is_pinned(&path).map_err(failed("look at", &path))? {
                return Ok(Some(kind.name()));
            }
        }
        if self.ipc == Scope::Pod && !is_mount_point(&dir.join(SHM))? {
            return Ok(Some(SHM));
        }
        Ok(None)
    }
}

fn make_file(path: &Path) -> Result<(), NamespaceError> {
    let mut options = OpenOptions::new();
    let made = options.write(true).create_new(true).mode(0o600).open(path);
    made.map(drop).map_err(failed("make", path))
}

/// Whether `path` is on another file system than its directory.
fn is_mount_point(path: &Path) -> Result<bool, NamespaceError> {
    let device = |path: &Path| match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found.dev())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("look at", path)(error)),
    };
    let Some(own) = device(path)? else {
        return Ok(false);
    };
    Ok(device(path.parent().unwrap_or(path))? != Some(own))
}

/// Unmounts all that is in `dir`, and removes it: the namespaces end unless something runs in them. No `dir` is fine.
/// Blocks.
///
/// # Errors
/// [`NamespaceError`]; may be called again.
pub fn unmake(dir: &Path) -> Result<(), NamespaceError> {
    mount::unmount_tree(dir)?;
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(failed("open", dir))?,
    };
    for entry in entries {
        let entry = entry.map_err(failed("read", dir))?;
        let path = entry.path();
        // One level, files and empty directories: were anything still mounted here, its content would be left alone.
        let kind = entry.file_type().map_err(failed("look at", &path))?;
        let removed = if kind.is_dir() {
            fs::remove_dir(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.map_err(failed("remove", &path))?;
    }
    fs::remove_dir(dir).map_err(failed("remove", dir))
}
