//! What the harness knows of each container without asking the manager: what was acknowledged, what is in doubt because
//! the manager died over it, and what may therefore be seen.

use crate::log_book::{LogBook, Losses};
use crate::target::{LogFormat, Seen, State};
use crate::witness::Testimony;
use crate::workload::Workload;

/// How far a request went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Not asked for, or asked for and found undone.
    Never,
    /// Asked for and not answered.
    InDoubt,
    /// Answered, or found done.
    Acknowledged,
}

/// A container, or one that was asked for.
#[derive(Debug, Clone)]
pub struct Subject {
    pub name: String,
    pub workload: Workload,
    /// What the manager calls it, once that is known.
    pub id: Option<String>,
    pub created: Told,
    pub started: Told,
    pub stopped: Told,
    pub removed: Told,
    /// It was signalled, told to end, or its end was brought about otherwise: it may end at any time.
    pub may_end: bool,
    /// It was stopped before it was started, which a manager may take for its end.
    pub was_stopped_unstarted: bool,
    /// Its removal was asked for before, of a manager whose tasks go before their containers: the task may be gone.
    pub was_half_removed: bool,
    /// Its processes are frozen, by the harness.
    pub is_paused: bool,
    /// Its shim was killed while init ran: nobody saw the end.
    pub has_no_witness: bool,
    /// Its shim is silent, or a file of it is damaged: the manager may say that it does not know.
    pub may_be_unknown: bool,
    /// Its init, once it was seen.
    pub pid: Option<u32>,
    /// What it was seen as, last.
    pub last: Option<Seen>,
    /// From when on it was seen as what.
    pub states: Vec<(i64, Option<State>)>,
    pub log: LogBook,
    /// What was seen and may never be.
    pub sticky: Vec<(u8, String, String)>,
}

impl Subject {
    pub fn new(name: &str, workload: Workload, log: std::path::PathBuf, format: LogFormat) -> Self {
        Self {
            name: name.to_owned(),
            workload,
            id: None,
            created: Told::Never,
            started: Told::Never,
            stopped: Told::Never,
            removed: Told::Never,
            may_end: !workload.lasts(),
            was_stopped_unstarted: false,
            was_half_removed: false,
            is_paused: false,
            has_no_witness: false,
            may_be_unknown: false,
            pid: None,
            last: None,
            states: Vec::new(),
            log: LogBook::new(format, log),
            sticky: Vec::new(),
        }
    }

    /// Whether it is known to be there.
    pub fn is_there(&self) -> bool {
        self.created == Told::Acknowledged && self.removed == Told::Never
    }

    /// Whether it was started and may not have ended.
    pub fn should_run(&self) -> bool {
        self.is_there() && self.started == Told::Acknowledged && !self.may_end
    }

    /// What it may be seen as: no state at all stands for a container that is gone.
    pub fn allowed(&self, testimony: Option<Testimony>) -> Vec<Option<State>> {
        if self.removed == Told::Acknowledged || self.created == Told::Never {
            return vec![None];
        }
        let mut allowed = Vec::new();
        if self.removed == Told::InDoubt || self.created == Told::InDoubt {
            allowed.push(None);
        }
        if self.may_be_unknown {
            allowed.push(Some(State::Unknown));
        }
        let is_alive = testimony.map(|is| is.dead_at.is_none());
        if self.started != Told::Acknowledged && self.pid.is_none() {
            allowed.push(Some(State::Created));
        }
        if self.was_stopped_unstarted || self.was_half_removed {
            allowed.push(Some(State::Exited));
        }
        if self.started != Told::Never
            || self.removed == Told::InDoubt
            || self.stopped != Told::Never
        {
            let may_run = self.stopped != Told::Acknowledged && is_alive != Some(false);
            if may_run && self.started != Told::Never {
                allowed.extend([Some(State::Running), Some(State::Paused)]);
            }
            let may_have_ended = self.may_end || is_alive == Some(false) || self.has_no_witness;
            if may_have_ended && (is_alive != Some(true) || self.has_no_witness) {
                allowed.push(Some(State::Exited));
            }
            // A start that was answered with an error while the manager lived.
            if self.started == Told::InDoubt {
                allowed.push(Some(State::Exited));
            }
        }
        allowed
    }

    /// Takes down what it is seen as, and whatever of it may never be seen after what was seen before.
    pub fn observe(&mut self, seen: Option<&Seen>, at: i64) {
        let state = seen.map(|seen| seen.state);
        if self.states.last().map(|(_, last)| *last) != Some(state)
            && !(self.states.is_empty() && state.is_none())
        {
            self.states.push((at, state));
        }
        let Some(seen) = seen else { return };
        if let Some(last) = &self.last {
            // A task that was stopped before it ran, and went with half a removal: what is left can be started.
            let is_as_new = self.was_half_removed && self.pid.is_none();
            let is_step_back = match (last.state, seen.state) {
                (State::Exited, State::Created) if is_as_new => false,
                (
                    State::Exited,
                    State::Created | State::Running | State::Paused | State::Unknown,
                ) => true,
                (State::Running | State::Paused, State::Created) => true,
                (
                    State::Created
                    | State::Unknown
                    | State::Running
                    | State::Paused
                    | State::Exited,
                    _,
                ) => false,
            };
            let mut sticky = Vec::new();
            if is_step_back {
                let expected = format!("no step back from {last:?}");
                sticky.push((5, expected, format!("{seen:?}")));
            }
            if last.state == State::Exited && seen.state == State::Exited {
                // What a removal that was not answered has taken away is not told any more.
                let is_half_removed = self.removed != Told::Never;
                let time = (last.finished_at, seen.finished_at);
                let code = (last.exit_code, seen.exit_code);
                let changes = |before: Option<i64>, after: Option<i64>| match (before, after) {
                    (Some(before), Some(after)) => before != after,
                    (Some(_), None) => !is_half_removed,
                    (None, _) => false,
                };
                if changes(time.0, time.1) || changes(code.0.map(i64::from), code.1.map(i64::from))
                {
                    sticky.push((5, format!("still {last:?}"), format!("{seen:?}")));
                }
            }
            if last.started_at.is_some() && seen.started_at != last.started_at {
                let of = |seen: &Seen| format!("started at {:?}", seen.started_at);
                sticky.push((6, of(last), of(seen)));
            }
            for found in sticky {
                if !self.sticky.contains(&found) {
                    self.sticky.push(found);
                }
            }
        }
        if let Some(pid) = seen
            .pid
            .filter(|_| matches!(seen.state, State::Running | State::Paused))
        {
            self.pid.get_or_insert(pid);
        }
        self.last = Some(seen.clone());
    }

    /// Decides what was in doubt, by what it is now that the manager is back and at rest.
    pub fn resolve(&mut self, seen: Option<&Seen>) {
        if let Some(seen) = seen {
            self.id.get_or_insert_with(|| seen.id.clone());
        }
        let settle = |told: &mut Told, done: bool| {
            if *told == Told::InDoubt {
                *told = if done {
                    Told::Acknowledged
                } else {
                    Told::Never
                };
            }
        };
        settle(
            &mut self.created,
            seen.is_some() || self.removed == Told::InDoubt,
        );
        settle(&mut self.removed, seen.is_none());
        let Some(seen) = seen else { return };
        settle(&mut self.started, seen.state != State::Created);
        settle(&mut self.stopped, seen.state == State::Exited);
        if seen.state == State::Exited {
            // Nothing runs that could be told to end.
            self.may_end = true;
        }
    }

    /// Lines may be missing from now on.
    pub fn may_lose_lines(&mut self) {
        self.log.losses = Losses::Allowed;
    }
}
