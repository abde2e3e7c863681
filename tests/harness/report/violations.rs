//! The index of what was violated: for each red cell of the tables the runs that it was seen in, and what was seen first.

use super::invariants;
use super::table::anchor;
use super::totals::{self, Standing, Totals};
use super::words::{clipped, counted, escape};
use crate::history::{Report, Run, Violation};

/// More runs than these are not linked from a cell's violations.
const RUNS: usize = 40;
/// Longer texts are cut.
const TEXT: usize = 600;

/// The index, of each target in the order of its faults.
pub fn section(report: &Report, all: &[Totals<'_>]) -> String {
    let mut items = String::new();
    for (target, totals) in all.iter().enumerate() {
        for (place, fault) in totals.faults.iter().enumerate() {
            let cells = totals.cells.keys().filter(|(name, _)| name == fault);
            for (_, number) in cells {
                if totals.cell(fault, *number).standing() == Standing::Violated {
                    items += &item(
                        report,
                        totals,
                        &anchor(target, place, *number),
                        (fault, *number),
                    );
                }
            }
        }
    }
    if items.is_empty() {
        return "<p>None was seen.</p>".to_owned();
    }
    items
}

fn item(report: &Report, totals: &Totals<'_>, anchor: &str, (fault, number): (&str, u8)) -> String {
    let name = escape(totals.target);
    let judged = if totals.is_judged {
        ""
    } else {
        " <span class=of>peer, not judged</span>"
    };
    let runs: Vec<(usize, &Run, usize)> = runs(report, totals.target, fault, number);
    let example = runs
        .iter()
        .find_map(|(_, run, _)| first(run, fault, number));
    let example = example.map_or_else(
        || "<p class=note>It was counted, and what was seen was not kept.</p>".to_owned(),
        shown,
    );
    let links = runs.iter().take(RUNS).map(|(index, run, count)| {
        let seed = run
            .seed
            .map_or_else(String::new, |seed| format!(", seed {seed}"));
        format!(
            "<a href='#run-{index}'>{}{seed}</a> ({count})",
            escape(&clipped(&run.name, 100))
        )
    });
    let links: Vec<String> = links.collect();
    let more = match runs.len().saturating_sub(RUNS) {
        0 => String::new(),
        more => format!(" and in {}", counted(more, "more run")),
    };
    format!(
        "<article class=seen id={anchor} data-target=\"{name}\"><h3>{name}: {number} {}{judged}</h3>\
         <p>{} after <b>{}</b></p>{example}<p class=facts>In {}{more}</p></article>",
        invariants::short(number),
        counted(totals.cell(fault, number).violated, "violation"),
        escape(&clipped(fault, 200)),
        links.join("; ")
    )
}

/// The runs that a violation was seen in, with their places, and how often.
fn runs<'a>(
    report: &'a Report,
    target: &str,
    fault: &str,
    number: u8,
) -> Vec<(usize, &'a Run, usize)> {
    let runs = report
        .runs
        .iter()
        .enumerate()
        .filter(|(_, run)| run.target == target);
    let counts = runs.map(|(index, run)| {
        let counts = totals::counts(run).into_iter();
        let meant = counts.filter(|counted| counted.fault == fault && counted.invariant == number);
        (
            index,
            run,
            meant.map(|counted| counted.count.violated).sum(),
        )
    });
    counts.filter(|(_, _, count)| *count > 0).collect()
}

fn first<'a>(run: &'a Run, fault: &str, number: u8) -> Option<&'a Violation> {
    let mut seen = run.violations.iter();
    seen.find(|seen| seen.fault == fault && seen.invariant == number)
}

fn shown(seen: &Violation) -> String {
    let text = |text: &str| escape(&clipped(text, TEXT));
    format!(
        "<dl class=seen><dt>of<dd>{}<dt>expected<dd class=text>{}<dt>saw<dd class=text>{}</dl>",
        text(&seen.subject),
        text(&seen.expected),
        text(&seen.saw)
    )
}
