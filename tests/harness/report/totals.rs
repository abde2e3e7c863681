//! Sums over the runs of each target, and the verdict. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::invariants;
use super::words::counted;
use crate::history::{MarkKind, Report, Run};

/// How often something was checked and did not hold.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// How often it was checked.
    pub checked: usize,
    /// How often it did not hold.
    pub violated: usize,
}

/// What a count says. That nothing was checked is no success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It was never checked.
    NotChecked,
    /// It held whenever it was checked.
    Holds,
    /// It did not hold at least once.
    Violated,
}

impl Count {
    /// What it says.
    pub const fn standing(self) -> Standing {
        match self {
            Self {
                checked: 0,
                violated: 0,
            } => Standing::NotChecked,
            Self { violated: 0, .. } => Standing::Holds,
            Self { .. } => Standing::Violated,
        }
    }

    fn add(&mut self, other: Self) {
        self.checked += other.checked;
        self.violated += other.violated;
    }
}

/// A target's sums.
#[derive(Debug, Default)]
pub struct Totals<'a> {
    /// The target's name.
    pub target: &'a str,
    /// Whether any of its runs is judged.
    pub is_judged: bool,
    /// How many runs there were.
    pub runs: usize,
    /// How many of them could not be carried through.
    pub broken: usize,
    /// How often its manager was killed.
    pub kills: usize,
    /// How many recoveries were timed.
    pub recoveries: usize,
    /// The faults that it was checked after, in the order in which they came.
    pub faults: Vec<&'a str>,
    /// The counts, by fault and invariant.
    pub cells: BTreeMap<(&'a str, u8), Count>,
}

impl Totals<'_> {
    /// After one fault.
    pub fn cell(&self, fault: &str, invariant: u8) -> Count {
        let cell = self.cells.get(&(fault, invariant));
        cell.copied().unwrap_or_default()
    }

    /// After any fault.
    pub fn invariant(&self, invariant: u8) -> Count {
        self.sum(|number| number == invariant)
    }

    /// Of all invariants.
    pub fn all(&self) -> Count {
        self.sum(|_| true)
    }

    /// How many of these invariants stand so.
    pub fn standing(&self, numbers: &BTreeSet<u8>, standing: Standing) -> usize {
        let counts = numbers.iter().map(|number| self.invariant(*number));
        counts.filter(|count| count.standing() == standing).count()
    }

    fn sum(&self, is_meant: impl Fn(u8) -> bool) -> Count {
        let mut sum = Count::default();
        for ((_, number), count) in &self.cells {
            if is_meant(*number) {
                sum.add(*count);
            }
        }
        sum
    }
}

/// The sums of each target, in the order in which the targets came.
pub fn of(report: &Report) -> Vec<Totals<'_>> {
    let mut all: Vec<Totals<'_>> = Vec::new();
    for run in &report.runs {
        let known = all.iter().position(|totals| totals.target == run.target);
        let index = known.unwrap_or_else(|| {
            all.push(Totals {
                target: &run.target,
                ..Totals::default()
            });
            all.len() - 1
        });
        let totals = &mut all[index];
        totals.is_judged |= run.is_judged;
        totals.runs += 1;
        totals.broken += usize::from(run.broken.is_some());
        totals.kills += kills(run);
        totals.recoveries += run.recoveries.len();
        for counted in counts(run) {
            if !totals.faults.contains(&counted.fault) {
                totals.faults.push(counted.fault);
            }
            let cell = totals.cells.entry((counted.fault, counted.invariant));
            cell.or_default().add(counted.count);
        }
    }
    all
}

/// A run's count of an invariant after a fault.
pub struct Counted<'a> {
    /// The fault.
    pub fault: &'a str,
    /// The invariant's number.
    pub invariant: u8,
    /// How often.
    pub count: Count,
}

/// The counts of a run, in the order in which they came. Where more violations are listed than were counted, as many are
/// counted as are listed: none is hidden by a count that was forgotten.
pub fn counts(run: &Run) -> Vec<Counted<'_>> {
    let counted = run.checks.iter().map(|check| {
        let count = Count {
            checked: size(check.checked),
            violated: size(check.violated),
        };
        (check.fault.as_str(), check.invariant, count, 0)
    });
    let listed = run.violations.iter().map(|seen| {
        let count = Count::default();
        (seen.fault.as_str(), seen.invariant, count, 1)
    });
    let mut places = BTreeMap::new();
    let mut sums: Vec<(Counted<'_>, usize)> = Vec::new();
    for (fault, invariant, count, listed) in counted.chain(listed) {
        let place = *places.entry((fault, invariant)).or_insert(sums.len());
        if place == sums.len() {
            let count = Count::default();
            let new = Counted {
                fault,
                invariant,
                count,
            };
            sums.push((new, 0));
        }
        sums[place].0.count.add(count);
        sums[place].1 += listed;
    }
    let merged = sums.into_iter().map(|(mut counted, listed)| {
        counted.count.violated = counted.count.violated.max(listed);
        counted
    });
    merged.collect()
}

/// How often the invariants did not hold in a run.
pub fn violated(run: &Run) -> usize {
    let counts = counts(run);
    counts.iter().map(|counted| counted.count.violated).sum()
}

/// How often the manager was killed in a run.
pub fn kills(run: &Run) -> usize {
    let kills = run.marks.iter();
    kills.filter(|mark| mark.kind == MarkKind::Killed).count()
}

fn size(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// The invariants to show: all thirteen, and whatever else was counted.
pub fn numbers(all: &[Totals<'_>]) -> BTreeSet<u8> {
    let listed = invariants::ALL.iter().map(|named| named.number);
    let counted = all
        .iter()
        .flat_map(|totals| totals.cells.keys().map(|(_, number)| *number));
    listed.chain(counted).collect()
}

/// What is to be said of the judged targets; a peer's violations are shown and not judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Everything that was checked held.
    Holds {
        /// How many checks.
        checked: usize,
    },
    /// Something did not hold.
    Violated {
        /// How often.
        violated: usize,
    },
    /// Nothing was violated, but not every run could be carried through.
    Broken {
        /// How many could not.
        runs: usize,
    },
    /// Nothing was checked of any judged target.
    Nothing,
}

impl Verdict {
    /// In one line.
    pub fn line(self) -> String {
        match self {
            Self::Holds { checked } => {
                format!("HOLDS: {}, none violated", counted(checked, "check"))
            }
            Self::Violated { violated } => format!("VIOLATED: {}", counted(violated, "violation")),
            Self::Broken { runs } => format!(
                "INCOMPLETE: {} not carried through, none violated",
                counted(runs, "run")
            ),
            Self::Nothing => "NOTHING CHECKED: there is nothing to judge".to_owned(),
        }
    }
}

/// The verdict over all judged runs.
pub fn verdict(report: &Report) -> Verdict {
    let mut sum = Count::default();
    let mut broken = 0;
    for run in report.runs.iter().filter(|run| run.is_judged) {
        for counted in counts(run) {
            sum.add(counted.count);
        }
        broken += usize::from(run.broken.is_some());
    }
    match (sum.standing(), broken) {
        (Standing::Violated, _) => Verdict::Violated {
            violated: sum.violated,
        },
        (Standing::Holds | Standing::NotChecked, 1..) => Verdict::Broken { runs: broken },
        (Standing::Holds, 0) => Verdict::Holds {
            checked: sum.checked,
        },
        (Standing::NotChecked, 0) => Verdict::Nothing,
    }
}
