//! The tasks that move the bytes of one process, and what is known of them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use log::{debug, warn};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_local};

use crate::logs::{End, Flow, Moved, Sink, Source, pump};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OutputName {
    Stdout,
    Stderr,
}

impl OutputName {
    fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// What went through the streams of one process.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
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
    stop_asked: Cell<bool>,
    stop: Notify,
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

    /// Ends the output streams as if their sources had ended.
    pub(super) fn stop_outputs(&self) {
        self.stop_asked.set(true);
        self.stop.notify_waiters();
    }

    async fn stopped(&self) {
        loop {
            let stop = self.stop.notified();
            if self.stop_asked.get() {
                return;
            }
            stop.await;
        }
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
                stop_asked: Cell::new(false),
                stop: Notify::new(),
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
            match pump::run(&source, &sink, &shared.stdin).await {
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

    pub(super) fn start_output(&self, stream: OutputName, source: Source, sink: Sink) {
        let running = Running::new(&self.shared);
        self.keep(spawn_local(run_output(stream, source, sink, running)));
    }

    fn keep(&self, task: JoinHandle<()>) {
        self.tasks.borrow_mut().push(task);
    }

    /// Stops every task and waits until each has let go of its descriptors.
    pub(super) async fn close(self) {
        let tasks = self.tasks.take();
        for task in &tasks {
            task.abort();
        }
        for task in tasks {
            if let Err(error) = task.await
                && !error.is_cancelled()
            {
                warn!(container = *self.shared.container, process = *self.shared.process; "stdio pump: {error}");
            }
        }
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

async fn run_output(stream: OutputName, source: Source, sink: Sink, running: Running) {
    let shared = Rc::clone(&running.0);
    tokio::select! {
        biased;
        () = shared.stopped() => {}
        () = deliver(stream, &source, &sink, &shared) => {}
    }
    drop(source);
    drop(running);
    sink.close_when_read().await;
}

async fn deliver(stream: OutputName, source: &Source, sink: &Sink, shared: &Shared) {
    let flow = shared.flow(stream);
    let why = match pump::run(source, sink, flow).await {
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
