//! What `start` needs privileges for that a machine may lack: a lower OOM score than its own, core scheduling, a cgroup.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use containerd_shim_protos::protobuf::Message;

use crate::in_guest;
use crate::shim::*;

fn score(pid: u32) -> i32 {
    let text = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
    text.trim().parse().unwrap()
}

/// The action `start`, run by a shell that has prepared itself by `preparation`.
fn start_below(lab: &Lab, c: &Container, preparation: &str) -> std::process::Output {
    let action = lab.action(c, &["start"]);
    let mut command = Command::new("/bin/sh");
    // Not `exec`: the shell stays the parent, as containerd is.
    command
        .args(["-c", &format!("{preparation}\n\"$@\"\nexit $?"), "sh"])
        .arg(action.get_program())
        .args(action.get_args())
        .current_dir(action.get_current_dir().unwrap())
        .envs(
            action
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
    output(command, b"")
}

/// systemd gives containerd -999.
#[test]
fn the_shim_of_a_protected_daemon_is_a_likelier_victim_by_one() {
    in_guest();
    let lab = Lab::new();
    for (id, daemon, expected) in [("c1", -999, -998), ("c2", 0, 1), ("c3", 1000, 1000)] {
        let mut c = lab.bundle(id, |spec| {
            spec["process"]["oomScoreAdj"] = 321.into();
        });
        let reply = start_below(
            &lab,
            &c,
            &format!("echo {daemon} >/proc/self/oom_score_adj"),
        );
        assert!(reply.status.success(), "{reply:?}");
        c.set_socket(&lab, &socket_of(&reply.stdout));
        assert_eq!(score(c.shim_pid()), expected, "daemon at {daemon}");
        let pid = c.create().unwrap();
        assert_eq!(score(pid), 321, "the container has its own");
    }
}

#[test]
fn shim_cgroup_takes_the_shim_in() {
    in_guest();
    let lab = Lab::new();
    let path = format!("/outlive-test-{}-shims/one", lab.ns);
    let mut options = lab.options();
    options.shim_cgroup.clone_from(&path);
    let mut c = lab.bundle("c1", |_| ());
    let any = crate::rpc::any(
        "containerd.runc.v1.Options",
        options.write_to_bytes().unwrap(),
    );
    let reply = lab.start(&c, &any.write_to_bytes().unwrap());
    assert!(reply.status.success(), "{reply:?}");
    c.set_socket(&lab, &socket_of(&reply.stdout));
    let shim = c.shim_pid();
    let group = fs::read_to_string(format!("/proc/{shim}/cgroup")).unwrap();
    assert_eq!(group.trim(), format!("0::{path}"));
    let pid = c.create().unwrap();
    let group = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert_eq!(group.trim(), format!("0::{}", c.cgroup));
    c.delete().unwrap();
    c.end();
    crate::leaks::gone(shim);
    let dir = std::path::Path::new("/sys/fs/cgroup").join(&path[1..]);
    eventually("an empty group", || {
        fs::remove_dir(&dir).map_err(|error| error.to_string())
    });
    fs::remove_dir(dir.parent().unwrap()).unwrap();
}

/// containerd's shim refuses to start where the kernel gives no cookie, and so does this: who asked for isolation must not
/// run without it (containerd `cmd/containerd-shim-runc-v2/manager/manager_linux.go`).
#[test]
fn without_core_scheduling_in_the_kernel_a_start_that_asks_for_it_fails() {
    in_guest();
    let lab = Lab::new();
    let mut c = lab.bundle("c1", |_| ());
    let mut action = lab.action(&c, &["start"]);
    // As containerd runs it: in a process group of its own, which the cookie is for.
    action.env("SCHED_CORE", "1").process_group(0);
    let reply = output(action, b"");
    assert_eq!((reply.status.code(), &*reply.stdout), (Some(1), &b""[..]));
    let said = String::from_utf8_lossy(&reply.stderr);
    assert!(said.contains("core scheduling"), "{said}");
    // Nothing is left of it that would be in the way of the next.
    let mut action = lab.action(&c, &["start"]);
    action.env("SCHED_CORE", "");
    let reply = output(action, b"");
    assert!(reply.status.success(), "{reply:?}");
    c.set_socket(&lab, &socket_of(&reply.stdout));
    c.create().unwrap();
}
