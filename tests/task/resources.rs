//! Limits, statistics, OOM, and what the shim itself costs.

use crate::leaks::{self, cgroup_file, is_v2};
use crate::rpc::*;
use crate::shim::*;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::{cgroups, cgroups_v2};
use serde_json::{Value, json};

fn limited(lab: &Lab, script: &str, resources: Value) -> Container {
    lab.shim_of("c1", |spec| {
        spec["process"]["args"] = json!(["/bin/sh", "-c", script]);
        spec["linux"]["resources"] = resources;
    })
}

fn memory_limit(c: &Container) -> String {
    cgroup_file(&c.cgroup, "memory/memory.limit_in_bytes", "memory.max")
}

fn pids_limit(c: &Container) -> String {
    cgroup_file(&c.cgroup, "pids/pids.max", "pids.max")
}

#[test]
fn update_changes_the_limits_in_the_cgroup() {
    let lab = Lab::new();
    let c = limited(
        &lab,
        "exec sleep 1000",
        json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 50}}),
    );
    c.create().unwrap();
    c.start().unwrap();
    assert_eq!(
        (memory_limit(&c), pids_limit(&c)),
        ("67108864".to_owned(), "50".to_owned())
    );
    c.update(Some(resources(
        &json!({"memory": {"limit": 32 << 20}, "pids": {"limit": 20}}),
    )))
    .unwrap();
    assert_eq!(
        (memory_limit(&c), pids_limit(&c)),
        ("33554432".to_owned(), "20".to_owned())
    );
}

#[test]
fn stats_say_what_the_cgroup_files_say() {
    let lab = Lab::new();
    let c = limited(
        &lab,
        "while :; do :; done",
        json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 50}}),
    );
    c.create().unwrap();
    c.start().unwrap();
    c.exec_run("e1", "exec sleep 1000");
    // Until both programs run, the threads of the OCI runtime count as well.
    let pids: u64 = eventually("two processes", || {
        let current = cgroup_file(&c.cgroup, "pids/pids.current", "pids.current");
        if current == "2" { Ok(2) } else { Err(current) }
    });
    let stats = c.stats().unwrap();
    if is_v2() {
        assert_eq!(stats.type_url, "io.containerd.cgroups.v2.Metrics");
        let stats = cgroups_v2::metrics::Metrics::parse_from_bytes(&stats.value).unwrap();
        assert_eq!(
            (
                stats.pids.current,
                stats.pids.limit,
                stats.memory.usage_limit
            ),
            (pids, 50, 64 << 20)
        );
        assert!(
            stats.memory.usage > 0 && stats.memory.anon > 0 && stats.cpu.usage_usec > 0,
            "{stats}"
        );
        return;
    }
    assert_eq!(stats.type_url, "io.containerd.cgroups.v1.Metrics");
    let stats = cgroups::metrics::Metrics::parse_from_bytes(&stats.value).unwrap();
    assert_eq!(
        (
            stats.pids.current,
            stats.pids.limit,
            stats.memory.usage.limit
        ),
        (pids, 50, 64 << 20)
    );
    let later: u64 = cgroup_file(&c.cgroup, "cpuacct/cpuacct.usage", "")
        .parse()
        .unwrap();
    assert!(
        stats.cpu.usage.total > 0 && stats.cpu.usage.total <= later,
        "{} and later {later}",
        stats.cpu.usage.total
    );
    assert!(
        !stats.cpu.usage.per_cpu.is_empty() && stats.cpu.throttling.is_some(),
        "{stats}"
    );
    let max: u64 = cgroup_file(&c.cgroup, "memory/memory.max_usage_in_bytes", "")
        .parse()
        .unwrap();
    assert!(
        stats.memory.usage.usage > 0 && stats.memory.usage.usage <= max,
        "{stats}"
    );
    let file = cgroup_file(&c.cgroup, "memory/memory.stat", "");
    let field = |name: &str| {
        file.lines().find_map(|line| {
            line.strip_prefix(name)?
                .strip_prefix(' ')?
                .parse::<u64>()
                .ok()
        })
    };
    assert_eq!(
        field("hierarchical_memory_limit"),
        Some(stats.memory.hierarchical_memory_limit)
    );
    assert!(
        stats.memory.pg_fault > 0 && Some(stats.memory.pg_fault) <= field("pgfault"),
        "{stats}"
    );
}

#[test]
fn a_task_that_has_exited_has_statistics_or_is_not_found_but_never_another_error() {
    let lab = Lab::new();
    let c = lab.run("c1", "exit 0");
    c.wait().unwrap();
    if let Err(failure) = c.stats() {
        assert_eq!(
            failure.code,
            containerd_shim_protos::ttrpc::Code::NOT_FOUND,
            "{failure:?}"
        );
    }
}

#[test]
fn an_oom_kill_is_told_before_the_exit_that_it_causes() {
    let lab = Lab::new();
    let c = limited(
        &lab,
        "exec tail /dev/zero",
        json!({"memory": {"limit": 24 << 20, "swap": 24 << 20}}),
    );
    c.create().unwrap();
    c.start().unwrap();
    assert_eq!(c.wait().unwrap().exit_status, 137);
    lab.events.wait("exit c1 137");
    assert_eq!(
        lab.events.lines(),
        ["create c1", "start c1", "oom c1", "exit c1 137"]
    );
}

#[test]
fn an_oom_kill_of_an_exec_is_told_while_the_task_lives_on() {
    let lab = Lab::new();
    let c = limited(
        &lab,
        "exec sleep 1000",
        json!({"memory": {"limit": 24 << 20, "swap": 24 << 20}}),
    );
    c.create().unwrap();
    c.start().unwrap();
    let exec = c.exec_run("e1", "exec tail /dev/zero");
    assert_eq!(exec.wait().unwrap().exit_status, 137);
    lab.events.wait("oom c1");
    assert_eq!(c.pids().unwrap().len(), 1);
}

/// Three that want memory at the same time: the kernel gives notice oftener than it kills.
#[test]
fn each_oom_kill_is_told_once() {
    const ROUNDS: usize = 100;
    let lab = Lab::new();
    let hog = "tail /dev/zero";
    let script = format!(
        "i=0; while [ $i -lt {ROUNDS} ]; do {hog} & {hog} & {hog} & wait; i=$((i+1)); done; exit 3"
    );
    let c = limited(
        &lab,
        &script,
        json!({"memory": {"limit": 24 << 20, "swap": 24 << 20}}),
    );
    c.create().unwrap();
    c.start().unwrap();
    assert_eq!(c.wait().unwrap().exit_status, 3);
    lab.events.wait("exit c1 3");
    let lines = lab.events.lines();
    let told = lines.iter().filter(|line| *line == "oom c1").count();
    assert_eq!(told, 3 * ROUNDS);
}

#[test]
fn an_idle_shim_has_one_thread() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    c.exec_run("e1", "exit 0").wait().unwrap();
    c.stats().unwrap();
    let pid = c.shim_pid();
    eventually("one thread", || match leaks::stat(pid, 20).unwrap() {
        count if count == "1" => Ok(()),
        count => Err(format!("{count} threads")),
    });
}
