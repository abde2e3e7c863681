//! The essential life of a task where the shim has few descriptors, or can start no process: it may refuse, and loses no exit,
//! no event and no stop.

use crate::fifo::Output;
use crate::leaks;
use crate::rpc::*;
use crate::shim::*;
use crate::spec::process;
use containerd_shim_protos::api::Status;
use nix::sys::signal::Signal;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

fn wait_for(lab: &Lab, lines: &[String]) {
    eventually("all events", || {
        let seen = lab.events.lines();
        let missing: Vec<_> = lines.iter().filter(|line| !seen.contains(line)).collect();
        match missing.is_empty() {
            true => Ok(()),
            false => Err(format!("missing: {missing:?}")),
        }
    });
}

/// Starts execs with two fifos each until the shim refuses one; answers those that run.
fn fill(c: &Container, most: usize) -> (Vec<(Process, Output)>, Option<Failure>) {
    let mut running = Vec::new();
    for number in 0..most {
        let id = format!("e{number}");
        let out = Output::new(&c.bundle.join(format!("out-{id}")));
        let exec = c.exec(&id);
        exec.add(&process("echo begun; exec sleep 1000"), &Stdio::to(&out))
            .unwrap();
        match exec.start() {
            Ok(_) => running.push((exec, out)),
            Err(failure) => return (running, Some(failure)),
        }
    }
    (running, None)
}

#[test]
fn with_few_descriptors_execs_are_refused_and_nothing_is_lost() {
    for under in [
        &["prlimit", "--nofile=64:64"],
        &["prlimit", "--nofile=128:128"],
        &["prlimit", "--nofile=256:256"],
    ] {
        let mut lab = Lab::new();
        lab.under = under;
        let c = lab.run("c1", "exec sleep 1000");
        let (running, refused) = fill(&c, 60);
        let refused = refused.unwrap_or_else(|| panic!("{under:?}: {} execs", running.len()));
        assert!(
            refused.message.contains("Too many open files"),
            "{refused:?}"
        );
        assert!(running.len() >= 2, "{under:?}: {} execs", running.len());
        for (_, out) in &running {
            out.until(|text| text.contains("begun"));
        }
        // What needs few is served: the OCI runtime's output, a process without stdio.
        let limits = resources(&json!({"pids": {"limit": 500}}));
        c.update(Some(limits)).unwrap();
        let plain = c.exec_run("plain", "exit 5");
        assert_eq!(plain.wait().unwrap().exit_status, 5);
        c.kill(nix::libc::SIGCONT.cast_unsigned()).unwrap();
        assert!(!lab.log().contains("without the OCI runtime"));
        // All of them at once.
        for (exec, _) in &running {
            exec.kill(9).unwrap();
        }
        for (exec, _) in &running {
            assert_eq!(exec.wait().unwrap().exit_status, 137);
        }
        let exits = running
            .iter()
            .map(|(exec, _)| format!("exit c1/{} 137", exec.exec_id));
        wait_for(&lab, &exits.collect::<Vec<_>>());
        for (exec, _) in &running {
            exec.delete().unwrap();
        }
        c.exec(&format!("e{}", running.len())).delete().unwrap();
        // What was refused is free again.
        let (running, _out) = begin_again(&c);
        c.kill(9).unwrap();
        assert_eq!(c.wait().unwrap().exit_status, 137);
        assert_eq!(running.wait().unwrap().exit_status, 137);
        c.delete().unwrap();
        wait_for(&lab, &["exit c1 137".into(), "delete c1 137".into()]);
    }
}

fn begin_again(c: &Container) -> (Process, Output) {
    let out = Output::new(&c.bundle.join("out-again"));
    let exec = c.exec("again");
    exec.add(&process("echo begun; exec sleep 1000"), &Stdio::to(&out))
        .unwrap();
    exec.start().unwrap();
    out.until(|text| text.contains("begun"));
    (exec, out)
}

/// A cgroup in which no process can be made.
struct NoFork(PathBuf);

impl NoFork {
    fn of(pid: u32) -> Self {
        let root = Path::new("/sys/fs/cgroup");
        let root = if leaks::is_v2() {
            fs::write(root.join("cgroup.subtree_control"), "+pids").unwrap();
            root.to_owned()
        } else {
            root.join("pids")
        };
        let dir = root.join(format!("outlive-test-nofork-{pid}"));
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("cgroup.procs"), pid.to_string()).unwrap();
        let group = Self(dir);
        group.allow("0");
        group
    }
    fn allow(&self, most: &str) {
        fs::write(self.0.join("pids.max"), most).unwrap();
    }
}

impl Drop for NoFork {
    fn drop(&mut self) {
        let processes = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        for pid in processes.lines() {
            let root = self.0.parent().unwrap().join("cgroup.procs");
            fs::write(root, pid).unwrap_or_default();
        }
        fs::remove_dir(&self.0).unwrap_or_default();
    }
}

#[test]
fn where_no_process_can_be_started_a_container_is_stopped_and_its_exit_is_told() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    let exec = c.exec_run("e1", "exec sleep 1000");
    let group = NoFork::of(c.shim_pid());
    let refused = c.exec("e2");
    refused.add(&process("exit 0"), &Stdio::default()).unwrap();
    assert!(refused.start().is_err(), "it needs a process");
    exec.kill(9).unwrap();
    assert_eq!(exec.wait().unwrap().exit_status, 137);
    // The signal that a stop begins with.
    c.kill(nix::libc::SIGTERM.cast_unsigned()).unwrap();
    c.kill(9).unwrap();
    assert_eq!(c.wait().unwrap().exit_status, 137);
    assert_eq!(c.status(), Status::STOPPED);
    wait_for(&lab, &["exit c1/e1 137".into(), "exit c1 137".into()]);
    assert!(c.delete().is_err(), "it needs the OCI runtime");
    group.allow("max");
    c.delete().unwrap();
    wait_for(&lab, &["delete c1 137".into()]);
}

#[test]
fn where_no_process_can_be_started_what_shares_a_pid_namespace_is_killed_with_init() {
    let lab = Lab::new();
    let c = lab.shim_of("c1", |spec| {
        spec["process"]["args"] = json!(["/bin/sh", "-c", "sleep 1000 & exec sleep 1000"]);
        let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "pid");
    });
    c.create().unwrap();
    c.start().unwrap();
    let both = eventually("two processes", || match c.pids().unwrap() {
        pids if pids.len() == 2 => Ok(pids),
        pids => Err(format!("{pids:?}")),
    });
    let group = NoFork::of(c.shim_pid());
    c.kill(9).unwrap();
    assert_eq!(c.wait().unwrap().exit_status, 137);
    both.iter().for_each(|(pid, _)| leaks::gone(*pid));
    drop(group);
}

#[test]
fn where_no_process_can_be_started_the_end_of_init_by_itself_kills_what_it_left() {
    let lab = Lab::new();
    let c = lab.shim_of("c1", |spec| {
        spec["process"]["args"] = json!(["/bin/sh", "-c", "sleep 1000 & exec sleep 1000"]);
        let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "pid");
    });
    c.create().unwrap();
    c.start().unwrap();
    let both = eventually("two processes", || match c.pids().unwrap() {
        pids if pids.len() == 2 => Ok(pids),
        pids => Err(format!("{pids:?}")),
    });
    let group = NoFork::of(c.shim_pid());
    leaks::signal(c.state().unwrap().pid, Signal::SIGKILL);
    assert_eq!(c.wait().unwrap().exit_status, 137);
    both.iter().for_each(|(pid, _)| leaks::gone(*pid));
    drop(group);
}

#[test]
fn a_paused_container_is_killed_where_no_process_can_be_started() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    c.pause().unwrap();
    let group = NoFork::of(c.shim_pid());
    c.kill(9).unwrap();
    assert_eq!(c.wait().unwrap().exit_status, 137);
    drop(group);
}
