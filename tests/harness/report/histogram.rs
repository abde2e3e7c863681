//! How long recoveries took: for each target two histograms over bins of equal ratio, on one scale for all, and the
//! median, the 90th percentile and the longest.

use super::words::{escape, milliseconds, thousands};
use crate::history::{Recovery, Report};

/// The drawing's width and height in pixels of its own coordinates, without the texts around it.
const SIZE: (f64, f64) = (460.0, 90.0);
/// Bins for each power of ten.
const BINS: f64 = 10.0;
/// What is shorter or longer than these milliseconds is counted in the outermost bin.
const RANGE: (f64, f64) = (0.01, 10_000_000.0);

/// What is said of some times, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Statistics {
    /// How many there are.
    pub count: usize,
    /// The median: the time that half of them, rounded up, do not exceed.
    pub median: f64,
    /// The time that nine of ten, rounded up, do not exceed.
    pub p90: f64,
    /// The longest.
    pub max: f64,
}

/// The statistics of times; of none there are none. Times that are no numbers are not counted.
pub fn statistics(times: &[f64]) -> Option<Statistics> {
    let mut sorted: Vec<f64> = times
        .iter()
        .copied()
        .filter(|time| time.is_finite())
        .collect();
    sorted.sort_by(f64::total_cmp);
    let rank = |percent: usize| {
        let rank = (sorted.len() * percent).div_ceil(100);
        sorted.get(rank.max(1) - 1).copied()
    };
    Some(Statistics {
        count: sorted.len(),
        median: rank(50)?,
        p90: rank(90)?,
        max: *sorted.last()?,
    })
}

/// The limits of the bins that hold all these times: each bin goes from one, inclusive, to the next.
pub fn limits(times: &[f64]) -> Vec<f64> {
    let finite = times.iter().filter(|time| time.is_finite());
    let places = finite.map(|time| (time.clamp(RANGE.0, RANGE.1).log10() * BINS).floor());
    let places: Vec<f64> = places.collect();
    let Some(first) = places.iter().copied().reduce(f64::min) else {
        return Vec::new();
    };
    let last = places.into_iter().fold(first, f64::max);
    let mut limits = Vec::new();
    let mut place = first;
    while place <= last + 1.0 {
        limits.push(10_f64.powf(place / BINS));
        place += 1.0;
    }
    limits
}

/// How many times there are in each bin; what is outside of all counts in the outermost.
pub fn counts(times: &[f64], limits: &[f64]) -> Vec<usize> {
    let mut counts = vec![0; limits.len().saturating_sub(1)];
    for time in times.iter().filter(|time| time.is_finite()) {
        let reached = limits.partition_point(|limit| limit <= time);
        let bin = reached.clamp(1, counts.len().max(1)) - 1;
        if let Some(count) = counts.get_mut(bin) {
            *count += 1;
        }
    }
    counts
}

/// One of a recovery's times, in milliseconds.
type Time = fn(&Recovery) -> f64;

/// The whole section.
pub fn section(report: &Report, targets: &[&str]) -> String {
    let of = |target: &str, time: Time| -> Vec<f64> {
        let runs = report.runs.iter().filter(|run| run.target == target);
        runs.flat_map(|run| run.recoveries.iter().map(time))
            .collect()
    };
    let kinds: [(&str, Time); 2] = [
        ("until it answers", |recovery| recovery.answers_ms),
        ("until all is looked at", |recovery| recovery.recovered_ms),
    ];
    let all: Vec<f64> = targets
        .iter()
        .flat_map(|target| kinds.iter().flat_map(|(_, time)| of(target, *time)))
        .collect();
    let limits = limits(&all);
    let mut rows = String::new();
    let mut drawings = String::new();
    for target in targets {
        let name = escape(target);
        drawings +=
            &format!("<div class=target data-target=\"{name}\"><h3>{name}</h3><div class=pair>");
        for (kind, time) in &kinds {
            let times = of(target, *time);
            rows += &row(&name, kind, &times, &containers(report, target));
            drawings += &format!(
                "<figure><figcaption>{kind}</figcaption>{}</figure>",
                drawing(&times, &limits, kind)
            );
        }
        drawings += "</div></div>";
    }
    format!(
        "<div class=wide><table><thead><tr><th class=left>target<th>time<th>recoveries<th>containers<th>median<th>90 %<th>longest</thead>\
         <tbody>{rows}</tbody></table></div>{drawings}"
    )
}

/// How many containers a target's recoveries had.
fn containers(report: &Report, target: &str) -> String {
    let runs = report.runs.iter().filter(|run| run.target == target);
    let counts = runs.flat_map(|run| run.recoveries.iter().map(|recovery| recovery.containers));
    let counts: Vec<usize> = counts.collect();
    match (counts.iter().min(), counts.iter().max()) {
        (Some(least), Some(most)) if least == most => thousands(*most),
        (Some(least), Some(most)) => format!("{} to {}", thousands(*least), thousands(*most)),
        (_, _) => "–".to_owned(),
    }
}

fn row(target: &str, kind: &str, times: &[f64], containers: &str) -> String {
    let numbers = match statistics(times) {
        Some(all) => format!(
            "<td>{}<td>{containers}<td>{}<td>{}<td>{}",
            thousands(all.count),
            milliseconds(all.median),
            milliseconds(all.p90),
            milliseconds(all.max)
        ),
        None => "<td>0<td colspan=4 class='left none'>none was timed".to_owned(),
    };
    format!("<tr data-target=\"{target}\"><th class=left>{target}<td class=left>{kind}{numbers}")
}

fn drawing(times: &[f64], limits: &[f64], kind: &str) -> String {
    let (Some(all), [first, .., last]) = (statistics(times), limits) else {
        return "<p class=none>None was timed.</p>".to_owned();
    };
    let (width, height) = SIZE;
    let x = |time: f64| {
        let part = (time.clamp(*first, *last) / first).log10() / (last / first).log10();
        part * width
    };
    let counts = counts(times, limits);
    let most = counts.iter().copied().max().unwrap_or(1).max(1);
    let mut body = String::new();
    for (count, bin) in counts.iter().zip(limits.windows(2)) {
        if *count > 0 {
            let tall = (height * float(*count) / float(most)).max(1.0);
            let (left, right) = (x(bin[0]), x(bin[1]));
            body += &format!(
                "<rect class=bin x={left:.1} y={:.1} width={:.1} height={tall:.1}><title>{} to {}: {count}</title></rect>",
                height - tall,
                (right - left - 1.0).max(1.0),
                milliseconds(bin[0]),
                milliseconds(bin[1])
            );
        }
    }
    for time in round(*first, *last) {
        let at = x(time);
        body += &format!(
            "<path class=grid d='M{at:.1} {height}v4'/><text class=tick x={at:.1} y={}>{}</text>",
            height + 15.0,
            milliseconds_round(time)
        );
    }
    for (name, time, y) in [("median", all.median, -14.0), ("90 %", all.p90, -3.0)] {
        let at = x(time);
        let (anchor, shift) = if at > width * 0.7 {
            ("end", -3.0)
        } else {
            ("start", 3.0)
        };
        body += &format!(
            "<path class=stat d='M{at:.1} {y}V{height}'/><text class=stat x={:.1} y={:.1} text-anchor={anchor}>{name} {}</text>",
            at + shift,
            y + 2.0,
            milliseconds(time)
        );
    }
    format!(
        "<svg class=histogram viewBox='-34 -26 {} {}' role=img aria-label='{kind}: {} timed, median {}, longest {}'>\
         <path class=grid d='M0 {height}H{width}'/><text class='tick end' x=-5 y=8>{}</text><text class='tick end' x=-5 y={height}>0</text>{body}</svg>",
        width + 54.0,
        height + 46.0,
        thousands(all.count),
        milliseconds(all.median),
        milliseconds(all.max),
        thousands(most)
    )
}

/// The ones, twos and fives of each power of ten in a range; the ones alone where it is long.
fn round(first: f64, last: f64) -> Vec<f64> {
    let powers = (-3..=7).map(|power| 10_f64.powi(power));
    let digits: &[f64] = if last / first > 2e3 {
        &[1.0]
    } else {
        &[1.0, 2.0, 5.0]
    };
    let times = powers.flat_map(|power| digits.iter().map(move |digit| digit * power));
    times
        .filter(|time| *time >= first * 0.999 && *time <= last * 1.001)
        .collect()
}

/// A round time without the digits after the point that are all zero.
fn milliseconds_round(time: f64) -> String {
    let (value, unit) = match time {
        time if time >= 999.5 => (time / 1e3, "s"),
        time if time >= 0.9995 => (time, "ms"),
        time => (time * 1e3, "µs"),
    };
    format!("{value:.0} {unit}")
}

fn float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
