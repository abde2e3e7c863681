//! What a curve says: the straight line nearest to it, and whether one container costs more where there are many. Pure.

use super::words::digits;
use crate::measure::as_float;

/// How many containers the cost with most of them is compared with.
const TEN: f64 = 10.0;

/// The line `a + b * n` with the least squares of what is left.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Fit {
    /// What there is without any container, in the curve's unit.
    pub a: f64,
    /// What each container adds.
    pub b: f64,
    /// The share of the differences that the line explains; 1 where there are none.
    pub r2: f64,
}

impl Fit {
    /// As tables write it: `12.3 + 0.981 × n (r² 0.9987)`.
    pub fn text(self) -> String {
        let sign = if self.b < 0.0 { '−' } else { '+' };
        let (a, b) = (digits(self.a), digits(self.b.abs()));
        format!("{a} {sign} {b} × n (r² {:.4})", self.r2)
    }
}

/// What one container costs with ten and with most of them: the whole figure divided by their number.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Growth {
    /// Of one among ten, in the curve's unit.
    pub with_ten: f64,
    /// Most containers.
    pub most: f64,
    /// Of one among most.
    pub with_most: f64,
    /// The second divided by the first.
    pub times: f64,
}

/// The points of a series that are numbers, by the number of containers.
pub fn points(containers: &[f64], values: &[f64]) -> Vec<(f64, f64)> {
    let points = containers.iter().copied().zip(values.iter().copied());
    let is_number = |(n, value): &(f64, f64)| n.is_finite() && value.is_finite();
    let mut points: Vec<(f64, f64)> = points.filter(is_number).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points
}

/// The line; of fewer than two numbers of containers there is none.
pub fn fit(containers: &[f64], values: &[f64]) -> Option<Fit> {
    let points = points(containers, values);
    if points.len() < 2 {
        return None;
    }
    let mean = |part: fn(&(f64, f64)) -> f64| {
        points.iter().map(part).sum::<f64>() / as_float(points.len())
    };
    let (middle, level) = (mean(|point| point.0), mean(|point| point.1));
    let (mut across, mut both, mut up) = (0.0, 0.0, 0.0);
    for (n, value) in &points {
        across += (n - middle) * (n - middle);
        both += (n - middle) * (value - level);
        up += (value - level) * (value - level);
    }
    if across == 0.0 {
        return None;
    }
    let b = both / across;
    let a = level - b * middle;
    let left: f64 = points
        .iter()
        .map(|(n, value)| (value - a - b * n).powi(2))
        .sum();
    let r2 = if up == 0.0 { 1.0 } else { 1.0 - left / up };
    Some(Fit { a, b, r2 })
}

/// How the cost of one grows; `None` without a figure of ten containers, or of more.
pub fn growth(containers: &[f64], values: &[f64]) -> Option<Growth> {
    let points = points(containers, values);
    let ten = points.iter().find(|(n, _)| *n == TEN)?.1 / TEN;
    let (most, value) = points.last().copied().filter(|(n, _)| *n > TEN)?;
    let with_most = value / most;
    let times = with_most / ten;
    (!times.is_nan()).then_some(Growth {
        with_ten: ten,
        most,
        with_most,
        times,
    })
}
