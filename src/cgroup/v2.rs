//! Version 2: one directory for everything (`admin-guide/cgroup-v2.rst`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use containerd_shim_protos::cgroups_v2::metrics::{
    CPUStat, HugeTlbStat, IOEntry, IOStat, MemoryEvents, MemoryStat, Metrics, PSIData, PSIStats,
    PidsStat, RdmaEntry, RdmaStat,
};

use super::{CgroupError, read};

/// What containerd answers for "max", that is for "no limit".
const MAX: u64 = u64::MAX;

/// A container's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct V2 {
    root: PathBuf,
    dir: PathBuf,
}

impl V2 {
    pub(super) fn new(root: PathBuf, below: &Path) -> Self {
        let dir = root.join(below);
        Self { root, dir }
    }

    /// How often the group was killed as one, by `events`, its `memory.events`; `None` where it is not, or the kernel does
    /// not count that (before Linux 5.17). The first of its `kills` comes before the count (`oom_kill_process`), so that one
    /// counts for it until then.
    ///
    /// # Errors
    /// What reading `events` answered.
    pub(super) fn kills_as_one(&self, kills: u64, events: &Path) -> io::Result<Option<u64>> {
        let as_one = fs::read_to_string(self.dir.join("memory.oom.group"));
        if as_one.is_ok_and(|text| text.trim() == "1") {
            let counted = read::value(&fs::read_to_string(events)?, "oom_group_kill");
            return Ok(counted.map(|counted| counted.max(kills.min(1))));
        }
        Ok(None)
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The mount that it is in.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn metrics(&self) -> Result<Metrics, CgroupError> {
        let dir = &self.dir;
        let events = read::text(dir, "memory.events")?;
        Ok(Metrics {
            pids: pids(dir)?.into(),
            cpu: cpu(dir)?.into(),
            memory: memory(dir)?.into(),
            rdma: rdma(dir)?.into(),
            io: io(dir)?.into(),
            hugetlb: hugetlb(dir)?,
            memory_events: events.map(|text| parse_memory_events(&text)).into(),
            ..Metrics::default()
        })
    }
}

fn pids(dir: &Path) -> Result<Option<PidsStat>, CgroupError> {
    let Some(current) = read::number_in(dir, "pids.current", MAX)? else {
        return Ok(None);
    };
    Ok(Some(PidsStat {
        current,
        limit: read::number_in(dir, "pids.max", MAX)?.unwrap_or(0),
        ..PidsStat::default()
    }))
}

/// `cpu.stat` has the usage even where the controller is not enabled, and the throttling only where it is.
fn cpu(dir: &Path) -> Result<Option<CPUStat>, CgroupError> {
    let Some(text) = read::text(dir, "cpu.stat")? else {
        return Ok(None);
    };
    let mut cpu = parse_cpu(&text);
    cpu.psi = pressure(dir, "cpu.pressure")?.into();
    Ok(Some(cpu))
}

fn parse_cpu(text: &str) -> CPUStat {
    let mut cpu = CPUStat::new();
    for (key, value) in read::keyed(text) {
        match key {
            "usage_usec" => cpu.usage_usec = value,
            "user_usec" => cpu.user_usec = value,
            "system_usec" => cpu.system_usec = value,
            "nr_periods" => cpu.nr_periods = value,
            "nr_throttled" => cpu.nr_throttled = value,
            "throttled_usec" => cpu.throttled_usec = value,
            "nr_bursts" => cpu.nr_bursts = value,
            "burst_usec" => cpu.burst_usec = value,
            _ => {}
        }
    }
    cpu
}

/// `None` where the memory controller is not enabled.
fn memory(dir: &Path) -> Result<Option<MemoryStat>, CgroupError> {
    let Some(text) = read::text(dir, "memory.stat")? else {
        return Ok(None);
    };
    let number = |name: &str| Ok(read::number_in(dir, name, MAX)?.unwrap_or(0));
    let mut memory = parse_memory(&text);
    memory.usage = number("memory.current")?;
    memory.usage_limit = number("memory.max")?;
    memory.max_usage = number("memory.peak")?;
    memory.swap_usage = number("memory.swap.current")?;
    memory.swap_limit = number("memory.swap.max")?;
    memory.swap_max_usage = number("memory.swap.peak")?;
    memory.psi = pressure(dir, "memory.pressure")?.into();
    Ok(Some(memory))
}

fn parse_memory(text: &str) -> MemoryStat {
    let mut memory = MemoryStat::new();
    for (key, value) in read::keyed(text) {
        match key {
            "anon" => memory.anon = value,
            "file" => memory.file = value,
            "kernel_stack" => memory.kernel_stack = value,
            "slab" => memory.slab = value,
            "sock" => memory.sock = value,
            "shmem" => memory.shmem = value,
            "file_mapped" => memory.file_mapped = value,
            "file_dirty" => memory.file_dirty = value,
            "file_writeback" => memory.file_writeback = value,
            "anon_thp" => memory.anon_thp = value,
            "inactive_anon" => memory.inactive_anon = value,
            "active_anon" => memory.active_anon = value,
            "inactive_file" => memory.inactive_file = value,
            "active_file" => memory.active_file = value,
            "unevictable" => memory.unevictable = value,
            "slab_reclaimable" => memory.slab_reclaimable = value,
            "slab_unreclaimable" => memory.slab_unreclaimable = value,
            "pgfault" => memory.pgfault = value,
            "pgmajfault" => memory.pgmajfault = value,
            "workingset_refault" => memory.workingset_refault = value,
            "workingset_activate" => memory.workingset_activate = value,
            "workingset_nodereclaim" => memory.workingset_nodereclaim = value,
            "pgrefill" => memory.pgrefill = value,
            "pgscan" => memory.pgscan = value,
            "pgsteal" => memory.pgsteal = value,
            "pgactivate" => memory.pgactivate = value,
            "pgdeactivate" => memory.pgdeactivate = value,
            "pglazyfree" => memory.pglazyfree = value,
            "pglazyfreed" => memory.pglazyfreed = value,
            "thp_fault_alloc" => memory.thp_fault_alloc = value,
            "thp_collapse_alloc" => memory.thp_collapse_alloc = value,
            _ => {}
        }
    }
    memory
}

fn parse_memory_events(text: &str) -> MemoryEvents {
    let mut events = MemoryEvents::new();
    for (key, value) in read::keyed(text) {
        match key {
            "low" => events.low = value,
            "high" => events.high = value,
            "max" => events.max = value,
            "oom" => events.oom = value,
            "oom_kill" => events.oom_kill = value,
            "oom_group_kill" => events.oom_group_kill = value,
            _ => {}
        }
    }
    events
}

fn rdma(dir: &Path) -> Result<Option<RdmaStat>, CgroupError> {
    let current = read::text(dir, "rdma.current")?;
    let limit = read::text(dir, "rdma.max")?;
    if current.is_none() && limit.is_none() {
        return Ok(None);
    }
    let entries = |text: Option<String>| {
        let text = text.unwrap_or_default();
        let entries = read::rdma(&text).map(|entry| RdmaEntry {
            device: entry.device.to_owned(),
            hca_handles: entry.hca_handles,
            hca_objects: entry.hca_objects,
            ..RdmaEntry::default()
        });
        entries.collect()
    };
    Ok(Some(RdmaStat {
        current: entries(current),
        limit: entries(limit),
        ..RdmaStat::default()
    }))
}

fn io(dir: &Path) -> Result<Option<IOStat>, CgroupError> {
    let usage = read::text(dir, "io.stat")?;
    let psi = pressure(dir, "io.pressure")?;
    if usage.is_none() && psi.is_none() {
        return Ok(None);
    }
    Ok(Some(IOStat {
        usage: parse_io(&usage.unwrap_or_default()),
        psi: psi.into(),
        ..IOStat::default()
    }))
}

/// The lines `MAJOR:MINOR rbytes=N wbytes=N rios=N wios=N dbytes=N dios=N`; a device without numbers is left out.
fn parse_io(text: &str) -> Vec<IOEntry> {
    let entries = text.lines().filter_map(|line| {
        let (device, numbers) = line.split_once(' ')?;
        let (major, minor) = device.split_once(':')?;
        let mut entry = IOEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            ..IOEntry::default()
        };
        for word in numbers.split_ascii_whitespace() {
            let Some((key, value)) = word.split_once('=') else {
                continue;
            };
            let Ok(value) = value.parse() else { continue };
            match key {
                "rbytes" => entry.rbytes = value,
                "wbytes" => entry.wbytes = value,
                "rios" => entry.rios = value,
                "wios" => entry.wios = value,
                _ => {}
            }
        }
        Some(entry)
    });
    entries.collect()
}

fn hugetlb(dir: &Path) -> Result<Vec<HugeTlbStat>, CgroupError> {
    let sizes = read::huge_page_sizes(dir, "current");
    let stats = sizes.into_iter().map(|size| {
        let number = |what: &str| {
            let name = format!("hugetlb.{size}.{what}");
            Ok(read::number_in(dir, &name, MAX)?.unwrap_or(0))
        };
        // Unlike its name says, the file is keyed: `max N`, the failures at the limit.
        let events = read::text(dir, &format!("hugetlb.{size}.events"))?.unwrap_or_default();
        let failures =
            read::keyed(&events).find_map(|(key, value)| (key == "max").then_some(value));
        Ok(HugeTlbStat {
            current: number("current")?,
            max: number("max")?,
            failcnt: failures.unwrap_or(0),
            pagesize: size.clone(),
            ..HugeTlbStat::default()
        })
    });
    stats.collect()
}

fn pressure(dir: &Path, name: &str) -> Result<Option<PSIStats>, CgroupError> {
    let text = read::text(dir, name)?;
    Ok(text.map(|text| parse_pressure(&text)))
}

/// The lines `some avg10=0.00 avg60=0.00 avg300=0.00 total=0` and `full ...` (`accounting/psi.rst`).
fn parse_pressure(text: &str) -> PSIStats {
    let mut stats = PSIStats::new();
    for line in text.lines() {
        let Some((kind, numbers)) = line.split_once(' ') else {
            continue;
        };
        let mut data = PSIData::new();
        for (key, value) in numbers
            .split_ascii_whitespace()
            .filter_map(|word| word.split_once('='))
        {
            let average = || value.parse().unwrap_or(0.0);
            match key {
                "avg10" => data.avg10 = average(),
                "avg60" => data.avg60 = average(),
                "avg300" => data.avg300 = average(),
                "total" => data.total = value.parse().unwrap_or(0),
                _ => {}
            }
        }
        match kind {
            "some" => stats.some = Some(data).into(),
            "full" => stats.full = Some(data).into(),
            _ => {}
        }
    }
    stats
}
