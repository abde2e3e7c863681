//! RemoveContainer.

use outlive::api::cri::ContainerState;

use crate::ground::{Ground, create, start};
use crate::support::supervisor_calls::{listed, remove};

pub const POINTS: &[&str] = &[
    "stop.killed",
    "exit.recorded",
    "remove.stopped",
    "clean.deleted",
    "clean.shut_down",
    "clean.unmounted",
    "remove.cleaned",
    "remove.renamed",
];

#[test]
fn a_removal_that_was_cut_off_leaves_no_container_or_one_that_can_be_removed() {
    let mut ground = Ground::new();
    for (was_running, point) in POINTS
        .iter()
        .map(|point| (true, point))
        .chain(POINTS[6..].iter().map(|point| (false, point)))
    {
        let config = ground
            .supervisor
            .container_config("victim", &["/bin/sleep", "1000"]);
        let pod = ground.pod.clone();
        let id = create(&ground.supervisor, config.clone(), &pod).unwrap();
        if was_running {
            start(&ground.supervisor, &id).unwrap();
        }
        ground.crash(point, |supervisor| remove(supervisor, &id));
        ground.recover();
        match ground.named("victim") {
            None => {
                assert_eq!(*point, "remove.renamed");
                // Its name is free at once.
                let next = create(&ground.supervisor, config, &pod).expect(point);
                remove(&ground.supervisor, &next).expect(point);
            }
            Some(found) => {
                assert_eq!(found, id);
                assert_ne!(*point, "remove.renamed");
                let expected = if was_running {
                    ContainerState::ContainerExited
                } else {
                    ContainerState::ContainerCreated
                };
                let status = ground.supervisor.until_state(&id, expected);
                assert_eq!(
                    status.exit_code,
                    if was_running { 137 } else { 0 },
                    "{point}"
                );
            }
        }
        remove(&ground.supervisor, &id).expect(point);
        assert_eq!(listed(&ground.supervisor).len(), 1, "{point}");
        ground.nothing_else_is_left(point);
    }
    ground.nothing_was_lost();
}
