//! What Kill reaches, and what it says where there is nothing to kill.

use crate::fifo::Output;
use crate::rpc::*;
use crate::shim::*;
use crate::spec::process;
use containerd_shim_protos::api::Status;
use containerd_shim_protos::ttrpc::Code;

#[test]
fn an_exec_that_was_not_started_cannot_be_killed() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    c.exec("e1")
        .add(&process("exit 0"), &Stdio::default())
        .unwrap();
    assert_eq!(code(c.exec("e1").kill(9)), Code::FAILED_PRECONDITION);
    assert_eq!(c.exec("e1").status(), Status::CREATED);
    assert_eq!(c.status(), Status::RUNNING);
}

#[test]
fn what_is_gone_is_not_found() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    let exec = c.exec_run("e1", "exit 0");
    exec.wait().unwrap();
    assert_eq!(code(exec.kill(9)), Code::NOT_FOUND);
    assert_eq!(code(c.exec("e2").kill(9)), Code::NOT_FOUND);
    c.kill(9).unwrap();
    c.wait().unwrap();
    assert_eq!(code(c.kill(9)), Code::NOT_FOUND);
    // With `all` there may be more than init to kill; the OCI runtimes differ in what they say where there is not.
    assert!(c.kill_all(9).is_ok() || code(c.kill_all(9)) == Code::NOT_FOUND);
    assert_eq!(c.status(), Status::STOPPED);
}

#[test]
fn a_created_task_can_be_killed() {
    let lab = Lab::new();
    let c = lab.shim("c1", "exec sleep 1000");
    c.create().unwrap();
    c.kill(9).unwrap();
    assert_eq!(c.wait().unwrap().exit_status, 137);
    assert_eq!(c.status(), Status::STOPPED);
    lab.events.wait("exit c1 137");
}

#[test]
fn a_number_that_is_no_signal_is_an_invalid_argument() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    let exec = c.exec_run("e1", "exec sleep 1000");
    let before = c.state().unwrap();
    for signal in [0, 65, 999, u32::MAX] {
        assert_eq!(code(c.kill(signal)), Code::INVALID_ARGUMENT, "{signal}");
        assert_eq!(
            code(c.kill_all(signal)),
            Code::INVALID_ARGUMENT,
            "{signal}, all"
        );
        assert_eq!(
            code(exec.kill(signal)),
            Code::INVALID_ARGUMENT,
            "{signal}, exec"
        );
    }
    assert_eq!(c.state().unwrap(), before);
    assert_eq!(exec.status(), Status::RUNNING);
}

#[test]
fn kill_all_reaches_the_execs() {
    let lab = Lab::new();
    let c = lab.run("c1", "trap '' TERM; while :; do sleep 1000; done");
    let exec = c.exec_run("e1", "exec sleep 1000");
    c.kill_all(15).unwrap();
    assert_eq!(exec.wait().unwrap().exit_status, 143);
    assert_eq!(c.status(), Status::RUNNING);
}

#[test]
fn a_process_that_ignores_sigterm_stays_until_sigkill() {
    let lab = Lab::new();
    let mut c = lab.shim(
        "c1",
        "trap 'echo caught' TERM; echo ready; while :; do sleep 0.1; done",
    );
    let out = Output::new(&c.bundle.join("out"));
    c.set_stdio(&Stdio::to(&out));
    c.create().unwrap();
    c.start().unwrap();
    out.until(|text| text.contains("ready"));
    c.kill(15).unwrap();
    out.until(|text| text.contains("caught"));
    assert_eq!(c.status(), Status::RUNNING);
    c.kill(9).unwrap();
    assert_eq!(c.wait().unwrap().exit_status, 137);
}

#[test]
fn a_real_time_signal_reaches_its_handler() {
    let lab = Lab::new();
    let mut c = lab.shim(
        "c1",
        "trap 'echo rt; exit 3' 39; echo ready; while :; do sleep 0.1; done",
    );
    let out = Output::new(&c.bundle.join("out"));
    c.set_stdio(&Stdio::to(&out));
    c.create().unwrap();
    c.start().unwrap();
    out.until(|text| text.contains("ready"));
    c.kill(39).unwrap();
    assert_eq!(c.wait().unwrap().exit_status, 3);
    assert_eq!(out.to_end(), b"ready\nrt\n");
}
