//! What is kept of one process, init or exec.

use std::collections::VecDeque;

use log::warn;
use tokio::time::Instant;

use super::disposition::{Busy, Call};
use super::{Command, DeletedProcess, Reply};
use crate::shim::dump::ProcessDump;
use crate::shim::error::ShimError;
use crate::shim::lifecycle::State;
use crate::shim::stdio::ProcessStdio;
use crate::types::event::TaskIo;
use crate::types::{ExecId, ExitRecord, Pid, Stdio, Timestamp};

/// How many calls may wait for the one that a process is busy with; further ones are refused.
const QUEUE_BOUND: usize = 64;

/// Who is to be answered by the call that a process is busy with.
#[derive(Debug)]
pub enum Pending {
    /// A start.
    Start(Reply<Pid>),
    /// A pause or a resume.
    Freeze(Reply<()>),
    /// A delete, and when its caller gives up.
    Delete(Option<Instant>, Reply<DeletedProcess>),
    /// A call that leaves the state alone, and answers by itself.
    Other,
}

impl Pending {
    const fn name(&self) -> &'static str {
        match self {
            Self::Start(_) => "start",
            Self::Freeze(_) => "pause or resume",
            Self::Delete(..) => "delete",
            Self::Other => "other",
        }
    }
}

/// One process.
pub struct Process {
    /// Where it is in its life.
    pub state: State,
    /// Its pid, once the OCI runtime has told it.
    pub pid: Option<Pid>,
    /// When its start had answered.
    pub started_at: Option<Timestamp>,
    /// The stdio as its creator asked for it.
    pub io: TaskIo,
    /// The same, parsed.
    pub stdio_request: Stdio,
    /// An exec's OCI `process` object, as JSON; empty for init.
    pub spec: Vec<u8>,
    /// Its stdio, while it is open.
    pub stdio: Option<ProcessStdio>,
    /// Who waits for its end.
    pub waiters: Vec<Reply<ExitRecord>>,
    /// The call that it is busy with.
    pub pending: Option<Pending>,
    /// The calls that wait for that.
    pub queue: VecDeque<Command>,
    /// What was asked of its stdio before that was open.
    pub remembered: Remembered,
}

/// Calls for stdio that came before the process had started. They are answered when they come.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// CloseIO.
    pub close_stdin: bool,
    /// ResizePty: columns and rows, the last ones asked for.
    pub size: Option<(u16, u16)>,
}

impl Process {
    /// A process that nobody has started.
    #[must_use]
    pub const fn new(io: TaskIo, stdio_request: Stdio, spec: Vec<u8>) -> Self {
        Self {
            state: State::Created,
            pid: None,
            started_at: None,
            io,
            stdio_request,
            spec,
            stdio: None,
            waiters: Vec::new(),
            pending: None,
            queue: VecDeque::new(),
            remembered: Remembered {
                close_stdin: false,
                size: None,
            },
        }
    }

    /// What it is busy with.
    #[must_use]
    pub fn pending_kind(&self) -> Option<Busy> {
        self.pending.as_ref().map(Pending::busy)
    }

    /// What a new call finds it busy with: the pending call, or a Start in the queue that it must not overtake. A queued
    /// Delete does not count: it may wait for a call that hangs, and a kill must not.
    #[must_use]
    pub fn busy(&self) -> Option<Busy> {
        let is_start = |command: &Command| command.call() == Call::Start;
        match self.pending_kind() {
            None | Some(Busy::Freeze | Busy::Other) if self.queue.iter().any(is_start) => {
                Some(Busy::Start)
            }
            pending => pending,
        }
    }

    /// Does what was asked of the stdio before the process had started. Their callers have their answer.
    pub fn apply_remembered(&mut self) {
        let remembered = std::mem::take(&mut self.remembered);
        let Some(stdio) = &self.stdio else { return };
        if remembered.close_stdin {
            stdio.close_stdin();
        }
        if let Some((width, height)) = remembered.size
            && let Err(error) = stdio.resize(width, height)
        {
            warn!(width, height; "set the size of a new terminal: {error}");
        }
    }

    /// When it was started. A process can end before its start has answered; but it did not end before it began.
    #[must_use]
    pub fn started_at(&self) -> Option<Timestamp> {
        let ended_at = self.state.exit().map(|exit| exit.exited_at);
        self.started_at
            .map(|started_at| ended_at.map_or(started_at, |ended_at| started_at.min(ended_at)))
    }

    /// What the state dump shows of it.
    #[must_use]
    pub fn dump(&self, exec: Option<&ExecId>) -> ProcessDump {
        ProcessDump {
            exec: exec.map(ToString::to_string),
            pid: self.pid.map(Pid::get),
            state: self.state.name(),
            exit_status: self.state.exit().map(|exit| exit.status.get()),
            busy: self.pending.as_ref().map(Pending::name),
            queued: self.queue.len(),
            waiters: self.waiters.len(),
            stdio: self.stdio.as_ref().map(ProcessStdio::counters),
        }
    }

    /// Lets `command` wait for the one that the process is busy with.
    pub fn enqueue(&mut self, command: Command) {
        if self.queue.len() < QUEUE_BOUND {
            self.queue.push_back(command);
        } else {
            command.refuse(ShimError::Overloaded);
        }
    }

    /// Registers somebody who waits for the end, and forgets those who no longer do.
    pub fn await_exit(&mut self, waiter: Reply<ExitRecord>) {
        self.waiters.retain(|waiter| !waiter.is_closed());
        self.waiters.push(waiter);
    }
}

/// Answers; nobody may be there to hear it, since a connection can go at any time.
pub fn answer<T>(reply: Reply<T>, result: Result<T, ShimError>) {
    drop(reply.send(result));
}

impl Command {
    /// Answers with an error.
    pub fn refuse(self, error: ShimError) {
        match self {
            Self::State(_, reply) => answer(reply, Err(error)),
            Self::Start(_, reply) => answer(reply, Err(error)),
            Self::Delete(_, _, reply) => answer(reply, Err(error)),
            Self::Pids(reply) => answer(reply, Err(error)),
            Self::Wait(_, reply) => answer(reply, Err(error)),
            Self::Stats(reply) => answer(reply, Err(error)),
            Self::StartedAt(_, reply) => answer(reply, Err(error)),
            Self::InitPid(reply) => answer(reply, Err(error)),
            Self::Dump(reply) => answer(reply, Err(error)),
            Self::Pause(reply)
            | Self::Resume(reply)
            | Self::Checkpoint(_, reply)
            | Self::Kill(_, _, _, reply)
            | Self::Exec(_, reply)
            | Self::Resize(_, _, _, reply)
            | Self::CloseIo(_, reply)
            | Self::ReopenLogs(_, reply)
            | Self::Update(_, reply) => answer(reply, Err(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[test]
    fn a_call_does_not_overtake_a_queued_start_and_a_kill_waits_for_no_queued_delete() {
        let io = TaskIo::default();
        let mut process = Process::new(io, Stdio::default(), Vec::new());
        assert_eq!(process.busy(), None);
        process.pending = Some(Pending::Freeze(oneshot::channel().0));
        process.enqueue(Command::Delete(None, None, oneshot::channel().0));
        assert_eq!(process.busy(), Some(Busy::Freeze));
        process.enqueue(Command::Start(None, oneshot::channel().0));
        assert_eq!(process.busy(), Some(Busy::Start));
        process.pending = Some(Pending::Delete(None, oneshot::channel().0));
        assert_eq!(process.busy(), Some(Busy::Delete));
    }
}
