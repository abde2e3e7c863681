//! The events endpoint that containerd has at `TTRPC_ADDRESS`: says when it was told of the end of a process.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Instant;

use containerd_shim_protos::events::task::TaskExit;
use containerd_shim_protos::protobuf::Message as _;
use containerd_shim_protos::shim::events::ForwardRequest;
use containerd_shim_protos::ttrpc::{Request, Response};

use crate::rpc::{DEADLINE, read_frame, write_frame};

/// An end as it was told.
#[derive(Debug)]
struct Exit {
    at: Instant,
    container: String,
    /// The process: init has the id of its container.
    process: String,
}

/// The endpoint. It lives as long as this program.
pub struct Events {
    pub socket: PathBuf,
    exits: Receiver<Exit>,
}

impl Events {
    pub fn listen(socket: &Path) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let (sender, exits) = channel();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sender = sender.clone();
                thread::spawn(move || serve(stream, &sender));
            }
        });
        Self {
            socket: socket.to_owned(),
            exits,
        }
    }

    /// When the end of a container's init was told; others before it are dropped.
    pub fn told(&self, container: &str) -> Instant {
        loop {
            let exit = self.exits.recv_timeout(DEADLINE);
            let exit = exit.unwrap_or_else(|_| panic!("no exit event of {container}"));
            if exit.container == container && exit.process == container {
                return exit.at;
            }
        }
    }
}

/// Until the shim hangs up.
fn serve(mut stream: UnixStream, exits: &Sender<Exit>) {
    while let Ok((id, _, payload)) = read_frame(&mut stream) {
        let at = Instant::now();
        let answer = take(&payload, at, exits).and_then(|()| {
            let answer = Response::new().write_to_bytes()?;
            write_frame(&mut stream, id, 2, &answer)
        });
        // A frame that is none breaks the connection, which the shim's log tells.
        if answer.is_err() {
            return;
        }
    }
}

fn take(payload: &[u8], at: Instant, exits: &Sender<Exit>) -> io::Result<()> {
    let request = Request::parse_from_bytes(payload)?;
    let forwarded = ForwardRequest::parse_from_bytes(&request.payload)?;
    let envelope = forwarded.envelope.get_or_default();
    if envelope.topic == "/tasks/exit" {
        let exit = TaskExit::parse_from_bytes(&envelope.event.get_or_default().value)?;
        let told = exits.send(Exit {
            at,
            container: exit.container_id,
            process: exit.id,
        });
        drop(told);
    }
    Ok(())
}
