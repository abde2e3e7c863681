//! The tasks that move the bytes of one process, and what is known of them.

use serde::Serialize;
use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use log::{debug, warn};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, spawn_local};

use crate::logs::{End, FifoPump, Flow, Moved, Phase, Sink, Source, pump};
use crate::sys::pipe;

/// How long, after a process was deleted, its last bytes wait for somebody who reads on.
const LAST_BYTES_PATIENCE: Duration = Duration::from_secs(10);

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OutputName {
    Stdout,
    Stderr,
}

impl OutputName {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// What went through the streams of one process.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct StdioCounters {
    /// Into the process.
    pub stdin: Moved,
    /// Out of it; with a terminal, all of its output.
    pub stdout: Moved,
    /// Out of it.
    pub stderr: Moved,
    /// How often a logging binary was started again.
    pub logger_restarts: u64,
}

/// What the pumps and their owner share.
#[derive(Debug)]
pub(super) struct Shared {
    container: Box<str>,
    process: Box<str>,
    stdin: Flow,
    stdout: Flow,
    stderr: Flow,
    logger_restarts: Cell<u64>,
    outputs_running: Cell<usize>,
    output_ended: Notify,
    phase: watch::Sender<Phase>,
    /// Deliver the last bytes of a deleted process.
    last_bytes: RefCell<Vec<JoinHandle<()>>>,
}

impl Shared {
    pub(super) fn flow(&self, stream: OutputName) -> &Flow {
        match stream {
            OutputName::Stdout => &self.stdout,
            OutputName::Stderr => &self.stderr,
        }
    }

    pub(super) fn count_logger_restart(&self) {
        self.logger_restarts.update(|count| count.saturating_add(1));
    }

    /// How many output streams have not ended.
    pub(super) fn outputs_running(&self) -> usize {
        self.outputs_running.get()
    }

    /// Resolves when no output stream runs any more.
    pub(super) async fn outputs_ended(&self) {
        loop {
            let ended = self.output_ended.notified();
            if self.outputs_running() == 0 {
                return;
            }
            ended.await;
        }
    }

    /// The streams' progress, where nothing of them waits for its sink.
    pub(super) fn outputs_at_rest(&self) -> Option<[Moved; 2]> {
        let flows = [&self.stdout, &self.stderr];
        let held = flows.iter().any(|flow| flow.is_held());
        (!held).then(|| flows.map(Flow::get))
    }

    /// Goes on to `phase`; it never goes back.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let later = *now < phase;
            *now = (*now).max(phase);
            later
        });
    }

    pub(super) fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    async fn reached(&self, phase: Phase) {
        let mut now = self.phase.subscribe();
        // The sender is in here, so it is not gone.
        drop(now.wait_for(|now| *now >= phase).await);
    }
}

/// The tasks; they end with this.
#[derive(Debug)]
pub(super) struct Pumps {
    pub(super) shared: Rc<Shared>,
    tasks: RefCell<Vec<JoinHandle<()>>>,
}

impl Drop for Pumps {
    fn drop(&mut self) {
        for task in self.tasks.get_mut() {
            task.abort();
        }
    }
}

/// One output on its way through the shim.
pub(super) struct Output {
    pub(super) stream: OutputName,
    pub(super) source: Source,
    pub(super) sink: Sink,
    /// Takes the bytes to the sink where that is a pipe.
    pub(super) pump: FifoPump,
    /// So that the last bytes find a reader, even if it comes late.
    pub(super) fifo_readers: Rc<Vec<OwnedFd>>,
}

impl Pumps {
    pub(super) fn new(container: &str, process: &str) -> Self {
        Self {
            shared: Rc::new(Shared {
                container: container.into(),
                process: process.into(),
                stdin: Flow::default(),
                stdout: Flow::default(),
                stderr: Flow::default(),
                logger_restarts: Cell::new(0),
                outputs_running: Cell::new(0),
                output_ended: Notify::new(),
                phase: watch::Sender::default(),
                last_bytes: RefCell::default(),
            }),
            tasks: RefCell::new(Vec::new()),
        }
    }

    pub(super) fn counters(&self) -> StdioCounters {
        StdioCounters {
            stdin: self.shared.stdin.get(),
            stdout: self.shared.stdout.get(),
            stderr: self.shared.stderr.get(),
            logger_restarts: self.shared.logger_restarts.get(),
        }
    }

    pub(super) fn start_stdin(&self, source: Source, sink: Sink) {
        let shared = Rc::clone(&self.shared);
        self.keep(spawn_local(async move {
            let end = tokio::select! {
                biased;
                () = shared.reached(Phase::Closed) => return,
                end = pump::run(&source, &sink, &shared.stdin) => end,
            };
            match end {
                End::Eof => {}
                End::SinkGone => {
                    debug!(container = *shared.container, process = *shared.process; "stdin was closed by the container");
                }
                End::Failed(error) => {
                    warn!(container = *shared.container, process = *shared.process; "stdin ends: {error}");
                }
            }
        }));
    }

    pub(super) fn start_output(&self, output: Output) {
        let running = Running::new(&self.shared);
        self.keep(spawn_local(run_output(output, running)));
    }

    fn keep(&self, task: JoinHandle<()>) {
        self.tasks.borrow_mut().push(task);
    }

    /// Stops every task and waits until each has let go of its descriptors; but for those that still deliver the last
    /// bytes of an output, which are returned.
    pub(super) async fn close(self) -> Vec<JoinHandle<()>> {
        self.shared.enter(Phase::Closed);
        let tasks = self.tasks.take();
        for task in tasks {
            if let Err(error) = task.await {
                warn!(container = *self.shared.container, process = *self.shared.process; "stdio pump: {error}");
            }
        }
        self.shared.last_bytes.take()
    }
}

/// Counts one output stream as running for as long as it lives.
struct Running(Rc<Shared>);

impl Running {
    fn new(shared: &Rc<Shared>) -> Self {
        shared.outputs_running.update(|running| running + 1);
        Self(Rc::clone(shared))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0
            .outputs_running
            .update(|running| running.saturating_sub(1));
        self.0.output_ended.notify_waiters();
    }
}

async fn run_output(mut output: Output, running: Running) {
    let shared = Rc::clone(&running.0);
    let flow = shared.flow(output.stream);
    tokio::select! {
        biased;
        () = shared.reached(Phase::Stopped) => count_unread(&output.source, flow, &shared, output.stream),
        () = deliver(&mut output, &shared) => {}
    }
    let Output {
        stream,
        source,
        sink,
        mut pump,
        fifo_readers,
    } = output;
    drop(source);
    drop(running);
    let Sink::Pipe(fifo) = &sink else { return };
    tokio::select! {
        biased;
        () = shared.reached(Phase::Closed) => {}
        () = pump.replay(fifo, flow, None) => {}
    }
    if pump.is_empty() {
        drop(fifo_readers);
        tokio::select! {
            biased;
            () = shared.reached(Phase::Closed) => {}
            () = sink.close_when_read() => {}
        }
    } else {
        let later = Rc::clone(&shared);
        let last_bytes = spawn_local(async move {
            if let Sink::Pipe(fifo) = &sink {
                let flow = later.flow(stream);
                pump.replay(fifo, flow, Some(LAST_BYTES_PATIENCE)).await;
            }
            drop(fifo_readers);
        });
        shared.last_bytes.borrow_mut().push(last_bytes);
    }
}

/// Tells of what is given up with a source that somebody still holds open.
fn count_unread(source: &Source, flow: &Flow, shared: &Shared, stream: OutputName) {
    if let Source::Pipe(source) = source
        && let Ok(unread @ 1..) = pipe::unread(source)
    {
        flow.count_dropped(unread);
        warn!(container = *shared.container, process = *shared.process, stream = stream.as_str(), bytes = unread;
            "output that nobody took in time is lost");
    }
}

async fn deliver(output: &mut Output, shared: &Shared) {
    let (stream, source) = (output.stream, &output.source);
    let flow = shared.flow(stream);
    let end = match &output.sink {
        Sink::Pipe(fifo) => output.pump.run(source, fifo, flow).await,
        sink => pump::run(source, sink, flow).await,
    };
    let why = match end {
        End::Eof => return,
        End::SinkGone => "nobody reads it any more".to_owned(),
        End::Failed(error) => error.to_string(),
    };
    warn!(container = *shared.container, process = *shared.process, stream = stream.as_str();
        "output is dropped from here on: {why}");
    // Whatever is wrong out there, the container must be able to write.
    if let End::Failed(error) = pump::discard(source, flow).await {
        warn!(container = *shared.container, process = *shared.process, stream = stream.as_str();
            "output cannot be read: {error}");
    }
}
