//! RunPodSandbox, StopPodSandbox, RemovePodSandbox of pods on the host's network, with an init.

use outlive::api::cri::{self, ContainerState, NamespaceMode, PodSandboxState};
use tonic::Code;

use crate::ground::{Answer, Ground, pods, remove_pod, run_pod, stop_pod};
use crate::support::supervisor::Supervisor;

const RUN: &[&str] = &[
    "run_pod.named",
    "run_pod.written",
    "run_pod.recorded",
    "run_pod.pinned",
    "run_pod.namespaces",
    "run_pod.init_started",
    "run_pod.init_recorded",
    "run_pod.init",
    "run_pod.files",
    "run_pod.ready",
];
const STOP: &[&str] = &[
    "stop_pod.containers",
    "stop_pod.network",
    "stop_pod.init",
    "stop_pod.namespaces",
    "stop_pod.recorded",
];
const REMOVE: &[&str] = &[
    "remove.cleaned",
    "remove_pod.containers",
    "stop_pod.network",
    "stop_pod.init",
    "stop_pod.namespaces",
    "stop_pod.recorded",
    "remove_pod.cgroup",
    "remove_pod.renamed",
];

pub fn points() -> Vec<&'static str> {
    [RUN, STOP, REMOVE].concat()
}

/// A pod whose containers share a pid namespace.
pub fn config(supervisor: &Supervisor, name: &str) -> cri::PodSandboxConfig {
    let mut config = supervisor.pod_config(name);
    let security = config.linux.as_mut().unwrap().security_context.as_mut();
    let options = security.unwrap().namespace_options.as_mut().unwrap();
    options.pid = NamespaceMode::Pod.into();
    config
}

/// The pod of that name, if there is one.
pub fn named(supervisor: &Supervisor, name: &str) -> Option<cri::PodSandbox> {
    pods(supervisor)
        .into_iter()
        .find(|pod| pod.metadata.as_ref().is_some_and(|is| is.name == name))
}

/// Removes it by a stop and a removal, each done twice.
pub fn remove_whole(supervisor: &Supervisor, id: &str) -> Answer<()> {
    stop_pod(supervisor, id)?;
    stop_pod(supervisor, id)?;
    remove_pod(supervisor, id)?;
    remove_pod(supervisor, id)
}

#[test]
fn a_pod_whose_making_was_cut_off_is_ready_or_undone() {
    let mut ground = Ground::new();
    for point in RUN {
        let wanted = config(&ground.supervisor, "victim");
        let request = wanted.clone();
        ground.crash(point, |supervisor| run_pod(supervisor, request));
        ground.recover();
        let id = match named(&ground.supervisor, "victim") {
            Some(pod) => {
                assert_eq!(*point, "run_pod.ready");
                assert_eq!(pod.state(), PodSandboxState::SandboxReady);
                let again = run_pod(&ground.supervisor, wanted).unwrap_err();
                assert_eq!(again.code(), Code::AlreadyExists, "{again}");
                pod.id
            }
            None => {
                assert_ne!(*point, "run_pod.ready");
                ground.nothing_else_is_left(point);
                run_pod(&ground.supervisor, wanted).expect(point)
            }
        };
        let program = ground
            .supervisor
            .run(&id, "in-victim", &["/bin/sleep", "1000"]);
        let status = ground.supervisor.status(&program);
        assert_eq!(status.state(), ContainerState::ContainerRunning, "{point}");
        remove_whole(&ground.supervisor, &id).expect(point);
        ground.nothing_else_is_left(point);
    }
    ground.nothing_was_lost();
}

fn with_a_container(ground: &Ground) -> (String, String) {
    let wanted = config(&ground.supervisor, "victim");
    let pod = run_pod(&ground.supervisor, wanted).unwrap();
    let container = ground
        .supervisor
        .run(&pod, "in-victim", &["/bin/sleep", "1000"]);
    (pod, container)
}

#[test]
fn a_pod_whose_stop_was_cut_off_can_be_stopped() {
    let mut ground = Ground::new();
    for point in STOP {
        let (id, container) = with_a_container(&ground);
        ground.crash(point, |supervisor| stop_pod(supervisor, &id));
        ground.recover();
        let ended = ground
            .supervisor
            .until_state(&container, ContainerState::ContainerExited);
        assert_eq!(ended.exit_code, 137, "{point}: {ended:?}");
        let pod = named(&ground.supervisor, "victim").expect(point);
        let is_ready = pod.state() == PodSandboxState::SandboxReady;
        let nothing_is_gone = ["stop_pod.containers", "stop_pod.network"].contains(point);
        assert_eq!(is_ready, nothing_is_gone, "{point}");
        remove_whole(&ground.supervisor, &id).expect(point);
        ground.nothing_else_is_left(point);
    }
    ground.nothing_was_lost();
}

#[test]
fn a_pod_whose_removal_was_cut_off_is_gone_or_can_be_removed() {
    let mut ground = Ground::new();
    for point in REMOVE {
        let (id, _) = with_a_container(&ground);
        ground.crash(point, |supervisor| remove_pod(supervisor, &id));
        ground.recover();
        let found = named(&ground.supervisor, "victim");
        assert_eq!(found.is_none(), *point == "remove_pod.renamed", "{found:?}");
        remove_whole(&ground.supervisor, &id).expect(point);
        ground.nothing_else_is_left(point);
        let next = run_pod(&ground.supervisor, config(&ground.supervisor, "victim"));
        remove_whole(&ground.supervisor, &next.expect(point)).expect(point);
    }
    ground.nothing_was_lost();
}
