//! ContainerStats and its like: from the cgroup files by the process's identity, never from a shim; the writable
//! layer by counting its files. All of it blocks and so runs beside the runtime's thread.

mod layers;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::layers::Layer;
pub use self::layers::WritableLayers;
use super::{Service, convert};
use crate::api::cri;
use crate::cgroup::{Cgroup, Metrics, Roots};
use crate::supervisor::error::Error;
use crate::supervisor::store::{Container, Pod, blocking};
use crate::sys::{proc, worker};
use crate::types::{ProcessIdentity, Timestamp};

/// What the kernel shows for no limit is the largest page-aligned number, or the largest number; nothing is near.
const UNLIMITED: u64 = 1 << 60;

/// What a container's cgroup says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Usage {
    cpu_nanos: u64,
    memory: u64,
    working_set: u64,
    memory_limit: Option<u64>,
    rss: u64,
    page_faults: u64,
    major_page_faults: u64,
    swap: Option<u64>,
    swap_limit: Option<u64>,
    processes: u64,
}

/// What is said of one container.
struct Sample {
    at: Timestamp,
    usage: Option<Usage>,
    layer: Option<Layer>,
}

/// What the cgroup of `process` says; `None` where it has ended, or is another's by now.
fn usage(process: ProcessIdentity) -> Option<Usage> {
    let is_it = || proc::running(process.pid).is_ok_and(|found| found == process);
    if !is_it() {
        return None;
    }
    let cgroup = Cgroup::of_process(&Roots::default(), process.pid).ok()?;
    // The pid may have become another's between the two looks at it, and the cgroup then is.
    if !is_it() {
        return None;
    }
    match cgroup.metrics().ok()? {
        Metrics::V1(metrics) => {
            let entry = &metrics.memory.usage;
            let both = &metrics.memory.swap;
            let limited = |limit: u64| (limit < UNLIMITED).then_some(limit);
            Some(Usage {
                cpu_nanos: metrics.cpu.usage.total,
                memory: entry.usage,
                working_set: entry
                    .usage
                    .saturating_sub(metrics.memory.total_inactive_file),
                memory_limit: limited(entry.limit),
                rss: metrics.memory.total_rss,
                page_faults: metrics.memory.total_pg_fault,
                major_page_faults: metrics.memory.total_pg_maj_fault,
                // Version 1 counts memory and swap together.
                swap: both
                    .as_ref()
                    .map(|both| both.usage.saturating_sub(entry.usage)),
                swap_limit: both
                    .as_ref()
                    .and_then(|both| Some(limited(both.limit)?.saturating_sub(entry.limit))),
                processes: metrics.pids.current,
            })
        }
        Metrics::V2(metrics) => {
            let memory = &metrics.memory;
            let limited = |limit: u64| (limit < UNLIMITED).then_some(limit);
            Some(Usage {
                cpu_nanos: metrics.cpu.usage_usec.saturating_mul(1000),
                memory: memory.usage,
                working_set: memory.usage.saturating_sub(memory.inactive_file),
                memory_limit: limited(memory.usage_limit),
                rss: memory.anon,
                page_faults: memory.pgfault,
                major_page_faults: memory.pgmajfault,
                swap: Some(memory.swap_usage),
                swap_limit: limited(memory.swap_limit),
                processes: metrics.pids.current,
            })
        }
    }
}

const fn number(value: u64) -> cri::UInt64Value {
    cri::UInt64Value { value }
}

impl Usage {
    fn cpu(&self, at: Timestamp) -> cri::CpuUsage {
        cri::CpuUsage {
            timestamp: convert::nanos(at),
            usage_core_nano_seconds: Some(number(self.cpu_nanos)),
            // Over which time? The consumer has two samples and knows.
            usage_nano_cores: None,
        }
    }

    fn memory(&self, at: Timestamp) -> cri::MemoryUsage {
        cri::MemoryUsage {
            timestamp: convert::nanos(at),
            working_set_bytes: Some(number(self.working_set)),
            available_bytes: self
                .memory_limit
                .map(|limit| number(limit.saturating_sub(self.working_set))),
            usage_bytes: Some(number(self.memory)),
            rss_bytes: Some(number(self.rss)),
            page_faults: Some(number(self.page_faults)),
            major_page_faults: Some(number(self.major_page_faults)),
        }
    }

    fn swap(&self, at: Timestamp) -> Option<cri::SwapUsage> {
        let used = self.swap?;
        let limit = self.swap_limit;
        Some(cri::SwapUsage {
            timestamp: convert::nanos(at),
            swap_available_bytes: limit.map(|limit| number(limit.saturating_sub(used))),
            swap_usage_bytes: Some(number(used)),
        })
    }

    const fn plus(self, other: Self) -> Self {
        Self {
            cpu_nanos: self.cpu_nanos.saturating_add(other.cpu_nanos),
            memory: self.memory.saturating_add(other.memory),
            working_set: self.working_set.saturating_add(other.working_set),
            // The sum of limits is no limit of the sum, where one has none.
            memory_limit: None,
            rss: self.rss.saturating_add(other.rss),
            page_faults: self.page_faults.saturating_add(other.page_faults),
            major_page_faults: self
                .major_page_faults
                .saturating_add(other.major_page_faults),
            swap: None,
            swap_limit: None,
            processes: self.processes.saturating_add(other.processes),
        }
    }
}

impl Sample {
    fn shown(&self, container: &Container, root: &Path) -> cri::ContainerStats {
        let line = convert::container(container);
        cri::ContainerStats {
            attributes: Some(cri::ContainerAttributes {
                id: line.id,
                metadata: line.metadata,
                labels: line.labels,
                annotations: line.annotations,
            }),
            cpu: self.usage.map(|usage| usage.cpu(self.at)),
            memory: self.usage.map(|usage| usage.memory(self.at)),
            swap: self.usage.and_then(|usage| usage.swap(self.at)),
            writable_layer: self.layer.map(|layer| cri::FilesystemUsage {
                timestamp: convert::nanos(layer.at),
                fs_id: Some(cri::FilesystemIdentifier {
                    mountpoint: root.display().to_string(),
                }),
                used_bytes: Some(number(layer.bytes)),
                inodes_used: Some(number(layer.inodes)),
            }),
        }
    }
}

impl Service {
    async fn sample(&self, containers: Vec<Arc<Container>>) -> Result<Vec<Sample>, Error> {
        let layers = Arc::clone(&self.layers);
        let store = &self.supervisor.store;
        if layers.has_many_more_than(store.container_count()) {
            let all = store.containers();
            layers.forget_all_but(&all.iter().map(|one| one.id().clone()).collect());
        }
        let work = move || {
            let samples = containers.iter().map(|container| Sample {
                at: Timestamp::now(),
                usage: container.status().process().and_then(usage),
                layer: layers.of(container.id(), container.dir()),
            });
            Ok(samples.collect())
        };
        Ok(blocking("read statistics of", PathBuf::from("/sys/fs/cgroup"), work).await?)
    }

    /// The statistics of each container, in the same order.
    pub(super) async fn stats_of(
        &self,
        containers: Vec<Arc<Container>>,
    ) -> Result<Vec<cri::ContainerStats>, Error> {
        let samples = self.sample(containers.clone()).await?;
        let root = &self.supervisor.config.root;
        let both = samples.iter().zip(&containers);
        Ok(both
            .map(|(sample, container)| sample.shown(container, root))
            .collect())
    }

    /// The statistics of a pod: the sums of its containers', and the interfaces of its network.
    pub(super) async fn pod_stats_of(&self, pod: &Arc<Pod>) -> Result<cri::PodSandboxStats, Error> {
        let containers = self.supervisor.store.containers_of(pod.id());
        let process = containers.iter().find_map(|one| one.status().process());
        let samples = self.sample(containers.clone()).await?;
        let root = &self.supervisor.config.root;
        let usages = samples.iter().filter_map(|sample| sample.usage);
        let sum = usages.fold(Usage::default(), Usage::plus);
        let at = Timestamp::now();
        let line = convert::pod(pod);
        let namespaces = pod.meta().map(|meta| convert::pod_namespaces(&meta.config));
        let is_own = namespaces.is_some_and(|options| options.network() == cri::NamespaceMode::Pod);
        let process = process.filter(|_| is_own);
        let network = worker::run(move || network(process?, at));
        Ok(cri::PodSandboxStats {
            attributes: Some(cri::PodSandboxAttributes {
                id: line.id,
                metadata: line.metadata,
                labels: line.labels,
                annotations: line.annotations,
            }),
            linux: Some(cri::LinuxPodSandboxStats {
                cpu: Some(sum.cpu(at)),
                memory: Some(sum.memory(at)),
                network: network.await.ok().flatten(),
                process: Some(cri::ProcessUsage {
                    timestamp: convert::nanos(at),
                    process_count: Some(number(sum.processes)),
                }),
                containers: samples
                    .iter()
                    .zip(&containers)
                    .map(|(sample, container)| sample.shown(container, root))
                    .collect(),
            }),
            windows: None,
        })
    }
}

/// The interfaces that `process` sees (proc_pid_net(5)), without its loopback.
fn network(process: ProcessIdentity, at: Timestamp) -> Option<cri::NetworkUsage> {
    let text = fs::read_to_string(format!("/proc/{}/net/dev", process.pid)).ok()?;
    if proc::running(process.pid).ok()? != process {
        return None;
    }
    let interfaces: Vec<_> = text.lines().filter_map(interface).collect();
    Some(cri::NetworkUsage {
        timestamp: convert::nanos(at),
        default_interface: interfaces.iter().find(|one| one.name == "eth0").cloned(),
        interfaces,
    })
}

/// A line `NAME: bytes packets errs drop fifo frame compressed multicast bytes packets errs ..`.
fn interface(line: &str) -> Option<cri::NetworkInterfaceUsage> {
    let (name, numbers) = line.split_once(':')?;
    let numbers: Vec<u64> = numbers
        .split_ascii_whitespace()
        .map_while(|word| word.parse().ok())
        .collect();
    let name = name.trim().to_owned();
    let at = |place: usize| numbers.get(place).copied().map(number);
    (name != "lo").then(|| cri::NetworkInterfaceUsage {
        name,
        rx_bytes: at(0),
        rx_errors: at(2),
        tx_bytes: at(8),
        tx_errors: at(10),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Pid;

    #[test]
    fn a_pid_that_became_anothers_has_no_usage() {
        let own = proc::identity(Pid::new(std::process::id()).unwrap()).unwrap();
        let other = ProcessIdentity {
            start_ticks: own.start_ticks + 1,
            ..own
        };
        assert_eq!(usage(other), None);
    }

    #[test]
    fn interfaces_are_read_from_their_lines_and_loopback_is_none() {
        let found = interface("  eth0: 1000 10 3 0 0 0 0 0 2000 20 4 0 0 0 0 0").unwrap();
        assert_eq!(found.name, "eth0");
        let value = |found: Option<cri::UInt64Value>| found.unwrap().value;
        assert_eq!((value(found.rx_bytes), value(found.tx_bytes)), (1000, 2000));
        assert_eq!((value(found.rx_errors), value(found.tx_errors)), (3, 4));
        assert_eq!(interface("    lo: 1 1 1 1 1 1 1 1 1 1 1 1"), None);
        assert_eq!(interface("Inter-|   Receive"), None);
    }
}
