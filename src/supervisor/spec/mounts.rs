//! What is mounted in a container, in order: the kernel's file systems, the pod's files, the image's volumes, the
//! request's mounts.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;

use super::checks::{absolute, enumeration};
use super::namespaces::Ipc;
use super::{Inputs, Privilege, SpecError, Support};
use crate::api::cri::{self, MountPropagation};

/// The files of a pod that its containers see.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodFiles {
    /// For /etc/resolv.conf.
    pub resolv_conf: Option<PathBuf>,
    /// For /etc/hostname.
    pub hostname: Option<PathBuf>,
    /// For /etc/hosts.
    pub hosts: Option<PathBuf>,
    /// For /dev/shm: the pod's, a tmpfs. A pod in the host's IPC namespace has none, it uses the host's.
    pub dev_shm: Option<PathBuf>,
}

/// A directory that stands in for one that the image declares as a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Where the container sees it.
    pub container_path: PathBuf,
    /// Where it is.
    pub host_path: PathBuf,
}

/// Whether a mount can be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    ReadOnly,
    ReadWrite,
}

impl Access {
    pub(super) fn read_only(asked: bool) -> Self {
        if asked {
            Self::ReadOnly
        } else {
            Self::ReadWrite
        }
    }

    const fn option(self) -> &'static str {
        match self {
            Self::ReadOnly => "ro",
            Self::ReadWrite => "rw",
        }
    }
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(destination.into())
        .set_typ(Some(kind.to_owned()))
        .set_source(Some(source.into()))
        .set_options(Some(options.iter().map(|&one| one.to_owned()).collect()));
    mount
}

fn bind(destination: &Path, source: &Path, options: &[&str]) -> Mount {
    let mut bind = mount("", "bind", "", options);
    bind.set_destination(destination.to_owned())
        .set_source(Some(source.to_owned()));
    bind
}

/// /dev/shm: as an IPC namespace's other shared memory, its pod's, the machine's or its own.
fn shared_memory(ipc: Ipc, files: &PodFiles) -> Mount {
    match (ipc, &files.dev_shm) {
        (Ipc::Host, _) => bind(
            Path::new("/dev/shm"),
            Path::new("/dev/shm"),
            &["rbind", "rprivate", "rw"],
        ),
        (Ipc::Pod, Some(shm)) => bind(Path::new("/dev/shm"), shm, &["rbind", "rprivate", "rw"]),
        (Ipc::Pod, None) | (Ipc::Own, _) => mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        ),
    }
}

/// What every container has (OCI runtime spec, `config-linux.md`, "Default Filesystems"; containerd's `defaultMounts`
/// and the CRI plugin's). Privileged ones may write to /sys and the control groups.
fn defaults(privilege: Privilege, ipc: Ipc, files: &PodFiles) -> Vec<Mount> {
    let kernel = match privilege {
        Privilege::Privileged => "rw",
        Privilege::Confined => "ro",
    };
    vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        ),
        shared_memory(ipc, files),
        mount(
            "/dev/mqueue",
            "mqueue",
            "mqueue",
            &["nosuid", "noexec", "nodev"],
        ),
        mount(
            "/sys",
            "sysfs",
            "sysfs",
            &["nosuid", "noexec", "nodev", kernel],
        ),
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", kernel],
        ),
    ]
}

fn pod_files(files: &PodFiles, rootfs: Access) -> Vec<Mount> {
    let places = [
        ("/etc/hosts", &files.hosts),
        ("/etc/resolv.conf", &files.resolv_conf),
        ("/etc/hostname", &files.hostname),
    ];
    let present = places
        .into_iter()
        .filter_map(|(place, file)| file.as_ref().map(|file| (place, file)));
    present
        .map(|(place, file)| {
            let options = ["rbind", "rprivate", rootfs.option()];
            bind(Path::new(place), file, &options)
        })
        .collect()
}

/// Where a mount of the request goes.
pub(super) fn destination(index: usize, asked: &cri::Mount) -> Result<PathBuf, SpecError> {
    let field = format!("mounts[{index}].container_path");
    let path = absolute(&field, &asked.container_path)?;
    if path == Path::new("/") {
        return Err(SpecError::invalid(
            field,
            "it would hide the root filesystem",
        ));
    }
    Ok(path)
}

/// How a mount of the request spreads.
pub(super) fn propagation(index: usize, asked: &cri::Mount) -> Result<MountPropagation, SpecError> {
    enumeration(&format!("mounts[{index}].propagation"), asked.propagation)
}

/// Refuses what no mount can have yet.
fn supported(index: usize, asked: &cri::Mount, selinux: Support) -> Result<(), SpecError> {
    let field = |name: &str| format!("mounts[{index}].{name}");
    if asked.image.is_some() {
        return Err(SpecError::unsupported(
            field("image"),
            "no image volumes yet",
        ));
    }
    for (name, mappings) in [
        ("uid_mappings", &asked.uid_mappings),
        ("gid_mappings", &asked.gid_mappings),
    ] {
        if !mappings.is_empty() {
            return Err(SpecError::unsupported(
                field(name),
                "no user namespaces yet",
            ));
        }
    }
    // Without SELinux there is no label to change: kubelet asks for it whatever the machine has.
    if asked.selinux_relabel && selinux == Support::Present {
        return Err(SpecError::unsupported(
            field("selinux_relabel"),
            "no SELinux yet",
        ));
    }
    Ok(())
}

fn requested(
    index: usize,
    asked: &cri::Mount,
    source: &Path,
    inputs: &Inputs<'_>,
) -> Result<Mount, SpecError> {
    let field = |name: &str| format!("mounts[{index}].{name}");
    let cri::Mount {
        container_path: _,
        host_path: _,
        readonly,
        selinux_relabel: _,
        propagation: _,
        uid_mappings: _,
        gid_mappings: _,
        recursive_read_only,
        image: _,
    } = asked;
    supported(index, asked, inputs.host.selinux)?;
    let propagation = propagation(index, asked)?;
    let mut options = vec!["rbind"];
    options.push(match propagation {
        MountPropagation::PropagationPrivate => "rprivate",
        MountPropagation::PropagationHostToContainer => "rslave",
        MountPropagation::PropagationBidirectional => "rshared",
    });
    options.push(Access::read_only(*readonly).option());
    if *recursive_read_only {
        if !*readonly || propagation != MountPropagation::PropagationPrivate {
            return Err(SpecError::invalid(
                field("recursive_read_only"),
                "it needs readonly, and propagation PROPAGATION_PRIVATE",
            ));
        }
        if inputs.recursive_read_only == Support::Absent {
            return Err(SpecError::unsupported(
                field("recursive_read_only"),
                "the kernel is older than 5.12, or the runtime does not list the mount option rro among its features",
            ));
        }
        options.push("rro");
    }
    Ok(bind(&destination(index, asked)?, source, &options))
}

/// Whether `place` is left to a mount of the request: that one is there, or all of /dev is the request's.
fn is_taken(place: &Path, requested: &[Mount]) -> bool {
    requested.iter().any(|mount| {
        let taken = mount.destination();
        taken == place || (taken == Path::new("/dev") && place.starts_with(taken))
    })
}

/// What is mounted, and how the root filesystem is to propagate, which a spreading mount in it needs.
pub(super) struct Mounts {
    pub(super) mounts: Vec<Mount>,
    pub(super) rootfs_propagation: Option<&'static str>,
}

/// Everything that is mounted in the container, parents before what is below them.
pub(super) fn mounts(
    inputs: &Inputs<'_>,
    privilege: Privilege,
    ipc: Ipc,
    rootfs: Access,
) -> Result<Mounts, SpecError> {
    let mut asked = Vec::new();
    let mut rootfs_propagation = None;
    for (index, mount) in inputs.config.mounts.iter().enumerate() {
        let source = match inputs.mounts.get(index) {
            Some(prepared) => prepared.clone(),
            None => absolute(&format!("mounts[{index}].host_path"), &mount.host_path)?,
        };
        asked.push(requested(index, mount, &source, inputs)?);
        rootfs_propagation = match (propagation(index, mount)?, rootfs_propagation) {
            (MountPropagation::PropagationBidirectional, _) | (_, Some("rshared")) => {
                Some("rshared")
            }
            (MountPropagation::PropagationHostToContainer, _) => Some("rslave"),
            (MountPropagation::PropagationPrivate, before) => before,
        };
    }
    let mut mounts = defaults(privilege, ipc, inputs.files);
    mounts.extend(pod_files(inputs.files, rootfs));
    mounts.extend(inputs.volumes.iter().map(|volume| {
        bind(
            &volume.container_path,
            &volume.host_path,
            &["rbind", "rprivate", "rw"],
        )
    }));
    mounts.retain(|mount| !is_taken(mount.destination(), &asked));
    mounts.extend(asked);
    // Stable: what is equally deep stays in order.
    mounts.sort_by_key(|mount| mount.destination().components().count());
    Ok(Mounts {
        mounts,
        rootfs_propagation,
    })
}
