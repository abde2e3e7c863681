//! Version 1: one directory for each controller (`admin-guide/cgroup-v1`).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use containerd_shim_protos::cgroups::metrics::{
    BlkIOEntry, BlkIOStat, CPUStat, CPUUsage, HugetlbStat, MemoryEntry, MemoryOomControl,
    MemoryStat, Metrics, PidsStat, RdmaEntry, RdmaStat, Throttle,
};
use containerd_shim_protos::protobuf::MessageField;

use super::{CgroupError, read};

/// `cpuacct.stat` counts in ticks of a hundredth of a second, on every machine (USER_HZ).
const NANOSECONDS_PER_TICK: u64 = 10_000_000;

/// What containerd answers for "max": version 1 statistics have no word for "no limit".
const MAX: u64 = 0;

/// A container's directories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct V1 {
    controllers: Vec<(Box<str>, PathBuf)>,
    proc: PathBuf,
}

impl V1 {
    pub(super) fn new(controllers: Vec<(Box<str>, PathBuf)>, proc: PathBuf) -> Self {
        Self { controllers, proc }
    }

    /// The directory of `controller`.
    #[must_use]
    pub fn dir(&self, controller: &str) -> Option<&Path> {
        let mut all = self.controllers.iter();
        all.find_map(|(name, dir)| (&**name == controller).then_some(dir.as_path()))
    }

    /// All of them.
    pub fn dirs(&self) -> impl Iterator<Item = &Path> {
        self.controllers.iter().map(|(_, dir)| dir.as_path())
    }

    pub(super) fn metrics(&self) -> Result<Metrics, CgroupError> {
        let mut metrics = Metrics::new();
        if let Some(dir) = self.dir("hugetlb") {
            metrics.hugetlb = hugetlb(dir)?;
        }
        if let Some(dir) = self.dir("pids") {
            metrics.pids = pids(dir)?.into();
        }
        metrics.cpu = cpu(self.dir("cpu"), self.dir("cpuacct"))?.into();
        if let Some(dir) = self.dir("memory") {
            metrics.memory = memory(dir)?.into();
            let oom_control = read::text(dir, "memory.oom_control")?;
            metrics.memory_oom_control = oom_control.map(|text| parse_oom_control(&text)).into();
        }
        if let Some(dir) = self.dir("blkio").filter(|dir| dir.is_dir()) {
            metrics.blkio = MessageField::some(blkio(dir, &self.proc)?);
        }
        if let Some(dir) = self.dir("rdma") {
            metrics.rdma = rdma(dir)?.into();
        }
        Ok(metrics)
    }
}

fn hugetlb(dir: &Path) -> Result<Vec<HugetlbStat>, CgroupError> {
    let sizes = read::huge_page_sizes(dir, "usage_in_bytes");
    // `2MB.max_usage_in_bytes` does not end in `.usage_in_bytes`, so each size is here once.
    let stats = sizes.into_iter().map(|size| {
        let number = |what: &str| {
            let name = format!("hugetlb.{size}.{what}");
            Ok(read::number_in(dir, &name, MAX)?.unwrap_or(0))
        };
        Ok(HugetlbStat {
            usage: number("usage_in_bytes")?,
            max: number("max_usage_in_bytes")?,
            failcnt: number("failcnt")?,
            pagesize: size.clone(),
            ..HugetlbStat::default()
        })
    });
    stats.collect()
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

fn cpu(cpu: Option<&Path>, cpuacct: Option<&Path>) -> Result<Option<CPUStat>, CgroupError> {
    let throttling = match cpu {
        Some(dir) => read::text(dir, "cpu.stat")?,
        None => None,
    };
    let usage = match cpuacct {
        Some(dir) => usage(dir)?,
        None => None,
    };
    if throttling.is_none() && usage.is_none() {
        return Ok(None);
    }
    // Both parts whenever there is one: readers of containerd's message look into them unasked.
    let throttling = throttling.map_or_else(Throttle::new, |text| parse_throttling(&text));
    Ok(Some(CPUStat {
        usage: MessageField::some(usage.unwrap_or_default()),
        throttling: MessageField::some(throttling),
        ..CPUStat::default()
    }))
}

fn parse_throttling(text: &str) -> Throttle {
    let mut throttling = Throttle::new();
    for (key, value) in read::keyed(text) {
        match key {
            "nr_periods" => throttling.periods = value,
            "nr_throttled" => throttling.throttled_periods = value,
            "throttled_time" => throttling.throttled_time = value,
            _ => {}
        }
    }
    throttling
}

fn usage(dir: &Path) -> Result<Option<CPUUsage>, CgroupError> {
    let Some(total) = read::number_in(dir, "cpuacct.usage", MAX)? else {
        return Ok(None);
    };
    let mut usage = CPUUsage {
        total,
        ..CPUUsage::default()
    };
    let ticks = read::text(dir, "cpuacct.stat")?.unwrap_or_default();
    for (key, value) in read::keyed(&ticks) {
        match key {
            "user" => usage.user = value.saturating_mul(NANOSECONDS_PER_TICK),
            "system" => usage.kernel = value.saturating_mul(NANOSECONDS_PER_TICK),
            _ => {}
        }
    }
    let per_cpu = read::text(dir, "cpuacct.usage_percpu")?.unwrap_or_default();
    let per_cpu = per_cpu.split_ascii_whitespace();
    usage.per_cpu = per_cpu.filter_map(|word| word.parse().ok()).collect();
    Ok(Some(usage))
}

fn memory(dir: &Path) -> Result<Option<MemoryStat>, CgroupError> {
    let Some(text) = read::text(dir, "memory.stat")? else {
        return Ok(None);
    };
    let mut memory = parse_memory(&text);
    memory.usage = MessageField::some(memory_entry(dir, "memory")?);
    memory.swap = MessageField::some(memory_entry(dir, "memory.memsw")?);
    memory.kernel = MessageField::some(memory_entry(dir, "memory.kmem")?);
    memory.kernel_tcp = MessageField::some(memory_entry(dir, "memory.kmem.tcp")?);
    Ok(Some(memory))
}

/// All zeroes where the kernel does not account this kind of memory (no swap accounting, say).
fn memory_entry(dir: &Path, prefix: &str) -> Result<MemoryEntry, CgroupError> {
    let number = |what: &str| {
        let name = format!("{prefix}.{what}");
        Ok(read::number_in(dir, &name, MAX)?.unwrap_or(0))
    };
    Ok(MemoryEntry {
        limit: number("limit_in_bytes")?,
        usage: number("usage_in_bytes")?,
        max: number("max_usage_in_bytes")?,
        failcnt: number("failcnt")?,
        ..MemoryEntry::default()
    })
}

fn parse_memory(text: &str) -> MemoryStat {
    let mut memory = MemoryStat::new();
    for (key, value) in read::keyed(text) {
        match key {
            "cache" => memory.cache = value,
            "rss" => memory.rss = value,
            "rss_huge" => memory.rss_huge = value,
            "mapped_file" => memory.mapped_file = value,
            "dirty" => memory.dirty = value,
            "writeback" => memory.writeback = value,
            "pgpgin" => memory.pg_pg_in = value,
            "pgpgout" => memory.pg_pg_out = value,
            "pgfault" => memory.pg_fault = value,
            "pgmajfault" => memory.pg_maj_fault = value,
            "inactive_anon" => memory.inactive_anon = value,
            "active_anon" => memory.active_anon = value,
            "inactive_file" => memory.inactive_file = value,
            "active_file" => memory.active_file = value,
            "unevictable" => memory.unevictable = value,
            "hierarchical_memory_limit" => memory.hierarchical_memory_limit = value,
            "hierarchical_memsw_limit" => memory.hierarchical_swap_limit = value,
            "total_cache" => memory.total_cache = value,
            "total_rss" => memory.total_rss = value,
            "total_rss_huge" => memory.total_rss_huge = value,
            "total_mapped_file" => memory.total_mapped_file = value,
            "total_dirty" => memory.total_dirty = value,
            "total_writeback" => memory.total_writeback = value,
            "total_pgpgin" => memory.total_pg_pg_in = value,
            "total_pgpgout" => memory.total_pg_pg_out = value,
            "total_pgfault" => memory.total_pg_fault = value,
            "total_pgmajfault" => memory.total_pg_maj_fault = value,
            "total_inactive_anon" => memory.total_inactive_anon = value,
            "total_active_anon" => memory.total_active_anon = value,
            "total_inactive_file" => memory.total_inactive_file = value,
            "total_active_file" => memory.total_active_file = value,
            "total_unevictable" => memory.total_unevictable = value,
            _ => {}
        }
    }
    memory
}

fn parse_oom_control(text: &str) -> MemoryOomControl {
    let mut control = MemoryOomControl::new();
    for (key, value) in read::keyed(text) {
        match key {
            "oom_kill_disable" => control.oom_kill_disable = value,
            "under_oom" => control.under_oom = value,
            "oom_kill" => control.oom_kill = value,
            _ => {}
        }
    }
    control
}

fn rdma(dir: &Path) -> Result<Option<RdmaStat>, CgroupError> {
    let (Some(current), Some(limit)) = (
        read::text(dir, "rdma.current")?,
        read::text(dir, "rdma.max")?,
    ) else {
        return Ok(None);
    };
    let entries = |text: &str| {
        let entries = read::rdma(text).map(|entry| RdmaEntry {
            device: entry.device.to_owned(),
            hca_handles: entry.hca_handles,
            hca_objects: entry.hca_objects,
            ..RdmaEntry::default()
        });
        entries.collect()
    };
    Ok(Some(RdmaStat {
        current: entries(&current),
        limit: entries(&limit),
        ..RdmaStat::default()
    }))
}

/// The statistics of the CFQ scheduler, where the kernel has it and a device uses it; else those of the throttling
/// layer, which sees every request (`admin-guide/cgroup-v1/blkio-controller.rst`).
fn blkio(dir: &Path, proc: &Path) -> Result<BlkIOStat, CgroupError> {
    let devices = read::text(proc, "partitions")?.unwrap_or_default();
    let devices = parse_partitions(&devices);
    let entries = |name: &str| {
        let text = read::text(dir, &format!("blkio.{name}"))?;
        Ok(text.map(|text| parse_blkio(&text, &devices)))
    };
    let cfq = |name: &str| Ok(entries(name)?.unwrap_or_default());
    let mut stat = BlkIOStat {
        io_service_bytes_recursive: cfq("io_service_bytes_recursive")?,
        io_serviced_recursive: cfq("io_serviced_recursive")?,
        io_queued_recursive: cfq("io_queued_recursive")?,
        io_service_time_recursive: cfq("io_service_time_recursive")?,
        io_wait_time_recursive: cfq("io_wait_time_recursive")?,
        io_merged_recursive: cfq("io_merged_recursive")?,
        io_time_recursive: cfq("time_recursive")?,
        sectors_recursive: cfq("sectors_recursive")?,
        ..BlkIOStat::default()
    };
    if stat == BlkIOStat::new() {
        // The recursive files are newer than the plain ones, and equal to them in a group without groups below.
        let throttled = |name: &str| match entries(&format!("throttle.{name}_recursive"))? {
            Some(found) => Ok(found),
            None => cfq(&format!("throttle.{name}")),
        };
        stat.io_serviced_recursive = throttled("io_serviced")?;
        stat.io_service_bytes_recursive = throttled("io_service_bytes")?;
    }
    Ok(stat)
}

/// Devices by number.
type Devices = HashMap<(u64, u64), String>;

/// `/proc/partitions`: `MAJOR MINOR #BLOCKS NAME` under a heading. The first name of a device counts.
fn parse_partitions(text: &str) -> Devices {
    let mut devices = Devices::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        if let [major, minor, _, name] = words[..]
            && let (Ok(major), Ok(minor)) = (major.parse(), minor.parse())
        {
            let device = devices.entry((major, minor));
            device.or_insert_with(|| format!("/dev/{name}"));
        }
    }
    devices
}

/// The lines `MAJOR:MINOR [OP] VALUE`; the total at the end is left out.
fn parse_blkio(text: &str, devices: &Devices) -> Vec<BlkIOEntry> {
    let entries = text.lines().filter_map(|line| {
        let (device, rest) = line.split_once(' ')?;
        let (major, minor) = device.split_once(':')?;
        let (op, value) = rest.split_once(' ').unwrap_or(("", rest));
        let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
        Some(BlkIOEntry {
            op: op.to_owned(),
            device: devices.get(&(major, minor)).cloned().unwrap_or_default(),
            major,
            minor,
            value: value.trim().parse().ok()?,
            ..BlkIOEntry::default()
        })
    });
    entries.collect()
}
