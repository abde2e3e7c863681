//! The shim's calls: any bytes as any method's request are answered with a status, and what reaches a task is what the
//! request says.
//!
//! The task behind the service is a stand-in: it notes the command and answers as if it were done.

use std::sync::Arc;

use containerd_shim_protos::api;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::ttrpc::asynchronous::TtrpcContext;
use containerd_shim_protos::ttrpc::proto::{Code, Request, Response};
use outlive::shim::listener::Connections;
use outlive::shim::methods::{OWN_SERVICE_NAME, SERVICE_NAMES, services};
use outlive::shim::registry::Registry;
use outlive::shim::service::{NewTask, Service};
use outlive::shim::task::Command;
use outlive::types::{ContainerId, ExecId, Pid, Signal};
use tokio::sync::{Notify, mpsc};

mod stand_in;

use stand_in::{Seen, answer, check_answer, check_create, check_exec};

/// Every method, of the task service and of the shim's own.
pub const METHODS: [&str; 19] = [
    "State",
    "Create",
    "Start",
    "Delete",
    "Pids",
    "Pause",
    "Resume",
    "Checkpoint",
    "Kill",
    "Exec",
    "ResizePty",
    "CloseIO",
    "Update",
    "Wait",
    "Stats",
    "Connect",
    "Shutdown",
    "ReopenLogs",
    "StartedAt",
];

/// A call. The first byte is the method's place in [`METHODS`], the others are its request.
pub fn shim_call(bytes: &[u8]) {
    let Some((method, payload)) = bytes.split_first() else {
        return;
    };
    let method = METHODS[usize::from(*method) % METHODS.len()];
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let (response, seen) = runtime.unwrap().block_on(call(method, payload));
    let code = response.status().code();
    let answered = code == Code::OK;
    if !answered {
        assert!(response.payload.is_empty());
        assert!(!response.status().message().is_empty());
    }
    let Some(asked) = asked(method, payload) else {
        assert_eq!(code, Code::INVALID_ARGUMENT, "what cannot be decoded");
        assert_eq!(seen, []);
        return;
    };
    let id_is_sound = ContainerId::new(&asked.id).is_ok();
    let process_is_sound = asked.process.is_empty() || ExecId::new(&asked.process).is_ok();
    let is_sound = id_is_sound && process_is_sound;
    match (method, &asked.refusals) {
        ("Connect" | "Shutdown", _) => assert!(answered),
        (_, []) => assert_eq!(answered, is_sound, "{:?}", response.status()),
        (_, codes) if answered => assert!(is_sound, "{codes:?}"),
        (_, codes) => {
            let expected = codes.contains(&code) || (!is_sound && code == Code::NOT_FOUND);
            assert!(expected, "{:?}", response.status());
        }
    }
    if !answered {
        assert_eq!(seen, []);
        return;
    }
    check_answer(method, &response.payload, &asked);
    let expected = match method {
        "Shutdown" => None,
        "Connect" if !id_is_sound => None,
        _ => Some(Seen {
            command: asked.command,
            process: asked.process,
            detail: asked.detail,
        }),
    };
    assert_eq!(seen, Vec::from_iter(expected));
}

/// What a request says.
pub struct Asked {
    /// The task.
    pub id: String,
    /// The exec; empty for init.
    pub process: String,
    command: &'static str,
    detail: String,
    /// The codes with which a request of this kind may be refused for what is in it.
    refusals: &'static [Code],
}

const WRONG: &[Code] = &[Code::INVALID_ARGUMENT];

/// The request in `payload`; `None` where it is none of the method's.
fn asked(method: &str, payload: &[u8]) -> Option<Asked> {
    fn decoded<M: Message>(payload: &[u8]) -> Option<M> {
        M::parse_from_bytes(payload).ok()
    }
    let plain = |command, id: String, process: String| Asked {
        id,
        process,
        command,
        detail: String::new(),
        refusals: &[],
    };
    macro_rules! of {
        ($kind:ident, $command:literal) => {{
            let request: api::$kind = decoded(payload)?;
            plain($command, request.id, String::new())
        }};
        ($kind:ident, $command:literal, exec) => {{
            let request: api::$kind = decoded(payload)?;
            plain($command, request.id, request.exec_id)
        }};
    }
    Some(match method {
        "State" => of!(StateRequest, "State", exec),
        "Start" => of!(StartRequest, "Start", exec),
        "Delete" => of!(DeleteRequest, "Delete", exec),
        "Pids" => of!(PidsRequest, "Pids"),
        "Pause" => of!(PauseRequest, "Pause"),
        "Resume" => of!(ResumeRequest, "Resume"),
        "Wait" => of!(WaitRequest, "Wait", exec),
        "Stats" => of!(StatsRequest, "Stats"),
        "Connect" => of!(ConnectRequest, "InitPid"),
        "Shutdown" => of!(ShutdownRequest, "Shutdown"),
        "ReopenLogs" => of!(StateRequest, "ReopenLogs", exec),
        "StartedAt" => of!(StateRequest, "StartedAt", exec),
        _ => return asked_more(method, payload),
    })
}

/// The requests with more in them than whom they are for.
fn asked_more(method: &str, payload: &[u8]) -> Option<Asked> {
    let asked = |command, id, process, detail, refusals| Asked {
        id,
        process,
        command,
        detail,
        refusals,
    };
    Some(match method {
        "Create" => {
            let request = api::CreateTaskRequest::parse_from_bytes(payload).ok()?;
            let refusals = &[Code::INVALID_ARGUMENT, Code::UNIMPLEMENTED];
            asked("Create", request.id, String::new(), String::new(), refusals)
        }
        "Checkpoint" => {
            let request = api::CheckpointTaskRequest::parse_from_bytes(payload).ok()?;
            asked("Checkpoint", request.id, String::new(), request.path, WRONG)
        }
        "Kill" => {
            let request = api::KillRequest::parse_from_bytes(payload).ok()?;
            let scope = if request.all { "All" } else { "Init" };
            let detail = format!("{} {scope}", request.signal);
            let refusals = Signal::new(request.signal).map_or(WRONG, |_| &[]);
            asked("Kill", request.id, request.exec_id, detail, refusals)
        }
        "Exec" => {
            let request = api::ExecProcessRequest::parse_from_bytes(payload).ok()?;
            let process = request.exec_id.clone();
            let detail = format!("{:?}", check_exec(&request));
            asked("Exec", request.id, process, detail, WRONG)
        }
        "ResizePty" => {
            let request = api::ResizePtyRequest::parse_from_bytes(payload).ok()?;
            let detail = format!("{} {}", request.width, request.height);
            let fits = request.width.max(request.height) <= u16::MAX.into();
            let refusals = if fits { &[] } else { WRONG };
            asked("Resize", request.id, request.exec_id, detail, refusals)
        }
        "CloseIO" => {
            let request = api::CloseIORequest::parse_from_bytes(payload).ok()?;
            let command = if request.stdin { "CloseIo" } else { "State" };
            asked(command, request.id, request.exec_id, String::new(), &[])
        }
        "Update" => {
            let request = api::UpdateTaskRequest::parse_from_bytes(payload).ok()?;
            let json = request.resources.into_option().unwrap_or_default().value;
            let detail = String::from_utf8_lossy(&json).into_owned();
            asked("Update", request.id, String::new(), detail, WRONG)
        }
        other => panic!("no method {other}"),
    })
}

/// Makes the call; its response, and what came to the task.
async fn call(method: &str, payload: &[u8]) -> (Response, Vec<Seen>) {
    let registry = Registry::default();
    let (notes, mut noted) = mpsc::unbounded_channel();
    let (creator, new_tasks) = mpsc::channel(1);
    // Of all requests the first field is the task's id.
    let id = api::PidsRequest::parse_from_bytes(payload).map(|request| request.id);
    match id.map(|id| ContainerId::new(&id)) {
        Ok(Ok(id)) if method != "Create" => {
            let (commands, received) = mpsc::channel(1);
            registry.insert(id, commands);
            drop(tokio::spawn(be_task(received, notes)));
        }
        _ => drop(tokio::spawn(be_creator(new_tasks, payload.to_vec(), notes))),
    }
    let service = Arc::new(Service {
        registry,
        connections: Connections::default(),
        creator,
        shutdown: Arc::new(Notify::new()),
    });
    let services = services(&service);
    let [name, _] = SERVICE_NAMES;
    let of_task = services[name].methods.get(method);
    let handler = of_task.unwrap_or_else(|| &services[OWN_SERVICE_NAME].methods[method]);
    let request = Request {
        payload: payload.to_vec(),
        ..Request::default()
    };
    let response = handler.handler(TtrpcContext::default(), request).await;
    let mut seen = Vec::new();
    while let Ok(one) = noted.try_recv() {
        seen.push(one);
    }
    (response.expect("an answer with a status"), seen)
}

async fn be_task(mut commands: mpsc::Receiver<Command>, notes: mpsc::UnboundedSender<Seen>) {
    while let Some(command) = commands.recv().await {
        notes.send(answer(command)).unwrap();
    }
}

async fn be_creator(
    mut new_tasks: mpsc::Receiver<NewTask>,
    payload: Vec<u8>,
    notes: mpsc::UnboundedSender<Seen>,
) {
    while let Some((request, reply)) = new_tasks.recv().await {
        notes.send(check_create(&payload, &request)).unwrap();
        drop(reply.send(Ok(Pid::new(stand_in::PID))));
    }
}
