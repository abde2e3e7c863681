//! Defects that are put into the supervisor on purpose (its `crash::has_defect`, behind the feature `crash-points`): a
//! harness that does not find them finds nothing.

use std::thread;

use crate::history::Run;
use crate::machine::Kind;
use crate::scenario::Start;
use crate::scenarios;
use crate::target::Target;

/// A defect's name, what it does, the scenario that meets it, and the invariant that must be found violated.
const DEFECTS: [(&str, &str, &str, u8); 5] = [
    (
        "exit_code",
        "an end that is found out in recovery is said to be 255",
        "ends, then kill of the shim while down / exits 9 when told",
        4,
    ),
    (
        "orphans",
        "what belongs to nobody is left",
        "every crash point",
        12,
    ),
    (
        "told_twice",
        "an end is announced twice",
        "exits 7 after 0.3 s while down",
        13,
    ),
    (
        "removal",
        "a removal is answered and is not on disk",
        "every crash point",
        1,
    ),
    (
        "reopen",
        "a reopening is answered and not done",
        "rotation / slow",
        9,
    ),
];

/// Runs each; a run that has not violated its invariant is broken. What was found is what was put in, and is not listed.
pub fn run() -> Vec<Run> {
    thread::scope(|scope| {
        let runs: Vec<_> = DEFECTS
            .iter()
            .map(|defect| scope.spawn(|| one(*defect)))
            .collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    })
}

fn one((name, does, scenario, invariant): (&str, &str, &str, u8)) -> Run {
    let kind = Kind::Defective(name.to_owned());
    let start: Box<Start<'_>> = Box::new(|| -> Box<dyn Target> { kind.start() });
    let all = scenarios::all();
    let chosen = all.iter().find(|one| one.name == scenario).unwrap();
    let mut run = (chosen.run)("make test-recovery", start.as_ref());
    run.name = format!("defect {name} is found");
    run.is_judged = false;
    let is_caught = run
        .violations
        .iter()
        .any(|found| found.invariant == invariant);
    let text = run.broken.take().unwrap_or_default();
    // What a defect breaks may well keep a scenario from its end.
    run.broken = (!is_caught).then(|| {
        format!("the defect {name} ({does}) was not found by invariant {invariant} {text}")
    });
    println!(
        "{} {name}: {does}",
        if is_caught { "caught" } else { "MISSED" }
    );
    run.violations.clear();
    run.checks.clear();
    run
}
