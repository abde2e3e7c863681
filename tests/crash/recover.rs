//! A second crash, while the first one is recovered from: the same comes of it.

use outlive::api::cri::ContainerState;

use crate::ground::{Ground, create, now, run_pod, start};
use crate::pods::{config, named};
use crate::support::supervisor_calls::{remove, stop};

pub const POINTS: &[&str] = &[
    "recover.loaded",
    "recover.asked",
    "recover.persisted",
    "recover.acted",
    "recover.orphans",
    "clean.deleted",
    "clean.shut_down",
    "clean.unmounted",
    "exit.recorded",
    "stop_pod.network",
    "stop_pod.init",
    "stop_pod.namespaces",
    "remove_pod.cgroup",
    "remove_pod.renamed",
];

#[test]
fn a_start_that_was_cut_off_is_recovered_by_the_second_attempt() {
    let mut ground = Ground::new();
    for (first, second) in [
        ("start.bundled", "recover.orphans"),
        ("start.launched", "clean.deleted"),
        ("start.created", "recover.loaded"),
        ("start.created", "recover.asked"),
        ("start.created", "sent.Delete"),
        ("start.created", "clean.deleted"),
        ("start.created", "sent.Shutdown"),
        ("start.created", "clean.shut_down"),
        ("start.created", "clean.unmounted"),
        ("start.created", "recover.acted"),
        ("start.started", "recover.loaded"),
        ("start.started", "recover.asked"),
        ("start.started", "recover.persisted"),
        ("start.started", "recover.orphans"),
    ] {
        let case = format!("{first}, {second}");
        let pod = ground.pod.clone();
        let id = ground
            .supervisor
            .create(&pod, "victim", &["/bin/sleep", "1000"]);
        let before = now();
        ground.crash(first, |supervisor| start(supervisor, &id));
        let after = now();
        ground.crash_again(second);
        ground.recover();
        let status = ground.supervisor.status(&id);
        if first == "start.started" {
            assert_eq!(status.state(), ContainerState::ContainerRunning, "{case}");
            let told = status.started_at;
            assert!(
                before <= told && told <= after,
                "{case}: {before} {told} {after}"
            );
        } else {
            assert_eq!(status.state(), ContainerState::ContainerCreated, "{case}");
            start(&ground.supervisor, &id).expect(&case);
        }
        remove(&ground.supervisor, &id).expect(&case);
        ground.nothing_else_is_left(&case);
    }
    ground.nothing_was_lost();
}

#[test]
fn an_end_is_recovered_by_the_second_attempt() {
    let mut ground = Ground::new();
    for second in [
        "recover.loaded",
        "recover.asked",
        "exit.recorded",
        "clean.deleted",
        "clean.shut_down",
        "clean.unmounted",
        "recover.orphans",
    ] {
        let pod = ground.pod.clone();
        let id = ground
            .supervisor
            .run(&pod, "victim", &["/bin/sleep", "1000"]);
        let before = now();
        ground.crash("stop.killed", |supervisor| stop(supervisor, &id, 0));
        ground.crash_again(second);
        let after = now();
        ground.recover();
        let ended = ground
            .supervisor
            .until_state(&id, ContainerState::ContainerExited);
        let at = ended.finished_at;
        assert!(
            before <= at && at <= after,
            "{second}: {before} {at} {after}"
        );
        assert_eq!(ended.exit_code, 137, "{second}: {ended:?}");
        remove(&ground.supervisor, &id).expect(second);
        ground.nothing_else_is_left(second);
    }
    ground.nothing_was_lost();
}

#[test]
fn a_create_or_removal_is_recovered_by_the_second_attempt() {
    let mut ground = Ground::new();
    for second in ["recover.loaded", "recover.orphans"] {
        let pod = ground.pod.clone();
        let wanted = ground.supervisor.container_config("victim", &["/bin/true"]);
        let request = wanted.clone();
        ground.crash("create.written", |supervisor| {
            create(supervisor, request, &pod)
        });
        ground.crash_again(second);
        ground.recover();
        ground.nothing_else_is_left(second);
        let id = create(&ground.supervisor, wanted, &pod).unwrap();
        ground.crash("remove.renamed", |supervisor| remove(supervisor, &id));
        ground.crash_again(second);
        ground.recover();
        ground.nothing_else_is_left(second);
    }
    ground.nothing_was_lost();
}

#[test]
fn a_pod_is_undone_by_the_second_attempt() {
    let mut ground = Ground::new();
    for (first, second) in [
        ("run_pod.recorded", "recover.loaded"),
        ("run_pod.init_recorded", "stop_pod.init"),
        ("run_pod.init", "stop_pod.network"),
        ("run_pod.init", "stop_pod.init"),
        ("run_pod.files", "stop_pod.namespaces"),
        ("run_pod.files", "remove_pod.cgroup"),
        ("run_pod.files", "remove_pod.renamed"),
        ("run_pod.files", "recover.orphans"),
    ] {
        let case = format!("{first}, {second}");
        let wanted = config(&ground.supervisor, "victim");
        let request = wanted.clone();
        ground.crash(first, |supervisor| run_pod(supervisor, request));
        ground.crash_again(second);
        ground.recover();
        assert!(named(&ground.supervisor, "victim").is_none(), "{case}");
        ground.nothing_else_is_left(&case);
    }
    ground.nothing_was_lost();
}
