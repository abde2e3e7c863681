//! Every cell of the table, and what holds for all of them.

use proptest::prelude::*;

use super::*;
use crate::types::Pid;

use Action::{
    AnnounceStarted as T, AnnounceStopped as S, DeleteTask as D, Monitor as M,
    RemoveLeftovers as L, Retry as R, Write as W,
};

fn at(nanos: u64) -> Timestamp {
    Timestamp::from_unix_nanos(nanos)
}

fn process(pid: u32) -> ProcessIdentity {
    ProcessIdentity {
        pid: Pid::new(pid).unwrap(),
        start_ticks: 5,
        boot_id: 6,
    }
}

const NOW: u64 = 1000;

fn created_checkpoint() -> ContainerStatus {
    ContainerStatus::Created { created_at: at(10) }
}

fn running_checkpoint() -> ContainerStatus {
    ContainerStatus::Running {
        created_at: at(10),
        started_at: at(20),
        process: process(7),
        activity: Activity::Running,
    }
}

fn exited_checkpoint() -> ContainerStatus {
    ContainerStatus::Exited {
        created_at: at(10),
        started_at: Some(at(20)),
        finished_at: at(30),
        exit: ExitStatus::from_code(3),
        cause: ExitCause::Exited,
    }
}

fn unknown_checkpoint() -> ContainerStatus {
    ContainerStatus::Unknown {
        created_at: Some(at(10)),
        started_at: Some(at(20)),
        process: None,
        reason: "why".to_owned(),
    }
}

fn lost() -> Seen {
    Seen::Lost {
        why: "torn".to_owned(),
        created_at: Some(at(10)),
        started_at: None,
    }
}

fn entry() -> ExitEntry {
    ExitEntry {
        exec: None,
        identity: process(7),
        status: ExitStatus::from_code(7),
        exited_at: at(50),
        started_at: Some(at(21)),
        oom_killed: true,
    }
}

fn live() -> Live {
    Live {
        process: process(8),
        started_at: at(25),
    }
}

fn stopped() -> Ended {
    Ended {
        exit: ExitStatus::from_code(9),
        at: at(60),
        started_at: Some(at(25)),
        cause: ExitCause::Exited,
    }
}

fn exited(started: u64, finished: u64, exit: u8, cause: ExitCause) -> ContainerStatus {
    ContainerStatus::Exited {
        created_at: at(10),
        started_at: Some(at(started)),
        finished_at: at(finished),
        exit: ExitStatus::from_code(exit),
        cause,
    }
}

fn runs(started: u64, activity: Activity) -> ContainerStatus {
    ContainerStatus::Running {
        created_at: at(10),
        started_at: at(started),
        process: process(8),
        activity,
    }
}

fn unknown(started: Option<u64>, pid: Option<u32>, reason: &str) -> ContainerStatus {
    ContainerStatus::Unknown {
        created_at: Some(at(10)),
        started_at: started.map(at),
        process: pid.map(process),
        reason: reason.to_owned(),
    }
}

/// One row: what the shim reports, and the verdicts for the checkpoints CREATED, RUNNING, EXITED, UNKNOWN, lost.
fn check(reported: &Reported, cells: [(ContainerStatus, &[Action]); 5]) {
    let checkpoints = [
        Seen::Known(created_checkpoint()),
        Seen::Known(running_checkpoint()),
        Seen::Known(exited_checkpoint()),
        Seen::Known(unknown_checkpoint()),
        lost(),
    ];
    for (seen, (status, actions)) in checkpoints.iter().zip(cells) {
        let expected = Verdict {
            status,
            actions: actions.to_vec(),
        };
        let found = reconcile(seen, reported, at(NOW));
        assert_eq!(found, expected, "{reported:?} over {seen:?}");
    }
}

#[test]
fn without_a_shim_and_a_record_only_what_ran_has_ended() {
    let why = "its shim is gone and left no record of its end".to_owned();
    check(
        &Reported::NoShim { exit: None },
        [
            (created_checkpoint(), &[L]),
            (exited(20, NOW, 255, ExitCause::Unknown(why)), &[L, W, S]),
            (exited_checkpoint(), &[L]),
            (unknown_checkpoint(), &[L]),
            (unknown(None, None, "torn"), &[L]),
        ],
    );
}

#[test]
fn a_record_of_a_gone_shim_is_believed() {
    let recorded = |started| exited(started, 50, 7, ExitCause::OomKilled);
    check(
        &Reported::NoShim {
            exit: Some(entry()),
        },
        [
            (recorded(21), &[W, S, L]),
            (recorded(20), &[W, S, L]),
            (exited_checkpoint(), &[L]),
            (recorded(20), &[W, S, L]),
            (recorded(21), &[W, S, L]),
        ],
    );
}

#[test]
fn a_task_that_was_not_started_is_deleted() {
    let odd = "it was running, and its shim reported a task that was never started";
    check(
        &Reported::Created,
        [
            (created_checkpoint(), &[D]),
            (unknown(Some(20), None, odd), &[W, D]),
            (exited_checkpoint(), &[D]),
            (unknown_checkpoint(), &[D]),
            (unknown(None, None, "torn"), &[D]),
        ],
    );
}

#[test]
fn a_task_that_runs_or_is_frozen_is_monitored_and_never_deleted() {
    let contradiction = "it has ended, and its shim reports that it runs";
    for (reported, activity) in [
        (Reported::Running(live()), Activity::Running),
        (Reported::Paused(live()), Activity::Paused),
    ] {
        check(
            &reported,
            [
                (runs(25, activity), &[W, T, M]),
                (runs(20, activity), &[W, M]),
                (unknown(Some(25), Some(8), contradiction), &[M]),
                (runs(20, activity), &[W, M]),
                (unknown(Some(25), Some(8), "torn"), &[M]),
            ],
        );
    }
}

#[test]
fn what_runs_as_its_checkpoint_says_is_not_written_again() {
    let seen = Seen::Known(running_checkpoint());
    let same = Live {
        process: process(7),
        started_at: at(20),
    };
    let verdict = reconcile(&seen, &Reported::Running(same), at(NOW));
    assert_eq!(verdict.status, running_checkpoint());
    assert_eq!(verdict.actions, [M]);
}

#[test]
fn a_task_that_has_ended_is_recorded_announced_and_deleted() {
    let reported = |started| exited(started, 60, 9, ExitCause::Exited);
    check(
        &Reported::Stopped(stopped()),
        [
            (reported(25), &[W, S, D]),
            (reported(20), &[W, S, D]),
            (exited_checkpoint(), &[D]),
            (reported(20), &[W, S, D]),
            (reported(25), &[W, S, D]),
        ],
    );
}

#[test]
fn a_shim_that_does_not_answer_makes_unknown_and_is_asked_again() {
    check(
        &Reported::Unreachable("slow".to_owned()),
        [
            (unknown(None, None, "slow"), &[R]),
            (unknown(Some(20), Some(7), "slow"), &[R]),
            (exited_checkpoint(), &[R]),
            (unknown_checkpoint(), &[R]),
            (unknown(None, None, "torn"), &[R]),
        ],
    );
}

#[test]
fn nothing_known_at_all_still_ends_as_the_shim_reports() {
    let seen = Seen::Lost {
        why: "no file".to_owned(),
        created_at: None,
        started_at: None,
    };
    let verdict = reconcile(&seen, &Reported::Stopped(stopped()), at(NOW));
    assert_eq!(verdict.status.created_at(), Some(at(60)));
    assert_eq!(verdict.status.started_at(), Some(at(25)));
}

#[test]
fn a_start_that_the_disk_knows_is_kept_though_the_rest_is_lost() {
    let seen = Seen::Lost {
        why: "container.json is missing".to_owned(),
        created_at: None,
        started_at: Some(at(20)),
    };
    let reports = [
        Reported::NoShim { exit: None },
        Reported::Created,
        Reported::Running(live()),
        Reported::Stopped(stopped()),
        Reported::Unreachable("slow".to_owned()),
    ];
    for reported in reports {
        let verdict = reconcile(&seen, &reported, at(NOW));
        assert_eq!(verdict.status.started_at(), Some(at(20)));
    }
}

/// A container, as far as recovery touches it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct World {
    disk: Seen,
    task: Reported,
    shown: ContainerStatus,
}

/// What is left when the supervisor dies after `steps` actions of a recovery.
fn recover(world: &World, steps: usize, now: Timestamp) -> World {
    let verdict = reconcile(&world.disk, &world.task, now);
    let mut after = world.clone();
    for action in verdict.actions.iter().take(steps) {
        match action {
            W => after.disk = Seen::Known(verdict.status.clone()),
            D | L => after.task = Reported::NoShim { exit: None },
            S | T | M | R => {}
        }
    }
    after.shown = verdict.status;
    after
}

fn times() -> impl Strategy<Value = Timestamp> {
    (0u64..2000).prop_map(at)
}

fn causes() -> impl Strategy<Value = ExitCause> {
    prop_oneof![
        Just(ExitCause::Exited),
        Just(ExitCause::OomKilled),
        Just(ExitCause::StartError("no program".to_owned())),
        Just(ExitCause::Unknown("gone".to_owned())),
    ]
}

fn processes() -> impl Strategy<Value = ProcessIdentity> {
    (1u32..4).prop_map(process)
}

fn seen() -> impl Strategy<Value = Seen> {
    let activity = prop_oneof![Just(Activity::Running), Just(Activity::Paused)];
    prop_oneof![
        times().prop_map(|created_at| ContainerStatus::Created { created_at }),
        (times(), times(), processes(), activity).prop_map(
            |(created_at, started_at, process, activity)| ContainerStatus::Running {
                created_at,
                started_at,
                process,
                activity,
            }
        ),
        (
            times(),
            proptest::option::of(times()),
            times(),
            any::<u8>(),
            causes()
        )
            .prop_map(|(created_at, started_at, finished_at, code, cause)| {
                ContainerStatus::Exited {
                    created_at,
                    started_at,
                    finished_at,
                    exit: ExitStatus::from_code(code),
                    cause,
                }
            }),
        (
            proptest::option::of(times()),
            proptest::option::of(times()),
            proptest::option::of(processes()),
            "[a-z]{0,3}",
        )
            .prop_map(|(created_at, started_at, process, reason)| {
                ContainerStatus::Unknown {
                    created_at,
                    started_at,
                    process,
                    reason,
                }
            }),
    ]
    .prop_map(Seen::Known)
    .boxed()
    .prop_union(
        ("[a-z]{0,3}", proptest::option::of(times()))
            .prop_map(|(why, created_at)| Seen::Lost {
                why,
                created_at,
                started_at: created_at,
            })
            .boxed(),
    )
}

fn lives() -> impl Strategy<Value = Live> {
    (processes(), times()).prop_map(|(process, started_at)| Live {
        process,
        started_at,
    })
}

fn reported() -> impl Strategy<Value = Reported> {
    let entries = (
        processes(),
        any::<u8>(),
        times(),
        proptest::option::of(times()),
        any::<bool>(),
    )
        .prop_map(
            |(identity, code, exited_at, started_at, oom_killed)| ExitEntry {
                exec: None,
                identity,
                status: ExitStatus::from_code(code),
                exited_at,
                started_at,
                oom_killed,
            },
        );
    let ends = (
        any::<u8>(),
        times(),
        proptest::option::of(times()),
        causes(),
    )
        .prop_map(|(code, at, started_at, cause)| Ended {
            exit: ExitStatus::from_code(code),
            at,
            started_at,
            cause,
        });
    prop_oneof![
        proptest::option::of(entries).prop_map(|exit| Reported::NoShim { exit }),
        Just(Reported::Created),
        lives().prop_map(Reported::Running),
        lives().prop_map(Reported::Paused),
        ends.prop_map(Reported::Stopped),
        "[a-z]{0,3}".prop_map(Reported::Unreachable),
    ]
}

fn worlds() -> impl Strategy<Value = World> {
    (seen(), reported()).prop_map(|(disk, task)| {
        let shown = disk.shown();
        World { disk, task, shown }
    })
}

const ALL: usize = usize::MAX;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn recovering_twice_is_recovering_once(world in worlds()) {
        let once = recover(&world, ALL, at(NOW));
        let twice = recover(&once, ALL, at(NOW + 500));
        prop_assert_eq!(twice, once);
    }

    #[test]
    fn a_crash_in_the_middle_and_a_recovery_are_one_recovery(world in worlds(), steps in 0usize..4) {
        let once = recover(&world, ALL, at(NOW));
        let crashed = recover(&world, steps, at(NOW));
        prop_assert_eq!(recover(&crashed, ALL, at(NOW)), once);
    }

    #[test]
    fn an_end_on_disk_stays_as_it_is(world in worlds()) {
        let after = recover(&world, ALL, at(NOW));
        if let Seen::Known(ContainerStatus::Exited { .. }) = world.disk {
            prop_assert_eq!(after.disk, world.disk);
        }
    }

    #[test]
    fn times_that_are_known_are_kept_and_a_program_ends_after_it_began(world in worlds()) {
        let after = recover(&world, ALL, at(NOW));
        if let Seen::Known(before) = &world.disk {
            if before.created_at().is_some() {
                prop_assert_eq!(after.shown.created_at(), before.created_at());
            }
            if before.started_at().is_some() && !matches!(before, ContainerStatus::Exited { .. }) {
                prop_assert_eq!(after.shown.started_at(), before.started_at());
            }
        }
        if let (false, ContainerStatus::Exited { started_at: Some(started), finished_at, .. }) =
            (matches!(world.disk, Seen::Known(ContainerStatus::Exited { .. })), &after.shown)
        {
            prop_assert!(started <= finished_at);
        }
    }

    #[test]
    fn what_cannot_be_asked_loses_nothing(seen in seen(), why in "[a-z]{0,3}") {
        let verdict = reconcile(&seen, &Reported::Unreachable(why), at(NOW));
        prop_assert_eq!(verdict.actions, [R]);
    }

    #[test]
    fn what_runs_is_never_deleted_and_always_monitored(seen in seen(), pid in 1u32..4, frozen: bool) {
        let live = Live { process: process(pid), started_at: at(1) };
        let reported = if frozen { Reported::Paused(live) } else { Reported::Running(live) };
        let verdict = reconcile(&seen, &reported, at(NOW));
        prop_assert!(verdict.actions.contains(&M));
        prop_assert!(!verdict.actions.contains(&D) && !verdict.actions.contains(&L));
        prop_assert_eq!(verdict.status.process(), Some(live.process));
    }

    #[test]
    fn an_end_is_announced_exactly_when_it_is_written(world in worlds()) {
        let verdict = reconcile(&world.disk, &world.task, at(NOW));
        let is_end = matches!(verdict.status, ContainerStatus::Exited { .. });
        let written = verdict.actions.iter().position(|action| *action == W);
        let announced = verdict.actions.iter().position(|action| *action == S);
        prop_assert_eq!(announced, written.filter(|_| is_end).map(|index| index + 1));
    }
}
