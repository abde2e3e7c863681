//! Pause and resume, what can be asked of a running task, and many tasks at once.

use std::fs;
use std::thread;

use crate::support::node::Node;
use crate::support::poll;

on_every_containerd![
    pause_stops_a_container_and_resume_lets_it_go_on,
    a_paused_container_can_be_killed,
    metrics_and_processes_are_those_of_the_container,
    a_running_task_cannot_be_deleted,
    an_id_can_be_used_again,
    fifty_containers_live_and_die_side_by_side,
];

const COUNTER: &str = "i=0; while :; do i=$((i+1)); echo $i > /count; sleep 0.02; done";

fn count(node: &Node) -> u64 {
    fs::read_to_string(node.rootfs().join("count"))
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

/// Waits until the counter has moved on.
fn moves(node: &Node) {
    let before = count(node);
    poll::until("the container counts", || {
        let now = count(node);
        if now > before {
            Ok(())
        } else {
            Err(format!("{now} after {before}"))
        }
    });
}

fn pause_stops_a_container_and_resume_lets_it_go_on(node: &mut Node) {
    let pid = node.run_detached("counter", &[], &["/bin/sh", "-c", COUNTER]);
    moves(node);
    node.ctr(&["task", "pause", "counter"]).ok();
    assert_eq!(node.task("counter").unwrap(), (pid, "PAUSED".to_owned()));
    let before = count(node);
    // Some 20 counts long: each of these calls takes tens of milliseconds.
    for _ in 0..10 {
        node.task("counter");
    }
    assert_eq!(count(node), before, "a paused container does nothing");
    node.ctr(&["task", "resume", "counter"]).ok();
    assert_eq!(node.task("counter").unwrap(), (pid, "RUNNING".to_owned()));
    moves(node);
    assert_eq!(node.destroy("counter"), 137);
}

fn a_paused_container_can_be_killed(node: &mut Node) {
    node.run_detached("frozen", &[], &["/bin/sleep", "1000"]);
    node.ctr(&["task", "pause", "frozen"]).ok();
    assert_ne!(node.ctr(&["task", "delete", "frozen"]).code, None);
    assert_eq!(
        node.task("frozen").unwrap().1,
        "PAUSED",
        "a paused task is not deleted"
    );
    node.kill("frozen", "SIGKILL");
    // Whether a kill thaws is the OCI runtime's choice; a resume after it always does.
    if node.task("frozen").unwrap().1 == "PAUSED" {
        drop(node.ctr(&["task", "resume", "frozen"]));
    }
    node.wait_for("frozen", "STOPPED");
    assert_eq!(node.delete("frozen"), 137);
}

fn metrics_and_processes_are_those_of_the_container(node: &mut Node) {
    let pid = node.run_detached("measured", &[], &["/bin/sh", "-c", "sleep 1000 & wait"]);
    poll::until("both processes are listed", || {
        let list = node.ctr(&["task", "ps", "measured"]).ok();
        let pids: Vec<&str> = list
            .lines()
            .skip(1)
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        if pids.len() == 2 && pids.contains(&pid.to_string().as_str()) {
            Ok(())
        } else {
            Err(list)
        }
    });
    let metrics = node.ctr(&["task", "metrics", "measured"]).ok();
    let value = |name: &str| {
        let line = metrics
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_else(|| panic!("no {name} in {metrics}"));
        line.split_whitespace()
            .last()
            .unwrap()
            .parse::<u64>()
            .unwrap_or_else(|e| panic!("{line}: {e}"))
    };
    let used = if metrics.contains("memory.usage_in_bytes") {
        value("memory.usage_in_bytes")
    } else {
        value("memory.usage")
    };
    assert!((1..100_000_000).contains(&used), "{metrics}");
    assert_eq!(value("pids.current"), 2, "{metrics}");
    assert_eq!(node.destroy("measured"), 137);
}

fn a_running_task_cannot_be_deleted(node: &mut Node) {
    let pid = node.run_detached("busy", &[], &["/bin/sleep", "1000"]);
    let output = node.ctr(&["task", "delete", "busy"]);
    assert!(output.stderr.contains("must be stopped"), "{output:?}");
    assert_eq!(node.task("busy").unwrap(), (pid, "RUNNING".to_owned()));
    assert_eq!(node.destroy("busy"), 137);
}

fn an_id_can_be_used_again(node: &mut Node) {
    for round in 0..5 {
        let output = node.run(
            "phoenix",
            &[],
            &["/bin/sh", "-c", &format!("echo {round}; exit {round}")],
        );
        assert_eq!(
            (output.code, output.stdout),
            (Some(round), format!("{round}\n"))
        );
    }
}

fn fifty_containers_live_and_die_side_by_side(node: &mut Node) {
    let shared = &*node;
    thread::scope(|scope| {
        for lane in 0..8 {
            scope.spawn(move || {
                for number in (lane..50).step_by(8) {
                    let id = format!("n-{number}");
                    let pid = shared.run_detached(&id, &[], &["/bin/sleep", "1000"]);
                    assert_eq!(
                        shared.exec(&id, "probe", &["/bin/sh", "-c", "exit 5"]).code,
                        Some(5),
                        "{id}"
                    );
                    assert_eq!(shared.pid(&id), pid);
                    assert_eq!(shared.destroy(&id), 137, "{id}");
                }
            });
        }
    });
}
