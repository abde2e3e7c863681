//! What is made of good, damaged and contradicting files.

use super::*;
use crate::bundle::CorruptReason;
use crate::types::{ExitStatus, Signal, Timestamp};

fn id(text: &str) -> ContainerId {
    ContainerId::new(text).unwrap()
}

fn meta(own: &str, name: &str, created_at: u64) -> ContainerMeta {
    ContainerMeta {
        id: id(own),
        pod: id("p"),
        config: cri::ContainerConfig {
            metadata: Some(cri::ContainerMetadata {
                name: name.to_owned(),
                attempt: 0,
            }),
            ..Default::default()
        },
        runtime: "outlive".to_owned(),
        image_id: String::new(),
        layers: Vec::new(),
        log_path: None,
        user: None,
        stop_signal: Signal::new(15).unwrap(),
        created_at: Timestamp::from_unix_nanos(created_at),
    }
}

fn pod_meta(own: &str, created_at: u64) -> PodMeta {
    PodMeta {
        id: id(own),
        config: cri::PodSandboxConfig::default(),
        runtime: String::new(),
        created_at: Timestamp::from_unix_nanos(created_at),
    }
}

fn pod(own: &str, meta: Read<PodMeta>, checkpoint: Read<PodCheckpoint>) -> PodFacts {
    PodFacts {
        id: id(own),
        meta,
        checkpoint,
        progress: Progress::Some,
    }
}

fn ready() -> Read<PodCheckpoint> {
    Read::Found(PodCheckpoint {
        state: PodState::Ready,
        init: None,
    })
}

fn container(
    own: &str,
    meta: Read<ContainerMeta>,
    status: Option<ContainerStatus>,
) -> ContainerFacts {
    ContainerFacts {
        id: id(own),
        meta,
        checkpoint: status.map_or(Read::Absent, |status| {
            Read::Found(Checkpoint {
                status,
                resources: Default::default(),
            })
        }),
        end: Read::Absent,
    }
}

fn created() -> ContainerStatus {
    ContainerStatus::Created {
        created_at: Timestamp::from_unix_nanos(5),
    }
}

fn exited() -> ContainerStatus {
    ContainerStatus::Exited {
        created_at: Timestamp::from_unix_nanos(5),
        started_at: None,
        finished_at: Timestamp::from_unix_nanos(6),
        exit: ExitStatus::from_code(0),
        cause: crate::supervisor::store::ExitCause::Exited,
    }
}

fn judge(facts: Vec<ContainerFacts>) -> Vec<JudgedContainer> {
    let names = Names::default();
    let pods = judge_pods(
        vec![pod("p", Read::Found(pod_meta("p", 1)), ready())],
        &names,
    );
    let mut judged = judge_containers(facts, &pods, &names);
    judged.sort_by(|one, other| one.id.cmp(&other.id));
    judged
}

fn corrupt<T>() -> Read<T> {
    Read::Corrupt("/x".into(), CorruptReason::Version(7))
}

#[test]
fn a_sound_container_is_what_its_checkpoint_says_and_has_its_name() {
    let facts = container("a", Read::Found(meta("a", "web", 5)), Some(created()));
    let judged = judge(vec![facts]);
    assert_eq!(judged[0].seen, Seen::Known(created()));
    assert!(judged[0].name.is_some() && judged[0].damage.is_none());
}

#[test]
fn without_its_metadata_only_an_end_is_believed() {
    let judged = judge(vec![
        container("a", Read::Absent, Some(created())),
        container("b", corrupt(), Some(exited())),
        container("c", Read::Found(meta("other", "web", 5)), Some(created())),
        container("d", corrupt(), None),
    ]);
    assert!(
        matches!(&judged[0].seen, Seen::Lost { why, created_at: Some(_), .. } if why == "container.json is missing")
    );
    assert_eq!(judged[1].seen, Seen::Known(exited()));
    assert!(matches!(&judged[2].seen, Seen::Lost { why, .. } if why.contains("is of other")));
    assert!(
        matches!(&judged[3].seen, Seen::Lost { why, created_at: None, .. } if why.contains("version 7"))
    );
    assert!(
        judged
            .iter()
            .all(|judged| judged.damage.is_some() && judged.meta.is_none())
    );
}

#[test]
fn a_lost_checkpoint_leaves_what_the_metadata_knows() {
    let mut asked = meta("a", "web", 5);
    let resources = cri::LinuxContainerResources {
        cpu_shares: 9,
        ..Default::default()
    };
    asked.config.linux = Some(cri::LinuxContainerConfig {
        resources: Some(resources.clone()),
        ..Default::default()
    });
    let judged = judge(vec![container("a", Read::Found(asked), None)]);
    assert_eq!(
        judged[0].seen,
        Seen::Lost {
            why: "status.json is missing".to_owned(),
            created_at: Some(Timestamp::from_unix_nanos(5)),
            started_at: None,
        }
    );
    assert_eq!(judged[0].resources, resources);
    assert!(judged[0].name.is_some(), "its name is still its own");
}

#[test]
fn of_two_with_one_name_the_earlier_has_it_and_both_are_there() {
    let judged = judge(vec![
        container("a", Read::Found(meta("a", "web", 9)), Some(created())),
        container("b", Read::Found(meta("b", "web", 5)), Some(created())),
    ]);
    assert!(judged[1].name.is_some());
    assert!(judged[0].name.is_none() && judged[0].meta.is_some());
    assert!(matches!(&judged[0].seen, Seen::Lost { why, .. } if why.contains("taken by b")));
}

#[test]
fn pods_are_kept_whatever_their_files_say() {
    let names = Names::default();
    let unbegun = PodFacts {
        progress: Progress::Nothing,
        ..pod("e", Read::Found(pod_meta("e", 3)), Read::Absent)
    };
    let judged = judge_pods(
        vec![
            pod("a", Read::Found(pod_meta("a", 2)), ready()),
            pod("b", Read::Found(pod_meta("b", 1)), ready()),
            pod("c", corrupt(), ready()),
            pod("d", Read::Found(pod_meta("d", 3)), Read::Absent),
            unbegun,
        ],
        &names,
    );
    let state = |own: &str| {
        let judged = judged.iter().find(|pod| pod.id == id(own)).unwrap();
        judged.checkpoint.state.clone()
    };
    assert!(matches!(state("a"), PodState::Unknown(why) if why.contains("taken by b")));
    assert_eq!(state("b"), PodState::Ready);
    assert!(matches!(state("c"), PodState::Unknown(why) if why.contains("version 7")));
    assert!(matches!(state("d"), PodState::Unknown(_)));
    assert_eq!(state("e"), PodState::Creating);
}

#[test]
fn a_kept_end_is_believed_before_anything_but_an_end() {
    let kept = |status| {
        Read::Found(Checkpoint {
            status,
            resources: Default::default(),
        })
    };
    let later = ContainerStatus::Exited {
        created_at: Timestamp::from_unix_nanos(5),
        started_at: None,
        finished_at: Timestamp::from_unix_nanos(9),
        exit: ExitStatus::from_code(9),
        cause: crate::supervisor::store::ExitCause::Exited,
    };
    let judged = |disk, end| {
        let facts = ContainerFacts {
            end,
            ..container("a", Read::Found(meta("a", "one", 5)), disk)
        };
        let one = judge(vec![facts]).remove(0);
        (one.seen, one.saved)
    };
    let known = Seen::Known;
    let found = judged(Some(created()), kept(later.clone()));
    assert_eq!(found, (known(later.clone()), Saved::NotYet));
    let found = judged(None, kept(later.clone()));
    assert_eq!(found, (known(later.clone()), Saved::NotYet));
    let found = judged(Some(exited()), kept(later));
    assert_eq!(found, (known(exited()), Saved::Yes));
    let found = judged(Some(created()), kept(created()));
    assert_eq!(found, (known(created()), Saved::Yes));
    let found = judged(Some(created()), corrupt());
    assert_eq!(found, (known(created()), Saved::Yes));
}

#[test]
fn orphans_are_what_no_whole_list_has() {
    let mut scan = Scan {
        containers: vec![container("a", Read::Absent, None)],
        pods: Vec::new(),
        bundles: vec![id("a"), id("b")],
        namespaces: vec![id("p")],
        ends: vec![id("a"), id("c")],
        leftovers: vec![PathBuf::from("/r/containers/.new-z")],
        strangers: Vec::new(),
        containers_listed: Listed::Whole,
        pods_listed: Listed::Whole,
    };
    let orphans = Orphans::of(&scan);
    assert_eq!(
        (orphans.bundles, orphans.namespaces),
        (vec![id("b")], vec![id("p")])
    );
    assert_eq!(orphans.ends, [id("c")]);
    scan.containers_listed = Listed::Partly("eio".to_owned());
    scan.pods_listed = Listed::Partly("eio".to_owned());
    let orphans = Orphans::of(&scan);
    assert!(orphans.bundles.is_empty() && orphans.namespaces.is_empty());
    assert_eq!(orphans.leftovers.len(), 1);
}
