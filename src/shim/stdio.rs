//! The stdio of one process of a container: what is connected to what, from Create or Exec until Delete.
//!
//! ```text
//!            container                     shim                          outside
//!   fd 0     pipe, read end  <---- pump <---- fifo (a writer is held)  <---- client
//!   fd 1, 2  pipe, write end ----> pump ----> fifo (a reader is held)  ----> manager
//!                            ----> pump ----> file, plain or in the CRI format
//!                            ----------------------- fd 3, 4           ----> logging binary (both ends are held)
//!   tty      slave           <-> master <-> pumps                      <---> as above; stdout only
//! ```
//!
//! Owned by the task actor; everything runs on its thread, inside its `LocalSet`. The semantics are those of containerd's
//! `cmd/containerd-shim-runc-v2/process/io.go`. How bytes are moved is the business of [`crate::logs`].

mod console;
mod error;
mod logger;
mod outputs;
mod pumps;

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{interval, timeout};

use self::console::ConsoleSocket;
pub use self::error::StdioOpenError;
use self::logger::Logger;
use self::outputs::{Outputs, Target};
pub use self::pumps::StdioCounters;
use self::pumps::{Output, OutputName, Pumps, Shared};
use crate::bundle::layout::Bundle;
use crate::logs::{Attendance, FifoPump, Log, Outage, Phase, Sink, Source, SpoolPlace};
use crate::shim::reaper::Reaper;
use crate::sys::limits::{self, Demand};
use crate::sys::pipe::Pipe;
use crate::sys::pty;
use crate::sys::readiness::Watched;
use crate::sys::spawn::Stream;
use crate::types::Stdio;

/// How long the output is drained after a process has ended, while somebody else keeps it open (containerd's own limit).
pub const DRAIN_CAP: Duration = Duration::from_secs(10);
/// How long an output has to be quiet, with nobody of the container left, to be taken for ended.
const QUIET: Duration = Duration::from_millis(200);

/// Whose stdio it is.
pub struct StdioContext<'a> {
    /// Starts the logging binary.
    pub reaper: &'a Reaper,
    /// The container's id.
    pub container: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its bundle, which the console socket is made in.
    pub bundle: &'a Path,
    /// A name that no other process of the container has, fit for a file name: "init" or the exec id.
    pub name: &'a str,
    /// The user that owns the pipes.
    pub io_uid: u32,
    /// The group that owns the pipes.
    pub io_gid: u32,
    /// Who is connected to the shim.
    pub attendance: watch::Receiver<Attendance>,
    /// How much of each output may be spooled, while nobody is.
    pub spool_bytes: u64,
}

/// What the OCI runtime is to be started with. To be dropped (or spent) once it was started: the container's output
/// ends when nobody has these open any more.
#[derive(Debug, Default)]
pub struct ChildStdio {
    /// stdin.
    pub stdin: Stream,
    /// stdout.
    pub stdout: Stream,
    /// stderr.
    pub stderr: Stream,
    /// `--console-socket`, where there is a terminal. It may be relative to the bundle, which is to be the runtime's
    /// working directory.
    pub console_socket: Option<PathBuf>,
}

/// How the draining of the output ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Every stream has ended; all of it was delivered, or is in the spool.
    Everything,
    /// Nobody is left who could write, and these streams have been quiet although something outside the container has
    /// them open; they were closed.
    Quiet {
        /// How many.
        streams: usize,
    },
    /// Somebody kept this many streams open for longer than the cap; they were closed.
    CapReached {
        /// How many.
        streams: usize,
    },
}

/// The loggers that [`ProcessStdio::close`] has told to end, and the deliveries of last bytes that it has left. Dropping
/// this lets them end in the background; only who is about to end the shim needs to wait.
#[derive(Debug, Default)]
pub struct StoppingLoggers(Vec<JoinHandle<()>>);

impl StoppingLoggers {
    /// Whether they have ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.0.iter().all(JoinHandle::is_finished)
    }

    /// Waits until they have ended: loggers 18 s at most, the last bytes 10 s longer than anybody reads them.
    pub async fn ended(self) {
        for task in self.0 {
            if let Err(error) = task.await {
                log::warn!("logging binary or last bytes: {error}");
            }
        }
    }
}

/// The stopping loggers of all processes of this shim, so that it does not end before they do; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct StoppingLoggersOfAll(Rc<RefCell<Vec<StoppingLoggers>>>);

impl StoppingLoggersOfAll {
    /// Adds the loggers of one process, and forgets those that have ended.
    pub fn add(&self, loggers: StoppingLoggers) {
        let mut all = self.0.borrow_mut();
        all.push(loggers);
        all.retain(|loggers| !loggers.is_finished());
    }

    /// Waits until all have ended, as [`StoppingLoggers::ended`].
    pub async fn ended(&self) {
        // They were told at about the same time, so their deadlines run out together.
        let all = self.0.take();
        for loggers in all {
            loggers.ended().await;
        }
    }
}

/// The terminal of a process.
#[derive(Debug)]
enum Console {
    None,
    /// The OCI runtime has not handed it out yet.
    Awaited(Box<AwaitedConsole>),
    /// Its master.
    Attached(Rc<Watched>),
}

#[derive(Debug)]
struct AwaitedConsole {
    socket: ConsoleSocket,
    stdin: Option<Source>,
    stdout: Sink,
    pump: FifoPump,
}

/// The stdio of one process. With everything null it holds nothing.
#[derive(Debug)]
pub struct ProcessStdio {
    pumps: Pumps,
    console: RefCell<Console>,
    /// So that a client that goes is not the container's EOF.
    stdin_writer: RefCell<Option<OwnedFd>>,
    /// So that a manager that goes is not EPIPE, and what it has not read stays in the fifo.
    fifo_readers: Rc<Vec<OwnedFd>>,
    /// So that a container that closes its output is not EOF to the logger while the container lives.
    logger_writers: RefCell<Vec<OwnedFd>>,
    logs: Vec<Rc<Log>>,
    loggers: Vec<Logger>,
}

impl ProcessStdio {
    /// Opens what `stdio` names, starts logging binaries and waits until they are ready, and starts the pumps (with a
    /// terminal: [`Self::attach_console`] does). Must be called inside a `LocalSet`.
    ///
    /// # Errors
    /// [`StdioOpenError`]; then nothing is left behind, but for a logger that is being stopped in the background.
    pub async fn open(
        stdio: &Stdio,
        cx: StdioContext<'_>,
    ) -> Result<(Self, ChildStdio), StdioOpenError> {
        let is_any = *stdio != Stdio::default();
        if is_any {
            limits::spare_reserve(Demand::Stdio)?;
        }
        let pumps = Pumps::new(cx.container, cx.name);
        let (stdin, stdin_writer) = match stdio.stdin.as_deref().map(error::open_fifo) {
            Some(fifo) => {
                let fifo = fifo?;
                (Some(Source::pipe(fifo.read)?), Some(fifo.write))
            }
            None => (None, None),
        };
        let outputs = Outputs::open(stdio, &cx, &pumps.shared).await?;
        let mut opened = Self {
            pumps,
            console: RefCell::new(Console::None),
            stdin_writer: RefCell::new(stdin_writer),
            fifo_readers: Rc::new(outputs.fifo_readers),
            logger_writers: RefCell::default(),
            logs: outputs.logs,
            loggers: outputs.loggers,
        };
        let child = if stdio.terminal {
            opened.await_terminal(stdin, outputs.stdout, &cx)?
        } else {
            opened.connect_pipes(stdin, outputs.stdout, outputs.stderr, &cx)?
        };
        // Others may have been opened at the same time.
        if is_any {
            limits::spare_reserve(Demand::Stdio)?;
        }
        Ok((opened, child))
    }

    fn await_terminal(
        &mut self,
        stdin: Option<Source>,
        stdout: Target,
        cx: &StdioContext<'_>,
    ) -> Result<ChildStdio, StdioOpenError> {
        let (stdout, spool_bytes) = match stdout {
            Target::Nowhere => (Sink::Nowhere, 0),
            Target::Sink(sink) => (sink, cx.spool_bytes),
            // A logger is the shim's own, and no manager's.
            Target::Logger(write) => (Sink::pipe(write)?, 0),
        };
        let pump = self.fifo_pump(OutputName::Stdout, cx, spool_bytes);
        let socket = ConsoleSocket::bind(cx.bundle, cx.name)?;
        let console_socket = Some(socket.for_runtime.clone());
        *self.console.get_mut() = Console::Awaited(Box::new(AwaitedConsole {
            socket,
            stdin,
            stdout,
            pump,
        }));
        Ok(ChildStdio {
            console_socket,
            ..ChildStdio::default()
        })
    }

    fn connect_pipes(
        &mut self,
        stdin: Option<Source>,
        stdout: Target,
        stderr: Target,
        cx: &StdioContext<'_>,
    ) -> io::Result<ChildStdio> {
        let stdin = match stdin {
            Some(source) => {
                let pipe = Pipe::owned_by(cx.io_uid, cx.io_gid)?;
                self.pumps.start_stdin(source, Sink::pipe(pipe.write)?);
                Stream::Fd(pipe.read)
            }
            None => Stream::Null,
        };
        Ok(ChildStdio {
            stdin,
            stdout: self.connect_output(OutputName::Stdout, stdout, cx)?,
            stderr: self.connect_output(OutputName::Stderr, stderr, cx)?,
            console_socket: None,
        })
    }

    fn connect_output(
        &mut self,
        name: OutputName,
        target: Target,
        cx: &StdioContext<'_>,
    ) -> io::Result<Stream> {
        match target {
            Target::Nowhere => Ok(Stream::Null),
            Target::Logger(write) => {
                self.logger_writers.get_mut().push(write.try_clone()?);
                Ok(Stream::Fd(write))
            }
            Target::Sink(sink) => {
                let pipe = Pipe::owned_by(cx.io_uid, cx.io_gid)?;
                let pump = self.fifo_pump(name, cx, cx.spool_bytes);
                self.start_output(name, Source::pipe(pipe.read)?, sink, pump);
                Ok(Stream::Fd(pipe.write))
            }
        }
    }

    /// A pump for `stream`, which is used where its sink is a fifo.
    fn fifo_pump(&self, stream: OutputName, cx: &StdioContext<'_>, spool_bytes: u64) -> FifoPump {
        // containerd's bundle is in memory, as a rule, and its directory for large files on a disk.
        let work = Bundle::new(cx.bundle).work();
        let place = SpoolPlace {
            directory: if work.is_dir() {
                work
            } else {
                cx.bundle.to_owned()
            },
            name: format!("{}-{}", cx.name, stream.as_str()).into(),
            limit: spool_bytes,
        };
        let phase = self.pumps.shared.phase();
        FifoPump::new(place, Outage::new(cx.attendance.clone(), phase))
    }

    fn start_output(&self, stream: OutputName, source: Source, sink: Sink, pump: FifoPump) {
        self.pumps.start_output(Output {
            stream,
            source,
            sink,
            pump,
            fifo_readers: Rc::clone(&self.fifo_readers),
        });
    }

    /// Takes the terminal that the OCI runtime has handed out by now, and starts the pumps. Without a terminal, or when
    /// it was attached before, there is nothing to do.
    ///
    /// # Errors
    /// [`StdioOpenError::ConsoleLate`], [`StdioOpenError::ConsoleReceive`]
    pub async fn attach_console(&self, deadline: Duration) -> Result<(), StdioOpenError> {
        let awaited = match self.console.replace(Console::None) {
            Console::Awaited(awaited) => *awaited,
            other => {
                self.console.replace(other);
                return Ok(());
            }
        };
        let master = awaited.socket.receive(deadline).await?;
        let master = Rc::new(Watched::new(
            master,
            Interest::READABLE | Interest::WRITABLE,
        )?);
        if let Some(stdin) = awaited.stdin {
            self.pumps
                .start_stdin(stdin, Sink::Terminal(Rc::clone(&master)));
        }
        let output = Source::Terminal(Rc::clone(&master));
        self.start_output(OutputName::Stdout, output, awaited.stdout, awaited.pump);
        self.console.replace(Console::Attached(master));
        Ok(())
    }

    /// CloseIO: the container sees EOF when it has read everything and the client has closed its end too. A terminal
    /// has no such thing as EOF, as with containerd's shim.
    pub fn close_stdin(&self) {
        self.stdin_writer.take();
    }

    /// ResizePty, in characters. Without a terminal there is nothing to do.
    ///
    /// # Errors
    /// What TIOCSWINSZ answered.
    pub fn resize(&self, width: u16, height: u16) -> io::Result<()> {
        match &*self.console.borrow() {
            Console::None | Console::Awaited(_) => Ok(()),
            Console::Attached(master) => pty::resize(&**master, width, height),
        }
    }

    /// Goes on in new files where the old ones were renamed: after this nothing is written to those. A line that is
    /// not ended is divided.
    ///
    /// # Errors
    /// [`StdioOpenError::OpenFile`]; then no file is new, and the old ones are written on.
    pub fn reopen_logs(&self) -> Result<(), StdioOpenError> {
        let begin = |log: &Rc<Log>| {
            log.begin_reopen()
                .map_err(|source| StdioOpenError::OpenFile {
                    path: log.path(),
                    source,
                })
        };
        // All are open before one is used.
        let reopening = self.logs.iter().map(begin).collect::<Result<Vec<_>, _>>()?;
        for log in reopening {
            log.finish();
        }
        Ok(())
    }

    /// To be called when the process has ended: resolves when its output has ended, which the reader cannot delay, or
    /// sooner, when `others_gone` tells that nobody of the container is left and what came was taken. At the latest after
    /// `cap` ([`DRAIN_CAP`]), when somebody still holds it open; what that one writes later is lost.
    ///
    /// By then everything is in the file, in the logger's pipe, or in the manager's fifo, where it stays readable until
    /// [`Self::close`]; or in the spool. Where that is off, or full, the reader may delay it, up to the cap.
    pub fn drained<F: FnMut() -> bool>(
        &self,
        cap: Duration,
        others_gone: F,
    ) -> impl Future<Output = Drained> + use<F> {
        // From here on it is for the logger to see EOF.
        self.logger_writers.take();
        let shared = Rc::clone(&self.pumps.shared);
        shared.enter(Phase::Ended);
        async move {
            let ended = async {
                tokio::select! {
                    biased;
                    () = shared.outputs_ended() => Drained::Everything,
                    streams = quiet(&shared, others_gone) => Drained::Quiet { streams },
                }
            };
            let drained = timeout(cap, ended).await;
            let streams = shared.outputs_running();
            shared.enter(Phase::Stopped);
            drained.unwrap_or(Drained::CapReached { streams })
        }
    }

    /// How much went through.
    #[must_use]
    pub fn counters(&self) -> StdioCounters {
        self.pumps.counters()
    }

    /// Delete, or a failed Create: lets go of everything, and tells the logger to end. Does not wait for the logger, nor
    /// for the reader of what is still in the spool: that is delivered in the background for as long as somebody reads,
    /// and 10 s more; then it is lost, and counted in the log.
    pub async fn close(self) -> StoppingLoggers {
        drop(self.console);
        drop(self.stdin_writer);
        drop(self.logger_writers);
        // What is left unread in a fifo goes with its last descriptor; a delivery has its own.
        drop(self.fifo_readers);
        let mut stopping = self.pumps.close().await;
        stopping.extend(self.loggers.into_iter().map(Logger::stop));
        StoppingLoggers(stopping)
    }
}

/// Resolves to the number of running outputs, once nobody is left who writes, and nothing has moved for a while.
async fn quiet(shared: &Shared, mut others_gone: impl FnMut() -> bool) -> usize {
    let mut looks = interval(QUIET);
    let mut before = None;
    loop {
        looks.tick().await;
        // A dead process's streams end at once, as a rule; only then is there a reason to look at a cgroup.
        let now = shared.outputs_at_rest();
        if now.is_some() && now == before && others_gone() {
            return shared.outputs_running();
        }
        before = now;
    }
}
