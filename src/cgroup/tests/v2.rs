//! Version 2, from a tree of files.

use std::fs;

use super::{PID, is_readable, pid, roots, write_process};
use crate::cgroup::{Cgroup, CgroupError, Metrics, OomNotice, OomWatch, enable_controllers, join};
use crate::sys::file::scratch::Scratch;

const V2_FILES: [(&str, &str); 26] = [
    (
        "cgroup.controllers",
        "cpuset cpu io memory hugetlb pids rdma misc\n",
    ),
    ("cgroup.procs", "4711\n"),
    ("inner/cgroup.procs", "4713\n"),
    (
        "cpu.stat",
        "usage_usec 1\nuser_usec 2\nsystem_usec 3\nnr_periods 4\nnr_throttled 5\nthrottled_usec 6\nnr_bursts 7\nburst_usec 8\n",
    ),
    (
        "cpu.pressure",
        "some avg10=0.12 avg60=1.50 avg300=2.25 total=99\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n",
    ),
    (
        "memory.stat",
        "anon 1\nfile 2\nslab_reclaimable 3\npgscan 4\nthp_collapse_alloc 5\nzswap 6\n",
    ),
    ("memory.current", "100\n"),
    ("memory.max", "max\n"),
    ("memory.peak", "150\n"),
    ("memory.swap.current", "7\n"),
    ("memory.swap.max", "8\n"),
    ("memory.swap.peak", "9\n"),
    (
        "memory.pressure",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=2\n",
    ),
    (
        "memory.events",
        "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\noom_group_kill 6\n",
    ),
    (
        "io.stat",
        "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n7:1 \n254:0 rbytes=9\n",
    ),
    (
        "io.pressure",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=3\n",
    ),
    ("pids.current", "2\n"),
    ("pids.max", "max\n"),
    ("hugetlb.2MB.current", "2097152\n"),
    ("hugetlb.2MB.max", "max\n"),
    ("hugetlb.2MB.events", "max 4\n"),
    ("hugetlb.2MB.rsvd.current", "0\n"),
    ("rdma.current", "mlx5_0 hca_handle=1 hca_object=2\n"),
    ("rdma.max", "mlx5_0 hca_handle=max hca_object=9\n"),
    ("cgroup.subtree_control", ""),
    ("cgroup.events", "populated 1\nfrozen 0\n"),
];

fn v2_fixture() -> (Scratch, Cgroup) {
    let scratch = Scratch::new();
    let top = scratch.path().join("cgroup");
    let mounts = format!("31 23 0:28 / {} rw - cgroup2 cgroup2 rw\n", top.display());
    scratch.write("proc/self/mountinfo", mounts);
    for group in ["", "k/"] {
        scratch.write(
            &format!("cgroup/{group}cgroup.controllers"),
            "cpu memory pids\n",
        );
        scratch.write(&format!("cgroup/{group}cgroup.subtree_control"), "cpu\n");
    }
    for (name, content) in V2_FILES {
        scratch.write(&format!("cgroup/k/one/{name}"), content);
    }
    write_process(&scratch, "0::/k/one\n", 0);
    let cgroup = Cgroup::of_process(&roots(&scratch), pid(PID)).unwrap();
    (scratch, cgroup)
}

#[test]
fn v2_metrics_are_containerds() {
    let (_scratch, cgroup) = v2_fixture();
    assert_eq!(cgroup.pids().unwrap(), [pid(4711), pid(4713)]);
    let metrics = cgroup.metrics().unwrap();
    assert_eq!(metrics.type_url(), "io.containerd.cgroups.v2.Metrics");
    assert!(!metrics.encode().unwrap().is_empty());
    let Metrics::V2(metrics) = metrics else {
        panic!("not version 2")
    };
    let cpu = &metrics.cpu;
    assert_eq!((cpu.usage_usec, cpu.user_usec, cpu.system_usec), (1, 2, 3));
    assert_eq!(
        (cpu.nr_periods, cpu.nr_throttled, cpu.throttled_usec),
        (4, 5, 6)
    );
    assert_eq!((cpu.nr_bursts, cpu.burst_usec), (7, 8));
    assert_eq!(
        (cpu.psi.some.avg10, cpu.psi.some.avg300, cpu.psi.some.total),
        (0.12, 2.25, 99)
    );
    assert_eq!(cpu.psi.full.total, 7);
    let memory = &metrics.memory;
    assert_eq!(
        (memory.anon, memory.file, memory.slab_reclaimable),
        (1, 2, 3)
    );
    assert_eq!((memory.pgscan, memory.thp_collapse_alloc), (4, 5));
    assert_eq!(
        (memory.usage, memory.usage_limit, memory.max_usage),
        (100, u64::MAX, 150)
    );
    assert_eq!(
        (memory.swap_usage, memory.swap_limit, memory.swap_max_usage),
        (7, 8, 9)
    );
    assert_eq!(memory.psi.full.total, 2);
    let events = &metrics.memory_events;
    assert_eq!((events.low, events.high, events.max), (1, 2, 3));
    assert_eq!(
        (events.oom, events.oom_kill, events.oom_group_kill),
        (4, 5, 6)
    );
    let io: Vec<_> = metrics
        .io
        .usage
        .iter()
        .map(|one| {
            (
                one.major, one.minor, one.rbytes, one.wbytes, one.rios, one.wios,
            )
        })
        .collect();
    assert_eq!(
        io,
        [(8, 0, 1, 2, 3, 4), (7, 1, 0, 0, 0, 0), (254, 0, 9, 0, 0, 0)]
    );
    assert!(metrics.io.psi.some.is_some() && metrics.io.psi.full.is_none());
    assert_eq!((metrics.pids.current, metrics.pids.limit), (2, u64::MAX));
    let huge = &metrics.hugetlb[0];
    assert_eq!(metrics.hugetlb.len(), 1);
    assert_eq!(
        (huge.current, huge.max, huge.failcnt, &*huge.pagesize),
        (2_097_152, u64::MAX, 4, "2MB")
    );
    assert_eq!(
        (
            metrics.rdma.limit[0].hca_handles,
            metrics.rdma.limit[0].hca_objects
        ),
        (u32::MAX, 9)
    );
}

#[test]
fn v2_parts_without_a_file_stay_unset_and_a_removed_group_is_gone() {
    let (scratch, cgroup) = v2_fixture();
    let dir = scratch.path().join("cgroup/k/one");
    for (name, _) in V2_FILES {
        if !name.starts_with("cpu.stat") && !name.contains('/') {
            fs::remove_file(dir.join(name)).unwrap();
        }
    }
    let Metrics::V2(metrics) = cgroup.metrics().unwrap() else {
        panic!("not version 2")
    };
    assert!(metrics.cpu.is_some() && metrics.cpu.psi.is_none());
    assert!(metrics.memory.is_none() && metrics.memory_events.is_none() && metrics.io.is_none());
    assert!(metrics.pids.is_none() && metrics.rdma.is_none() && metrics.hugetlb.is_empty());
    assert!(OomWatch::new(&cgroup).is_err(), "no memory controller");
    fs::remove_dir_all(dir).unwrap();
    assert!(matches!(cgroup.metrics(), Err(CgroupError::Gone)));
    assert!(cgroup.is_empty().unwrap());
}

#[test]
fn a_v2_path_outside_of_the_cgroup_namespace_is_refused() {
    let (scratch, _) = v2_fixture();
    write_process(&scratch, "0::/../other\n", 0);
    let refused = Cgroup::of_process(&roots(&scratch), pid(PID));
    assert!(
        matches!(refused, Err(CgroupError::BadPath { .. })),
        "{refused:?}"
    );
    write_process(&scratch, "0::/k/two (deleted)\n", 0);
    let deleted = Cgroup::of_process(&roots(&scratch), pid(PID)).unwrap();
    assert!(matches!(deleted.metrics(), Err(CgroupError::Gone)));
}

#[test]
fn v2_memory_events_are_news_only_when_the_kills_rise() {
    let (scratch, cgroup) = v2_fixture();
    let mut watch = OomWatch::new(&cgroup).unwrap();
    let events = |kills: u32| {
        scratch.write(
            "cgroup/k/one/memory.events",
            format!("high 9\noom_kill {kills}\n"),
        )
    };
    assert!(!is_readable(&watch));
    events(5);
    assert!(is_readable(&watch));
    assert_eq!(watch.consume().unwrap(), OomNotice::Nothing);
    assert!(!is_readable(&watch));
    events(6);
    assert_eq!(watch.consume().unwrap(), OomNotice::Killed);
    assert_eq!(watch.consume().unwrap(), OomNotice::Nothing);
    fs::remove_dir_all(scratch.path().join("cgroup/k/one")).unwrap();
    assert_eq!(watch.consume().unwrap(), OomNotice::Gone);
}

#[test]
fn v2_controllers_are_enabled_above_the_group_and_not_in_it() {
    let (scratch, cgroup) = v2_fixture();
    let errors = enable_controllers(&cgroup);
    assert!(errors.is_empty(), "{errors:?}");
    let control = |group: &str| {
        fs::read_to_string(
            scratch
                .path()
                .join("cgroup")
                .join(group)
                .join("cgroup.subtree_control"),
        )
        .unwrap()
    };
    // A plain file keeps the last of the writes over the first bytes: only that it was written can be seen here.
    assert!(control("").starts_with("+pids"), "{}", control(""));
    assert!(control("k").starts_with("+pids"), "{}", control("k"));
    assert_eq!(control("k/one"), "");
    fs::remove_file(scratch.path().join("cgroup/cgroup.subtree_control")).unwrap();
    let errors = enable_controllers(&cgroup);
    assert_eq!(
        errors.len(),
        4,
        "the unreadable file and three refused writes: {errors:?}"
    );
}

#[test]
fn joining_takes_only_paths_below_the_root() {
    let (scratch, _) = v2_fixture();
    let roots = roots(&scratch);
    for bad in ["", "/", ".", "../x", "/a/../../b", "a\0b"] {
        let refused = join(&roots, bad, pid(PID));
        assert!(
            matches!(refused, Err(CgroupError::BadPath { .. })),
            "{bad:?}: {refused:?}"
        );
    }
    join(&roots, "/k/one", pid(99)).unwrap();
    let procs = fs::read_to_string(scratch.path().join("cgroup/k/one/cgroup.procs")).unwrap();
    assert!(procs.starts_with("99"), "{procs:?}");
}
