//! Random operations on random containers, all at once, and a kill in the middle of them; again and again.
//!
//! A case is a list of bursts, drawn from a seed. What an operation is depends on what its container is by then, so that
//! every part of a case is a case too, which is how a failure is made small ([`crate::shrink`]).

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::fault::{after, ends};
use crate::history::Run;
use crate::machine::Kind;
use crate::model::Told;
use crate::scenario::on_target;
use crate::shrink;
use crate::supervisor_target::kill9;
use crate::target::{Answer, Ended, Spec, State, Target, is_silence};
use crate::trial::{BYSTANDER, Trial, renamed};
use crate::workload::Workload;

/// How many containers a case may have beside the bystander.
const SLOTS: usize = 7;

/// How many bursts a case has, each with a kill.
const BURSTS: usize = 25;

/// The latest moment of a kill after the beginning of its burst, in microseconds.
const LATEST: u64 = 90_000;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// How long, in seconds; the case under way is finished.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The seed of the first case; the next one has the next.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// End after so many kills, however long it takes.
    #[arg(long)]
    kills: Option<u64>,
    /// What is tortured.
    #[arg(long, default_value = "supervisor")]
    pub target: Kind,
    /// How many cases run side by side.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
}

/// One operation: on which container, and what decides which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Op {
    slot: usize,
    choice: u64,
}

/// Operations that begin together, and the kill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Burst {
    pub ops: Vec<Op>,
    /// When the manager is killed.
    kill_after: Duration,
    /// When the next manager is killed in its start, where it is.
    kill_again_after: Option<Duration>,
    /// Whether a container that can be told to end does so while nobody manages it.
    ends_while_down: bool,
}

/// splitmix64 (Steele, Lea and Flood 2014): small, and the same everywhere.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// The case of a seed.
pub fn case(seed: u64) -> Vec<Burst> {
    let mut random = Random(seed);
    (0..BURSTS).map(|_| burst(&mut random)).collect()
}

fn burst(random: &mut Random) -> Burst {
    let mut slots: Vec<usize> = (0..SLOTS).collect();
    let count = 1 + random.below(u64::try_from(SLOTS).unwrap());
    let ops = (0..count)
        .map(|_| {
            let left = u64::try_from(slots.len()).unwrap();
            let slot = slots.swap_remove(usize::try_from(random.below(left)).unwrap());
            Op {
                slot,
                choice: random.next(),
            }
        })
        .collect();
    let again = random.below(4) == 0;
    Burst {
        ops,
        kill_after: Duration::from_micros(random.below(LATEST)),
        kill_again_after: again.then(|| Duration::from_micros(random.below(LATEST / 3))),
        ends_while_down: random.below(3) == 0,
    }
}

/// What an operation came to be.
#[derive(Debug, Clone)]
enum Planned {
    Create(usize, Spec),
    Start(usize),
    Stop(usize, u32),
    Remove(usize),
    Exec(usize),
    Stats(usize),
    Rotate(usize, PathBuf),
    Pod(String),
}

#[derive(Debug)]
enum Outcome {
    Id(Answer<String>),
    Done(Answer<()>),
    Ended(Answer<Ended>),
}

const WORKLOADS: [Workload; 7] = [
    Workload::Slow,
    Workload::FullSpeed,
    Workload::Exits { code: 7, after: 2 },
    Workload::Obedient { code: 9 },
    Workload::IgnoresTerm,
    Workload::Grandchild,
    Workload::Burst,
];

/// The state of a case beside the trial's.
#[derive(Debug, Default)]
struct Slots {
    of: [Option<usize>; SLOTS],
    serial: usize,
}

impl Slots {
    /// What an operation is by now.
    fn plan(&mut self, trial: &mut Trial, op: Op) -> Planned {
        let choice = usize::try_from(op.choice % 1000).unwrap();
        let current = self.of[op.slot].filter(|&index| trial.subjects[index].is_there());
        let Some(index) = current else {
            if choice % 13 == 0 {
                self.serial += 1;
                return Planned::Pod(format!("pod-{}", self.serial));
            }
            return self.create(trial, op.slot, choice);
        };
        let subject = &trial.subjects[index];
        let state = subject.last.as_ref().map(|seen| seen.state);
        match (state, choice % 10) {
            (Some(State::Exited), 0..6) | (_, 9) => Planned::Remove(index),
            (Some(State::Exited), _) => Planned::Stop(index, 0),
            (Some(State::Running), 0..3) => Planned::Exec(index),
            (Some(State::Running), 3 | 4) => Planned::Stats(index),
            (Some(State::Running), 5 | 6) => {
                let log = trial.subjects[index].log.current().to_owned();
                self.serial += 1;
                Planned::Rotate(index, renamed(&log, self.serial))
            }
            (Some(State::Running), _) => Planned::Stop(index, u32::from(choice % 20 == 7)),
            (_, 8) => Planned::Stop(index, 0),
            _ => Planned::Start(index),
        }
    }

    fn create(&mut self, trial: &mut Trial, slot: usize, choice: usize) -> Planned {
        let workload = WORKLOADS[choice % WORKLOADS.len()];
        self.serial += 1;
        let name = format!("c{}", self.serial);
        let index = trial.subject(&name, workload);
        self.of[slot] = Some(index);
        Planned::Create(index, workload.spec(&name, &trial.pod))
    }
}

impl Planned {
    fn words(&self, trial: &Trial) -> String {
        let name = |index: &usize| trial.subjects[*index].name.clone();
        match self {
            Self::Create(index, _) => {
                let workload = trial.subjects[*index].workload.name();
                format!("create {} ({workload})", name(index))
            }
            Self::Start(index) => format!("start {}", name(index)),
            Self::Stop(index, seconds) => format!("stop {} within {seconds} s", name(index)),
            Self::Remove(index) => format!("remove {}", name(index)),
            Self::Exec(index) => format!("exec in {}", name(index)),
            Self::Stats(index) => format!("stats of {}", name(index)),
            Self::Rotate(index, _) => format!("rename and reopen the log of {}", name(index)),
            Self::Pod(name) => format!("run and end {name}"),
        }
    }

    fn perform(&self, target: &dyn Target, ids: &[Option<String>]) -> Outcome {
        let id = |index: &usize| ids[*index].clone().unwrap_or_default();
        match self {
            Self::Create(_, spec) => Outcome::Id(target.create(spec)),
            Self::Start(index) => Outcome::Done(target.start(&id(index))),
            Self::Stop(index, seconds) => Outcome::Done(target.stop(&id(index), *seconds)),
            Self::Remove(index) => Outcome::Done(target.remove(&id(index))),
            Self::Exec(index) => {
                Outcome::Ended(target.exec(&id(index), &["/bin/sh", "-c", "echo well; exit 4"]))
            }
            Self::Stats(index) => Outcome::Done(target.stats(&id(index))),
            Self::Rotate(index, _) => Outcome::Done(target.reopen(&id(index))),
            Self::Pod(name) => Outcome::Id(target.run_pod(name)),
        }
    }
}

/// One burst, with its kill, its restart and its checks.
fn run_burst(trial: &mut Trial, slots: &mut Slots, burst: &Burst) {
    let planned: Vec<Planned> = burst.ops.iter().map(|op| slots.plan(trial, *op)).collect();
    for one in &planned {
        prepare(trial, one);
    }
    let words: Vec<String> = planned.iter().map(|one| one.words(trial)).collect();
    let (pid, ids): (u32, Vec<_>) = (
        trial.target.pid(),
        trial
            .subjects
            .iter()
            .map(|subject| subject.id.clone())
            .collect(),
    );
    let outcomes: Vec<Outcome> = thread::scope(|scope| {
        let (target, ids) = (trial.target.as_ref(), ids.as_slice());
        let calls: Vec<_> = planned
            .iter()
            .map(|one| scope.spawn(move || one.perform(target, ids)))
            .collect();
        after(burst.kill_after);
        kill9(pid);
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    trial.kill("random kill");
    let told: Vec<String> = words
        .iter()
        .zip(&outcomes)
        .map(|(word, outcome)| format!("{word}: {}", brief(outcome)))
        .collect();
    trial.history.push(format!(
        "{}; killed after {:?}",
        told.join("; "),
        burst.kill_after
    ));
    for (one, outcome) in planned.into_iter().zip(outcomes) {
        take(trial, one, outcome);
    }
    let fault = recover(trial, burst);
    trial.check(fault);
}

/// What is done before the calls, by whoever asks for them.
fn prepare(trial: &mut Trial, planned: &Planned) {
    match planned {
        Planned::Rotate(index, old) => {
            // Where there is no log yet, there is nothing to reopen; the call says so.
            drop(std::fs::rename(trial.subjects[*index].log.current(), old));
        }
        Planned::Pod(name) => trial.expect_pod(name),
        Planned::Create(..)
        | Planned::Start(_)
        | Planned::Stop(..)
        | Planned::Remove(_)
        | Planned::Exec(_)
        | Planned::Stats(_) => {}
    }
}

fn brief(outcome: &Outcome) -> String {
    let of = |refusal: Option<&crate::target::Refusal>| match refusal {
        None => "ok".to_owned(),
        Some(refusal) if is_silence(refusal) => "no answer".to_owned(),
        Some(refusal) => refusal.to_string(),
    };
    match outcome {
        Outcome::Id(answer) => of(answer.as_ref().err()),
        Outcome::Done(answer) => of(answer.as_ref().err()),
        Outcome::Ended(answer) => of(answer.as_ref().err()),
    }
}

/// Takes an outcome into the model.
fn take(trial: &mut Trial, planned: Planned, outcome: Outcome) {
    match (planned, outcome) {
        (Planned::Create(index, _), Outcome::Id(answer)) => drop(trial.created(index, answer)),
        (Planned::Start(index), Outcome::Done(answer)) => {
            if trial.subjects[index].started != Told::Acknowledged {
                drop(trial.was_started(index, answer));
            }
        }
        (Planned::Stop(index, _), Outcome::Done(answer)) => drop(trial.was_stopped(index, answer)),
        (Planned::Remove(index), Outcome::Done(answer)) => drop(trial.was_removed(index, answer)),
        (Planned::Rotate(index, old), Outcome::Done(answer)) => {
            if old.exists() {
                trial.was_rotated(index, old, &answer);
            }
        }
        (Planned::Pod(name), Outcome::Id(answer)) => trial.was_run(&name, answer.is_ok()),
        (Planned::Exec(_), Outcome::Ended(Ok(ended))) => {
            assert_eq!(
                (ended.code, ended.stdout.as_str()),
                (4, "well\n"),
                "an exec that was answered"
            );
        }
        (Planned::Exec(_) | Planned::Stats(_), _) => {}
        (planned, outcome) => panic!("{planned:?} has the outcome {outcome:?}"),
    }
}

/// Lets time pass without a manager, and starts it again. The fault's name.
fn recover(trial: &mut Trial, burst: &Burst) -> &'static str {
    let mut fault = "random kill";
    trial.short_outage();
    if burst.ends_while_down {
        let obedient = |index: &usize| {
            let subject = &trial.subjects[*index];
            subject.should_run()
                && matches!(subject.workload, Workload::Obedient { .. })
                && subject.pid.is_some()
        };
        let chosen = (BYSTANDER + 1..trial.subjects.len()).find(obedient);
        if let Some(index) = chosen {
            ends(trial, index);
            let name = trial.subjects[index].name.clone();
            trial.history.push(format!("{name} ends while down"));
            fault = "random kill, ends while down";
        }
    }
    if let Some(again) = burst.kill_again_after {
        trial.target.spawn(None);
        after(again);
        trial.kill("random kill in start");
        trial
            .history
            .push(format!("killed {again:?} after its start"));
        fault = "random kill in start";
    }
    trial.restart(fault, None);
    fault
}

/// Runs a case.
pub fn run_case(kind: &Kind, name: &str, repeat: &str, bursts: &[Burst]) -> (Run, Vec<String>) {
    let history = Mutex::new(Vec::new());
    let start = || kind.start();
    let mut run = on_target(name, repeat, &start, |trial| {
        let mut slots = Slots::default();
        for burst in bursts {
            run_burst(trial, &mut slots, burst);
            history.lock().unwrap().clone_from(&trial.history);
            if !trial.run.violations.is_empty() {
                return;
            }
        }
    });
    run.is_judged = kind.is_judged();
    (run, history.into_inner().unwrap())
}

impl Arguments {
    /// The torture that is part of every test of a target: the same seeds each time.
    pub fn fixed(target: &Kind, is_quick: bool) -> Self {
        Self {
            seconds: if is_quick { 15 } else { 60 },
            seed: 1,
            kills: None,
            target: target.clone(),
            jobs: 2,
        }
    }

    /// Runs cases until the time is up.
    pub fn run(&self) -> Vec<Run> {
        let end = Instant::now() + Duration::from_secs(self.seconds);
        let (serial, kills) = (AtomicU64::new(0), AtomicU64::new(0));
        let runs = Mutex::new(Vec::new());
        let goes_on = || match self.kills {
            Some(goal) => kills.load(Ordering::Relaxed) < goal,
            None => Instant::now() < end,
        };
        thread::scope(|scope| {
            for _ in 0..self.jobs {
                scope.spawn(|| {
                    while goes_on() {
                        let seed = self.seed + serial.fetch_add(1, Ordering::Relaxed);
                        let run = self.case(seed);
                        let killed = run
                            .marks
                            .iter()
                            .filter(|mark| mark.kind == crate::history::MarkKind::Killed);
                        kills.fetch_add(u64::try_from(killed.count()).unwrap(), Ordering::Relaxed);
                        crate::tell(&run);
                        runs.lock().unwrap().push(run);
                    }
                });
            }
        });
        println!("{} kills", kills.load(Ordering::Relaxed));
        runs.into_inner().unwrap()
    }

    fn case(&self, seed: u64) -> Run {
        let (name, kind) = (format!("torture {seed}"), &self.target);
        let repeat = format!("make torture TARGET={kind} SEED={seed} SECONDS=1");
        let bursts = case(seed);
        let (mut run, history) = run_case(kind, &name, &repeat, &bursts);
        run.seed = Some(seed);
        if !run.violations.is_empty() || run.broken.is_some() {
            let run_again = |bursts: &[Burst]| {
                let (run, history) = run_case(kind, &name, &repeat, bursts);
                (!run.violations.is_empty() || run.broken.is_some()).then_some(history)
            };
            run.minimal = shrink::smallest(&bursts, history, run_again);
        }
        run
    }
}
