//! A scenario: a workload, faults, and what is to hold besides the invariants.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::fault::Fault;
use crate::history::Run;
use crate::target::Target;
use crate::trial::Trial;
use crate::witness::now;
use crate::workload::Workload;

/// What else is to hold: a scenario's own look at the container of this index. It fails by a panic.
pub type ScenarioCheck = fn(&mut Trial, usize);

/// Nothing else.
pub fn only_invariants(_: &mut Trial, _: usize) {}

/// Starts a target; called in the thread of the scenario.
pub type Start<'a> = dyn Fn() -> Box<dyn Target> + Send + Sync + 'a;

/// Runs `body` on a fresh target, then ends everything and checks that nothing is left. A panic is a run that broke.
pub fn on_target(
    name: &str,
    repeat: &str,
    start: &Start<'_>,
    body: impl FnOnce(&mut Trial),
) -> Run {
    let run = Run {
        name: name.to_owned(),
        repeat: repeat.to_owned(),
        is_judged: true,
        began: now(),
        ..Run::default()
    };
    let mut trial = match guarded(|| Trial::new(start(), run.clone())) {
        Ok(trial) => trial,
        Err(why) => {
            return Run {
                ended: now(),
                broken: Some(why),
                ..run
            };
        }
    };
    let broken = guarded(|| body(&mut trial)).err();
    let broken = broken.or_else(|| guarded(|| trial.finish()).err());
    let mut run = std::mem::take(&mut trial.run);
    run.broken = run.broken.or(broken);
    run.ended = now();
    // The target looks for what is left too, and a test that has failed is not asked whether it left anything.
    let left = guarded(|| drop(trial)).err();
    if run.violations.is_empty() && run.broken.is_none() {
        run.broken = left;
    }
    run
}

/// What `body` gives, or the text of its panic.
fn guarded<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(body)).map_err(|payload| text_of(payload.as_ref()))
}

fn text_of(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| payload.downcast_ref::<&str>().map(|&text| text.to_owned()))
        .unwrap_or_else(|| "a panic".to_owned())
}

/// A container of `workload` beside the bystander, the faults one after the other, every invariant after each, and `check`.
pub fn recovery_test(
    name: &str,
    repeat: &str,
    start: &Start<'_>,
    workload: Workload,
    faults: &[Fault],
    check: ScenarioCheck,
) -> Run {
    on_target(name, repeat, start, |trial| {
        let subject = trial.launch("subject", workload);
        faults_of(trial, subject, workload, faults);
        check(trial, subject);
    })
}

/// The faults one after the other, every invariant after each.
pub fn faults_of(trial: &mut Trial, subject: usize, workload: Workload, faults: &[Fault]) {
    for fault in faults {
        if fault.needs_points() && !trial.target.has_points() {
            continue;
        }
        fault.apply(trial, subject);
        trial.check(&format!("{} / {}", fault.name(), workload.name()));
        if !trial.run.violations.is_empty() {
            return;
        }
    }
}
