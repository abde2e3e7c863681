//! Calls that come while another call of the same process, or of init, is pending.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use containerd_shim_protos::api::Status;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::ttrpc::Code;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fifo::*;
use crate::program;
use crate::rpc::*;
use crate::shim::*;
use crate::spec::process;

/// An OCI runtime whose `verb` waits at a gate, and then runs `after` in place of the real one where that is given.
struct Gated {
    arrived: PathBuf,
    gate: PathBuf,
}

impl Gated {
    /// The runtime of `c`, whose task is not created yet.
    fn new(lab: &Lab, c: &mut Container, verb: &str, after: &str) -> Self {
        let made = Self {
            arrived: lab.dir.join("arrived"),
            gate: lab.dir.join("gate"),
        };
        let mut options = lab.options();
        let real = match options.binary_name.as_str() {
            "" => "runc",
            name => name,
        };
        let script = format!(
            "#!/bin/sh\nfor word in \"$@\"; do if [ \"$word\" = {verb} ]; then : >{arrived}; \
             while [ -e {gate} ]; do sleep 0.02; done; {after}\nfi; done\nexec {real} \"$@\"\n",
            arrived = made.arrived.display(),
            gate = made.gate.display(),
        );
        let path = lab.dir.join("gated");
        program::write(&path, script);
        fs::write(&made.gate, "").unwrap();
        options.binary_name = path.display().to_string();
        c.set_options(
            "containerd.runc.v1.Options",
            options.write_to_bytes().unwrap(),
        );
        made
    }

    fn until_arrived(&self) {
        eventually("the call of the OCI runtime", || {
            let there = self.arrived.exists();
            there.then_some(()).ok_or_else(|| "not called".to_owned())
        });
    }

    fn open(&self) {
        fs::remove_file(&self.gate).unwrap();
    }
}

#[test]
fn stdin_that_is_closed_while_an_exec_starts_ends_for_the_exec() {
    let lab = Lab::new();
    let mut c = lab.shim("c1", "exec sleep 1000");
    let gated = Gated::new(&lab, &mut c, "exec", "");
    c.create().unwrap();
    c.start().unwrap();
    let (stdin, out) = (
        make(&c.bundle.join("in")),
        Output::new(&c.bundle.join("out")),
    );
    let exec = c.exec("e1");
    exec.add(
        &process("cat; echo ended"),
        &Stdio::to(&out).with_stdin(&stdin),
    )
    .unwrap();
    thread::scope(|scope| {
        let start = scope.spawn(|| exec.start());
        gated.until_arrived();
        let mut input = Input::open(&stdin);
        input.write("hello\n");
        exec.close_stdin().unwrap();
        drop(input);
        gated.open();
        start.join().unwrap().unwrap();
    });
    assert_eq!(exec.wait().unwrap().exit_status, 0);
    assert_eq!(out.until(|text| text.contains("ended")), "hello\nended\n");
}

#[test]
fn stdin_that_is_closed_before_an_exec_is_started_ends_for_the_exec() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    let (stdin, out) = (
        make(&c.bundle.join("in")),
        Output::new(&c.bundle.join("out")),
    );
    let exec = c.exec("e1");
    exec.add(&process("exec cat"), &Stdio::to(&out).with_stdin(&stdin))
        .unwrap();
    exec.close_stdin().unwrap();
    let mut input = Input::open(&stdin);
    exec.start().unwrap();
    input.write("hello\n");
    drop(input);
    assert_eq!(exec.wait().unwrap().exit_status, 0);
    assert_eq!(out.until(|text| text.ends_with('\n')), "hello\n");
}

#[test]
fn a_terminal_has_the_size_that_was_asked_for_while_its_exec_started() {
    let lab = Lab::new();
    let mut c = lab.shim("c1", "exec sleep 1000");
    let gated = Gated::new(&lab, &mut c, "exec", "");
    c.create().unwrap();
    c.start().unwrap();
    let (stdin, out) = (
        make(&c.bundle.join("in")),
        Output::new(&c.bundle.join("out")),
    );
    let exec = c.exec("e1");
    let stdio = Stdio::to(&out).with_stdin(&stdin).terminal();
    exec.add(&process("read line; stty size"), &stdio).unwrap();
    thread::scope(|scope| {
        let start = scope.spawn(|| exec.start());
        gated.until_arrived();
        exec.resize(91, 17).unwrap();
        gated.open();
        start.join().unwrap().unwrap();
    });
    Input::open(&stdin).write("\n");
    out.until(|text| text.contains("17 91"));
    assert_eq!(exec.wait().unwrap().exit_status, 0);
}

#[test]
fn an_exec_waits_for_the_resume_of_its_container() {
    let lab = Lab::new();
    let mut c = lab.shim("c1", "exec sleep 1000");
    let gated = Gated::new(&lab, &mut c, "resume", "");
    c.create().unwrap();
    c.start().unwrap();
    let before = c.exec("before");
    before.add(&process("exit 3"), &Stdio::default()).unwrap();
    c.pause().unwrap();
    thread::scope(|scope| {
        let resume = scope.spawn(|| c.resume());
        gated.until_arrived();
        let start = scope.spawn(|| before.start());
        let during = c.exec("during");
        let add = scope.spawn(|| {
            let during = c.exec("during");
            during.add(&process("exit 4"), &Stdio::default())
        });
        assert_eq!(code(during.state()), Code::NOT_FOUND);
        gated.open();
        resume.join().unwrap().unwrap();
        start.join().unwrap().unwrap();
        add.join().unwrap().unwrap();
        during.start().unwrap();
        assert_eq!(during.wait().unwrap().exit_status, 4);
    });
    assert_eq!(before.wait().unwrap().exit_status, 3);
}

/// An exec probe whose start fails while the container dies (containerd's integration test TestIssue10589).
#[test]
fn an_exec_whose_start_fails_does_not_hold_back_the_exit_of_init() {
    let lab = Lab::new();
    let mut c = lab.shim("c1", "exec sleep 1000");
    let gated = Gated::new(&lab, &mut c, "exec", "exit 1");
    c.create().unwrap();
    let pid = c.start().unwrap();
    let (exec, other) = (c.exec("e1"), c.exec("e2"));
    exec.add(&process("exit 0"), &Stdio::default()).unwrap();
    thread::scope(|scope| {
        let wait = scope.spawn(|| {
            let exit = c.wait();
            (exit, Instant::now())
        });
        let start = scope.spawn(|| exec.start());
        gated.until_arrived();
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
        eventually("the exit on disk", || {
            let recorded = fs::metadata(c.bundle.join("exits")).map_err(|e| e.to_string())?;
            (recorded.len() > 0)
                .then_some(())
                .ok_or_else(|| "empty".to_owned())
        });
        eventually("the end of signals", || match c.kill(15) {
            Err(failure) if failure.code == Code::NOT_FOUND => Ok(()),
            other => Err(format!("{other:?}")),
        });
        // One truth: State says running until the exit is announced, so an exec may be registered, but not started.
        assert_eq!(c.status(), Status::RUNNING);
        other.add(&process("exit 0"), &Stdio::default()).unwrap();
        assert_eq!(code(other.start()), Code::FAILED_PRECONDITION);
        assert!(!wait.is_finished());
        gated.open();
        let failed = start.join().unwrap();
        let answered = Instant::now();
        assert!(failed.is_err(), "{failed:?}");
        let (exit, at) = wait.join().unwrap();
        assert_eq!(exit.unwrap().exit_status, 137);
        // Ten seconds is how long an exec that cannot die may hold it back.
        let held_back = at.saturating_duration_since(answered);
        assert!(held_back < Duration::from_secs(5), "{held_back:?}");
    });
    assert_eq!(c.status(), Status::STOPPED);
    assert_eq!(
        code(c.exec("e3").add(&process("exit 0"), &Stdio::default())),
        Code::FAILED_PRECONDITION
    );
}
