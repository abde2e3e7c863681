//! What a specification depends on besides the request: what the machine has and what the supervisor itself may.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit};
use oci_spec::runtime::Capability;

use super::SpecError;
use super::capabilities;

/// Which control groups the controllers are in. "Hybrid" is version 1: its cgroup2 mount has no controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupVersion {
    /// One hierarchy a controller.
    V1,
    /// One for all.
    V2,
}

/// Whether the machine has something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// It has.
    Present,
    /// It has not.
    Absent,
}

impl Support {
    fn of(there: bool) -> Self {
        if there { Self::Present } else { Self::Absent }
    }
}

/// A soft and a hard limit, as getrlimit(2) has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// What holds.
    pub soft: u64,
    /// How far the process may raise it.
    pub hard: u64,
}

/// What the machine has and the supervisor may. Read once, when the supervisor starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// Which control groups.
    pub cgroups: CgroupVersion,
    /// Whether swap is accounted, so that it can be limited (`swapaccount=1` on version 1).
    pub swap_accounting: Support,
    /// Whether huge pages can be limited.
    pub hugetlb: Support,
    /// Whether AppArmor confines processes.
    pub apparmor: Support,
    /// Whether SELinux does.
    pub selinux: Support,
    /// Whether a mount's attributes can be set with those of all mounts below it: mount_setattr(2), since Linux 5.12.
    pub recursive_mount_attributes: Support,
    /// The supervisor's own capabilities: no container can have more.
    pub capabilities: HashSet<Capability>,
    /// The supervisor's own `oom_score_adj`: without CAP_SYS_RESOURCE no container can have less (proc(5)).
    pub oom_score_adj: i32,
    /// What containers may open: what the supervisor was started with, whatever it raised its own limit to later.
    pub open_files: Limit,
    /// The machine's name, for pods that are given none.
    pub hostname: String,
}

impl HostFacts {
    /// Reads them from /proc and /sys. Blocks for as long as the kernel takes to print small files.
    ///
    /// # Errors
    /// The file that cannot be read.
    pub fn read() -> Result<Self, SpecError> {
        Self::read_below(Path::new("/"))
    }

    /// The same below another root directory.
    fn read_below(root: &Path) -> Result<Self, SpecError> {
        let text = |name: &str| {
            let path = root.join(name);
            fs::read_to_string(&path).map_err(SpecError::io("read", &path))
        };
        let cgroup = root.join("sys/fs/cgroup");
        let controllers = fs::read_to_string(cgroup.join("cgroup.controllers"));
        let (cgroups, hugetlb) = match &controllers {
            Ok(names) => (
                CgroupVersion::V2,
                names.split_whitespace().any(|name| name == "hugetlb"),
            ),
            Err(_) => (CgroupVersion::V1, cgroup.join("hugetlb").is_dir()),
        };
        let swap = match cgroups {
            CgroupVersion::V1 => cgroup.join("memory/memory.memsw.limit_in_bytes").exists(),
            CgroupVersion::V2 => below(&cgroup, "memory.swap.max"),
        };
        let apparmor = fs::read_to_string(root.join("sys/module/apparmor/parameters/enabled"));
        let oom = text("proc/self/oom_score_adj")?;
        let files = getrlimit(Resource::RLIMIT_NOFILE).map_err(|errno| {
            SpecError::io("getrlimit", Path::new("RLIMIT_NOFILE"))(errno.into())
        })?;
        Ok(Self {
            cgroups,
            swap_accounting: Support::of(swap),
            hugetlb: Support::of(hugetlb),
            apparmor: Support::of(apparmor.is_ok_and(|enabled| enabled.starts_with('Y'))),
            selinux: Support::of(root.join("sys/fs/selinux/enforce").exists()),
            recursive_mount_attributes: Support::of(
                kernel(&text("proc/sys/kernel/osrelease")?) >= (5, 12),
            ),
            capabilities: effective(&text("proc/self/status")?),
            oom_score_adj: oom.trim().parse().unwrap_or(0),
            open_files: Limit {
                soft: files.0,
                hard: files.1,
            },
            hostname: text("proc/sys/kernel/hostname")?.trim().to_owned(),
        })
    }

    /// `wanted`, or the least that the kernel takes (containerd's `restrict_oom_score_adj`).
    pub(super) fn oom_score_adj(&self, wanted: i32) -> i32 {
        if self.capabilities.contains(&Capability::SysResource) {
            wanted
        } else {
            wanted.max(self.oom_score_adj)
        }
    }
}

/// Whether a group right below the root has `file`: the root of version 2 has no limits itself.
fn below(cgroup: &Path, file: &str) -> bool {
    let Ok(entries) = fs::read_dir(cgroup) else {
        return false;
    };
    entries
        .flatten()
        .any(|entry| entry.path().join(file).exists())
}

/// The version and patch level in `/proc/sys/kernel/osrelease`: `6.1.0-18-amd64` is (6, 1).
fn kernel(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|one: char| !one.is_ascii_digit())
        .map(|number| number.parse().unwrap_or(0));
    (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    )
}

/// The capabilities in `CapEff` of `/proc/PID/status` (proc(5)).
fn effective(status: &str) -> HashSet<Capability> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    capabilities::of_bits(bits.unwrap_or(0))
}

#[cfg(test)]
impl HostFacts {
    /// A machine with everything but the security modules.
    pub(super) fn example() -> Self {
        Self {
            cgroups: CgroupVersion::V1,
            swap_accounting: Support::Present,
            hugetlb: Support::Present,
            apparmor: Support::Absent,
            selinux: Support::Absent,
            recursive_mount_attributes: Support::Present,
            capabilities: capabilities::of_bits(u64::MAX),
            oom_score_adj: 0,
            open_files: Limit {
                soft: 1024,
                hard: 524_288,
            },
            hostname: "node".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::file::scratch::Scratch;

    fn machine() -> Scratch {
        let root = Scratch::new();
        root.write(
            "proc/self/status",
            "Name:\tx\nCapEff:\t0000000001000001\nCapBnd:\tffff\n",
        );
        root.write("proc/self/oom_score_adj", "-5\n");
        root.write("proc/sys/kernel/hostname", "node-1\n");
        root.write("proc/sys/kernel/osrelease", "5.4.0-1\n");
        root
    }

    #[test]
    fn version_1_is_what_has_no_controllers_at_the_root() {
        let root = machine();
        root.write("sys/fs/cgroup/memory/memory.memsw.limit_in_bytes", "0");
        let facts = HostFacts::read_below(root.path()).unwrap();
        assert_eq!(facts.cgroups, CgroupVersion::V1);
        assert_eq!(facts.swap_accounting, Support::Present);
        assert_eq!(facts.hugetlb, Support::Absent);
        assert_eq!(facts.apparmor, Support::Absent);
        assert_eq!(facts.hostname, "node-1");
        assert_eq!(facts.recursive_mount_attributes, Support::Absent);
        assert_eq!(
            facts.capabilities,
            HashSet::from([Capability::Chown, Capability::SysResource])
        );
    }

    #[test]
    fn version_2_tells_swap_by_any_group_below_the_root() {
        let root = machine();
        root.write("sys/fs/cgroup/cgroup.controllers", "cpu hugetlb memory\n");
        root.write("sys/module/apparmor/parameters/enabled", "Y\n");
        let facts = HostFacts::read_below(root.path()).unwrap();
        assert_eq!(facts.cgroups, CgroupVersion::V2);
        assert_eq!(facts.swap_accounting, Support::Absent);
        assert_eq!(facts.hugetlb, Support::Present);
        assert_eq!(facts.apparmor, Support::Present);
        root.write("sys/fs/cgroup/init/memory.swap.max", "max");
        let facts = HostFacts::read_below(root.path()).unwrap();
        assert_eq!(facts.swap_accounting, Support::Present);
    }

    #[test]
    fn a_kernels_release_begins_with_its_version() {
        for (release, version) in [
            ("6.1.0-18-amd64\n", (6, 1)),
            ("5.12-rc1", (5, 12)),
            ("6.18.44-fc", (6, 18)),
            ("", (0, 0)),
        ] {
            assert_eq!(kernel(release), version, "{release}");
        }
    }

    #[test]
    fn a_score_below_ones_own_takes_the_capability() {
        let mut facts = HostFacts::example();
        facts.oom_score_adj = 10;
        assert_eq!(facts.oom_score_adj(-900), -900);
        facts.capabilities.remove(&Capability::SysResource);
        assert_eq!(facts.oom_score_adj(-900), 10);
        assert_eq!(facts.oom_score_adj(500), 500);
    }

    #[test]
    fn this_machine_can_be_read() {
        let facts = HostFacts::read().unwrap();
        assert!(!facts.hostname.is_empty());
        assert!(facts.open_files.soft > 0);
    }
}
