//! A task that its manager has forgotten: the bundle is gone, and nobody will ever delete the task.
//!
//! containerd does this to a shim that does not answer while it loads its tasks: it runs `delete`, which kills the
//! container, and removes the bundle. The shim may be there again a moment later.

use crate::leaks;
use crate::shim::*;
use containerd_shim_protos::api::Status;
use containerd_shim_protos::ttrpc::Code;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::json;
use std::fs;

/// What containerd does about a shim that does not answer, while it stands still.
fn give_up(lab: &Lab, silent: u32, containers: &[&Container]) {
    crate::stopped::stop(Pid::from_raw(i32::try_from(silent).unwrap()));
    for c in containers {
        let bundle = c.bundle.to_str().unwrap();
        let reply = output(lab.action(c, &["-bundle", bundle, "delete"]), b"");
        assert!(reply.status.success(), "{reply:?}");
        assert_eq!(leaks::mounts(&c.bundle).len(), 0);
        fs::remove_dir_all(&c.bundle).unwrap();
    }
    leaks::signal(silent, Signal::SIGCONT);
}

/// A running container with nothing mounted in its bundle, which can be removed under it.
fn run_without_mounts(lab: &Lab, script: &str) -> Container {
    let mut c = lab.bundle("c1", |spec| {
        spec["process"]["args"] = json!(["/bin/sh", "-c", script]);
        spec["root"]["path"] = json!(lab.dir.join("rootfs"));
    });
    c.request.rootfs.clear();
    let reply = lab.start(&c, b"");
    c.set_socket(lab, &socket_of(&reply.stdout));
    c.create().unwrap();
    c.start().unwrap();
    c
}

#[test]
fn a_shim_that_was_given_up_while_it_stood_still_leaves() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    let exec = c.exec_run("e1", "exec sleep 1000").state().unwrap().pid;
    let (shim, pid) = (c.shim_pid(), c.state().unwrap().pid);
    give_up(&lab, shim, &[&c]);
    leaks::gone(shim);
    assert!(!leaks::alive(pid) && !leaks::alive(exec));
    assert!(!c.client.socket.exists());
    lab.events.wait("delete c1 137");
}

#[test]
fn a_shim_of_a_group_forgets_those_that_were_given_up_and_keeps_the_others() {
    let lab = Lab::new();
    let [leader, given_up, kept] = ["a", "b", "c"].map(|id| {
        lab.shim_of(id, |spec| {
            spec["process"]["args"] = json!(["/bin/sh", "-c", "exec sleep 1000"]);
            spec["annotations"] = json!({"io.containerd.runc.v2.group": "pod"});
        })
    });
    for c in [&leader, &given_up, &kept] {
        c.create().unwrap();
        c.start().unwrap();
    }
    let (shim, pid) = (kept.shim_pid(), kept.state().unwrap().pid);
    give_up(&lab, shim, &[&leader, &given_up]);
    for c in [&leader, &given_up] {
        eventually("the task is forgotten", || match c.state() {
            Err(error) if error.code == Code::NOT_FOUND => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
    assert_eq!(kept.status(), Status::RUNNING);
    assert!(leaks::alive(pid));
    kept.kill(9).unwrap();
    assert_eq!(kept.wait().unwrap().exit_status, 137);
    assert_eq!(kept.delete().unwrap().exit_status, 137);
    // Nobody says Shutdown.
    leaks::gone(shim);
}

/// Not all that is removed was cleaned up before.
#[test]
fn an_ended_task_whose_bundle_is_gone_leaves_nothing_with_the_oci_runtime() {
    let lab = Lab::new();
    let c = run_without_mounts(&lab, "exit 7");
    assert_eq!(c.wait().unwrap().exit_status, 7);
    let shim = c.shim_pid();
    assert!(lab.runc_root().join("c1").exists());
    fs::remove_dir_all(&c.bundle).unwrap();
    leaks::gone(shim);
    assert!(!lab.runc_root().join("c1").exists());
    assert_eq!(leaks::cgroup_dirs(&c.cgroup).len(), 0);
}

#[test]
fn a_running_task_whose_bundle_is_gone_runs_on_and_obeys() {
    let lab = Lab::new();
    let c = run_without_mounts(&lab, "exec sleep 1000");
    let shim = c.shim_pid();
    fs::remove_dir_all(&c.bundle).unwrap();
    c.pause().unwrap();
    assert_eq!(c.status(), Status::PAUSED);
    c.resume().unwrap();
    assert_eq!(c.status(), Status::RUNNING);
    c.kill(9).unwrap();
    assert_eq!(c.wait().unwrap().exit_status, 137);
    leaks::gone(shim);
}
