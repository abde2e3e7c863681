//! The report in a terminal: a table of invariants and targets, the violations with what repeats them, and the verdict in
//! the last line.

use super::invariants;
use super::totals::{self, Count, Standing, Totals};
use super::words::{counted, plain, shortened};
use crate::history::{Report, Run, Violation};

/// More violations than these of a target are only counted.
const SHOWN: usize = 10;
/// The widest that a target's column becomes.
const COLUMN: usize = 24;

/// The text, with the end of its last line.
pub fn summary(report: &Report) -> String {
    let all = totals::of(report);
    let mut text = table(&all);
    for totals in &all {
        text += &violations(report, totals);
    }
    for run in &report.runs {
        if let Some(why) = &run.broken {
            let title = format!("not carried through: {}, {}", run.target, run.name);
            text += &format!("\n{}\n  {}\n{}", plain(&title), line(why), again(run));
        }
    }
    let kills: usize = all.iter().map(|totals| totals.kills).sum();
    let verdict = totals::verdict(report).line();
    text += &format!(
        "\n{verdict} ({}, {})\n",
        counted(report.runs.len(), "run"),
        counted(kills, "kill")
    );
    text
}

fn table(all: &[Totals<'_>]) -> String {
    let names: Vec<String> = all
        .iter()
        .map(|totals| shortened(&plain(totals.target), COLUMN))
        .collect();
    let widths: Vec<usize> = names
        .iter()
        .map(|name| name.chars().count().max(12))
        .collect();
    let mut text = format!("{:<26}", "invariant");
    for (name, width) in names.iter().zip(&widths) {
        text += &format!("  {name:>width$}");
    }
    for number in totals::numbers(all) {
        text += &format!("\n{number:>2} {:<23}", invariants::short(number));
        for (totals, width) in all.iter().zip(&widths) {
            text += &format!("  {:>width$}", cell(totals.invariant(number)));
        }
    }
    text + "\n"
}

fn cell(count: Count) -> String {
    match count.standing() {
        Standing::NotChecked => "not checked".to_owned(),
        Standing::Holds => format!("ok {}", count.checked),
        Standing::Violated => format!("LOST {}/{}", count.violated, count.checked),
    }
}

fn violations(report: &Report, totals: &Totals<'_>) -> String {
    let runs = report.runs.iter().filter(|run| run.target == totals.target);
    let seen = runs.flat_map(|run| run.violations.iter().map(move |seen| (run, seen)));
    let seen: Vec<(&Run, &Violation)> = seen.collect();
    let shown: String = seen
        .iter()
        .take(SHOWN)
        .map(|(run, seen)| violation(run, seen))
        .collect();
    let all = totals.all().violated;
    match all.saturating_sub(seen.len().min(SHOWN)) {
        0 => shown,
        more => format!(
            "{shown}\n{}: {} in the report\n",
            plain(totals.target),
            counted(more, "more violation")
        ),
    }
}

fn violation(run: &Run, seen: &Violation) -> String {
    let judged = if run.is_judged {
        ""
    } else {
        " (a peer, not judged)"
    };
    let head = format!(
        "{}{judged}: {} {}, after {} in {}",
        run.target,
        seen.invariant,
        invariants::short(seen.invariant),
        seen.fault,
        run.name
    );
    format!(
        "\n{}\n  of        {}\n  expected  {}\n  saw       {}\n{}",
        plain(&head),
        line(&seen.subject),
        line(&seen.expected),
        line(&seen.saw),
        again(run)
    )
}

fn again(run: &Run) -> String {
    match run.repeat.is_empty() {
        true => String::new(),
        false => format!("  again     {}\n", plain(&run.repeat)),
    }
}

fn line(text: &str) -> String {
    shortened(&plain(text), 300)
}
