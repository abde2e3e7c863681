//! The pod's cgroup: the parent of its containers', made by the OCI runtime with the first of them.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::failed;
use crate::api::cri;
use crate::config::supervisor::Config;
use crate::supervisor::error::Error;
use crate::supervisor::store::PodMeta;
use crate::types::ContainerId;

const ROOT: &str = "/sys/fs/cgroup";
/// How long a group is waited for whose last process is just ending.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(10);

/// The cgroup in which the pod's containers have theirs: the one that was asked for, or one of the pod's own.
#[must_use]
pub fn cgroup_parent(config: &Config, pod: &PodMeta) -> String {
    match requested(&pod.config) {
        Some(parent) => parent.to_owned(),
        None => own(config, &pod.id),
    }
}

/// The parent that was asked for; it is not ours to remove.
pub(super) fn requested(pod: &cri::PodSandboxConfig) -> Option<&str> {
    let linux = pod.linux.as_ref()?;
    Some(linux.cgroup_parent.as_str()).filter(|parent| !parent.is_empty())
}

fn own(config: &Config, id: &ContainerId) -> String {
    format!("{}/{id}", config.cgroup_parent.trim_end_matches('/'))
}

/// Removes the pod's own cgroup from every hierarchy. Blocks. None there is fine.
///
/// # Errors
/// What rmdir(2) answered; all hierarchies were tried.
pub(super) fn remove(config: &Config, id: &ContainerId) -> Result<(), Error> {
    let mut below = PathBuf::new();
    for component in Path::new(&own(config, id)).components() {
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
    use crate::config::supervisor::{LogFormat, LogSettings};

    #[test]
    fn a_pod_without_a_parent_has_one_of_its_own() {
        let config = Config {
            root: "/r".into(),
            state: "/s".into(),
            socket: "/s/x".into(),
            runtimes: Vec::new(),
            cni_conf_dir: "/c".into(),
            cni_bin_dirs: Vec::new(),
            cgroup_parent: "/outlive".into(),
            seccomp_profile_root: "/p".into(),
            log: LogSettings {
                level: log::LevelFilter::Info,
                format: LogFormat::Text,
            },
            metrics: None,
        };
        let mut meta = PodMeta {
            id: ContainerId::new("abc").unwrap(),
            config: cri::PodSandboxConfig::default(),
            runtime: String::new(),
            created_at: crate::types::Timestamp::now(),
        };
        assert_eq!(cgroup_parent(&config, &meta), "/outlive/abc");
        meta.config.linux.get_or_insert_default().cgroup_parent = "/kube/pod1".into();
        assert_eq!(cgroup_parent(&config, &meta), "/kube/pod1");
    }
}
