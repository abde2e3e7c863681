//! The table on the terminal.

use crate::example::{self, around};
use crate::measure::{Bound, CAT, CONMON, Findings, GO, Measure, OUTLIVE, RUNC, RUST, Unit};
use crate::report::table::text;

fn shown(findings: &Findings) -> String {
    text(&example::report(&example::machine(), findings))
}

/// The line that has this, its words one blank apart.
fn line(text: &str, part: &str) -> String {
    let line = text.lines().find(|line| line.contains(part));
    let line = line.unwrap_or_else(|| panic!("{part:?} is not in\n{text}"));
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_measure_is_a_line() {
    let text = shown(&example::findings());
    assert_eq!(
        line(&text, "a container's life"),
        "a container's life ms 38.8 (37.2 … 43.9) 85.7 (82.4 … 97.1) 0.452 61.9 (59.5 … 70.1) 0.626 31.3 (30.1 … 35.5) 1.24"
    );
    assert_eq!(
        line(&text, "private memory"),
        "private memory of a resting shim kB 612 9,876 0.0620 3,004 0.204 400 1.53"
    );
}

#[test]
fn no_line_is_wider_than_a_terminal() {
    let mut findings = example::findings();
    let title = "a title that goes on and on for as long as somebody had something to say about it";
    let mut wide = Measure::new("life.wide", title, Unit::KiloInstructions);
    for who in [OUTLIVE, GO, RUST, CONMON, RUNC, CAT] {
        wide = wide.with(who, around(123_456_789.0));
    }
    findings.measures.push(wide);
    let text = shown(&findings);
    for line in text.lines() {
        assert!(line.chars().count() <= 160, "{line}");
    }
    for who in [GO, RUST, CONMON, RUNC, CAT] {
        assert!(text.contains(&format!("÷ {who}")), "{who}");
    }
}

#[test]
fn targets_are_listed_and_counted() {
    let text = shown(&example::findings());
    assert_eq!(
        line(&text, "at most 0.2 × rust"),
        "MISSED life.own the shim's own part of it at most 0.2 × rust 0.244 × rust"
    );
    assert!(line(&text, "at most 0.35").starts_with("met "));
    assert!(line(&text, "at most 0.6").ends_with("not measured: rust was skipped"));
    assert!(line(&text, "per container").starts_with("met many.memory "));
    assert_eq!(
        line(&text, "not measured\n".trim_end()),
        line(&text, "at most 0.6")
    );
    assert!(
        text.contains("\n4 targets met, 2 missed, 1 not measured\n"),
        "{text}"
    );
    assert!(text.ends_with("\nskipped\n  hang.state: go: no answer within 5 s | it waits\n"));
}

#[test]
fn a_curve_has_its_line() {
    let text = shown(&example::findings());
    assert_eq!(
        line(&text, "+ 14,120 × n"),
        "containerd 39,120 166,200 731,000 1,437,000 2,849,000 25,000 + 14,120 × n (r² 1.0000)"
    );
}

#[test]
fn foreign_text_moves_no_cursor() {
    let bound = Bound::AtMost { times: 1.0, of: GO };
    let measure = Measure::new("a.b", "\u{1b}[2Jtitle\n", Unit::Millis).held_to(bound);
    let text = shown(&Findings {
        measures: vec![measure.with(OUTLIVE, vec![1.0])],
        ..Findings::default()
    });
    assert!(!text.contains('\u{1b}'));
    assert!(text.contains("\\u{1b}[2Jtitle\\n"));
}

#[test]
fn of_nothing_there_is_the_machine() {
    let text = shown(&Findings::default());
    assert_eq!(text.lines().count(), 5, "{text}");
}
