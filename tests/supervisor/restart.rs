//! The promise: kill -9 the supervisor, and nothing is lost.

use std::time::Duration;

use outlive::api::cri::ContainerState;

use crate::life::ready;
use crate::support::poll;
use crate::support::supervisor_calls::{listed, pid, remove, stop};

#[test]
fn a_running_container_is_the_same_after_kill_9() {
    let (mut supervisor, pod) = ready();
    let id = supervisor.run(&pod, "c", &["/bin/sleep", "1000"]);
    let (before, process) = (supervisor.status(&id), pid(&supervisor, &id));
    for _ in 0..3 {
        supervisor.kill9();
        supervisor.restart();
        let after = supervisor.until_state(&id, ContainerState::ContainerRunning);
        assert_eq!(
            (after.created_at, after.started_at, after.finished_at),
            (before.created_at, before.started_at, 0)
        );
        assert_eq!(pid(&supervisor, &id), process);
    }
    stop(&supervisor, &id, 0).unwrap();
    assert_eq!(supervisor.status(&id).exit_code, 137);
}

#[test]
fn an_exit_during_the_outage_has_its_code_and_its_time() {
    let (mut supervisor, pod) = ready();
    let id = supervisor.run(
        &pod,
        "c",
        &[
            "/bin/sh",
            "-c",
            "until [ -e /end ]; do usleep 20000; done; exit 7",
        ],
    );
    let process = pid(&supervisor, &id);
    supervisor.kill9();
    let end = format!("/proc/{process}/root/end");
    std::fs::write(end, "").unwrap();
    let gone = poll::until("the program ends", || {
        if std::path::Path::new(&format!("/proc/{process}")).exists() {
            Err(String::new())
        } else {
            Ok(std::time::SystemTime::now())
        }
    });
    // Long enough to tell the time of the exit from that of the restart.
    std::thread::sleep(Duration::from_secs(2));
    supervisor.restart();
    let ended = supervisor.until_state(&id, ContainerState::ContainerExited);
    assert_eq!((ended.exit_code, ended.reason.as_str()), (7, "Error"));
    let gone = i64::try_from(
        gone.duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_nanos(),
    )
    .unwrap();
    assert!(
        (gone - ended.finished_at).abs() < 1_000_000_000,
        "{} {gone}",
        ended.finished_at
    );
    supervisor.kill9();
    supervisor.restart();
    assert_eq!(supervisor.status(&id).finished_at, ended.finished_at);
}

#[test]
fn what_was_acknowledged_is_there_after_kill_9() {
    let (mut supervisor, pod) = ready();
    let created = supervisor.create(&pod, "created", &["/bin/true"]);
    let removed = supervisor.create(&pod, "removed", &["/bin/true"]);
    remove(&supervisor, &removed).unwrap();
    let ended = supervisor.run(&pod, "ended", &["/bin/sh", "-c", "exit 9"]);
    let before = supervisor.until_state(&ended, ContainerState::ContainerExited);
    supervisor.kill9();
    supervisor.restart();
    let ids: Vec<String> = listed(&supervisor)
        .into_iter()
        .map(|container| container.id)
        .collect();
    assert_eq!(ids.len(), 2, "{ids:?}");
    assert_eq!(supervisor.status(&ended), before);
    assert_eq!(
        supervisor.status(&created).state(),
        ContainerState::ContainerCreated
    );
    supervisor.start_container(&created);
    supervisor.until_state(&created, ContainerState::ContainerExited);
}

#[test]
fn sigterm_leaves_the_containers_running() {
    let (mut supervisor, pod) = ready();
    let id = supervisor.run(&pod, "c", &["/bin/sleep", "1000"]);
    let process = pid(&supervisor, &id);
    assert!(supervisor.stop().success());
    assert!(std::path::Path::new(&format!("/proc/{process}")).exists());
    supervisor.restart();
    supervisor.until_state(&id, ContainerState::ContainerRunning);
    assert_eq!(pid(&supervisor, &id), process);
}
