//! The task behind the service, as far as a caller can tell; and what such a caller is told.

use std::path::Path;

use containerd_shim_protos::api;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp as ProtoTimestamp;
use outlive::cgroup::Metrics;
use outlive::oci::CheckpointArgs;
use outlive::shim::create::CreateRequest;
use outlive::shim::task::{Command, DeletedProcess, NewExec, ProcessState};
use outlive::types::event::TaskIo;
use outlive::types::{ExecId, ExitRecord, ExitStatus, Pid, Stdio, TaskStatus, Timestamp};

use super::Asked;

/// The process id of every process of the stand-in.
pub const PID: u32 = 7;
const EXIT: u32 = 3;
const SECONDS: i64 = 1_700_000_000;

/// What came to a task.
#[derive(Debug, PartialEq)]
pub struct Seen {
    /// Its name.
    pub command: &'static str,
    /// The exec; empty for init.
    pub process: String,
    /// What else is in it, as text.
    pub detail: String,
}

fn pid() -> Pid {
    Pid::new(PID).unwrap()
}

fn at() -> Timestamp {
    Timestamp::from_unix_nanos(SECONDS.unsigned_abs() * 1_000_000_000)
}

fn exit() -> ExitRecord {
    ExitRecord {
        pid: pid(),
        status: ExitStatus::from_code(3),
        exited_at: at(),
    }
}

/// Answers a command; what it was.
pub fn answer(command: Command) -> Seen {
    macro_rules! seen {
        ($command:literal, $key:expr, $detail:expr, $reply:expr, $answer:expr) => {{
            drop($reply.send(Ok($answer)));
            let key: Option<ExecId> = $key;
            Seen {
                command: $command,
                process: key.map_or(String::new(), |exec| exec.to_string()),
                detail: $detail,
            }
        }};
        ($command:literal, $key:expr, $reply:expr, $answer:expr) => {
            seen!($command, $key, String::new(), $reply, $answer)
        };
    }
    match command {
        Command::State(key, reply) => {
            let state = ProcessState {
                bundle: "/bundle".to_owned(),
                pid: Some(pid()),
                status: TaskStatus::Stopped(exit()),
                io: TaskIo::default(),
            };
            seen!("State", key, reply, state)
        }
        Command::Start(key, reply) => seen!("Start", key, reply, pid()),
        Command::Delete(key, deadline, reply) => {
            assert_eq!(deadline, None);
            let deleted = DeletedProcess {
                pid: Some(pid()),
                exit: Some(exit()),
            };
            seen!("Delete", key, reply, deleted)
        }
        Command::Pids(reply) => seen!("Pids", None, reply, vec![(pid(), None)]),
        Command::Pause(reply) => seen!("Pause", None, reply, ()),
        Command::Resume(reply) => seen!("Resume", None, reply, ()),
        Command::Checkpoint(args, reply) => {
            seen!("Checkpoint", None, image_path(&args), reply, ())
        }
        Command::Kill(key, signal, scope, reply) => {
            seen!("Kill", key, format!("{signal} {scope:?}"), reply, ())
        }
        Command::Exec(exec, reply) => {
            let NewExec {
                id,
                process,
                stdio,
                io,
            } = *exec;
            let detail = format!("{:?}", Some((stdio, io, parsed(&process))));
            seen!("Exec", Some(id), detail, reply, ())
        }
        Command::Resize(key, width, height, reply) => {
            seen!("Resize", key, format!("{width} {height}"), reply, ())
        }
        Command::ReopenLogs(key, reply) => seen!("ReopenLogs", key.flatten(), reply, ()),
        Command::CloseIo(key, reply) => seen!("CloseIo", key, reply, ()),
        Command::Update(json, reply) => {
            assert!(parsed(&json).is_object());
            let json = String::from_utf8(json).unwrap();
            seen!("Update", None, json, reply, ())
        }
        Command::Wait(key, reply) => seen!("Wait", key, reply, exit()),
        Command::Stats(reply) => seen!("Stats", None, reply, Metrics::V2(Box::default())),
        Command::StartedAt(key, reply) => seen!("StartedAt", key, reply, Some(at())),
        Command::InitPid(reply) => seen!("InitPid", None, reply, Some(pid())),
        Command::Dump(_) => panic!("no caller can ask for a dump"),
    }
}

fn parsed(json: &[u8]) -> serde_json::Value {
    serde_json::from_slice(json).unwrap()
}

/// Where the images go; empty where that is left to the options.
fn image_path(args: &CheckpointArgs) -> String {
    for path in [&args.image_path, &args.work_path] {
        assert!(path.as_os_str().is_empty() || path.is_absolute());
    }
    args.image_path.to_str().unwrap().to_owned()
}

/// What an Exec must come to; `None` where it must be refused.
pub fn check_exec(request: &api::ExecProcessRequest) -> Option<(Stdio, TaskIo, serde_json::Value)> {
    let (stdin, stdout, stderr) = (&request.stdin, &request.stdout, &request.stderr);
    let stdio = Stdio::parse(request.terminal, stdin, stdout, stderr).ok()?;
    let spec: &[u8] = request.spec.as_ref().map_or(b"", |spec| &spec.value);
    let mut process: serde_json::Value = serde_json::from_slice(spec).ok()?;
    process.get("args")?.as_array()?.first()?;
    process["terminal"] = request.terminal.into();
    let io = TaskIo {
        stdin: stdin.clone(),
        stdout: stdout.clone(),
        stderr: stderr.clone(),
        terminal: request.terminal,
    };
    Some((stdio, io, process))
}

/// Checks what a Create comes to against its request.
pub fn check_create(payload: &[u8], create: &CreateRequest) -> Seen {
    let request = api::CreateTaskRequest::parse_from_bytes(payload).unwrap();
    assert_eq!(create.id.as_str(), request.id);
    assert_eq!(create.bundle, Path::new(&request.bundle));
    assert!(create.bundle.is_absolute() && create.bundle.is_dir());
    let io = &create.io;
    let stdio = Stdio::parse(io.terminal, &io.stdin, &io.stdout, &io.stderr);
    assert_eq!(stdio.as_ref(), Ok(&create.stdio));
    let asked = (&request.stdin, &request.stdout, &request.stderr);
    assert_eq!((&io.stdin, &io.stdout, &io.stderr), asked);
    assert_eq!(io.terminal, request.terminal);
    assert_eq!(create.rootfs.len(), request.rootfs.len());
    for (mount, asked) in create.rootfs.iter().zip(&request.rootfs) {
        assert_eq!((&mount.kind, &mount.source), (&asked.type_, &asked.source));
        assert_eq!(
            (&mount.target, &mount.options),
            (&asked.target, &asked.options)
        );
    }
    let checkpoint = create.checkpoint.as_deref().unwrap_or(Path::new(""));
    assert_eq!(checkpoint, Path::new(&request.checkpoint));
    assert_eq!(request.parent_checkpoint, "");
    let options = &create.options;
    assert!(!options.binary_name.is_empty());
    assert!(Path::new(&options.root).is_absolute());
    assert!((1..=86_400).contains(&options.oci_timeout_seconds));
    assert!(options.drain_seconds <= 86_400);
    Seen {
        command: "Create",
        process: String::new(),
        detail: String::new(),
    }
}

/// Checks that an answer says what the stand-in has said.
pub fn check_answer(method: &str, payload: &[u8], asked: &Asked) {
    fn decoded<M: Message>(payload: &[u8]) -> M {
        M::parse_from_bytes(payload).unwrap()
    }
    match method {
        "State" => {
            let state: api::StateResponse = decoded(payload);
            let shown = if asked.process.is_empty() {
                &asked.id
            } else {
                &asked.process
            };
            assert_eq!((&state.id, &state.exec_id), (shown, &asked.process));
            assert_eq!((state.pid, state.exit_status), (PID, EXIT));
            assert_eq!(state.exited_at.seconds, SECONDS);
        }
        "Create" => assert_eq!(decoded::<api::CreateTaskResponse>(payload).pid, PID),
        "Start" => assert_eq!(decoded::<api::StartResponse>(payload).pid, PID),
        "Delete" => {
            let deleted: api::DeleteResponse = decoded(payload);
            assert_eq!((deleted.pid, deleted.exit_status), (PID, EXIT));
            assert_eq!(deleted.exited_at.seconds, SECONDS);
        }
        "Pids" => {
            let pids: api::PidsResponse = decoded(payload);
            let pids: Vec<u32> = pids.processes.iter().map(|process| process.pid).collect();
            assert_eq!(pids, [PID]);
        }
        "Wait" => {
            let ended: api::WaitResponse = decoded(payload);
            assert_eq!(ended.exit_status, EXIT);
            assert_eq!(ended.exited_at.seconds, SECONDS);
        }
        "StartedAt" => assert_eq!(decoded::<ProtoTimestamp>(payload).seconds, SECONDS),
        "Stats" => {
            let stats: api::StatsResponse = decoded(payload);
            assert_eq!(stats.stats.type_url, "io.containerd.cgroups.v2.Metrics");
        }
        "Connect" => {
            let connected: api::ConnectResponse = decoded(payload);
            assert_eq!(connected.shim_pid, std::process::id());
        }
        _ => assert_eq!(payload, b""),
    }
}
