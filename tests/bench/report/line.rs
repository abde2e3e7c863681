//! A chart for each curve: the figure over the number of containers, a line with its points for each who was measured.

use super::svg::{HEAD, LINE, MARGIN, colour, page, path, text_at, ticks};
use super::words::{better, capital, chosen, escape, figure, titled};
use super::{Report, fit, in_order};
use crate::measure::{Curve, OUTLIVE, Unit, as_float};

/// The plot's size, without what is written around it.
const PLOT: (f64, f64) = (660.0, 280.0);
/// For the numbers at the left, and below.
const EDGE: (f64, f64) = (58.0, 42.0);

/// From figures to pixels.
struct Plane {
    left: f64,
    bottom: f64,
    most: (f64, f64),
}

impl Plane {
    fn x(&self, n: f64) -> f64 {
        self.left + n / self.most.0 * PLOT.0
    }

    fn y(&self, value: f64) -> f64 {
        self.bottom - value / self.most.1 * PLOT.1
    }
}

/// One line.
struct Line {
    who: &'static str,
    colour: &'static str,
    points: Vec<(f64, f64)>,
    /// The straight line nearest to it, in words.
    says: String,
}

/// The chart of a curve. `None` where it has no point.
pub fn lines(curve: &Curve, report: &Report<'_>) -> Option<String> {
    let lines = lines_of(curve);
    if lines.is_empty() {
        return None;
    }
    let most = |part: fn(&(f64, f64)) -> f64| {
        let points = lines.iter().flat_map(|line| &line.points);
        ticks(points.map(part).fold(0.0, f64::max))
    };
    let (across, up) = (most(|point| point.0), most(|point| point.1));
    let top = HEAD + LINE * as_float(lines.len()) + 12.0;
    let plane = Plane {
        left: MARGIN + EDGE.0,
        bottom: top + PLOT.1,
        most: (last(&across), last(&up)),
    };
    let mut body = legend(&lines) + &axes(&plane, &across, &up);
    // This project's last, so that no other hides it.
    for line in lines.iter().rev() {
        body += &drawn(&plane, line, curve.unit);
    }
    let size = (plane.left + PLOT.0 + MARGIN + 10.0, plane.bottom + EDGE.1);
    let note = format!(
        "{}. Behind each name the line a + b × n with the least squares, n the number of containers.",
        capital(better(curve.unit))
    );
    let title = capital(&titled(&curve.title, curve.unit));
    Some(page(&title, &note, report, size, &body))
}

fn lines_of(curve: &Curve) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for (place, series) in in_order(curve).into_iter().enumerate() {
        let points = fit::points(&curve.containers, &series.values);
        if !points.is_empty() {
            let fit = fit::fit(&curve.containers, &series.values);
            lines.push(Line {
                who: series.who,
                colour: colour(series.who, place),
                points,
                says: fit.map(fit::Fit::text).unwrap_or_default(),
            });
        }
    }
    lines
}

fn last(ticks: &[f64]) -> f64 {
    ticks.last().copied().unwrap_or(1.0)
}

fn legend(lines: &[Line]) -> String {
    let mut body = String::new();
    for (place, line) in lines.iter().enumerate() {
        let y = HEAD + LINE * as_float(place);
        let (left, right) = (MARGIN, MARGIN + 22.0);
        body += &format!(
            "<path d=\"M{left:.1} {y:.1}H{right:.1}\" stroke=\"{0}\" stroke-width=\"2\"/><circle cx=\"{1:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{0}\"/>\n",
            line.colour,
            f64::midpoint(left, right)
        );
        let class = if line.who == OUTLIVE { "ours" } else { "" };
        body += &text_at((right + 8.0, y + 4.0), class, line.who);
        body += &text_at((right + 110.0, y + 4.0), "small", &line.says);
    }
    body
}

fn axes(plane: &Plane, across: &[f64], up: &[f64]) -> String {
    let (left, right) = (plane.left, plane.left + PLOT.0);
    let (bottom, top) = (plane.bottom, plane.bottom - PLOT.1);
    let mut body = String::new();
    for value in up {
        let y = plane.y(*value);
        body += &path("grid", &format!("M{left:.1} {y:.1}H{right:.1}"));
        body += &text_at((left - 8.0, y + 4.0), "small end", &chosen(*value));
    }
    for n in across {
        let x = plane.x(*n);
        body += &path("axis", &format!("M{x:.1} {bottom:.1}v5"));
        body += &text_at((x, bottom + 18.0), "small middle", &chosen(*n));
    }
    body += &path(
        "axis",
        &format!("M{left:.1} {top:.1}V{bottom:.1}H{right:.1}"),
    );
    let middle = f64::midpoint(left, right);
    body + &text_at((middle, bottom + 36.0), "small middle", "containers")
}

fn drawn(plane: &Plane, line: &Line, unit: Unit) -> String {
    let places = line
        .points
        .iter()
        .map(|(n, value)| (plane.x(*n), plane.y(*value)));
    let steps: Vec<String> = places.map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
    let mut body = format!(
        "<path d=\"M{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\" stroke-linejoin=\"round\"/>\n",
        steps.join("L"),
        line.colour
    );
    for (n, value) in &line.points {
        let says = format!("{}, {}: {}", line.who, chosen(*n), figure(*value, unit));
        body += &format!(
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\" fill=\"{}\"><title>{}</title></circle>\n",
            plane.x(*n),
            plane.y(*value),
            line.colour,
            escape(&says)
        );
    }
    body
}
