//! Further processes in a running container.

use std::fs;
use std::io::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::node::Node;
use crate::support::under_test::{Runtime, oci_runtime};
use crate::support::{leaks, poll, program};

on_every_containerd![
    an_exec_has_its_own_output_and_exit_code,
    an_exec_after_exit_fails,
    a_used_exec_id_is_refused,
    a_detached_exec_is_listed_killed_and_deleted,
    an_exec_of_an_absent_program_fails_and_harms_nothing,
    many_execs_leave_no_zombie,
    stdin_that_ends_while_an_exec_starts_ends_for_the_exec,
    init_ends_although_execs_fail_to_start_meanwhile,
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

/// Arguments for a container whose OCI runtime runs `script` at each exec, before the real one or in place of it.
fn slow_exec(node: &Node, script: &str) -> [String; 2] {
    let real = oci_runtime().unwrap_or_else(|| "runc".to_owned());
    let path = node.dir().join("slow-exec");
    let path = path.to_str().unwrap();
    let text = format!(
        "#!/bin/sh\nfor word in \"$@\"; do\n[ \"$word\" != exec ] || {{ {script}; }}\ndone\nexec {real} \"$@\"\n"
    );
    program::write(path.as_ref(), text);
    if *node.runtime() == Runtime::Go {
        return ["--runc-binary".to_owned(), path.to_owned()];
    }
    let options = node.dir().join("slow-exec.toml");
    fs::write(&options, format!("binary_name = \"{path}\"\n")).unwrap();
    let options = options.to_str().unwrap().to_owned();
    ["--runtime-config-path".to_owned(), options]
}

/// `echo hello | ctr task exec ..`: ctr closes stdin before its Start has answered.
fn stdin_that_ends_while_an_exec_starts_ends_for_the_exec(node: &mut Node) {
    let flags = slow_exec(node, "sleep 0.2");
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    node.run_detached("host", &flags, &FOREVER);
    for round in 0..5 {
        let args = node.exec_args("host", &format!("e-{round}"), &[], &["/bin/cat"]);
        let mut running = node.spawn_ctr(&args);
        let mut stdin = running.take_stdin();
        stdin.write_all(b"hello\n").unwrap();
        drop(stdin);
        let output = running.finish();
        assert_eq!(
            (output.code, output.stdout.as_str()),
            (Some(0), "hello\n"),
            "round {round}: {}",
            output.stderr
        );
    }
    assert_eq!(node.destroy("host"), 137);
}

/// Exec probes in flight (containerd's integration test TestIssue10589).
fn init_ends_although_execs_fail_to_start_meanwhile(node: &mut Node) {
    let arrived = node.dir().join("arrived");
    fs::create_dir(&arrived).unwrap();
    let script = format!(": >{}/$$; sleep 1; exit 1", arrived.display());
    let flags = slow_exec(node, &script);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let init = node.run_detached("host", &flags, &FOREVER);
    let probes: Vec<_> = (0..2)
        .map(|number| {
            let id = format!("probe-{number}");
            node.spawn_ctr(&node.exec_args("host", &id, &["--detach"], &["/bin/true"]))
        })
        .collect();
    poll::until("both execs are being started", || {
        let calls = fs::read_dir(&arrived).unwrap().count();
        if calls >= 2 {
            Ok(())
        } else {
            Err(calls.to_string())
        }
    });
    let killed = Instant::now();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(init.cast_signed()),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    node.wait_for("host", "STOPPED");
    // Ten seconds is how long an exec that cannot die may hold the exit back.
    assert!(
        killed.elapsed() < Duration::from_secs(8),
        "{:?}",
        killed.elapsed()
    );
    for probe in probes {
        assert_ne!(probe.finish().code, Some(0));
    }
    assert_eq!(node.delete("host"), 137);
}
