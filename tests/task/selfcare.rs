//! How a shim looks after itself: when it leaves, what signals do, what it tells of itself, and a log that nobody reads.

use crate::fifo::make;
use crate::leaks;
use crate::rpc::*;
use crate::shim::*;
use crate::stopped;
use containerd_shim_protos::api::{DeleteRequest, DeleteResponse, Empty, KillRequest, Status};
use containerd_shim_protos::protobuf::{CodedOutputStream, Message};
use containerd_shim_protos::ttrpc::Code;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

/// A shim that was started with one line of options; a group's where `group` names one.
fn shim_with(lab: &Lab, id: &str, option: &str, group: Option<&str>) -> Container {
    let mut c = lab.bundle(id, |spec| {
        spec["process"]["args"] = json!(["/bin/sleep", "1000"]);
        if let Some(group) = group {
            spec["annotations"] = json!({"io.containerd.runc.v2.group": group});
        }
    });
    let mut body = Vec::new();
    let mut out = CodedOutputStream::vec(&mut body);
    out.write_bytes(3, option.as_bytes()).unwrap();
    out.flush().unwrap();
    drop(out);
    let options = any("runtimeoptions.v1.Options", body);
    let reply = lab.start(&c, &options.write_to_bytes().unwrap());
    assert!(reply.status.success(), "{reply:?}");
    c.set_socket(lab, &socket_of(&reply.stdout));
    c
}

#[test]
fn an_empty_shim_leaves_after_its_time_but_not_with_a_task_nor_with_a_pod() {
    let lab = Lab::new();
    let pod = shim_with(&lab, "pod", "idle_exit_seconds = 1", Some("pod"));
    let busy = shim_with(&lab, "busy", "idle_exit_seconds = 1", None);
    busy.create().unwrap();
    let patient = shim_with(&lab, "patient", "idle_exit_seconds = 0", None);
    let (of_pod, of_busy, of_patient) = (pod.shim_pid(), busy.shim_pid(), patient.shim_pid());
    // Later, so that the others would have left before it.
    for id in ["empty1", "empty2"] {
        let empty = shim_with(&lab, id, "idle_exit_seconds = 1", None);
        leaks::gone(empty.shim_pid());
        assert!(!empty.client.socket.exists());
    }
    for pid in [of_pod, of_busy, of_patient] {
        assert!(leaks::alive(pid));
    }
    assert_eq!(busy.status(), Status::CREATED);
    busy.delete().unwrap();
    leaks::gone(of_busy);
}

#[test]
fn a_shim_that_is_told_to_end_stays_with_its_task_and_leaves_after_it() {
    let lab = Lab::new();
    for (id, signal) in [
        ("c1", Signal::SIGTERM),
        ("c2", Signal::SIGINT),
        ("c3", Signal::SIGHUP),
    ] {
        let c = lab.run(id, "exec sleep 1000");
        let (shim, pid) = (c.shim_pid(), c.state().unwrap().pid);
        for _ in 0..3 {
            leaks::signal(shim, signal);
            assert_eq!(c.status(), Status::RUNNING);
        }
        eventually("its answer to the signal", || {
            let log = lab.log();
            let told = log.matches("with tasks left").count();
            (told > 0).then_some(()).ok_or(log)
        });
        assert!(leaks::alive(pid));
        assert_eq!(c.exec_run("e1", "exit 3").wait().unwrap().exit_status, 3);
        c.kill(9).unwrap();
        assert_eq!(c.wait().unwrap().exit_status, 137);
        assert_eq!(c.delete().unwrap().exit_status, 137);
        // Nobody says Shutdown.
        leaks::gone(shim);
        assert!(!c.client.socket.exists());
        lab.events.wait(&format!("delete {id} 137"));
    }
}

#[test]
fn a_shim_without_a_task_leaves_when_it_is_told_to() {
    let lab = Lab::new();
    for (id, group) in [("c1", None), ("c2", Some("pod"))] {
        let c = shim_with(&lab, id, "", group);
        let shim = c.shim_pid();
        leaks::signal(shim, Signal::SIGTERM);
        leaks::gone(shim);
        assert!(!c.client.socket.exists());
    }
}

#[test]
fn an_empty_shim_whose_manager_died_leaves_whenever_that_was_and_whoever_asks_for_what_is_gone() {
    let lab = Lab::new();
    let ids = ["while it was deleting", "before Shutdown"];
    let shims = [0, 1].map(|number| {
        let c = lab.run(&format!("c{number}"), "exec sleep 1000");
        c.kill(9).unwrap();
        assert_eq!(c.wait().unwrap().exit_status, 137);
        let (shim, name) = (c.shim_pid(), c.id.clone());
        let delete = request!(DeleteRequest { id: &*name });
        let mut manager = c.client.connection().unwrap();
        if number == 0 {
            // The shim reads the request and the end of the connection in one go.
            stopped::stop(Pid::from_raw(shim.cast_signed()));
            manager.send(&c.client.service, "Delete", &delete).unwrap();
            drop(manager);
            leaks::signal(shim, Signal::SIGCONT);
        } else {
            let id = manager.send(&c.client.service, "Delete", &delete).unwrap();
            let deleted = manager.receive::<DeleteResponse>(id).unwrap().unwrap();
            assert_eq!(deleted.exit_status, 137);
            drop(manager);
        }
        lab.events.wait(&format!("delete {name} 137"));
        // The next manager is connected, and stays.
        let mut next = c.client.connection().unwrap();
        let kill = request!(KillRequest {
            id: &*name,
            signal: 9_u32
        });
        let id = next.send(&c.client.service, "Kill", &kill).unwrap();
        let refused = next.receive::<Empty>(id).unwrap().unwrap_err();
        assert_eq!(refused.code, Code::NOT_FOUND);
        (shim, next)
    });
    for (name, (shim, _next)) in ids.iter().zip(shims) {
        println!("the manager died {name}");
        leaks::gone(shim);
    }
    // The log is read by a thread, which may be behind.
    eventually("both shims say why they leave", || {
        let log = lab.log();
        match log.matches("leaving\" abandoned=true").count() {
            2 => Ok(()),
            _ => Err(log),
        }
    });
}

/// The state dumps in a log.
fn dumps(log: &str) -> Vec<Value> {
    let lines = log.lines().filter(|line| line.starts_with('{'));
    lines
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

#[test]
fn sigusr1_writes_the_state_into_the_log() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    lab.events.wait("start c1");
    lab.events.down();
    let exec = c.exec_run("e1", "exec sleep 1000");
    assert_eq!(c.exec_run("e2", "exit 4").wait().unwrap().exit_status, 4);
    let shim = c.shim_pid();
    leaks::signal(shim, Signal::SIGUSR1);
    let dump = eventually("a dump", || {
        dumps(&lab.log()).pop().ok_or_else(|| lab.log())
    });
    assert_eq!(dump["pid"], json!(shim));
    assert!(
        dump["time"].as_str().unwrap().ends_with('Z') && dump["fds"].as_u64().unwrap() > 3,
        "{dump}"
    );
    // Added and started of both, and the exit; one of them may be under way.
    assert_eq!(
        dump["events"],
        json!({"waiting": 5, "collapsed": 0, "dropped": 0, "refused": 0})
    );
    assert_eq!(dump["log"], json!({"dropped": 0}));
    let task = &dump["tasks"][0];
    let unused = json!({"moved": 0, "dropped": 0, "spooled": 0, "spool_full": 0});
    assert_eq!(task["processes"][0]["stdio"]["stdout"], unused, "{dump}");
    assert_eq!(
        (&task["id"], &task["creating"]),
        (&json!("c1"), &json!(false))
    );
    let process = |number: usize| {
        let process = &task["processes"][number];
        (
            process["exec"].clone(),
            process["pid"].clone(),
            process["state"].clone(),
            process["exit_status"].clone(),
        )
    };
    let pids = [&c, &exec].map(|process| json!(process.state().unwrap().pid));
    assert_eq!(
        process(0),
        (json!(null), pids[0].clone(), json!("running"), json!(null))
    );
    assert_eq!(
        process(1),
        (json!("e1"), pids[1].clone(), json!("running"), json!(null))
    );
    let (id, _, state, status) = process(2);
    assert_eq!(
        (id, state, status),
        (json!("e2"), json!("stopped"), json!(4))
    );
    lab.events.up();
}

fn fill(log: &mut File) {
    let block = [b'.'; 4096];
    while log.write(&block).is_ok() {}
    while log.write(b".").is_ok() {}
}

#[test]
fn a_log_that_is_full_and_has_no_reader_holds_nothing_up_and_tells_later() {
    let lab = Lab::new();
    let mut c = lab.bundle("c1", |_| ());
    std::fs::remove_file(c.bundle.join("log")).unwrap();
    make(&c.bundle.join("log"));
    let mut log = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(c.bundle.join("log"))
        .unwrap();
    fill(&mut log);
    let reply = lab.start(&c, b"");
    c.set_socket(&lab, &socket_of(&reply.stdout));
    c.create().unwrap();
    c.start().unwrap();
    let shim = c.shim_pid();
    for number in 0..20 {
        leaks::signal(shim, Signal::SIGUSR1);
        let begin = Instant::now();
        assert_eq!(
            c.exec_run(&format!("e{number}"), "exit 1")
                .wait()
                .unwrap()
                .exit_status,
            1
        );
        assert!(
            begin.elapsed() < Duration::from_millis(2500),
            "{:?}",
            begin.elapsed()
        );
    }
    let mut text = Vec::new();
    log.read_to_end(&mut text).unwrap_err();
    assert!(
        text.iter().all(|byte| *byte == b'.'),
        "only what it was filled with"
    );
    assert_eq!(c.exec_run("last", "exit 1").wait().unwrap().exit_status, 1);
    let mut text = Vec::new();
    eventually("the notice", || {
        log.read_to_end(&mut text).unwrap_err();
        let text = String::from_utf8_lossy(&text).into_owned();
        let told = text.split_once(" log lines were dropped");
        let count = told.and_then(|(before, _)| before.rsplit_once('"')?.1.parse::<u32>().ok());
        // Each exec said at least that it exited.
        count.filter(|count| *count >= 20).ok_or(text)
    });
}
