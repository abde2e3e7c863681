//! The tables of invariants: targets beside each other, and for each target by fault. A cell has how often it was checked,
//! a red one how often it did not hold of how often it was checked, and leads to the violations.

use std::collections::BTreeSet;

use super::invariants;
use super::totals::{Count, Standing, Totals};
use super::words::{clipped, escape, thousands};

/// Where the violations of a cell are: by the places of target and fault.
pub fn anchor(target: usize, fault: usize, invariant: u8) -> String {
    format!("v-{target}-{fault}-{invariant}")
}

/// Invariants down, targets across.
pub fn comparison(all: &[Totals<'_>], numbers: &BTreeSet<u8>) -> String {
    let heads = all.iter().map(|totals| {
        let name = escape(totals.target);
        let judged = if totals.is_judged {
            "judged"
        } else {
            "peer, not judged"
        };
        format!("<th data-target=\"{name}\">{name}<br><span class=of>{judged}</span>")
    });
    let heads: String = heads.collect();
    let rows = numbers.iter().map(|number| {
        let cells = all.iter().enumerate().map(|(index, totals)| {
            let (class, says) = words(totals.invariant(*number));
            let link = first_violated(totals, *number).map(|fault| anchor(index, fault, *number));
            let says = linked(&says, link);
            format!(
                "<td class={class} data-target=\"{}\">{says}",
                escape(totals.target)
            )
        });
        let cells: String = cells.collect();
        format!(
            "<tr><th class=left>{number} {}<td class=left>{}{cells}",
            invariants::short(*number),
            invariants::long(*number)
        )
    });
    let rows: String = rows.collect();
    let sums = all.iter().map(|totals| {
        let standing = |standing| totals.standing(numbers, standing);
        format!(
            "<td data-target=\"{}\">holds {}, loses {}, not checked {}",
            escape(totals.target),
            standing(Standing::Holds),
            standing(Standing::Violated),
            standing(Standing::NotChecked)
        )
    });
    let sums: String = sums.collect();
    format!(
        "<div class=wide><table class=comparison><thead><tr><th class=left colspan=2>invariant{heads}</thead><tbody>{rows}</tbody>\
         <tfoot><tr><th class=left colspan=2>of {}{sums}</tfoot></table></div>",
        numbers.len()
    )
}

fn first_violated(totals: &Totals<'_>, number: u8) -> Option<usize> {
    let is_violated = |fault: &&str| totals.cell(fault, number).standing() == Standing::Violated;
    totals.faults.iter().position(is_violated)
}

fn words(count: Count) -> (&'static str, String) {
    let checked = thousands(count.checked);
    match count.standing() {
        Standing::NotChecked => ("none", "not checked".to_owned()),
        Standing::Holds => ("good", format!("holds, {checked} checked")),
        Standing::Violated => {
            let violated = thousands(count.violated);
            ("bad", format!("loses, {violated} of {checked}"))
        }
    }
}

fn linked(text: &str, anchor: Option<String>) -> String {
    match anchor {
        Some(anchor) => format!("<a href='#{anchor}'>{text}</a>"),
        None => text.to_owned(),
    }
}

/// For each target: faults down, invariants across.
pub fn by_fault(all: &[Totals<'_>], numbers: &BTreeSet<u8>) -> String {
    let tables = all.iter().enumerate().map(|(index, totals)| {
        let name = escape(totals.target);
        let table = match totals.faults.is_empty() {
            true => "<p class=none>Nothing was checked.</p>".to_owned(),
            false => faults(index, totals, numbers),
        };
        let others = elsewhere(totals, all);
        format!("<div class=target data-target=\"{name}\"><h3>{name}</h3>{table}{others}</div>")
    });
    let tables: String = tables.collect();
    format!("<div class=side>{tables}</div>")
}

fn faults(target: usize, totals: &Totals<'_>, numbers: &BTreeSet<u8>) -> String {
    let heads = numbers.iter().map(|number| {
        format!(
            "<th class=turned title=\"{}\"><span>{number} {}</span>",
            invariants::long(*number),
            invariants::short(*number)
        )
    });
    let heads: String = heads.collect();
    let rows = totals.faults.iter().enumerate().map(|(place, fault)| {
        let cells = numbers.iter().map(|number| {
            let count = totals.cell(fault, *number);
            let link = matches!(count.standing(), Standing::Violated);
            cell(count, link.then(|| anchor(target, place, *number)))
        });
        let cells: String = cells.collect();
        format!("<tr><th class=left>{}{cells}", escape(&clipped(fault, 120)))
    });
    let rows: String = rows.collect();
    let sums: String = numbers
        .iter()
        .map(|number| cell(totals.invariant(*number), None))
        .collect();
    format!(
        "<div class=wide><table class=faults><thead><tr><th class=left>after{heads}</thead><tbody>{rows}</tbody>\
         <tfoot><tr><th class=left>all{sums}</tfoot></table></div>"
    )
}

fn cell(count: Count, anchor: Option<String>) -> String {
    let checked = thousands(count.checked);
    match count.standing() {
        Standing::NotChecked => "<td class=none title='not checked'>–".to_owned(),
        Standing::Holds => format!("<td class=good>{checked}"),
        Standing::Violated => {
            let text = format!("{}/{checked}", thousands(count.violated));
            format!("<td class=bad>{}", linked(&text, anchor))
        }
    }
}

/// Which faults other targets were checked after and this one was not: its table is about less.
fn elsewhere(totals: &Totals<'_>, all: &[Totals<'_>]) -> String {
    let faults = all.iter().flat_map(|other| other.faults.iter());
    let missing: BTreeSet<&str> = faults
        .copied()
        .filter(|fault| !totals.faults.contains(fault))
        .collect();
    if missing.is_empty() {
        return String::new();
    }
    let names: Vec<&str> = missing.iter().copied().take(40).collect();
    let more = match missing.len() - names.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "<p class=note>Nothing was checked here after {}{more}, which other targets met.</p>",
        escape(&names.join(", "))
    )
}
