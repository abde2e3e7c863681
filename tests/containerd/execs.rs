//! Further processes in a running container.

use std::thread;

use crate::support::node::Node;
use crate::support::{leaks, poll};

on_every_containerd![
    an_exec_has_its_own_output_and_exit_code,
    an_exec_after_exit_fails,
    a_used_exec_id_is_refused,
    a_detached_exec_is_listed_killed_and_deleted,
    an_exec_of_an_absent_program_fails_and_harms_nothing,
    many_execs_leave_no_zombie,
];

const FOREVER: [&str; 2] = ["/bin/sleep", "1000"];

fn an_exec_has_its_own_output_and_exit_code(node: &mut Node) {
    node.run_detached("host", &[], &FOREVER);
    for code in [0, 9, 137] {
        let script = format!("echo out {code}; echo err {code} >&2; exit {code}");
        let output = node.exec("host", &format!("exec-{code}"), &["/bin/sh", "-c", &script]);
        assert_eq!(output.code, Some(code), "{output:?}");
        assert_eq!(
            (output.stdout, output.stderr),
            (format!("out {code}\n"), format!("err {code}\n"))
        );
    }
    assert_eq!(node.destroy("host"), 137);
}

fn an_exec_after_exit_fails(node: &mut Node) {
    node.run_detached("gone", &[], &FOREVER);
    node.kill("gone", "SIGKILL");
    node.wait_for("gone", "STOPPED");
    let output = node.exec("gone", "late", &["/bin/echo", "never"]);
    assert_ne!(output.code, Some(0));
    assert_eq!(output.stdout, "");
    assert_eq!(node.delete("gone"), 137, "the exit code is still there");
}

fn a_used_exec_id_is_refused(node: &mut Node) {
    node.run_detached("host", &[], &FOREVER);
    node.ctr(&node.exec_args("host", "twice", &["--detach"], &FOREVER))
        .ok();
    let second = node.ctr(&node.exec_args("host", "twice", &["--detach"], &FOREVER));
    assert_ne!(second.code, Some(0));
    assert!(second.stderr.contains("already exists"), "{second:?}");
    assert_eq!(
        node.ctr(&["task", "ps", "host"]).ok().lines().count(),
        3,
        "a heading, init and one exec"
    );
    assert_eq!(node.destroy("host"), 137);
}

fn a_detached_exec_is_listed_killed_and_deleted(node: &mut Node) {
    let init = node.run_detached("host", &[], &FOREVER);
    node.ctr(&node.exec_args("host", "side", &["--detach"], &FOREVER))
        .ok();
    let list = node.ctr(&["task", "ps", "host"]).ok();
    assert!(
        list.lines().any(|line| line.starts_with(&init.to_string())),
        "init is listed: {list}"
    );
    assert!(
        list.contains("side"),
        "the exec is listed with its id: {list}"
    );
    node.ctr(&[
        "task",
        "kill",
        "--signal",
        "SIGTERM",
        "--exec-id",
        "side",
        "host",
    ])
    .ok();
    // An exec that still runs cannot be deleted: ctr says so until it has ended.
    let deleted = poll::until("the exec can be deleted", || {
        let output = node.ctr(&["task", "delete", "--exec-id", "side", "host"]);
        if output.stderr.is_empty() {
            Ok(output)
        } else {
            Err(format!("{output:?}"))
        }
    });
    assert_eq!(deleted.code, Some(143));
    assert_eq!(node.task("host").unwrap(), (init, "RUNNING".to_owned()));
    assert_eq!(
        node.ctr(&["task", "ps", "host"]).ok().lines().count(),
        2,
        "a heading and init"
    );
    assert_eq!(node.destroy("host"), 137);
}

fn an_exec_of_an_absent_program_fails_and_harms_nothing(node: &mut Node) {
    let init = node.run_detached("host", &[], &FOREVER);
    let output = node.exec("host", "absent", &["/bin/no-such-program"]);
    assert_ne!(output.code, Some(0));
    assert!(
        output.stderr.contains("no-such-program"),
        "the reason is told: {output:?}"
    );
    assert_eq!(
        node.exec("host", "present", &["/bin/echo", "here"]).stdout,
        "here\n"
    );
    assert_eq!(node.task("host").unwrap(), (init, "RUNNING".to_owned()));
    assert_eq!(node.destroy("host"), 137);
}

fn many_execs_leave_no_zombie(node: &mut Node) {
    node.run_detached("host", &[], &FOREVER);
    let shims = node.shims();
    assert_eq!(shims.len(), 1, "one shim: {shims:?}");
    let shared = &*node;
    thread::scope(|scope| {
        for lane in 0..4 {
            scope.spawn(move || {
                for round in 0..6 {
                    let code = lane * 10 + round;
                    let output = shared.exec(
                        "host",
                        &format!("e-{lane}-{round}"),
                        &["/bin/sh", "-c", &format!("exit {code}")],
                    );
                    assert_eq!(output.code, Some(code), "{output:?}");
                }
            });
        }
    });
    poll::until("the shim reaps", || {
        let zombies = leaks::zombies_of(&shims[..1]);
        if zombies.is_empty() {
            Ok(())
        } else {
            Err(format!("{zombies:?}"))
        }
    });
    assert_eq!(node.destroy("host"), 137);
}
