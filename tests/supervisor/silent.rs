//! A container whose shim does not answer can be stopped and removed, its end is the kernel's, and the shim that goes on
//! later changes nothing. That nothing is left is seen at the end of each test.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use outlive::api::cri::{self, ContainerEventType as Kind, ContainerState};

use crate::life::ready;
use crate::support::supervisor::{IMAGE, Options, Supervisor};
use crate::support::supervisor_calls::{listed, pid, remove, stop};
use crate::support::{poll, stopped};
use crate::trouble::shims;

/// How long a command may take that would wait for the shim for ever.
const SOON: Duration = Duration::from_secs(45);

/// Stops the container's shim; its pid.
fn silence(id: &str) -> Pid {
    let found = shims(id);
    assert_eq!(found.len(), 1, "{found:?}");
    let shim = Pid::from_raw(found[0]);
    stopped::stop(shim);
    shim
}

fn is_there(process: Pid) -> bool {
    kill(process, None).is_ok()
}

fn until_gone(what: &str, process: Pid) {
    poll::until(&format!("{what} is gone"), || {
        let state = std::fs::read_to_string(format!("/proc/{process}/stat"));
        match state {
            Ok(stat) if !stat.contains(") Z ") => Err(stat),
            _ => Ok(()),
        }
    });
}

/// All events from now on; asked for once.
struct Heard(tonic::Streaming<cri::ContainerEventResponse>);

impl Heard {
    fn from(supervisor: &Supervisor) -> Self {
        let (mut runtime, _) = supervisor.client();
        let asked = runtime.get_container_events(cri::GetEventsRequest {});
        Self(supervisor.expect(supervisor.wait(asked)))
    }

    /// Those of `id` until its removal is told.
    fn until_deleted(mut self, supervisor: &Supervisor, id: &str) -> Vec<Kind> {
        let mut heard = Vec::new();
        while heard.last() != Some(&Kind::ContainerDeletedEvent) {
            let event = supervisor.wait(async {
                let next = tokio::time::timeout(poll::DEADLINE, self.0.message());
                next.await.unwrap().unwrap().unwrap()
            });
            if event.container_id == id {
                heard.push(event.container_event_type());
            }
        }
        heard
    }
}

#[test]
fn a_stop_gives_the_grace_and_the_end_is_the_kernels_and_survives_a_crash() {
    let (mut supervisor, pod) = ready();
    let polite = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done";
    let id = supervisor.run(&pod, "polite", &["/bin/sh", "-c", polite]);
    poll::until("the trap is set", || {
        let log = std::fs::read_to_string(supervisor.log_of("polite")).unwrap_or_default();
        if log.contains("ready") {
            Ok(())
        } else {
            Err(log)
        }
    });
    let shim = silence(&id);
    let began = Instant::now();
    stop(&supervisor, &id, 40).unwrap();
    let took = began.elapsed();
    assert!(
        took < Duration::from_secs(39),
        "it ended of SIGTERM: {took:?}"
    );
    let ended = supervisor.status(&id);
    assert_eq!(ended.state(), ContainerState::ContainerExited);
    assert_eq!((ended.exit_code, ended.reason.as_str()), (7, "Error"));
    assert!(ended.started_at <= ended.finished_at);
    // Until it is removed the shim may go on and write what it has.
    assert!(is_there(shim));
    stop(&supervisor, &id, 0).unwrap();
    supervisor.kill9();
    supervisor.restart();
    assert_eq!(supervisor.status(&id), ended);
    let began = Instant::now();
    remove(&supervisor, &id).unwrap();
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    until_gone("the shim", shim);
    assert_eq!(listed(&supervisor).len(), 0);
}

#[test]
fn a_shim_that_goes_on_after_the_stop_cleans_up_and_changes_nothing() {
    let (supervisor, pod) = ready();
    let script = "echo last; exec sleep 1000";
    let id = supervisor.run(&pod, "c", &["/bin/sh", "-c", script]);
    let events = Heard::from(&supervisor);
    let shim = silence(&id);
    stop(&supervisor, &id, 0).unwrap();
    let ended = supervisor.status(&id);
    assert_eq!((ended.exit_code, ended.reason.as_str()), (137, "Error"));
    kill(shim, Signal::SIGCONT).unwrap();
    until_gone("the shim", shim);
    let bundle = supervisor.state().join("tasks").join(&id);
    poll::until("its bundle is gone", || match bundle.exists() {
        true => Err(bundle.display().to_string()),
        false => Ok(()),
    });
    assert_eq!(supervisor.status(&id), ended);
    let log = std::fs::read_to_string(supervisor.log_of("c")).unwrap();
    assert_eq!(log.matches("last").count(), 1, "{log}");
    remove(&supervisor, &id).unwrap();
    let heard = events.until_deleted(&supervisor, &id);
    assert_eq!(
        heard,
        [Kind::ContainerStoppedEvent, Kind::ContainerDeletedEvent]
    );
}

#[test]
fn without_a_pid_namespace_every_process_of_the_cgroup_is_ended() {
    let (supervisor, pod) = ready();
    let script = "trap '' TERM; sleep 1001 & setsid sleep 1002 & exec sleep 1003";
    let mut config = supervisor.container_config("c", &["/bin/sh", "-c", script]);
    let linux = config.linux.as_mut().unwrap();
    let security = linux.security_context.as_mut().unwrap();
    let namespaces = security.namespace_options.as_mut().unwrap();
    namespaces.set_pid(cri::NamespaceMode::Node);
    let id = supervisor.create_as(&pod, config);
    supervisor.start_container(&id);
    let processes = poll::until("all three run", || {
        let stats = crate::support::supervisor_calls::stats(&supervisor, &id);
        let found = below(pid(&supervisor, &id));
        if found.len() == 3 {
            Ok(found)
        } else {
            Err(format!("{found:?} {stats:?}"))
        }
    });
    silence(&id);
    stop(&supervisor, &id, 0).unwrap();
    assert_eq!(supervisor.status(&id).exit_code, 137);
    for process in processes {
        until_gone("a process", process);
    }
    remove(&supervisor, &id).unwrap();
}

/// A process and its children.
fn below(pid: u64) -> Vec<Pid> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let children = children
        .split_whitespace()
        .map(|child| child.parse().unwrap());
    let all = [i32::try_from(pid).unwrap()].into_iter().chain(children);
    all.map(Pid::from_raw).collect()
}

#[test]
fn a_pod_with_an_init_is_stopped_and_removed_whichever_shims_are_silent() {
    let supervisor = Supervisor::start(Options::default());
    supervisor.load_busybox();
    let mut config = supervisor.pod_config("pod");
    let security = config.linux.as_mut().unwrap().security_context.as_mut();
    let namespaces = security.unwrap().namespace_options.as_mut().unwrap();
    namespaces.set_pid(cri::NamespaceMode::Pod);
    let (mut runtime, _) = supervisor.client();
    let answer = supervisor.wait(runtime.run_pod_sandbox(cri::RunPodSandboxRequest {
        config: Some(config.clone()),
        runtime_handler: String::new(),
    }));
    let pod = supervisor.expect(answer).pod_sandbox_id;
    supervisor.note(&pod);
    let run = |name: &str, shared: cri::NamespaceMode, target: &str| {
        let mut config = supervisor.container_config(name, &["/bin/sleep", "1000"]);
        config.image.as_mut().unwrap().image = IMAGE.to_owned();
        let linux = config.linux.as_mut().unwrap();
        let security = linux.security_context.as_mut().unwrap();
        let namespaces = security.namespace_options.as_mut().unwrap();
        namespaces.set_pid(shared);
        namespaces.target_id = target.to_owned();
        let id = supervisor.create_as(&pod, config);
        supervisor.start_container(&id);
        id
    };
    let first = run("first", cri::NamespaceMode::Pod, "");
    let own = run("own", cri::NamespaceMode::Container, "");
    // It lives in a namespace that ends with another container's init, and only when it was reaped itself.
    let guest = run("guest", cri::NamespaceMode::Target, &own);
    let silent = [silence(&first), silence(&guest)];
    let began = Instant::now();
    let stopped = supervisor.wait(runtime.stop_pod_sandbox(cri::StopPodSandboxRequest {
        pod_sandbox_id: pod.clone(),
    }));
    supervisor.expect(stopped);
    for id in [&first, &own, &guest] {
        let ended = supervisor.status(id);
        assert_eq!(
            (ended.state(), ended.exit_code),
            (ContainerState::ContainerExited, 137)
        );
    }
    let removed = supervisor.wait(runtime.remove_pod_sandbox(cri::RemovePodSandboxRequest {
        pod_sandbox_id: pod,
    }));
    supervisor.expect(removed);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    for shim in silent {
        until_gone("a shim", shim);
    }
    assert_eq!(listed(&supervisor).len(), 0);
}

#[test]
fn another_shim_that_is_silent_is_no_hindrance_either() {
    let supervisor = Supervisor::start(Options {
        config: "[runtimes.go]\nshim = \"/usr/bin/containerd-shim-runc-v2\"\n".to_owned(),
        ..Options::default()
    });
    supervisor.load_busybox();
    let (mut runtime, _) = supervisor.client();
    let answer = supervisor.wait(runtime.run_pod_sandbox(cri::RunPodSandboxRequest {
        config: Some(supervisor.pod_config("pod")),
        runtime_handler: "go".to_owned(),
    }));
    let pod = supervisor.expect(answer).pod_sandbox_id;
    supervisor.note(&pod);
    let id = supervisor.run(&pod, "c", &["/bin/sleep", "1000"]);
    let shim = silence(&id);
    stop(&supervisor, &id, 0).unwrap();
    assert_eq!(supervisor.status(&id).exit_code, 137);
    remove(&supervisor, &id).unwrap();
    until_gone("the shim", shim);
}
