//! The thirteen invariants of the design's document on recovery, section 4, each a function that says what it expected and
//! what it saw. They look at what the manager says, at what the harness knows, and at the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::log_book::Losses;
use crate::model::{Subject, Told};
use crate::target::{Seen, State, Step};
use crate::witness::{Testimony, Witness};
use crate::workload::Workload;

/// How long after the kernel a manager may have taken notice of an end, in nanoseconds: for a shim that waits for a
/// processor, not for one that guesses.
const NOTICE: i64 = 2_000_000_000;

/// The clocks of two processors, and the resolution of a look, in nanoseconds.
const EARLIER: i64 = 50_000_000;

/// How long a healthy container may wait for its manager because of another one.
pub const PROMPT: Duration = Duration::from_secs(8);

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub subject: String,
    pub expected: String,
    pub saw: String,
}

fn finding(subject: &str, expected: impl ToString, saw: impl ToString) -> Finding {
    Finding {
        subject: subject.to_owned(),
        expected: expected.to_string(),
        saw: saw.to_string(),
    }
}

/// A log that was renamed and opened anew.
#[derive(Debug, Clone)]
pub struct Reopened {
    pub subject: String,
    /// The old file, under its new name.
    pub old: PathBuf,
    /// How long it was when the answer came.
    pub length: u64,
    /// Whether the answer was OK, and if not, whether there was a new file when it came.
    pub answer: Result<(), bool>,
}

/// A writer while its manager was dead.
#[derive(Debug, Clone)]
pub struct Outage {
    pub subject: String,
    pub before: u64,
    pub after: u64,
    pub waited: Duration,
}

/// How the calls that end a container went.
#[derive(Debug, Clone)]
pub struct Ending {
    pub subject: String,
    pub call: &'static str,
    pub answer: Result<(), String>,
    pub took: Duration,
}

/// What one connection told.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    /// When it began.
    pub since: i64,
    pub told: Vec<(String, Step)>,
    /// What was answered on it, and must be told.
    pub owed: Vec<(String, Step)>,
}

/// A pod that was asked for.
#[derive(Debug, Clone)]
pub struct PodBook {
    pub name: String,
    pub created: Told,
    pub removed: Told,
}

/// All that the invariants look at.
#[derive(Debug)]
pub struct Evidence<'a> {
    pub subjects: &'a [Subject],
    pub witness: &'a Witness,
    pub seen: &'a [Seen],
    /// The part of the cgroups' paths that is this run's alone.
    pub cgroup: &'a str,
    pub pods: &'a [PodBook],
    /// The names of the pods that are listed.
    pub listed_pods: &'a [String],
    pub outages: &'a [Outage],
    pub reopened: &'a [Reopened],
    pub endings: &'a [Ending],
    pub connection: Option<&'a Connection>,
    /// How long a list took after the restart, and a command in a healthy container.
    pub prompt: &'a [(&'static str, Duration)],
    /// What the kernel has, and whose of it nobody knows.
    pub traces: Option<&'a BTreeSet<String>>,
    /// Whether all was removed, so that no trace may be left.
    pub is_at_rest: bool,
}

impl Evidence<'_> {
    fn of(&self, subject: &Subject) -> Option<&Seen> {
        match &subject.id {
            Some(id) => self.seen.iter().find(|seen| &seen.id == id),
            None => self.seen.iter().find(|seen| seen.name == subject.name),
        }
    }

    fn testimony(&self, subject: &Subject) -> Option<Testimony> {
        subject.pid.and_then(|pid| self.witness.of(pid))
    }
}

/// What an invariant found; `None` where there was nothing to look at.
type Findings = Option<Vec<Finding>>;

/// Each of them, in the order of the list: its number is its place in it.
pub const ALL: [fn(&Evidence<'_>) -> Findings; 13] = [
    acknowledged_survives,
    nobody_is_lost,
    one_init_each,
    exits_are_the_kernels,
    states_go_forward,
    times_are_stable,
    logs_are_whole,
    writers_go_on,
    reopened_logs_are_let_go,
    endings_end,
    nobody_is_delayed,
    nothing_is_left,
    events_are_told_once,
];

/// 1. An acknowledged create, start, stop or remove survives.
fn acknowledged_survives(evidence: &Evidence<'_>) -> Findings {
    let mut found = Vec::new();
    for subject in evidence.subjects {
        let seen = evidence.of(subject);
        let state = seen.map(|seen| seen.state);
        let is = |told: Told| told == Told::Acknowledged;
        let gone = subject.removed == Told::Acknowledged;
        if gone && state.is_some() {
            found.push(finding(&subject.name, "removed", format!("{seen:?}")));
        }
        if !subject.is_there() {
            continue;
        }
        let name = &subject.name;
        match state {
            None => found.push(finding(name, "created, so listed", "not listed")),
            Some(State::Unknown) if subject.may_be_unknown => {}
            Some(State::Created | State::Unknown) if is(subject.started) => {
                found.push(finding(name, "started", format!("{seen:?}")));
            }
            Some(state) if is(subject.stopped) && state != State::Exited => {
                found.push(finding(name, "stopped, so exited", format!("{seen:?}")));
            }
            Some(_) => {}
        }
    }
    for pod in evidence.pods {
        let listed = evidence
            .listed_pods
            .iter()
            .filter(|name| **name == pod.name)
            .count();
        let allowed: &[usize] = match (pod.created, pod.removed) {
            (Told::Never, _) | (_, Told::Acknowledged) => &[0],
            (Told::InDoubt, _) | (_, Told::InDoubt) => &[0, 1],
            (Told::Acknowledged, Told::Never) => &[1],
        };
        if !allowed.contains(&listed) {
            let subject = format!("pod {}", pod.name);
            found.push(finding(
                &subject,
                format!("listed as often as one of {allowed:?}"),
                listed,
            ));
        }
    }
    Some(found)
}

/// 2. No container is lost, hidden or resurrected; and none dies because its manager did.
fn nobody_is_lost(evidence: &Evidence<'_>) -> Findings {
    let mut found = Vec::new();
    for subject in evidence.subjects {
        let testimony = evidence.testimony(subject);
        let seen = evidence.of(subject);
        let state = seen.map(|seen| seen.state);
        let allowed = subject.allowed(testimony);
        if !allowed.contains(&state) {
            found.push(finding(
                &subject.name,
                format!("one of {allowed:?}"),
                format!("{seen:?}"),
            ));
        }
        if subject.should_run() && !subject.has_no_witness {
            if let Some(Testimony {
                dead_at: Some(_), ..
            }) = testimony
            {
                found.push(finding(
                    &subject.name,
                    "its init lives",
                    format!("{testimony:?}"),
                ));
            }
            let shown = seen.and_then(|seen| seen.pid);
            if state != Some(State::Unknown) && shown.is_some() && shown != subject.pid {
                found.push(finding(
                    &subject.name,
                    format!("pid {:?}", subject.pid),
                    format!("{shown:?}"),
                ));
            }
        }
    }
    for seen in evidence.seen {
        let is_known = evidence.subjects.iter().any(|subject| {
            subject.id.as_ref() == Some(&seen.id)
                || (subject.created == Told::InDoubt && subject.name == seen.name)
        });
        if !is_known {
            found.push(finding(
                &seen.id,
                "no container that was not asked for",
                format!("{seen:?}"),
            ));
        }
    }
    Some(found)
}

/// 3. At most one live init per container id; names are unique.
fn one_init_each(evidence: &Evidence<'_>) -> Findings {
    let mut found = Vec::new();
    let mut names = BTreeMap::new();
    for seen in evidence.seen {
        if let Some(other) = names.insert(&seen.name, &seen.id) {
            found.push(finding(
                &seen.name,
                "one container of this name",
                format!("{other} and {}", seen.id),
            ));
        }
    }
    let ids: Vec<&str> = evidence.seen.iter().map(|seen| seen.id.as_str()).collect();
    for (id, inits) in inits(evidence.cgroup, &ids) {
        if inits.len() > 1 {
            found.push(finding(&id, "one init", format!("processes {inits:?}")));
        }
    }
    Some(found)
}

/// The processes that are pid 1 of a pid namespace of their own, by the container whose cgroup they are in.
fn inits(cgroup: &str, ids: &[&str]) -> BTreeMap<String, Vec<u32>> {
    let mut inits: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let is_init = status
            .lines()
            .find_map(|line| line.strip_prefix("NSpid:"))
            .is_some_and(|pids| pids.split_whitespace().count() > 1 && pids.ends_with("\t1"));
        if !is_init || status.contains("State:\tZ") {
            continue;
        }
        let cgroups = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        let container = ids.iter().find(|id| {
            let last = format!("/{id}");
            let is_its = |line: &str| line.contains(cgroup) && line.ends_with(&last);
            cgroups.lines().any(is_its)
        });
        if let Some(id) = container {
            inits.entry((*id).to_owned()).or_default().push(pid);
        }
    }
    inits
}

/// 4. Exit code and time equal the kernel's; 255 only where the shim and its record are gone.
fn exits_are_the_kernels(evidence: &Evidence<'_>) -> Findings {
    let mut found = Vec::new();
    let mut looked = false;
    for subject in evidence.subjects {
        let Some(seen) = evidence.of(subject) else {
            continue;
        };
        if seen.state != State::Exited || subject.started == Told::Never {
            continue;
        }
        looked = true;
        let testimony = evidence.testimony(subject);
        let Some(code) = seen.exit_code else {
            found.push(finding(&subject.name, "an exit code", format!("{seen:?}")));
            continue;
        };
        if subject.has_no_witness && code == 255 {
            continue;
        }
        let start_failed = subject.started == Told::InDoubt && subject.pid.is_none() && code == 128;
        let expected = match testimony.and_then(|is| is.exit) {
            Some(exit) => vec![i32::from(exit.get())],
            None if subject.has_no_witness => vec![137, 255],
            None => {
                let mut codes: Vec<i32> = subject.workload.own_exit_code().into_iter().collect();
                if subject.stopped != Told::Never
                    || subject.removed != Told::Never
                    || !subject.workload.lasts()
                {
                    codes.extend([137, 143]);
                }
                codes
            }
        };
        if !expected.contains(&code) && !start_failed {
            found.push(finding(
                &subject.name,
                format!("exit code {expected:?}"),
                format!("{seen:?}"),
            ));
        }
        if subject.workload == Workload::OutOfMemory
            && code == 137
            && subject.stopped == Told::Never
            && subject.removed == Told::Never
            && !seen.reason.contains("OOMKilled")
            && !seen.reason.is_empty()
        {
            found.push(finding(&subject.name, "OOMKilled", format!("{seen:?}")));
        }
        let (Some(testimony), Some(at)) = (testimony, seen.finished_at) else {
            continue;
        };
        let latest = testimony.dead_at.unwrap_or(i64::MAX).saturating_add(NOTICE);
        if !subject.has_no_witness && (at < testimony.alive_at - EARLIER || at > latest) {
            found.push(finding(
                &subject.name,
                format!("an end between {} and {latest}", testimony.alive_at),
                format!("{seen:?}"),
            ));
        }
    }
    looked.then_some(found)
}

fn sticky(evidence: &Evidence<'_>, invariant: u8) -> Vec<Finding> {
    let mut found = Vec::new();
    for subject in evidence.subjects {
        for (number, expected, saw) in &subject.sticky {
            if *number == invariant {
                found.push(finding(&subject.name, expected, saw));
            }
        }
    }
    found
}

/// 5. States move CREATED, RUNNING, EXITED, gone (and UNKNOWN to EXITED) only; finished_at never changes.
fn states_go_forward(evidence: &Evidence<'_>) -> Findings {
    Some(sticky(evidence, 5))
}

/// 6. started_at <= finished_at, both stable across restarts.
fn times_are_stable(evidence: &Evidence<'_>) -> Findings {
    let mut found = sticky(evidence, 6);
    for seen in evidence.seen {
        if let (Some(started), Some(finished)) = (seen.started_at, seen.finished_at)
            && started > finished
        {
            found.push(finding(
                &seen.name,
                "started before it finished",
                format!("{seen:?}"),
            ));
        }
    }
    let has_times = evidence.seen.iter().any(|seen| seen.started_at.is_some());
    has_times.then_some(found)
}

/// 7. No byte lost, doubled or reordered per stream; every record parses.
fn logs_are_whole(evidence: &Evidence<'_>) -> Findings {
    let mut found = Vec::new();
    let mut looked = false;
    for subject in evidence.subjects {
        if subject.started != Told::Acknowledged {
            continue;
        }
        looked = true;
        let state = evidence.of(subject).map(|seen| seen.state);
        let has_ended = state == Some(State::Exited) || subject.removed == Told::Acknowledged;
        let by_itself = evidence
            .testimony(subject)
            .and_then(|is| is.exit)
            .map(|exit| i32::from(exit.get()))
            .or_else(|| evidence.of(subject).and_then(|seen| seen.exit_code));
        let lines = subject
            .workload
            .lines()
            .filter(|_| by_itself.is_some() && by_itself == subject.workload.own_exit_code())
            .filter(|_| subject.log.losses == Losses::None && !subject.has_no_witness);
        for fault in subject.log.faults(has_ended, lines) {
            found.push(finding(&subject.name, "every line once, in order", fault));
        }
    }
    looked.then_some(found)
}

/// 8. A container's write() never blocks because its manager is down.
fn writers_go_on(evidence: &Evidence<'_>) -> Findings {
    let stuck = evidence
        .outages
        .iter()
        .filter(|outage| outage.after <= outage.before);
    let found = stuck
        .map(|outage| {
            finding(
                &outage.subject,
                format!(
                    "more than {} bytes within {:?}",
                    outage.before, outage.waited
                ),
                format!("{} bytes", outage.after),
            )
        })
        .collect();
    (!evidence.outages.is_empty()).then_some(found)
}

/// 9. After a reopen answered OK nothing goes to the old file; after an error no new file exists.
fn reopened_logs_are_let_go(evidence: &Evidence<'_>) -> Findings {
    let mut found = Vec::new();
    for reopened in evidence.reopened {
        match reopened.answer {
            Ok(()) => {
                let now = fs::metadata(&reopened.old).map_or(0, |is| is.len());
                if now != reopened.length {
                    let expected = format!(
                        "{} stays at {} bytes",
                        reopened.old.display(),
                        reopened.length
                    );
                    found.push(finding(&reopened.subject, expected, format!("{now} bytes")));
                }
            }
            Err(true) => found.push(finding(
                &reopened.subject,
                "no new file after an error",
                "a new file",
            )),
            Err(false) => {}
        }
    }
    (!evidence.reopened.is_empty()).then_some(found)
}

/// 10. Stop and Remove are idempotent and terminate.
fn endings_end(evidence: &Evidence<'_>) -> Findings {
    let bad = evidence
        .endings
        .iter()
        .filter(|ending| ending.answer.is_err());
    let found = bad
        .map(|ending| {
            let saw = format!("{:?} after {:?}", ending.answer, ending.took);
            finding(&ending.subject, format!("{} succeeds", ending.call), saw)
        })
        .collect();
    (!evidence.endings.is_empty()).then_some(found)
}

/// 11. One bad container delays nobody.
fn nobody_is_delayed(evidence: &Evidence<'_>) -> Findings {
    let late = evidence.prompt.iter().filter(|(_, took)| *took > PROMPT);
    let found = late
        .map(|(call, took)| {
            finding(
                call,
                format!("an answer within {PROMPT:?}"),
                format!("{took:?}"),
            )
        })
        .collect();
    (!evidence.prompt.is_empty()).then_some(found)
}

/// 12. At rest: no leaked shim, mount, cgroup, namespace, fifo, socket, directory, zombie; and while containers are there,
///     nothing but theirs.
fn nothing_is_left(evidence: &Evidence<'_>) -> Findings {
    let traces = evidence.traces?;
    let expected = if evidence.is_at_rest {
        "nothing, all was removed"
    } else {
        "nothing but what is listed"
    };
    Some(
        traces
            .iter()
            .map(|trace| finding("the kernel", expected, trace))
            .collect(),
    )
}

/// 13. Every state change gives its event exactly once per connection, in order.
fn events_are_told_once(evidence: &Evidence<'_>) -> Findings {
    let connection = evidence.connection?;
    let mut found = Vec::new();
    let mut told: BTreeMap<&str, Vec<Step>> = BTreeMap::new();
    for (id, step) in &connection.told {
        told.entry(id).or_default().push(*step);
    }
    for (id, steps) in &told {
        if !steps.windows(2).all(|pair| pair[0] < pair[1]) {
            found.push(finding(
                id,
                "each step once, in order",
                format!("{steps:?}"),
            ));
        }
    }
    let mut owed: BTreeSet<(&str, Step)> = connection
        .owed
        .iter()
        .map(|(id, step)| (id.as_str(), *step))
        .collect();
    for subject in evidence.subjects {
        let ended = evidence.testimony(subject).and_then(|is| is.dead_at);
        let is_ours = ended.is_some_and(|at| at > connection.since);
        let is_seen = evidence
            .of(subject)
            .is_some_and(|seen| seen.state == State::Exited);
        if let Some(id) = subject.id.as_deref().filter(|_| is_ours && is_seen) {
            owed.insert((id, Step::Stopped));
        }
    }
    for (id, step) in owed {
        if !told.get(id).is_some_and(|steps| steps.contains(&step)) {
            found.push(finding(
                id,
                format!("{step:?} is told"),
                format!("{:?}", told.get(id)),
            ));
        }
    }
    Some(found)
}
