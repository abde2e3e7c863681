//! The report in a terminal: a table for each group, the curves, the targets, and what was left out.

use super::standing::{self, Outcome, Target};
use super::words::{NONE, counted, digits, figure, machine, plain, shortened};
use super::{Report, fit, groups, in_order, participants};
use crate::measure::{Curve, Measure, OUTLIVE, Summary, Unit};

/// How wide a terminal may be expected to be, in characters.
const WIDTH: usize = 160;
/// The longest title.
const TITLE: usize = 48;

/// To which side a column's cells go.
#[derive(Clone, Copy)]
enum Side {
    Left,
    Right,
}

/// A column, its head the first cell.
struct Column {
    cells: Vec<String>,
    side: Side,
    /// Blanks before it.
    gap: usize,
}

impl Column {
    fn width(&self) -> usize {
        let widths = self.cells.iter().map(|cell| cell.chars().count());
        widths.max().unwrap_or(0)
    }

    fn put(&self, row: usize, line: &mut String) {
        let (cell, width) = (&self.cells[row], self.width());
        *line += &" ".repeat(self.gap);
        *line += &match self.side {
            Side::Left => format!("{cell:<width$}"),
            Side::Right => format!("{cell:>width$}"),
        };
    }
}

/// The text, with the end of its last line.
pub fn text(report: &Report<'_>) -> String {
    let place = format!("{}; {}", machine(report.machine), report.machine.date);
    let mut text = format!("{}\n", plain(&place));
    for (name, version) in &report.machine.versions {
        text += &format!("  {name:<11} {}\n", shortened(&plain(version), 100));
    }
    if report.is_quick {
        text += "quick: few rounds, for a first look\n";
    }
    for (name, measures) in groups(report.findings) {
        text += &format!("\n{}\n{}", plain(name), group(&measures));
    }
    for each in &report.findings.curves {
        text += &format!("\n{}", curve(each));
    }
    if !report.findings.measures.is_empty() {
        text += &format!(
            "\nmedian (least … 90th percentile); ÷ is {OUTLIVE}'s figure divided by the other's, the median of the rounds\n"
        );
    }
    text += &targets(&standing::targets(report.findings));
    if !report.findings.skipped.is_empty() {
        text += "\nskipped\n";
    }
    for skipped in &report.findings.skipped {
        text += &format!("  {}: {}\n", plain(&skipped.what), plain(&skipped.why));
    }
    text
}

fn group(measures: &[&Measure]) -> String {
    let who = participants(measures.iter().flat_map(|measure| &measure.series));
    let column = |head: &str, side, gap, cell: &dyn Fn(&Measure) -> String| {
        let cells = measures.iter().map(|measure| cell(measure));
        Column {
            cells: std::iter::once(head.to_owned()).chain(cells).collect(),
            side,
            gap,
        }
    };
    let fixed = [
        column("", Side::Left, 2, &|measure| {
            shortened(&plain(&measure.title), TITLE)
        }),
        column("", Side::Left, 1, &|measure| measure.unit.name().to_owned()),
    ];
    let parts = who.into_iter().map(|who| {
        let mut part = vec![
            column(who, Side::Right, 3, &|measure| median(measure, who)),
            column("", Side::Left, 1, &|measure| spread(measure, who)),
        ];
        if who != OUTLIVE {
            part.push(column(&format!("÷ {who}"), Side::Right, 1, &|measure| {
                let ratio = standing::ratio_to(measure, who);
                ratio.map_or_else(|| NONE.to_owned(), |ratio| digits(ratio.value))
            }));
        }
        part
    });
    blocks(&fixed, parts.collect())
}

/// As many parts side by side as the width allows, the rest below, each block with the fixed columns.
fn blocks(fixed: &[Column], parts: Vec<Vec<Column>>) -> String {
    let width = |columns: &[Column]| -> usize {
        let widths = columns.iter().map(|column| column.gap + column.width());
        widths.sum()
    };
    let mut blocks: Vec<Vec<Column>> = Vec::new();
    for part in parts {
        match blocks.last_mut() {
            Some(block) if width(fixed) + width(block) + width(&part) <= WIDTH => {
                block.extend(part);
            }
            Some(_) | None => blocks.push(part),
        }
    }
    let mut text = String::new();
    for block in &blocks {
        for row in 0..block.first().map_or(0, |column| column.cells.len()) {
            let mut line = String::new();
            for column in fixed.iter().chain(block) {
                column.put(row, &mut line);
            }
            text += line.trim_end();
            text += "\n";
        }
    }
    text
}

fn summary(measure: &Measure, who: &str) -> Option<Summary> {
    let values = measure.of(who).filter(|values| !values.is_empty());
    values.map(Summary::of)
}

fn median(measure: &Measure, who: &str) -> String {
    let summary = summary(measure, who);
    summary.map_or_else(
        || NONE.to_owned(),
        |summary| figure(summary.median, measure.unit),
    )
}

/// From the least to the 90th percentile; nothing of one value.
fn spread(measure: &Measure, who: &str) -> String {
    let is_one = measure.of(who).is_none_or(|values| values.len() < 2);
    match summary(measure, who) {
        Some(summary) if !is_one => format!(
            "({} … {})",
            figure(summary.min, measure.unit),
            figure(summary.p90, measure.unit)
        ),
        Some(_) | None => String::new(),
    }
}

/// The values over the number of containers, and the line through them.
fn curve(curve: &Curve) -> String {
    let column = |head: String, cells: Vec<String>, side, gap| Column {
        cells: std::iter::once(head).chain(cells).collect(),
        side,
        gap,
    };
    let series = in_order(curve);
    let who = series.iter().map(|series| plain(series.who)).collect();
    let fixed = [column("containers".to_owned(), who, Side::Left, 2)];
    let mut parts: Vec<Vec<Column>> = Vec::new();
    for (at, n) in curve.containers.iter().enumerate() {
        let value =
            |value: Option<&f64>| value.map_or(NONE.to_owned(), |value| figure(*value, curve.unit));
        let cells = series.iter().map(|series| value(series.values.get(at)));
        let head = figure(*n, Unit::Count);
        parts.push(vec![column(head, cells.collect(), Side::Right, 2)]);
    }
    let fits = series.iter().map(|series| {
        let fit = fit::fit(&curve.containers, &series.values);
        fit.map_or(NONE.to_owned(), |fit| fit.text())
    });
    let head = "a + b × n, n containers".to_owned();
    parts.push(vec![column(head, fits.collect(), Side::Left, 3)]);
    let unit = match curve.unit.name() {
        "" => String::new(),
        unit => format!(", {unit}"),
    };
    format!(
        "{}: {}{unit}\n{}",
        plain(&curve.id),
        plain(&curve.title),
        blocks(&fixed, parts)
    )
}

fn targets(targets: &[Target<'_>]) -> String {
    if targets.is_empty() {
        return String::new();
    }
    let [mut met, mut missed] = [0, 0];
    let rows = targets.iter().map(|target| {
        let (verdict, reached) = match &target.outcome {
            Outcome::Met(_) => {
                met += 1;
                ("met", target.reached())
            }
            Outcome::Missed(_) => {
                missed += 1;
                ("MISSED", target.reached())
            }
            Outcome::NotMeasured(why) => ("", format!("not measured: {why}")),
        };
        let title = shortened(&plain(target.title), TITLE);
        [
            verdict.to_owned(),
            target.id.to_owned(),
            title,
            target.asks(),
            reached,
        ]
    });
    let rows: Vec<[String; 5]> = rows.collect();
    let columns: Vec<Column> = (0..5)
        .map(|at| Column {
            cells: rows.iter().map(|row| row[at].clone()).collect(),
            side: Side::Left,
            gap: 2,
        })
        .collect();
    format!(
        "\ntargets\n{}{} met, {missed} missed, {} not measured\n",
        blocks(&[], vec![columns]),
        counted(met, "target"),
        targets.len() - met - missed
    )
}
