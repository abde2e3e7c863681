//! Several tasks in one shim.

use crate::leaks;
use crate::shim::*;
use containerd_shim_protos::api::Status;
use serde_json::{Value, json};

fn in_group(script: &str, annotations: Value) -> impl FnOnce(&mut Value) {
    move |spec: &mut Value| {
        spec["process"]["args"] = json!(["/bin/sh", "-c", script]);
        spec["annotations"] = annotations;
    }
}

#[test]
fn tasks_of_a_group_share_a_shim_and_nothing_else() {
    let lab = Lab::new();
    let group = json!({"io.containerd.runc.v2.group": "pod"});
    let [a, b, c] =
        ["a", "b", "c"].map(|id| lab.shim_of(id, in_group("exec sleep 1000", group.clone())));
    assert_eq!(
        (&a.client.socket, &a.client.socket),
        (&b.client.socket, &c.client.socket)
    );
    for task in [&a, &b, &c] {
        task.create().unwrap();
        task.start().unwrap();
    }
    let shim = a.shim_pid();
    assert_eq!((b.shim_pid(), c.shim_pid()), (shim, shim));
    let state = c.state().unwrap();
    a.kill(9).unwrap();
    assert_eq!(a.wait().unwrap().exit_status, 137);
    a.delete().unwrap();
    // With tasks left Shutdown is OK and the shim stays.
    a.shutdown().unwrap();
    assert_eq!((b.status(), c.state().unwrap()), (Status::RUNNING, state));
    b.pause().unwrap();
    assert_eq!(c.status(), Status::RUNNING);
    b.resume().unwrap();
    for task in [&b, &c] {
        task.kill(15).unwrap_or_default();
        task.kill(9).unwrap();
        task.wait().unwrap();
        task.delete().unwrap();
    }
    c.end();
    leaks::gone(shim);
    assert!(!c.client.socket.exists());
}

#[test]
fn the_sandbox_annotation_groups_too_and_the_group_annotation_wins() {
    let lab = Lab::new();
    let sandbox = json!({"io.kubernetes.cri.sandbox-id": "pod"});
    let both =
        json!({"io.kubernetes.cri.sandbox-id": "pod", "io.containerd.runc.v2.group": "other"});
    let a = lab.shim_of("a", in_group("exit 0", sandbox.clone()));
    let b = lab.shim_of("b", in_group("exit 0", sandbox));
    let c = lab.shim_of("c", in_group("exit 0", both));
    assert_eq!(a.client.socket, b.client.socket);
    assert_ne!(a.client.socket, c.client.socket);
}

#[test]
fn tasks_without_a_group_have_shims_of_their_own() {
    let lab = Lab::new();
    let (a, b) = (
        lab.run("a", "exec sleep 1000"),
        lab.run("b", "exec sleep 1000"),
    );
    assert_ne!(a.client.socket, b.client.socket);
    assert_ne!(a.shim_pid(), b.shim_pid());
}

#[test]
fn shutdown_with_a_task_left_is_ok_and_the_shim_stays() {
    let lab = Lab::new();
    let c = lab.run("c1", "exit 7");
    c.wait().unwrap();
    c.shutdown().unwrap();
    assert_eq!(c.state().unwrap().exit_status, 7);
    assert_eq!(c.delete().unwrap().exit_status, 7);
}

#[test]
fn connect_answers_for_known_and_unknown_ids() {
    let lab = Lab::new();
    let c = lab.shim("c1", "exec sleep 1000");
    let before = c.connect().unwrap();
    assert_eq!(before.task_pid, 0);
    let pid = c.create().unwrap();
    let after = c.connect().unwrap();
    assert_eq!((after.shim_pid, after.task_pid), (before.shim_pid, pid));
    assert_eq!(
        c.client.process("other", "").connect().unwrap().shim_pid,
        before.shim_pid
    );
}
