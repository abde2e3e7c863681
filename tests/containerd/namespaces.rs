//! Pid and user namespaces other than the container's own.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use crate::support::node::Node;
use crate::support::tasks::without_pid_namespace;
use crate::support::{leaks, poll};

on_every_containerd![
    a_shared_pid_namespace_loses_the_children_with_init,
    the_host_pid_namespace_loses_the_children_with_init,
    a_user_namespace_maps_root,
];

/// Two children that would outlive their parent where no pid namespace ends with it.
const PARENT: &str = "sleep 1000 & sleep 1000 & while [ ! -e /go ]; do sleep 0.05; done; exit 3";

fn children_die_with_init(node: &Node, run: &[String]) {
    node.ctr(run).ok();
    poll::until("the children run", || {
        let members = leaks::members(node.namespace(), "parent");
        if members.len() >= 3 {
            Ok(())
        } else {
            Err(format!("{members:?}"))
        }
    });
    fs::write(node.rootfs().join("go"), "").unwrap();
    node.wait_for("parent", "STOPPED");
    poll::until("the children are killed", || {
        let members = leaks::members(node.namespace(), "parent");
        if members.is_empty() {
            Ok(())
        } else {
            Err(format!("{members:?}"))
        }
    });
    assert_eq!(node.delete("parent"), 3);
}

fn a_shared_pid_namespace_loses_the_children_with_init(node: &mut Node) {
    let pid = node.run_detached("owner", &[], &["/bin/sleep", "1000"]);
    let namespace = format!("pid:/proc/{pid}/ns/pid");
    children_die_with_init(
        node,
        &node.run_args(
            "parent",
            &["--detach", "--with-ns", &namespace],
            &["/bin/sh", "-c", PARENT],
        ),
    );
    assert_eq!(node.task("owner").unwrap(), (pid, "RUNNING".to_owned()));
    assert_eq!(node.destroy("owner"), 137);
}

fn the_host_pid_namespace_loses_the_children_with_init(node: &mut Node) {
    children_die_with_init(
        node,
        &node.run_spec_args(
            "parent",
            &["--detach"],
            &["/bin/sh", "-c", PARENT],
            without_pid_namespace,
        ),
    );
}

fn a_user_namespace_maps_root(node: &mut Node) {
    let maps = ["--uidmap", "0:100000:65536", "--gidmap", "0:200000:65536"];
    let args = node.run_image_args(
        "mapped",
        &[&["--detach"], &maps[..]].concat(),
        &["/bin/sleep", "1000"],
    );
    node.ctr(&args).ok();
    let process = fs::metadata(format!("/proc/{}", node.pid("mapped"))).unwrap();
    assert_eq!((process.uid(), process.gid()), (100_000, 200_000));
    let output = node.exec(
        "mapped",
        "probe",
        &[
            "/bin/sh",
            "-c",
            "id -u; id -g; read -r map < /proc/self/uid_map; echo $map; echo > /written",
        ],
    );
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (Some(0), "0\n0\n0 100000 65536\n"),
        "{}",
        output.stderr
    );
    assert_eq!(node.destroy("mapped"), 137);
}
