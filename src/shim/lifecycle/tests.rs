//! The whole product of states and inputs, and the stories that matter.

use super::*;
use crate::types::{ExitStatus, Pid, Timestamp};

fn exit() -> ExitRecord {
    ExitRecord {
        pid: Pid::new(42).unwrap(),
        status: ExitStatus::from_code(7),
        exited_at: Timestamp::from_unix_nanos(1),
    }
}

fn states() -> Vec<State> {
    let exit = exit();
    vec![
        State::Created,
        State::Starting(None),
        State::Starting(Some(exit)),
        State::Running,
        State::Pausing,
        State::Paused,
        State::Resuming,
        State::Dying(exit),
        State::Stopped(exit),
        State::Failed,
        State::Deleting(None),
        State::Deleting(Some(exit)),
        State::Deleted(None),
        State::Deleted(Some(exit)),
    ]
}

fn inputs() -> Vec<Input> {
    let mut inputs = vec![
        Input::Start,
        Input::Pause,
        Input::Resume,
        Input::OthersEnded,
        Input::Delete,
    ];
    for others in [Others::Alive, Others::Gone] {
        inputs.push(Input::Exited(exit(), others));
        inputs.extend(
            [Outcome::Done, Outcome::Failed].map(|outcome| Input::StartAnswered(outcome, others)),
        );
    }
    for outcome in [Outcome::Done, Outcome::Failed] {
        inputs.extend([
            Input::PauseAnswered(outcome),
            Input::ResumeAnswered(outcome),
            Input::DeleteAnswered(outcome),
        ]);
    }
    inputs
}

#[test]
fn in_the_whole_product_an_exit_is_announced_at_most_once_and_never_unannounced() {
    for role in [Role::Init, Role::Exec] {
        for state in states() {
            for input in inputs() {
                let Ok((next, effects)) = step(role, state, input) else {
                    continue;
                };
                let announced = effects
                    .iter()
                    .filter(|effect| matches!(effect, Effect::AnnounceExit(_)))
                    .count();
                let context = format!("{role:?} {state:?} {input:?} -> {next:?} {effects:?}");
                // Announced exactly on the way from "no exit to be seen" to "an exit to be seen".
                let becomes_visible = state.exit().is_none() && next.exit().is_some();
                assert_eq!(announced, usize::from(becomes_visible), "{context}");
                if state.exit().is_some() {
                    assert_eq!(next.exit(), state.exit(), "{context}");
                }
                let started = effects
                    .iter()
                    .position(|effect| *effect == Effect::AnnounceStarted);
                let ended = effects
                    .iter()
                    .position(|effect| matches!(effect, Effect::AnnounceExit(_)));
                if let (Some(started), Some(ended)) = (started, ended) {
                    assert!(started < ended, "{context}");
                }
            }
        }
    }
}

#[test]
fn an_exit_before_the_start_has_answered_is_announced_after_it() {
    let (state, effects) = step(
        Role::Init,
        State::Starting(None),
        Input::Exited(exit(), Others::Gone),
    )
    .unwrap();
    assert_eq!((state, effects), (State::Starting(Some(exit())), vec![]));
    let (state, effects) = step(
        Role::Init,
        state,
        Input::StartAnswered(Outcome::Done, Others::Gone),
    )
    .unwrap();
    assert_eq!(state, State::Stopped(exit()));
    assert_eq!(
        effects,
        [
            Effect::AnnounceStarted,
            Effect::EndOthers,
            Effect::AnnounceExit(exit())
        ]
    );
}

#[test]
fn init_waits_for_its_execs_and_an_exec_for_nobody() {
    let input = Input::Exited(exit(), Others::Alive);
    assert_eq!(
        step(Role::Init, State::Running, input).unwrap(),
        (State::Dying(exit()), vec![Effect::EndOthers])
    );
    let (state, effects) = step(Role::Init, State::Dying(exit()), Input::OthersEnded).unwrap();
    assert_eq!(
        (state, effects),
        (State::Stopped(exit()), vec![Effect::AnnounceExit(exit())])
    );
    assert_eq!(
        step(Role::Exec, State::Running, input).unwrap().0,
        State::Stopped(exit())
    );
}

#[test]
fn what_runs_or_is_frozen_cannot_be_deleted() {
    for state in [
        State::Running,
        State::Paused,
        State::Pausing,
        State::Resuming,
        State::Dying(exit()),
    ] {
        assert!(step(Role::Init, state, Input::Delete).is_err(), "{state:?}");
    }
}

#[test]
fn death_ends_a_pause_for_good() {
    for state in [State::Pausing, State::Paused, State::Resuming] {
        let (state, _) = step(Role::Init, state, Input::Exited(exit(), Others::Gone)).unwrap();
        assert_eq!(state, State::Stopped(exit()));
        for input in [
            Input::PauseAnswered(Outcome::Done),
            Input::ResumeAnswered(Outcome::Failed),
        ] {
            assert_eq!(step(Role::Init, state, input).unwrap(), (state, vec![]));
        }
    }
}

#[test]
fn every_state_answers_every_permit_and_the_dead_are_not_signalled() {
    for role in [Role::Init, Role::Exec] {
        for state in states() {
            for permit in [
                Permit::Kill,
                Permit::Exec,
                Permit::StartExec,
                Permit::Update,
                Permit::Checkpoint,
            ] {
                let given = state.permits(role, permit).is_ok();
                assert!(
                    !given || state.exit().is_none(),
                    "{role:?} {state:?} {permit:?}"
                );
            }
        }
    }
    assert!(State::Created.permits(Role::Init, Permit::Kill).is_ok());
    assert!(matches!(
        State::Created.permits(Role::Exec, Permit::Kill),
        Err(Denied::State { .. })
    ));
    assert_eq!(
        State::Stopped(exit()).permits(Role::Init, Permit::Kill),
        Err(Denied::Finished)
    );
}

/// A container as the task actor runs it, without the world: each call that is under way may answer at any moment, and
/// each process may die. After every input it settles, as `Task::run` does.
#[derive(Clone, Debug)]
struct Lives {
    own_pid_namespace: bool,
    killing_others: bool,
    /// Init, then the execs.
    processes: Vec<State>,
    /// Whether each has no exit to come: it has died, or never lived.
    dead: Vec<bool>,
}

impl Lives {
    fn new(own_pid_namespace: bool) -> Self {
        Self {
            own_pid_namespace,
            killing_others: false,
            processes: vec![State::Created; 3],
            dead: vec![false, true, true],
        }
    }

    fn role(index: usize) -> Role {
        if index == 0 { Role::Init } else { Role::Exec }
    }

    fn others(&self) -> Others {
        Others::of(self.killing_others, self.processes[1..].iter().copied())
    }

    /// The container after `input`, where that is allowed.
    fn fed(&self, index: usize, input: Input) -> Option<Self> {
        let mut next = self.clone();
        let (state, effects) = step(Self::role(index), self.processes[index], input).ok()?;
        next.processes[index] = state;
        for effect in effects {
            if effect == Effect::EndOthers && !next.own_pid_namespace {
                next.killing_others = true;
            }
        }
        Some(next.settled())
    }

    fn settled(mut self) -> Self {
        if let Some(input) = settled(self.processes[0], self.others()) {
            self.processes[0] = step(Role::Init, self.processes[0], input).unwrap().0;
        }
        self
    }

    /// All that may happen next.
    fn successors(&self) -> Vec<Self> {
        let mut found = Vec::new();
        let others_at_exit = |index: usize| {
            if index == 0 && !self.own_pid_namespace {
                Others::Alive
            } else {
                self.others()
            }
        };
        for index in 0..self.processes.len() {
            let state = self.processes[index];
            let others = others_at_exit(index);
            let may_start_exec = self.processes[0]
                .permits(Role::Init, Permit::StartExec)
                .is_ok();
            if index == 0 || may_start_exec {
                found.extend(self.fed(index, Input::Start));
            }
            for input in [Input::Pause, Input::Resume, Input::Delete] {
                found.extend(self.fed(index, input));
            }
            for outcome in [Outcome::Done, Outcome::Failed] {
                for input in [
                    Input::PauseAnswered(outcome),
                    Input::ResumeAnswered(outcome),
                    Input::DeleteAnswered(outcome),
                ] {
                    found.extend(self.fed(index, input));
                }
                if let Some(mut next) = self.fed(index, Input::StartAnswered(outcome, others)) {
                    // From now on an exec lives, or never will.
                    if index > 0 && matches!(state, State::Starting(None)) {
                        next.dead[index] = outcome == Outcome::Failed;
                    }
                    found.push(next);
                }
            }
            let lives = !self.dead[index] || (index > 0 && matches!(state, State::Starting(None)));
            if lives && let Some(mut next) = self.fed(index, Input::Exited(exit(), others)) {
                next.dead[index] = true;
                found.push(next);
            }
        }
        if self.killing_others {
            let mut next = self.clone();
            next.killing_others = false;
            found.push(next.settled());
        }
        found
    }
}

#[test]
fn no_reachable_container_keeps_the_exit_of_a_dead_init_for_nothing() {
    let mut seen = std::collections::BTreeSet::new();
    for own_pid_namespace in [true, false] {
        seen.clear();
        let mut to_visit = vec![Lives::new(own_pid_namespace)];
        while let Some(lives) = to_visit.pop() {
            if !seen.insert(format!("{lives:?}")) {
                continue;
            }
            let [init, execs @ ..] = lives.processes.as_slice() else {
                unreachable!("there is always an init");
            };
            let pending = lives.killing_others
                || execs
                    .iter()
                    .any(|state| matches!(state, State::Starting(_)));
            let other_lives = (1..=execs.len()).any(|index| {
                !lives.dead[index] && !matches!(lives.processes[index], State::Created)
            });
            if let State::Dying(_) = init {
                assert!(pending || other_lives, "{:?}", lives.processes);
            }
            to_visit.extend(lives.successors());
        }
        assert!(seen.len() > 500, "only {} were visited", seen.len());
    }
}

#[test]
fn a_failed_start_of_the_last_exec_lets_a_dying_init_end() {
    let lives = Lives::new(true);
    let lives = lives.fed(0, Input::Start).unwrap();
    let lives = lives
        .fed(0, Input::StartAnswered(Outcome::Done, Others::Gone))
        .unwrap();
    let lives = lives.fed(1, Input::Start).unwrap();
    let lives = lives.fed(0, Input::Exited(exit(), lives.others())).unwrap();
    assert_eq!(lives.processes[0], State::Dying(exit()));
    let lives = lives
        .fed(1, Input::StartAnswered(Outcome::Failed, lives.others()))
        .unwrap();
    assert_eq!(lives.processes[0], State::Stopped(exit()));
}

#[test]
fn while_state_says_running_an_exec_may_be_registered() {
    for state in states() {
        let runs = matches!(state.status(), Some(TaskStatus::Running));
        let resuming = matches!(state, State::Resuming);
        if runs && !resuming {
            assert!(state.permits(Role::Init, Permit::Exec).is_ok(), "{state:?}");
        }
        if matches!(state.status(), Some(TaskStatus::Stopped(_))) {
            assert!(
                state.permits(Role::Init, Permit::Exec).is_err(),
                "{state:?}"
            );
        }
    }
    // A program cannot be started where init is dead, and the error does not call that stopped.
    let denied = State::Dying(exit())
        .permits(Role::Init, Permit::StartExec)
        .unwrap_err();
    assert_eq!(
        denied.to_string(),
        "cannot exec in a process that is exiting"
    );
}
