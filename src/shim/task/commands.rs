//! What callers ask a task for. Nothing here blocks: a call is answered at once, by the work that it starts, or from
//! the queue of a process that is busy ([`super::disposition`] has the table).

use super::disposition::{Call, Disposition, Situation, disposition};
use super::process::{Pending, Process, answer};
use super::{
    Command, DeletedProcess, Key, NewExec, ProcessState, Reply, Task, deletion, kill, role, work,
};
use crate::oci::command::KillScope;
use crate::shim::dump::TaskDump;
use crate::shim::error::ShimError;
use crate::shim::lifecycle::{Denied, Effect, Input, Permit, State, settled};
use crate::shim::stdio::ProcessStdio;
use crate::types::{Event, ExitRecord, Pid, Signal};

/// Where a call stands.
#[derive(Debug, Clone, Copy)]
enum Turn {
    /// It has just come, and may not overtake what is queued.
    JustCame,
    /// It is the first of its queue.
    Next,
}

impl Task {
    /// Serves one call, remembers it, or lets it wait.
    pub fn on_command(&mut self, command: Command) {
        match self.disposition(&command, Turn::JustCame) {
            Err(error) => command.refuse(error),
            Ok((Disposition::Serve, _)) => self.serve(command),
            Ok((Disposition::Remember, key)) => self.remember(&key, command),
            Ok((Disposition::Wait, key)) => self.enqueue(&key, command),
        }
    }

    /// What becomes of `command`, and the process that it is for.
    fn disposition(
        &mut self,
        command: &Command,
        turn: Turn,
    ) -> Result<(Disposition, Key), ShimError> {
        let call = command.call();
        let key = match command {
            Command::State(key, _)
            | Command::Start(key, _)
            | Command::Delete(key, ..)
            | Command::Kill(key, ..)
            | Command::Resize(key, ..)
            | Command::ReopenLogs(Some(key), _)
            | Command::CloseIo(key, _)
            | Command::Wait(key, _)
            | Command::StartedAt(key, _) => key.clone(),
            Command::Pids(_)
            | Command::Pause(_)
            | Command::Resume(_)
            | Command::Checkpoint(..)
            | Command::Exec(..)
            | Command::Update(..)
            | Command::Stats(_)
            | Command::InitPid(_)
            | Command::Dump(_) => None,
            Command::ReopenLogs(None, _) => {
                let keys = std::iter::once(None).chain(self.execs.keys().cloned().map(Some));
                for key in keys.collect::<Vec<_>>() {
                    let found = self.look_up(call, &key, turn)?;
                    if found != Disposition::Serve {
                        return Ok((found, key));
                    }
                }
                None
            }
        };
        Ok((self.look_up(call, &key, turn)?, key))
    }

    fn look_up(&mut self, call: Call, key: &Key, turn: Turn) -> Result<Disposition, ShimError> {
        // A restore has the stdio open, but its terminal and its stdin belong to no process yet.
        let restores = key.is_none() && self.restore.is_some();
        let (init_busy, has_cgroup) = (self.init.pending_kind(), self.cgroup.is_some());
        let process = self.process(key)?;
        let situation = Situation {
            role: role(key),
            state: process.state,
            busy: match turn {
                Turn::JustCame => process.busy(),
                Turn::Next => process.pending_kind(),
            },
            init_busy,
            has_stdio: process.stdio.is_some() && !restores,
            has_cgroup,
        };
        Ok(disposition(call, situation))
    }

    /// Lets `command` wait in the queue of the process `key`.
    fn enqueue(&mut self, key: &Key, command: Command) {
        let command = match command {
            // What is open goes on in new files now; the queue holds the call for what is being opened.
            Command::ReopenLogs(None, reply) => match self.reopen_logs(None) {
                Ok(()) => Command::ReopenLogs(None, reply),
                Err(error) => return answer(reply, Err(error)),
            },
            other => other,
        };
        match self.process(key) {
            Ok(process) => process.enqueue(command),
            Err(error) => command.refuse(error),
        }
    }

    /// Answers a call for stdio that is not open yet; [`Process::apply_remembered`] does what it asks.
    fn remember(&mut self, key: &Key, command: Command) {
        let process = match self.process(key) {
            Ok(process) => process,
            Err(error) => return command.refuse(error),
        };
        match command {
            Command::CloseIo(_, reply) => {
                process.remembered.close_stdin = true;
                answer(reply, Ok(()));
            }
            Command::Resize(_, width, height, reply) => {
                process.remembered.size = Some((width, height));
                answer(reply, Ok(()));
            }
            other => self.serve(other),
        }
    }

    /// Does all that a command or a fact has made possible: init's exit is announced when its last exec is gone, and
    /// the calls that waited are served. Runs after each of them, so that no way out of a pending call can forget it.
    pub fn settle(&mut self) {
        loop {
            if let Some(input) = settled(self.init.state, self.others()) {
                self.must_feed(&None, input);
            }
            let Some(command) = self.next_in_turn() else {
                return;
            };
            self.serve(command);
        }
    }

    /// Takes a call out of a queue whose turn it is.
    fn next_in_turn(&mut self) -> Option<Command> {
        let execs = self.execs.iter().filter(|(_, exec)| !exec.queue.is_empty());
        let keys: Vec<Key> = std::iter::once(None)
            .chain(execs.map(|(id, _)| Some(id.clone())))
            .collect();
        for key in keys {
            while let Some(command) = self.process(&key).ok()?.queue.pop_front() {
                match self.disposition(&command, Turn::Next) {
                    Ok((Disposition::Wait, busy)) if busy == key => {
                        self.process(&key).ok()?.queue.push_front(command);
                        break;
                    }
                    // It is for all processes, and another one is busy now: it must not hold up the calls of this one.
                    Ok((Disposition::Wait, busy)) => match self.process(&busy) {
                        Ok(process) => process.enqueue(command),
                        Err(error) => command.refuse(error),
                    },
                    Ok((Disposition::Serve | Disposition::Remember, _)) | Err(_) => {
                        return Some(command);
                    }
                }
            }
        }
        None
    }

    fn serve(&mut self, command: Command) {
        match command {
            Command::State(key, reply) => answer(reply, self.state(&key)),
            Command::Start(key, reply) => self.request(&key, Input::Start, Pending::Start(reply)),
            Command::Delete(key, deadline, reply) => {
                self.request(&key, Input::Delete, Pending::Delete(deadline, reply))
            }
            Command::Pids(reply) => answer(reply, Ok(self.pids())),
            Command::Pause(reply) => self.request(&None, Input::Pause, Pending::Freeze(reply)),
            Command::Resume(reply) => self.request(&None, Input::Resume, Pending::Freeze(reply)),
            Command::Checkpoint(args, reply) => {
                match self.init.state.permits(role(&None), Permit::Checkpoint) {
                    Err(denied) => answer(reply, Err(denied.into())),
                    Ok(()) => {
                        self.init.pending = Some(Pending::Other);
                        self.spawn(work::checkpoint(self.shared.clone(), *args, reply));
                    }
                }
            }
            Command::Kill(key, signal, scope, reply) => self.kill(&key, signal, scope, reply),
            Command::Exec(exec, reply) => answer(reply, self.add_exec(*exec)),
            Command::Resize(key, width, height, reply) => {
                answer(reply, self.resize(&key, width, height))
            }
            Command::CloseIo(key, reply) => {
                let closed = self.process(&key).map(|process| {
                    if let Some(stdio) = &process.stdio {
                        stdio.close_stdin();
                    }
                });
                answer(reply, closed);
            }
            Command::ReopenLogs(whose, reply) => answer(reply, self.reopen_logs(whose.as_ref())),
            Command::Update(resources, reply) => {
                match self.init.state.permits(role(&None), Permit::Update) {
                    Err(denied) => answer(reply, Err(denied.into())),
                    Ok(()) => {
                        self.init.pending = Some(Pending::Other);
                        self.spawn(work::update(self.shared.clone(), resources, reply));
                    }
                }
            }
            Command::Wait(key, reply) => self.wait(&key, reply),
            Command::Stats(reply) => {
                self.spawn(work::stats(self.shared.clone(), self.cgroup.clone(), reply))
            }
            Command::StartedAt(key, reply) => answer(
                reply,
                self.process(&key).map(|process| process.started_at()),
            ),
            Command::InitPid(reply) => answer(reply, Ok(self.init.pid)),
            Command::Dump(reply) => answer(reply, Ok(self.dump())),
        }
    }

    fn dump(&self) -> TaskDump {
        let execs = self.execs.iter().map(|(id, exec)| exec.dump(Some(id)));
        TaskDump {
            id: self.shared.caller.id.to_string(),
            creating: false,
            processes: std::iter::once(self.init.dump(None)).chain(execs).collect(),
            oom_kills: self.oom_kills,
        }
    }

    /// Feeds a request to the process's life and starts the call that follows, or answers why not.
    fn request(&mut self, key: &Key, input: Input, pending: Pending) {
        if let (Some(_), Input::Start) = (key, input)
            && let Err(denied) = self.init.state.permits(role(&None), Permit::StartExec)
        {
            return refuse(pending, denied.into());
        }
        match self.process(key) {
            Ok(process) => process.pending = Some(pending),
            Err(error) => return refuse(pending, error),
        }
        if let Err(denied) = self.feed(key, input) {
            let pending = self
                .process(key)
                .ok()
                .and_then(|process| process.pending.take());
            if let Some(pending) = pending {
                refuse(pending, denied.into());
            }
        }
    }

    /// Starts the call that `effect` stands for.
    pub(super) fn call(&mut self, key: &Key, effect: Effect) {
        let shared = self.shared.clone();
        match (effect, key) {
            (Effect::CallStart, None) => match self.restore.take() {
                Some(restore) => {
                    let stdio = self.init.stdio.take();
                    self.spawn(work::restore(shared, restore, stdio));
                }
                None => self.spawn(work::start_init(shared)),
            },
            (Effect::CallStart, Some(exec)) => {
                if let Some(process) = self.execs.get_mut(exec) {
                    let (spec, request) = (
                        std::mem::take(&mut process.spec),
                        process.stdio_request.clone(),
                    );
                    self.spawn(work::start_exec(shared, exec.clone(), spec, request));
                }
            }
            (Effect::CallPause, _) => self.spawn(work::pause(shared)),
            (Effect::CallResume, _) => self.spawn(work::resume(shared)),
            (Effect::CallDelete, None) => {
                let work = deletion::DeleteInit {
                    end: self.end_of_init(),
                    output: self.output_to_drain(key),
                };
                self.spawn(deletion::delete_init(shared, work));
            }
            (Effect::CallDelete, Some(exec)) => {
                let output = self.output_to_drain(key);
                self.spawn(deletion::delete_exec(shared, exec.clone(), output));
            }
            _ => {}
        }
    }

    /// What the deletion of the process `key` takes with it.
    fn output_to_drain(&mut self, key: &Key) -> deletion::Output {
        let cgroup = self.cgroup.clone();
        let process = self.process(key).ok();
        let (stdio, deadline) = process.map_or((None, None), |process| {
            let deadline = match process.pending {
                Some(Pending::Delete(deadline, _)) => deadline,
                Some(Pending::Start(_) | Pending::Freeze(_) | Pending::Other) | None => None,
            };
            (process.stdio.take(), deadline)
        });
        deletion::Output {
            stdio,
            deadline,
            cgroup,
        }
    }

    /// What the deletion of init has to wait for: nothing where its end is known.
    fn end_of_init(
        &mut self,
    ) -> Option<tokio::sync::oneshot::Receiver<Result<ExitRecord, ShimError>>> {
        if self.init.state.exit().is_some() || self.init.pid.is_none() {
            return None;
        }
        let (waiter, end) = tokio::sync::oneshot::channel();
        self.init.await_exit(waiter);
        Some(end)
    }

    fn spawn(&self, work: impl Future<Output = ()> + 'static) {
        drop(tokio::task::spawn_local(work));
    }

    fn state(&mut self, key: &Key) -> Result<ProcessState, ShimError> {
        let bundle = self
            .shared
            .caller
            .bundle
            .dir()
            .to_string_lossy()
            .into_owned();
        let process = self.process(key)?;
        let status = process.state.status().ok_or(Denied::Finished)?;
        Ok(ProcessState {
            bundle,
            pid: process.pid,
            status,
            io: process.io.clone(),
        })
    }

    /// The cgroup's processes. Init is always among them, dead or alive: containerd takes a task without processes for
    /// a leaked one when it loads, and deletes it with its exit code (containerd `core/runtime/v2/shim_load.go`).
    fn pids(&self) -> Vec<(Pid, Key)> {
        let listed = self
            .cgroup
            .as_ref()
            .and_then(|cgroup| cgroup.pids().ok())
            .unwrap_or_default();
        let execs = self
            .execs
            .iter()
            .filter(|(_, exec)| exec.state.holds_init_exit());
        let execs: Vec<_> = execs
            .filter_map(|(id, exec)| exec.pid.map(|pid| (pid, id)))
            .collect();
        let init = self.init.pid.filter(|pid| !listed.contains(pid));
        init.into_iter()
            .chain(listed)
            .map(|pid| {
                (
                    pid,
                    execs
                        .iter()
                        .find(|(exec, _)| *exec == pid)
                        .map(|(_, id)| (*id).clone()),
                )
            })
            .collect()
    }

    fn kill(&mut self, key: &Key, signal: Signal, scope: KillScope, reply: Reply<()>) {
        let permitted = self.process(key).and_then(|process| {
            Ok(process
                .state
                .permits(role(key), Permit::Kill)
                .map(|()| process.pid)?)
        });
        match (permitted, key) {
            (Err(error), _) => answer(reply, Err(error)),
            (Ok(Some(init)), None) => {
                let target = kill::Target {
                    init,
                    cgroup: self.cgroup.clone(),
                    own_pid_namespace: self.own_pid_namespace,
                };
                self.spawn(kill::kill_init(
                    self.shared.clone(),
                    target,
                    signal,
                    scope,
                    reply,
                ))
            }
            (Ok(Some(pid)), Some(_)) => {
                let sent = self.shared.caller.reaper.signal(pid, signal);
                // The reaper knows of its end before the actor does.
                answer(reply, sent.map_err(|_| Denied::Finished.into()));
            }
            (Ok(None), _) => {
                let denied = Denied::State {
                    attempt: "signal",
                    state: State::Created.name(),
                };
                answer(reply, Err(denied.into()));
            }
        }
    }

    fn add_exec(&mut self, exec: NewExec) -> Result<(), ShimError> {
        if self.execs.contains_key(&exec.id) {
            return Err(ShimError::AlreadyExists {
                what: "process",
                id: exec.id.to_string(),
            });
        }
        self.init.state.permits(role(&None), Permit::Exec)?;
        let process = Process::new(exec.io, exec.stdio, exec.process);
        self.execs.insert(exec.id.clone(), Box::new(process));
        self.shared.publisher.publish(Event::ExecAdded {
            container: self.shared.caller.id.clone(),
            exec: exec.id,
        });
        Ok(())
    }

    fn resize(&mut self, key: &Key, width: u16, height: u16) -> Result<(), ShimError> {
        let bundle = self.shared.caller.bundle.dir().to_owned();
        match &self.process(key)?.stdio {
            None => Ok(()),
            Some(stdio) => stdio.resize(width, height).map_err(|source| ShimError::Io {
                operation: "resize the terminal of",
                path: bundle,
                source,
            }),
        }
    }

    fn reopen_logs(&mut self, whose: Option<&Key>) -> Result<(), ShimError> {
        if let Some(key) = whose {
            let process = self.process(key)?;
            // Not started, or being deleted: then nobody could promise what an answer does.
            let stdio = process.stdio.as_ref().ok_or(Denied::State {
                attempt: "reopen the logs of",
                state: process.state.name(),
            })?;
            return Ok(stdio.reopen_logs()?);
        }
        let all = std::iter::once(&self.init).chain(self.execs.values().map(Box::as_ref));
        let all = all.filter_map(|process| process.stdio.as_ref());
        // The others are reopened whatever becomes of one.
        let results: Vec<_> = all.map(ProcessStdio::reopen_logs).collect();
        Ok(results.into_iter().collect::<Result<(), _>>()?)
    }

    fn wait(&mut self, key: &Key, reply: Reply<ExitRecord>) {
        match self.process(key) {
            Err(error) => answer(reply, Err(error)),
            Ok(process) => match (process.state, process.state.exit()) {
                (_, Some(exit)) => answer(reply, Ok(exit)),
                (State::Failed, _) => answer(reply, Err(never_ran())),
                (_, None) => process.await_exit(reply),
            },
        }
    }
}

/// Why nobody can wait for an exec whose start failed.
pub(super) fn never_ran() -> ShimError {
    Denied::State {
        attempt: "wait for",
        state: State::Failed.name(),
    }
    .into()
}

/// Answers the caller of a request with an error.
pub(super) fn refuse(pending: Pending, error: ShimError) {
    match pending {
        Pending::Start(reply) => answer(reply, Err(error)),
        Pending::Freeze(reply) => answer(reply, Err(error)),
        Pending::Delete(_, reply) => answer::<DeletedProcess>(reply, Err(error)),
        Pending::Other => {}
    }
}
