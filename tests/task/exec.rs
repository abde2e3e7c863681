//! Further processes of a task.

use crate::leaks;
use crate::rpc::*;
use crate::shim::*;
use crate::spec::process;
use containerd_shim_protos::api::Status;
use containerd_shim_protos::ttrpc::Code;
use serde_json::json;
use std::thread;

#[test]
fn an_exec_is_added_started_and_exits_with_its_code() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    let exec = c.exec("e1");
    assert_eq!(code(exec.state()), Code::NOT_FOUND);
    exec.add(&process("exit 7"), &Stdio::default()).unwrap();
    let state = exec.state().unwrap();
    // containerd's shim answers with the id of the process, here the exec's.
    assert_eq!(
        (known(state.status), state.pid, &*state.id),
        (Status::CREATED, 0, "e1")
    );
    let pid = exec.start().unwrap();
    let exit = exec.wait().unwrap();
    assert_eq!(exit.exit_status, 7);
    let state = exec.state().unwrap();
    assert_eq!(
        (known(state.status), state.pid, state.exit_status),
        (Status::STOPPED, pid, 7)
    );
    let deleted = exec.delete().unwrap();
    assert_eq!(
        (deleted.pid, deleted.exit_status, deleted.exited_at),
        (pid, 7, exit.exited_at)
    );
    assert_eq!(code(exec.state()), Code::NOT_FOUND);
    assert_eq!(c.status(), Status::RUNNING);
    let seen = lab.events.wait("exit c1/e1 7");
    assert_eq!(seen.pid, pid);
    assert_eq!(
        lab.events.lines(),
        [
            "create c1",
            "start c1",
            "exec-added c1/e1",
            "exec-started c1/e1",
            "exit c1/e1 7"
        ]
    );
}

#[test]
fn after_the_exit_of_init_no_exec_is_possible() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    c.exec("before")
        .add(&process("exit 0"), &Stdio::default())
        .unwrap();
    c.kill(9).unwrap();
    c.wait().unwrap();
    assert_eq!(
        code(c.exec("e1").add(&process("exit 0"), &Stdio::default())),
        Code::FAILED_PRECONDITION
    );
    assert_eq!(code(c.exec("before").start()), Code::FAILED_PRECONDITION);
    assert_eq!(code(c.exec("e1").state()), Code::NOT_FOUND);
}

#[test]
fn a_used_exec_id_already_exists_until_it_is_deleted() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    let exec = c.exec_run("e1", "exit 3");
    assert_eq!(
        code(exec.add(&process("exit 4"), &Stdio::default())),
        Code::ALREADY_EXISTS
    );
    assert_eq!(exec.wait().unwrap().exit_status, 3);
    assert_eq!(
        code(exec.add(&process("exit 4"), &Stdio::default())),
        Code::ALREADY_EXISTS
    );
    exec.delete().unwrap();
    assert_eq!(c.exec_run("e1", "exit 4").wait().unwrap().exit_status, 4);
}

#[test]
fn an_exec_of_a_missing_program_fails_and_its_id_can_be_used_again() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    let exec = c.exec("e1");
    let mut missing = process("");
    missing["args"] = json!(["/bin/none"]);
    exec.add(&missing, &Stdio::default()).unwrap();
    let failure = exec.start().unwrap_err();
    assert!(failure.message.contains("/bin/none"), "{failure:?}");
    exec.delete().unwrap();
    assert_eq!(c.exec_run("e1", "exit 5").wait().unwrap().exit_status, 5);
    assert_eq!(c.status(), Status::RUNNING);
}

#[test]
fn an_exec_that_runs_cannot_be_deleted_and_one_that_never_started_can() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    let running = c.exec_run("e1", "exec sleep 1000");
    assert_eq!(code(running.delete()), Code::FAILED_PRECONDITION);
    assert_eq!(running.status(), Status::RUNNING);
    let added = c.exec("e2");
    added.add(&process("exit 0"), &Stdio::default()).unwrap();
    added.delete().unwrap();
    assert_eq!(code(added.state()), Code::NOT_FOUND);
}

#[test]
fn two_hundred_execs_eight_at_a_time_report_their_own_codes_in_order() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    let workers: Vec<_> = (0..8_u32)
        .map(|worker| {
            let execs: Vec<_> = (0..25)
                .map(|turn| {
                    (
                        worker * 25 + turn,
                        c.exec(&format!("e{}", worker * 25 + turn)),
                    )
                })
                .collect();
            thread::spawn(move || {
                for (number, exec) in execs {
                    exec.add(&process(&format!("exit {number}")), &Stdio::default())
                        .unwrap();
                    let pid = exec.start().unwrap();
                    assert_eq!(exec.wait().unwrap().exit_status, number);
                    assert_eq!(exec.delete().unwrap().pid, pid);
                }
            })
        })
        .collect();
    workers
        .into_iter()
        .for_each(|worker| worker.join().unwrap());
    for number in 0..200 {
        lab.events.wait(&format!("exit c1/e{number} {number}"));
        let about = |line: &&String| line.split(' ').nth(1) == Some(&*format!("c1/e{number}"));
        let lines = lab.events.lines();
        let seen: Vec<_> = lines.iter().filter(about).collect();
        assert_eq!(
            seen,
            [
                &format!("exec-added c1/e{number}"),
                &format!("exec-started c1/e{number}"),
                &format!("exit c1/e{number} {number}")
            ]
        );
    }
    leaks::no_zombie_child(c.shim_pid());
}

#[test]
fn the_exit_of_init_kills_its_execs_and_is_published_last() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    let execs: Vec<_> = (0..5)
        .map(|number| c.exec_run(&format!("e{number}"), "exec sleep 1000"))
        .collect();
    c.kill(9).unwrap();
    assert_eq!(c.wait().unwrap().exit_status, 137);
    for exec in &execs {
        assert_eq!(exec.wait().unwrap().exit_status, 137);
    }
    lab.events.wait("exit c1 137");
    let lines = lab.events.lines();
    assert_eq!(
        lines
            .iter()
            .filter(|line| line.starts_with("exit c1/e"))
            .count(),
        5,
        "{lines:?}"
    );
    assert_eq!(lines.last().map(String::as_str), Some("exit c1 137"));
}

/// Without a pid namespace of its own nothing but the shim kills what init leaves.
#[test]
fn with_a_shared_pid_namespace_the_exit_of_init_kills_every_process_of_the_task() {
    let lab = Lab::new();
    let c = lab.shim_of("c1", |spec| {
        spec["process"]["args"] = json!(["/bin/sh", "-c", "sleep 1000 & exec sleep 1000"]);
        spec["linux"]["namespaces"]
            .as_array_mut()
            .unwrap()
            .retain(|namespace| namespace["type"] != "pid");
    });
    c.create().unwrap();
    c.start().unwrap();
    let exec = c.exec_run("e1", "exec sleep 1000");
    let members = eventually("three processes", || match c.pids().unwrap() {
        pids if pids.len() >= 3 => Ok(pids),
        pids => Err(format!("{pids:?}")),
    });
    c.kill(9).unwrap();
    assert_eq!(exec.wait().unwrap().exit_status, 137);
    members.iter().for_each(|(pid, _)| leaks::gone(*pid));
    lab.events.wait("exit c1 137");
    assert_eq!(
        lab.events.lines().last().map(String::as_str),
        Some("exit c1 137")
    );
}

#[test]
fn the_pids_of_a_task_are_its_init_and_its_execs_with_their_ids() {
    let lab = Lab::new();
    let c = lab.shim("c1", "exec sleep 1000");
    let init = c.create().unwrap();
    assert_eq!(c.pids().unwrap(), [(init, None)]);
    c.start().unwrap();
    c.exec("e1")
        .add(&process("exec sleep 1000"), &Stdio::default())
        .unwrap();
    let exec = c.exec("e1").start().unwrap();
    let mut pids = c.pids().unwrap();
    pids.sort_by_key(|(_, id)| id.clone());
    assert_eq!(pids, [(init, None), (exec, Some("e1".to_owned()))]);
}

/// containerd 2.x takes an empty list for a leaked shim and forgets the exit.
#[test]
fn an_exited_task_that_was_not_deleted_still_lists_its_init() {
    let lab = Lab::new();
    let c = lab.run("c1", "exit 7");
    c.wait().unwrap();
    lab.events.wait("exit c1 7");
    let pid = c.state().unwrap().pid;
    assert_eq!(c.pids().unwrap(), [(pid, None)]);
}
