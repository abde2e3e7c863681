//! Several containers in one shim.

use crate::support::node::Node;
use crate::support::tasks::touch;

on_every_containerd![
    three_containers_of_a_group_share_one_shim,
    a_group_outlives_its_first_container,
    the_containers_of_a_pod_share_one_shim,
    a_group_survives_a_crash_of_containerd,
];

const GROUP: &str = "io.containerd.runc.v2.group=trio";

fn three_of(node: &Node, annotation: &str) -> Vec<u32> {
    node.grouped_by(annotation.split_once('=').unwrap().1);
    let script = |id: &str| format!("while [ ! -e /go-{id} ]; do sleep 0.05; done; exit 7");
    ["a", "b", "c"]
        .map(|id| {
            node.run_detached(
                id,
                &["--annotation", annotation],
                &["/bin/sh", "-c", &script(id)],
            )
        })
        .to_vec()
}

fn three_containers_of_a_group_share_one_shim(node: &mut Node) {
    three_of(node, GROUP);
    assert_eq!(node.shims().len(), 1);
    for id in ["a", "b", "c"] {
        assert_eq!(
            node.exec(id, "probe", &["/bin/sh", "-c", "exit 4"]).code,
            Some(4),
            "{id}"
        );
    }
    touch(&node.rootfs().join("go-b"));
    node.wait_for("b", "STOPPED");
    assert_eq!(node.delete("b"), 7);
    assert_eq!(node.shims().len(), 1);
    for id in ["a", "c"] {
        assert_eq!(node.task(id).unwrap().1, "RUNNING", "{id}");
        assert_eq!(node.destroy(id), 137, "{id}");
    }
}

fn a_group_outlives_its_first_container(node: &mut Node) {
    three_of(node, GROUP);
    assert_eq!(node.destroy("a"), 137);
    for id in ["b", "c"] {
        assert_eq!(
            node.exec(id, "probe", &["/bin/sh", "-c", "exit 4"]).code,
            Some(4),
            "{id}"
        );
    }
    // The shim serves newcomers after its first container has gone.
    node.run_detached("d", &["--annotation", GROUP], &["/bin/sleep", "1000"]);
    assert_eq!(node.shims().len(), 1);
    for id in ["b", "c", "d"] {
        assert_eq!(node.destroy(id), 137, "{id}");
    }
}

fn the_containers_of_a_pod_share_one_shim(node: &mut Node) {
    three_of(node, "io.kubernetes.cri.sandbox-id=a");
    assert_eq!(node.shims().len(), 1);
    for id in ["c", "b", "a"] {
        assert_eq!(node.destroy(id), 137, "{id}");
    }
}

fn a_group_survives_a_crash_of_containerd(node: &mut Node) {
    let pids = three_of(node, GROUP);
    node.kill9();
    touch(&node.rootfs().join("go-b"));
    node.restart();
    node.wait_for("b", "STOPPED");
    assert_eq!((node.pid("a"), node.pid("c")), (pids[0], pids[2]));
    assert_eq!(node.shims().len(), 1);
    assert_eq!(node.delete("b"), 7);
    for id in ["a", "c"] {
        assert_eq!(
            node.exec(id, "probe", &["/bin/sh", "-c", "exit 4"]).code,
            Some(4),
            "{id}"
        );
        assert_eq!(node.destroy(id), 137, "{id}");
    }
}
