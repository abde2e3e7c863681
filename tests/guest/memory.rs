//! Out of memory: what is killed, what is told of it, and in which order.

use std::fs;

use outlive::bundle::layout::Bundle;
use outlive::bundle::{Read, exit_journal};
use outlive::types::ExecId;
use serde_json::json;

use crate::in_guest;
use crate::rpc::*;
use crate::shim::*;
use crate::unified::{group, keyed};
use containerd_shim_protos::api::Status;

/// A container that may use 24 MiB and no swap.
fn limited(lab: &Lab, id: &str, script: &str) -> Container {
    let c = lab.shim_of(id, |spec| {
        spec["process"]["args"] = json!(["/bin/sh", "-c", script]);
        spec["linux"]["resources"]["memory"] = json!({"limit": 24 << 20, "swap": 24 << 20});
    });
    c.create().unwrap();
    c.start().unwrap();
    c
}

#[test]
fn init_that_is_killed_for_memory_is_told_by_oom_then_exit_137() {
    in_guest();
    let lab = Lab::new();
    let c = limited(&lab, "c1", "exec tail /dev/zero");
    assert_eq!(c.wait().unwrap().exit_status, 137);
    lab.events.wait("exit c1 137");
    assert_eq!(
        lab.events.lines(),
        ["create c1", "start c1", "oom c1", "exit c1 137"]
    );
    assert_eq!(recorded(&c), [(None, true)]);
    assert_eq!(c.delete().unwrap().exit_status, 137);
}

/// Who has ended by the exit journal, and whether for want of memory.
fn recorded(c: &Container) -> Vec<(Option<String>, bool)> {
    let Read::Found(exits) = exit_journal::read(&Bundle::new(&c.bundle).exits()) else {
        panic!("no exits in {:?}", c.bundle);
    };
    let name = |exec: &ExecId| exec.as_str().to_owned();
    exits
        .entries
        .iter()
        .map(|entry| (entry.exec.as_ref().map(name), entry.oom_killed))
        .collect()
}

#[test]
fn an_exec_that_is_killed_for_memory_is_told_before_its_exit_and_init_lives_on() {
    in_guest();
    let lab = Lab::new();
    let c = limited(&lab, "c1", "exec sleep 1000");
    for (number, id) in [(1, "e1"), (2, "e2")] {
        let exec = c.exec_run(id, "exec tail /dev/zero");
        assert_eq!(exec.wait().unwrap().exit_status, 137);
        lab.events.wait(&format!("exit c1/{id} 137"));
        assert_eq!(keyed(&group(&c), "memory.events", "oom_kill"), Some(number));
    }
    assert_eq!(
        lab.events.lines(),
        [
            "create c1",
            "start c1",
            "exec-added c1/e1",
            "exec-started c1/e1",
            "oom c1",
            "exit c1/e1 137",
            "exec-added c1/e2",
            "exec-started c1/e2",
            "oom c1",
            "exit c1/e2 137",
        ]
    );
    assert_eq!(c.status(), Status::RUNNING);
    assert_eq!(
        recorded(&c),
        [(Some("e1".into()), true), (Some("e2".into()), true)]
    );
}

/// A grandchild is nobody's exec: there is no exit to tell, but the container ran out of memory all the same.
#[test]
fn a_child_of_init_that_is_killed_for_memory_is_told_though_nothing_exits() {
    in_guest();
    let lab = Lab::new();
    let c = limited(&lab, "c1", "tail /dev/zero; exec sleep 1000");
    lab.events.wait("oom c1");
    crate::leaks::executes(c.state().unwrap().pid, "sleep");
    assert_eq!(lab.events.lines(), ["create c1", "start c1", "oom c1"]);
    c.kill(9).unwrap();
    c.wait().unwrap();
    lab.events.wait("exit c1 137");
    // Killed by us, not for memory: no second oom.
    assert_eq!(
        lab.events.lines(),
        ["create c1", "start c1", "oom c1", "exit c1 137"]
    );
}

#[test]
fn reclaim_at_the_soft_limit_is_no_oom() {
    in_guest();
    let lab = Lab::new();
    let c = limited(
        &lab,
        "c1",
        "while :; do dd if=/dev/zero of=/tmp/file bs=1M count=32 2>/dev/null; done",
    );
    c.update(Some(resources(
        &json!({"unified": {"memory.high": "8388608"}}),
    )))
    .unwrap();
    let dir = group(&c);
    eventually("reclaim", || match keyed(&dir, "memory.events", "high") {
        Some(count) if count > 0 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    c.kill(9).unwrap();
    c.wait().unwrap();
    lab.events.wait("exit c1 137");
    assert_eq!(lab.events.lines(), ["create c1", "start c1", "exit c1 137"]);
    assert_eq!(recorded(&c), [(None, false)]);
}

/// The kernel may kill the whole group at once; then init's exit is still the last.
#[test]
fn a_group_that_is_killed_as_one_is_told_once_and_its_init_ends_last() {
    in_guest();
    let lab = Lab::new();
    let c = limited(&lab, "c1", "exec sleep 1000");
    fs::write(group(&c).join("memory.oom.group"), "1").unwrap();
    let exec = c.exec_run("e1", "exec tail /dev/zero");
    assert_eq!(exec.wait().unwrap().exit_status, 137);
    assert_eq!(c.wait().unwrap().exit_status, 137);
    lab.events.wait("exit c1 137");
    let lines = lab.events.lines();
    assert_eq!(
        lines[..4],
        [
            "create c1",
            "start c1",
            "exec-added c1/e1",
            "exec-started c1/e1"
        ]
    );
    let (exits, ooms): (Vec<_>, Vec<_>) =
        lines[4..].iter().partition(|line| line.starts_with("exit"));
    assert_eq!(exits, ["exit c1/e1 137", "exit c1 137"], "{lines:?}");
    assert!(
        lines[4] == "oom c1" && (1..=2).contains(&ooms.len()),
        "{lines:?}"
    );
}
