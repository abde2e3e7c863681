//! The state dump: one line of JSON into the shim's log for each SIGUSR1, for whoever wants to know what a shim is at.
//!
//! ```text
//! {"time":..,"dump":"containerd-shim-outlive-v2","pid":..,"fds":..,
//!  "tasks":[{"id":..,"creating":bool,"processes":[{"exec":id or null for init,"pid":..,"state":..,"exit_status":..,
//!            "busy":what is under way or null,"queued":calls behind it,"waiters":callers of Wait,
//!            "stdio":null once it is closed, else {"stdin":STREAM,"stdout":STREAM,"stderr":STREAM,"logger_restarts":..}},
//!            ..],
//!            "oom_kills":..}, ..],
//!  "events":{"waiting":..,"collapsed":..,"dropped":..,"refused":..},
//!  "log":{"dropped":..},"connections":{"open":bool,"closed":..}}
//! STREAM: {"moved":bytes,"dropped":bytes,"spooled":bytes,"spool_full":times}
//! ```
//!
//! containerd copies its shims' logs into its own as they are. The numbers are of this moment; what was dropped counts
//! from the shim's start, but for the log's, which counts from the last line that told of it.

use std::io;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::listener::Connections;
use super::logger;
use super::publisher::{Publisher, PublisherDump};
use super::registry::Registry;
use super::stdio::StdioCounters;
use super::task::Command;
use crate::sys::signals::listen;
use crate::types::{ContainerId, Timestamp};

/// How long a task may take to tell its state; its actor waits for nothing.
const TASK_LIMIT: Duration = Duration::from_secs(1);

/// One task's part.
#[derive(Debug, Default, Serialize)]
pub struct TaskDump {
    /// Its id.
    pub id: String,
    /// Whether it is still being created.
    pub creating: bool,
    /// Its init and its execs.
    pub processes: Vec<ProcessDump>,
    /// How often it has run out of memory.
    pub oom_kills: u64,
}

/// One process's part.
#[derive(Debug, Serialize)]
pub struct ProcessDump {
    /// The exec's id; `None` for init.
    pub exec: Option<String>,
    /// The pid.
    pub pid: Option<u32>,
    /// Where it is in its life.
    pub state: &'static str,
    /// How it ended.
    pub exit_status: Option<u8>,
    /// The call that is under way.
    pub busy: Option<&'static str>,
    /// How many calls wait for that.
    pub queued: usize,
    /// How many callers wait for the end.
    pub waiters: usize,
    /// What went through its stdio, while that is open.
    pub stdio: Option<StdioCounters>,
}

#[derive(Serialize)]
struct Dump {
    time: String,
    dump: &'static str,
    pid: u32,
    fds: Option<usize>,
    tasks: Vec<TaskDump>,
    events: PublisherDump,
    log: LogDump,
    connections: ConnectionsDump,
}

#[derive(Serialize)]
struct LogDump {
    dropped: u64,
}

#[derive(Serialize)]
struct ConnectionsDump {
    open: bool,
    closed: usize,
}

/// What a dump is made of.
pub struct Sources {
    /// The tasks.
    pub registry: Registry,
    /// The events.
    pub publisher: Publisher,
    /// The connections.
    pub connections: Connections,
}

/// Starts to listen for SIGUSR1; the future that this returns dumps for as long as it is polled.
///
/// # Errors
/// What installing the signal handler answered.
pub fn on_request(sources: Sources) -> io::Result<impl Future<Output = ()>> {
    let mut requests = listen(Signal::SIGUSR1)?;
    Ok(async move {
        while requests.next().await.is_ok() {
            if let Ok(line) = serde_json::to_string(&sources.dump().await) {
                logger::write_line(&line);
            }
        }
    })
}

impl Sources {
    async fn dump(&self) -> Dump {
        let mut tasks = Vec::new();
        for (id, commands) in self.registry.tasks() {
            tasks.push(task(id, commands).await);
        }
        Dump {
            time: logger::rfc3339(Timestamp::now()),
            dump: "containerd-shim-outlive-v2",
            pid: std::process::id(),
            // One of them is the directory itself.
            fds: std::fs::read_dir("/proc/self/fd")
                .ok()
                .map(|entries| entries.count().saturating_sub(1)),
            tasks,
            events: self.publisher.dump(),
            log: LogDump {
                dropped: logger::dropped(),
            },
            connections: ConnectionsDump {
                open: !self.connections.is_empty(),
                closed: self.connections.lost(),
            },
        }
    }
}

async fn task(id: ContainerId, commands: Option<mpsc::Sender<Command>>) -> TaskDump {
    let silent = TaskDump {
        id: id.to_string(),
        creating: commands.is_none(),
        ..TaskDump::default()
    };
    let Some(commands) = commands else {
        return silent;
    };
    let asked = async {
        let (reply, answer) = oneshot::channel();
        commands.send(Command::Dump(reply)).await.ok()?;
        answer.await.ok()?.ok()
    };
    timeout(TASK_LIMIT, asked)
        .await
        .ok()
        .flatten()
        .unwrap_or(silent)
}
