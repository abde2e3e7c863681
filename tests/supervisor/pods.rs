//! Pods.

use outlive::api::cri::{self, ContainerState, NamespaceMode, PodSandboxState};

use crate::support::places::cgroups;
use crate::support::supervisor::{Options, Supervisor};
use crate::support::supervisor_calls::{find, listed};

fn with(
    change: impl FnOnce(&mut cri::PodSandboxConfig),
) -> (Supervisor, Result<String, tonic::Status>) {
    let supervisor = Supervisor::start(Options::default());
    supervisor.load_busybox();
    let mut config = supervisor.pod_config("pod");
    change(&mut config);
    let (mut runtime, _) = supervisor.client();
    let answer = supervisor.wait(runtime.run_pod_sandbox(cri::RunPodSandboxRequest {
        config: Some(config),
        runtime_handler: String::new(),
    }));
    let id = answer.map(|answer| answer.into_inner().pod_sandbox_id);
    if let Ok(id) = &id {
        supervisor.note(id);
    }
    (supervisor, id)
}

fn status(supervisor: &Supervisor, id: &str) -> cri::PodSandboxStatus {
    let (mut runtime, _) = supervisor.client();
    let answer = supervisor.wait(runtime.pod_sandbox_status(cri::PodSandboxStatusRequest {
        pod_sandbox_id: id.to_owned(),
        verbose: false,
    }));
    supervisor.expect(answer).status.unwrap()
}

fn output(
    supervisor: &Supervisor,
    pod: &str,
    name: &str,
    change: impl FnOnce(&mut cri::ContainerConfig),
    script: &str,
) -> String {
    let mut config = supervisor.container_config(name, &["/bin/sh", "-c", script]);
    change(&mut config);
    let id = supervisor.create_as(pod, config);
    supervisor.start_container(&id);
    supervisor.until_state(&id, ContainerState::ContainerExited);
    let log = std::fs::read_to_string(supervisor.log_of(name)).unwrap();
    log.lines()
        .map(|line| line.splitn(4, ' ').nth(3).unwrap())
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn a_pod_is_ready_then_stopped_then_gone() {
    let (supervisor, pod) = with(|_| {});
    let pod = pod.unwrap();
    let ready = status(&supervisor, &pod);
    assert_eq!(ready.state(), PodSandboxState::SandboxReady);
    assert_eq!(ready.metadata.unwrap().name, "pod");
    let id = supervisor.run(&pod, "c", &["/bin/sleep", "1000"]);
    let (mut runtime, _) = supervisor.client();
    for _ in 0..2 {
        let answer = supervisor.wait(runtime.stop_pod_sandbox(cri::StopPodSandboxRequest {
            pod_sandbox_id: pod.clone(),
        }));
        supervisor.expect(answer);
    }
    assert_eq!(
        status(&supervisor, &pod).state(),
        PodSandboxState::SandboxNotready
    );
    assert_eq!(
        supervisor.status(&id).state(),
        ContainerState::ContainerExited
    );
    for _ in 0..2 {
        let answer = supervisor.wait(runtime.remove_pod_sandbox(cri::RemovePodSandboxRequest {
            pod_sandbox_id: pod.clone(),
        }));
        supervisor.expect(answer);
    }
    assert_eq!(listed(&supervisor).len(), 0);
}

#[test]
fn a_pod_on_the_nodes_network_has_the_nodes_name() {
    let (supervisor, pod) = with(|config| config.hostname = "another".to_owned());
    let name = output(&supervisor, &pod.unwrap(), "c", |_| {}, "hostname");
    let node = nix::unistd::gethostname().unwrap().into_string().unwrap();
    assert_eq!(name, node);
}

#[test]
fn containers_of_a_pod_share_ipc_and_shm() {
    let (supervisor, pod) = with(|_| {});
    let pod = pod.unwrap();
    let first = output(
        &supervisor,
        &pod,
        "a",
        |_| {},
        "readlink /proc/self/ns/ipc; echo here >/dev/shm/file",
    );
    let second = output(
        &supervisor,
        &pod,
        "b",
        |_| {},
        "readlink /proc/self/ns/ipc; cat /dev/shm/file",
    );
    assert_eq!(second, format!("{first}\nhere"));
    let own = std::fs::read_link("/proc/self/ns/ipc").unwrap();
    assert_ne!(first, own.to_str().unwrap());
}

#[test]
fn a_shared_pid_namespace_has_an_init_that_survives_the_supervisor() {
    let shared = |options: Option<&mut cri::NamespaceOption>| {
        options.unwrap().pid = NamespaceMode::Pod.into();
    };
    let (mut supervisor, pod) = with(|config| {
        let linux = config.linux.as_mut().unwrap();
        let context = linux.security_context.as_mut().unwrap();
        shared(context.namespace_options.as_mut());
    });
    let pod = pod.unwrap();
    let join = |config: &mut cri::ContainerConfig| {
        let linux = config.linux.as_mut().unwrap();
        let context = linux.security_context.as_mut().unwrap();
        shared(context.namespace_options.as_mut());
    };
    let first = output(
        &supervisor,
        &pod,
        "a",
        join,
        "readlink /proc/self/ns/pid; [ $$ != 1 ] && echo not init",
    );
    assert!(first.ends_with("not init"), "{first}");
    supervisor.kill9();
    supervisor.restart();
    assert_eq!(
        status(&supervisor, &pod).state(),
        PodSandboxState::SandboxReady
    );
    let second = output(
        &supervisor,
        &pod,
        "b",
        join,
        "readlink /proc/self/ns/pid; [ $$ != 1 ] && echo not init",
    );
    assert_eq!(first, second);
}

#[test]
fn a_pod_network_without_a_configuration_is_refused_with_advice() {
    let (supervisor, refused) = with(|config| {
        let linux = config.linux.as_mut().unwrap();
        let context = linux.security_context.as_mut().unwrap();
        context.namespace_options.as_mut().unwrap().network = NamespaceMode::Pod.into();
    });
    // The tests' configuration names an empty directory.
    let refused = refused.unwrap_err();
    assert!(refused.message().contains("CNI"), "{refused}");
    assert!(
        std::fs::read_dir(supervisor.root().join("pods"))
            .unwrap()
            .next()
            .is_none()
    );
}

#[test]
fn inspect_shows_a_pod() {
    let (supervisor, pod) = with(|_| {});
    let pod = pod.unwrap();
    let json: serde_json::Value = serde_json::from_str(&supervisor.ok(&["inspect", &pod])).unwrap();
    assert!(
        find(&json, "id").is_some_and(|id| id == pod.as_str()),
        "{json}"
    );
}

/// An OCI runtime whose create hangs leaves such a process.
#[test]
fn a_process_that_is_left_in_the_cgroup_of_a_pod_does_not_keep_the_pod() {
    let (supervisor, pod) = with(|_| ());
    let pod = pod.unwrap();
    let id = supervisor.run(&pod, "c", &["/bin/sleep", "1000"]);
    let mut left = std::process::Command::new("sleep")
        .arg("1000")
        .spawn()
        .unwrap();
    let mut groups = cgroups(&format!("{}/{pod}", supervisor.cgroup()));
    groups.retain(|group| group.exists());
    for group in &groups {
        std::fs::write(group.join("cgroup.procs"), left.id().to_string()).unwrap();
    }
    crate::support::supervisor_calls::remove(&supervisor, &id).unwrap();
    let (mut runtime, _) = supervisor.client();
    let removed = supervisor.wait(runtime.remove_pod_sandbox(cri::RemovePodSandboxRequest {
        pod_sandbox_id: pod,
    }));
    supervisor.expect(removed);
    groups.retain(|group| group.exists());
    assert!(groups.is_empty(), "{groups:?}");
    assert!(!left.wait().unwrap().success(), "it was killed");
}
