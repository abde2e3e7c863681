//! GetContainerEvents: every state change of containers and pods, once for each consumer, in order.
//!
//! ```text
//! publish --> subscriber's queue (1000) --> its stream
//!                  | full
//!                  `--> the last thing it reads is an error, and it is no subscriber any more
//! ```
//!
//! A consumer that was cut off lists everything and subscribes again, as after a restart: nothing is lost unnoticed.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::mpsc;
use tokio_stream::Stream;
use tonic::Status;

use super::cri::convert;
use super::store::{Container, LookupError, Pod, Store};
use crate::api::cri;
use crate::types::{ContainerId, Timestamp};

/// How many events wait for a consumer that does not read; one more, and it is cut off.
const QUEUE: usize = 1000;
/// How many may listen: kubelet, and whoever looks.
const MAX_SUBSCRIBERS: usize = 64;
const DELETED: cri::ContainerEventType = cri::ContainerEventType::ContainerDeletedEvent;

type Item = Result<Arc<cri::ContainerEventResponse>, Status>;

/// One consumer. The place for the error that cuts it off is kept free from the beginning.
#[derive(Debug)]
struct Subscriber {
    queue: mpsc::Sender<Item>,
    last: mpsc::OwnedPermit<Item>,
}

#[derive(Debug)]
enum Hub {
    Open(Vec<Subscriber>),
    Closed,
}

/// Who listens.
#[derive(Debug)]
pub struct Events(Mutex<Hub>);

impl Default for Events {
    fn default() -> Self {
        Self(Mutex::new(Hub::Open(Vec::new())))
    }
}

impl Events {
    fn hub(&self) -> MutexGuard<'_, Hub> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells every consumer of a change of `id`, a container or a pod that is in the store.
    pub fn publish(&self, store: &Store, id: &ContainerId, kind: cri::ContainerEventType) {
        self.send(|| {
            let pod = match store.container(id.as_str()) {
                Ok(container) => pod_of(store, &container),
                Err(LookupError::NotFound { .. } | LookupError::Ambiguous { .. }) => {
                    store.pod(id.as_str()).ok()
                }
            };
            event(store, id, kind, pod.as_deref())
        });
    }

    /// Tells every consumer that `container` is deleted; it is not in the store any more, and its pod still is.
    pub fn container_deleted(&self, store: &Store, container: &Container) {
        self.send(|| {
            let pod = pod_of(store, container);
            event(store, container.id(), DELETED, pod.as_deref())
        });
    }

    /// Tells every consumer that `pod` is deleted. kubelet ignores events without the pod's status
    /// (`pkg/kubelet/pleg/evented.go`), so this one carries the last.
    pub fn pod_deleted(&self, store: &Store, pod: &Pod) {
        self.send(|| event(store, pod.id(), DELETED, Some(pod)));
    }

    fn send(&self, event: impl FnOnce() -> cri::ContainerEventResponse) {
        // Held while the event is made: what is told later was made later.
        let mut hub = self.hub();
        let Hub::Open(subscribers) = &mut *hub else {
            return;
        };
        if subscribers.is_empty() {
            return;
        }
        let event = Arc::new(event());
        let before = std::mem::take(subscribers);
        for subscriber in before {
            match subscriber.queue.try_send(Ok(Arc::clone(&event))) {
                Ok(()) => subscribers.push(subscriber),
                Err(mpsc::error::TrySendError::Closed(_)) => (),
                Err(mpsc::error::TrySendError::Full(_)) => {
                    log::warn!(queued = QUEUE; "a consumer of events does not read and is cut off");
                    drop(subscriber.last.send(Err(Status::resource_exhausted(format!(
                        "{QUEUE} events were not read: events were lost, list everything and subscribe again"
                    )))));
                }
            }
        }
    }

    /// Listens from now on.
    ///
    /// # Errors
    /// `Unavailable` where the supervisor is stopping, `ResourceExhausted` where too many listen.
    pub fn subscribe(&self) -> Result<EventStream, Status> {
        let mut hub = self.hub();
        let Hub::Open(subscribers) = &mut *hub else {
            return Err(Status::unavailable("the supervisor is stopping"));
        };
        subscribers.retain(|subscriber| !subscriber.queue.is_closed());
        if subscribers.len() >= MAX_SUBSCRIBERS {
            return Err(Status::resource_exhausted(format!(
                "{MAX_SUBSCRIBERS} listen to events already"
            )));
        }
        let (queue, stream) = mpsc::channel(QUEUE + 1);
        let last = queue.clone().try_reserve_owned();
        let last = last.map_err(|_| Status::internal("no place in a new queue"))?;
        subscribers.push(Subscriber { queue, last });
        Ok(EventStream(stream))
    }

    /// How many events have not been read, by all consumers together.
    #[must_use]
    pub fn queued(&self) -> usize {
        match &*self.hub() {
            Hub::Closed => 0,
            Hub::Open(subscribers) => subscribers
                .iter()
                .map(|one| QUEUE.saturating_sub(one.queue.capacity()))
                .sum(),
        }
    }

    /// Ends every stream after what is queued in it, for good.
    pub fn close(&self) {
        *self.hub() = Hub::Closed;
    }
}

/// The container's pod, where it is in the store.
fn pod_of(store: &Store, container: &Container) -> Option<Arc<Pod>> {
    store.pod(container.meta()?.pod.as_str()).ok()
}

fn event(
    store: &Store,
    id: &ContainerId,
    kind: cri::ContainerEventType,
    pod: Option<&Pod>,
) -> cri::ContainerEventResponse {
    let containers = pod.map(|pod| store.containers_of(pod.id()));
    let containers = containers.unwrap_or_default();
    cri::ContainerEventResponse {
        container_id: id.to_string(),
        container_event_type: kind.into(),
        created_at: convert::nanos(Timestamp::now()),
        pod_sandbox_status: pod.map(convert::pod_status),
        containers_statuses: containers
            .iter()
            .map(|container| convert::container_status(container))
            .collect(),
    }
}

/// The events of one consumer.
#[derive(Debug)]
pub struct EventStream(mpsc::Receiver<Item>);

impl Stream for EventStream {
    type Item = Result<cri::ContainerEventResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.0.poll_recv(cx);
        next.map(|item| item.map(|item| item.map(Arc::unwrap_or_clone)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::store::Layout;

    fn id(number: usize) -> ContainerId {
        ContainerId::new(&format!("c{number}")).unwrap()
    }

    fn store() -> Store {
        Store::new(Layout::new("/nowhere/root", "/nowhere/state"))
    }

    fn read_all(stream: &mut EventStream) -> Vec<Result<String, tonic::Code>> {
        let mut read = Vec::new();
        while let Ok(item) = stream.0.try_recv() {
            read.push(match item {
                Ok(event) => Ok(event.container_id.clone()),
                Err(status) => Err(status.code()),
            });
        }
        read
    }

    #[test]
    fn each_consumer_gets_each_event_once_and_in_order() {
        let (events, store) = (Events::default(), store());
        events.publish(
            &store,
            &id(0),
            cri::ContainerEventType::ContainerCreatedEvent,
        );
        let mut streams = [events.subscribe().unwrap(), events.subscribe().unwrap()];
        for number in 1..4 {
            events.publish(
                &store,
                &id(number),
                cri::ContainerEventType::ContainerStartedEvent,
            );
        }
        assert_eq!(events.queued(), 6);
        for stream in &mut streams {
            let expected: Vec<_> = (1..4).map(|number| Ok(id(number).to_string())).collect();
            assert_eq!(read_all(stream), expected);
        }
        assert_eq!(events.queued(), 0);
    }

    #[test]
    fn who_does_not_read_is_told_so_after_what_was_queued_and_delays_nobody() {
        let (events, store) = (Events::default(), store());
        let mut sleeper = events.subscribe().unwrap();
        let mut reader = events.subscribe().unwrap();
        for number in 0..=QUEUE {
            events.publish(
                &store,
                &id(number),
                cri::ContainerEventType::ContainerStartedEvent,
            );
            assert_eq!(read_all(&mut reader), [Ok(id(number).to_string())]);
        }
        let read = read_all(&mut sleeper);
        assert_eq!(read.len(), QUEUE + 1);
        assert_eq!(read.last(), Some(&Err(tonic::Code::ResourceExhausted)));
        assert!(read.iter().take(QUEUE).all(Result::is_ok));
        events.publish(
            &store,
            &id(0),
            cri::ContainerEventType::ContainerStoppedEvent,
        );
        assert!(read_all(&mut sleeper).is_empty());
        assert_eq!(read_all(&mut reader).len(), 1);
    }

    #[tokio::test]
    async fn a_stop_ends_the_streams_after_what_is_queued() {
        let (events, store) = (Events::default(), store());
        let mut stream = events.subscribe().unwrap();
        events.publish(
            &store,
            &id(1),
            cri::ContainerEventType::ContainerStoppedEvent,
        );
        events.close();
        assert!(stream.0.recv().await.is_some());
        assert!(stream.0.recv().await.is_none());
        assert_eq!(
            events.subscribe().unwrap_err().code(),
            tonic::Code::Unavailable
        );
    }
}
