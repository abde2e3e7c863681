//! The pod's cgroup: the parent of its containers', made by the OCI runtime with the first of them.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::failed;
use crate::api::cri;
use crate::cgroup::{Cgroup, Roots};
use crate::config::supervisor::Config;
use crate::supervisor::error::Error;
use crate::supervisor::store::PodMeta;
use crate::types::ContainerId;
use crate::types::error::chain;

const ROOT: &str = "/sys/fs/cgroup";
/// How long a group is waited for whose last process is just ending.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(10);

/// The cgroup in which the pod's containers have theirs: the one that was asked for, or one of the pod's own.
#[must_use]
pub fn cgroup_parent(config: &Config, pod: &PodMeta) -> String {
    match requested(&pod.config) {
        Some(parent) => parent.to_owned(),
        None => own(&config.cgroup_parent, &pod.id),
    }
}

/// The parent that was asked for; it is not ours to remove.
pub(super) fn requested(pod: &cri::PodSandboxConfig) -> Option<&str> {
    let linux = pod.linux.as_ref()?;
    Some(linux.cgroup_parent.as_str()).filter(|parent| !parent.is_empty())
}

fn own(parent: &str, id: &ContainerId) -> String {
    format!("{}/{id}", parent.trim_end_matches('/'))
}

/// Removes the pod's own cgroup from every hierarchy, and kills what is still in it: an OCI runtime whose create hangs
/// leaves a process there that belongs to no container. Blocks. None there is fine.
///
/// # Errors
/// What rmdir(2) answered; all hierarchies were tried.
pub(super) fn remove(config: &Config, id: &ContainerId) -> Result<(), Error> {
    let path = own(&config.cgroup_parent, id);
    if let Ok(group) = Cgroup::at(&Roots::default(), &path)
        && let Err(error) = group.kill(PATIENCE)
    {
        log::warn!(pod = id.as_str(), error:% = chain(&error); "what is left in the pod's cgroup cannot be killed");
    }
    let mut below = PathBuf::new();
    for component in Path::new(&path).components() {
        match component {
            Component::Normal(name) => below.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return Ok(()),
        }
    }
    let mut first = None;
    for root in hierarchies().map_err(|error| failed("read", Path::new(ROOT), error))? {
        let group = root.join(&below);
        if let Err(error) = remove_tree(&group) {
            first.get_or_insert(failed("remove the cgroup", &group, error));
        }
    }
    first.map_or(Ok(()), Err)
}

/// The one of version 2, or each that is mounted in its place.
fn hierarchies() -> io::Result<Vec<PathBuf>> {
    let root = Path::new(ROOT);
    if root.join("cgroup.procs").exists() {
        return Ok(vec![root.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        // `cpu` is a link to `cpu,cpuacct` where both are mounted together.
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Groups are removed like empty directories, whatever files they show; the innermost first.
fn remove_tree(group: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(group) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        match fs::remove_dir(group) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error)
                if error.raw_os_error() == Some(Errno::EBUSY as i32)
                    && Instant::now() < deadline =>
            {
                std::thread::sleep(PAUSE);
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_has_a_cgroup_of_its_own_unless_it_names_a_parent() {
        let id = ContainerId::new("abc").unwrap();
        assert_eq!(own("/outlive/", &id), "/outlive/abc");
        let mut pod = cri::PodSandboxConfig::default();
        assert_eq!(requested(&pod), None);
        pod.linux.get_or_insert_default().cgroup_parent = "/kube/pod1".into();
        assert_eq!(requested(&pod), Some("/kube/pod1"));
    }
}
