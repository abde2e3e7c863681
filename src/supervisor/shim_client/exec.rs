//! A further process run to its end, with what it printed (CRI's ExecSync).
//!
//! ```text
//! fifos, opened -> Exec -> Start -> own writing ends closed -> Wait -> Delete -> the fifos' EOF -> files removed
//!                                       `------------------ both streams read meanwhile ------'
//! ```
//!
//! It runs in a task of its own: whoever asked may go away at any step, and the exec is killed, deleted and its files
//! removed all the same. A fifo's EOF comes with the Delete, in which the shims drain with limits of their own, up to ten
//! seconds, where a grandchild keeps the output open: then the caller is answered after [`QUIET`], and the rest goes on.

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

/// How long nothing may come, once the exec has ended, before its output is taken for complete without an EOF.
const QUIET: Duration = Duration::from_secs(1);
/// How long output may go on coming once the exec has ended.
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
    let (reply, answer) = oneshot::channel();
    let caller = Caller(Some(reply));
    drop(tokio::spawn(async move {
        run_whole(&inner, &asked, caller).await;
    }));
    answer.await.unwrap_or_else(|_| {
        Err(ShimError::Refused {
            call: CALL,
            code: Code::Internal,
            message: "its task has ended".to_owned(),
        })
    })
}

/// Who is to be answered, once.
struct Caller(Option<oneshot::Sender<Result<ExecOutput, ShimError>>>);

impl Caller {
    fn answer(&mut self, result: Result<ExecOutput, ShimError>) {
        if let Some(reply) = self.0.take() {
            // Nobody may wait for it any more.
            drop(reply.send(result));
        }
    }

    /// Waits until nobody waits for the answer.
    async fn gone(&mut self) {
        if let Some(reply) = &mut self.0 {
            reply.closed().await;
        }
    }
}

async fn run_whole(inner: &Inner, asked: &Asked, mut caller: Caller) {
    let dir = inner.bundle.exec_fifos(&asked.exec);
    let made = dir.clone();
    let result = match local(CALL, "make the fifos", move || Streams::make(&made)).await {
        Ok(streams) => run_with(inner, asked, &mut caller, streams).await,
        Err(error) => Some(Err(error)),
    };
    let removed = local(CALL, "remove the fifos", move || remove(&dir)).await;
    if let Err(error) = removed {
        warn!(container = inner.id.as_str(), exec = asked.exec.as_str(); "{error}");
    }
    if let Some(result) = result {
        caller.answer(result);
    }
}

/// Gives the answer, unless the caller has it already.
async fn run_with(
    inner: &Inner,
    asked: &Asked,
    caller: &mut Caller,
    streams: Streams,
) -> Option<Result<ExecOutput, ShimError>> {
    let paths = streams.paths();
    let own_ends = (streams.stdout.write, streams.stderr.write);
    let started = Reader::start(streams.stdout.read, asked.most)
        .and_then(|stdout| Ok((stdout, Reader::start(streams.stderr.read, asked.most)?)));
    let (stdout, stderr) = match started {
        Ok(readers) => readers,
        Err(error) => return Some(Err(ShimError::local(CALL, "read the output", &error))),
    };
    if let Err(error) = add(inner, asked, paths).await {
        return Some(Err(error));
    }
    let ended = to_its_end(inner, asked, caller, own_ends).await;
    // Whatever has happened: what was added is deleted. This drains the output, and ends it.
    let deleting = delete(inner, &asked.exec);
    let deadline = Instant::now() + LAST_OUTPUT_LIMIT;
    let collecting = async { tokio::join!(stdout.finish(deadline), stderr.finish(deadline)) };
    tokio::pin!(deleting, collecting);
    let (stdout, stderr) = tokio::select! {
        collected = &mut collecting => {
            let has_ended = collected.0.has_ended && collected.1.has_ended;
            if !has_ended {
                // The shim waits for a grandchild; the caller need not.
                caller.answer(ended.map(|exit| output(exit, collected)));
                deleting.await;
                return None;
            }
            deleting.await;
            collected
        }
        () = &mut deleting => collecting.await,
    };
    Some(ended.map(|exit| output(exit, (stdout, stderr))))
}

fn output(exit: ExitRecord, (stdout, stderr): (Collected, Collected)) -> ExecOutput {
    ExecOutput {
        stdout: stdout.kept,
        stderr: stderr.kept,
        exit,
    }
}

async fn add(inner: &Inner, asked: &Asked, [stdout, stderr]: [String; 2]) -> Result<(), ShimError> {
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
        () = caller.gone() => {}
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

/// What one stream brought.
#[derive(Default)]
struct Collected {
    kept: Vec<u8>,
    /// Whether nobody can write to it any more.
    has_ended: bool,
}

/// One stream on its way into memory.
struct Reader {
    task: JoinHandle<Collected>,
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
    async fn finish(mut self, deadline: Instant) -> Collected {
        if let Some(finish) = self.deadline.take() {
            // It may have ended already.
            finish.send(deadline).unwrap_or(());
        }
        (&mut self.task).await.unwrap_or_default()
    }
}

/// Reads to the end, keeping `most` bytes. Once it is told to finish, it ends when nothing comes, and at the deadline.
async fn collect(fifo: Watched, most: usize, mut finish: oneshot::Receiver<Instant>) -> Collected {
    let mut collected = Collected::default();
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
                Err(_) => return collected,
            },
            readable = readable => match readable {
                Ok(Some(readable)) => readable,
                Ok(None) | Err(_) => return collected,
            },
        };
        let mut buffer = [0; READ_LENGTH];
        match pipe::read(&fifo, &mut buffer) {
            Ok(0) => {
                collected.has_ended = true;
                return collected;
            }
            Ok(length) => {
                let kept = &mut collected.kept;
                let room = most.saturating_sub(kept.len());
                kept.extend_from_slice(buffer.get(..length.min(room)).unwrap_or_default());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => readable.clear_ready(),
            Err(error) => {
                warn!("an exec's output: {error}");
                return collected;
            }
        }
    }
}
