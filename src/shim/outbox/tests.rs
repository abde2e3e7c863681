//! The order that survives, and what is given up first.

use proptest::prelude::*;

use super::*;
use crate::types::{ExitRecord, ExitStatus, Pid};

fn container(number: u8) -> ContainerId {
    ContainerId::new(&format!("c{number}")).unwrap()
}

fn exec(number: u8) -> ExecId {
    ExecId::new(&format!("e{number}")).unwrap()
}

/// An event in short: what of which container, which exec.
fn event((kind, of, which): (u8, u8, u8)) -> Event {
    let (container, pid) = (container(of), Pid::new(7).unwrap());
    let exit = ExitRecord {
        pid,
        status: ExitStatus::from_code(which),
        exited_at: Timestamp::from_unix_nanos(1),
    };
    match kind {
        0 => Event::Create {
            container,
            bundle: String::new(),
            rootfs: Vec::new(),
            io: crate::types::event::TaskIo::default(),
            checkpoint: String::new(),
            pid: Some(pid),
        },
        1 => Event::Start { container, pid },
        2 => Event::Oom { container },
        3 => Event::Exit {
            container,
            exec: None,
            exit,
        },
        4 => Event::Exit {
            container,
            exec: Some(exec(which)),
            exit,
        },
        5 => Event::Delete {
            container,
            exit: Some(exit),
            pid: 7,
        },
        6 => Event::ExecAdded {
            container,
            exec: exec(which),
        },
        7 => Event::ExecStarted {
            container,
            exec: exec(which),
            pid,
        },
        8 => Event::Paused { container },
        9 => Event::Resumed { container },
        _ => Event::Checkpointed {
            container,
            checkpoint: String::new(),
        },
    }
}

fn at() -> Timestamp {
    Timestamp::from_unix_nanos(5)
}

fn filled(bound: usize, events: &[(u8, u8, u8)]) -> Outbox {
    let mut outbox = Outbox::new(bound);
    for short in events {
        outbox.push(event(*short), at());
    }
    outbox
}

fn numbers(outbox: &Outbox) -> Vec<u64> {
    outbox
        .waiting
        .iter()
        .map(|waiting| waiting.number)
        .collect()
}

#[test]
fn the_past_of_an_exited_exec_goes_before_anything_else() {
    // Create, start; an exec that ran; one that runs; the exit of init.
    let outbox = filled(
        7,
        &[
            (0, 0, 0),
            (1, 0, 0),
            (6, 0, 1),
            (7, 0, 1),
            (4, 0, 1),
            (6, 0, 2),
            (7, 0, 2),
            (3, 0, 0),
        ],
    );
    assert_eq!(numbers(&outbox), [0, 1, 4, 5, 6, 7]);
    assert_eq!(
        outbox.losses(),
        Losses {
            collapsed: 2,
            dropped: 0
        }
    );
}

#[test]
fn a_pause_that_is_over_goes_whole_and_one_under_way_stays() {
    let outbox = filled(4, &[(1, 0, 0), (8, 0, 0), (1, 1, 0), (9, 0, 0), (3, 0, 0)]);
    assert_eq!(numbers(&outbox), [0, 2, 4]);
    let outbox = filled(3, &[(8, 0, 0), (9, 0, 0), (3, 0, 0), (3, 1, 0)]);
    assert_eq!(
        numbers(&outbox),
        [0, 2, 3],
        "nothing but what passes could go"
    );
    assert_eq!(outbox.losses().dropped, 1);
}

#[test]
fn an_exec_whose_id_is_used_again_is_not_taken_for_the_exited_one() {
    let outbox = filled(3, &[(3, 1, 0), (4, 0, 1), (6, 0, 1), (7, 0, 1)]);
    assert_eq!(numbers(&outbox), [0, 2, 3]);
}

#[test]
fn nothing_is_kept_that_is_worth_less_than_what_came_before() {
    let outbox = filled(3, &[(3, 0, 0), (3, 1, 0), (3, 2, 0), (6, 0, 1)]);
    assert_eq!(numbers(&outbox), [0, 1, 2]);
    let outbox = filled(2, &[(3, 0, 0), (3, 1, 0), (3, 2, 0)]);
    assert_eq!(
        numbers(&outbox),
        [0, 2],
        "of its like the oldest goes, but for the one under way"
    );
}

proptest! {
    #[test]
    fn survivors_keep_their_order_and_exits_of_init_go_last(
        bound in 2_usize..12,
        steps in prop::collection::vec(prop::option::weighted(0.9, (0_u8..=10, 0_u8..3, 0_u8..3)), 0..120),
    ) {
        let mut outbox = Outbox::new(bound);
        let (mut pushed, mut taken) = (0_u64, Vec::new());
        for step in steps {
            let before: Vec<Waiting> = outbox.waiting.iter().cloned().collect();
            let losses = outbox.losses();
            let Some(short) = step else {
                if let Some(number) = outbox.front().map(|front| front.number) {
                    outbox.remove(number);
                    taken.push(number);
                }
                continue;
            };
            outbox.push(event(short), at());
            pushed += 1;
            prop_assert!(outbox.len() <= bound);
            // What may be under way is not touched.
            if let Some(front) = before.first() {
                prop_assert_eq!(outbox.front(), Some(front));
            }
            let left = numbers(&outbox);
            prop_assert!(left.is_sorted_by(|one, other| one < other), "{left:?}");
            prop_assert!(taken.last().is_none_or(|last| left.first().is_none_or(|first| last < first)));
            let lost: Vec<&Event> = before.iter().filter(|old| !left.contains(&old.number)).map(|old| &old.event).collect();
            let is_exit = |event: &Event| matches!(event, Event::Exit { exec: None, .. });
            if lost.iter().any(|event| is_exit(event)) {
                prop_assert!(outbox.waiting.iter().skip(1).all(|waiting| is_exit(&waiting.event)));
            }
            // Where something meant nothing any more, only such was lost; and at a time no more than one of the others.
            let now = outbox.losses();
            prop_assert!(now.dropped - losses.dropped <= 1);
            prop_assert!(now.collapsed == losses.collapsed || now.dropped == losses.dropped);
            if now.collapsed > losses.collapsed {
                for event in &lost {
                    prop_assert!(matches!(event, Event::Paused { .. } | Event::Resumed { .. } | Event::Oom { .. }
                        | Event::ExecAdded { .. } | Event::ExecStarted { .. }), "{event:?}");
                }
            }
            let gone = now.collapsed + now.dropped;
            prop_assert_eq!(pushed, u64::try_from(taken.len() + outbox.len()).unwrap() + gone);
        }
    }

    #[test]
    fn below_the_bound_every_event_comes_out_as_it_went_in(
        events in prop::collection::vec((0_u8..=10, 0_u8..3, 0_u8..3), 0..40),
    ) {
        let mut outbox = filled(40, &events);
        for (number, short) in (0_u64..).zip(events) {
            let front = outbox.front().cloned();
            prop_assert_eq!(front, Some(Waiting { number, at: at(), event: event(short) }));
            outbox.remove(number + 1);
            prop_assert_eq!(outbox.front().map(|front| front.number), Some(number));
            outbox.remove(number);
        }
        prop_assert!(outbox.is_empty());
        prop_assert_eq!(outbox.losses(), Losses::default());
    }
}
