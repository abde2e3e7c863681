//! A chart for each group of measures: a small panel for each of them, in it a bar for each who was measured.

use super::svg::{HEAD, LINE, MARGIN, colour, page, path, text_at, width_of};
use super::words::{better, capital, counted, escape, figure, shortened, with_unit};
use super::{Report, participants};
use crate::measure::{Measure, OUTLIVE, Summary, as_float};

/// A panel's width, and what is between two side by side.
const PANEL: (f64, f64) = (420.0, 24.0);
/// From a panel's upper edge to its first bar, and from one bar to the next.
const STEPS: (f64, f64) = (38.0, 22.0);
/// How thick a bar is.
const THICK: f64 = 14.0;
/// Below the last bar of a panel.
const GAP: f64 = 18.0;

/// One bar.
struct Bar {
    who: &'static str,
    colour: &'static str,
    summary: Summary,
    /// Of one value there is no spread.
    has_spread: bool,
}

/// The chart of a group. `None` where nothing in it was measured.
pub fn bars(group: &str, measures: &[&Measure], report: &Report<'_>) -> Option<String> {
    let who = participants(measures.iter().flat_map(|measure| &measure.series));
    let with_bars = measures
        .iter()
        .map(|measure| (*measure, bars_of(measure, &who)));
    let panels: Vec<(&Measure, Vec<Bar>)> =
        with_bars.filter(|(_, bars)| !bars.is_empty()).collect();
    if panels.is_empty() {
        return None;
    }
    let columns = panels.len().min(2);
    let mut body = String::new();
    let mut y = HEAD;
    for row in panels.chunks(columns) {
        let mut x = MARGIN;
        for (measure, bars) in row {
            body += &panel((x, y), measure, bars);
            x += PANEL.0 + PANEL.1;
        }
        let most = row.iter().map(|(_, bars)| bars.len()).max().unwrap_or(0);
        y += STEPS.0 + STEPS.1 * as_float(most) + GAP;
    }
    let columns = as_float(columns);
    let width = 2.0 * MARGIN + columns * PANEL.0 + (columns - 1.0) * PANEL.1;
    let note = note(&panels);
    Some(page(&capital(group), &note, report, (width, y), &body))
}

fn bars_of(measure: &Measure, who: &[&'static str]) -> Vec<Bar> {
    let bars = who.iter().enumerate().filter_map(|(place, who)| {
        let values = measure.of(who).filter(|values| !values.is_empty())?;
        Some(Bar {
            who,
            colour: colour(who, place),
            summary: Summary::of(values),
            has_spread: values.len() > 1,
        })
    });
    bars.collect()
}

fn panel(at: (f64, f64), measure: &Measure, bars: &[Bar]) -> String {
    let (left, top) = at;
    let names = bars.iter().map(|bar| width_of(bar.who));
    let names = names.fold(0.0, f64::max).min(130.0) + 10.0;
    let labels = bars
        .iter()
        .map(|bar| width_of(&figure(bar.summary.median, measure.unit)));
    let labels = labels.fold(0.0, f64::max) + 8.0;
    let room = PANEL.0 - names - labels;
    let ends = bars.iter().map(end);
    let most = ends.filter(|end| end.is_finite()).fold(0.0, f64::max);
    let long = |value: f64| {
        if most > 0.0 && value.is_finite() {
            (value / most).clamp(0.0, 1.0) * room
        } else {
            0.0
        }
    };
    let zero = left + names;
    let kind = match measure.unit.name() {
        "" => better(measure.unit).to_owned(),
        unit => format!("{unit}, {}", better(measure.unit)),
    };
    let mut body = text_at((left, top + 12.0), "head", &shortened(&measure.title, 56));
    body += &text_at((left, top + 12.0 + LINE), "small", &kind);
    for (place, bar) in bars.iter().enumerate() {
        let y = top + STEPS.0 + STEPS.1 * as_float(place);
        let middle = y + THICK / 2.0;
        let base = middle + 4.0;
        let ours = if bar.who == OUTLIVE { " ours" } else { "" };
        let value = figure(bar.summary.median, measure.unit);
        let full = with_unit(&value, measure.unit);
        body += &text_at(
            (zero - 6.0, base),
            &format!("end{ours}"),
            &shortened(bar.who, 18),
        );
        body += &format!(
            "<rect x=\"{zero:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{THICK:.1}\" fill=\"{}\"><title>{}</title></rect>\n",
            long(bar.summary.median).max(1.0),
            bar.colour,
            escape(&format!("{}: {full}", bar.who))
        );
        if bar.has_spread {
            let (from, to) = (zero + long(bar.summary.min), zero + long(bar.summary.p90));
            let low = middle - 3.0;
            let steps =
                format!("M{from:.1} {low:.1}v6M{to:.1} {low:.1}v6M{from:.1} {middle:.1}H{to:.1}");
            body += &path("whisker", &steps);
        }
        let after = zero + long(end(bar)).max(1.0) + 6.0;
        body += &text_at((after, base), ours.trim_start(), &value);
    }
    let (above, below) = (top + STEPS.0 - 4.0, STEPS.1 * as_float(bars.len()));
    body + &path("axis", &format!("M{zero:.1} {above:.1}v{below:.1}"))
}

/// As far as a bar or its whisker goes.
fn end(bar: &Bar) -> f64 {
    if bar.has_spread {
        bar.summary.median.max(bar.summary.p90)
    } else {
        bar.summary.median
    }
}

/// What bars and lines are.
fn note(panels: &[(&Measure, Vec<Bar>)]) -> String {
    let series = panels.iter().flat_map(|(measure, _)| &measure.series);
    let lengths = series.map(|series| series.values.len());
    let lengths: Vec<usize> = lengths.filter(|length| *length > 0).collect();
    let (least, most) = (lengths.iter().min(), lengths.iter().max());
    let rounds = match (least, most) {
        (Some(least), Some(most)) if least < most => format!("{least} to {most} rounds"),
        (_, Some(1)) | (_, None) => return "Bars: what one round gave.".to_owned(),
        (_, Some(most)) => counted(*most, "round"),
    };
    format!("Bars: medians of {rounds}; lines on them: from the least to the 90th percentile.")
}
