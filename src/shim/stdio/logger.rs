//! A logging binary: `binary://` and `binary-v2://`.
//!
//! ```text
//! fd 3  stdout of the container        env  CONTAINER_ID, CONTAINER_NAMESPACE, nothing else
//! fd 4  stderr of the container        args the query of the URI
//! fd 5  ready: close it (binary), or write a byte (binary-v2)
//! ```
//!
//! The contract is containerd's (`pkg/cio` and `core/runtime/v2/README.md`, "Logging"; `cmd/containerd-shim-runc-v2/process/io.go`).
//! The shim keeps the reading ends too, so that a logger that dies does not kill the container (EPIPE), and what it has
//! not read stays in the pipes: another one is started on the same pipes. One that keeps dying is given up for a while,
//! and since it must not stop the container either (a full pipe), what comes then is drained, dropped and counted.

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
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::error::StdioOpenError;
use super::pumps::{OutputName, Shared};
use crate::logs::{End, Source, pump};
use crate::shim::reaper::{Child, Reaper};
use crate::sys::pipe::{self, Pipe};
use crate::sys::readiness::Watched;
use crate::sys::spawn::{Environment, Spawn};
use crate::sys::umask;
use crate::types::error::chain;
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

/// How often a logger is started again within [`RESTART_PERIOD`]: at once, then after pauses that add up to 3.1 s.
const RESTARTS_A_PERIOD: usize = 6;
/// After this a restart is forgotten.
const RESTART_PERIOD: Duration = Duration::from_secs(60);
/// The pause before the second restart of a period; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// What to start.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) program: PathBuf,
    pub(super) args: Vec<String>,
    pub(super) ready: BinaryReady,
    pub(super) container: String,
    pub(super) namespace: String,
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
        program: Program,
        inputs: Inputs,
        reaper: &Reaper,
        shared: &Rc<Shared>,
    ) -> Result<Self, StdioOpenError> {
        let keeper = Keeper {
            program,
            inputs,
            reaper: reaper.clone(),
            shared: Rc::clone(shared),
            restarts: Vec::new(),
        };
        let (child, ready) = keeper.start()?;
        let (path, kind) = (keeper.program.program.clone(), keeper.program.ready);
        let (stop, stopped) = oneshot::channel();
        let task = spawn_local(keeper.keep(child, stopped));
        // From here on an early return drops this, which ends the program.
        let logger = Self { stop, task };
        wait_until_ready(ready, kind, path).await?;
        Ok(logger)
    }

    /// Closes its pipes and makes it end: the task that this returns has seen it end, and takes 18 s at most.
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

fn command(program: &Program, further_fds: Vec<OwnedFd>) -> Spawn {
    let variables = [
        ("CONTAINER_ID", &program.container),
        ("CONTAINER_NAMESPACE", &program.namespace),
    ];
    Spawn {
        program: program.program.clone().into(),
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

async fn wait_until_ready(
    ready: OwnedFd,
    kind: BinaryReady,
    program: PathBuf,
) -> Result<(), StdioOpenError> {
    let ready = Watched::new(ready, Interest::READABLE)?;
    match timeout(READY_DEADLINE, first_byte(&ready)).await {
        Ok(Ok(0)) if kind == BinaryReady::Byte => Err(StdioOpenError::LoggerDied { program }),
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(StdioOpenError::LoggerLate {
            program,
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

/// Keeps a logger running for as long as somebody may want to write to it.
struct Keeper {
    program: Program,
    inputs: Inputs,
    reaper: Reaper,
    shared: Rc<Shared>,
    /// Those of the present period.
    restarts: Vec<Instant>,
}

/// Whether a dead logger may be started again.
enum Restart {
    After(Duration),
    /// It has died too often.
    NotBefore(Instant),
}

impl Keeper {
    /// Starts the program. The reading end of its ready pipe must stay open until it has used it.
    fn start(&self) -> Result<(Child, OwnedFd), StdioOpenError> {
        let ready = Pipe::new()?;
        let fds = vec![
            or_nothing(self.inputs.stdout.as_ref())?,
            or_nothing(self.inputs.stderr.as_ref())?,
            ready.write,
        ];
        // Its files are the user's, who may have given containerd a mask for them.
        let spawned = umask::as_started(|| self.reaper.spawn(command(&self.program, fds)));
        let child = spawned.map_err(|source| StdioOpenError::StartLogger {
            program: self.program.program.clone(),
            source,
        })?;
        Ok((child, ready.read))
    }

    async fn keep(mut self, mut child: Child, mut stop: oneshot::Receiver<()>) {
        let mut _ready = None;
        loop {
            tokio::select! {
                biased;
                _ = &mut stop => return self.end(child).await,
                exit = &mut child.exit => {
                    let status = exit.map_or(255, |exit| exit.record.status.get());
                    warn!(program:% = self.program.program.display(), status = status; "logging binary ended");
                }
            }
            let next = tokio::select! {
                biased;
                _ = &mut stop => return self.end_dead().await,
                next = self.next() => next,
            };
            child = next.0;
            _ready = Some(next.1);
        }
    }

    /// Another process of the program, as soon as there may be one.
    async fn next(&mut self) -> (Child, OwnedFd) {
        self.wait_for_heirs().await;
        loop {
            match self.may_restart() {
                // The pipes hold what comes meanwhile.
                Restart::After(pause) => sleep(pause).await,
                Restart::NotBefore(then) => {
                    let program = self.program.program.display();
                    error!(program:% = program; "logging binary ends again and again; output is dropped for a while");
                    self.drain_until(then).await;
                }
            }
            if self.is_spent() {
                // It has read everything, as a logger does at the end.
                std::future::pending::<()>().await;
            }
            if let Some(next) = self.restart() {
                return next;
            }
        }
    }

    fn restart(&mut self) -> Option<(Child, OwnedFd)> {
        self.restarts.push(Instant::now());
        let started = self.start();
        match &started {
            Ok((child, _)) => {
                self.shared.count_logger_restart();
                info!(program:% = self.program.program.display(), pid = child.pid.get(); "logging binary started again");
            }
            Err(error) => warn!("{}", chain(error)),
        }
        started.ok()
    }

    fn may_restart(&mut self) -> Restart {
        let now = Instant::now();
        self.restarts
            .retain(|restart| now.duration_since(*restart) < RESTART_PERIOD);
        match (self.restarts.len(), self.restarts.first()) {
            (0, _) | (_, None) => Restart::After(Duration::ZERO),
            (RESTARTS_A_PERIOD.., Some(first)) => Restart::NotBefore(*first + RESTART_PERIOD),
            (count, Some(_)) => {
                let doublings = u32::try_from(count - 1).unwrap_or(u32::MAX);
                Restart::After(FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(doublings)))
            }
        }
    }

    /// The dead one may have left a process behind that goes on reading; two readers would share the stream.
    async fn wait_for_heirs(&self) {
        for input in [&self.inputs.stdout, &self.inputs.stderr]
            .into_iter()
            .flatten()
        {
            loop {
                match pipe::read_by_a_child(input) {
                    Ok(false) => break,
                    Ok(true) => sleep(HEIR_CHECK).await,
                    Err(error) => {
                        warn!("who reads a logger's pipe cannot be told: {error}");
                        break;
                    }
                }
            }
        }
    }

    /// Takes over what the logger read, and drops it.
    async fn drain_until(&self, then: Instant) {
        let drained = async {
            tokio::join!(
                self.drain(OutputName::Stdout, self.inputs.stdout.as_ref()),
                self.drain(OutputName::Stderr, self.inputs.stderr.as_ref()),
            );
            // There is nothing to come for which another logger would be worth while.
            std::future::pending::<()>().await;
        };
        drop(timeout_at(then, drained).await);
    }

    async fn drain(&self, stream: OutputName, input: Option<&OwnedFd>) {
        let Some(input) = input else { return };
        // Opened once more: the next logger is not to find its descriptor non-blocking.
        let result = match pipe::open_again(input).and_then(Source::pipe) {
            Ok(source) => pump::discard(&source, self.shared.flow(stream)).await,
            Err(error) => error.into(),
        };
        if let End::Failed(error) = result {
            warn!("a dead logger's pipe cannot be drained: {error}");
        }
    }

    /// The container is gone: the logger reads what is left, and ends.
    async fn end(self, child: Child) {
        // Its exit is awaited with the pipes in hand: it may die before it has read everything.
        if end(&self.program.program, child).await == Ended::ByItself {
            self.end_dead().await;
        }
    }

    /// The container is gone while the logger is dead: one more reads what is left.
    async fn end_dead(mut self) {
        if self.has_unread()
            && let Restart::After(_) = self.may_restart()
            && let Some((child, _ready)) = self.restart()
        {
            drop(self.inputs);
            end(&self.program.program, child).await;
        }
    }

    /// Whether no input has anything to read, nor ever will have.
    fn is_spent(&self) -> bool {
        [&self.inputs.stdout, &self.inputs.stderr]
            .into_iter()
            .flatten()
            .all(|input| pipe::is_spent(input).unwrap_or(false))
    }

    /// Whether something is left that nobody reads.
    fn has_unread(&self) -> bool {
        [&self.inputs.stdout, &self.inputs.stderr]
            .into_iter()
            .flatten()
            .any(|input| {
                pipe::unread(input).is_ok_and(|unread| unread > 0)
                    && !pipe::read_by_a_child(input).is_ok_and(|reads| reads)
            })
    }
}

/// How a logger ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// At the end of its input, or whenever it liked.
    ByItself,
    /// Since it had to, or not at all.
    Otherwise,
}

async fn end(program: &Path, mut child: Child) -> Ended {
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
            return signal.map_or(Ended::ByItself, |_| Ended::Otherwise);
        }
    }
    error!(program:% = program.display(), pid = child.pid.get(); "logging binary does not end");
    Ended::Otherwise
}
