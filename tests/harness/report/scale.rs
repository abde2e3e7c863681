//! Time to pixels: a run's length on a drawing of fixed width, the ticks below it, and what falls on the same pixel.
//! Pure, in whole pixels.

use super::words::milliseconds;
use crate::history::Run;

/// How wide the part of a drawing is that has times, in pixels of its own coordinates.
pub const WIDTH: i64 = 1000;

/// At most so many ticks.
const TICKS: i64 = 11;

/// From when until when a drawing goes; times are Unix nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    from: i64,
    until: i64,
}

impl Scale {
    /// A scale of at least a nanosecond.
    pub const fn new(from: i64, until: i64) -> Self {
        let least = from.saturating_add(1);
        let until = if until > least { until } else { least };
        Self { from, until }
    }

    /// A run's: from its beginning to its end; or over all that it has, where these were not recorded. `None` where
    /// nothing has a time.
    pub fn of(run: &Run) -> Option<Self> {
        if run.began < run.ended {
            return Some(Self::new(run.began, run.ended));
        }
        let times = times(run);
        let (first, last) = (times.iter().min()?, times.iter().max()?);
        Some(Self::new(*first, *last))
    }

    /// When it begins.
    pub const fn from(self) -> i64 {
        self.from
    }

    /// When it ends.
    pub const fn until(self) -> i64 {
        self.until
    }

    /// The pixel of a time, 0 to [`WIDTH`]; what is outside is at the edge.
    pub fn x(self, at: i64) -> i64 {
        let span = i128::from(self.until) - i128::from(self.from);
        let since = (i128::from(at) - i128::from(self.from)).clamp(0, span);
        let pixel = since * i128::from(WIDTH) / span;
        i64::try_from(pixel).unwrap_or(WIDTH)
    }

    /// How many of a run's times are outside, as after a clock step.
    pub fn outside(self, run: &Run) -> usize {
        let outside = |at: &&i64| **at < self.from || **at > self.until;
        times(run).iter().filter(outside).count()
    }

    /// Round times since the beginning, at most eleven: where, and what to write there.
    pub fn ticks(self) -> Vec<(i64, String)> {
        let span = self.until.saturating_sub(self.from);
        let steps = (0..18).flat_map(|power| [1, 2, 5].map(|digit| digit * 10_i64.pow(power)));
        let step = steps.into_iter().find(|step| span / step < TICKS);
        let step = step.unwrap_or(span);
        let since = (0..=span / step).map(|number| number * step);
        since
            .map(|since| (self.x(self.from.saturating_add(since)), tick(since, step)))
            .collect()
    }
}

/// A tick's text, in the unit of the step: without digits after the point that are all zero.
fn tick(since: i64, step: i64) -> String {
    let text = match step {
        1_000_000_000.. => format!("{} s", since / 1_000_000_000),
        1_000_000.. => format!("{} ms", since / 1_000_000),
        1_000.. => format!("{} µs", since / 1_000),
        _ => format!("{since} ns"),
    };
    if since == 0 { "0".to_owned() } else { text }
}

/// A time since the beginning of a run: `+1.23 s`.
pub fn since(at: i64, from: i64) -> String {
    let nanos = at.saturating_sub(from);
    let length = std::time::Duration::from_nanos(nanos.unsigned_abs());
    let sign = if nanos < 0 { '-' } else { '+' };
    format!("{sign}{}", milliseconds(length.as_secs_f64() * 1e3))
}

/// All times of a run but its own beginning and end.
fn times(run: &Run) -> Vec<i64> {
    let marks = run.marks.iter().map(|mark| mark.at);
    let violations = run.violations.iter().map(|seen| seen.at);
    let containers = run.containers.iter().flat_map(|timeline| {
        let states = timeline.states.iter().map(|(at, _)| *at);
        let gaps = timeline.log_gaps.iter().flat_map(|gap| [gap.0, gap.1]);
        let exit = timeline.kernel_exit.iter().map(|(_, at)| *at);
        states.chain(gaps).chain(exit)
    });
    marks.chain(violations).chain(containers).collect()
}

/// Things of one pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group<T> {
    /// Where.
    pub x: i64,
    /// The first of them.
    pub first: T,
    /// How many there are.
    pub count: usize,
}

/// Puts together what falls on the same pixel. The order of the pixels is that of the things.
pub fn grouped<T>(things: impl Iterator<Item = (i64, T)>) -> Vec<Group<T>> {
    let mut groups: Vec<Group<T>> = Vec::new();
    for (x, thing) in things {
        match groups.iter_mut().find(|group| group.x == x) {
            Some(group) => group.count += 1,
            None => groups.push(Group {
                x,
                first: thing,
                count: 1,
            }),
        }
    }
    groups
}
