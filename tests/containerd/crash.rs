//! kill -9 of containerd, at rest and in the middle of each operation.

use std::fs;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::ctr::Running;
use crate::support::node::Node;
use crate::support::poll;
use crate::support::tasks::touch;

on_every_containerd![
    running_containers_survive_a_crash,
    an_exit_during_the_crash_is_reported_after_it,
    an_exec_that_ends_during_the_crash_is_told_from_init,
    a_writer_neither_breaks_nor_ends_with_its_reader,
    a_paused_container_survives_a_crash,
    a_crash_in_create_leaves_nothing_that_cannot_be_deleted,
    a_crash_in_start_leaves_nothing_that_cannot_be_deleted,
    a_crash_in_exec_leaves_the_container_alone,
    a_crash_in_delete_loses_no_exit_code,
];

/// How often an operation is interrupted, each time at another moment.
const ROUNDS: u32 = 5;

const OBEDIENT: &str = "while [ ! -e /go ]; do sleep 0.05; done; exit 7";

/// Some moment within `limit`, from the clock: no two runs interrupt at the same points. Printed, for a failure to show it.
fn some_moment(limit: Duration) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let moment = limit.mul_f64(f64::from(now.subsec_micros() % 1000) / 1000.0);
    println!("interrupted after {moment:?}");
    moment
}

/// Kills containerd some time after `operation` began, and the client with it, then starts it again.
fn interrupt(node: &mut Node, operation: Running, limit: Duration) {
    thread::sleep(some_moment(limit));
    node.kill9();
    operation.kill9();
    node.restart();
}

fn running_containers_survive_a_crash(node: &mut Node) {
    let pids = ["a", "b"].map(|id| node.run_detached(id, &[], &["/bin/sh", "-c", OBEDIENT]));
    for round in 0..3 {
        node.kill9();
        node.restart();
        for (id, pid) in ["a", "b"].into_iter().zip(pids) {
            assert_eq!(
                node.task(id),
                Some((pid, "RUNNING".to_owned())),
                "round {round}"
            );
            let output = node.exec(
                id,
                &format!("probe-{round}"),
                &["/bin/sh", "-c", "echo alive; exit 4"],
            );
            assert_eq!((output.code, output.stdout.as_str()), (Some(4), "alive\n"));
        }
    }
    touch(&node.rootfs().join("go"));
    for id in ["a", "b"] {
        node.wait_for(id, "STOPPED");
        assert_eq!(node.delete(id), 7);
    }
}

fn an_exit_during_the_crash_is_reported_after_it(node: &mut Node) {
    let pid = node.run_detached("mortal", &[], &["/bin/sh", "-c", OBEDIENT]);
    node.kill9();
    touch(&node.rootfs().join("go"));
    poll::until("init has ended", || {
        match fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) if !stat.contains(") Z") => Err(stat),
            _ => Ok(()),
        }
    });
    node.restart();
    assert_eq!(
        node.task("mortal"),
        Some((pid, "STOPPED".to_owned())),
        "{}",
        node.log_tail()
    );
    node.kill9();
    node.restart();
    assert_eq!(
        node.task("mortal"),
        Some((pid, "STOPPED".to_owned())),
        "the second crash changes nothing"
    );
    assert_eq!(node.delete("mortal"), 7);
}

fn an_exec_that_ends_during_the_crash_is_told_from_init(node: &mut Node) {
    let pid = node.run_detached("host", &[], &["/bin/sleep", "1000"]);
    node.ctr(&node.exec_args("host", "side", &["--detach"], &["/bin/sh", "-c", OBEDIENT]))
        .ok();
    node.kill9();
    touch(&node.rootfs().join("go"));
    node.restart();
    assert_eq!(node.task("host"), Some((pid, "RUNNING".to_owned())));
    let deleted = poll::until("the exec has ended", || {
        let output = node.ctr(&["task", "delete", "--exec-id", "side", "host"]);
        if output.stderr.is_empty() {
            Ok(output.code)
        } else {
            Err(format!("{output:?}"))
        }
    });
    assert_eq!(deleted, Some(7));
    assert_eq!(node.destroy("host"), 137);
}

fn a_writer_neither_breaks_nor_ends_with_its_reader(node: &mut Node) {
    // The count is taken after the line is written: a broken pipe would stop it.
    let script =
        "i=0; while :; do echo line $i || exit 99; i=$((i+1)); echo $i > /count; sleep 0.02; done";
    let reader = node.spawn_ctr(&node.run_args("writer", &[], &["/bin/sh", "-c", script]));
    poll::until("the reader reads", || {
        if reader.stdout().contains("line 3\n") {
            Ok(())
        } else {
            Err(reader.stderr())
        }
    });
    let before = node.task("writer").unwrap();
    let rootfs = node.rootfs();
    let count = || {
        fs::read_to_string(rootfs.join("count"))
            .ok()
            .and_then(|text| text.trim().parse::<u64>().ok())
            .unwrap_or(0)
    };
    // In this order: a ctr that sees containerd die removes the fifos.
    reader.kill9();
    node.kill9();
    let goal = count() + 20;
    poll::until("the writer goes on", || {
        if count() >= goal {
            Ok(())
        } else {
            Err(count().to_string())
        }
    });
    node.restart();
    assert_eq!(node.task("writer"), Some(before));
    let reader = node.spawn_ctr(&["task", "attach", "writer"]);
    poll::until("a new reader reads", || {
        if reader.stdout().contains("line ") {
            Ok(())
        } else {
            Err(reader.stderr())
        }
    });
    reader.kill9();
    assert_eq!(node.destroy("writer"), 137);
}

fn a_paused_container_survives_a_crash(node: &mut Node) {
    let pid = node.run_detached("still", &[], &["/bin/sh", "-c", OBEDIENT]);
    node.ctr(&["task", "pause", "still"]).ok();
    touch(&node.rootfs().join("go"));
    node.kill9();
    node.restart();
    assert_eq!(node.task("still"), Some((pid, "PAUSED".to_owned())));
    node.ctr(&["task", "resume", "still"]).ok();
    node.wait_for("still", "STOPPED");
    assert_eq!(node.delete("still"), 7);
}

fn a_crash_in_create_leaves_nothing_that_cannot_be_deleted(node: &mut Node) {
    for round in 0..ROUNDS {
        let id = format!("c-{round}");
        let bundle = node.bundle(&id);
        let operation = node.spawn_ctr(&node.run_args(&id, &["--detach"], &["/bin/sleep", "1000"]));
        poll::until("the create has begun", || {
            bundle
                .exists()
                .then_some(())
                .ok_or_else(|| operation.stderr())
        });
        interrupt(node, operation, Duration::from_millis(50));
        node.sweep();
    }
}

fn a_crash_in_start_leaves_nothing_that_cannot_be_deleted(node: &mut Node) {
    for round in 0..ROUNDS {
        let id = format!("s-{round}");
        let state = node.oci_state(&id);
        let operation = node.spawn_ctr(&node.run_args(&id, &["--detach"], &["/bin/sleep", "1000"]));
        poll::until("the OCI runtime creates", || {
            state
                .exists()
                .then_some(())
                .ok_or_else(|| operation.stderr())
        });
        interrupt(node, operation, Duration::from_millis(60));
        node.sweep();
    }
}

fn a_crash_in_exec_leaves_the_container_alone(node: &mut Node) {
    let pid = node.run_detached("host", &[], &["/bin/sleep", "1000"]);
    for round in 0..ROUNDS {
        let operation = node.spawn_ctr(&node.exec_args(
            "host",
            &format!("e-{round}"),
            &["--detach"],
            &["/bin/sleep", "1000"],
        ));
        interrupt(node, operation, Duration::from_millis(70));
        assert_eq!(
            node.task("host"),
            Some((pid, "RUNNING".to_owned())),
            "round {round}"
        );
        let output = node.exec(
            "host",
            &format!("probe-{round}"),
            &["/bin/sh", "-c", "exit 4"],
        );
        assert_eq!(output.code, Some(4), "round {round}: {output:?}");
    }
    assert_eq!(node.destroy("host"), 137);
}

fn a_crash_in_delete_loses_no_exit_code(node: &mut Node) {
    for round in 0..ROUNDS {
        let id = format!("d-{round}");
        let pid = node.run_detached(&id, &[], &["/bin/sleep", "1000"]);
        node.kill(&id, "SIGKILL");
        node.wait_for(&id, "STOPPED");
        let operation = node.spawn_ctr(&["task", "delete", &id]);
        interrupt(node, operation, Duration::from_millis(60));
        // Either the delete came through, or all is as before it.
        match node.task(&id) {
            None => {}
            Some(task) => {
                assert_eq!(task, (pid, "STOPPED".to_owned()), "round {round}");
                assert_eq!(node.delete_task(&id), 137, "round {round}");
            }
        }
        node.ctr(&["container", "delete", &id]).ok();
    }
}
