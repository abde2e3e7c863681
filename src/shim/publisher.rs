//! The events on their way to the manager: in order, one in flight, each retried until the manager has it.
//!
//! Nobody waits for it: [`Publisher::publish`] puts an event into the bounded [`Outbox`], and one task of its own
//! forwards from the front. The manager may be away for as long as it likes: the connection is made anew when it broke,
//! and the attempts become rarer. Only a full outbox loses events; it says which, and counts.
//!
//! A manager that is slow or stopped (SIGSTOP) is waited for as long as the connection stands: the kernel tells of its
//! end, and an event that is sent once more on another connection would arrive twice. So an event comes twice only where
//! a connection broke between its arrival and the answer.

use std::cell::{Cell, RefCell};
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
use serde::Serialize;
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::convert;
use super::outbox::{Outbox, Waiting};
use crate::sys::memory;
use crate::types::{Event, Namespace, Timestamp};

/// How many events may wait. About 1 MB; a task's life is some ten events.
const QUEUE_BOUND: usize = 4096;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take on a connection that stands, before the request is taken for forgotten.
const FORWARD_TIMEOUT: Duration = Duration::from_secs(300);
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LAST_BACKOFF: Duration = Duration::from_secs(3);
/// An event that the manager itself refuses this often is not wanted.
const REFUSALS: u32 = 5;

/// A handle to the queue; cheap to clone.
#[derive(Clone)]
pub struct Publisher {
    queue: Rc<RefCell<Outbox>>,
    changed: Rc<Notify>,
    flushing: Rc<Notify>,
    delivered: Rc<Notify>,
    refused: Rc<Cell<u64>>,
    namespace: Namespace,
    address: Option<PathBuf>,
}

/// What the queue looks like, for the state dump.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct PublisherDump {
    waiting: usize,
    collapsed: u64,
    dropped: u64,
    refused: u64,
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
            queue: Rc::new(RefCell::new(Outbox::new(QUEUE_BOUND))),
            changed: Rc::default(),
            flushing: Rc::default(),
            delivered: Rc::default(),
            refused: Rc::default(),
            namespace,
            address,
        }
    }

    /// Puts `event` at the end of the queue. Never waits.
    pub fn publish(&self, event: Event) {
        if self.address.is_none() {
            return;
        }
        let mut queue = self.queue.borrow_mut();
        let before = queue.losses();
        queue.push(event, Timestamp::now());
        let after = queue.losses();
        drop(queue);
        // One by one they would fill the log, which nobody reads now either.
        if after.dropped != before.dropped && after.dropped.is_power_of_two() {
            warn!(dropped = after.dropped, collapsed = after.collapsed; "the manager is away and the event queue is full: events are dropped");
        }
        self.changed.notify_one();
    }

    /// Whether everything was delivered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.borrow().is_empty()
    }

    /// What the queue looks like.
    #[must_use]
    pub fn dump(&self) -> PublisherDump {
        let queue = self.queue.borrow();
        let losses = queue.losses();
        PublisherDump {
            waiting: queue.len(),
            collapsed: losses.collapsed,
            dropped: losses.dropped,
            refused: self.refused.get(),
        }
    }

    /// Waits until everything was delivered, at most `limit`.
    pub async fn flush(&self, limit: Duration) {
        self.flushing.notify_one();
        let all = async {
            while !self.is_empty() {
                self.delivered.notified().await;
            }
        };
        drop(timeout(limit, all).await);
        let left = self.queue.borrow().len();
        if left > 0 {
            warn!(left = left; "the manager did not take every event in time");
        }
    }

    /// Waits before the next attempt, unless there is no time left for that.
    async fn pause(&self, delay: Duration) {
        tokio::select! {
            () = sleep(delay) => {}
            () = self.flushing.notified() => {}
        }
    }

    /// Forwards for as long as it is polled.
    pub async fn run(self) {
        let mut client = None;
        let mut backoff = FIRST_BACKOFF;
        let mut refusals = 0;
        let mut was_away = false;
        loop {
            let front = self.queue.borrow().front().cloned();
            let Some(waiting) = front else {
                self.changed.notified().await;
                continue;
            };
            let number = waiting.number;
            match self.forward(&mut client, waiting).await {
                Attempt::Delivered => {}
                Attempt::Refused(error) if refusals + 1 >= REFUSALS => {
                    warn!("the manager refuses an event for good: {error}");
                    self.refused.set(self.refused.get() + 1);
                }
                Attempt::Refused(error) => {
                    debug!("the manager refuses an event: {error}");
                    refusals += 1;
                    self.pause(jittered(backoff)).await;
                    continue;
                }
                Attempt::Unreachable(error) => {
                    debug!("the manager cannot be reached: {error}");
                    (client, was_away) = (None, true);
                    self.pause(jittered(backoff)).await;
                    backoff = (backoff * 2).min(LAST_BACKOFF);
                    continue;
                }
            }
            self.queue.borrow_mut().remove(number);
            self.delivered.notify_one();
            (backoff, refusals) = (FIRST_BACKOFF, 0);
            if was_away && self.is_empty() {
                // What piled up meanwhile is free, in the middle of the heap.
                was_away = false;
                memory::trim_heap();
            }
        }
    }

    async fn forward(&self, client: &mut Option<EventsClient>, waiting: Waiting) -> Attempt {
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
            envelope: Some(self.envelope(waiting)).into(),
            ..ForwardRequest::default()
        };
        let nanos = i64::try_from(FORWARD_TIMEOUT.as_nanos()).unwrap_or(i64::MAX);
        match client.forward(context::with_timeout(nanos), &request).await {
            Ok(_) => Attempt::Delivered,
            Err(error @ ttrpc::Error::RpcStatus(_)) => Attempt::Refused(error),
            Err(error) => Attempt::Unreachable(error.to_string()),
        }
    }

    fn envelope(&self, waiting: Waiting) -> Envelope {
        let (topic, any) = convert::event(waiting.event);
        Envelope {
            timestamp: Some(convert::timestamp(waiting.at)).into(),
            namespace: self.namespace.to_string(),
            topic: topic.to_owned(),
            event: Some(any).into(),
            ..Envelope::default()
        }
    }

    async fn connect(&self) -> io::Result<EventsClient> {
        let path = self.address.as_deref().ok_or(io::ErrorKind::NotConnected)?;
        // Not by the crate's own connect, which blocks the thread while the manager's backlog is full; this one answers
        // EAGAIN then.
        let stream = timeout(CONNECT_TIMEOUT, UnixStream::connect(path))
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
