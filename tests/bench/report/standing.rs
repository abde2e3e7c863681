//! How this project stands beside the others: ratios, and which targets it reaches. Pure.

use super::fit;
use super::words::{chosen, digits, figure, with_unit};
use crate::measure::{Bound, Curve, Findings, Measure, OUTLIVE, Unit, quantile, ratio};

/// This project's figure divided by another's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    pub value: f64,
    pub way: Way,
}

/// How a ratio was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The median of what the ratio is in each round.
    Rounds,
    /// The ratio of the medians: the two have no rounds in common, or in one of them a figure was zero.
    Medians,
}

/// The ratio of two series. `None` where one is empty, or both are zero.
pub fn ratio_of(ours: &[f64], theirs: &[f64]) -> Option<Ratio> {
    if ours.is_empty() || theirs.is_empty() {
        return None;
    }
    let has_rounds =
        ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| (a / b).is_finite());
    let (value, way) = if has_rounds {
        (ratio(ours, theirs), Way::Rounds)
    } else {
        let medians = quantile(ours, 0.5) / quantile(theirs, 0.5);
        (medians, Way::Medians)
    };
    (!value.is_nan()).then_some(Ratio { value, way })
}

/// This project's figure of a measure divided by that of `who`.
pub fn ratio_to(measure: &Measure, who: &str) -> Option<Ratio> {
    ratio_of(measure.of(OUTLIVE)?, measure.of(who)?)
}

/// What a target asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Asked {
    /// Of a measure.
    Bound(Bound),
    /// Of a curve: the cost of one container may grow by this share, [`Curve::flat_within`].
    Flat(f64),
}

/// Whether it was reached.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// By this figure.
    Met(f64),
    /// By this figure not.
    Missed(f64),
    /// Nobody knows, for this reason.
    NotMeasured(String),
}

/// A target of a measure or a curve, and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Target<'a> {
    pub id: &'a str,
    pub title: &'a str,
    pub unit: Unit,
    pub asked: Asked,
    pub outcome: Outcome,
}

impl Target<'_> {
    /// What was asked for, in words.
    pub fn asks(&self) -> String {
        match self.asked {
            Asked::Bound(Bound::AtMost { times, of }) => {
                format!("at most {} × {of}", chosen(times))
            }
            Asked::Bound(Bound::AtLeast { times, of }) => {
                format!("at least {} × {of}", chosen(times))
            }
            Asked::Bound(Bound::Below(most)) => {
                format!("at most {}", with_unit(&chosen(most), self.unit))
            }
            Asked::Flat(within) => {
                format!(
                    "per container at most {} × that with ten",
                    chosen(1.0 + within)
                )
            }
        }
    }

    /// What was reached, in words; nothing where it was not measured.
    pub fn reached(&self) -> String {
        let value = match self.outcome {
            Outcome::Met(value) | Outcome::Missed(value) => value,
            Outcome::NotMeasured(_) => return String::new(),
        };
        match self.asked {
            Asked::Bound(Bound::AtMost { of, .. } | Bound::AtLeast { of, .. }) => {
                format!("{} × {of}", digits(value))
            }
            Asked::Bound(Bound::Below(_)) => with_unit(&figure(value, self.unit), self.unit),
            Asked::Flat(_) => format!("{} × that with ten", digits(value)),
        }
    }
}

/// The targets of all, in the order of the findings.
pub fn targets(findings: &Findings) -> Vec<Target<'_>> {
    let measures = findings.measures.iter().flat_map(of_measure);
    let curves = findings.curves.iter().filter_map(of_curve);
    measures.chain(curves).collect()
}

/// The targets of a measure.
pub fn of_measure(measure: &Measure) -> Vec<Target<'_>> {
    let target = |bound: &Bound| Target {
        id: &measure.id,
        title: &measure.title,
        unit: measure.unit,
        asked: Asked::Bound(*bound),
        outcome: outcome(measure, *bound),
    };
    measure.targets.iter().map(target).collect()
}

/// The target of a curve, if it has one.
pub fn of_curve(curve: &Curve) -> Option<Target<'_>> {
    let within = curve.flat_within?;
    let ours = curve.series.iter().find(|series| series.who == OUTLIVE);
    let outcome = match ours {
        None => skipped(OUTLIVE),
        Some(ours) => match fit::growth(&curve.containers, &ours.values) {
            Some(growth) if growth.times <= 1.0 + within => Outcome::Met(growth.times),
            Some(growth) => Outcome::Missed(growth.times),
            None => Outcome::NotMeasured(
                "there is no figure with ten containers and one with more".into(),
            ),
        },
    };
    Some(Target {
        id: &curve.id,
        title: &curve.title,
        unit: curve.unit,
        asked: Asked::Flat(within),
        outcome,
    })
}

fn outcome(measure: &Measure, bound: Bound) -> Outcome {
    let values = |who| measure.of(who).filter(|values| !values.is_empty());
    let Some(ours) = values(OUTLIVE) else {
        return skipped(OUTLIVE);
    };
    let of = match bound {
        Bound::Below(most) => {
            let median = quantile(ours, 0.5);
            return judged(median, median <= most);
        }
        Bound::AtMost { of, .. } | Bound::AtLeast { of, .. } => of,
    };
    let Some(theirs) = values(of) else {
        return skipped(of);
    };
    match (ratio_of(ours, theirs), bound) {
        (None, _) => Outcome::NotMeasured(format!("both {OUTLIVE} and {of} are at zero")),
        (Some(ratio), Bound::AtLeast { times, .. }) => judged(ratio.value, ratio.value >= times),
        (Some(ratio), Bound::AtMost { times, .. } | Bound::Below(times)) => {
            judged(ratio.value, ratio.value <= times)
        }
    }
}

const fn judged(value: f64, is_met: bool) -> Outcome {
    if is_met {
        Outcome::Met(value)
    } else {
        Outcome::Missed(value)
    }
}

fn skipped(who: &str) -> Outcome {
    Outcome::NotMeasured(format!("{who} was skipped"))
}
