//! The calls of the task service, each with a deadline (containerd `api/runtime/task/v2/shim.proto`; v3 has the same
//! messages under another name).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use containerd_shim_protos::api;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp as ProtoTimestamp;
use containerd_shim_protos::protobuf::{Message, MessageField};
use containerd_shim_protos::ttrpc::proto::{Code as TtrpcCode, Request, Status};
use tokio::time::timeout;
use tonic::Code;

use super::error::ShimError;
use super::line::Line;
use crate::types::{ExitRecord, ExitStatus, Pid, TaskStatus, Timestamp};

/// Mounts the rootfs and has the OCI runtime set the container up, on a disk that may be busy with a hundred others.
pub const CREATE_LIMIT: Duration = Duration::from_secs(120);
/// The OCI runtime's start, with its hooks; an exec's as well.
pub const START_LIMIT: Duration = Duration::from_secs(60);
/// The last output is drained, which the shims limit, and file systems are unmounted, which may write back.
pub const DELETE_LIMIT: Duration = Duration::from_secs(60);
/// A call of the OCI runtime that writes to cgroup files; taking memory away waits for the kernel.
pub const UPDATE_LIMIT: Duration = Duration::from_secs(60);
/// A signal: a short call of the OCI runtime.
pub const KILL_LIMIT: Duration = Duration::from_secs(10);
/// What a shim answers from its memory.
pub const ASK_LIMIT: Duration = Duration::from_secs(10);

/// The service of our shim's own calls (`crate::shim::methods`).
pub const OWN_SERVICE: &str = "outlive.shim.v1.Shim";
const SERVICE_V2: &str = "containerd.task.v2.Task";
const SERVICE_V3: &str = "containerd.task.v3.Task";

/// The task service at the end of a line.
#[derive(Debug)]
pub struct TaskService {
    line: Line,
    /// Whether the shim knows the service by its newer name only, as containerd's own since 2.0.
    newer_only: AtomicBool,
}

/// How long an answer may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// As long as it takes.
    None,
    /// This long.
    Within(Duration),
}

impl Limit {
    const fn duration(self) -> Option<Duration> {
        match self {
            Self::None => None,
            Self::Within(limit) => Some(limit),
        }
    }
}

impl TaskService {
    /// The service at the end of `line`.
    #[must_use]
    pub const fn new(line: Line) -> Self {
        Self {
            line,
            newer_only: AtomicBool::new(false),
        }
    }

    /// The connection.
    #[must_use]
    pub const fn line(&self) -> &Line {
        &self.line
    }

    /// A call of the task service.
    ///
    /// # Errors
    /// [`ShimError`]
    pub async fn call<R: Message>(
        &self,
        method: &'static str,
        body: &impl Message,
        limit: Limit,
    ) -> Result<R, ShimError> {
        let newer = self.newer_only.load(Ordering::Relaxed);
        let service = if newer { SERVICE_V3 } else { SERVICE_V2 };
        match self.call_service(service, method, body, limit).await {
            Err(ShimError::Refused { code, message, .. })
                if !newer && is_unknown_service(code, &message) =>
            {
                let answer = self.call_service(SERVICE_V3, method, body, limit).await?;
                self.newer_only.store(true, Ordering::Relaxed);
                Ok(answer)
            }
            answer => answer,
        }
    }

    /// A call of our shim's own service; `None` where the shim is another.
    ///
    /// # Errors
    /// [`ShimError`]
    pub async fn call_own<R: Message>(
        &self,
        method: &'static str,
        body: &impl Message,
    ) -> Result<Option<R>, ShimError> {
        let limit = Limit::Within(ASK_LIMIT);
        match self.call_service(OWN_SERVICE, method, body, limit).await {
            Ok(answer) => Ok(Some(answer)),
            Err(ShimError::Refused { code, message, .. })
                if code == Code::Unimplemented || is_unknown_service(code, &message) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn call_service<R: Message>(
        &self,
        service: &str,
        method: &'static str,
        body: &impl Message,
        limit: Limit,
    ) -> Result<R, ShimError> {
        let malformed = |message: String| ShimError::Refused {
            call: method,
            code: Code::Internal,
            message,
        };
        let within = limit.duration();
        let request = Request {
            service: service.to_owned(),
            method: method.to_owned(),
            payload: body
                .write_to_bytes()
                .map_err(|error| malformed(format!("request: {error}")))?,
            // Zero is no limit.
            timeout_nano: within.map_or(0, |within| {
                i64::try_from(within.as_nanos()).unwrap_or(i64::MAX)
            }),
            ..Request::default()
        };
        let answered = match within {
            None => self.line.request(&request).await,
            Some(after) => timeout(after, self.line.request(&request))
                .await
                .map_err(|_| ShimError::Timeout {
                    call: method,
                    after,
                })?,
        };
        let response = answered.map_err(|source| ShimError::Gone {
            call: method,
            source,
        })?;
        match response.status.into_option() {
            Some(status) if !is_ok(&status) => Err(ShimError::from_status(method, status, within)),
            Some(_) | None => R::parse_from_bytes(&response.payload)
                .map_err(|error| malformed(format!("answer: {error}"))),
        }
    }
}

fn is_ok(status: &Status) -> bool {
    status.code.enum_value() == Ok(TtrpcCode::OK)
}

/// Go's ttrpc answers Unimplemented and `service NAME`, ttrpc-rust InvalidArgument and `NAME service does not exist`.
fn is_unknown_service(code: Code, message: &str) -> bool {
    match code {
        Code::Unimplemented => message.starts_with("service "),
        Code::InvalidArgument => message.ends_with("service does not exist"),
        _ => false,
    }
}

/// An `Any` of a type that travels as JSON (containerd/typeurl).
pub fn json_any(name: &str, json: Vec<u8>) -> Any {
    Any {
        type_url: format!("types.containerd.io/opencontainers/runtime-spec/1/{name}"),
        value: json,
        ..Any::default()
    }
}

/// A point in time; `None` for none, and for Go's zero time, which is in the year 1.
pub fn timestamp(at: &ProtoTimestamp) -> Option<Timestamp> {
    let seconds = u64::try_from(at.seconds).ok()?;
    let nanos = u64::try_from(at.nanos).ok()?;
    let nanos = seconds.checked_mul(1_000_000_000)?.checked_add(nanos)?;
    (nanos > 0).then(|| Timestamp::from_unix_nanos(nanos))
}

/// The end of a process as messages carry it.
pub fn exit_record(pid: Pid, status: u32, at: &MessageField<ProtoTimestamp>) -> ExitRecord {
    ExitRecord {
        pid,
        status: u8::try_from(status).map_or(ExitStatus::UNKNOWN, ExitStatus::from_code),
        exited_at: at
            .as_ref()
            .and_then(timestamp)
            .unwrap_or_else(Timestamp::now),
    }
}

/// What `State` says.
///
/// # Errors
/// A state that is none.
pub fn task_status(state: &api::StateResponse) -> Result<TaskStatus, ShimError> {
    let refused = |message: String| ShimError::Refused {
        call: "State",
        code: Code::Internal,
        message,
    };
    match state.status.enum_value() {
        Ok(api::Status::CREATED) => Ok(TaskStatus::Created),
        Ok(api::Status::RUNNING) => Ok(TaskStatus::Running),
        Ok(api::Status::PAUSING) => Ok(TaskStatus::Pausing),
        Ok(api::Status::PAUSED) => Ok(TaskStatus::Paused),
        Ok(api::Status::STOPPED) => match Pid::new(state.pid) {
            Some(pid) => Ok(TaskStatus::Stopped(exit_record(
                pid,
                state.exit_status,
                &state.exited_at,
            ))),
            None => Err(refused("stopped, but it has no pid".to_owned())),
        },
        Ok(api::Status::UNKNOWN) => Err(refused("the state is unknown".to_owned())),
        Err(number) => Err(refused(format!("state {number} is none"))),
    }
}
