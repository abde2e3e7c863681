//! What happens to a task, and what follows from it: persist, transition, wake who waits, announce.

use std::time::Duration;

use log::{error, info, warn};

use super::commands::{never_ran, refuse};
use super::process::{Pending, answer};
use super::work::{self, Started};
use super::{Command, DeletedProcess, Key, Task, kill, role};
use crate::bundle::exit_journal::ExitEntry;
use crate::shim::error::ShimError;
use crate::shim::exit;
use crate::shim::lifecycle::{Denied, Effect, Input, Others, Outcome, State, step};
use crate::shim::reaper::Exit;
use crate::types::{Event, ExitRecord, ExitStatus, Pid, ProcessIdentity, Timestamp};

/// How long init's exit waits for those of its execs; the kernel kills them with it, so this is for one that cannot die.
const OTHERS_CAP: Duration = Duration::from_secs(10);

/// Something that a task is told.
#[derive(Debug)]
pub enum Fact {
    /// A start has answered.
    StartAnswered(Key, Box<Result<Started, ShimError>>),
    /// A pause has answered.
    PauseAnswered(Result<(), ShimError>),
    /// A resume has answered.
    ResumeAnswered(Result<(), ShimError>),
    /// A delete has answered.
    DeleteAnswered(Key, Result<(), ShimError>),
    /// A call that leaves init's state alone has ended; it has answered by itself.
    OtherAnswered,
    /// A process is dead.
    Exited(Key, Exit),
    /// A dead process's exit is on disk, or cannot be.
    Recorded(Key, ExitRecord),
    /// What shared init's pid namespace was killed, as far as that was possible.
    OthersKilled,
    /// Execs had enough time to follow their init.
    OthersDeadline,
    /// The kernel has counted OOM kills.
    OomKilled,
    /// The container has run out of memory, and the kernel counts no kill for it.
    OutOfMemory,
    /// The bundle of an ended task is gone: nobody will ask for it any more.
    Forgotten,
}

impl Task {
    /// Takes notice of one fact.
    pub fn on_fact(&mut self, fact: Fact) {
        match fact {
            Fact::StartAnswered(key, result) => self.on_start_answered(&key, *result),
            Fact::PauseAnswered(result) => {
                self.on_freeze_answered(Input::PauseAnswered(outcome(&result)), result)
            }
            Fact::ResumeAnswered(result) => {
                self.on_freeze_answered(Input::ResumeAnswered(outcome(&result)), result)
            }
            Fact::DeleteAnswered(key, result) => self.on_delete_answered(&key, result),
            Fact::OtherAnswered => {
                self.init.pending = None;
            }
            Fact::Exited(key, exit) => self.on_exited(key, exit),
            Fact::Recorded(key, exit) => {
                let others = self.others_at_exit(&key);
                self.must_feed(&key, Input::Exited(exit, others));
            }
            Fact::OthersKilled => {
                self.killing_others = false;
            }
            Fact::OthersDeadline => {
                if matches!(self.init.state, State::Dying(_)) {
                    warn!(container = self.shared.caller.id.as_str(); "execs outlive their init; its exit waits no longer");
                    self.must_feed(&None, Input::OthersEnded);
                }
            }
            Fact::Forgotten => self.forget(),
            Fact::OomKilled => self.announce_oom_kills(),
            Fact::OutOfMemory => self.announce_oom(1),
        }
    }

    /// Feeds `input` to the life of the process `key` and does what follows.
    pub(super) fn feed(&mut self, key: &Key, input: Input) -> Result<(), Denied> {
        let Ok(process) = self.process(key) else {
            return Err(Denied::Finished);
        };
        let (state, effects) = step(role(key), process.state, input)?;
        process.state = state;
        for effect in effects {
            self.apply(key, effect);
        }
        Ok(())
    }

    /// As [`Task::feed`], for what cannot be refused: a refusal is a defect of ours, and is only logged, since a shim
    /// that owns a child must not end.
    pub(super) fn must_feed(&mut self, key: &Key, input: Input) {
        if let Err(denied) = self.feed(key, input) {
            error!(container = self.shared.caller.id.as_str(); "{denied}");
        }
    }

    fn apply(&mut self, key: &Key, effect: Effect) {
        let shared = self.shared.clone();
        let container = shared.caller.id.clone();
        let Ok(process) = self.process(key) else {
            return;
        };
        let pid = process.pid;
        let event = match (effect, key.clone()) {
            (
                Effect::CallStart | Effect::CallPause | Effect::CallResume | Effect::CallDelete,
                _,
            ) => {
                return self.call(key, effect);
            }
            (Effect::AnnounceStarted, None) => pid.map(|pid| Event::Start { container, pid }),
            (Effect::AnnounceStarted, Some(exec)) => pid.map(|pid| Event::ExecStarted {
                container,
                exec,
                pid,
            }),
            (Effect::AnnouncePaused, _) => Some(Event::Paused { container }),
            (Effect::AnnounceResumed, _) => Some(Event::Resumed { container }),
            (Effect::EndOthers, _) => return self.end_others(),
            (Effect::AnnounceExit(exit), exec) => {
                for waiter in std::mem::take(&mut process.waiters) {
                    answer(waiter, Ok(exit));
                }
                if exec.is_none() {
                    drop(tokio::task::spawn_local(work::await_oblivion(shared)));
                }
                info!(container = container.as_str(), pid = exit.pid.get(), status = exit.status.get(); "exited");
                Some(Event::Exit {
                    container,
                    exec,
                    exit,
                })
            }
            (Effect::AnnounceDeleted(exit), None) => {
                let pid = pid.map_or(0, Pid::get);
                Some(Event::Delete {
                    container,
                    exit,
                    pid,
                })
            }
            (Effect::AnnounceDeleted(_), Some(_)) => None,
        };
        if let Some(event) = event {
            self.shared.publisher.publish(event);
        }
    }

    /// Whether the exit of the process `key` has something to wait for: what shares init's pid namespace is killed first.
    fn others_at_exit(&self, key: &Key) -> Others {
        if key.is_none() && !self.own_pid_namespace {
            Others::Alive
        } else {
            self.others()
        }
    }

    pub(super) fn others(&self) -> Others {
        Others::of(
            self.killing_others,
            self.execs.values().map(|exec| exec.state),
        )
    }

    fn end_others(&mut self) {
        if !self.own_pid_namespace {
            self.killing_others = true;
            drop(tokio::task::spawn_local(kill::kill_all(
                self.shared.clone(),
                self.cgroup.clone(),
            )));
        }
        let facts = self.shared.facts.clone();
        if self.others() == Others::Alive {
            drop(tokio::task::spawn_local(async move {
                tokio::time::sleep(OTHERS_CAP).await;
                drop(facts.send(Fact::OthersDeadline));
            }));
        }
    }

    fn on_start_answered(&mut self, key: &Key, result: Result<Started, ShimError>) {
        let others = self.others_at_exit(key);
        let Ok(process) = self.process(key) else {
            return;
        };
        let pending = process.pending.take();
        match result {
            Ok(started) => {
                process.started_at = Some(Timestamp::now());
                process.pid = started.pid.or(process.pid);
                process.stdio = started.stdio.or(process.stdio.take());
                process.apply_remembered();
                let pid = process.pid;
                self.must_feed(key, Input::StartAnswered(Outcome::Done, others));
                if let Some(cgroup) = started.cgroup {
                    self.watch(cgroup);
                }
                if let Some(exit) = started.exit {
                    drop(tokio::task::spawn_local(work::await_exit(
                        self.shared.clone(),
                        key.clone(),
                        exit,
                    )));
                }
                if let (Some(Pending::Start(reply)), Some(pid)) = (pending, pid) {
                    answer(reply, Ok(pid));
                }
            }
            Err(error) => {
                for waiter in std::mem::take(&mut process.waiters) {
                    match role(key) {
                        crate::shim::lifecycle::Role::Exec => answer(waiter, Err(never_ran())),
                        crate::shim::lifecycle::Role::Init => process.waiters.push(waiter),
                    }
                }
                self.must_feed(key, Input::StartAnswered(Outcome::Failed, others));
                if let Some(pending) = pending {
                    refuse(pending, error);
                }
            }
        }
    }

    /// Deletes the ended task on nobody's behalf.
    fn forget(&mut self) {
        if self.init.pending.is_none() && matches!(self.init.state, State::Stopped(_)) {
            warn!(container = self.shared.caller.id.as_str(); "the bundle of an ended task is gone: deleting it");
            self.init.pending = Some(Pending::Other);
            self.must_feed(&None, Input::Delete);
        }
    }

    fn on_freeze_answered(&mut self, input: Input, result: Result<(), ShimError>) {
        let pending = self.init.pending.take();
        self.must_feed(&None, input);
        if let Some(Pending::Freeze(reply)) = pending {
            answer(reply, result);
        }
    }

    fn on_delete_answered(&mut self, key: &Key, result: Result<(), ShimError>) {
        let Ok(process) = self.process(key) else {
            return;
        };
        let pending = process.pending.take();
        if let (Some(Pending::Other), Err(error)) = (&pending, &result) {
            warn!(container = self.shared.caller.id.as_str(); "delete a forgotten task: {}", error.chain());
        }
        self.must_feed(key, Input::DeleteAnswered(outcome(&result)));
        let Ok(process) = self.process(key) else {
            return;
        };
        let deleted = DeletedProcess {
            pid: process.pid,
            exit: process.state.exit(),
        };
        if let Some(Pending::Delete(_, reply)) = pending {
            answer(reply, result.map(|()| deleted));
        }
        if let State::Deleted(_) = process.state {
            let (queue, waiters) = (
                std::mem::take(&mut process.queue),
                std::mem::take(&mut process.waiters),
            );
            for waiter in waiters {
                answer(waiter, Err(Denied::Finished.into()));
            }
            if let Some(exec) = key {
                self.execs.remove(exec);
            }
            for command in queue {
                match command {
                    // It is for all processes, and only this one is gone.
                    Command::ReopenLogs(None, _) => self.on_command(command),
                    other => other.refuse(Denied::Finished.into()),
                }
            }
        }
    }

    fn on_exited(&mut self, key: Key, exit: Exit) {
        // Before anything is announced: the cgroup goes with the container.
        self.announce_oom_kills();
        let oom_killed = self.oom_kills > 0 && exit.record.status == ExitStatus::KILLED;
        // One that ends before its start has answered was started all the same.
        let started_at = self.process(&key).ok().and_then(|process| {
            let is_starting = matches!(process.pending, Some(Pending::Start(_)));
            let at_last = is_starting.then_some(exit.record.exited_at);
            process.started_at.or(at_last)
        });
        let not_deleted = self.execs.keys().cloned().collect();
        let entry = ExitEntry {
            identity: exit
                .identity
                .unwrap_or_else(|| unknown_identity(exit.record.pid)),
            exec: key,
            status: exit.record.status,
            exited_at: exit.record.exited_at,
            started_at,
            oom_killed,
        };
        drop(tokio::task::spawn_local(exit::record(
            self.shared.clone(),
            entry,
            not_deleted,
        )));
    }

    /// Announces the kills that were counted since this was last looked at: one event each.
    fn announce_oom_kills(&mut self) {
        let cgroup = self.cgroup.as_ref();
        let Some(counted) = cgroup.and_then(|cgroup| cgroup.oom_kills().ok().flatten()) else {
            return;
        };
        let kills = counted.rise_since(&self.counted_oom_kills);
        self.counted_oom_kills = counted;
        self.announce_oom(kills);
    }

    fn announce_oom(&mut self, times: u64) {
        self.oom_kills = self.oom_kills.saturating_add(times);
        for _ in 0..times {
            self.shared.publisher.publish(Event::Oom {
                container: self.shared.caller.id.clone(),
            });
        }
    }

    /// Remembers the container's cgroup and watches it for kills.
    pub fn watch(&mut self, cgroup: crate::cgroup::Cgroup) {
        // A group that was there before the container may have counted kills of others.
        self.counted_oom_kills = cgroup.oom_kills().ok().flatten().unwrap_or_default();
        let cgroup = std::rc::Rc::new(cgroup);
        drop(tokio::task::spawn_local(work::watch_oom(
            self.shared.clone(),
            cgroup.clone(),
        )));
        self.cgroup = Some(cgroup);
    }
}

/// The identity of a process that procfs told nothing of: no start time fits it, so it matches nobody.
const fn unknown_identity(pid: Pid) -> ProcessIdentity {
    ProcessIdentity {
        pid,
        start_ticks: 0,
        boot_id: 0,
    }
}

const fn outcome<T>(result: &Result<T, ShimError>) -> Outcome {
    match result {
        Ok(_) => Outcome::Done,
        Err(_) => Outcome::Failed,
    }
}
