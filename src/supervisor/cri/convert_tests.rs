//! How containers and pods are shown, and which of them a filter takes.

use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::supervisor::store::{
    Activity, ContainerMeta, ExitCause, Files, PodCheckpoint, PodMeta, Recovery, Saved,
};
use crate::types::{ContainerId, ExitStatus, Pid, ProcessIdentity, Signal};

fn id(text: &str) -> ContainerId {
    ContainerId::new(text).unwrap()
}

fn nowhere() -> Files {
    let nowhere = PathBuf::from("/nowhere");
    Files {
        dir: nowhere.clone(),
        end: nowhere,
    }
}

fn at(nanos: u64) -> Timestamp {
    Timestamp::from_unix_nanos(nanos)
}

fn labels(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn made(name: &str, pod: &str, status: ContainerStatus) -> Arc<Container> {
    let meta = ContainerMeta {
        id: id(name),
        pod: id(pod),
        config: cri::ContainerConfig {
            metadata: Some(cri::ContainerMetadata {
                name: "web".into(),
                attempt: 2,
            }),
            image: Some(cri::ImageSpec {
                image: "busybox:1".into(),
                ..Default::default()
            }),
            labels: labels(&[("app", "web"), ("tier", "front")]),
            ..Default::default()
        },
        runtime: "outlive".into(),
        image_id: "sha256:aa".into(),
        layers: Vec::new(),
        log_path: Some("/var/log/pods/web/2.log".into()),
        user: None,
        stop_signal: Signal::TERM,
        created_at: at(10),
    };
    let checkpoint = Checkpoint {
        status,
        resources: cri::LinuxContainerResources {
            cpu_shares: 512,
            ..Default::default()
        },
    };
    let saved = (checkpoint, Saved::Yes);
    Container::new(id(name), nowhere(), Some(meta), saved, None, Recovery::Done)
}

fn running() -> ContainerStatus {
    ContainerStatus::Running {
        created_at: at(10),
        started_at: at(20),
        process: ProcessIdentity {
            pid: Pid::new(7).unwrap(),
            start_ticks: 1,
            boot_id: 1,
        },
        activity: Activity::Running,
    }
}

fn exited(exit: u8, cause: ExitCause) -> ContainerStatus {
    ContainerStatus::Exited {
        created_at: at(10),
        started_at: Some(at(20)),
        finished_at: at(30),
        exit: ExitStatus::from_code(exit),
        cause,
    }
}

#[test]
fn a_running_container_has_no_end() {
    let shown = container_status(&made("c1", "p1", running()));
    assert_eq!(shown.state(), cri::ContainerState::ContainerRunning);
    assert_eq!(
        (shown.created_at, shown.started_at, shown.finished_at),
        (10, 20, 0)
    );
    assert_eq!(shown.metadata.unwrap().attempt, 2);
    assert_eq!(shown.image_ref, "sha256:aa");
    assert_eq!(shown.log_path, "/var/log/pods/web/2.log");
    assert_eq!(shown.resources.unwrap().linux.unwrap().cpu_shares, 512);
}

#[test]
fn the_reason_of_an_end_is_derived_when_it_is_read() {
    for (exit, cause, reason, message) in [
        (0, ExitCause::Exited, "Completed", ""),
        (7, ExitCause::Exited, "Error", ""),
        (137, ExitCause::OomKilled, "OOMKilled", ""),
        (
            128,
            ExitCause::StartError("no such file".into()),
            "StartError",
            "no such file",
        ),
        (
            255,
            ExitCause::Unknown("the shim is gone".into()),
            "Unknown",
            "the shim is gone",
        ),
    ] {
        let shown = container_status(&made("c1", "p1", exited(exit, cause)));
        assert_eq!(shown.state(), cri::ContainerState::ContainerExited);
        assert_eq!(shown.exit_code, i32::from(exit));
        assert_eq!(shown.finished_at, 30);
        assert_eq!((&*shown.reason, &*shown.message), (reason, message));
    }
}

#[test]
fn what_cannot_be_read_is_listed_as_unknown_with_its_reason() {
    let checkpoint = Checkpoint {
        status: ContainerStatus::Unknown {
            created_at: None,
            started_at: None,
            process: None,
            reason: "container.json: malformed".into(),
        },
        resources: cri::LinuxContainerResources::default(),
    };
    let bare = Container::new(
        id("c9"),
        nowhere(),
        None,
        (checkpoint, Saved::Yes),
        None,
        Recovery::Done,
    );
    let shown = container_status(&bare);
    assert_eq!(shown.state(), cri::ContainerState::ContainerUnknown);
    assert_eq!(shown.message, "container.json: malformed");
    assert!(shown.metadata.is_some());
    let line = container(&bare);
    assert_eq!(line.id, "c9");
    assert!(Selection::default().has_container(&line));
}

#[test]
fn a_filter_takes_what_matches_in_everything() {
    let line = container(&made("c1f2", "p1a2", running()));
    let running = cri::ContainerState::ContainerRunning.into();
    let takes = |change: &dyn Fn(&mut Selection)| {
        let mut selection = Selection::default();
        change(&mut selection);
        selection.has_container(&line)
    };
    assert!(takes(&|_| ()));
    assert!(takes(&|all| {
        all.id = "c1".into();
        all.pod = "p1a".into();
        all.state = Some(running);
        all.labels = labels(&[("app", "web"), ("tier", "front")]);
    }));
    assert!(!takes(&|one| one.id = "1f".into()));
    assert!(!takes(&|one| one.pod = "p2".into()));
    assert!(!takes(&|one| one.state = Some(running + 1)));
    assert!(!takes(&|one| one.labels = labels(&[("app", "db")])));
    assert!(!takes(
        &|one| one.labels = labels(&[("app", "web"), ("zone", "a")])
    ));
}

#[test]
fn a_pod_shows_its_addresses_and_is_ready_only_when_that_is_known() {
    for (state, ready) in [
        (PodState::Ready, cri::PodSandboxState::SandboxReady),
        (PodState::Creating, cri::PodSandboxState::SandboxNotready),
        (PodState::NotReady, cri::PodSandboxState::SandboxNotready),
        (
            PodState::Unknown("pod.json".into()),
            cri::PodSandboxState::SandboxNotready,
        ),
    ] {
        let meta = PodMeta {
            id: id("p1"),
            config: cri::PodSandboxConfig {
                labels: labels(&[("app", "web")]),
                ..Default::default()
            },
            runtime: "runc".into(),
            created_at: at(5),
        };
        let checkpoint = PodCheckpoint { state, init: None };
        let made = Pod::new(
            id("p1"),
            PathBuf::from("/nowhere"),
            Some(meta),
            checkpoint,
            None,
        );
        made.set_addresses(vec!["10.0.0.2".into(), "fd00::2".into()]);
        let shown = pod_status(&made);
        assert_eq!(shown.state(), ready);
        let network = shown.network.unwrap();
        assert_eq!(network.ip, "10.0.0.2");
        assert_eq!(network.additional_ips[0].ip, "fd00::2");
        assert_eq!(shown.runtime_handler, "runc");
        let line = pod(&made);
        assert_eq!(line.created_at, 5);
        let mut selection = Selection {
            labels: labels(&[("app", "web")]),
            ..Selection::default()
        };
        assert!(selection.has_pod(&line));
        selection.state = Some(i32::from(ready) ^ 1);
        assert!(!selection.has_pod(&line));
    }
}
