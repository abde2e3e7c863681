//! The restart-recovery harness: kills whatever manages containers, everywhere, and says what was lost.
//!
//! ```text
//! recovery    faults x workloads, each with a name      make test-recovery
//! torture     random operations and kills               make torture SECONDS=600 SEED=7 TARGET=supervisor
//! ```
//!
//! `trial` is one run: a [`target`] (the supervisor, or containerd with a shim), containers of [`workload`], what is known of
//! them ([`model`]), what the kernel says ([`witness`]), and the thirteen [`invariants`] after each [`fault`]. A new scenario
//! is a line or a small function in [`scenarios`]. The [`report`] is written to `target/recovery`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is a scenario that broke, and is reported as one"
)]

#[path = "../support/mod.rs"]
mod support;

mod containerd_book;
mod containerd_calls;
#[expect(dead_code, reason = "what its own test asks for besides")]
mod containerd_target;
mod defects;
mod fault;
mod faults;
mod hard;
mod history;
mod invariants;
mod log_book;
mod machine;
mod model;
mod points;
mod report;
mod scenario;
mod scenarios;
mod shrink;
mod supervisor_target;
mod target;
mod torture;
mod trial;
mod witness;
mod workload;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use clap::{Parser, Subcommand};

use history::{Report, Run};
use scenario::Start;
use scenarios::Scenario;
use target::Target;

/// How many scenarios run side by side: one a processor of the smallest machine.
const JOBS: usize = 2;

#[derive(Debug, Parser)]
#[command(about = "Kills what manages containers and says what was lost")]
struct Arguments {
    /// Where report.json and report.html go.
    #[arg(long, default_value = "target/recovery")]
    report: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Faults x workloads on each target, defects that must be found, and a torture of fixed seeds.
    Recovery {
        /// The short form.
        #[arg(long)]
        quick: bool,
        /// Nothing but the scenarios whose name has this text.
        #[arg(long)]
        only: Option<String>,
        /// What is tortured, each in turn.
        #[arg(long, value_delimiter = ',', default_value = "supervisor")]
        target: Vec<machine::Kind>,
        /// List the scenarios.
        #[arg(long)]
        list: bool,
    },
    /// Random operations and kills.
    Torture(torture::Arguments),
}

impl Command {
    fn targets(&self) -> &[machine::Kind] {
        match self {
            Self::Recovery { target, .. } => target,
            Self::Torture(torture) => std::slice::from_ref(&torture.target),
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut report = Report {
        version: 1,
        command: std::env::var("OUTLIVE_COMMAND").unwrap_or_else(|_| machine::command_line()),
        machine: machine::describe(arguments.command.targets()),
        began: witness::now(),
        ..Report::default()
    };
    report.runs = match &arguments.command {
        Command::Recovery {
            quick,
            only,
            target,
            list,
        } => {
            let text = only.as_deref().unwrap_or_default();
            let is_chosen =
                |scenario: &Scenario| (scenario.is_quick || !quick) && scenario.name.contains(text);
            let chosen: Vec<Scenario> = scenarios::all().into_iter().filter(is_chosen).collect();
            if *list {
                chosen
                    .iter()
                    .for_each(|scenario| println!("{}", scenario.name));
                return ExitCode::SUCCESS;
            }
            let on_each = target
                .iter()
                .flat_map(|kind| run_all(&chosen, kind, *quick));
            let mut runs: Vec<Run> = on_each.collect();
            if only.is_none() {
                runs.extend(defects::run());
                for kind in target.iter().filter(|kind| kind.is_outlive()) {
                    runs.extend(torture::Arguments::fixed(kind, *quick).run());
                }
            }
            runs
        }
        Command::Torture(torture) => torture.run(),
    };
    report.ended = witness::now();
    finish(&report, &arguments.report)
}

/// Runs scenarios on one kind of target, some at a time.
fn run_all(chosen: &[Scenario], kind: &machine::Kind, is_quick: bool) -> Vec<Run> {
    let start = |kind: &machine::Kind| -> Box<Start<'static>> {
        let kind = kind.clone();
        Box::new(move || -> Box<dyn Target> { kind.start() })
    };
    let (next, runs) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..JOBS {
            scope.spawn(|| {
                let start = start(kind);
                while let Some(scenario) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // The short form has nothing that is shown only.
                    let is_left_out =
                        scenario.needs_outlive || (is_quick && scenario.is_containerds);
                    if is_left_out && !kind.is_outlive() {
                        continue;
                    }
                    let repeat =
                        format!("make test-recovery TARGET={kind} ONLY='{}'", scenario.name);
                    let mut run = (scenario.run)(&repeat, start.as_ref());
                    run.is_judged =
                        kind.is_judged() && (kind.is_outlive() || !scenario.is_containerds);
                    tell(&run);
                    runs.lock().unwrap().push(run);
                }
            });
        }
    });
    runs.into_inner().unwrap()
}

/// One line on the terminal.
fn tell(run: &Run) {
    let seconds =
        f64::from(u32::try_from((run.ended - run.began) / 1_000_000).unwrap_or(u32::MAX)) / 1000.0;
    let verdict = match (&run.broken, run.violations.len()) {
        (Some(why), _) => format!("BROKEN: {why}"),
        (None, 0) => "ok".to_owned(),
        (None, count) => format!("{count} VIOLATED"),
    };
    println!(
        "{:24} {:48} {seconds:6.1} s  {verdict}",
        run.target, run.name
    );
    for violation in &run.violations {
        println!(
            "    invariant {} after {}: {}: expected {}, saw {}",
            violation.invariant,
            violation.fault,
            violation.subject,
            violation.expected,
            violation.saw
        );
    }
    for line in &run.minimal {
        println!("    | {line}");
    }
}

/// Writes the report and sums it up; a failure unless everything that is judged held.
fn finish(report: &Report, dir: &Path) -> ExitCode {
    report::write(report, dir).unwrap();
    print!("{}", report::summary(report));
    println!("report: {}", dir.join("report.html").display());
    let is_bad = |run: &&Run| run.broken.is_some() || (run.is_judged && !run.violations.is_empty());
    let failed = report.runs.iter().filter(is_bad).count();
    println!("{} passed, {failed} failed", report.runs.len() - failed);
    if failed == 0 && !report.runs.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
