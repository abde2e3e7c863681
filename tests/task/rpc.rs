//! A task service client: one connection per call, so that each test may break its own.

#[path = "../support/ttrpc.rs"]
mod ttrpc;

use crate::fifo::Output;
use containerd_shim_protos::api::*;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{EnumOrUnknown, Message};
use containerd_shim_protos::shim::oci::ProcessDetails;
use containerd_shim_protos::ttrpc::Code;
use serde_json::Value;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

pub(crate) use ttrpc::request;
pub use ttrpc::*;

/// Where a shim listens, and the name under which its task service is called.
#[derive(Debug, Clone)]
pub struct Client {
    pub socket: PathBuf,
    pub service: String,
}

impl Client {
    pub fn connection(&self) -> io::Result<Connection> {
        let stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        Ok(Connection::over(stream))
    }

    pub fn try_call<R: Message>(&self, method: &str, body: &impl Message) -> io::Result<Answer<R>> {
        let mut connection = self.connection()?;
        let id = connection.send(&self.service, method, body)?;
        connection.receive(id)
    }

    /// Calls and panics where there is no answer at all: a test that expects that uses `try_call`.
    pub fn call<R: Message>(&self, method: &str, body: &impl Message) -> Answer<R> {
        self.try_call(method, body)
            .unwrap_or_else(|error| panic!("{method} on {:?}: {error}", self.socket))
    }

    pub fn process(&self, id: &str, exec_id: &str) -> Process {
        Process {
            client: self.clone(),
            id: id.to_owned(),
            exec_id: exec_id.to_owned(),
        }
    }
}

/// What a Create or Exec request says about stdio.
#[derive(Debug, Clone, Default)]
pub struct Stdio {
    pub terminal: bool,
    pub stdin: String,
    pub stdout: String,
    pub stderr: String,
}

impl Stdio {
    /// Both streams to one fifo, no stdin.
    pub fn to(output: &Output) -> Self {
        Self {
            stdout: output.uri(),
            stderr: output.uri(),
            ..Self::default()
        }
    }
    pub fn with_stdin(self, path: &Path) -> Self {
        Self {
            stdin: path.display().to_string(),
            ..self
        }
    }
    /// A terminal: no stderr.
    pub fn terminal(self) -> Self {
        Self {
            terminal: true,
            stderr: String::new(),
            ..self
        }
    }
}

/// One process of a task: its init where `exec_id` is empty. The calls that name only the task are here too.
#[derive(Debug, Clone)]
pub struct Process {
    pub client: Client,
    pub id: String,
    pub exec_id: String,
}

impl Process {
    fn call<R: Message>(&self, method: &str, body: &impl Message) -> Answer<R> {
        self.client.call(method, body)
    }
    fn empty(&self, method: &str, body: &impl Message) -> Answer<()> {
        self.call::<Empty>(method, body).map(|_| ())
    }
    pub fn state(&self) -> Answer<StateResponse> {
        self.call(
            "State",
            &request!(StateRequest {
                id: &*self.id,
                exec_id: &*self.exec_id
            }),
        )
    }
    pub fn status(&self) -> Status {
        self.state().unwrap().status.enum_value().unwrap()
    }
    pub fn start(&self) -> Answer<u32> {
        let body = request!(StartRequest {
            id: &*self.id,
            exec_id: &*self.exec_id
        });
        self.call("Start", &body)
            .map(|answer: StartResponse| answer.pid)
    }
    pub fn wait(&self) -> Answer<WaitResponse> {
        self.call(
            "Wait",
            &request!(WaitRequest {
                id: &*self.id,
                exec_id: &*self.exec_id
            }),
        )
    }
    pub fn delete(&self) -> Answer<DeleteResponse> {
        self.call(
            "Delete",
            &request!(DeleteRequest {
                id: &*self.id,
                exec_id: &*self.exec_id
            }),
        )
    }
    pub fn kill(&self, signal: u32) -> Answer<()> {
        let body = request!(KillRequest {
            id: &*self.id,
            exec_id: &*self.exec_id,
            signal: signal
        });
        self.empty("Kill", &body)
    }
    pub fn kill_all(&self, signal: u32) -> Answer<()> {
        let mut body = request!(KillRequest {
            id: &*self.id,
            exec_id: &*self.exec_id,
            signal: signal
        });
        body.all = true;
        self.empty("Kill", &body)
    }
    pub fn resize(&self, width: u32, height: u32) -> Answer<()> {
        let mut body = request!(ResizePtyRequest {
            id: &*self.id,
            exec_id: &*self.exec_id
        });
        (body.width, body.height) = (width, height);
        self.empty("ResizePty", &body)
    }
    pub fn close_stdin(&self) -> Answer<()> {
        let body = request!(CloseIORequest {
            id: &*self.id,
            exec_id: &*self.exec_id,
            stdin: true
        });
        self.empty("CloseIO", &body)
    }
    /// Adds this process as an exec of its task: `spec` is an OCI `process`.
    pub fn add(&self, spec: &Value, stdio: &Stdio) -> Answer<()> {
        self.add_any(
            Some(any(
                "types.containerd.io/opencontainers/runtime-spec/1/Process",
                spec.to_string(),
            )),
            stdio,
        )
    }
    pub fn add_any(&self, spec: Option<Any>, stdio: &Stdio) -> Answer<()> {
        let body = request!(ExecProcessRequest {
            id: &*self.id,
            exec_id: &*self.exec_id,
            terminal: stdio.terminal,
            stdin: &*stdio.stdin,
            stdout: &*stdio.stdout,
            stderr: &*stdio.stderr,
            spec: spec,
        });
        self.empty("Exec", &body)
    }
    pub fn pause(&self) -> Answer<()> {
        self.empty("Pause", &request!(PauseRequest { id: &*self.id }))
    }
    pub fn resume(&self) -> Answer<()> {
        self.empty("Resume", &request!(ResumeRequest { id: &*self.id }))
    }
    /// The processes listed, with the exec id of those that have one.
    pub fn pids(&self) -> Answer<Vec<(u32, Option<String>)>> {
        let answer: PidsResponse = self.call("Pids", &request!(PidsRequest { id: &*self.id }))?;
        let details = |info: &Any| {
            assert_eq!(info.type_url, "containerd.runc.v1.ProcessDetails");
            ProcessDetails::parse_from_bytes(&info.value)
                .unwrap()
                .exec_id
        };
        Ok(answer
            .processes
            .iter()
            .map(|process| (process.pid, process.info.as_ref().map(details)))
            .collect())
    }
    pub fn update(&self, resources: Option<Any>) -> Answer<()> {
        self.empty(
            "Update",
            &request!(UpdateTaskRequest {
                id: &*self.id,
                resources: resources
            }),
        )
    }
    pub fn stats(&self) -> Answer<Any> {
        let answer = self.call("Stats", &request!(StatsRequest { id: &*self.id }));
        answer.map(|answer: StatsResponse| answer.stats.unwrap_or_default())
    }
    pub fn checkpoint(&self, path: &str, options: Option<Any>) -> Answer<()> {
        let body = request!(CheckpointTaskRequest {
            id: &*self.id,
            path: path,
            options: options
        });
        self.empty("Checkpoint", &body)
    }
    pub fn connect(&self) -> Answer<ConnectResponse> {
        self.call("Connect", &request!(ConnectRequest { id: &*self.id }))
    }
    pub fn shutdown(&self) -> Answer<()> {
        self.empty("Shutdown", &request!(ShutdownRequest { id: &*self.id }))
    }
    /// Shutdown of the last task: the shim may be gone before it answers.
    pub fn end(&self) {
        drop(
            self.client
                .try_call::<Empty>("Shutdown", &request!(ShutdownRequest { id: &*self.id })),
        );
    }
}

pub fn any(type_url: &str, value: impl Into<Vec<u8>>) -> Any {
    request!(Any {
        type_url: type_url,
        value: value
    })
}

/// An `Any` of a Go type that is sent as JSON.
pub fn resources(value: &Value) -> Any {
    any(
        "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources",
        value.to_string(),
    )
}

/// The code of what should have failed.
pub fn code<T: std::fmt::Debug>(answer: Answer<T>) -> Code {
    match answer {
        Ok(answer) => panic!("OK where an error was due: {answer:?}"),
        Err(failure) => failure.code,
    }
}

/// A status in a message, as the enum it stands for.
pub fn known<E: containerd_shim_protos::protobuf::Enum>(value: EnumOrUnknown<E>) -> E {
    value
        .enum_value()
        .unwrap_or_else(|number| panic!("unknown enum value {number}"))
}
