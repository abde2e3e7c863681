//! The report of `make bench`: `report.json` for programs, `summary.md` and charts for people, and a table for the terminal. Owns
//! how findings are shown and whether they reach their targets; what was measured, and how, was decided by who filled them.
//!
//! ```text
//! Findings --> standing (ratios, targets), fit (curves) --> table               terminal
//!                                                       |-> json                report.json
//!                                                       |-> summary             summary.md
//!                                                       `-> chart, line --> svg charts/GROUP.svg, charts/CURVE.svg
//! ```

pub mod chart;
pub mod fit;
pub mod json;
pub mod line;
pub mod standing;
pub mod summary;
pub mod svg;
pub mod table;
pub mod words;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use serde::Serialize;

use crate::measure::{
    CAT, CONMON, CRUN, Curve, Findings, GO, Measure, OUTLIVE, RUNC, RUST, Series,
};

/// Where the figures were taken, and of what.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Machine {
    /// The kernel's release, as `uname -r`.
    pub kernel: String,
    /// The processor's model.
    pub cpu: String,
    /// How many processors this process may use.
    pub cpus: usize,
    /// Kilobytes of 1024 bytes, `MemTotal` of proc(5).
    pub memory_kb: u64,
    /// When it was measured: RFC 3339 in UTC, to the second.
    pub date: String,
    /// What each program says of itself, by its name.
    pub versions: BTreeMap<String, String>,
}

/// All that is shown.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// What was called, as it can be typed again.
    pub command: Option<&'a str>,
    pub machine: &'a Machine,
    /// Few rounds: not for comparisons.
    pub is_quick: bool,
    pub findings: &'a Findings,
}

/// Writes all files to `dir`, which is made where it is missing. What was there of an earlier report is replaced, its charts
/// too.
pub fn write(report: &Report<'_>, dir: &Path) -> io::Result<()> {
    let charts = dir.join("charts");
    fs::create_dir_all(&charts)?;
    for entry in fs::read_dir(&charts)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "svg") {
            fs::remove_file(path)?;
        }
    }
    let mut json = BufWriter::new(File::create(dir.join("report.json"))?);
    serde_json::to_writer_pretty(&mut json, &json::document(report))?;
    json.write_all(b"\n")?;
    json.flush()?;
    fs::write(dir.join("summary.md"), summary::markdown(report))?;
    for (name, svg) in drawings(report) {
        fs::write(charts.join(name), svg)?;
    }
    Ok(())
}

/// Every chart with its file's name.
pub fn drawings(report: &Report<'_>) -> Vec<(String, String)> {
    let mut drawings = Vec::new();
    for (name, measures) in groups(report.findings) {
        if let Some(svg) = chart::bars(name, &measures, report) {
            drawings.push((format!("{name}.svg"), svg));
        }
    }
    for curve in &report.findings.curves {
        if let Some(svg) = line::lines(curve, report) {
            drawings.push((format!("{}.svg", curve.id), svg));
        }
    }
    drawings
}

/// The measures by the part of their ids before the dot, in the order in which they were taken.
pub fn groups(findings: &Findings) -> Vec<(&str, Vec<&Measure>)> {
    let mut groups: Vec<(&str, Vec<&Measure>)> = Vec::new();
    for measure in &findings.measures {
        let name = measure.id.split('.').next().unwrap_or_default();
        match groups.iter_mut().find(|(group, _)| *group == name) {
            Some((_, measures)) => measures.push(measure),
            None => groups.push((name, vec![measure])),
        }
    }
    groups
}

/// Who was measured: this project first, then the known ones, then others in the order in which they come.
pub fn participants<'a>(series: impl Iterator<Item = &'a Series>) -> Vec<&'static str> {
    let mut found: Vec<&'static str> = Vec::new();
    for series in series.filter(|series| !series.values.is_empty()) {
        if !found.contains(&series.who) {
            found.push(series.who);
        }
    }
    let known = [OUTLIVE, GO, RUST, CONMON, RUNC, CRUN, CAT];
    let place = |who: &str| known.iter().position(|known| *known == who);
    found.sort_by_key(|who| place(who).unwrap_or(known.len()));
    found
}

/// A curve's series in the order of its participants.
pub fn in_order(curve: &Curve) -> Vec<&Series> {
    let who = participants(curve.series.iter()).into_iter();
    let series = who.filter_map(|who| curve.series.iter().find(|series| series.who == who));
    series.collect()
}
