//! Pause and Resume.

use crate::leaks;
use crate::rpc::*;
use crate::shim::*;
use crate::spec::process;
use containerd_shim_protos::api::Status;
use containerd_shim_protos::ttrpc::Code;
use nix::sys::signal::Signal;
use std::thread;
use std::time::Duration;

#[test]
fn a_task_pauses_and_resumes_with_its_events() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    c.pause().unwrap();
    assert_eq!(c.status(), Status::PAUSED);
    assert_eq!(code(c.delete()), Code::FAILED_PRECONDITION);
    assert_eq!(
        code(c.exec("e1").add(&process("exit 0"), &Stdio::default())),
        Code::FAILED_PRECONDITION
    );
    c.resume().unwrap();
    assert_eq!(c.status(), Status::RUNNING);
    lab.events.wait("resumed c1");
    assert_eq!(
        lab.events.lines(),
        ["create c1", "start c1", "paused c1", "resumed c1"]
    );
}

#[test]
fn only_a_running_task_pauses_and_only_a_paused_one_resumes() {
    let lab = Lab::new();
    let c = lab.shim("c1", "exec sleep 1000");
    assert_eq!(
        (code(c.pause()), code(c.resume())),
        (Code::NOT_FOUND, Code::NOT_FOUND)
    );
    c.create().unwrap();
    assert_eq!(
        (code(c.pause()), code(c.resume())),
        (Code::FAILED_PRECONDITION, Code::FAILED_PRECONDITION)
    );
    c.start().unwrap();
    assert_eq!(code(c.resume()), Code::FAILED_PRECONDITION);
    c.pause().unwrap();
    assert_eq!(code(c.pause()), Code::FAILED_PRECONDITION);
    assert_eq!(c.status(), Status::PAUSED);
    c.resume().unwrap();
    c.kill(9).unwrap();
    c.wait().unwrap();
    assert_eq!(
        (code(c.pause()), code(c.resume())),
        (Code::FAILED_PRECONDITION, Code::FAILED_PRECONDITION)
    );
    assert_eq!(c.status(), Status::STOPPED);
}

#[test]
fn wait_on_a_paused_task_blocks_until_it_exits() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    c.pause().unwrap();
    let waiter = thread::spawn({
        let c = (*c).clone();
        move || c.wait()
    });
    // Several answers later the waiter still has none.
    for _ in 0..20 {
        assert_eq!(c.status(), Status::PAUSED);
        thread::park_timeout(Duration::from_millis(10));
        assert!(!waiter.is_finished());
    }
    c.resume().unwrap();
    c.kill(9).unwrap();
    assert_eq!(waiter.join().unwrap().unwrap().exit_status, 137);
}

#[test]
fn a_task_that_dies_while_paused_has_exited() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    let pid = c.state().unwrap().pid;
    c.pause().unwrap();
    // A v1 freezer holds the process until it thaws; v2 lets SIGKILL through.
    leaks::signal(pid, Signal::SIGKILL);
    if !leaks::is_v2() {
        assert_eq!(c.status(), Status::PAUSED);
        c.resume().unwrap();
    }
    assert_eq!(c.wait().unwrap().exit_status, 137);
    assert_eq!(c.status(), Status::STOPPED);
    c.delete().unwrap();
}

/// `runc kill` thaws after SIGKILL.
#[test]
fn kill_9_ends_a_paused_task() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    c.pause().unwrap();
    c.kill(9).unwrap();
    assert_eq!(c.wait().unwrap().exit_status, 137);
    assert_eq!(c.status(), Status::STOPPED);
    assert_eq!(c.delete().unwrap().exit_status, 137);
    lab.events.wait("delete c1 137");
}
