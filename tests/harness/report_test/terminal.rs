//! The text for the terminal.

use crate::example;
use crate::history::{Report, Run};
use crate::report;

fn of(runs: Vec<Run>) -> String {
    report::summary(&Report {
        runs,
        ..Report::default()
    })
}

#[test]
fn the_table_is_aligned_and_says_what_was_not_checked() {
    let text = of(vec![
        example::run("outlive", "kill at rest"),
        example::violated("containerd 2.x + runc"),
    ]);
    let lines: Vec<&str> = text.lines().take(14).collect();
    assert_eq!(
        lines[0],
        "invariant                        outlive  containerd 2.x + runc"
    );
    assert_eq!(
        lines[4],
        " 4 exit as the kernel's            ok 24              LOST 2/32"
    );
    assert_eq!(
        lines[8],
        " 8 writes never block        not checked            not checked"
    );
    assert!(
        lines.iter().all(|line| line.len() == lines[0].len()),
        "{text}"
    );
}

#[test]
fn a_violation_has_what_repeats_it_and_moves_no_cursor() {
    let text = of(vec![example::violated("outlive")]);
    assert!(text.contains("\noutlive: 4 exit as the kernel's, after exit while down in exit while the manager is down\n"));
    assert!(text.contains("\n  saw       record 412, then\\nrecord 598: \\u{1b}[31m186 lost\n"));
    assert!(text.contains("\n  again     make recover ARGS='--target outlive"));
    assert!(
        text.ends_with("\nVIOLATED: 3 violations (1 run, 2 kills)\n"),
        "{text}"
    );
}

#[test]
fn a_peers_violations_are_shown_and_not_judged() {
    let text = of(vec![
        example::run("outlive", "kill at rest"),
        example::violated("a peer"),
    ]);
    assert!(text.contains("\na peer (a peer, not judged): 4 "));
    assert!(
        text.ends_with("\nHOLDS: 264 checks, none violated (2 runs, 4 kills)\n"),
        "{text}"
    );
}

#[test]
fn of_many_violations_the_first_are_shown_and_all_counted() {
    let text = of(vec![example::violated("outlive"); 9]);
    assert_eq!(text.matches("  expected  ").count(), 10);
    assert!(
        text.contains("\noutlive: 17 more violations in the report\n"),
        "{text}"
    );
}

#[test]
fn what_was_not_carried_through_is_no_success() {
    let mut run = example::run("outlive", "full disk");
    run.broken = Some("no loop device".to_owned());
    let text = of(vec![run]);
    assert!(text.contains("\nnot carried through: outlive, full disk\n  no loop device\n"));
    assert!(
        text.ends_with("\nINCOMPLETE: 1 run not carried through, none violated (1 run, 2 kills)\n"),
        "{text}"
    );
    assert!(of(Vec::new()).ends_with("(0 runs, 0 kills)\n"));
}
