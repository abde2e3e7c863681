//! What a container says and how it ends.

use crate::support::node::Node;
use crate::support::poll;
use crate::support::tasks::{touch, without_pid_namespace};

on_every_containerd![
    a_container_says_hello_on_both_streams,
    exit_codes_are_the_programs_own,
    a_signal_gives_128_plus_its_number,
    a_process_that_ignores_sigterm_dies_of_sigkill,
    a_program_that_does_not_exist_fails_and_leaves_nothing,
    programs_that_end_at_once_keep_their_codes,
    an_exit_is_kept_until_it_is_read,
];

fn a_container_says_hello_on_both_streams(node: &mut Node) {
    let output = node.run(
        "hello",
        &[],
        &["/bin/sh", "-c", "echo hello; echo trouble >&2"],
    );
    assert_eq!(
        (output.code, output.stdout.as_str(), output.stderr.as_str()),
        (Some(0), "hello\n", "trouble\n")
    );
}

fn exit_codes_are_the_programs_own(node: &mut Node) {
    for code in [0, 7, 137, 143, 255] {
        let output = node.run(
            &format!("exit-{code}"),
            &[],
            &["/bin/sh", "-c", &format!("exit {code}")],
        );
        assert_eq!(output.code, Some(code), "{output:?}");
    }
}

fn a_signal_gives_128_plus_its_number(node: &mut Node) {
    // Without a pid namespace of its own, the init is not spared by the signals that it has no handler for.
    for (signal, code) in [
        ("SIGTERM", 143),
        ("SIGKILL", 137),
        ("SIGHUP", 129),
        ("SIGUSR1", 138),
    ] {
        let id = format!("dies-of-{signal}");
        node.ctr(&node.run_spec_args(
            &id,
            &["--detach"],
            &["/bin/sleep", "1000"],
            without_pid_namespace,
        ))
        .ok();
        node.kill(&id, signal);
        node.wait_for(&id, "STOPPED");
        assert_eq!(node.delete(&id), code, "{signal}");
    }
}

fn a_process_that_ignores_sigterm_dies_of_sigkill(node: &mut Node) {
    let heard = node.rootfs().join("heard");
    node.run_detached(
        "deaf",
        &[],
        &[
            "/bin/sh",
            "-c",
            "trap 'echo > /heard' TERM; echo > /ready; while :; do sleep 0.05; done",
        ],
    );
    poll::until("the trap is set", || {
        node.rootfs()
            .join("ready")
            .exists()
            .then_some(())
            .ok_or_else(String::new)
    });
    node.kill("deaf", "SIGTERM");
    poll::until("the signal is heard", || {
        heard.exists().then_some(()).ok_or_else(String::new)
    });
    assert_eq!(node.task("deaf").unwrap().1, "RUNNING");
    assert_eq!(node.destroy("deaf"), 137);
}

fn a_program_that_does_not_exist_fails_and_leaves_nothing(node: &mut Node) {
    let output = node.run("absent", &[], &["/bin/no-such-program"]);
    assert_ne!(output.code, Some(0));
    assert!(
        output.stderr.contains("no-such-program"),
        "the reason is told: {output:?}"
    );
    assert_eq!(node.task("absent"), None);
    drop(node.ctr(&["container", "delete", "absent"]));
    // The id is free again.
    assert_eq!(
        node.run("absent", &[], &["/bin/echo", "here"]).stdout,
        "here\n"
    );
}

fn programs_that_end_at_once_keep_their_codes(node: &mut Node) {
    for round in 0..10 {
        let output = node.run(&format!("quick-{round}"), &[], &["/bin/sh", "-c", "exit 3"]);
        assert_eq!(output.code, Some(3), "round {round}: {output:?}");
    }
}

fn an_exit_is_kept_until_it_is_read(node: &mut Node) {
    let pid = node.run_detached(
        "done",
        &[],
        &[
            "/bin/sh",
            "-c",
            "while [ ! -e /go ]; do sleep 0.05; done; exit 7",
        ],
    );
    touch(&node.rootfs().join("go"));
    node.wait_for("done", "STOPPED");
    assert_eq!(node.pid("done"), pid, "a stopped task keeps the pid it had");
    assert_eq!(node.delete("done"), 7);
    assert_eq!(node.task("done"), None);
}
