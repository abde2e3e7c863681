//! A manager that is gone, stopped or full while things happen: nothing waits for it, and it hears of everything.

use crate::rpc::*;
use crate::shim::*;
use containerd_shim_protos::api::Status;
use serde_json::json;
use std::time::{Duration, Instant};

/// The life of a container with execs, each call timed.
fn live(c: &Container, execs: std::ops::Range<u32>) {
    let timed = |what: &str, call: &mut dyn FnMut()| {
        let begin = Instant::now();
        call();
        // Far below any timeout of the shim for its manager, far above what a busy machine takes.
        assert!(
            begin.elapsed() < Duration::from_millis(2500),
            "{what} took {:?}",
            begin.elapsed()
        );
    };
    for number in execs {
        let id = format!("e{number}");
        timed("an exec", &mut || {
            let exec = c.exec_run(&id, &format!("exit {number}"));
            assert_eq!(exec.wait().unwrap().exit_status, number);
            exec.delete().unwrap();
        });
        timed("state", &mut || assert_eq!(c.status(), Status::RUNNING));
    }
}

fn expected(id: &str, execs: std::ops::Range<u32>) -> Vec<String> {
    let mut lines = vec![format!("create {id}"), format!("start {id}")];
    lines.extend(execs.flat_map(|number| {
        [
            format!("exec-added {id}/e{number}"),
            format!("exec-started {id}/e{number}"),
            format!("exit {id}/e{number} {number}"),
        ]
    }));
    lines.extend([format!("exit {id} 137"), format!("delete {id} 137")]);
    lines
}

#[test]
fn a_manager_that_is_stopped_holds_nothing_up_and_gets_every_event_once() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    lab.events.wait("start c1");
    lab.events.freeze();
    live(&c, 0..5);
    // Longer than a request of containerd's own shim waits before it is sent again.
    std::thread::park_timeout(Duration::from_secs(6));
    c.kill(9).unwrap();
    c.wait().unwrap();
    c.delete().unwrap();
    lab.events.thaw();
    lab.events.wait("delete c1 137");
    assert_eq!(lab.events.lines(), expected("c1", 0..5));
}

#[test]
fn a_manager_whose_backlog_is_full_holds_nothing_up_and_gets_every_event() {
    let lab = Lab::new();
    let c = lab.shim("c1", "exec sleep 1000");
    // No connection is there yet: events go out from Create on.
    let taken = lab.events.freeze_full();
    c.create().unwrap();
    c.start().unwrap();
    live(&c, 0..5);
    drop(taken);
    lab.events.thaw();
    c.kill(9).unwrap();
    c.wait().unwrap();
    c.delete().unwrap();
    lab.events.wait("delete c1 137");
    assert_eq!(lab.events.lines(), expected("c1", 0..5));
}

/// What an exit was, as its waiter heard it.
struct Ended {
    line: String,
    pid: u32,
    exited_at: containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp,
}

fn end(c: &Container, code: u32) -> Ended {
    let pid = c.state().unwrap().pid;
    std::fs::write(c.bundle.join("rootfs/go"), "").unwrap();
    let exit = c.wait().unwrap();
    assert_eq!(exit.exit_status, code, "{}", c.id);
    let state = c.state().unwrap();
    assert_eq!(
        (
            known(state.status),
            state.exit_status,
            state.exited_at.unwrap()
        ),
        (Status::STOPPED, code, exit.exited_at.clone().unwrap())
    );
    Ended {
        line: format!("exit {} {code}", c.id),
        pid,
        exited_at: exit.exited_at.unwrap(),
    }
}

#[test]
fn thirty_containers_that_exit_while_the_manager_is_away_are_told_right_and_in_order() {
    let lab = Lab::new();
    lab.events.down();
    // Twenty with a shim each, ten in one. Each has a file of its own to wait for.
    let mut containers = Vec::new();
    for code in 1..=30_u32 {
        let id = format!("c{code}");
        let c = lab.shim_of(&id, |spec| {
            spec["process"]["args"] = json!([
                "/bin/sh",
                "-c",
                format!("until [ -e /go ]; do sleep 0.02; done; exit {code}")
            ]);
            if code > 20 {
                spec["annotations"] = json!({"io.containerd.runc.v2.group": "pod"});
            }
        });
        containers.push(c);
    }
    for c in &mut containers {
        // A root filesystem of its own: the file is in it.
        let own = lab.dir.join(format!("rootfs-{}", c.id));
        let copied = std::process::Command::new("cp")
            .arg("-a")
            .arg(lab.dir.join("rootfs"))
            .arg(&own)
            .status();
        assert!(copied.unwrap().success());
        c.request.rootfs = vec![crate::spec::mount(
            "bind",
            own.to_str().unwrap(),
            &["rbind", "rw"],
        )];
        c.create().unwrap();
        c.start().unwrap();
    }
    let ended: Vec<Ended> = containers
        .iter()
        .zip(1..)
        .map(|(c, code)| end(c, code))
        .collect();
    assert_eq!(lab.events.lines(), Vec::<String>::new());
    lab.events.up();
    for (c, ended) in containers.iter().zip(&ended) {
        let seen = lab.events.wait(&ended.line);
        assert_eq!(
            (seen.pid, &seen.exited_at),
            (ended.pid, &ended.exited_at),
            "{}",
            ended.line
        );
        let id = &c.id;
        let lines = [
            format!("create {id}"),
            format!("start {id}"),
            ended.line.clone(),
        ];
        assert_eq!(lab.events.of(id), lines);
    }
    // One shim's events come in the order in which they happened, whichever task they are of.
    let of_the_pod = |line: &String| ended[20..].iter().any(|ended| ended.line == *line);
    let lines: Vec<String> = lab.events.lines().into_iter().filter(of_the_pod).collect();
    let order: Vec<&String> = ended[20..].iter().map(|ended| &ended.line).collect();
    assert_eq!(lines.iter().collect::<Vec<_>>(), order);
}
