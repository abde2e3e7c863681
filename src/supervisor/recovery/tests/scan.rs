//! What a scan makes of directories good and bad.

use super::*;
use crate::supervisor::store::{ContainerStatus, PodState};
use crate::sys::file::scratch::Scratch;
use crate::types::Timestamp;

fn layout(scratch: &Scratch) -> Layout {
    Layout::new(scratch.path().join("root"), scratch.path().join("state"))
}

fn id(text: &str) -> ContainerId {
    ContainerId::new(text).unwrap()
}

#[test]
fn an_empty_disk_has_nothing_and_is_whole() {
    let scratch = Scratch::new();
    let scan = scan(&layout(&scratch));
    assert!(scan.containers.is_empty() && scan.pods.is_empty() && scan.bundles.is_empty());
    assert_eq!(scan.containers_listed, Listed::Whole);
    assert_eq!(scan.pods_listed, Listed::Whole);
}

#[test]
fn names_are_told_apart_and_what_is_not_ours_is_left_alone() {
    let scratch = Scratch::new();
    for dir in ["a1", ".new-b2", ".gone-c3", ".new-", "..x", "bad name"] {
        std::fs::create_dir_all(scratch.path().join("root/containers").join(dir)).unwrap();
    }
    scratch.write("root/containers/d4", "a file");
    scratch.write("state/tasks/a1/exits", "x");
    scratch.write("state/tasks/.new-a1/exits", "x");
    let scan = scan(&layout(&scratch));
    let ids: Vec<&str> = scan
        .containers
        .iter()
        .map(|facts| facts.id.as_str())
        .collect();
    assert_eq!(ids, ["a1"]);
    assert_eq!(scan.bundles, [id("a1")]);
    assert_eq!(scan.leftovers.len(), 2, "{:?}", scan.leftovers);
    assert_eq!(scan.strangers.len(), 5, "{:?}", scan.strangers);
    assert!(scratch.path().join("root/containers/bad name").is_dir());
}

#[test]
fn a_container_directory_without_a_file_or_with_a_bad_one_is_a_container() {
    let scratch = Scratch::new();
    let layout = layout(&scratch);
    scratch.write("root/containers/a/x", "");
    scratch.write("root/containers/b/status.json", "{\"version\":9}");
    scratch.write("root/containers/b/container.json", "{");
    std::fs::create_dir_all(scratch.path().join("root/containers/c")).unwrap();
    let checkpoint = Checkpoint {
        status: ContainerStatus::Created {
            created_at: Timestamp::from_unix_nanos(1),
        },
        resources: Default::default(),
    };
    checkpoint
        .write(&layout.container(&id("c")).join("status.json"))
        .unwrap();
    let scan = scan(&layout);
    let [a, b, c] = &scan.containers[..] else {
        panic!("{scan:?}");
    };
    assert!(matches!(
        (&a.meta, &a.checkpoint),
        (Read::Absent, Read::Absent)
    ));
    assert!(matches!(
        (&b.meta, &b.checkpoint),
        (Read::Corrupt(..), Read::Corrupt(..))
    ));
    assert!(matches!(&c.checkpoint, Read::Found(found) if *found == checkpoint));
}

#[test]
fn containers_that_are_nowhere_while_bundles_are_there_are_not_orphans() {
    let scratch = Scratch::new();
    scratch.write("state/tasks/a/config.json", "{}");
    scratch.write("state/pods/p/net", "");
    let found = scan(&layout(&scratch));
    assert!(matches!(found.containers_listed, Listed::Partly(_)));
    assert!(matches!(found.pods_listed, Listed::Partly(_)));
    std::fs::create_dir_all(scratch.path().join("root/containers")).unwrap();
    assert_eq!(scan(&layout(&scratch)).containers_listed, Listed::Whole);
}

#[test]
fn a_list_that_cannot_be_read_is_not_whole() {
    let scratch = Scratch::new();
    scratch.write("root/containers", "no directory");
    let scan = scan(&layout(&scratch));
    assert!(matches!(scan.containers_listed, Listed::Partly(_)));
}

#[test]
fn how_far_a_pod_came_is_seen() {
    let scratch = Scratch::new();
    scratch.write("root/pods/a/pod.json", "{}");
    scratch.write("root/pods/b/pod.json", "{}");
    scratch.write("root/pods/b/hostname", "x");
    scratch.write("root/pods/c/pod.json", "{}");
    scratch.write("state/pods/c/net", "");
    let layout = layout(&scratch);
    let checkpoint = PodCheckpoint {
        state: PodState::Ready,
        init: None,
    };
    std::fs::create_dir_all(layout.pod(&id("d"))).unwrap();
    checkpoint
        .write(&layout.pod(&id("d")).join("status.json"))
        .unwrap();
    let progress: Vec<Progress> = scan(&layout).pods.iter().map(|pod| pod.progress).collect();
    use Progress::{Nothing, Some};
    assert_eq!(progress, [Nothing, Some, Some, Some]);
}

#[test]
fn a_journal_that_cannot_be_read_is_not_an_absent_one() {
    let scratch = Scratch::new();
    let bundle = Bundle::new(scratch.path());
    assert_eq!(recorded_exit(&bundle), Ok(None));
    scratch.write("exits", "something else");
    assert!(recorded_exit(&bundle).is_err());
    assert_eq!(endpoint_of(&bundle), Ok(None));
    scratch.write("address", "elsewhere");
    assert!(endpoint_of(&bundle).is_err());
}
