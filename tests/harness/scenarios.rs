//! Every scenario by name: fault x workload, and the special ones.

use crate::fault::Fault;
use crate::history::Run;
use crate::scenario::{Start, faults_of, on_target, only_invariants, recovery_test};
use crate::target::State;
use crate::trial::Trial;
use crate::workload::{ALL, Workload};

/// Runs a scenario of this name on a fresh target.
pub type Play = Box<dyn Fn(&str, &Start<'_>) -> Run + Send + Sync>;

/// A scenario that can be run on a target.
pub struct Scenario {
    pub name: String,
    /// Whether it is in the short form.
    pub is_quick: bool,
    /// Whether it needs the supervisor.
    pub needs_outlive: bool,
    /// Whether containerd itself loses by it, whatever the shim does: shown, and not held against the shim.
    pub is_containerds: bool,
    pub run: Play,
}

/// What a container lives through.
const SURVIVED: [Fault; 5] = [
    Fault::Kill,
    Fault::KillInStart,
    Fault::KillInRecovery("recover.loaded"),
    Fault::KillInRecovery("recover.asked"),
    Fault::KillInRecovery("recover.orphans"),
];

/// What ends it.
const ENDS: [(Fault, bool); 6] = [
    (Fault::EndsWhileDown, true),
    (Fault::EndsAfterRecovery, true),
    (Fault::EndsThenKillInRecovery("exit.recorded"), false),
    (Fault::EndsThenShimKillWhileDown, true),
    (Fault::ShimKill, true),
    (Fault::ShimKillWhileDown, false),
];

fn of(name: &str, workload: Workload, faults: Vec<Fault>, is_quick: bool) -> Scenario {
    let named = name.to_owned();
    Scenario {
        name: named.clone(),
        is_quick,
        needs_outlive: false,
        is_containerds: false,
        run: Box::new(move |repeat, start| {
            recovery_test(&named, repeat, start, workload, &faults, only_invariants)
        }),
    }
}

fn special(name: &str, is_quick: bool, needs_outlive: bool, body: fn(&mut Trial)) -> Scenario {
    let named = name.to_owned();
    Scenario {
        name: named.clone(),
        is_quick,
        needs_outlive,
        is_containerds: false,
        run: Box::new(move |repeat, start| on_target(&named, repeat, start, body)),
    }
}

/// All there are.
pub fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    for workload in ALL {
        let name = format!("{} survives", workload.name());
        let is_quick = matches!(workload, Workload::FullSpeed | Workload::Slow);
        all.push(of(&name, workload, SURVIVED.to_vec(), is_quick));
    }
    for workload in [
        Workload::Slow,
        Workload::FullSpeed,
        Workload::Obedient { code: 9 },
    ] {
        let name = format!("{} / {}", Fault::ShimStop.name(), workload.name());
        all.push(Scenario {
            // containerd ends a container whose shim is silent for five seconds.
            is_containerds: true,
            ..of(
                &name,
                workload,
                vec![Fault::ShimStop],
                workload == Workload::Slow,
            )
        });
    }
    for (fault, is_quick) in ENDS {
        for workload in [Workload::Obedient { code: 9 }, Workload::FullSpeed] {
            let name = format!("{} / {}", fault.name(), workload.name());
            all.push(Scenario {
                // containerd keeps nothing of a task whose shim it does not find, and tells nobody of what `delete` said.
                is_containerds: matches!(
                    fault,
                    Fault::EndsThenShimKillWhileDown | Fault::ShimKillWhileDown
                ),
                ..of(
                    &name,
                    workload,
                    vec![fault],
                    is_quick && workload != Workload::FullSpeed,
                )
            });
        }
    }
    for workload in [
        Workload::Exits { code: 7, after: 3 },
        Workload::Burst,
        Workload::Grandchild,
        Workload::OutOfMemory,
    ] {
        let name = format!("{} while down", workload.name());
        all.push(of(&name, workload, vec![Fault::EndsWhileDown], true));
    }
    all.push(of(
        "execs",
        Workload::Idle,
        vec![Fault::KillUnderExecs],
        true,
    ));
    for workload in [Workload::Slow, Workload::FullSpeed] {
        let name = format!("rotation / {}", workload.name());
        all.push(of(&name, workload, vec![Fault::RotateAndKill], true));
    }
    all.push(special("paused", true, false, paused));
    all.push(special("created and not started", true, false, created));
    all.push(special("several in one pod", false, false, several));
    all.push(special("three hundred containers", false, false, many));
    all.push(special(
        "every crash point",
        true,
        true,
        crate::points::every_point,
    ));
    all.extend(crate::hard::all());
    all
}

/// A paused container stays paused, and goes on after a resume.
fn paused(trial: &mut Trial) {
    let subject = trial.launch("subject", Workload::Slow);
    let id = trial.id(subject);
    trial.target.pause(&id).unwrap();
    trial.subjects[subject].is_paused = true;
    for fault in [
        Fault::Kill,
        Fault::KillInStart,
        Fault::KillInRecovery("recover.asked"),
    ] {
        if fault.needs_points() && !trial.target.has_points() {
            continue;
        }
        let before = trial.subjects[subject].log.len();
        fault.apply(trial, subject);
        trial.check(&format!("{} / paused", fault.name()));
        assert_eq!(
            trial.subjects[subject].log.len(),
            before,
            "a paused container wrote"
        );
    }
    trial.target.resume(&id).unwrap();
    trial.subjects[subject].is_paused = false;
    faults_of(trial, subject, Workload::Slow, &[Fault::Kill]);
}

/// A container that was never started is there, and can be started.
fn created(trial: &mut Trial) {
    let subject = trial.create("subject", Workload::Slow);
    for fault in [
        Fault::Kill,
        Fault::KillInStart,
        Fault::KillInRecovery("recover.loaded"),
    ] {
        if fault.needs_points() && !trial.target.has_points() {
            continue;
        }
        fault.apply(trial, subject);
        trial.check(&format!("{} / created", fault.name()));
        let state = trial.subjects[subject].last.as_ref().map(|seen| seen.state);
        assert_eq!(state, Some(State::Created));
    }
    trial.start(subject);
    faults_of(trial, subject, Workload::Slow, &[Fault::Kill]);
}

/// One of each in one pod.
fn several(trial: &mut Trial) {
    trial.pod = trial.run_pod("many").unwrap();
    let subjects: Vec<usize> = ALL
        .iter()
        .enumerate()
        .map(|(index, workload)| trial.launch(&format!("subject-{index}"), *workload))
        .collect();
    for fault in SURVIVED {
        if fault.needs_points() && !trial.target.has_points() {
            continue;
        }
        fault.apply(trial, subjects[1]);
        trial.check(&format!("{} / several in a pod", fault.name()));
    }
}

/// Three hundred containers over three kills.
fn many(trial: &mut Trial) {
    for index in 0..300 {
        let name = format!("subject-{index}");
        let subject = trial.create(&name, Workload::Idle);
        let answer = trial.target.start(&trial.id(subject));
        trial.was_started(subject, answer).unwrap();
    }
    trial.check("before / 300 containers");
    for _ in 0..3 {
        trial.kill("kill");
        trial.restart("kill", None);
        trial.check("kill / 300 containers");
    }
}
