//! The runs one by one: the violated first and open, the others folded. Bounded: a run that has no room any more is
//! shown without its drawing, and one that has no room even for that is counted.

use std::cmp::Reverse;

use super::scale::{self, Scale};
use super::timeline;
use super::totals;
use super::words::{clipped, counted, date, duration, escape};
use crate::history::{Run, Violation};

/// More runs than these are not open from the beginning.
const OPEN: usize = 20;
/// More violations than these of a run are not listed.
const VIOLATIONS: usize = 40;
/// More operations than these of a history, or marks of a run, are not listed.
const OPERATIONS: usize = 100;
/// Longer texts are cut.
const TEXT: usize = 1200;

/// All runs in at most so many bytes, and some for the notes. Each has room without its drawing before any is drawn.
pub fn section(runs: &[Run], room: usize) -> String {
    let order = order(runs);
    let plain = order.iter().enumerate().map(|(place, index)| {
        let run = &runs[*index];
        let is_open = place < OPEN && totals::violated(run) > 0;
        (run, block(run, *index, is_open))
    });
    let plain: Vec<(&Run, Block)> = plain.collect();
    let mut used = 0;
    let fits = plain.iter().take_while(|(_, block)| {
        used += block.size();
        used <= room
    });
    let shown = fits.count();
    let mut left = room.saturating_sub(
        plain
            .iter()
            .take(shown)
            .map(|(_, block)| block.size())
            .sum(),
    );
    let mut body = String::new();
    let mut undrawn = 0;
    for (run, block) in plain.iter().take(shown) {
        let drawing = Some(drawing(run)).filter(|drawing| drawing.len() <= left);
        let drawing = drawing.unwrap_or_else(|| {
            undrawn += 1;
            UNDRAWN.to_owned()
        });
        left = left.saturating_sub(drawing.len());
        body += &format!("{}{drawing}{}", block.head, block.tail);
    }
    format!(
        "{}{LEGEND}{body}",
        notes(runs.len(), undrawn, runs.len() - shown)
    )
}

fn notes(runs: usize, undrawn: usize, missing: usize) -> String {
    let mut notes = String::new();
    if runs == 0 {
        notes += "<p class=note>There was no run.</p>";
    }
    if undrawn > 0 {
        notes += &format!(
            "<p class=note>{} without a drawing, so that this file stays small.</p>",
            counted(undrawn, "run")
        );
    }
    if missing > 0 {
        notes += &format!(
            "<p class=note>{} not shown, so that this file stays small: see report.json.</p>",
            counted(missing, "run")
        );
    }
    notes
}

/// Instead of a drawing.
const UNDRAWN: &str =
    "<p class=note>There is no room for its drawing here: its times are in report.json.</p>";

/// A run's text before and after its drawing.
struct Block {
    head: String,
    tail: String,
}

impl Block {
    /// Without a drawing.
    const fn size(&self) -> usize {
        self.head.len() + UNDRAWN.len() + self.tail.len()
    }
}

/// The places of the runs: judged and violated, then violated, then broken, then the others.
pub fn order(runs: &[Run]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..runs.len()).collect();
    order.sort_by_key(|index| {
        let run = &runs[*index];
        let is_violated = totals::violated(run) > 0;
        Reverse((
            is_violated,
            is_violated && run.is_judged,
            run.broken.is_some(),
        ))
    });
    order
}

/// What the colours mean.
const LEGEND: &str = "<p class=legend><b>Manager</b> <i class='key up'></i>up <i class='key down'></i>killed \
<i class='key looking'></i>answers, not all looked at; <b>container as the manager shows it</b> \
<i class='key created'></i>created <i class='key running'></i>running <i class='key paused'></i>paused \
<i class='key exited'></i>exited <i class='key unknown'></i>unknown, no bar: not there; \
<i class='key gap'></i>log silent for longer than its program is; <b class=cross>×</b> its end according to the kernel; \
<i class='line kill'></i>kill <i class='line fault'></i>another fault <i class='line answers'></i>answers \
<i class='line recovered'></i>recovered <b class=bad>◆</b> violation seen</p>";

/// One run.
fn block(run: &Run, index: usize, is_open: bool) -> Block {
    let (class, says) = match (totals::violated(run), &run.broken) {
        (0, None) if run.checks.iter().all(|check| check.checked == 0) => {
            ("unchecked", "nothing checked".to_owned())
        }
        (0, None) => ("held", "held".to_owned()),
        (0, Some(_)) => ("broken", "not carried through".to_owned()),
        (count, _) => ("violated", counted(count, "violation")),
    };
    let target = escape(&run.target);
    let about = [
        duration(run.ended.saturating_sub(run.began)),
        counted(run.containers.len(), "container"),
        counted(totals::kills(run), "kill"),
    ];
    let seed = run
        .seed
        .map_or_else(String::new, |seed| format!(", seed {seed}"));
    let open = if is_open { " open" } else { "" };
    let head = format!(
        "<details class='run {class}' id=run-{index} data-target=\"{target}\"{open}><summary><b>{}</b> <span class=of>{target}</span> \
         <span class=says>{says}</span> <span class=of>{}{seed}</span></summary>{}{}{}",
        escape(&clipped(&run.name, 200)),
        about.join(", "),
        facts(run),
        violations(run),
        minimal(run)
    );
    let tail = format!("{}</details>", marks(run));
    Block { head, tail }
}

fn drawing(run: &Run) -> String {
    let Some(drawing) = timeline::drawn(run) else {
        return "<p class=note>Nothing in this run has a time.</p>".to_owned();
    };
    let left_out = match drawing.left_out.is_empty() {
        true => String::new(),
        false => format!("<p class=note>{}</p>", escape(&drawing.left_out.join(" "))),
    };
    format!("<div class=wide>{}</div>{left_out}", drawing.svg)
}

fn facts(run: &Run) -> String {
    let mut facts = format!("<p class=facts>began {}", date(run.began));
    if let Some(seed) = run.seed {
        facts += &format!(", seed <code>{seed}</code>");
    }
    if !run.is_judged {
        facts += ", a peer: shown and not judged";
    }
    facts += "</p>";
    if !run.repeat.is_empty() {
        facts += &format!(
            "<p class=facts>again: <code>{}</code></p>",
            escape(&clipped(&run.repeat, TEXT))
        );
    }
    if let Some(why) = &run.broken {
        facts += &format!(
            "<p class=bad>Not carried through: {}</p>",
            escape(&clipped(why, TEXT))
        );
    }
    facts
}

fn violations(run: &Run) -> String {
    if run.violations.is_empty() {
        return String::new();
    }
    let from = Scale::of(run).map_or(run.began, Scale::from);
    let rows: String = run
        .violations
        .iter()
        .take(VIOLATIONS)
        .map(|seen| row(seen, from))
        .collect();
    let more = match run.violations.len().saturating_sub(VIOLATIONS) {
        0 => String::new(),
        more => format!(
            "<p class=note>{} more are in report.json.</p>",
            counted(more, "violation")
        ),
    };
    format!(
        "<div class=wide><table class=seen><thead><tr><th>at<th>invariant<th>after<th>of<th>expected<th>saw</thead><tbody>{rows}</tbody></table></div>{more}"
    )
}

fn row(seen: &Violation, from: i64) -> String {
    let cell = |text: &str| escape(&clipped(text, TEXT));
    format!(
        "<tr><td>{}<td class=bad>{} {}<td>{}<td>{}<td class=text>{}<td class=text>{}",
        scale::since(seen.at, from),
        seen.invariant,
        super::invariants::short(seen.invariant),
        cell(&seen.fault),
        cell(&seen.subject),
        cell(&seen.expected),
        cell(&seen.saw)
    )
}

fn minimal(run: &Run) -> String {
    if run.minimal.is_empty() {
        return String::new();
    }
    let steps = run.minimal.iter().take(OPERATIONS);
    let steps: String = steps
        .map(|step| format!("<li><code>{}</code>", escape(&clipped(step, TEXT))))
        .collect();
    let more = match run.minimal.len().saturating_sub(OPERATIONS) {
        0 => String::new(),
        more => format!(
            "<p class=note>{} more in report.json.</p>",
            counted(more, "operation")
        ),
    };
    format!(
        "<p class=facts>The fewest operations that were found to lead to it:</p><ol class=minimal>{steps}</ol>{more}"
    )
}

/// The marks as text, for whoever cannot point at a line.
fn marks(run: &Run) -> String {
    if run.marks.is_empty() {
        return String::new();
    }
    let from = Scale::of(run).map_or(run.began, Scale::from);
    let items = run.marks.iter().take(OPERATIONS).map(|mark| {
        format!(
            "<li>{} {} {}",
            scale::since(mark.at, from),
            timeline::word(mark.kind),
            escape(&clipped(&mark.fault, 200))
        )
    });
    let items: String = items.collect();
    let more = match run.marks.len().saturating_sub(OPERATIONS) {
        0 => String::new(),
        more => format!("<li>and {} in report.json", counted(more, "more mark")),
    };
    format!(
        "<details class=marks><summary>{}</summary><ul>{items}{more}</ul></details>",
        counted(run.marks.len(), "mark")
    )
}
