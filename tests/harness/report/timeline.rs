//! A run as a drawing: a line for the manager, below it one for each container, and over all of them what was done to the
//! manager. What is drawn is bounded by pixels and lines, and what is left out is said.
//!
//! ```text
//!             | kill                | kill
//! manager  ===|.....~~~~============|....~~~~=====    down, answers, has looked at all
//! web-1    ===============================            states; hatched where its log was silent
//! web-2       ========x                               x: its exit according to the kernel
//!          0         500 ms        1000 ms
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::lane::{self, Bar};
use super::scale::{self, Group, Scale, WIDTH};
use super::words::{counted, escape, shortened};
use crate::history::{Mark, MarkKind, Run, Timeline};
use crate::target::State;

/// The pixels left of the times, for names.
const LEFT: i64 = 190;
/// The height of a line.
const LINE: i64 = 28;
/// Where the bars of a line are: so far below its top, and so high.
const BAR: (i64, i64) = (6, 16);
/// More containers than these are not drawn, of a run that was violated and of any other.
const LINES: (usize, usize) = (60, 24);
/// More marks than these of a kind would hide what is below their lines.
const LONG: usize = 120;

/// A drawing, and what to write below it.
pub struct Drawing {
    /// The SVG element.
    pub svg: String,
    /// What is not in it, a sentence each.
    pub left_out: Vec<String>,
}

/// What a manager does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// It was killed.
    Down,
    /// It answers, and looks at what it found.
    Answers,
    /// It has looked at all of it.
    Recovered,
}

/// Draws a run; `None` where nothing in it has a time.
pub fn drawn(run: &Run) -> Option<Drawing> {
    let scale = Scale::of(run)?;
    let lines = lines(run);
    let count = i64::try_from(lines.len()).unwrap_or(0);
    let height = LINE * (count + 1);
    let manager = lane::bars(&manager(&run.marks, scale), scale);
    let mut left_out = manager.left_out;
    let mut body = grid(scale, height);
    body += &label(0, "manager", "");
    body += &rectangles(&manager.bars, 0, manager_class);
    for (index, line) in (1..).zip(&lines) {
        let timeline = &run.containers[*line];
        let (line, missing) = container(timeline, index * LINE, scale);
        body += &line;
        left_out += missing;
    }
    body += &marks(run, scale, height);
    body += &violations(run, &lines, scale);
    let label = format!(
        "{} of {}: the manager and {}",
        run.name,
        run.target,
        counted(lines.len(), "container")
    );
    let svg = format!(
        "<svg class=timeline viewBox='0 0 {} {}' role=img aria-label='{}'>{body}</svg>",
        LEFT + WIDTH + 40,
        height + 22,
        escape(&label)
    );
    Some(Drawing {
        svg,
        left_out: omissions(run, &lines, scale, left_out),
    })
}

/// What a drawing does not show.
fn omissions(run: &Run, lines: &[usize], scale: Scale, states: usize) -> Vec<String> {
    let mut said = Vec::new();
    let containers = run.containers.len() - lines.len();
    if containers > 0 {
        said.push(format!("{} not drawn.", counted(containers, "container")));
    }
    if states > 0 {
        said.push(format!(
            "{} shorter than a pixel not drawn.",
            counted(states, "state")
        ));
    }
    let pixels: BTreeSet<_> = run
        .marks
        .iter()
        .map(|mark| (class(mark.kind), scale.x(mark.at)))
        .collect();
    let merged = run.marks.len() - pixels.len();
    if merged > 0 {
        said.push(format!(
            "{} drawn as one with another on the same pixel.",
            counted(merged, "mark")
        ));
    }
    if [MarkKind::Killed, MarkKind::Fault]
        .iter()
        .any(|kind| groups(run, *kind, scale).len() > LONG)
    {
        said.push(
            "Too many kills or faults for lines: they are ticks above the manager.".to_owned(),
        );
    }
    let outside = scale.outside(run);
    if outside > 0 {
        said.push(format!(
            "{} outside the run drawn at its edge.",
            counted(outside, "time")
        ));
    }
    said
}

/// Which containers are drawn, in their order: those of the violations first, then as many of the others as there is room
/// for, from all over the run.
pub fn lines(run: &Run) -> Vec<usize> {
    let limit = match run.violations.is_empty() {
        false => LINES.0,
        true => LINES.1,
    };
    let subjects = run.violations.iter().flat_map(|seen| names(&seen.subject));
    let subjects: BTreeSet<&str> = subjects.collect();
    let is_meant = |index: &usize| subjects.contains(run.containers[*index].name.as_str());
    let (mut lines, others): (Vec<_>, Vec<_>) = (0..run.containers.len()).partition(is_meant);
    lines.truncate(limit);
    let room = others.len().min(limit - lines.len());
    lines.extend((0..room).map(|place| others[place * others.len() / room]));
    lines.sort_unstable();
    lines
}

/// What in a violation's subject may be a container's name: `a-1` in `container a-1: its log`.
fn names(subject: &str) -> impl Iterator<Item = &str> {
    let parts = subject.split(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c));
    parts.chain([subject]).filter(|name| !name.is_empty())
}

/// What the manager does from when on. What it did before it was first heard of is not known, unless it was killed.
pub fn manager(marks: &[Mark], scale: Scale) -> Vec<(i64, Option<Manager>)> {
    let changes = marks.iter().filter_map(|mark| match mark.kind {
        MarkKind::Killed => Some((mark.at, Some(Manager::Down))),
        MarkKind::Answers => Some((mark.at, Some(Manager::Answers))),
        MarkKind::Recovered => Some((mark.at, Some(Manager::Recovered))),
        MarkKind::Fault => None,
    });
    let mut changes: Vec<_> = changes.collect();
    changes.sort_by_key(|(at, _)| *at);
    let was_up = changes
        .first()
        .is_none_or(|(_, first)| *first == Some(Manager::Down));
    let before = was_up.then_some(Manager::Recovered);
    changes.insert(0, (scale.from(), before));
    changes
}

/// A container's line, and how many of its states are not in it.
fn container(timeline: &Timeline, top: i64, scale: Scale) -> (String, usize) {
    let states = lane::bars(&timeline.states, scale);
    let mut line = label(top, &timeline.name, &timeline.workload);
    line += &rectangles(&states.bars, top, state_class);
    let gaps = lane::stretches(&timeline.log_gaps, scale);
    line += &rectangles(&gaps, top, |()| "gap");
    if let Some((code, at)) = timeline.kernel_exit {
        let (x, y) = (LEFT + scale.x(at), top + BAR.0 + BAR.1 / 2);
        line += &format!(
            "<path class=exit d='M{} {}l8 8m0 -8l-8 8'><title>the kernel: ended with {code} at {}</title></path>",
            x - 4,
            y - 4,
            scale::since(at, scale.from())
        );
    }
    (line, states.left_out)
}

fn label(top: i64, name: &str, workload: &str) -> String {
    let x = LEFT - 8;
    let title = escape(&format!(
        "{} {}",
        shortened(name, 200),
        shortened(workload, 200)
    ));
    let name = escape(&shortened(name, 28));
    if workload.is_empty() {
        return format!("<text class=name x={x} y={}>{name}</text>", top + 18);
    }
    let workload = escape(&shortened(workload, 36));
    format!(
        "<g><title>{title}</title><text class=name x={x} y={}>{name}</text><text class=work x={x} y={}>{workload}</text></g>",
        top + 12,
        top + 23
    )
}

/// The bars of a line, as one path for each class.
fn rectangles<S: Copy>(bars: &[Bar<S>], top: i64, class: impl Fn(S) -> &'static str) -> String {
    let mut paths: BTreeMap<&str, String> = BTreeMap::new();
    for bar in bars {
        let (x, y, width) = (LEFT + bar.from, top + BAR.0, bar.until - bar.from);
        let path = paths.entry(class(bar.state)).or_default();
        *path += &format!("M{x} {y}h{width}v{}h-{width}z", BAR.1);
    }
    let paths = paths
        .iter()
        .map(|(class, path)| format!("<path class={class} d='{path}'/>"));
    paths.collect()
}

/// Ticks and their texts.
fn grid(scale: Scale, height: i64) -> String {
    let ticks = scale.ticks().into_iter().map(|(x, text)| {
        let x = LEFT + x;
        format!(
            "<path class=grid d='M{x} 0V{height}'/><text class=tick x={x} y={}>{text}</text>",
            height + 14
        )
    });
    ticks.collect()
}

/// Kills and other faults as lines over everything, answers and recoveries as ticks on the manager's line. Too many for
/// lines are ticks above the manager's line, without texts; too many answers and recoveries are the ends of its bars.
fn marks(run: &Run, scale: Scale, height: i64) -> String {
    let kinds = [
        MarkKind::Fault,
        MarkKind::Answers,
        MarkKind::Recovered,
        MarkKind::Killed,
    ];
    let drawn = kinds.into_iter().map(|kind| {
        let groups = groups(run, kind, scale);
        let is_fault = matches!(kind, MarkKind::Killed | MarkKind::Fault);
        match (groups.len() > LONG, is_fault) {
            (true, true) => {
                let path = groups
                    .iter()
                    .map(|group| format!("M{} 0v{}", LEFT + group.x, BAR.0));
                let path: String = path.collect();
                format!("<path class={} d='{path}'/>", class(kind))
            }
            (true, false) => String::new(),
            (false, _) => {
                let bottom = if is_fault { height } else { BAR.0 + BAR.1 + 3 };
                let lines = groups.iter().map(|group| mark(group, bottom, scale));
                lines.collect()
            }
        }
    });
    drawn.collect()
}

fn groups(run: &Run, kind: MarkKind, scale: Scale) -> Vec<Group<&Mark>> {
    let meant = run.marks.iter().filter(|mark| mark.kind == kind);
    scale::grouped(meant.map(|mark| (scale.x(mark.at), mark)))
}

fn mark(group: &Group<&Mark>, bottom: i64, scale: Scale) -> String {
    let (x, first) = (LEFT + group.x, group.first);
    let others = match group.count {
        1 => String::new(),
        count => format!(" and {} more on this pixel", count - 1),
    };
    let title = format!(
        "{} {} {}{others}",
        scale::since(first.at, scale.from()),
        word(first.kind),
        shortened(&first.fault, 200)
    );
    format!(
        "<path class={} d='M{x} 0V{bottom}'><title>{}</title></path>",
        class(first.kind),
        escape(&title)
    )
}

/// What kind of moment it is, in a word.
pub const fn word(kind: MarkKind) -> &'static str {
    match kind {
        MarkKind::Killed => "killed:",
        MarkKind::Answers => "answers",
        MarkKind::Recovered => "recovered",
        MarkKind::Fault => "fault:",
    }
}

const fn class(kind: MarkKind) -> &'static str {
    match kind {
        MarkKind::Killed => "kill",
        MarkKind::Answers => "answers",
        MarkKind::Recovered => "recovered",
        MarkKind::Fault => "fault",
    }
}

const fn manager_class(state: Manager) -> &'static str {
    match state {
        Manager::Down => "down",
        Manager::Answers => "looking",
        Manager::Recovered => "up",
    }
}

const fn state_class(state: State) -> &'static str {
    match state {
        State::Created => "created",
        State::Running => "running",
        State::Paused => "paused",
        State::Exited => "exited",
        State::Unknown => "unknown",
    }
}

/// A red diamond on the line of each violation's container; on the manager's where it has no line.
fn violations(run: &Run, lines: &[usize], scale: Scale) -> String {
    let places = run.violations.iter().map(|seen| {
        let is_line =
            |line: &usize| names(&seen.subject).any(|name| name == run.containers[*line].name);
        let line = lines.iter().position(is_line).map_or(0, |index| index + 1);
        ((line, scale.x(seen.at)), seen)
    });
    let mut drawn = BTreeSet::new();
    let mut diamonds = String::new();
    for ((line, x), seen) in places {
        if drawn.insert((line, x)) {
            let top = i64::try_from(line).unwrap_or(0) * LINE;
            diamonds += &format!(
                "<path class=violation d='M{} {}l6 6l-6 6l-6 -6z'><title>invariant {} violated: {}</title></path>",
                LEFT + x,
                top + BAR.0 + BAR.1 / 2 - 6,
                seen.invariant,
                escape(&shortened(&seen.subject, 200))
            );
        }
    }
    diamonds
}
