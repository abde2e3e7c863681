//! `start`, `delete`, `-info` and `-v`, as containerd runs them.

use crate::fifo::make;
use crate::leaks;
use crate::program;
use crate::rpc::any;
use crate::shim::*;
use containerd_shim_protos::api::{DeleteResponse, Status};
use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult, Extension};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::types::introspection::RuntimeInfo;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

#[test]
fn a_legacy_start_is_answered_with_a_bare_address() {
    let lab = Lab::new();
    let mut c = lab.bundle("c1", |_| ());
    let reply = lab.start(&c, b"");
    let text = String::from_utf8(reply.stdout.clone()).unwrap();
    c.set_socket(&lab, &socket_of(&reply.stdout));
    assert!(
        text.starts_with("unix:///run/containerd/s/") && text.trim_end().len() <= 107,
        "{text:?}"
    );
    // The same again finds the same shim.
    assert_eq!(lab.start(&c, b"").stdout, reply.stdout);
}

#[test]
fn a_bootstrap_start_is_answered_with_a_bootstrap_result_and_obeys_the_socket_directory() {
    let lab = Lab::new();
    let mut c = lab.bundle("c1", |_| ());
    let sockets = lab.dir.join("s");
    let mut params = BootstrapParams::new();
    params.instance_id = "c1".to_owned();
    params.namespace.clone_from(&lab.ns);
    params.containerd_version = "2.3.0".to_owned();
    params.containerd_ttrpc_address = lab.events.socket.display().to_string();
    params.containerd_grpc_address = lab.dir.join("g.sock").display().to_string();
    params.containerd_binary = "/bin/true".to_owned();
    params.socket_dir = Some(sockets.display().to_string());
    let mut extension = Extension::new();
    extension.value = c.request.options.clone();
    params.extensions.push(extension);
    let reply = lab.start(&c, &params.write_to_bytes().unwrap());
    let result = BootstrapResult::parse_from_bytes(&reply.stdout).unwrap();
    assert_eq!((result.version, &*result.protocol), (3, "ttrpc"));
    let socket = PathBuf::from(result.address.strip_prefix("unix://").unwrap());
    assert_eq!(socket.parent(), Some(&*sockets));
    c.set_socket(&lab, &socket);
    c.create().unwrap();
    assert_eq!(c.status(), Status::CREATED);
}

#[test]
fn the_shim_is_a_session_of_its_own_with_a_higher_oom_score() {
    let lab = Lab::new();
    let c = lab.shim("c1", "exit 0");
    let pid = c.shim_pid();
    // proc(5): 5 is the process group, 6 the session, 7 the terminal.
    let field = |number| leaks::stat(pid, number).unwrap();
    assert_eq!((field(5), field(7)), (pid.to_string(), "0".to_owned()));
    assert_ne!(field(6), leaks::stat(std::process::id(), 6).unwrap());
    let score = |pid: &str| {
        fs::read_to_string(format!("/proc/{pid}/oom_score_adj"))
            .unwrap()
            .trim()
            .parse::<i32>()
            .unwrap()
    };
    assert_eq!(score(&pid.to_string()), (score("self") + 1).min(1000));
}

/// A daemon that died reads no log: the fifo fills up, and nothing waits for it.
#[test]
fn a_log_that_nobody_reads_or_that_is_missing_stops_nothing() {
    let lab = Lab::new();
    for (id, log) in [("c1", true), ("c2", false)] {
        let mut c = lab.bundle(id, |_| ());
        fs::remove_file(c.bundle.join("log")).unwrap();
        if log {
            make(&c.bundle.join("log"));
        }
        let reply = lab.start(&c, b"");
        c.set_socket(&lab, &socket_of(&reply.stdout));
        c.create().unwrap();
        c.start().unwrap();
        for number in 0..5 {
            assert_eq!(
                c.exec_run(&format!("e{number}"), "exit 1")
                    .wait()
                    .unwrap()
                    .exit_status,
                1
            );
        }
        assert_eq!(c.status(), Status::RUNNING);
    }
}

#[test]
fn a_socket_that_a_killed_shim_left_is_taken_over() {
    let lab = Lab::new();
    let c = lab.shim("c1", "exit 7");
    let dead = c.shim_pid();
    leaks::signal(dead, Signal::SIGKILL);
    leaks::gone(dead);
    assert!(c.client.socket.exists());
    let reply = lab.start(&c, b"");
    assert_eq!(socket_of(&reply.stdout), c.client.socket);
    c.create().unwrap();
    c.start().unwrap();
    assert_eq!(c.wait().unwrap().exit_status, 7);
}

fn delete(lab: &Lab, c: &Container) -> DeleteResponse {
    let bundle = c.bundle.to_str().unwrap();
    let reply = output(lab.action(c, &["-bundle", bundle, "delete"]), b"");
    assert!(reply.status.success(), "{reply:?}");
    DeleteResponse::parse_from_bytes(&reply.stdout).unwrap()
}

fn kill_shim(c: &Container) {
    let shim = c.shim_pid();
    leaks::signal(shim, Signal::SIGKILL);
    leaks::gone(shim);
}

fn nothing_left(lab: &Lab, c: &Container) {
    assert_eq!(leaks::mounts(&lab.dir).len(), 0);
    assert!(!lab.runc_root().join("c1").exists());
    assert!(!c.client.socket.exists());
    assert_eq!(leaks::cgroup_dirs(&c.cgroup), Vec::<PathBuf>::new());
}

#[test]
fn delete_after_the_death_of_the_shim_ends_the_task_and_leaves_nothing() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    let (pid, exec) = (
        c.state().unwrap().pid,
        c.exec_run("e1", "exec sleep 1000").state().unwrap().pid,
    );
    kill_shim(&c);
    assert!(leaks::alive(pid), "the task outlives its shim");
    let answer = delete(&lab, &c);
    assert_eq!((answer.pid, answer.exit_status), (pid, 137));
    assert!(answer.exited_at.seconds > 0);
    assert!(!leaks::alive(pid) && !leaks::alive(exec));
    nothing_left(&lab, &c);
    // Once more, as containerd does when its answer was lost.
    delete(&lab, &c);
}

/// containerd's own shim says 137 here.
#[test]
fn delete_after_the_death_of_the_shim_reports_the_exit_that_was_recorded() {
    let lab = Lab::new();
    let c = lab.run("c1", "exit 7");
    let exit = c.wait().unwrap();
    let pid = c.state().unwrap().pid;
    kill_shim(&c);
    let answer = delete(&lab, &c);
    assert_eq!(
        (answer.pid, answer.exit_status, answer.exited_at),
        (pid, 7, exit.exited_at)
    );
    nothing_left(&lab, &c);
}

#[test]
fn delete_of_a_bundle_that_never_had_a_shim_is_no_error() {
    let lab = Lab::new();
    let c = lab.bundle("c1", |_| ());
    delete(&lab, &c);
}

#[test]
fn info_tells_the_runtime_and_its_features() {
    let lab = Lab::new();
    let c = lab.bundle("c1", |_| ());
    let reply = output(lab.action(&c, &["-info"]), b"");
    assert!(
        reply.status.success() && reply.stderr.is_empty(),
        "{reply:?}"
    );
    let info = RuntimeInfo::parse_from_bytes(&reply.stdout).unwrap();
    assert!(
        !info.name.is_empty() && !info.version.version.is_empty(),
        "{info}"
    );
    assert_eq!(
        info.features.type_url,
        "types.containerd.io/opencontainers/runtime-spec/1/features/Features"
    );
    let features: Value = serde_json::from_slice(&info.features.value).unwrap();
    assert!(features["ociVersionMax"].is_string(), "{features}");
}

/// There is no bundle that a log could be in.
#[test]
fn info_has_the_runtime_write_no_log() {
    let lab = Lab::new();
    let c = lab.bundle("c1", |_| ());
    let (program, told) = (lab.dir.join("runtime"), lab.dir.join("told"));
    let script = format!("#!/bin/sh\necho \"$*\" > {}\necho '{{}}'\n", told.display());
    program::write(&program, script);
    let mut options = lab.options();
    options.binary_name = program.display().to_string();
    let options = any(
        "containerd.runc.v1.Options",
        options.write_to_bytes().unwrap(),
    );
    let reply = output(
        lab.action(&c, &["-info"]),
        &options.write_to_bytes().unwrap(),
    );
    assert!(reply.status.success(), "{reply:?}");
    let told = fs::read_to_string(told).unwrap();
    assert!(
        told.contains("features") && !told.contains("--log"),
        "{told}"
    );
}

#[test]
fn version_is_printed() {
    let lab = Lab::new();
    let c = lab.bundle("c1", |_| ());
    for flag in ["-v", "-version"] {
        let reply = output(lab.action(&c, &[flag]), b"");
        assert!(
            reply.status.success() && String::from_utf8_lossy(&reply.stdout).contains("ersion"),
            "{reply:?}"
        );
    }
}
