//! A further process run to its end, with what it printed (CRI's ExecSync).
//!
//! ```text
//! fifos, opened -> Exec -> Start -> own writing ends closed -> Wait -> Delete -> the fifos' EOF -> files removed
//!                                       `------------------ both streams read meanwhile ------'
//! ```
//!
//! It runs in a task of its own: whoever asked may go away at any step, and the exec is killed, deleted and its files
//! removed all the same. A fifo's EOF comes with the Delete, in which the shims drain with limits of their own; so a
//! grandchild that keeps the output open costs those, and [`QUIET`] at most.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use containerd_shim_protos::api::{
    DeleteRequest, DeleteResponse, Empty, ExecProcessRequest, KillRequest, StartRequest,
    StartResponse, WaitRequest, WaitResponse,
};
use log::warn;
use tokio::io::Interest;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::Code;

use super::ExecOutput;
use super::call::{ASK_LIMIT, DELETE_LIMIT, KILL_LIMIT, Limit, START_LIMIT, exit_record, json_any};
use super::connect::local;
use super::error::ShimError;
use super::task::Inner;
use crate::sys::fifo::{self, FifoError};
use crate::sys::pipe;
use crate::sys::readiness::Watched;
use crate::types::{ExecId, ExitRecord, Pid, Signal};

/// How long nothing may come, once the exec is deleted, before its output is taken for complete without an EOF.
const QUIET: Duration = Duration::from_secs(1);
/// How long output may go on coming once the exec is deleted.
const LAST_OUTPUT_LIMIT: Duration = Duration::from_secs(10);
/// How long a killed process may take to end; longer is the kernel's doing.
const KILLED_LIMIT: Duration = Duration::from_secs(10);
const READ_LENGTH: usize = 16 << 10;
const CALL: &str = "ExecSync";

/// What is to be run.
pub(super) struct Asked {
    pub exec: ExecId,
    pub process: Vec<u8>,
    pub timeout: Option<Duration>,
    pub most: usize,
}

/// Runs it.
pub(super) async fn run(inner: Arc<Inner>, asked: Asked) -> Result<ExecOutput, ShimError> {
    let (mut reply, answer) = oneshot::channel();
    drop(tokio::spawn(async move {
        let result = run_whole(&inner, &asked, &mut reply).await;
        drop(reply.send(result));
    }));
    answer.await.unwrap_or_else(|_| {
        Err(ShimError::Refused {
            call: CALL,
            code: Code::Internal,
            message: "its task has ended".to_owned(),
        })
    })
}

type Caller = oneshot::Sender<Result<ExecOutput, ShimError>>;

async fn run_whole(
    inner: &Inner,
    asked: &Asked,
    caller: &mut Caller,
) -> Result<ExecOutput, ShimError> {
    let dir = inner.bundle.exec_fifos(&asked.exec);
    let made = dir.clone();
    let streams = local(CALL, "make the fifos", move || Streams::make(&made)).await;
    let result = match streams {
        Ok(streams) => run_with(inner, asked, caller, streams).await,
        Err(error) => Err(error),
    };
    let removed = local(CALL, "remove the fifos", move || remove(&dir)).await;
    if let Err(error) = removed {
        warn!(container = inner.id.as_str(), exec = asked.exec.as_str(); "{error}");
    }
    result
}

async fn run_with(
    inner: &Inner,
    asked: &Asked,
    caller: &mut Caller,
    streams: Streams,
) -> Result<ExecOutput, ShimError> {
    let local = |error| ShimError::local(CALL, "read the output", &error);
    let [stdout, stderr] = streams.paths();
    let readers = [
        Reader::start(streams.stdout.read, asked.most).map_err(local)?,
        Reader::start(streams.stderr.read, asked.most).map_err(local)?,
    ];
    add(inner, asked, stdout, stderr).await?;
    let ended = to_its_end(
        inner,
        asked,
        caller,
        (streams.stdout.write, streams.stderr.write),
    );
    let ended = ended.await;
    // Whatever has happened: what was added is deleted. It drains the output.
    delete(inner, &asked.exec).await;
    let deadline = Instant::now() + LAST_OUTPUT_LIMIT;
    let [stdout, stderr] = readers;
    let (stdout, stderr) = (stdout.finish(deadline).await, stderr.finish(deadline).await);
    Ok(ExecOutput {
        exit: ended?,
        stdout,
        stderr,
    })
}

async fn add(
    inner: &Inner,
    asked: &Asked,
    stdout: String,
    stderr: String,
) -> Result<(), ShimError> {
    let request = ExecProcessRequest {
        id: inner.id.to_string(),
        exec_id: asked.exec.to_string(),
        stdout,
        stderr,
        spec: Some(json_any("Process", asked.process.clone())).into(),
        ..ExecProcessRequest::default()
    };
    let limit = Limit::Within(ASK_LIMIT);
    let added = inner.service.call::<Empty>("Exec", &request, limit).await;
    if let Err(ShimError::Timeout { .. }) = added {
        // It may have been added.
        delete(inner, &asked.exec).await;
    }
    added.map(drop)
}

/// Starts it and waits for its end, or makes an end of it.
async fn to_its_end(
    inner: &Inner,
    asked: &Asked,
    caller: &mut Caller,
    own_ends: (OwnedFd, OwnedFd),
) -> Result<ExitRecord, ShimError> {
    let begun = Instant::now();
    let request = StartRequest {
        id: inner.id.to_string(),
        exec_id: asked.exec.to_string(),
        ..StartRequest::default()
    };
    let limit = Limit::Within(START_LIMIT);
    let started: Result<StartResponse, _> = inner.service.call("Start", &request, limit).await;
    // The shim has opened its own by now; without these, its closing them is the end.
    drop(own_ends);
    let started = match started {
        Err(error @ ShimError::Timeout { .. }) => {
            kill(inner, &asked.exec).await;
            return Err(error);
        }
        started => started?,
    };
    let pid = Pid::new(started.pid).ok_or_else(|| ShimError::Refused {
        call: "Start",
        code: Code::Internal,
        message: "the exec has no pid".to_owned(),
    })?;
    let exit = wait(inner, &asked.exec, pid);
    tokio::pin!(exit);
    let gone_on = async {
        match asked.timeout.and_then(|limit| begun.checked_add(limit)) {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        exit = &mut exit => return exit,
        () = gone_on => {}
        () = caller.closed() => {}
    }
    kill(inner, &asked.exec).await;
    match timeout(KILLED_LIMIT, &mut exit).await {
        Ok(Err(error @ ShimError::Gone { .. })) => return Err(error),
        Ok(_) => {}
        Err(_) => {
            warn!(container = inner.id.as_str(), exec = asked.exec.as_str(); "an exec does not end after SIGKILL");
        }
    }
    Err(ShimError::Timeout {
        call: CALL,
        after: asked.timeout.unwrap_or_else(|| begun.elapsed()),
    })
}

async fn wait(inner: &Inner, exec: &ExecId, pid: Pid) -> Result<ExitRecord, ShimError> {
    let request = WaitRequest {
        id: inner.id.to_string(),
        exec_id: exec.to_string(),
        ..WaitRequest::default()
    };
    let exit: WaitResponse = inner.service.call("Wait", &request, Limit::None).await?;
    Ok(exit_record(pid, exit.exit_status, &exit.exited_at))
}

async fn kill(inner: &Inner, exec: &ExecId) {
    let request = KillRequest {
        id: inner.id.to_string(),
        exec_id: exec.to_string(),
        signal: Signal::KILL.get().into(),
        ..KillRequest::default()
    };
    let limit = Limit::Within(KILL_LIMIT);
    let killed = inner.service.call::<Empty>("Kill", &request, limit).await;
    log_failure(inner, exec, killed.map(drop));
}

async fn delete(inner: &Inner, exec: &ExecId) {
    let request = DeleteRequest {
        id: inner.id.to_string(),
        exec_id: exec.to_string(),
        ..DeleteRequest::default()
    };
    let limit = Limit::Within(DELETE_LIMIT);
    let deleted: Result<DeleteResponse, _> = inner.service.call("Delete", &request, limit).await;
    log_failure(inner, exec, deleted.map(drop));
}

/// What fails on the way out is nobody's answer. That the process or the shim is gone is as it should be.
fn log_failure(inner: &Inner, exec: &ExecId, result: Result<(), ShimError>) {
    match result {
        Ok(()) | Err(ShimError::Gone { .. }) => {}
        Err(error) if error.is_not_found() => {}
        Err(error) => warn!(container = inner.id.as_str(), exec = exec.as_str(); "{error}"),
    }
}

/// The fifos of both streams.
struct Streams {
    dir: PathBuf,
    stdout: fifo::Fifo,
    stderr: fifo::Fifo,
}

impl Streams {
    fn make(dir: &std::path::Path) -> io::Result<Self> {
        let open = |name| {
            let path = dir.join(name);
            fifo::make(&path)
                .and_then(|()| fifo::open(&path))
                .map_err(|error| match error {
                    FifoError::Open(error) => error,
                    FifoError::NotAFifo => io::Error::other(error),
                })
        };
        // What a supervisor that was killed has left under this id is of no use to anybody.
        remove(dir)?;
        std::fs::create_dir_all(dir)?;
        Ok(Self {
            stdout: open("stdout")?,
            stderr: open("stderr")?,
            dir: dir.to_owned(),
        })
    }

    fn paths(&self) -> [String; 2] {
        ["stdout", "stderr"].map(|name| self.dir.join(name).to_string_lossy().into_owned())
    }
}

fn remove(dir: &std::path::Path) -> io::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// One stream on its way into memory.
struct Reader {
    task: JoinHandle<Vec<u8>>,
    deadline: Option<oneshot::Sender<Instant>>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Reader {
    fn start(read: OwnedFd, most: usize) -> io::Result<Self> {
        let fifo = Watched::new(read, Interest::READABLE)?;
        let (deadline, finish) = oneshot::channel();
        Ok(Self {
            task: tokio::spawn(collect(fifo, most, finish)),
            deadline: Some(deadline),
        })
    }

    /// What came, once nothing more does.
    async fn finish(mut self, deadline: Instant) -> Vec<u8> {
        if let Some(finish) = self.deadline.take() {
            // It may have ended already.
            finish.send(deadline).unwrap_or(());
        }
        (&mut self.task).await.unwrap_or_default()
    }
}

/// Reads to the end, keeping `most` bytes. Once it is told to finish, it ends when nothing comes, and at the deadline.
async fn collect(fifo: Watched, most: usize, mut finish: oneshot::Receiver<Instant>) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut deadline = None;
    loop {
        let readable = async {
            match deadline {
                None => fifo.readable().await.map(Some),
                Some(deadline) => {
                    let soon = (Instant::now() + QUIET).min(deadline);
                    timeout_at(soon, fifo.readable()).await.ok().transpose()
                }
            }
        };
        let mut readable = tokio::select! {
            told = &mut finish, if deadline.is_none() => match told {
                Ok(told) => {
                    deadline = Some(told);
                    continue;
                }
                Err(_) => return kept,
            },
            readable = readable => match readable {
                Ok(Some(readable)) => readable,
                Ok(None) | Err(_) => return kept,
            },
        };
        let mut buffer = [0; READ_LENGTH];
        match pipe::read(&fifo, &mut buffer) {
            Ok(0) => return kept,
            Ok(length) => {
                let room = most.saturating_sub(kept.len());
                kept.extend_from_slice(buffer.get(..length.min(room)).unwrap_or_default());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => readable.clear_ready(),
            Err(error) => {
                warn!("an exec's output: {error}");
                return kept;
            }
        }
    }
}
