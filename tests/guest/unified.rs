//! cgroup v2 as the shim finds it, hands it down and reports it.

use std::fs;
use std::path::{Path, PathBuf};

use containerd_shim_protos::cgroups_v2::metrics::Metrics;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::ttrpc::Code;
use serde_json::json;

use crate::in_guest;
use crate::rpc::*;
use crate::shim::*;

/// The container's directory in the one hierarchy.
pub fn group(c: &Container) -> PathBuf {
    Path::new("/sys/fs/cgroup").join(c.cgroup.trim_start_matches('/'))
}

/// A value of a file of "key value" lines.
pub fn keyed(dir: &Path, file: &str, key: &str) -> Option<u64> {
    let text = fs::read_to_string(dir.join(file)).unwrap();
    let line = text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then_some(value)
    });
    line.map(|value| value.trim().parse().unwrap())
}

fn words(path: PathBuf) -> Vec<String> {
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    text.split_whitespace().map(str::to_owned).collect()
}

fn metrics(c: &Container) -> Metrics {
    let stats = c.stats().unwrap();
    assert_eq!(stats.type_url, "io.containerd.cgroups.v2.Metrics");
    Metrics::parse_from_bytes(&stats.value).unwrap()
}

#[test]
fn every_controller_of_cgroup_v2_is_there_and_handed_down() {
    in_guest();
    for file in ["cgroup.controllers", "cgroup.subtree_control"] {
        let found = words(Path::new("/sys/fs/cgroup").join(file));
        for controller in ["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma"] {
            assert!(
                found.iter().any(|word| word == controller),
                "{file} lacks {controller}: {found:?}"
            );
        }
    }
}

/// The OCI runtime enables what it sets limits with; rdma is never among them.
#[test]
fn create_hands_every_controller_down_to_the_container() {
    in_guest();
    let lab = Lab::new();
    let mut c = lab.shim_of("c1", |spec| {
        let path = spec["linux"]["cgroupsPath"].as_str().unwrap();
        spec["linux"]["cgroupsPath"] = json!(format!("{path}/one/two"));
    });
    let top = c.cgroup.clone();
    c.cgroup = format!("{top}/one/two");
    let made = (top.clone(), format!("{top}/one"));
    c.create().unwrap();
    let root = words("/sys/fs/cgroup/cgroup.controllers".into());
    for parent in [&made.0, &made.1] {
        let handed = words(
            Path::new("/sys/fs/cgroup")
                .join(&parent[1..])
                .join("cgroup.subtree_control"),
        );
        assert_eq!(handed, root, "{parent}");
    }
    assert_eq!(words(group(&c).join("cgroup.controllers")), root);
    // Its own are its own affair: with processes in it, it could not hand any down.
    assert_eq!(
        words(group(&c).join("cgroup.subtree_control")),
        Vec::<String>::new()
    );
    c.start().unwrap();
    c.kill(9).unwrap();
    c.wait().unwrap();
    c.delete().unwrap();
    // The OCI runtime removes the container's group and not those above it, which are its owner's.
    for parent in [&made.1, &made.0] {
        fs::remove_dir(Path::new("/sys/fs/cgroup").join(&parent[1..])).unwrap();
    }
}

#[test]
fn statistics_are_those_of_the_files_of_every_controller() {
    in_guest();
    let lab = Lab::new();
    let c = lab.shim_of("c1", |spec| {
        spec["process"]["args"] = json!([
            "/bin/sh",
            "-c",
            "dd if=/dev/zero of=/tmp/file bs=1M count=4 2>/dev/null; exec sleep 1000"
        ]);
        spec["linux"]["resources"] = json!({
            "memory": {"limit": 64 << 20, "swap": 96 << 20, "reservation": 16 << 20},
            "pids": {"limit": 50},
            "cpu": {"quota": 50_000, "period": 100_000},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}],
        });
    });
    c.create().unwrap();
    c.start().unwrap();
    crate::leaks::executes(c.state().unwrap().pid, "sleep");
    let dir = group(&c);
    let stats = metrics(&c);
    assert_eq!((stats.pids.current, stats.pids.limit), (1, 50));
    let memory = &stats.memory;
    assert_eq!(
        (memory.usage_limit, memory.swap_limit),
        (64 << 20, 32 << 20)
    );
    // What does not move while the container sleeps.
    for (name, value) in [
        ("anon", memory.anon),
        ("file", memory.file),
        ("kernel_stack", memory.kernel_stack),
    ] {
        assert_eq!(Some(value), keyed(&dir, "memory.stat", name), "{name}");
    }
    assert!(memory.usage > 0 && memory.file >= 4 << 20, "{memory:?}");
    let events = &stats.memory_events;
    assert_eq!((events.oom, events.oom_kill), (0, 0));
    let cpu = &stats.cpu;
    assert!(
        cpu.usage_usec > 0 && Some(cpu.usage_usec) <= keyed(&dir, "cpu.stat", "usage_usec"),
        "{cpu:?}"
    );
    assert!(
        cpu.nr_periods > 0 && cpu.psi.is_some(),
        "the controller is enabled: {cpu:?}"
    );
    let huge: Vec<_> = stats
        .hugetlb
        .iter()
        .filter(|huge| huge.pagesize == "2MB")
        .collect();
    assert_eq!(huge.len(), 1, "{:?}", stats.hugetlb);
    assert_eq!((huge[0].max, huge[0].current), (4 << 20, 0));
}

#[test]
fn update_writes_every_limit_of_version_2() {
    in_guest();
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    let dir = group(&c);
    let read = |name: &str| {
        fs::read_to_string(dir.join(name))
            .unwrap()
            .trim()
            .to_owned()
    };
    assert_eq!(
        (read("memory.max"), read("pids.max"), read("cpu.max")),
        ("max".into(), "max".into(), "max 100000".into())
    );
    c.update(Some(resources(&json!({
        "memory": {"limit": 64 << 20, "swap": 64 << 20, "reservation": 32 << 20},
        "pids": {"limit": 17},
        "cpu": {"quota": 20_000, "period": 50_000, "shares": 512, "cpus": "0"},
        "unified": {"memory.high": "50331648"},
    }))))
    .unwrap();
    for (name, value) in [
        ("memory.max", "67108864"),
        ("memory.swap.max", "0"),
        ("memory.low", "33554432"),
        ("pids.max", "17"),
        ("cpu.max", "20000 50000"),
        ("cpuset.cpus", "0"),
    ] {
        assert_eq!(read(name), value, "{name}");
    }
    let stats = metrics(&c);
    assert_eq!((stats.memory.usage_limit, stats.pids.limit), (64 << 20, 17));
}

#[test]
fn a_refused_update_says_why_and_changes_nothing() {
    in_guest();
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    let failure = c
        .update(Some(resources(&json!({"cpu": {"cpus": "77"}}))))
        .unwrap_err();
    assert!(failure.message.contains("cpuset.cpus"), "{failure:?}");
    assert_eq!(
        fs::read_to_string(group(&c).join("cpuset.cpus"))
            .unwrap()
            .trim(),
        ""
    );
    assert_eq!(c.status(), containerd_shim_protos::api::Status::RUNNING);
}

#[test]
fn pause_freezes_the_group_and_resume_thaws_it() {
    in_guest();
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    let exec = c.exec_run("e1", "exec sleep 1000");
    // Until then the threads of the OCI runtime are in the group as well.
    for process in [c.state(), exec.state()] {
        crate::leaks::executes(process.unwrap().pid, "sleep");
    }
    let dir = group(&c);
    let frozen = || keyed(&dir, "cgroup.events", "frozen");
    c.pause().unwrap();
    assert_eq!(frozen(), Some(1));
    assert_eq!(metrics(&c).pids.current, 2);
    assert_eq!(c.pids().unwrap().len(), 2);
    c.resume().unwrap();
    assert_eq!(frozen(), Some(0));
}

#[test]
fn a_task_whose_group_is_gone_has_no_statistics() {
    in_guest();
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    c.kill(9).unwrap();
    c.wait().unwrap();
    let dir = group(&c);
    eventually("an empty group", || {
        fs::remove_dir(&dir).map_err(|error| error.to_string())
    });
    assert_eq!(code(c.stats()), Code::NOT_FOUND);
    c.delete().unwrap();
}
