//! `make bench`: what this shim and its supervisor cost, side by side with what people would pick instead.
//!
//! ```text
//! peer, shim, events, process   who is measured, and how it is driven
//! bench, measure                rounds in turn, series, targets
//! fleet                         managers with many running containers
//! life, exec, exit, ..          a module for each group of figures; ONLY= names them
//! machine, report               the table on the terminal; target/bench: report.json, summary.md, charts
//! ```

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a measurement fails that cannot be made"
)]

mod bench;
mod conmon;
mod ctr_run;
mod events;
mod exec;
mod exit;
mod fleet;
mod flood;
mod hang;
mod instructions;
mod life;
mod machine;
mod measure;
mod memory;
mod output;
mod peer;
mod process;
mod recovery;
mod report;
#[path = "../support/ttrpc.rs"]
mod rpc;
mod shim;
#[path = "../task/spec.rs"]
#[expect(dead_code, reason = "no container has mounts of its own here")]
mod spec;
#[path = "../support/mod.rs"]
mod support;

use bench::Bench;
use std::process::ExitCode;

use measure::Findings;
use report::standing::{self, Outcome, Target};
use support::{poll, rootfs};

/// A group of figures: its name, and what takes them.
type Group = (&'static str, fn(&mut Bench));

const GROUPS: [Group; 9] = [
    ("life", life::run),
    ("exec", exec::run),
    ("exit", exit::run),
    ("memory", memory::run),
    ("output", output::run),
    ("hang", hang::run),
    ("ctr", ctr_run::run),
    ("recovery", recovery::run),
    ("instructions", instructions::run),
];

/// `--quick` takes a fifth of the rounds, `--only NAME,..` some groups; `--check` fails where a target is not met.
fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| words.iter().any(|one| one == word);
    let only = words.iter().position(|word| word == "--only");
    let only: Option<Vec<&str>> = only.map(|at| {
        let names = words.get(at + 1).expect("--only names groups");
        names.split(',').collect()
    });
    for name in only.iter().flatten() {
        assert!(GROUPS.iter().any(|(group, _)| group == name), "no {name}");
    }
    let (peers, skipped) = peer::all();
    let mut bench = Bench {
        is_quick: has("--quick"),
        peers,
        ground: shim::Ground::new(),
        findings: Findings {
            skipped,
            ..Findings::default()
        },
    };
    for (name, run) in GROUPS {
        if only.as_ref().is_none_or(|only| only.contains(&name)) {
            println!("measuring {name}");
            run(&mut bench);
        }
    }
    show(&bench);
    let is_met = |target: &Target<'_>| matches!(target.outcome, Outcome::Met(_));
    if has("--check") && !standing::targets(&bench.findings).iter().all(is_met) {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// The table, and the files in target/bench.
fn show(bench: &Bench) {
    let command = std::env::var("OUTLIVE_COMMAND").ok();
    let machine = machine::describe(&bench.peers);
    let report = report::Report {
        command: command.as_deref().map(str::trim),
        machine: &machine,
        is_quick: bench.is_quick,
        findings: &bench.findings,
    };
    print!("{}", report::table::text(&report));
    let dir = std::path::Path::new("target/bench");
    report::write(&report, dir).unwrap();
    println!("report: {}", dir.join("report.json").display());
}
