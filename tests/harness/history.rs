//! What happened in a run, as the report shows it. Plain data; times are Unix nanoseconds.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::target::State;

/// All runs of one call of the harness: `target/recovery/report.json`.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// The version of this format.
    pub version: u32,
    /// The command that makes this report again.
    pub command: String,
    /// Kernel, processors, versions of what was driven: a name and a text each.
    pub machine: BTreeMap<String, String>,
    /// When it began and ended.
    pub began: i64,
    /// See `began`.
    pub ended: i64,
    /// The runs, in the order in which they were made.
    pub runs: Vec<Run>,
}

/// One scenario, or one case of a torture, on one target.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Run {
    /// The manager and its shim: `outlive`, `containerd 2.x + runc` and so on.
    pub target: String,
    /// Whether a violation fails the harness: a peer's is shown and not judged.
    pub is_judged: bool,
    /// What was done: the scenario's name, or `torture`.
    pub name: String,
    /// The seed of what was random.
    pub seed: Option<u64>,
    /// The command that repeats it.
    pub repeat: String,
    /// When it began and ended.
    pub began: i64,
    /// See `began`.
    pub ended: i64,
    /// What was done to the manager and its shims.
    pub marks: Vec<Mark>,
    /// What the containers went through.
    pub containers: Vec<Timeline>,
    /// How long each recovery took.
    pub recoveries: Vec<Recovery>,
    /// Fault, invariant: how often it was checked and violated.
    pub checks: Vec<Check>,
    /// What was violated.
    pub violations: Vec<Violation>,
    /// The operations that lead to the violation, as few as were found; empty where none was violated.
    pub minimal: Vec<String>,
    /// The end of the manager's log when the first violation was seen.
    pub log: String,
    /// Why it could not be carried through, where it could not.
    pub broken: Option<String>,
}

/// A moment in a run.
#[derive(Debug, Clone, Serialize)]
pub struct Mark {
    /// When.
    pub at: i64,
    /// What kind of moment.
    pub kind: MarkKind,
    /// The fault's name.
    pub fault: String,
}

/// What kind of moment it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkKind {
    /// The manager was killed.
    Killed,
    /// The manager answers again.
    Answers,
    /// It has looked at all that it found.
    Recovered,
    /// Anything else was done.
    Fault,
}

/// What a container went through.
#[derive(Debug, Clone, Serialize)]
pub struct Timeline {
    /// Its name.
    pub name: String,
    /// What its program does.
    pub workload: String,
    /// From when on it was shown in which state; `None` from when on it was gone.
    pub states: Vec<(i64, Option<State>)>,
    /// When nothing came to its log for longer than its program is silent: from and until.
    pub log_gaps: Vec<(i64, i64)>,
    /// How its init ended according to the kernel, and when that was seen.
    pub kernel_exit: Option<(i32, i64)>,
}

/// The times of a recovery, from the manager's exec, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Recovery {
    /// How many containers there were.
    pub containers: usize,
    /// Until the manager answered.
    pub answers_ms: f64,
    /// Until all that it found was looked at.
    pub recovered_ms: f64,
}

/// How an invariant stood after a fault.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// The fault.
    pub fault: String,
    /// The invariant's number in the design's list, 1 to 13.
    pub invariant: u8,
    /// How often it was checked.
    pub checked: u32,
    /// How often it did not hold.
    pub violated: u32,
}

/// An invariant that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The invariant's number, 1 to 13.
    pub invariant: u8,
    /// The fault after which it was seen.
    pub fault: String,
    /// Of which container, pod, file.
    pub subject: String,
    /// What should be.
    pub expected: String,
    /// What was.
    pub saw: String,
    /// When it was seen.
    pub at: i64,
}
