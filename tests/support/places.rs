//! Where shims and OCI runtimes leave things on a host, whoever started them.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// What is in a directory; nothing where it is none.
pub fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir)
        .map(|found| found.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default()
}

/// The cgroup `name` in every hierarchy, whether it is there or not.
pub fn cgroups(name: &str) -> Vec<PathBuf> {
    let mut roots = vec![PathBuf::from("/sys/fs/cgroup")];
    roots.extend(entries(&roots[0]));
    // Where a hierarchy is not mounted, crun leaves files of its own making.
    roots.retain(|root| root.join("cgroup.procs").exists());
    roots.iter().map(|root| root.join(name)).collect()
}

/// The cgroups below `parent`, in every hierarchy.
pub fn cgroups_below(parent: &str) -> Vec<PathBuf> {
    let parents = cgroups(parent);
    parents
        .iter()
        .flat_map(|parent| entries(parent))
        .filter(|path| path.is_dir())
        .collect()
}

/// Removes the cgroup `name` and those below it.
pub fn remove_cgroups(name: &str) {
    for dir in cgroups(name) {
        remove_cgroup(&dir);
    }
}

fn remove_cgroup(dir: &Path) {
    for child in entries(dir).iter().filter(|path| path.is_dir()) {
        remove_cgroup(child);
    }
    drop(fs::remove_dir(dir));
}

/// Where the shim of a group listens: containerd's pkg/shim/util_unix.go, SocketAddress.
pub fn shim_socket(address: &Path, namespace: &str, group: &str) -> PathBuf {
    let name = address.join(namespace).join(group);
    let digest = Sha256::digest(name.to_str().unwrap());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Path::new("/run/containerd/s").join(hex)
}
