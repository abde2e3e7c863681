//! The limits of a container, for its specification and for UpdateContainerResources.

use oci_spec::runtime::{LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxResources};

use super::{HostFacts, SpecError, Support, unified};
use crate::api::cri;

/// -1000..=1000 (proc(5), `oom_score_adj`).
const MOST_OOM_SCORE_ADJ: i64 = 1000;

/// `value`, 0 for "not specified" and at least `least`.
fn number(field: &str, value: i64, least: i64) -> Result<Option<i64>, SpecError> {
    if value == 0 {
        return Ok(None);
    }
    if value < least {
        return Err(SpecError::invalid(
            field,
            format!("{value} is less than {least}"),
        ));
    }
    Ok(Some(value))
}

fn positive(field: &str, value: i64) -> Result<Option<u64>, SpecError> {
    let number = number(field, value, 1)?;
    Ok(number.and_then(|number| u64::try_from(number).ok()))
}

/// A list of processors or memory nodes, `0-3,7` (cpuset(7), "List format").
fn set(field: &str, list: &str) -> Result<Option<String>, SpecError> {
    let number = |text: &str| text.parse::<u32>().ok();
    let sound = list.split(',').all(|range| match range.split_once('-') {
        Some((first, last)) => {
            matches!((number(first), number(last)), (Some(a), Some(b)) if a <= b)
        }
        None => number(range).is_some(),
    });
    match list {
        "" => Ok(None),
        _ if sound => Ok(Some(list.to_owned())),
        _ => Err(SpecError::invalid(
            field,
            format!("{list:?} is no list of numbers and ranges"),
        )),
    }
}

/// `2MB`, `1GB`: as the control group's files are named.
fn page_size(field: &str, size: &str) -> Result<String, SpecError> {
    let digits = ["KB", "MB", "GB"]
        .iter()
        .find_map(|unit| size.strip_suffix(unit));
    match digits.map(str::parse::<u32>) {
        Some(Ok(1..)) => Ok(size.to_owned()),
        _ => Err(SpecError::invalid(
            field,
            format!("{size:?} is no page size"),
        )),
    }
}

fn hugepages(
    field: &str,
    asked: &[cri::HugepageLimit],
    host: &HostFacts,
) -> Result<Option<Vec<LinuxHugepageLimit>>, SpecError> {
    let mut limits = Vec::new();
    for (
        index,
        cri::HugepageLimit {
            page_size: size,
            limit,
        },
    ) in asked.iter().enumerate()
    {
        let field = format!("{field}[{index}]");
        let size = page_size(&format!("{field}.page_size"), size)?;
        let bytes = i64::try_from(*limit)
            .map_err(|_| SpecError::invalid(format!("{field}.limit"), "it is too great"))?;
        match (host.hugetlb, bytes) {
            // kubelet sends a limit of 0 for each size that the processor knows, whatever can be limited.
            (Support::Absent, 0) => continue,
            (Support::Absent, _) => {
                return Err(SpecError::unsupported(
                    field,
                    "the machine has no hugetlb control group",
                ));
            }
            (Support::Present, _) => {}
        }
        let mut limit = LinuxHugepageLimit::default();
        limit.set_page_size(size).set_limit(bytes);
        limits.push(limit);
    }
    Ok((!limits.is_empty()).then_some(limits))
}

/// Memory and swap: without a limit of its own, swap is what memory is, which means that there is none (containerd's
/// `WithResources`), where the machine can tell.
fn memory(
    prefix: &str,
    limit: i64,
    swap: i64,
    host: &HostFacts,
) -> Result<Option<LinuxMemory>, SpecError> {
    let swap_field = format!("{prefix}.memory_swap_limit_in_bytes");
    let limit = number(&format!("{prefix}.memory_limit_in_bytes"), limit, -1)?;
    let swap = number(&swap_field, swap, -1)?;
    let swap = match (swap, limit, host.swap_accounting) {
        (Some(_), _, Support::Absent) => {
            return Err(SpecError::unsupported(
                swap_field,
                "the machine does not account swap",
            ));
        }
        (Some(swap), Some(limit), Support::Present) if swap != -1 && swap < limit => {
            return Err(SpecError::invalid(
                swap_field,
                "it counts memory too and is less than memory_limit_in_bytes",
            ));
        }
        (Some(swap), _, Support::Present) => Some(swap),
        (None, limit, Support::Present) => limit,
        (None, _, Support::Absent) => None,
    };
    if limit.is_none() && swap.is_none() {
        return Ok(None);
    }
    let mut memory = LinuxMemory::default();
    memory.set_limit(limit).set_swap(swap);
    Ok(Some(memory))
}

/// The limits as OCI has them: what is 0 or empty is left out. `field` is where they are in the request, and what
/// errors begin with. Its JSON is what the shim's Update takes.
///
/// `oom_score_adj` is of the process, not of these: a function of its own checks it.
///
/// # Errors
/// The field that makes no sense, or that the machine cannot limit.
pub fn resources(
    field: &str,
    asked: &cri::LinuxContainerResources,
    host: &HostFacts,
) -> Result<LinuxResources, SpecError> {
    let cri::LinuxContainerResources {
        cpu_period,
        cpu_quota,
        cpu_shares,
        memory_limit_in_bytes,
        oom_score_adj: score,
        cpuset_cpus,
        cpuset_mems,
        hugepage_limits,
        unified,
        memory_swap_limit_in_bytes,
    } = asked;
    let name = |name: &str| format!("{field}.{name}");
    oom_score_adj(field, *score)?;
    let mut cpu = LinuxCpu::default();
    cpu.set_period(positive(&name("cpu_period"), *cpu_period)?)
        .set_quota(number(&name("cpu_quota"), *cpu_quota, -1)?)
        .set_shares(positive(&name("cpu_shares"), *cpu_shares)?)
        .set_cpus(set(&name("cpuset_cpus"), cpuset_cpus)?)
        .set_mems(set(&name("cpuset_mems"), cpuset_mems)?);
    let mut resources = LinuxResources::default();
    resources
        .set_memory(memory(
            field,
            *memory_limit_in_bytes,
            *memory_swap_limit_in_bytes,
            host,
        )?)
        .set_hugepage_limits(hugepages(&name("hugepage_limits"), hugepage_limits, host)?);
    if cpu != LinuxCpu::default() {
        resources.set_cpu(Some(cpu));
    }
    unified::set(&mut resources, &name("unified"), unified, host.cgroups)?;
    Ok(resources)
}

/// How willingly the kernel kills the container's processes when memory runs out.
///
/// # Errors
/// It is out of range.
pub(super) fn oom_score_adj(field: &str, score: i64) -> Result<i32, SpecError> {
    let range = -MOST_OOM_SCORE_ADJ..=MOST_OOM_SCORE_ADJ;
    let in_range = i32::try_from(score).ok().filter(|_| range.contains(&score));
    in_range.ok_or_else(|| {
        SpecError::invalid(
            format!("{field}.oom_score_adj"),
            format!("{score} is not within -1000 and 1000"),
        )
    })
}

/// What a container is limited to after UpdateContainerResources: what the request leaves at 0 or empty stays.
#[must_use]
pub fn updated(
    before: &cri::LinuxContainerResources,
    asked: &cri::LinuxContainerResources,
) -> cri::LinuxContainerResources {
    fn number(before: i64, asked: i64) -> i64 {
        if asked == 0 { before } else { asked }
    }
    fn text(before: &str, asked: &str) -> String {
        if asked.is_empty() { before } else { asked }.to_owned()
    }
    let mut unified = before.unified.clone();
    unified.extend(asked.unified.clone());
    let mut hugepage_limits = before.hugepage_limits.clone();
    for limit in &asked.hugepage_limits {
        hugepage_limits.retain(|other| other.page_size != limit.page_size);
        hugepage_limits.push(limit.clone());
    }
    cri::LinuxContainerResources {
        cpu_period: number(before.cpu_period, asked.cpu_period),
        cpu_quota: number(before.cpu_quota, asked.cpu_quota),
        cpu_shares: number(before.cpu_shares, asked.cpu_shares),
        memory_limit_in_bytes: number(before.memory_limit_in_bytes, asked.memory_limit_in_bytes),
        oom_score_adj: number(before.oom_score_adj, asked.oom_score_adj),
        cpuset_cpus: text(&before.cpuset_cpus, &asked.cpuset_cpus),
        cpuset_mems: text(&before.cpuset_mems, &asked.cpuset_mems),
        hugepage_limits,
        unified,
        memory_swap_limit_in_bytes: number(
            before.memory_swap_limit_in_bytes,
            asked.memory_swap_limit_in_bytes,
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::supervisor::spec::CgroupVersion;

    type Asked = cri::LinuxContainerResources;

    fn json(asked: &Asked, host: &HostFacts) -> String {
        let resources = resources("linux", asked, host).unwrap();
        let json = serde_json::to_string(&resources).unwrap();
        crate::oci::resources::check(json.as_bytes()).unwrap();
        json
    }

    #[test]
    fn what_is_zero_is_left_out_and_the_rest_is_what_the_shim_takes() {
        let host = HostFacts::example();
        assert_eq!(json(&Asked::default(), &host), "{}");
        let asked = Asked {
            cpu_period: 100_000,
            cpu_quota: -1,
            cpu_shares: 2,
            memory_limit_in_bytes: 1 << 20,
            cpuset_cpus: "0-1,3".into(),
            cpuset_mems: "0".into(),
            hugepage_limits: vec![cri::HugepageLimit {
                page_size: "2MB".into(),
                limit: 0,
            }],
            ..Asked::default()
        };
        assert_eq!(
            json(&asked, &host),
            r#"{"memory":{"limit":1048576,"swap":1048576},"cpu":{"shares":2,"quota":-1,"period":100000,"cpus":"0-1,3","mems":"0"},"hugepageLimits":[{"pageSize":"2MB","limit":0}]}"#
        );
    }

    #[test]
    fn what_the_machine_cannot_limit_is_refused_or_left_out_where_it_means_nothing() {
        let mut host = HostFacts::example();
        host.swap_accounting = Support::Absent;
        host.hugetlb = Support::Absent;
        let page = |limit| Asked {
            memory_limit_in_bytes: 4096,
            hugepage_limits: vec![cri::HugepageLimit {
                page_size: "1GB".into(),
                limit,
            }],
            ..Asked::default()
        };
        assert_eq!(json(&page(0), &host), r#"{"memory":{"limit":4096}}"#);
        let unified = Asked {
            unified: HashMap::from([("memory.high".into(), "9".into())]),
            ..Asked::default()
        };
        let swap = Asked {
            memory_swap_limit_in_bytes: 4096,
            ..Asked::default()
        };
        for (asked, field) in [
            (page(1), "linux.hugepage_limits[0]"),
            (unified.clone(), "linux.unified"),
            (swap, "linux.memory_swap_limit_in_bytes"),
        ] {
            let error = resources("linux", &asked, &host).unwrap_err();
            assert!(matches!(error, SpecError::Unsupported { .. }));
            assert_eq!(error.field(), Some(field));
        }
        let pids = |most: &str| Asked {
            unified: HashMap::from([("pids.max".into(), most.into())]),
            ..Asked::default()
        };
        assert_eq!(json(&pids("9"), &host), r#"{"pids":{"limit":9}}"#);
        for most in ["0x9", "-2"] {
            let error = resources("linux", &pids(most), &host).unwrap_err();
            assert_eq!(error.field(), Some("linux.unified"), "{most}");
        }
        host.cgroups = CgroupVersion::V2;
        assert_eq!(json(&unified, &host), r#"{"unified":{"memory.high":"9"}}"#);
        assert_eq!(json(&pids("9"), &host), r#"{"unified":{"pids.max":"9"}}"#);
    }

    #[test]
    fn what_makes_no_sense_names_its_field() {
        let base = Asked::default();
        let pages = |page_size: &str, limit| Asked {
            hugepage_limits: vec![cri::HugepageLimit {
                page_size: page_size.into(),
                limit,
            }],
            ..Asked::default()
        };
        for (asked, field) in [
            (
                Asked {
                    cpu_period: -1,
                    ..base.clone()
                },
                "cpu_period",
            ),
            (
                Asked {
                    cpu_quota: -2,
                    ..base.clone()
                },
                "cpu_quota",
            ),
            (
                Asked {
                    cpu_shares: -1,
                    ..base.clone()
                },
                "cpu_shares",
            ),
            (
                Asked {
                    memory_limit_in_bytes: -2,
                    ..base.clone()
                },
                "memory_limit_in_bytes",
            ),
            (
                Asked {
                    memory_limit_in_bytes: 9,
                    memory_swap_limit_in_bytes: 8,
                    ..base.clone()
                },
                "memory_swap_limit_in_bytes",
            ),
            (
                Asked {
                    oom_score_adj: 1001,
                    ..base.clone()
                },
                "oom_score_adj",
            ),
            (
                Asked {
                    cpuset_cpus: "0-".into(),
                    ..base.clone()
                },
                "cpuset_cpus",
            ),
            (
                Asked {
                    cpuset_mems: "3-1".into(),
                    ..base.clone()
                },
                "cpuset_mems",
            ),
            (pages("2", 0), "hugepage_limits[0].page_size"),
            (pages("../2MB", 0), "hugepage_limits[0].page_size"),
            (pages("2MB", u64::MAX), "hugepage_limits[0].limit"),
        ] {
            let error = resources("linux", &asked, &HostFacts::example()).unwrap_err();
            assert!(matches!(error, SpecError::Invalid { .. }));
            assert_eq!(error.field(), Some(format!("linux.{field}").as_str()));
        }
    }

    #[test]
    fn an_update_leaves_what_it_does_not_name() {
        let before = Asked {
            cpu_shares: 2,
            memory_limit_in_bytes: 4096,
            cpuset_cpus: "0".into(),
            ..Asked::default()
        };
        let asked = Asked {
            cpu_shares: 5,
            cpuset_mems: "0".into(),
            ..Asked::default()
        };
        let after = updated(&before, &asked);
        assert_eq!((after.cpu_shares, after.memory_limit_in_bytes), (5, 4096));
        assert_eq!((&*after.cpuset_cpus, &*after.cpuset_mems), ("0", "0"));
    }
}
