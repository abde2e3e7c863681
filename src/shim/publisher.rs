//! The events on their way to the manager: in order, one in flight, each retried until the manager has it.
//!
//! Nobody waits for it: [`Publisher::publish`] puts an event at the end of a bounded queue, and one task of its own
//! forwards from the front. The manager may be away for as long as it likes; the connection is made anew on every
//! failure. Only a full queue loses events, the oldest first, and a counter tells how many.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use containerd_shim_protos::shim::event::Envelope;
use containerd_shim_protos::shim::events::ForwardRequest;
use containerd_shim_protos::shim_async::{Client, EventsClient};
use containerd_shim_protos::ttrpc::asynchronous::transport::Socket;
use containerd_shim_protos::ttrpc::{self, context};
use log::{debug, warn};
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::convert;
use crate::types::{Event, Namespace, Timestamp};

/// Above this many waiting events the oldest go. About 1 MB; a task's life is some ten events.
const QUEUE_BOUND: usize = 4096;
const FORWARD_TIMEOUT: Duration = Duration::from_secs(5);
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LAST_BACKOFF: Duration = Duration::from_secs(3);
/// An event that the manager itself refuses this often is not wanted.
const REFUSALS: u32 = 5;

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Envelope>,
    dropped: u64,
}

/// A handle to the queue; cheap to clone.
#[derive(Clone)]
pub struct Publisher {
    queue: Rc<RefCell<Queue>>,
    changed: Rc<Notify>,
    namespace: Namespace,
    address: Option<PathBuf>,
}

/// What became of one attempt.
enum Attempt {
    Delivered,
    Refused(ttrpc::Error),
    Unreachable(String),
}

impl Publisher {
    /// A publisher for `namespace` to the manager's ttrpc socket at `address`; without one, events go nowhere.
    #[must_use]
    pub fn new(namespace: Namespace, address: Option<PathBuf>) -> Self {
        Self {
            queue: Rc::default(),
            changed: Rc::default(),
            namespace,
            address,
        }
    }

    /// Puts `event` at the end of the queue. Never waits.
    pub fn publish(&self, event: Event) {
        if self.address.is_none() {
            return;
        }
        let now = Timestamp::now();
        let (topic, any) = convert::event(event);
        let envelope = Envelope {
            timestamp: Some(convert::timestamp(now)).into(),
            namespace: self.namespace.to_string(),
            topic: topic.to_owned(),
            event: Some(any).into(),
            ..Envelope::default()
        };
        let mut queue = self.queue.borrow_mut();
        if queue.waiting.len() >= QUEUE_BOUND {
            queue.waiting.pop_front();
            queue.dropped += 1;
            warn!(dropped = queue.dropped; "the event queue is full; the oldest event is dropped");
        }
        queue.waiting.push_back(envelope);
        drop(queue);
        self.changed.notify_one();
    }

    /// Whether everything was delivered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.borrow().waiting.is_empty()
    }

    /// Waits until everything was delivered, at most `limit`.
    pub async fn flush(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        while !self.is_empty() && Instant::now() < deadline {
            sleep(Duration::from_millis(5)).await;
        }
        let left = self.queue.borrow().waiting.len();
        if left > 0 {
            warn!(left = left; "the manager did not take every event in time");
        }
    }

    /// Forwards for as long as it is polled.
    pub async fn run(self) {
        let mut client = None;
        let mut backoff = FIRST_BACKOFF;
        let mut refusals = 0;
        loop {
            let front = self.queue.borrow().waiting.front().cloned();
            let Some(envelope) = front else {
                self.changed.notified().await;
                continue;
            };
            match self.forward(&mut client, envelope.clone()).await {
                Attempt::Delivered => {}
                Attempt::Refused(error) if refusals + 1 >= REFUSALS => {
                    warn!(topic = envelope.topic.as_str(); "the manager refuses an event for good: {error}");
                }
                Attempt::Refused(error) => {
                    debug!(topic = envelope.topic.as_str(); "the manager refuses an event: {error}");
                    refusals += 1;
                    sleep(backoff).await;
                    continue;
                }
                Attempt::Unreachable(error) => {
                    debug!("the manager cannot be reached: {error}");
                    client = None;
                    sleep(jittered(backoff)).await;
                    backoff = (backoff * 2).min(LAST_BACKOFF);
                    continue;
                }
            }
            (backoff, refusals) = (FIRST_BACKOFF, 0);
            let mut queue = self.queue.borrow_mut();
            // A full queue may have dropped this very event meanwhile.
            if queue.waiting.front() == Some(&envelope) {
                queue.waiting.pop_front();
            }
        }
    }

    async fn forward(&self, client: &mut Option<EventsClient>, envelope: Envelope) -> Attempt {
        if client.is_none() {
            match self.connect().await {
                Ok(connected) => *client = Some(connected),
                Err(error) => return Attempt::Unreachable(error.to_string()),
            }
        }
        let Some(client) = client.as_ref() else {
            return Attempt::Unreachable(String::new());
        };
        let request = ForwardRequest {
            envelope: Some(envelope).into(),
            ..ForwardRequest::default()
        };
        let nanos = i64::try_from(FORWARD_TIMEOUT.as_nanos()).unwrap_or(i64::MAX);
        match client.forward(context::with_timeout(nanos), &request).await {
            Ok(_) => Attempt::Delivered,
            Err(error @ ttrpc::Error::RpcStatus(_)) => Attempt::Refused(error),
            Err(error) => Attempt::Unreachable(error.to_string()),
        }
    }

    async fn connect(&self) -> io::Result<EventsClient> {
        let path = self.address.as_deref().ok_or(io::ErrorKind::NotConnected)?;
        // Not by the crate's own connect, which blocks the thread while the manager's backlog is full.
        let stream = timeout(FORWARD_TIMEOUT, UnixStream::connect(path))
            .await
            .map_err(io::Error::from)??;
        Ok(EventsClient::new(Client::new(Socket::new(stream))))
    }
}

/// `delay` made a little longer by chance, so that a node's shims do not all come back at once.
fn jittered(delay: Duration) -> Duration {
    let nanos = Timestamp::now().unix_nanos()
        ^ u64::from(std::process::id()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let percent = u32::try_from(nanos % 50).unwrap_or(0);
    delay + delay * percent / 100
}
