//! What shims tell by themselves: the ttrpc service `containerd.services.events.ttrpc.v1.Events` on the supervisor's
//! events socket (containerd `api/services/ttrpc/events/v1/events.proto`).
//!
//! `Forward` answers only once the event was taken, so a supervisor that is busy holds up its shims' queues and loses
//! nothing. An event can come twice, where a connection broke between the taking and the answer.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use containerd_shim_protos::api::Empty;
use containerd_shim_protos::events::task as messages;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::shim::event::Envelope;
use containerd_shim_protos::shim::events::ForwardRequest;
use containerd_shim_protos::shim_async::{Events as EventsService, create_events};
use containerd_shim_protos::ttrpc::asynchronous::transport::Listener;
use containerd_shim_protos::ttrpc::asynchronous::{Server, TtrpcContext};
use containerd_shim_protos::ttrpc::{self, get_status, proto::Code};
use futures_core::Stream;
use log::{debug, info, warn};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::call::{exit_record, timestamp};
use crate::sys::accept::{Accepting, Incoming};
use crate::sys::socket::{self, Presence};
use crate::types::{ContainerId, Event, ExecId, Pid, Timestamp};

/// An event of a shim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShimEvent {
    /// Whose the container is: what its shim was told as `-namespace`.
    pub namespace: String,
    /// When the shim published it.
    pub at: Timestamp,
    /// What happened.
    pub event: Event,
}

/// The endpoint, for as long as it is kept.
pub struct Endpoint(Server);

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Endpoint")
    }
}

impl Endpoint {
    /// Takes no further event; shims keep theirs.
    pub async fn close(mut self) {
        if let Err(error) = self.0.shutdown().await {
            debug!("events: {error}");
        }
    }
}

/// Takes events at `path`, a socket of mode 0600, into `sink`: exits, OOM kills, starts, pauses and resumes. A socket that
/// nobody listens on is replaced. A full `sink` makes the shims wait.
///
/// # Errors
/// `AddrInUse` where somebody listens; else what the kernel answered.
pub async fn serve(path: &Path, sink: mpsc::Sender<ShimEvent>) -> io::Result<Endpoint> {
    if socket::presence(path)? == Presence::Dead {
        std::fs::remove_file(path)?;
    }
    let listener = socket::listen(path)?;
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    let service: Arc<dyn EventsService + Send + Sync> = Arc::new(Forwarded { sink });
    let mut server = Server::new()
        .add_listener(Listener::new(Shims(Accepting::new(listener))))
        .register_service(create_events(service));
    server.start().await.map_err(io::Error::other)?;
    Ok(Endpoint(server))
}

/// The shims' connections. An error of accept(2) is not told to the server, which would ask again at once and log each time.
struct Shims(Accepting<UnixListener>);

impl Stream for Shims {
    type Item = io::Result<UnixStream>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match ready!(self.0.poll_next(cx)) {
                Incoming::Connection(stream) => return Poll::Ready(Some(Ok(stream))),
                Incoming::Failing(error) => {
                    warn!(error:%; "accept fails: shims keep their events");
                }
                Incoming::Recovered => info!("connections of shims are accepted again"),
            }
        }
    }
}

struct Forwarded {
    sink: mpsc::Sender<ShimEvent>,
}

#[async_trait]
impl EventsService for Forwarded {
    async fn forward(&self, _: &TtrpcContext, request: ForwardRequest) -> ttrpc::Result<Empty> {
        let envelope = request.envelope.into_option().unwrap_or_default();
        match decode(&envelope) {
            Decoded::Event(event) => {
                let at = envelope.timestamp.as_ref().and_then(timestamp);
                let event = ShimEvent {
                    namespace: envelope.namespace,
                    at: at.unwrap_or_else(Timestamp::now),
                    event,
                };
                let closed = |_| {
                    let status = get_status(Code::UNAVAILABLE, "the supervisor is ending");
                    ttrpc::Error::RpcStatus(status)
                };
                self.sink.send(event).await.map_err(closed)?;
            }
            Decoded::NotAsked => {}
            // Refused it would only come again.
            Decoded::Malformed(why) => {
                warn!(topic = envelope.topic.as_str(); "an event that makes no sense: {why}");
            }
        }
        Ok(Empty::default())
    }
}

/// What an envelope holds.
#[derive(Debug, PartialEq, Eq)]
enum Decoded {
    Event(Event),
    /// A kind that the supervisor has no use for.
    NotAsked,
    Malformed(String),
}

fn decode(envelope: &Envelope) -> Decoded {
    let Some(any) = envelope.event.as_ref() else {
        return Decoded::Malformed("it is empty".to_owned());
    };
    match event(any) {
        Ok(Some(event)) => Decoded::Event(event),
        Ok(None) => Decoded::NotAsked,
        Err(why) => Decoded::Malformed(why),
    }
}

fn event(any: &Any) -> Result<Option<Event>, String> {
    let kind = any.type_url.rsplit('/').next().unwrap_or_default();
    let event = match kind {
        "containerd.events.TaskExit" => exit(&parse(any)?)?,
        "containerd.events.TaskOOM" => {
            let message: messages::TaskOOM = parse(any)?;
            Event::Oom {
                container: container(&message.container_id)?,
            }
        }
        "containerd.events.TaskStart" => {
            let message: messages::TaskStart = parse(any)?;
            Event::Start {
                container: container(&message.container_id)?,
                pid: pid(message.pid)?,
            }
        }
        "containerd.events.TaskPaused" => {
            let message: messages::TaskPaused = parse(any)?;
            Event::Paused {
                container: container(&message.container_id)?,
            }
        }
        "containerd.events.TaskResumed" => {
            let message: messages::TaskResumed = parse(any)?;
            Event::Resumed {
                container: container(&message.container_id)?,
            }
        }
        _ => return Ok(None),
    };
    Ok(Some(event))
}

fn exit(message: &messages::TaskExit) -> Result<Event, String> {
    // Init is told by its container's id.
    let exec = if message.id == message.container_id || message.id.is_empty() {
        None
    } else {
        Some(ExecId::new(&message.id).map_err(|error| error.to_string())?)
    };
    Ok(Event::Exit {
        container: container(&message.container_id)?,
        exec,
        exit: exit_record(pid(message.pid)?, message.exit_status, &message.exited_at),
    })
}

fn parse<M: Message>(any: &Any) -> Result<M, String> {
    M::parse_from_bytes(&any.value).map_err(|error| error.to_string())
}

fn container(id: &str) -> Result<ContainerId, String> {
    ContainerId::new(id).map_err(|error| error.to_string())
}

fn pid(pid: u32) -> Result<Pid, String> {
    Pid::new(pid).ok_or_else(|| format!("pid {pid} is none"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ExitStatus;

    fn envelope(kind: &str, message: &impl Message) -> Envelope {
        let any = Any {
            type_url: format!("containerd.events.{kind}"),
            value: message.write_to_bytes().unwrap(),
            ..Any::default()
        };
        Envelope {
            event: Some(any).into(),
            ..Envelope::default()
        }
    }

    fn exit_of(id: &str, status: u32) -> messages::TaskExit {
        messages::TaskExit {
            id: id.to_owned(),
            container_id: "c1".to_owned(),
            pid: 7,
            exit_status: status,
            ..messages::TaskExit::default()
        }
    }

    #[test]
    fn an_exit_is_inits_or_an_execs() {
        for (id, expected) in [("c1", None), ("e1", Some(ExecId::new("e1").unwrap()))] {
            let decoded = decode(&envelope("TaskExit", &exit_of(id, 137)));
            let Decoded::Event(Event::Exit { exec, exit, .. }) = decoded else {
                panic!("{decoded:?}");
            };
            assert_eq!((exec, exit.status), (expected, ExitStatus::KILLED));
        }
    }

    #[test]
    fn what_makes_no_sense_is_not_taken_for_an_event() {
        let mut wrong = exit_of("c1", 0);
        wrong.pid = 0;
        let decoded = decode(&envelope("TaskExit", &wrong));
        assert!(matches!(decoded, Decoded::Malformed(_)), "{decoded:?}");
        assert!(matches!(
            decode(&Envelope::default()),
            Decoded::Malformed(_)
        ));
        let decoded = decode(&envelope("TaskDelete", &exit_of("c1", 0)));
        assert_eq!(decoded, Decoded::NotAsked);
    }
}
