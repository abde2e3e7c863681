//! What a measurement is: series of one figure, one for each who was measured in turn, and the targets that it is held to.

use serde::Serialize;

/// This project, in every series.
pub const OUTLIVE: &str = "outlive";
/// containerd's own shim of Debian 12.
pub const GO: &str = "go";
/// The shim of the crate `containerd-runc-shim`.
pub const RUST: &str = "rust";
/// The monitor that podman and CRI-O run beside each container.
pub const CONMON: &str = "conmon";
/// The bare OCI runtime, without any shim.
pub const RUNC: &str = "runc";
/// The same, written in C.
pub const CRUN: &str = "crun";
/// The kernel's floor for output: `cat` from a pipe to the same place.
pub const CAT: &str = "cat";

/// What a value is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Unit {
    /// Milliseconds.
    #[serde(rename = "ms")]
    Millis,
    /// Kilobytes of 1024 bytes, as proc(5) has them.
    #[serde(rename = "kB")]
    Kilobytes,
    /// 10^6 bytes in a second.
    #[serde(rename = "MB/s")]
    MegabytesPerSecond,
    /// User and system time in seconds, for 2^30 bytes.
    #[serde(rename = "CPU s/GiB")]
    CpuPerGibibyte,
    /// Calls answered in a second.
    #[serde(rename = "calls/s")]
    CallsPerSecond,
    /// Executed instructions, in thousands.
    #[serde(rename = "k instructions")]
    KiloInstructions,
    /// A plain number of threads or file descriptors.
    #[serde(rename = "")]
    Count,
}

impl Unit {
    /// As tables write it after a value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Millis => "ms",
            Self::Kilobytes => "kB",
            Self::MegabytesPerSecond => "MB/s",
            Self::CpuPerGibibyte => "CPU s/GiB",
            Self::CallsPerSecond => "calls/s",
            Self::KiloInstructions => "k instructions",
            Self::Count => "",
        }
    }
}

/// The values of one who was measured, in the order of the rounds.
#[derive(Debug, Clone, Serialize)]
pub struct Series {
    pub who: &'static str,
    pub values: Vec<f64>,
}

/// How a figure of [`OUTLIVE`] has to stand.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub enum Bound {
    /// At most so many times another's figure, the median of the ratios round by round.
    AtMost { times: f64, of: &'static str },
    /// At least so many times another's figure, likewise.
    AtLeast { times: f64, of: &'static str },
    /// At most this, in the measure's unit.
    Below(f64),
}

/// One figure of all who were measured side by side.
#[derive(Debug, Clone, Serialize)]
pub struct Measure {
    /// Its name in reports and for `ONLY=`: `life.start`. The part before the dot is the module that took it.
    pub id: String,
    /// What a table's first column says.
    pub title: String,
    pub unit: Unit,
    pub series: Vec<Series>,
    pub targets: Vec<Bound>,
}

impl Measure {
    pub fn new(id: &str, title: &str, unit: Unit) -> Self {
        Self {
            id: id.to_owned(),
            title: title.to_owned(),
            unit,
            series: Vec::new(),
            targets: Vec::new(),
        }
    }

    /// Adds what was measured of `who`; nothing where that failed.
    #[must_use]
    pub fn with(mut self, who: &'static str, values: Vec<f64>) -> Self {
        if !values.is_empty() {
            self.series.push(Series { who, values });
        }
        self
    }

    /// Adds a target.
    #[must_use]
    pub fn held_to(mut self, bound: Bound) -> Self {
        self.targets.push(bound);
        self
    }

    pub fn of(&self, who: &str) -> Option<&[f64]> {
        let found = self.series.iter().find(|series| series.who == who);
        found.map(|series| &*series.values)
    }
}

/// A figure over the number of containers: how a cost grows.
#[derive(Debug, Clone, Serialize)]
pub struct Curve {
    /// As [`Measure::id`].
    pub id: String,
    pub title: String,
    pub unit: Unit,
    /// How many containers there were.
    pub containers: Vec<f64>,
    /// For each who was measured a value per number of containers.
    pub series: Vec<Series>,
    /// The most by which the cost of one container with the most of them may exceed that with ten: 0.2 is a fifth.
    pub flat_within: Option<f64>,
}

/// Who or what was left out, and why.
#[derive(Debug, Clone, Serialize)]
pub struct Skipped {
    pub what: String,
    pub why: String,
}

/// All that one run found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Findings {
    pub measures: Vec<Measure>,
    pub curves: Vec<Curve>,
    pub skipped: Vec<Skipped>,
}

/// The middle, the least, and what nine of ten do not exceed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    pub median: f64,
    pub min: f64,
    pub p90: f64,
}

impl Summary {
    /// Of at least one value.
    pub fn of(values: &[f64]) -> Self {
        Self {
            median: quantile(values, 0.5),
            min: quantile(values, 0.0),
            p90: quantile(values, 0.9),
        }
    }
}

/// The value that `share` of all do not exceed, between the two nearest.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1).expect("a series has values");
    let place = share * as_float(last);
    let below = (0..=last).rfind(|at| as_float(*at) <= place).unwrap_or(0);
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * (place - as_float(below))
}

/// The median of what the rounds' ratios are: a machine that drifts does so for both.
pub fn ratio(ours: &[f64], theirs: &[f64]) -> f64 {
    let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a / b).collect();
    quantile(&ratios, 0.5)
}

/// A number of things as a figure.
pub fn as_float(count: usize) -> f64 {
    f64::from(u32::try_from(count).expect("counts here are small"))
}
