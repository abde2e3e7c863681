//! Figures, ratios, lines, ticks, and texts.

use proptest::prelude::*;

use crate::measure::{Unit, as_float};
use crate::report::fit::{fit, growth};
use crate::report::standing::{Way, ratio_of};
use crate::report::svg::ticks;
use crate::report::words::{better, chosen, digits, escape, figure, shortened, titled, with_unit};

fn is_near(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= 1e-9 * expected.abs().max(1.0)
}

#[test]
fn figures_have_three_digits_that_count() {
    let expected = [
        (0.0, "0"),
        (-0.0, "0"),
        (0.000_012_3, "0.000012"),
        (0.012_34, "0.0123"),
        (0.999_9, "1.00"),
        (1.0, "1.00"),
        (9.996, "10.0"),
        (12.34, "12.3"),
        (99.96, "100"),
        (999.7, "1,000"),
        (1_234_567.8, "1,234,568"),
        (-1_234.0, "-1,234"),
        (-0.5, "-0.500"),
        (f64::NAN, "–"),
        (f64::INFINITY, "–"),
    ];
    for (value, text) in expected {
        assert_eq!(digits(value), text, "{value}");
    }
}

#[test]
fn what_is_counted_whole_has_no_parts() {
    assert_eq!(figure(7.0, Unit::Count), "7");
    assert_eq!(figure(7.5, Unit::Count), "7.50");
    assert_eq!(figure(0.0, Unit::Count), "0");
    assert_eq!(figure(9_876.0, Unit::Kilobytes), "9,876");
    assert_eq!(figure(7.0, Unit::Millis), "7.00");
    assert_eq!(figure(f64::NAN, Unit::Count), "–");
    assert_eq!(
        [0.35, 1.2, 50.0, 12_000.0, 0.0].map(chosen),
        ["0.35", "1.2", "50", "12,000", "0"]
    );
}

#[test]
fn every_unit_says_which_way_is_better() {
    let more = [Unit::MegabytesPerSecond, Unit::CallsPerSecond];
    let less = [
        Unit::Millis,
        Unit::Kilobytes,
        Unit::CpuPerGibibyte,
        Unit::KiloInstructions,
        Unit::Count,
    ];
    assert!(more.iter().all(|unit| better(*unit).starts_with("more")));
    assert!(less.iter().all(|unit| better(*unit).starts_with("less")));
    assert_eq!(titled("threads", Unit::Count), "threads");
    assert_eq!(titled("Create", Unit::Millis), "Create, ms");
    assert_eq!(with_unit("3", Unit::Kilobytes), "3 kB");
    assert_eq!(with_unit("3", Unit::Count), "3");
}

#[test]
fn ratios_are_taken_round_by_round() {
    // The machine is ten times slower in the last round, for both.
    let ratio = ratio_of(&[1.0, 2.0, 30.0], &[2.0, 4.0, 60.0]).unwrap();
    assert_eq!((ratio.value, ratio.way), (0.5, Way::Rounds));
}

#[test]
fn without_common_rounds_the_medians_are_compared() {
    let ratio = ratio_of(&[3.0], &[1.0, 2.0, 30.0]).unwrap();
    assert_eq!((ratio.value, ratio.way), (1.5, Way::Medians));
    let ratio = ratio_of(&[1.0, 2.0, 3.0], &[0.0, 4.0, 5.0]).unwrap();
    assert_eq!((ratio.value, ratio.way), (0.5, Way::Medians));
    assert_eq!(ratio_of(&[], &[1.0]), None);
    assert_eq!(ratio_of(&[1.0], &[]), None);
    assert_eq!(ratio_of(&[0.0], &[0.0]), None);
}

#[test]
fn a_straight_line_is_found_again() {
    let containers = [1.0, 10.0, 50.0, 200.0];
    let line = fit(&containers, &containers.map(|n| 12.5 + 0.75 * n)).unwrap();
    assert!(is_near(line.a, 12.5) && is_near(line.b, 0.75) && is_near(line.r2, 1.0));
    assert_eq!(line.text(), "12.5 + 0.750 × n (r² 1.0000)");
    let flat = fit(&containers, &[3.0; 4]).unwrap();
    assert!(is_near(flat.a, 3.0) && is_near(flat.b, 0.0) && is_near(flat.r2, 1.0));
    let falling = fit(&containers, &containers.map(|n| 500.0 - 2.0 * n)).unwrap();
    assert_eq!(falling.text(), "500 − 2.00 × n (r² 1.0000)");
}

#[test]
fn what_lies_beside_the_line_lowers_r2() {
    // The means are 2 and 2, the sums of products 2, 1 and 2; of the latter 1.5 is left beside the line.
    let line = fit(&[1.0, 2.0, 3.0], &[1.0, 3.0, 2.0]).unwrap();
    assert!(is_near(line.b, 0.5) && is_near(line.a, 1.0), "{line:?}");
    assert!(is_near(line.r2, 0.25), "{line:?}");
}

#[test]
fn too_few_points_make_no_line() {
    assert_eq!(fit(&[], &[]), None);
    assert_eq!(fit(&[5.0], &[1.0]), None);
    assert_eq!(fit(&[5.0, 5.0], &[1.0, 2.0]), None);
    assert_eq!(fit(&[5.0, 6.0], &[1.0, f64::NAN]), None);
    // One gave up before the last.
    assert!(fit(&[1.0, 10.0, 50.0], &[1.0, 2.0]).is_some());
}

#[test]
fn growth_compares_one_among_most_with_one_among_ten() {
    let found = growth(&[1.0, 10.0, 100.0], &[5.0, 20.0, 300.0]).unwrap();
    assert_eq!(
        (found.with_ten, found.most, found.with_most, found.times),
        (2.0, 100.0, 3.0, 1.5)
    );
    let in_any_order = growth(&[100.0, 10.0], &[300.0, 20.0]).unwrap();
    assert_eq!(in_any_order, found);
    assert_eq!(growth(&[1.0, 10.0], &[5.0, 20.0]), None);
    assert_eq!(growth(&[1.0, 100.0], &[5.0, 300.0]), None);
    assert_eq!(growth(&[10.0, 100.0], &[0.0, 0.0]), None);
}

#[test]
fn text_for_xml_is_text() {
    assert_eq!(
        escape("a<b> & \"c\" 'd'"),
        "a&lt;b&gt; &amp; &quot;c&quot; &#39;d&#39;"
    );
    assert_eq!(escape("\u{1b}[31m\0\n"), "\\u{1b}[31m\\u{0}\n");
    assert_eq!(shortened("abcdef", 6), "abcdef");
    assert_eq!(shortened("abcdefg", 6), "abcde…");
}

proptest! {
    #[test]
    fn ticks_are_round_few_and_reach_what_is_drawn(most in 1e-6..1e12_f64) {
        let ticks = ticks(most);
        let last = *ticks.last().unwrap();
        prop_assert!((2..=7).contains(&ticks.len()), "{ticks:?}");
        prop_assert!(last >= most * 0.999 && last <= most * 2.0, "{most}: {ticks:?}");
        let step = ticks[1];
        prop_assert!(ticks.iter().enumerate().all(|(at, tick)| is_near(*tick, step * as_float(at))));
    }

    #[test]
    fn a_figure_is_near_its_value(value in -1e9..1e9_f64) {
        let read: f64 = digits(value).replace(',', "").parse().unwrap();
        prop_assert!((read - value).abs() <= 0.005_001 * value.abs() + 1e-6, "{value}: {read}");
    }
}

#[test]
fn of_nothing_there_are_ticks_too() {
    for most in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(ticks(most).first(), Some(&0.0));
        assert!(ticks(most).len() <= 7);
    }
}
