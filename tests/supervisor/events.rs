//! GetContainerEvents: every change once, in order.

use outlive::api::cri::{self, ContainerEventType as Kind, ContainerState};
use tokio_stream::StreamExt as _;

use crate::life::ready;
use crate::support::poll;
use crate::support::supervisor_calls::remove;

#[test]
fn every_change_of_a_container_is_told_once_and_in_order() {
    let (supervisor, pod) = ready();
    let (mut runtime, _) = supervisor.client();
    let stream = supervisor.wait(runtime.get_container_events(cri::GetEventsRequest {}));
    let mut stream = supervisor.expect(stream);
    let id = supervisor.run(&pod, "c", &["/bin/sh", "-c", "exit 4"]);
    supervisor.until_state(&id, ContainerState::ContainerExited);
    remove(&supervisor, &id).unwrap();
    let mut told = Vec::new();
    while told.last() != Some(&Kind::ContainerDeletedEvent) {
        let next = async { tokio::time::timeout(poll::DEADLINE, stream.next()).await };
        let next = supervisor.wait(next);
        let event = next
            .unwrap_or_else(|_| panic!("only {told:?}"))
            .unwrap()
            .unwrap();
        if event.container_id == id {
            if event.container_event_type() == Kind::ContainerStoppedEvent {
                let status = event
                    .containers_statuses
                    .iter()
                    .find(|status| status.id == id);
                assert_eq!(status.unwrap().exit_code, 4);
            }
            told.push(event.container_event_type());
        }
    }
    let expected = [
        Kind::ContainerCreatedEvent,
        Kind::ContainerStartedEvent,
        Kind::ContainerStoppedEvent,
        Kind::ContainerDeletedEvent,
    ];
    assert_eq!(told, expected);
}
