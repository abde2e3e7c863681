//! `report.json`: every raw value, and all that was made of them.
//!
//! ```text
//! {"version": 1, "command", "machine": {..}, "is_quick",
//!  "measures": [{"id", "title", "unit", "series": [{"who", "values", "median", "min", "p90"}],
//!                "ratios": [{"to", "ratio", "is_by_round"}], "targets": [TARGET]}],
//!  "curves": [{"id", "title", "unit", "containers", "series": [{"who", "values", "fit": {"a", "b", "r2"},
//!              "per_container": {"with_ten", "most", "with_most", "times"}}], "targets": [TARGET]}],
//!  "skipped": [{"what", "why"}]}
//! TARGET: {"asked", "limit", "of", "reached", "met"}, or with "reached" and "met" null and a reason in "not_measured";
//!         both figures are how often that of "of", in a measure's unit where there is none, how often that with ten in a curve
//! ```

use serde::Serialize;

use super::fit::{self, Fit, Growth};
use super::standing::{self, Asked, Outcome, Way};
use super::{Machine, Report, participants};
use crate::measure::{Bound, Curve, Measure, OUTLIVE, Series, Skipped, Summary, Unit};

/// The whole file.
#[derive(Serialize)]
pub struct Document<'a> {
    version: u32,
    command: Option<&'a str>,
    machine: &'a Machine,
    is_quick: bool,
    measures: Vec<Measured<'a>>,
    curves: Vec<Drawn<'a>>,
    skipped: &'a [Skipped],
}

#[derive(Serialize)]
struct Measured<'a> {
    id: &'a str,
    title: &'a str,
    unit: Unit,
    series: Vec<Values<'a>>,
    ratios: Vec<Ratio>,
    targets: Vec<Target>,
}

#[derive(Serialize)]
struct Values<'a> {
    #[serde(flatten)]
    series: &'a Series,
    /// Of no values there is no summary.
    #[serde(flatten)]
    summary: Option<Summary>,
}

#[derive(Serialize)]
struct Ratio {
    to: &'static str,
    ratio: f64,
    is_by_round: bool,
}

#[derive(Serialize)]
struct Target {
    asked: String,
    limit: f64,
    of: Option<&'static str>,
    reached: Option<f64>,
    met: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_measured: Option<String>,
}

#[derive(Serialize)]
struct Drawn<'a> {
    id: &'a str,
    title: &'a str,
    unit: Unit,
    containers: &'a [f64],
    series: Vec<Line<'a>>,
    targets: Vec<Target>,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    series: &'a Series,
    fit: Option<Fit>,
    per_container: Option<Growth>,
}

/// What the file has.
pub fn document<'a>(report: &Report<'a>) -> Document<'a> {
    let findings = report.findings;
    Document {
        version: 1,
        command: report.command,
        machine: report.machine,
        is_quick: report.is_quick,
        measures: findings.measures.iter().map(measured).collect(),
        curves: findings.curves.iter().map(drawn).collect(),
        skipped: &findings.skipped,
    }
}

fn measured(measure: &Measure) -> Measured<'_> {
    let values = |series| Values {
        series,
        summary: (!series.values.is_empty()).then(|| Summary::of(&series.values)),
    };
    let others = participants(measure.series.iter()).into_iter();
    let ratios = others.filter(|who| *who != OUTLIVE).filter_map(|to| {
        let ratio = standing::ratio_to(measure, to)?;
        Some(Ratio {
            to,
            ratio: ratio.value,
            is_by_round: ratio.way == Way::Rounds,
        })
    });
    Measured {
        id: &measure.id,
        title: &measure.title,
        unit: measure.unit,
        series: measure.series.iter().map(values).collect(),
        ratios: ratios.collect(),
        targets: standing::of_measure(measure).iter().map(target).collect(),
    }
}

fn drawn(curve: &Curve) -> Drawn<'_> {
    let line = |series| Line {
        series,
        fit: fit::fit(&curve.containers, &series.values),
        per_container: fit::growth(&curve.containers, &series.values),
    };
    Drawn {
        id: &curve.id,
        title: &curve.title,
        unit: curve.unit,
        containers: &curve.containers,
        series: curve.series.iter().map(line).collect(),
        targets: standing::of_curve(curve).iter().map(target).collect(),
    }
}

fn target(target: &standing::Target<'_>) -> Target {
    let (limit, of) = match target.asked {
        Asked::Bound(Bound::AtMost { times, of } | Bound::AtLeast { times, of }) => {
            (times, Some(of))
        }
        Asked::Bound(Bound::Below(most)) => (most, None),
        Asked::Flat(within) => (1.0 + within, None),
    };
    let (reached, met, not_measured) = match &target.outcome {
        Outcome::Met(value) => (Some(*value), Some(true), None),
        Outcome::Missed(value) => (Some(*value), Some(false), None),
        Outcome::NotMeasured(why) => (None, None, Some(why.clone())),
    };
    Target {
        asked: target.asks(),
        limit,
        of,
        reached,
        met,
        not_measured,
    }
}
