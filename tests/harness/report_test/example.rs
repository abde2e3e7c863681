//! Reports made by hand: a target that holds, two peers that do not, names that are no HTML, and runs of every kind.

use std::collections::BTreeMap;

use crate::history::{Check, Mark, MarkKind, Recovery, Report, Run, Timeline, Violation};
use crate::target::State;

/// When everything here begins.
pub const BEGAN: i64 = 1_767_225_600_000_000_000;
/// A name that a page must not take for an element.
pub const HOSTILE: &str = "containerd 2.x + <script>alert('x')</script>";

const MS: i64 = 1_000_000;

/// A moment in a run, milliseconds after its beginning.
pub fn mark(ms: i64, kind: MarkKind, fault: &str) -> Mark {
    Mark {
        at: BEGAN + ms * MS,
        kind,
        fault: fault.to_owned(),
    }
}

/// A container that ran, and was frozen, and ended; milliseconds after the run's beginning.
pub fn container(name: &str, created: i64, ended: Option<i64>) -> Timeline {
    let at = |ms: i64| BEGAN + ms * MS;
    let mut states = vec![
        (at(created), Some(State::Created)),
        (at(created + 180), Some(State::Running)),
        (at(created + 1900), Some(State::Paused)),
        (at(created + 2300), Some(State::Running)),
    ];
    if let Some(ended) = ended {
        states.push((at(ended + 120), Some(State::Exited)));
        states.push((at(ended + 900), None));
    }
    Timeline {
        name: name.to_owned(),
        workload: "counts to its log every 5 ms".to_owned(),
        states,
        log_gaps: Vec::new(),
        kernel_exit: ended.map(|ended| (137, at(ended))),
    }
}

/// So many checks of an invariant after a fault.
pub fn check(fault: &str, invariant: u8, checked: u32, violated: u32) -> Check {
    Check {
        fault: fault.to_owned(),
        invariant,
        checked,
        violated,
    }
}

/// A run of ten seconds with three containers, two kills and the checks of all invariants but two.
pub fn run(target: &str, name: &str) -> Run {
    let invariants = (1..=13).filter(|invariant| ![8, 11].contains(invariant));
    let checks = invariants.flat_map(|invariant| {
        ["kill -9", "kill -9 while creating"].map(|fault| check(fault, invariant, 12, 0))
    });
    Run {
        target: target.to_owned(),
        is_judged: target == "outlive",
        name: name.to_owned(),
        seed: None,
        repeat: format!("make recover ARGS='--target {target} --only {name}'"),
        began: BEGAN,
        ended: BEGAN + 10_000 * MS,
        marks: vec![
            mark(2_000, MarkKind::Killed, "kill -9"),
            mark(2_300, MarkKind::Answers, "kill -9"),
            mark(2_900, MarkKind::Recovered, "kill -9"),
            mark(4_000, MarkKind::Fault, "SIGSTOP of the shim of a-2"),
            mark(6_000, MarkKind::Killed, "kill -9 while creating"),
            mark(6_400, MarkKind::Answers, "kill -9 while creating"),
            mark(7_100, MarkKind::Recovered, "kill -9 while creating"),
        ],
        containers: vec![
            container("a-1", 200, None),
            container("a-2", 500, Some(6_200)),
            container("a-3", 900, Some(8_000)),
        ],
        recoveries: vec![recovery(300.0, 900.0), recovery(400.0, 1_100.0)],
        checks: checks.collect(),
        ..Run::default()
    }
}

/// The times of a recovery of three containers.
pub fn recovery(answers_ms: f64, recovered_ms: f64) -> Recovery {
    Recovery {
        containers: 3,
        answers_ms,
        recovered_ms,
    }
}

/// A run of a peer that lost an exit and a part of a log.
pub fn violated(target: &str) -> Run {
    let mut run = run(target, "exit while the manager is down");
    run.seed = Some(8_675_309);
    run.checks.push(check("exit while down", 4, 8, 2));
    run.checks.push(check("exit while down", 7, 8, 1));
    run.containers[1]
        .states
        .insert(4, (BEGAN + 6_900 * MS, Some(State::Unknown)));
    run.containers[0].log_gaps = vec![
        (BEGAN + 2_000 * MS, BEGAN + 2_900 * MS),
        (BEGAN + 6_000 * MS, BEGAN + 7_100 * MS),
    ];
    let violation = |invariant, subject: &str, expected: &str, saw: &str, ms| Violation {
        invariant,
        fault: "exit while down".to_owned(),
        subject: subject.to_owned(),
        expected: expected.to_owned(),
        saw: saw.to_owned(),
        at: BEGAN + ms * MS,
    };
    run.violations = vec![
        violation(
            4,
            "a-2",
            "exit code 137 at 6.2 s, as the kernel saw it",
            "exit code 255, finished 7.1 s",
            7_200,
        ),
        violation(
            4,
            "container a-3",
            "exit code 0",
            "exit code 255 <b>unknown</b>",
            8_400,
        ),
        violation(
            7,
            "a-1: its log",
            "records 1 to 2000 in order",
            "record 412, then\nrecord 598: \u{1b}[31m186 lost",
            7_300,
        ),
    ];
    run.minimal = vec![
        "create a-2".to_owned(),
        "start a-2".to_owned(),
        "kill -9 of the manager".to_owned(),
        "kill -9 of the init of a-2 & wait".to_owned(),
    ];
    run
}

/// A torture: hundreds of containers, thousands of marks.
pub fn torture(target: &str, containers: i64, kills: i64) -> Run {
    let mut run = run(target, "torture");
    run.seed = Some(42);
    run.ended = BEGAN + 600_000 * MS;
    run.marks = Vec::new();
    run.recoveries = Vec::new();
    for kill in 0..kills {
        let at = kill * 600_000 / kills;
        let spread = i32::try_from(kill * 7919 % 97).unwrap_or(0);
        let answers = 40.0 * 1.03_f64.powi(spread);
        run.marks.push(mark(at, MarkKind::Killed, "kill -9"));
        run.marks.push(mark(at + 200, MarkKind::Answers, "kill -9"));
        run.marks
            .push(mark(at + 700, MarkKind::Recovered, "kill -9"));
        run.recoveries.push(Recovery {
            containers: 300,
            ..recovery(answers, answers * 3.1)
        });
    }
    let all = (0..containers).map(|number| {
        let begin = number * 1_900 % 500_000;
        container(&format!("t-{number}"), begin, Some(begin + 40_000))
    });
    run.containers = all.collect();
    run
}

/// All of it.
pub fn report() -> Report {
    let machine = [
        ("kernel", "Linux 6.12.8"),
        ("processors", "4"),
        ("runc", "1.2.4"),
        ("a & b", "<i>x</i>"),
    ];
    let machine = machine.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let mut slow = run("containerd 2.x + runc", "kill at rest");
    slow.recoveries = vec![
        recovery(800.0, 2_600.0),
        recovery(1_900.0, 9_400.0),
        recovery(950.0, 3_000.0),
    ];
    slow.checks.push(check("exit while down", 8, 40, 40));
    let mut broken = run("outlive", "full disk");
    broken.broken =
        Some("no loop device could be made: losetup: cannot find an unused loop device".to_owned());
    broken.checks = Vec::new();
    let empty = Run {
        target: HOSTILE.to_owned(),
        name: "<img src=x onerror=alert(1)>".to_owned(),
        ..Run::default()
    };
    let mut point = run("outlive", "every crash point");
    point.checks = [
        "create::after_record",
        "create::before_start",
        "remove::half",
        "stop::signalled",
    ]
    .into_iter()
    .flat_map(|fault| [1, 2, 3, 4, 10, 12].map(|invariant| check(fault, invariant, 4, 0)))
    .collect();
    Report {
        version: 1,
        command: "make recover".to_owned(),
        machine: BTreeMap::from(machine),
        began: BEGAN,
        ended: BEGAN + 1_930_000 * MS,
        runs: vec![
            run("outlive", "kill at rest"),
            torture("outlive", 300, 2_500),
            broken,
            point,
            slow,
            violated("containerd 2.x + runc"),
            torture("containerd 2.x + runc", 40, 60),
            empty,
        ],
    }
}
