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
