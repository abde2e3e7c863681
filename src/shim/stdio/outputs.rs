//! The far ends of stdout and stderr, opened.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::StdioContext;
use super::error::{StdioOpenError, open_fifo};
use super::logger::{Inputs, Logger, Program};
use super::pumps::Shared;
use crate::logs::{AppendFile, Sink};
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
        if let Some(sink) = self.open_sink(stdout)? {
            self.stdout = Target::Sink(sink);
        }
        // One open file for both, so that what is done to it is done once.
        if let (Target::Sink(Sink::File(file)), true) = (&self.stdout, stdout == stderr) {
            self.stderr = Target::Sink(Sink::File(Rc::clone(file)));
        } else if let Some(sink) = self.open_sink(stderr)? {
            self.stderr = Target::Sink(sink);
        }
        Ok(())
    }

    fn open_sink(&mut self, uri: &OutputUri) -> Result<Option<Sink>, StdioOpenError> {
        match uri {
            OutputUri::Null | OutputUri::Binary { .. } => Ok(None),
            OutputUri::Fifo(path) => {
                let fifo = open_fifo(path)?;
                self.fifo_readers.push(fifo.read);
                Ok(Some(Sink::pipe(fifo.write)?))
            }
            OutputUri::File(path) => match AppendFile::open(path) {
                Ok(file) => Ok(Some(Sink::File(Rc::new(file)))),
                Err(source) => Err(StdioOpenError::OpenFile {
                    path: path.clone(),
                    source,
                }),
            },
        }
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
                program,
                args,
                ready: *ready,
                container: cx.container,
                namespace: cx.namespace,
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
