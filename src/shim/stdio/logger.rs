//! A logging binary: `binary://` and `binary-v2://`.
//!
//! ```text
//! fd 3  stdout of the container        env  CONTAINER_ID, CONTAINER_NAMESPACE, nothing else
//! fd 4  stderr of the container        args the query of the URI
//! fd 5  ready: close it (binary), or write a byte (binary-v2)
//! ```
//!
//! The contract is containerd's (`pkg/cio` and `core/runtime/v2/README.md`, "Logging"; `cmd/containerd-shim-runc-v2/process/io.go`).
//! The shim keeps the reading ends too: a logger that dies must neither kill the container (EPIPE) nor stop it (a
//! full pipe), so what nobody reads any more is drained, dropped and counted.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use log::{error, info, warn};
use nix::sys::signal::{Signal, kill};
use tokio::io::Interest;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};

use super::error::StdioOpenError;
use super::pumps::{OutputName, Shared};
use crate::logs::{End, Source, pump};
use crate::shim::reaper::{Child, Reaper};
use crate::sys::pipe::{self, Pipe};
use crate::sys::readiness::Watched;
use crate::sys::spawn::{Environment, Spawn};
use crate::types::stdio::BinaryReady;

/// How long a logger may take to become ready.
const READY_DEADLINE: Duration = Duration::from_secs(10);
/// How long it may take to read what is left and end at EOF, before it is asked to.
const EOF_GRACE: Duration = Duration::from_secs(2);
/// How long it may take to end after SIGTERM, as containerd has it.
const TERM_GRACE: Duration = Duration::from_secs(12);
/// How long SIGKILL may take.
const KILL_GRACE: Duration = Duration::from_secs(2);
/// How often is looked whether what a dead logger left behind still reads.
const HEIR_CHECK: Duration = Duration::from_secs(2);

/// What to start.
pub(super) struct Program<'a> {
    pub(super) program: &'a Path,
    pub(super) args: &'a [String],
    pub(super) ready: BinaryReady,
    pub(super) container: &'a str,
    pub(super) namespace: &'a str,
}

/// The reading ends of the container's output; a stream that goes elsewhere has none.
#[derive(Default)]
pub(super) struct Inputs {
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
}

/// A running logger. Dropping it stops it, in the background.
#[derive(Debug)]
pub(super) struct Logger {
    /// Nothing is ever sent: its end is the message.
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Logger {
    /// Starts the program and waits until it is ready.
    pub(super) async fn start(
        program: Program<'_>,
        inputs: Inputs,
        reaper: &Reaper,
        shared: &Rc<Shared>,
    ) -> Result<Self, StdioOpenError> {
        let ready = Pipe::new()?;
        let fds = vec![
            or_nothing(inputs.stdout.as_ref())?,
            or_nothing(inputs.stderr.as_ref())?,
            ready.write,
        ];
        let child =
            reaper
                .spawn(command(&program, fds))
                .map_err(|source| StdioOpenError::StartLogger {
                    program: program.program.to_owned(),
                    source,
                })?;
        let (stop, stopped) = oneshot::channel();
        let path = program.program.to_owned();
        let task = spawn_local(watch(path, child, inputs, stopped, Rc::clone(shared)));
        // From here on an early return drops this, which ends the program.
        let logger = Self { stop, task };
        wait_until_ready(ready.read, &program).await?;
        Ok(logger)
    }

    /// Closes its pipes and makes it end: the task that this returns has seen it end, and takes 16 s at most.
    pub(super) fn stop(self) -> JoinHandle<()> {
        drop(self.stop);
        self.task
    }
}

/// `fd` for a child, or what reads as ended at once.
fn or_nothing(fd: Option<&OwnedFd>) -> io::Result<OwnedFd> {
    match fd {
        Some(fd) => fd.try_clone(),
        None => File::open("/dev/null").map(OwnedFd::from),
    }
}

fn command(program: &Program<'_>, further_fds: Vec<OwnedFd>) -> Spawn {
    let variables = [
        ("CONTAINER_ID", program.container),
        ("CONTAINER_NAMESPACE", program.namespace),
    ];
    Spawn {
        program: program.program.into(),
        args: program.args.iter().map(Into::into).collect(),
        environment: Environment::Only(
            variables
                .map(|(key, value)| (key.into(), value.into()))
                .into(),
        ),
        further_fds,
        ..Spawn::default()
    }
}

async fn wait_until_ready(ready: OwnedFd, program: &Program<'_>) -> Result<(), StdioOpenError> {
    let ready = Watched::new(ready, Interest::READABLE)?;
    let path = || program.program.to_owned();
    match timeout(READY_DEADLINE, first_byte(&ready)).await {
        Ok(Ok(0)) if program.ready == BinaryReady::Byte => {
            Err(StdioOpenError::LoggerDied { program: path() })
        }
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(StdioOpenError::LoggerLate {
            program: path(),
            after: READY_DEADLINE,
        }),
    }
}

/// 1 for a byte, 0 for the end.
async fn first_byte(pipe: &Watched) -> io::Result<usize> {
    loop {
        let mut readable = pipe.readable().await?;
        match pipe::read(pipe, &mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => readable.clear_ready(),
            done => return done,
        }
    }
}

/// Lives as long as the program, and as long as somebody may want to write to it.
async fn watch(
    program: PathBuf,
    mut child: Child,
    inputs: Inputs,
    mut stop: oneshot::Receiver<()>,
    shared: Rc<Shared>,
) {
    tokio::select! {
        biased;
        _ = &mut stop => {
            drop(inputs);
            end(&program, child).await;
        }
        exit = &mut child.exit => {
            let status = exit.map_or(255, |exit| exit.record.status.get());
            info!(program:% = program.display(), status = status; "logging binary ended");
            let drained = async {
                tokio::join!(
                    drain(OutputName::Stdout, inputs.stdout, &shared),
                    drain(OutputName::Stderr, inputs.stderr, &shared),
                )
            };
            tokio::select! {
                biased;
                _ = &mut stop => {}
                ((), ()) = drained => {}
            }
        }
    }
}

/// Takes over what the logger read. It may have left a process behind that goes on reading; that one goes first.
async fn drain(stream: OutputName, input: Option<OwnedFd>, shared: &Shared) {
    let Some(input) = input else { return };
    loop {
        match pipe::read_by_a_child(&input) {
            Ok(false) => break,
            Ok(true) => sleep(HEIR_CHECK).await,
            Err(error) => {
                warn!("who reads a logger's pipe cannot be told: {error}");
                return std::future::pending().await;
            }
        }
    }
    let result = match Source::pipe(input) {
        Ok(source) => pump::discard(&source, shared.flow(stream)).await,
        Err(error) => error.into(),
    };
    if let End::Failed(error) = result {
        warn!("a dead logger's pipe cannot be drained: {error}");
    }
}

async fn end(program: &Path, mut child: Child) {
    let steps = [
        (None, EOF_GRACE),
        (Some(Signal::SIGTERM), TERM_GRACE),
        (Some(Signal::SIGKILL), KILL_GRACE),
    ];
    for (signal, grace) in steps {
        // Its exit was not told yet, so it is not reaped and the pid is still its own.
        let pid = nix::unistd::Pid::from_raw(child.pid.as_raw());
        if let Some(signal) = signal
            && let Err(error) = kill(pid, signal)
        {
            warn!(program:% = program.display(), pid = child.pid.get(); "logging binary: {signal}: {error}");
        }
        if timeout(grace, &mut child.exit).await.is_ok() {
            return;
        }
    }
    error!(program:% = program.display(), pid = child.pid.get(); "logging binary does not end");
}
