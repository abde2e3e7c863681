//! This machine's own cgroups, of version 1; those of version 2 are tested in the guest.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{eventually, is_readable, pid};
use crate::cgroup::{
    Cgroup, CgroupError, Metrics, Mode, OomNotice, OomWatch, Roots, enable_controllers, join,
    location,
};

/// A process of this machine in version 1 groups of its own; all are gone on drop.
struct Real {
    child: Child,
    name: String,
    dirs: Vec<PathBuf>,
}

impl Real {
    /// `None`, with the reason printed, where the machine cannot.
    fn new(script: &str) -> Option<Self> {
        if Roots::default().mode() == Mode::V2 || !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: needs root and version 1 cgroups");
            return None;
        }
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("outlive-test-{}-{number}", std::process::id());
        let child = Command::new("/bin/sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let hierarchies = location::hierarchies(&Roots::default()).unwrap();
        let dirs = hierarchies.iter().map(|one| one.mount_point.join(&name));
        let real = Self {
            dirs: dirs.collect(),
            child,
            name,
        };
        let path = format!("/{}/inner", real.name);
        join(&Roots::default(), &path, pid(real.child.id())).unwrap();
        Some(real)
    }

    fn cgroup(&self) -> Cgroup {
        Cgroup::of_process(&Roots::default(), pid(self.child.id())).unwrap()
    }

    fn memory_dir(&self) -> PathBuf {
        Path::new("/sys/fs/cgroup/memory")
            .join(&self.name)
            .join("inner")
    }

    fn remove(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        for dir in std::mem::take(&mut self.dirs) {
            let gone = eventually(|| {
                drop(fs::remove_dir(dir.join("inner")));
                drop(fs::remove_dir(&dir));
                !dir.exists()
            });
            // A second panic would end the whole test run.
            assert!(gone || std::thread::panicking(), "{} stays", dir.display());
        }
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        self.remove();
    }
}

#[test]
fn this_machines_v1_statistics_are_those_of_its_files() {
    // Only what is allocated in the group counts for it, so nothing is before the process is there.
    let script = "read go; x=a; while [ ${#x} -lt 1000000 ]; do x=$x$x; done; while :; do :; done";
    let Some(mut real) = Real::new(script) else {
        return;
    };
    let cgroup = real.cgroup();
    let Cgroup::V1(v1) = &cgroup else {
        panic!("{cgroup:?}")
    };
    let memory = real.memory_dir();
    assert_eq!(v1.dir("memory"), Some(&*memory));
    assert_eq!(cgroup.pids().unwrap(), [pid(real.child.id())]);
    drop(real.child.stdin.take());
    let mut last = None;
    let grown = eventually(|| {
        let Metrics::V1(metrics) = cgroup.metrics().unwrap() else {
            panic!("not version 1")
        };
        let done = metrics.cpu.usage.user > 0 && metrics.memory.usage.usage > 0;
        last = Some(metrics);
        done
    });
    let metrics = last.unwrap();
    assert!(grown, "{metrics:?}");
    assert!(metrics.cpu.usage.total > 0 && !metrics.cpu.usage.per_cpu.is_empty());
    assert_eq!((metrics.pids.current, metrics.pids.limit), (1, 0));
    let limit = fs::read_to_string(memory.join("memory.limit_in_bytes")).unwrap();
    let usage = &metrics.memory.usage;
    assert_eq!(usage.limit.to_string(), limit.trim());
    assert_eq!(usage.limit, metrics.memory.hierarchical_memory_limit);
    assert!(metrics.blkio.is_some() && metrics.memory_oom_control.is_some());
    real.remove();
    assert!(matches!(cgroup.metrics(), Err(CgroupError::Gone)));
    let gone = Cgroup::of_process(&Roots::default(), pid(real.child.id()));
    assert!(matches!(gone, Err(CgroupError::Gone)), "{gone:?}");
}

#[test]
fn a_zombie_of_this_machine_is_not_in_the_root_group() {
    if Roots::default().mode() == Mode::V2 {
        return eprintln!("skipped: needs version 1 cgroups");
    }
    let mut child = Command::new("/bin/true").spawn().unwrap();
    let own = pid(child.id());
    let mut last = None;
    let gone = eventually(|| {
        let found = Cgroup::of_process(&Roots::default(), own);
        let gone = matches!(found, Err(CgroupError::Gone));
        last = Some(found);
        gone
    });
    child.wait().unwrap();
    assert!(gone, "{last:?}");
}

#[test]
fn this_machines_kernel_tells_when_memory_runs_out_and_when_the_group_goes() {
    let Some(mut real) = Real::new("read go; exec tail /dev/zero") else {
        return;
    };
    let cgroup = real.cgroup();
    fs::write(real.memory_dir().join("memory.limit_in_bytes"), "16777216").unwrap();
    let mut watch = OomWatch::new(&cgroup).unwrap();
    assert_eq!(watch.consume().unwrap(), OomNotice::Nothing);
    let before = cgroup.oom_kills().unwrap().unwrap();
    drop(real.child.stdin.take());
    assert!(
        eventually(|| is_readable(&watch)),
        "no wake within the deadline"
    );
    // The wake comes before the kill, which is told once all the same.
    let mut notices = Vec::new();
    let told = eventually(|| {
        notices.push(watch.consume().unwrap());
        notices.last() == Some(&OomNotice::Killed)
    });
    assert!(told, "{notices:?}");
    let status = real.child.wait().unwrap();
    assert!(!status.success(), "{status}");
    let now = cgroup.oom_kills().unwrap().unwrap();
    assert_eq!(now.rise_since(&before), 1);
    assert_eq!(watch.consume().unwrap(), OomNotice::Nothing);
    real.remove();
    let mut last = None;
    let gone = eventually(|| {
        last = Some(watch.consume().unwrap());
        last == Some(OomNotice::Gone)
    });
    assert!(gone, "{last:?}");
}

/// A version 2 hierarchy: the machine's only one, or the one without controllers beside version 1.
fn version_2() -> Option<Roots> {
    let default = Roots::default();
    let beside = Roots {
        cgroup: default.cgroup.join("unified"),
        ..default.clone()
    };
    let found = [default, beside]
        .into_iter()
        .find(|roots| roots.mode() == Mode::V2);
    found.filter(|_| nix::unistd::geteuid().is_root())
}

#[test]
fn this_machines_version_2_group_is_joined_found_and_read() {
    let Some(roots) = version_2() else {
        return eprintln!("skipped: needs root and a cgroup2 mount");
    };
    let script = "while :; do :; done";
    let child = Command::new("/bin/sh")
        .args(["-c", script])
        .spawn()
        .unwrap();
    let name = format!("outlive-test-{}-v2", std::process::id());
    let mut real = Real {
        dirs: vec![roots.cgroup.join(&name)],
        child,
        name,
    };
    let own = pid(real.child.id());
    join(&roots, &format!("/{}/inner", real.name), own).unwrap();
    let cgroup = Cgroup::of_process(&roots, own).unwrap();
    let Cgroup::V2(v2) = &cgroup else {
        panic!("{cgroup:?}")
    };
    assert_eq!(v2.dir(), real.dirs[0].join("inner"));
    assert_eq!(cgroup.pids().unwrap(), [own]);
    drop(enable_controllers(&cgroup));
    let mut last = None;
    let grown = eventually(|| {
        let Metrics::V2(metrics) = cgroup.metrics().unwrap() else {
            panic!("not version 2")
        };
        let done = metrics.cpu.usage_usec > 0 && metrics.cpu.user_usec > 0;
        last = Some(metrics);
        done
    });
    assert!(grown, "{last:?}");
    real.remove();
    assert!(matches!(cgroup.metrics(), Err(CgroupError::Gone)));
    assert!(cgroup.oom_kills().is_err());
}
