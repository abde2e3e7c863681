//! StartContainer, and the end that a failed start is.

use outlive::api::cri::{self, ContainerState};

use crate::ground::{Ground, now, start};
use crate::support::poll;
use crate::support::supervisor::Options;
use crate::support::supervisor_calls::{pid, remove};

/// Before the program runs: the container is as it was.
const UNDONE: &[&str] = &[
    "start.bundled",
    "start.answered",
    "start.launched",
    "sent.Create",
    "start.created",
];
/// After it.
const DONE: &[&str] = &["start.started", "start.recorded"];
/// Both can be.
const EITHER: &[&str] = &[
    // After the bystander's.
    "sent.Wait=1*off->return",
    "sent.Start",
];
/// The start has failed.
const FAILED: &[&str] = &["exit.recorded", "sent.Shutdown", "clean.shut_down"];

pub fn points() -> Vec<&'static str> {
    let all = [UNDONE, DONE, EITHER, FAILED].concat();
    all.into_iter()
        .map(|point| point.split('=').next().unwrap())
        .collect()
}

#[test]
fn a_start_that_was_cut_off_runs_the_program_or_can_be_done_again() {
    let ground = Ground::new();
    let pod = ground.pod.clone();
    cut_off(ground, &pod);
}

/// Debian's containerd-shim-runc-v2, which knows less and says it otherwise.
#[test]
fn a_start_with_another_shim_that_was_cut_off_runs_the_program_or_can_be_done_again() {
    let ground = Ground::with(Options {
        config: "[runtimes.go]\nshim = \"/usr/bin/containerd-shim-runc-v2\"\n".to_owned(),
        ..Options::default()
    });
    let (mut runtime, _) = ground.supervisor.client();
    let request = cri::RunPodSandboxRequest {
        config: Some(ground.supervisor.pod_config("go")),
        runtime_handler: "go".to_owned(),
    };
    let answer = ground.supervisor.wait(runtime.run_pod_sandbox(request));
    let pod = ground.supervisor.expect(answer).pod_sandbox_id;
    // The pod's cgroup comes with its first container.
    let first = ground.supervisor.create(&pod, "first", &["/bin/true"]);
    start(&ground.supervisor, &first).unwrap();
    remove(&ground.supervisor, &first).unwrap();
    let ground = ground.beside();
    cut_off(ground, &pod);
}

fn cut_off(mut ground: Ground, pod: &str) {
    for point in [UNDONE, DONE, EITHER].concat() {
        let id = ground
            .supervisor
            .create(pod, "victim", &["/bin/sleep", "1000"]);
        let before = now();
        ground.crash(point, |supervisor| start(supervisor, &id));
        let died = now();
        ground.recover();
        // A start that was sent goes on in the shim, and may end after the supervisor.
        let after = if EITHER.contains(&point) { now() } else { died };
        let status = ground.supervisor.status(&id);
        match status.state() {
            ContainerState::ContainerRunning if !UNDONE.contains(&point) => {
                // When it was started, not when it was found.
                let told = status.started_at;
                assert!(
                    before <= told && told <= after,
                    "{point}: {before} {told} {after}"
                );
                let process = pid(&ground.supervisor, &id);
                ground.supervisor.kill9();
                ground.recover();
                assert_eq!(ground.supervisor.status(&id).started_at, told, "{point}");
                assert_eq!(pid(&ground.supervisor, &id), process, "{point}");
            }
            ContainerState::ContainerCreated if !DONE.contains(&point) => {
                assert_eq!(status.started_at, 0, "{point}");
                start(&ground.supervisor, &id).expect(point);
                let status = ground.supervisor.status(&id);
                assert_eq!(status.state(), ContainerState::ContainerRunning, "{point}");
                assert!(status.started_at > after, "{point}");
            }
            other => panic!("{point}: {other:?}\n{}", ground.supervisor.log_tail()),
        }
        remove(&ground.supervisor, &id).expect(point);
        ground.nothing_else_is_left(point);
    }
    ground.nothing_was_lost();
}

#[test]
fn a_program_that_ran_before_its_start_was_answered_has_ended_and_does_not_run_again() {
    let mut ground = Ground::new();
    for point in ["sent.Start", "start.started", "start.recorded"] {
        let pod = ground.pod.clone();
        let id = ground
            .supervisor
            .create(&pod, "victim", &["/bin/echo", "ran"]);
        let log = ground.supervisor.log_of("victim");
        drop(std::fs::remove_file(&log));
        let before = now();
        ground.crash(point, |supervisor| start(supervisor, &id));
        poll::until("the program ends", || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            if text.contains("ran") {
                Ok(())
            } else {
                Err(text)
            }
        });
        let after = now();
        ground.recover();
        let ended = ground
            .supervisor
            .until_state(&id, ContainerState::ContainerExited);
        assert_eq!(ended.exit_code, 0, "{point}: {ended:?}");
        let times = [before, ended.started_at, ended.finished_at];
        assert!(times.is_sorted(), "{point}: {times:?}");
        assert!(ended.started_at <= after, "{point}: {times:?} {after}");
        remove(&ground.supervisor, &id).expect(point);
        ground.nothing_else_is_left(point);
    }
    ground.nothing_was_lost();
}

#[test]
fn a_start_that_failed_and_was_cut_off_is_a_start_error_without_remains() {
    let mut ground = Ground::new();
    for point in FAILED {
        let pod = ground.pod.clone();
        let id = ground
            .supervisor
            .create(&pod, "victim", &["/no/such/program"]);
        ground.crash(point, |supervisor| start(supervisor, &id));
        ground.recover();
        let status = ground.supervisor.status(&id);
        assert_eq!(
            (status.state(), status.exit_code, status.reason.as_str()),
            (ContainerState::ContainerExited, 128, "StartError"),
            "{point}: {status:?}"
        );
        remove(&ground.supervisor, &id).expect(point);
        ground.nothing_else_is_left(point);
    }
    ground.nothing_was_lost();
}
