//! `summary.md`: the figures as tables for GitHub, medians only.

use super::standing::{self, Outcome, Target};
use super::words::{NONE, cell, digits, figure, machine, titled};
use super::{Report, fit, groups, in_order, participants};
use crate::measure::{Curve, Findings, Measure, OUTLIVE, Skipped, quantile};

/// The whole file.
pub fn markdown(report: &Report<'_>) -> String {
    let mut text = head(report);
    for (name, measures) in groups(report.findings) {
        text += &format!("\n### {}\n\n{}", cell(name), group(&measures));
    }
    for each in &report.findings.curves {
        let title = cell(&titled(&each.title, each.unit));
        text += &format!("\n### {title}\n\n{}", curve(each));
    }
    text + &targets(report.findings) + &skipped(&report.findings.skipped)
}

/// On what, when, how, and which versions.
fn head(report: &Report<'_>) -> String {
    let mut text = format!(
        "{}; {}.",
        cell(&machine(report.machine)),
        cell(&report.machine.date)
    );
    if let Some(command) = report.command {
        text += &format!(" `{}`", command.replace('`', "'"));
    }
    text += "\n";
    if report.is_quick {
        text += "\nThis was a quick run: few rounds, for a first look.\n";
    }
    let versions = report.machine.versions.iter();
    let versions = versions.map(|(name, version)| vec![cell(name), cell(version)]);
    if !report.machine.versions.is_empty() {
        text += &format!(
            "\n{}",
            table(&["who".into(), "version".into()], 2, versions)
        );
    }
    if !report.findings.measures.is_empty() {
        text += &format!(
            "\nMedians; {OUTLIVE} / other is the median of what the ratio is in each round.\n"
        );
    }
    text
}

fn group(measures: &[&Measure]) -> String {
    let who = participants(measures.iter().flat_map(|measure| &measure.series));
    let others: Vec<&str> = who.iter().copied().filter(|who| *who != OUTLIVE).collect();
    let mut heads = vec![String::new()];
    heads.extend(who.iter().map(|who| cell(who)));
    if who.contains(&OUTLIVE) {
        heads.extend(others.iter().map(|other| format!("{OUTLIVE} / {other}")));
    }
    let rows = measures.iter().map(|measure| {
        let mut row = vec![cell(&titled(&measure.title, measure.unit))];
        row.extend(who.iter().map(|who| {
            let values = measure.of(who).filter(|values| !values.is_empty());
            let median = values.map(|values| figure(quantile(values, 0.5), measure.unit));
            median.unwrap_or_else(|| NONE.to_owned())
        }));
        if who.contains(&OUTLIVE) {
            row.extend(others.iter().map(|other| {
                let ratio = standing::ratio_to(measure, other);
                ratio.map_or_else(|| NONE.to_owned(), |ratio| digits(ratio.value))
            }));
        }
        row
    });
    table(&heads, 1, rows)
}

/// A row for each number of containers, and below what was made of each column.
fn curve(curve: &Curve) -> String {
    let series = in_order(curve);
    let mut heads = vec!["containers".to_owned()];
    heads.extend(series.iter().map(|series| cell(series.who)));
    let or_none = |text: Option<String>| text.unwrap_or_else(|| NONE.to_owned());
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (at, n) in curve.containers.iter().enumerate() {
        let values = series.iter().map(|series| {
            let value = series.values.get(at);
            or_none(value.map(|value| figure(*value, curve.unit)))
        });
        rows.push(std::iter::once(digits_of(*n)).chain(values).collect());
    }
    let fits = series.iter().map(|series| {
        let fit = fit::fit(&curve.containers, &series.values);
        or_none(fit.map(fit::Fit::text))
    });
    let fits = std::iter::once("a + b × n".to_owned()).chain(fits);
    rows.push(fits.collect());
    let growths = series.iter().map(|series| {
        let growth = fit::growth(&curve.containers, &series.values);
        or_none(growth.map(|growth| format!("{} ×", digits(growth.times))))
    });
    let growths = std::iter::once("per container, with most / with ten".to_owned()).chain(growths);
    rows.push(growths.collect());
    table(&heads, 1, rows.into_iter())
}

/// A number of containers.
fn digits_of(n: f64) -> String {
    figure(n, crate::measure::Unit::Count)
}

fn targets(findings: &Findings) -> String {
    let targets = standing::targets(findings);
    if targets.is_empty() {
        return String::new();
    }
    let rows = targets.iter().map(|target: &Target<'_>| {
        let met = match &target.outcome {
            Outcome::Met(_) => "yes".to_owned(),
            Outcome::Missed(_) => "**no**".to_owned(),
            Outcome::NotMeasured(why) => format!("not measured: {}", cell(why)),
        };
        let reached = match target.reached() {
            none if none.is_empty() => NONE.to_owned(),
            reached => cell(&reached),
        };
        vec![cell(target.title), cell(&target.asks()), reached, met]
    });
    let heads = ["", "target", "reached", "met"].map(str::to_owned);
    format!("\n### Targets\n\n{}", table(&heads, 4, rows))
}

fn skipped(skipped: &[Skipped]) -> String {
    if skipped.is_empty() {
        return String::new();
    }
    let lines = skipped
        .iter()
        .map(|skipped| format!("- {}: {}\n", cell(&skipped.what), cell(&skipped.why)));
    format!("\n### Skipped\n\n{}", lines.collect::<String>())
}

/// A table whose first columns, so many of them, are text; the others are figures.
fn table(heads: &[String], texts: usize, rows: impl Iterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rules = (0..heads.len()).map(|at| if at < texts { "---" } else { "--:" });
    let rules: Vec<String> = rules.map(str::to_owned).collect();
    let rows: String = rows.map(|row| line(&row)).collect();
    line(heads) + &line(&rules) + &rows
}
