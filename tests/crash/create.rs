//! CreateContainer.

use std::fs;
use std::thread;

use outlive::api::cri::ContainerState;
use tonic::Code;

use crate::ground::{Ground, create, remove_pod, run_pod, start, stop_pod};
use crate::support::poll;
use crate::support::supervisor_calls::remove;

pub const POINTS: &[&str] = &[
    "create.named",
    "create.specified",
    "create.written",
    "create.committed",
];

#[test]
fn a_create_that_was_cut_off_has_made_the_whole_container_or_none() {
    let mut ground = Ground::new();
    for point in POINTS {
        let config = ground.supervisor.container_config("victim", &["/bin/true"]);
        let (pod, wanted) = (ground.pod.clone(), config.clone());
        ground.crash(point, |supervisor| create(supervisor, wanted, &pod));
        ground.recover();
        let found = ground.named("victim");
        let id = match (found, *point == "create.committed") {
            (Some(id), true) => {
                let again = create(&ground.supervisor, config, &pod).unwrap_err();
                assert_eq!(again.code(), Code::AlreadyExists, "{point}: {again}");
                id
            }
            (None, false) => create(&ground.supervisor, config, &pod).expect(point),
            (found, _) => panic!("{point}: {found:?}"),
        };
        let status = ground.supervisor.status(&id);
        assert_eq!(status.state(), ContainerState::ContainerCreated, "{point}");
        start(&ground.supervisor, &id).expect(point);
        ground
            .supervisor
            .until_state(&id, ContainerState::ContainerExited);
        remove(&ground.supervisor, &id).expect(point);
        ground.nothing_else_is_left(point);
    }
    ground.nothing_was_lost();
}

#[test]
fn a_container_that_was_being_made_when_its_pod_went_is_none() {
    let mut ground = Ground::new();
    for call in [stop_pod, remove_pod] {
        let gate = ground.supervisor.dir().join("gate");
        fs::write(&gate, "").unwrap();
        ground.arm(&format!("create.specified=return({})", gate.display()));
        let pod = run_pod(&ground.supervisor, ground.supervisor.pod_config("victim")).unwrap();
        let wanted = ground.supervisor.container_config("late", &["/bin/true"]);
        let supervisor = &ground.supervisor;
        let refused = thread::scope(|scope| {
            let creating = scope.spawn(|| create(supervisor, wanted, &pod));
            poll::until("the create is held up", || {
                let log = supervisor.log_tail();
                let is_held = log
                    .rsplit("serving")
                    .next()
                    .is_some_and(|log| log.contains("held up"));
                if is_held { Ok(()) } else { Err(log) }
            });
            call(supervisor, &pod).unwrap();
            fs::remove_file(&gate).unwrap();
            creating.join().unwrap().unwrap_err()
        });
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
        remove_pod(&ground.supervisor, &pod).unwrap();
        ground.nothing_else_is_left("late");
    }
    ground.nothing_was_lost();
}
