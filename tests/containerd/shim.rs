//! The shim's binary as containerd uses it, and its death.

use std::process::Command;

use crate::support::node::Node;
use crate::support::under_test::{Version, shim};
use crate::support::{leaks, poll};

on_every_containerd![
    the_binary_tells_its_version_and_features,
    containerd_is_content_with_the_runtime,
    a_killed_shim_is_noticed_and_cleaned_up,
    a_shim_killed_while_containerd_is_dead_is_cleaned_up,
];

fn the_binary_tells_its_version_and_features(node: &mut Node) {
    let version = Command::new(shim())
        .arg("-v")
        .current_dir(node.dir())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&version.stdout);
    assert!(
        version.status.success() && text.contains("containerd-shim"),
        "{version:?}"
    );
    let info = Command::new(shim())
        .arg("-info")
        .current_dir(node.dir())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&info.stdout);
    // A RuntimeInfo message: its strings are readable as they are.
    assert!(
        info.status.success() && text.contains("io.containerd.outlive.v2"),
        "{info:?}"
    );
    assert!(
        text.contains("ociVersionMin"),
        "the features of the OCI runtime: {text}"
    );
    assert_eq!(info.stderr, b"");
}

fn containerd_is_content_with_the_runtime(node: &mut Node) {
    if node.version() == Version::V2 {
        let info = node
            .ctr(&[
                "plugins",
                "inspect-runtime",
                "--runtime",
                node.runtime().name(),
            ])
            .ok();
        assert!(info.contains("ociVersionMin"), "{info}");
    }
    let output = node.run("plain", &[], &["/bin/echo", "hello"]);
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("hello\n", "")
    );
}

/// Starts a container with a root filesystem that the shim mounted; returns its pid.
fn mounted(node: &Node) -> u32 {
    let args = node.run_image_args("orphan", &["--detach"], &["/bin/sleep", "1000"]);
    node.ctr(&args).ok();
    node.ctr(&node.exec_args("orphan", "side", &["--detach"], &["/bin/sleep", "1000"]))
        .ok();
    node.pid("orphan")
}

fn kill_shims(node: &Node) {
    let shims = node.shims();
    assert_eq!(shims.len(), 1, "{shims:?}");
    Command::new("kill")
        .args(["-KILL", &shims[0].to_string()])
        .status()
        .unwrap();
}

/// Waits until neither the task nor a process of it is there, and containerd has done with its bundle.
fn vanishes(node: &Node) {
    poll::until("the container is gone", || {
        let members = leaks::members(node.namespace(), "orphan");
        match node.task("orphan") {
            None if members.is_empty() && !node.bundle("orphan").exists() => Ok(()),
            Some((_, status)) if status == "STOPPED" && members.is_empty() => {
                drop(node.ctr(&["task", "delete", "orphan"]));
                Ok(())
            }
            task => Err(format!("{task:?} {members:?}")),
        }
    });
    node.ctr(&["container", "delete", "orphan"]).ok();
}

fn a_killed_shim_is_noticed_and_cleaned_up(node: &mut Node) {
    mounted(node);
    // The task is gone before ctr could delete it, and its streams with it.
    node.orphan_fifos();
    kill_shims(node);
    vanishes(node);
    // The id is free again.
    let again = node.run("orphan", &[], &["/bin/echo", "again"]);
    assert_eq!(again.ok(), "again\n");
}

fn a_shim_killed_while_containerd_is_dead_is_cleaned_up(node: &mut Node) {
    mounted(node);
    node.kill9();
    kill_shims(node);
    node.restart();
    vanishes(node);
    let again = node.run("orphan", &[], &["/bin/echo", "again"]);
    assert_eq!(again.ok(), "again\n");
}
