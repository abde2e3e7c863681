//! GetContainerEvents: every change once, in order.

use outlive::api::cri::{self, ContainerEventType as Kind, ContainerState};
use tokio_stream::StreamExt as _;

use crate::life::ready;
use crate::support::poll;
use crate::support::supervisor::Supervisor;
use crate::support::supervisor_calls::remove;

type Events = tonic::Streaming<cri::ContainerEventResponse>;

fn subscribe(supervisor: &Supervisor) -> Events {
    let (mut runtime, _) = supervisor.client();
    let stream = supervisor.wait(runtime.get_container_events(cri::GetEventsRequest {}));
    supervisor.expect(stream)
}

/// The next event of `id`, of that kind.
fn next(
    supervisor: &Supervisor,
    stream: &mut Events,
    id: &str,
    kind: Kind,
) -> cri::ContainerEventResponse {
    loop {
        let next = async { tokio::time::timeout(poll::DEADLINE, stream.next()).await };
        let next = supervisor.wait(next);
        let next = next.map_err(|_| format!("no {kind:?} of {id}"));
        let event = next.unwrap().unwrap().unwrap();
        if event.container_id == id && event.container_event_type() == kind {
            return event;
        }
    }
}

#[test]
fn deletions_tell_the_pod_while_it_lives_and_when_it_goes_at_the_same_time() {
    let (supervisor, pod) = ready();
    let mut stream = subscribe(&supervisor);
    let alone = supervisor.create(&pod, "alone", &["/bin/true"]);
    let with_pod = supervisor.create(&pod, "with-pod", &["/bin/true"]);
    let mut deleted = |id: &str| {
        let event = next(&supervisor, &mut stream, id, Kind::ContainerDeletedEvent);
        let status = event.pod_sandbox_status.expect("the pod's status");
        assert_eq!(status.id, pod);
        assert_eq!(status.metadata.unwrap().uid, "uid-pod");
        let listed = event.containers_statuses.into_iter();
        listed.map(|status| status.id).collect::<Vec<_>>()
    };
    remove(&supervisor, &alone).unwrap();
    assert_eq!(deleted(&alone), [&*with_pod]);
    let (mut runtime, _) = supervisor.client();
    let removed = supervisor.wait(runtime.remove_pod_sandbox(cri::RemovePodSandboxRequest {
        pod_sandbox_id: pod.clone(),
    }));
    supervisor.expect(removed);
    assert!(deleted(&with_pod).is_empty());
    assert!(deleted(&pod).is_empty());
}

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
