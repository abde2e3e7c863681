//! A task from Create to Delete, and how it ends.

use crate::fifo::Output;
use crate::leaks;
use crate::rpc::*;
use crate::shim::*;
use containerd_shim_protos::api::Status;
use containerd_shim_protos::events::task::TaskCreate;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::ttrpc::Code;
use std::thread;

fn full_life(service: &str) {
    let lab = Lab::speaking(service);
    let c = lab.shim("c1", "exec sleep 1000");
    assert_eq!(code(c.state()), Code::NOT_FOUND);
    let pid = c.create().unwrap();
    let state = c.state().unwrap();
    assert_eq!((known(state.status), state.pid), (Status::CREATED, pid));
    assert_eq!(
        (&*state.id, &*state.bundle),
        ("c1", c.bundle.to_str().unwrap())
    );
    assert_eq!(c.connect().unwrap().task_pid, pid);
    assert_eq!(c.start().unwrap(), pid);
    assert_eq!(c.status(), Status::RUNNING);
    c.kill(15).unwrap();
    c.kill(9).unwrap();
    let exit = c.wait().unwrap();
    assert_eq!(exit.exit_status, 137);
    let state = c.state().unwrap();
    assert_eq!(
        (known(state.status), state.pid, state.exit_status),
        (Status::STOPPED, pid, 137)
    );
    assert_eq!(state.exited_at, exit.exited_at);
    let deleted = c.delete().unwrap();
    assert_eq!(
        (deleted.pid, deleted.exit_status, &deleted.exited_at),
        (pid, 137, &exit.exited_at)
    );
    assert_eq!(code(c.state()), Code::NOT_FOUND);
    let last = lab.events.wait("delete c1 137");
    assert_eq!(last.pid, pid);
    assert_eq!(
        lab.events.lines(),
        ["create c1", "start c1", "exit c1 137", "delete c1 137"]
    );
    let ended = lab.events.wait("exit c1 137");
    assert_eq!(
        (ended.pid, Some(&ended.exited_at)),
        (pid, exit.exited_at.as_ref())
    );
}

#[test]
fn a_full_life_has_every_event_in_order_and_its_state_at_each_point_on_the_v2_service() {
    full_life("containerd.task.v2.Task");
}

#[test]
fn a_full_life_has_every_event_in_order_and_its_state_at_each_point_on_the_v3_service() {
    full_life("containerd.task.v3.Task");
}

fn exits_with(script: &str, status: u32) {
    let lab = Lab::new();
    let c = lab.run("c1", script);
    assert_eq!(c.wait().unwrap().exit_status, status);
    assert_eq!(c.state().unwrap().exit_status, status);
    lab.events.wait(&format!("exit c1 {status}"));
    assert_eq!(c.delete().unwrap().exit_status, status);
    lab.events.wait(&format!("delete c1 {status}"));
}

#[test]
fn exit_0_is_reported_everywhere() {
    exits_with("exit 0", 0);
}
#[test]
fn exit_7_is_reported_everywhere() {
    exits_with("exit 7", 7);
}
#[test]
fn exit_137_is_reported_everywhere() {
    exits_with("exit 137", 137);
}
#[test]
fn exit_143_is_reported_everywhere() {
    exits_with("exit 143", 143);
}

#[test]
fn the_event_of_create_carries_the_request() {
    let lab = Lab::new();
    let mut c = lab.shim("c1", "exec sleep 1000");
    let out = Output::new(&c.bundle.join("out"));
    c.set_stdio(&Stdio::to(&out));
    let pid = c.create().unwrap();
    let event = TaskCreate::parse_from_bytes(&lab.events.wait("create c1").body).unwrap();
    assert_eq!(
        (&event.bundle, &event.rootfs, event.pid),
        (&c.request.bundle, &c.request.rootfs, pid)
    );
    let io = event.io.unwrap();
    assert_eq!(
        (io.stdin, io.stdout, io.stderr, io.terminal),
        (String::new(), out.uri(), out.uri(), false)
    );
    assert_eq!(event.checkpoint, "");
}

/// The signals whose default action is to end the process (signal(7)). Not 32 and 33, which the C library keeps for itself:
/// posix_spawn(3), by which this test starts the shim, has its children ignore them.
fn deadly() -> Vec<u32> {
    let others = [17, 18, 19, 20, 21, 22, 23, 28, 32, 33];
    (1..=64).filter(|signal| !others.contains(signal)).collect()
}

#[test]
fn every_signal_that_kills_is_an_exit_of_128_and_its_number() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    for signal in deadly() {
        let id = format!("s{signal}");
        let exec = c.exec_run(&id, "exec sleep 1000");
        leaks::executes(exec.state().unwrap().pid, "sleep");
        exec.kill(signal).unwrap();
        assert_eq!(
            exec.wait().unwrap().exit_status,
            128 + signal,
            "signal {signal}"
        );
        assert_eq!(exec.delete().unwrap().exit_status, 128 + signal);
        lab.events.wait(&format!("exit c1/{id} {}", 128 + signal));
    }
}

/// Init ignores what it has no handler for, so only SIGKILL from outside its pid namespace and what it raises on itself end it:
/// here init has the host's pid namespace.
#[test]
fn every_signal_that_kills_init_is_an_exit_of_128_and_its_number() {
    let lab = Lab::new();
    for signal in deadly() {
        let id = format!("c{signal}");
        let c = lab.shim_of(&id, |spec| {
            let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|namespace| namespace["type"] != "pid");
        });
        c.create().unwrap();
        leaks::executes(c.start().unwrap(), "sleep");
        c.kill(signal).unwrap();
        assert_eq!(
            c.wait().unwrap().exit_status,
            128 + signal,
            "signal {signal}"
        );
        lab.events.wait(&format!("exit {id} {}", 128 + signal));
        c.delete().unwrap();
        c.end();
    }
}

#[test]
fn wait_answers_before_and_after_the_exit_and_for_many_waiters() {
    let lab = Lab::new();
    let c = lab.shim("c1", "exec sleep 1000");
    c.create().unwrap();
    let waiters: Vec<_> = (0..8)
        .map(|_| {
            thread::spawn({
                let c = (*c).clone();
                move || c.wait()
            })
        })
        .collect();
    c.start().unwrap();
    c.kill(9).unwrap();
    let answers: Vec<_> = waiters
        .into_iter()
        .map(|waiter| waiter.join().unwrap().unwrap())
        .collect();
    let late = c.wait().unwrap();
    assert_eq!(late.exit_status, 137);
    assert!(
        answers.iter().all(|answer| *answer == late),
        "{answers:?} and later {late:?}"
    );
}

#[test]
fn wait_survives_a_delete_under_way() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    let waiters: Vec<_> = (0..8)
        .map(|_| {
            thread::spawn({
                let c = (*c).clone();
                move || c.wait()
            })
        })
        .collect();
    c.kill(9).unwrap();
    eventually("Delete", || {
        c.delete().map_err(|failure| format!("{failure:?}"))
    });
    for waiter in waiters {
        let answer = waiter.join().unwrap();
        // A waiter that came after Delete finds no task; one that came before has the exit.
        assert!(
            answer.as_ref().map_or_else(
                |failure| failure.code == Code::NOT_FOUND,
                |exit| exit.exit_status == 137
            ),
            "{answer:?}"
        );
    }
}

#[test]
fn a_program_that_ends_before_start_returns_starts_before_it_exits() {
    let lab = Lab::new();
    for number in 0..50 {
        let id = format!("c{number}");
        let c = lab.shim_of(&id, |spec| {
            spec["process"]["args"] = serde_json::json!(["/bin/true"])
        });
        let pid = c.create().unwrap();
        assert_eq!(c.start().unwrap(), pid);
        assert_eq!(c.wait().unwrap().exit_status, 0);
        c.delete().unwrap();
        lab.events.wait(&format!("delete {id} 0"));
        assert_eq!(
            lab.events.of(&id),
            [
                format!("create {id}"),
                format!("start {id}"),
                format!("exit {id} 0"),
                format!("delete {id} 0")
            ]
        );
        c.end();
    }
}

#[test]
fn a_running_task_cannot_be_deleted_and_stays_as_it_is() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    let before = c.state().unwrap();
    assert_eq!(code(c.delete()), Code::FAILED_PRECONDITION);
    assert_eq!(c.state().unwrap(), before);
    lab.events.wait("start c1");
    assert_eq!(lab.events.lines(), ["create c1", "start c1"]);
}

#[test]
fn a_created_task_that_never_started_can_be_deleted() {
    let lab = Lab::new();
    let c = lab.shim("c1", "exec sleep 1000");
    let pid = c.create().unwrap();
    assert_eq!(c.delete().unwrap().pid, pid);
    assert_eq!(code(c.state()), Code::NOT_FOUND);
    assert!(!leaks::alive(pid));
}

#[test]
fn a_task_starts_once() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    assert_eq!(code(c.start()), Code::FAILED_PRECONDITION);
    assert_eq!(c.status(), Status::RUNNING);
    assert_eq!(code(c.create()), Code::ALREADY_EXISTS);
    assert_eq!(c.status(), Status::RUNNING);
    c.kill(9).unwrap();
    c.wait().unwrap();
    assert_eq!(code(c.start()), Code::FAILED_PRECONDITION);
    assert_eq!(c.status(), Status::STOPPED);
}

/// runc looks the program up at create, crun at start.
#[test]
fn a_program_that_does_not_exist_is_named_in_the_error_and_leaves_nothing() {
    let lab = Lab::new();
    let c = lab.shim_of("c1", |spec| {
        spec["process"]["args"] = serde_json::json!(["/bin/none"])
    });
    let failure = match c.create() {
        Ok(_) => {
            let failure = c.start().unwrap_err();
            c.delete().unwrap();
            failure
        }
        Err(failure) => failure,
    };
    assert!(failure.message.contains("/bin/none"), "{failure:?}");
    assert_eq!(code(c.state()), Code::NOT_FOUND);
    assert_eq!(leaks::mounts(&lab.dir).len(), 0);
}
