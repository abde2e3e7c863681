//! `report.html`: one file that needs no other, and is whole without its script, which folds and filters.

use super::totals::Totals;
use super::words::escape;
use super::{head, histogram, runs, table, totals, violations};
use crate::history::Report;

/// The size to stay below, in bytes: the runs have what the rest leaves of it.
pub const LIMIT: usize = 4_500_000;

/// The whole page.
pub fn html(report: &Report) -> String {
    let all = totals::of(report);
    let numbers = totals::numbers(&all);
    let targets: Vec<&str> = all.iter().map(|totals| totals.target).collect();
    let mut body = head::section(report, totals::verdict(report));
    body += &head::totals(&all, &numbers);
    body += &controls(&all);
    body += "<h2>Invariants by target</h2>";
    body += &table::comparison(&all, &numbers);
    body += "<h2>Invariants by fault</h2><p class=note>How often each was checked after each fault; red: how often it did not \
             hold of how often it was checked; –: not checked.</p>";
    body += &table::by_fault(&all, &numbers);
    body += "<h2>Violations</h2>";
    body += &violations::section(report, &all);
    body += "<h2>Recovery time</h2><p class=note>From the start of the manager. All have one scale, on which equal ratios are \
             equally long; a bar's height is relative to the highest of its drawing, whose count is beside it.</p>";
    body += &histogram::section(report, &targets);
    body += "<h2>Runs</h2>";
    let room = LIMIT.saturating_sub(body.len());
    body += &runs::section(&report.runs, room);
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Recovery</title>\
         <meta name=viewport content='width=device-width'><meta name=color-scheme content='light dark'>\
         <meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\
         <style>{}</style><body>{HATCH}<main>{body}</main><script>{}</script></html>\n",
        include_str!("style.css"),
        include_str!("script.js")
    )
}

/// The pattern over the gaps of a log.
const HATCH: &str = "<svg width=0 height=0 style='position:absolute' aria-hidden=true><defs>\
<pattern id=hatch width=6 height=6 patternUnits=userSpaceOnUse patternTransform='rotate(45)'>\
<rect width=6 height=6 class=hatch-ground /><rect width=2.5 height=6 class=hatch-line /></pattern></defs></svg>";

/// What the script needs; hidden where there is none.
fn controls(all: &[Totals<'_>]) -> String {
    let targets = all.iter().map(|totals| {
        let name = escape(totals.target);
        format!("<label><input type=checkbox checked name=target value=\"{name}\">{name}</label>")
    });
    let targets: String = targets.collect();
    format!(
        "<form id=controls hidden><b>Show</b>{targets}<label><input type=checkbox name=violated>violated runs only</label>\
         <button type=button name=open>open all runs</button><button type=button name=close>close all runs</button></form>"
    )
}
