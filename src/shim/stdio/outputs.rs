//! The far ends of stdout and stderr, opened.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::StdioContext;
use super::error::{StdioOpenError, open_fifo};
use super::logger::{Inputs, Logger, Program};
use super::pumps::Shared;
use crate::logs::{Log, LogStream, Sink};
use crate::sys::pipe::Pipe;
use crate::types::{OutputUri, Stdio};

/// Where a stream goes.
pub(super) enum Target {
    /// To `/dev/null`.
    Nowhere,
    /// Through a pump.
    Sink(Sink),
    /// Into the pipe that a logging binary reads.
    Logger(OwnedFd),
}

/// Both streams' targets and what has to be kept for them.
pub(super) struct Outputs {
    pub(super) stdout: Target,
    pub(super) stderr: Target,
    pub(super) fifo_readers: Vec<OwnedFd>,
    pub(super) logs: Vec<Rc<Log>>,
    pub(super) loggers: Vec<Logger>,
}

impl Outputs {
    /// Opens the targets; the cheap ones first, so that no logger is started in vain.
    pub(super) async fn open(
        stdio: &Stdio,
        cx: &StdioContext<'_>,
        shared: &Rc<Shared>,
    ) -> Result<Self, StdioOpenError> {
        let mut outputs = Self {
            stdout: Target::Nowhere,
            stderr: Target::Nowhere,
            fifo_readers: Vec::new(),
            logs: Vec::new(),
            loggers: Vec::new(),
        };
        outputs.open_fifos_and_files(&stdio.stdout, &stdio.stderr)?;
        outputs.start_loggers(stdio, cx, shared).await?;
        Ok(outputs)
    }

    fn open_fifos_and_files(
        &mut self,
        stdout: &OutputUri,
        stderr: &OutputUri,
    ) -> Result<(), StdioOpenError> {
        if let Some(sink) = self.open_sink(stdout, LogStream::Stdout)? {
            self.stdout = Target::Sink(sink);
        }
        // One open file for both, so that what is done to it is done once.
        if let (Some(log), true) = (self.logs.first(), stdout == stderr) {
            self.stderr = Target::Sink(Sink::Log(log.writer(LogStream::Stderr)));
        } else if let Some(sink) = self.open_sink(stderr, LogStream::Stderr)? {
            self.stderr = Target::Sink(sink);
        }
        Ok(())
    }

    fn open_sink(
        &mut self,
        uri: &OutputUri,
        stream: LogStream,
    ) -> Result<Option<Sink>, StdioOpenError> {
        let (path, log) = match uri {
            OutputUri::Null | OutputUri::Binary { .. } => return Ok(None),
            OutputUri::Fifo(path) => {
                let fifo = open_fifo(path)?;
                self.fifo_readers.push(fifo.read);
                return Ok(Some(Sink::pipe(fifo.write)?));
            }
            OutputUri::File { path, rotation } => (path, Log::plain(path, *rotation)),
            OutputUri::Cri {
                path,
                max_line,
                rotation,
            } => (path, Log::cri(path, *max_line, *rotation)),
        };
        let log = log.map_err(|source| StdioOpenError::OpenFile {
            path: path.clone(),
            source,
        })?;
        let sink = Sink::Log(log.writer(stream));
        self.logs.push(log);
        Ok(Some(sink))
    }

    async fn start_loggers(
        &mut self,
        stdio: &Stdio,
        cx: &StdioContext<'_>,
        shared: &Rc<Shared>,
    ) -> Result<(), StdioOpenError> {
        let mut inputs = Inputs::default();
        if matches!(stdio.stdout, OutputUri::Binary { .. }) {
            self.stdout = Target::Logger(input(&mut inputs.stdout, cx)?);
        }
        // The same program for both is one process with both.
        if stdio.stderr != stdio.stdout {
            self.start_logger(&stdio.stdout, std::mem::take(&mut inputs), cx, shared)
                .await?;
        }
        if matches!(stdio.stderr, OutputUri::Binary { .. }) {
            self.stderr = Target::Logger(input(&mut inputs.stderr, cx)?);
        }
        self.start_logger(&stdio.stderr, inputs, cx, shared).await
    }

    async fn start_logger(
        &mut self,
        uri: &OutputUri,
        inputs: Inputs,
        cx: &StdioContext<'_>,
        shared: &Rc<Shared>,
    ) -> Result<(), StdioOpenError> {
        if let OutputUri::Binary {
            program,
            args,
            ready,
        } = uri
        {
            let program = Program {
                program: program.clone(),
                args: args.clone(),
                ready: *ready,
                container: cx.container.to_owned(),
                namespace: cx.namespace.to_owned(),
            };
            let logger = Logger::start(program, inputs, cx.reaper, shared).await?;
            self.loggers.push(logger);
        }
        Ok(())
    }
}

/// A new pipe; its reading end goes to `input`.
fn input(input: &mut Option<OwnedFd>, cx: &StdioContext<'_>) -> Result<OwnedFd, StdioOpenError> {
    let pipe = Pipe::owned_by(cx.io_uid, cx.io_gid)?;
    *input = Some(pipe.read);
    Ok(pipe.write)
}
