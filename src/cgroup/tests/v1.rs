//! Version 1, from a tree of files.

use std::fs;
use std::os::fd::AsFd as _;

use super::{PID, pid, roots, write_process};
use crate::cgroup::{Cgroup, CgroupError, Metrics, OomCounts, OomNotice, OomWatch};
use crate::sys::file::scratch::Scratch;

/// The mounts of a version 1 machine with two controllers mounted together and one hierarchy seen from a container.
fn write_v1_mounts(scratch: &Scratch) {
    let top = scratch.path().join("cgroup");
    let top = top.display();
    let mounts = format!(
        "31 23 0:28 / {top} rw - tmpfs tmpfs rw\n\
         32 31 0:29 / {top}/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
         33 31 0:30 / {top}/memory rw - cgroup cgroup rw,memory\n\
         34 31 0:31 /outer {top}/pids rw - cgroup cgroup rw,pids\n\
         35 31 0:32 / {top}/blkio rw - cgroup cgroup rw,blkio\n\
         36 31 0:33 / {top}/hugetlb rw - cgroup cgroup rw,hugetlb\n\
         37 31 0:34 / {top}/rdma rw - cgroup cgroup rw,rdma\n\
         38 31 0:35 / {top}/cpuset rw - cgroup cgroup rw,cpuset\n\
         40 31 0:37 / {top}/systemd rw - cgroup cgroup rw,name=systemd\n\
         41 31 0:38 / {top}/unified rw - cgroup2 cgroup2 rw\n\
         42 31 0:39 / /elsewhere/devices rw - cgroup cgroup rw,devices\n"
    );
    scratch.write("proc/self/mountinfo", mounts);
}

const V1_MEMBERSHIP: &str = "11:cpu,cpuacct:/c/one\n10:memory:/c/one\n9:pids:/outer/c/one\n8:blkio:/c/one\n\
    7:hugetlb:/c/one\n6:rdma:/c/one\n5:devices:/c/one\n4:net_cls:/c/one\n2:cpuset:/\n3:name=systemd:/c/one\n0::/\n";

fn write_v1_group(scratch: &Scratch) {
    let files = [
        (
            "cpu,cpuacct/c/one/cpu.stat",
            "nr_periods 5\nnr_throttled 2\nthrottled_time 700\nnr_bursts 0\n",
        ),
        ("cpu,cpuacct/c/one/cpuacct.usage", "123456\n"),
        ("cpu,cpuacct/c/one/cpuacct.stat", "user 3\nsystem 4\n"),
        ("cpu,cpuacct/c/one/cpuacct.usage_percpu", "100000 23456 \n"),
        (
            "memory/c/one/memory.stat",
            "cache 1\nrss 2\npgpgin 3\nhierarchical_memsw_limit 4\ntotal_unevictable 5\nswap 6\n",
        ),
        ("memory/c/one/memory.usage_in_bytes", "10\n"),
        (
            "memory/c/one/memory.limit_in_bytes",
            "9223372036854771712\n",
        ),
        ("memory/c/one/memory.max_usage_in_bytes", "11\n"),
        ("memory/c/one/memory.failcnt", "12\n"),
        ("memory/c/one/memory.kmem.usage_in_bytes", "13\n"),
        ("memory/c/one/memory.kmem.tcp.usage_in_bytes", "14\n"),
        (
            "memory/c/one/memory.oom_control",
            "oom_kill_disable 1\nunder_oom 0\noom_kill 3\n",
        ),
        ("pids/c/one/pids.current", "2\n"),
        ("pids/c/one/pids.max", "max\n"),
        ("pids/c/one/cgroup.procs", "4711\n0\n"),
        ("pids/c/one/inner/cgroup.procs", "4712\n4711\n"),
        (
            "blkio/c/one/blkio.throttle.io_serviced",
            "8:0 Read 1\nTotal 1\n",
        ),
        (
            "blkio/c/one/blkio.throttle.io_serviced_recursive",
            "8:0 Read 2\n8:0 Write 3\n8:16 Total 5\nTotal 5\n",
        ),
        (
            "blkio/c/one/blkio.throttle.io_service_bytes",
            "8:0 Read 4096\nTotal 4096\n",
        ),
        ("hugetlb/c/one/hugetlb.2MB.usage_in_bytes", "1\n"),
        ("hugetlb/c/one/hugetlb.2MB.max_usage_in_bytes", "2\n"),
        ("hugetlb/c/one/hugetlb.2MB.failcnt", "3\n"),
        ("hugetlb/c/one/hugetlb.2MB.rsvd.usage_in_bytes", "9\n"),
        ("hugetlb/c/one/hugetlb.1GB.usage_in_bytes", "4\n"),
        (
            "rdma/c/one/rdma.current",
            "mlx5_0 hca_handle=1 hca_object=2\n",
        ),
        (
            "rdma/c/one/rdma.max",
            "mlx5_0 hca_handle=max hca_object=9\n",
        ),
    ];
    for (name, content) in files {
        scratch.write(&format!("cgroup/{name}"), content);
    }
    scratch.write(
        "proc/partitions",
        "major minor  #blocks  name\n\n   8        0  10 sda\n   8 0 10 again\n",
    );
}

fn v1_fixture() -> (Scratch, Cgroup) {
    let scratch = Scratch::new();
    write_v1_mounts(&scratch);
    write_v1_group(&scratch);
    write_process(&scratch, V1_MEMBERSHIP, 0);
    let cgroup = Cgroup::of_process(&roots(&scratch), pid(PID)).unwrap();
    (scratch, cgroup)
}

#[test]
fn v1_directories_are_found_by_mount_and_not_by_name() {
    let (scratch, cgroup) = v1_fixture();
    let Cgroup::V1(v1) = &cgroup else {
        panic!("{cgroup:?}")
    };
    let top = scratch.path().join("cgroup");
    assert_eq!(v1.dir("cpuacct"), Some(&*top.join("cpu,cpuacct/c/one")));
    assert_eq!(v1.dir("pids"), Some(&*top.join("pids/c/one")));
    assert_eq!(v1.dir("devices"), None, "mounted elsewhere");
    assert_eq!(v1.dir("net_cls"), None, "not mounted");
    assert_eq!(v1.dir("cpuset"), None, "in the root, with everybody else");
    let own = cgroup.pids().unwrap();
    assert_eq!(own, [pid(4711), pid(4712)]);
    assert!(!cgroup.is_empty().unwrap());
    let before = cgroup.oom_kills().unwrap().unwrap();
    assert_eq!(before.rise_since(&OomCounts::default()), 3);
}

/// What oom_control says before a wake and after it, and what the wake means.
#[test]
fn v1_wakes_are_news_only_where_the_kernel_does_not_count() {
    let counted = |kills: u32| format!("oom_kill_disable 0\nunder_oom 0\noom_kill {kills}\n");
    let uncounted = "oom_kill_disable 0\nunder_oom 0\n".to_owned();
    let disabled = "oom_kill_disable 1\nunder_oom 1\noom_kill 0\n".to_owned();
    for (before, after, signalled, expected) in [
        (counted(0), counted(0), false, OomNotice::Nothing),
        (counted(0), counted(0), true, OomNotice::Awaited),
        (counted(0), counted(2), true, OomNotice::Killed),
        (counted(2), counted(3), false, OomNotice::Killed),
        // A group below went.
        (counted(3), counted(1), false, OomNotice::Nothing),
        (
            uncounted.clone(),
            uncounted.clone(),
            true,
            OomNotice::Uncounted,
        ),
        (uncounted.clone(), uncounted, false, OomNotice::Nothing),
        (
            disabled.clone(),
            disabled.clone(),
            true,
            OomNotice::Uncounted,
        ),
        (disabled.clone(), disabled, false, OomNotice::Nothing),
    ] {
        let (scratch, cgroup) = v1_fixture();
        let control = |text: &str| scratch.write("cgroup/memory/c/one/memory.oom_control", text);
        scratch.write("cgroup/memory/c/one/cgroup.event_control", "");
        control(&before);
        let mut watch = OomWatch::new(&cgroup).unwrap();
        assert_eq!(watch.consume().unwrap(), OomNotice::Nothing);
        control(&after);
        if signalled {
            nix::unistd::write(watch.as_fd(), &1_u64.to_ne_bytes()).unwrap();
        }
        let case = format!("{before:?} {after:?} {signalled}");
        assert_eq!(watch.consume().unwrap(), expected, "{case}");
        assert_eq!(watch.consume().unwrap(), OomNotice::Nothing, "{case}");
        fs::remove_dir_all(scratch.path().join("cgroup/memory/c/one")).unwrap();
        assert_eq!(watch.consume().unwrap(), OomNotice::Gone, "{case}");
    }
}

#[test]
fn v1_kills_in_groups_below_count() {
    let (scratch, cgroup) = v1_fixture();
    for (group, kills) in [("a", 2), ("a/b", 5)] {
        let text = format!("oom_kill_disable 0\noom_kill {kills}\n");
        scratch.write(
            &format!("cgroup/memory/c/one/{group}/memory.oom_control"),
            text,
        );
    }
    let counts = cgroup.oom_kills().unwrap().unwrap();
    assert_eq!(counts.rise_since(&OomCounts::default()), 3 + 2 + 5);
}

#[test]
fn v1_metrics_are_containerds() {
    let (_scratch, cgroup) = v1_fixture();
    let Metrics::V1(metrics) = cgroup.metrics().unwrap() else {
        panic!("not version 1")
    };
    let usage = &metrics.cpu.usage;
    assert_eq!(
        (usage.total, usage.user, usage.kernel),
        (123_456, 30_000_000, 40_000_000)
    );
    assert_eq!(usage.per_cpu, [100_000, 23_456]);
    let throttling = &metrics.cpu.throttling;
    assert_eq!(
        (
            throttling.periods,
            throttling.throttled_periods,
            throttling.throttled_time
        ),
        (5, 2, 700)
    );
    let memory = &metrics.memory;
    assert_eq!((memory.cache, memory.rss, memory.pg_pg_in), (1, 2, 3));
    assert_eq!(
        (memory.hierarchical_swap_limit, memory.total_unevictable),
        (4, 5)
    );
    let entry = &memory.usage;
    assert_eq!((entry.usage, entry.max, entry.failcnt), (10, 11, 12));
    assert_eq!(entry.limit, 9_223_372_036_854_771_712);
    assert!(
        memory.swap.is_some(),
        "present, and zero, without swap accounting"
    );
    assert_eq!((memory.kernel.usage, memory.kernel_tcp.usage), (13, 14));
    let oom = &metrics.memory_oom_control;
    assert_eq!(
        (oom.oom_kill_disable, oom.under_oom, oom.oom_kill),
        (1, 0, 3)
    );
    assert_eq!((metrics.pids.current, metrics.pids.limit), (2, 0));
    let sizes: Vec<_> = metrics
        .hugetlb
        .iter()
        .map(|one| (&*one.pagesize, one.usage, one.max, one.failcnt))
        .collect();
    assert_eq!(sizes, [("1GB", 4, 0, 0), ("2MB", 1, 2, 3)]);
    assert_eq!(metrics.rdma.limit[0].hca_handles, u32::MAX);
    assert_eq!(metrics.rdma.current[0].hca_objects, 2);
    assert!(metrics.network.is_empty());
}

#[test]
fn v1_block_io_has_device_names_and_falls_back_to_throttling() {
    let (scratch, cgroup) = v1_fixture();
    let serviced = |cgroup: &Cgroup| {
        let Metrics::V1(metrics) = cgroup.metrics().unwrap() else {
            panic!("not version 1")
        };
        let entries = metrics.blkio.io_serviced_recursive.iter();
        let entries = entries.map(|one| {
            (
                one.device.clone(),
                one.major,
                one.minor,
                one.op.clone(),
                one.value,
            )
        });
        (
            entries.collect::<Vec<_>>(),
            metrics.blkio.io_service_bytes_recursive.len(),
        )
    };
    let entry = |device: &str, minor, op: &str, value| {
        (device.to_owned(), 8_u64, minor, op.to_owned(), value)
    };
    let throttled = [
        entry("/dev/sda", 0_u64, "Read", 2_u64),
        entry("/dev/sda", 0, "Write", 3),
        entry("", 16, "Total", 5),
    ];
    assert_eq!(serviced(&cgroup), (throttled.to_vec(), 1));
    scratch.write(
        "cgroup/blkio/c/one/blkio.io_serviced_recursive",
        "8:0 Sync 9\nTotal 9\n",
    );
    assert_eq!(
        serviced(&cgroup),
        (vec![entry("/dev/sda", 0, "Sync", 9)], 0)
    );
}

#[test]
fn v1_controllers_that_are_missing_leave_their_part_unset() {
    let (scratch, cgroup) = v1_fixture();
    for controller in ["memory", "pids", "blkio", "rdma", "hugetlb"] {
        fs::remove_dir_all(scratch.path().join("cgroup").join(controller)).unwrap();
    }
    let Metrics::V1(metrics) = cgroup.metrics().unwrap() else {
        panic!("not version 1")
    };
    assert!(metrics.cpu.is_some());
    assert!(metrics.memory.is_none() && metrics.memory_oom_control.is_none());
    assert!(metrics.pids.is_none() && metrics.blkio.is_none() && metrics.rdma.is_none());
    assert!(metrics.hugetlb.is_empty());
    fs::remove_dir_all(scratch.path().join("cgroup")).unwrap();
    assert!(matches!(cgroup.metrics(), Err(CgroupError::Gone)));
    assert!(matches!(cgroup.pids(), Err(CgroupError::Gone)));
    assert!(!cgroup.exists() && cgroup.is_empty().unwrap());
}

#[test]
fn a_dying_v1_process_is_not_taken_for_one_in_the_root() {
    let scratch = Scratch::new();
    write_v1_mounts(&scratch);
    write_v1_group(&scratch);
    let roots = roots(&scratch);
    write_process(&scratch, "2:memory:/\n1:pids:/\n0::/\n", 4);
    assert!(matches!(
        Cgroup::of_process(&roots, pid(PID)),
        Err(CgroupError::Gone)
    ));
    write_process(&scratch, "2:memory:/c/one\n1:pids:/\n", 4);
    let Cgroup::V1(v1) = Cgroup::of_process(&roots, pid(PID)).unwrap() else {
        panic!("not version 1")
    };
    assert_eq!(v1.dirs().count(), 1, "what was read before it died is true");
    write_process(&scratch, "2:memory:/\n1:pids:/\n0::/\n", 0);
    assert!(Cgroup::of_process(&roots, pid(PID)).is_ok());
    assert!(matches!(
        Cgroup::of_process(&roots, pid(99)),
        Err(CgroupError::Gone)
    ));
}
