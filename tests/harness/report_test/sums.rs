//! Counts, standings and the verdict; times and texts.

use crate::example;
use crate::history::{Report, Run};
use crate::report::totals::{self, Count, Standing, Verdict};
use crate::report::words;
use crate::report::{histogram, invariants};

fn report(runs: Vec<Run>) -> Report {
    Report {
        runs,
        ..Report::default()
    }
}

#[test]
fn the_sums_are_those_of_each_target() {
    let report = example::report();
    let all = totals::of(&report);
    let names: Vec<&str> = all.iter().map(|totals| totals.target).collect();
    assert_eq!(
        names,
        ["outlive", "containerd 2.x + runc", example::HOSTILE]
    );
    let [outlive, peer, empty] = &all[..] else {
        panic!("{names:?}")
    };
    assert_eq!((outlive.runs, outlive.broken, outlive.kills), (4, 1, 2_506));
    assert!(outlive.is_judged && !peer.is_judged);
    assert_eq!(peer.recoveries, 3 + 2 + 60);
    let exits = peer.cell("exit while down", 4);
    assert_eq!((exits.checked, exits.violated), (8, 2));
    assert_eq!(peer.invariant(7).violated, 1);
    assert_eq!(empty.all(), Count::default());
}

#[test]
fn what_was_not_checked_does_not_hold() {
    let count = |checked, violated| Count { checked, violated }.standing();
    assert_eq!(count(0, 0), Standing::NotChecked);
    assert_eq!(count(5, 0), Standing::Holds);
    assert_eq!(count(5, 5), Standing::Violated);
    assert_eq!(count(0, 1), Standing::Violated);
}

#[test]
fn a_violation_that_no_check_counted_is_counted() {
    let mut run = example::violated("outlive");
    run.checks = vec![example::check("exit while down", 4, 8, 0)];
    assert_eq!(totals::violated(&run), 3);
    run.checks = vec![example::check("exit while down", 4, 8, 7)];
    assert_eq!(totals::violated(&run), 8);
}

#[test]
fn the_verdict_is_about_the_judged_runs_alone() {
    let held = example::run("outlive", "kill at rest");
    let lost = example::violated("a peer");
    let verdict =
        |runs: &[&Run]| totals::verdict(&report(runs.iter().map(|run| (*run).clone()).collect()));
    assert_eq!(verdict(&[]), Verdict::Nothing);
    assert_eq!(verdict(&[&lost]), Verdict::Nothing);
    assert_eq!(verdict(&[&held, &lost]), Verdict::Holds { checked: 264 });
    assert_eq!(
        verdict(&[&held, &example::violated("outlive")]),
        Verdict::Violated { violated: 3 }
    );
    let broken = Run {
        broken: Some("no space".to_owned()),
        ..held.clone()
    };
    assert_eq!(verdict(&[&held, &broken]), Verdict::Broken { runs: 1 });
}

#[test]
fn the_invariants_are_numbered_through() {
    let numbers: Vec<u8> = invariants::ALL.iter().map(|named| named.number).collect();
    assert_eq!(numbers, (1..=13).collect::<Vec<u8>>());
    let mut run = example::run("outlive", "kill at rest");
    run.checks.push(example::check("kill -9", 99, 1, 0));
    let report = report(vec![run]);
    let numbers = totals::numbers(&totals::of(&report));
    assert_eq!(numbers.len(), 14);
    assert_eq!(invariants::short(99), "not in the list");
}

#[test]
fn statistics_are_of_the_times_that_there_are() {
    assert_eq!(histogram::statistics(&[]), None);
    assert_eq!(histogram::statistics(&[f64::NAN]), None);
    let ten: Vec<f64> = (1..=10).rev().map(f64::from).collect();
    let all = histogram::statistics(&ten).unwrap();
    assert_eq!(
        (all.count, all.median, all.p90, all.max),
        (10, 5.0, 9.0, 10.0)
    );
    let one = histogram::statistics(&[7.0]).unwrap();
    assert_eq!(
        (one.count, one.median, one.p90, one.max),
        (1, 7.0, 7.0, 7.0)
    );
}

#[test]
fn every_time_is_in_a_bin() {
    let times = [0.0, 3.0, 3.0, 10.0, 99.0, 1e9, f64::NAN];
    let limits = histogram::limits(&times);
    assert!(limits.windows(2).all(|bin| bin[0] < bin[1]));
    assert_eq!(histogram::counts(&times, &limits).iter().sum::<usize>(), 6);
    let one = histogram::limits(&[10.0]);
    assert_eq!(histogram::counts(&[10.0], &one), [1]);
    assert!(histogram::limits(&[]).is_empty());
    assert!(histogram::counts(&[1.0], &[]).is_empty());
}

#[test]
fn texts_are_made_harmless() {
    assert_eq!(
        words::escape("<a href='\"'>&\u{1b}\n"),
        "&lt;a href=&#39;&quot;&#39;&gt;&amp;\\u{1b}\n"
    );
    assert_eq!(words::plain("a\nb\u{1b}[2J"), "a\\nb\\u{1b}[2J");
    assert_eq!(words::clipped("abc", 3), "abc");
    assert_eq!(words::clipped("äbcde", 3), "äbc… (2 characters more)");
    assert_eq!(words::shortened("äbcde", 3), "äb…");
}

#[test]
fn numbers_and_times_are_readable() {
    assert_eq!(
        [0, 999, 1_000, 1_234_567].map(words::thousands),
        ["0", "999", "1,000", "1,234,567"]
    );
    assert_eq!(
        [0.0, 0.25, 9.5, 99.96, 1_234.0].map(words::milliseconds),
        ["0 ms", "250 µs", "9.50 ms", "100.0 ms", "1.23 s"]
    );
    assert_eq!(words::duration(-1_500_000_000), "-1.50 s");
    assert_eq!(words::duration(200_000_000_000), "3 min 20 s");
    assert_eq!(words::duration(7_500_000_000_000), "2 h 5 min");
    assert_eq!(words::date(example::BEGAN), "2026-01-01 00:00:00 UTC");
    assert_eq!([0, -1].map(words::date), ["not recorded", "not recorded"]);
}
