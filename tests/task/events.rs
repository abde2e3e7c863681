//! The events endpoint that containerd has at `TTRPC_ADDRESS`: takes envelopes and keeps them in order of arrival.

use crate::rpc::{read_frame, write_frame};
use crate::shim::eventually;
use containerd_shim_protos::api::*;
use containerd_shim_protos::events::task::*;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;
use containerd_shim_protos::shim::events::ForwardRequest;
use containerd_shim_protos::ttrpc::{Request, Response};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, connect, listen, socket,
};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};

/// One event as it came in.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The event in a line: `create c1`, `exec-added c1/e1`, `exit c1/e1 7`, `delete c1 7`.
    pub line: String,
    pub namespace: String,
    pub pid: u32,
    pub exited_at: Timestamp,
    /// The event's own encoding.
    pub body: Vec<u8>,
}

/// The endpoint; it can go away and come back.
pub struct Events {
    pub socket: PathBuf,
    seen: Arc<Mutex<Vec<Seen>>>,
    server: Mutex<Option<Server>>,
    frozen: Arc<Frozen>,
}

/// While this is set the endpoint neither accepts nor answers, as a process that got SIGSTOP.
#[derive(Default)]
struct Frozen(Mutex<bool>, Condvar);

impl Frozen {
    fn set(&self, frozen: bool) {
        *self.0.lock().unwrap() = frozen;
        self.1.notify_all();
    }
    fn pass(&self) {
        drop(
            self.1
                .wait_while(self.0.lock().unwrap(), |frozen| *frozen)
                .unwrap(),
        );
    }
}

struct Server {
    stop: Arc<AtomicBool>,
    listener: UnixListener,
    streams: Arc<Mutex<Vec<UnixStream>>>,
    thread: JoinHandle<()>,
}

impl Events {
    pub fn new(socket: &Path) -> Self {
        let events = Self {
            socket: socket.to_owned(),
            seen: Arc::default(),
            server: Mutex::new(None),
            frozen: Arc::default(),
        };
        events.up();
        events
    }

    /// Listens.
    pub fn up(&self) {
        let listener = UnixListener::bind(&self.socket).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let streams = Arc::new(Mutex::new(Vec::new()));
        let (halt, open, seen) = (stop.clone(), streams.clone(), self.seen.clone());
        let (accepting, frozen) = (listener.try_clone().unwrap(), self.frozen.clone());
        let thread = thread::spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                frozen.pass();
                if halt.load(Ordering::SeqCst) {
                    return;
                }
                open.lock().unwrap().push(stream.try_clone().unwrap());
                let (seen, frozen) = (seen.clone(), frozen.clone());
                thread::spawn(move || serve(stream, &seen, &frozen));
            }
        });
        *self.server.lock().unwrap() = Some(Server {
            stop,
            listener,
            streams,
            thread,
        });
    }

    /// Stops the endpoint as SIGSTOP would, with its connections; until [`Events::thaw`].
    pub fn freeze(&self) {
        self.frozen.set(true);
    }

    /// The same, and nobody can connect any more either: every place in the backlog is taken, until the answer is dropped.
    pub fn freeze_full(&self) -> Vec<UnixStream> {
        self.freeze();
        let server = self.server.lock().unwrap();
        // listen(2) again only sets the length of the backlog.
        listen(&server.as_ref().unwrap().listener, Backlog::new(1).unwrap()).unwrap();
        let mut taken = Vec::new();
        loop {
            let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
            let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
            match connect(socket.as_raw_fd(), &UnixAddr::new(&self.socket).unwrap()) {
                Ok(()) => taken.push(UnixStream::from(socket)),
                Err(Errno::EAGAIN) if taken.len() > 1 => return taken,
                other => panic!("{other:?} after {} connections", taken.len()),
            }
        }
    }

    pub fn thaw(&self) {
        self.frozen.set(false);
    }

    /// Breaks every connection and refuses new ones.
    pub fn down(&self) {
        let Some(server) = self.server.lock().unwrap().take() else {
            return;
        };
        server.stop.store(true, Ordering::SeqCst);
        self.thaw();
        drop(UnixStream::connect(&self.socket));
        server.thread.join().unwrap();
        std::fs::remove_file(&self.socket).unwrap();
        for stream in server.streams.lock().unwrap().drain(..) {
            // One that the shim closed already is as good.
            stream.shutdown(Shutdown::Both).unwrap_or_default();
        }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn lines(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.line).collect()
    }

    /// The lines about container `id`, its execs included.
    pub fn of(&self, id: &str) -> Vec<String> {
        let about = |line: &String| line.split([' ', '/']).nth(1) == Some(id);
        self.lines().into_iter().filter(about).collect()
    }

    /// Waits for the line and returns its event.
    pub fn wait(&self, line: &str) -> Seen {
        eventually(&format!("event {line:?}"), || {
            let seen = self.seen();
            let found = seen.iter().find(|seen| seen.line == line).cloned();
            found.ok_or_else(|| format!("{:?}", self.lines()))
        })
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.down();
    }
}

fn serve(mut stream: UnixStream, seen: &Mutex<Vec<Seen>>, frozen: &Frozen) {
    while let Ok((id, _, payload)) = read_frame(&mut stream) {
        frozen.pass();
        let request = Request::parse_from_bytes(&payload).unwrap();
        assert_eq!(
            request.service,
            "containerd.services.events.ttrpc.v1.Events"
        );
        assert_eq!(request.method, "Forward");
        let forward = ForwardRequest::parse_from_bytes(&request.payload).unwrap();
        let envelope = forward.envelope.unwrap();
        assert!(envelope.timestamp.seconds > 0, "{envelope:?}");
        let (line, pid, exited_at) = render(&envelope.topic, &envelope.event);
        seen.lock().unwrap().push(Seen {
            line,
            namespace: envelope.namespace,
            pid,
            exited_at,
            body: envelope.event.value.clone(),
        });
        let mut response = Response::new();
        response.payload = Empty::new().write_to_bytes().unwrap();
        if write_frame(&mut stream, id, 2, &response.write_to_bytes().unwrap()).is_err() {
            return;
        }
    }
}

fn decode<M: Message>(event: &Any) -> M {
    assert_eq!(event.type_url, M::descriptor_full());
    M::parse_from_bytes(&event.value).unwrap()
}

/// The full name of a generated message.
trait FullName {
    fn descriptor_full() -> String;
}

impl<M: Message> FullName for M {
    fn descriptor_full() -> String {
        format!(
            "containerd.events.{}",
            std::any::type_name::<M>().rsplit("::").next().unwrap()
        )
    }
}

fn render(topic: &str, event: &Any) -> (String, u32, Timestamp) {
    let none = Timestamp::new();
    match topic {
        "/tasks/create" => {
            let event: TaskCreate = decode(event);
            (format!("create {}", event.container_id), event.pid, none)
        }
        "/tasks/start" => {
            let event: TaskStart = decode(event);
            (format!("start {}", event.container_id), event.pid, none)
        }
        "/tasks/exit" => {
            let event: TaskExit = decode(event);
            let exec = if event.id == event.container_id {
                String::new()
            } else {
                format!("/{}", event.id)
            };
            let line = format!("exit {}{exec} {}", event.container_id, event.exit_status);
            (line, event.pid, event.exited_at.unwrap())
        }
        "/tasks/delete" => {
            let event: TaskDelete = decode(event);
            let line = format!("delete {} {}", event.container_id, event.exit_status);
            (line, event.pid, event.exited_at.unwrap_or_default())
        }
        "/tasks/exec-added" => {
            let event: TaskExecAdded = decode(event);
            (
                format!("exec-added {}/{}", event.container_id, event.exec_id),
                0,
                none,
            )
        }
        "/tasks/exec-started" => {
            let event: TaskExecStarted = decode(event);
            (
                format!("exec-started {}/{}", event.container_id, event.exec_id),
                event.pid,
                none,
            )
        }
        "/tasks/oom" => (
            format!("oom {}", decode::<TaskOOM>(event).container_id),
            0,
            none,
        ),
        "/tasks/paused" => (
            format!("paused {}", decode::<TaskPaused>(event).container_id),
            0,
            none,
        ),
        "/tasks/resumed" => (
            format!("resumed {}", decode::<TaskResumed>(event).container_id),
            0,
            none,
        ),
        "/tasks/checkpointed" => {
            let event: TaskCheckpointed = decode(event);
            (
                format!("checkpointed {} {}", event.container_id, event.checkpoint),
                0,
                none,
            )
        }
        _ => (format!("unexpected {topic}"), 0, none),
    }
}
