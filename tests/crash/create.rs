//! CreateContainer.

use outlive::api::cri::ContainerState;
use tonic::Code;

use crate::ground::{Ground, create, remove, start};

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
