//! The head of the page: the verdict, what was called where and when, and the sums of each target.

use std::collections::BTreeSet;

use super::totals::{Standing, Totals, Verdict};
use super::words::{clipped, date, duration, escape, thousands};
use crate::history::Report;

/// The verdict, and the call.
pub fn section(report: &Report, verdict: Verdict) -> String {
    let class = match verdict {
        Verdict::Holds { .. } => "good",
        Verdict::Violated { .. } => "bad",
        Verdict::Broken { .. } | Verdict::Nothing => "unsure",
    };
    let machine = report.machine.iter().map(|(name, text)| {
        let (name, text) = (clipped(name, 100), clipped(text, 400));
        format!("<dt>{}<dd>{}", escape(&name), escape(&text))
    });
    let machine: String = machine.collect();
    format!(
        "<h1>Recovery</h1><p class='verdict {class}'>{}</p><dl><dt>command<dd><code>{}</code><dt>began<dd>{}<dt>took<dd>{}{machine}</dl>",
        escape(&verdict.line()),
        escape(&clipped(&report.command, 1000)),
        date(report.began),
        duration(report.ended.saturating_sub(report.began)),
    )
}

/// The sums of each target.
pub fn totals(all: &[Totals<'_>], numbers: &BTreeSet<u8>) -> String {
    let rows = all.iter().map(|totals| {
        let name = escape(totals.target);
        let count = totals.all();
        let class = match count.standing() {
            Standing::NotChecked => "none",
            Standing::Holds => "good",
            Standing::Violated => "bad",
        };
        let judged = if totals.is_judged { "yes" } else { "no, a peer" };
        format!(
            "<tr data-target=\"{name}\"><th class=left>{name}<td>{judged}<td>{}<td{}>{}<td>{}<td>{}<td>{}<td class={class}>{}<td>{} of {}",
            thousands(totals.runs),
            if totals.broken > 0 { " class=bad" } else { "" },
            thousands(totals.broken),
            thousands(totals.kills),
            thousands(totals.recoveries),
            thousands(count.checked),
            match count.standing() {
                Standing::NotChecked => "not checked".to_owned(),
                Standing::Holds | Standing::Violated => thousands(count.violated),
            },
            totals.standing(numbers, Standing::Holds),
            numbers.len()
        )
    });
    let rows: String = rows.collect();
    format!(
        "<div class=wide><table><thead><tr><th class=left>target<th>judged<th>runs<th>not carried through<th>kills<th>recoveries timed\
         <th>checks<th>violations<th>invariants held</thead><tbody>{rows}</tbody></table></div>"
    )
}
