//! StopContainer, and a program's own end.

use std::fs;

use outlive::api::cri::ContainerState;

use crate::ground::{Ground, now, start};
use crate::support::poll;
use crate::support::supervisor_calls::{remove, stop};
use crate::support::supervisor_leaks as leaks;

/// SIGTERM was sent, which the program heeds.
const SIGNALLED: &[&str] = &["stop.signalled"];
/// SIGKILL was sent, or is about to be.
const KILLED: &[&str] = &[
    "sent.Kill",
    "stop.killed",
    "exit.recorded",
    "sent.Delete",
    "clean.deleted",
    "sent.Shutdown",
    "clean.shut_down",
    "clean.unmounted",
];
/// What comes after a program has ended by itself.
const ENDED: &[&str] = &[
    "exit.recorded",
    "sent.Delete",
    "clean.deleted",
    "sent.Shutdown",
    "clean.shut_down",
    "clean.unmounted",
];
/// The shim is dead.
const ABANDONED: &[&str] = &["clean.shim_deleted", "stop.cleaned"];

pub fn points() -> Vec<&'static str> {
    [SIGNALLED, KILLED, ENDED, ABANDONED].concat()
}

/// A program that ends with 7 when a file appears or at SIGTERM.
const PROGRAM: &str =
    "trap 'exit 7' TERM; echo ready; until [ -e /end ]; do usleep 20000; done; exit 7";

fn run(ground: &Ground, script: &str) -> String {
    let id = ground
        .supervisor
        .create(&ground.pod, "victim", &["/bin/sh", "-c", script]);
    let log = ground.supervisor.log_of("victim");
    drop(fs::remove_file(&log));
    start(&ground.supervisor, &id).unwrap();
    poll::until("the program is ready", || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        if text.contains("ready") {
            Ok(())
        } else {
            Err(text)
        }
    });
    id
}

/// The container has ended as it should, and the end stays as it is.
fn check_end(ground: &mut Ground, point: &str, id: &str, code: i32, when: (i64, i64)) {
    let ended = ground
        .supervisor
        .until_state(id, ContainerState::ContainerExited);
    assert_eq!(ended.exit_code, code, "{point}: {ended:?}");
    let at = ended.finished_at;
    assert!(when.0 <= at && at <= when.1, "{point}: {when:?} {at}");
    assert!(ended.started_at <= at, "{point}");
    ground.supervisor.kill9();
    ground.recover();
    assert_eq!(ground.supervisor.status(id), ended, "{point}");
    stop(&ground.supervisor, id, 0).expect(point);
    remove(&ground.supervisor, id).expect(point);
    ground.nothing_else_is_left(point);
}

#[test]
fn a_stop_that_was_cut_off_has_its_end_or_can_be_done_again() {
    let mut ground = Ground::new();
    for point in SIGNALLED {
        let id = run(&ground, PROGRAM);
        let before = now();
        ground.crash(point, |supervisor| stop(supervisor, &id, 60));
        ground.recover();
        check_end(&mut ground, point, &id, 7, (before, now()));
    }
    for point in KILLED {
        let id = run(
            &ground,
            "trap '' TERM; echo ready; while :; do usleep 20000; done",
        );
        let before = now();
        // Where the end is known the call may be answered before all is cleaned up.
        ground.arm(point);
        drop(stop(&ground.supervisor, &id, 0));
        ground.crashed();
        let after = now();
        ground.recover();
        if ground.supervisor.status(&id).state() == ContainerState::ContainerRunning {
            assert_eq!(*point, "sent.Kill");
            stop(&ground.supervisor, &id, 0).unwrap();
            check_end(&mut ground, point, &id, 137, (after, now()));
        } else {
            check_end(&mut ground, point, &id, 137, (before, after));
        }
    }
    ground.nothing_was_lost();
}

#[test]
fn an_end_that_was_being_handled_is_known_and_handled_to_the_end() {
    let mut ground = Ground::new();
    for point in ENDED {
        let id = run(&ground, PROGRAM);
        ground.arm(point);
        let before = now();
        let pid = crate::support::supervisor_calls::pid(&ground.supervisor, &id);
        fs::write(format!("/proc/{pid}/root/end"), "").unwrap();
        ground.crashed();
        let after = now();
        ground.recover();
        check_end(&mut ground, point, &id, 7, (before, after));
    }
    ground.nothing_was_lost();
}

#[test]
fn a_dead_shims_container_that_was_being_cleaned_up_has_ended() {
    let mut ground = Ground::new();
    for point in ABANDONED {
        let others = leaks::shims(&ground.supervisor.footprint());
        let id = run(&ground, PROGRAM);
        let shim = leaks::shims(&ground.supervisor.footprint());
        let shim = shim.into_iter().find(|pid| !others.contains(pid)).unwrap();
        let before = now();
        if *point == "stop.cleaned" {
            // With a journal that cannot be read nobody cleans up but who is told to.
            let journal = ground
                .supervisor
                .state()
                .join("tasks")
                .join(&id)
                .join("exits");
            ground.supervisor.kill9();
            kill(shim);
            fs::write(journal, "not a journal").unwrap();
            ground.supervisor.restart();
            ground.crash(point, |supervisor| stop(supervisor, &id, 0));
        } else {
            ground.arm(point);
            kill(shim);
            ground.crashed();
        }
        ground.recover();
        let ended = ground
            .supervisor
            .until_state(&id, ContainerState::ContainerExited);
        assert_eq!(
            (ended.exit_code, ended.reason.as_str()),
            (255, "Unknown"),
            "{point}"
        );
        check_end(&mut ground, point, &id, 255, (before, now()));
    }
    ground.nothing_was_lost();
}

fn kill(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
}
