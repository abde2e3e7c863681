//! Charts: every tag closed, nothing foreign in them, bars as long as their figures.

use proptest::prelude::*;

use crate::example;
use crate::measure::{Curve, Findings, GO, Measure, OUTLIVE, Unit};
use crate::report::drawings;
use crate::report::svg::wrapped;

fn charts(findings: &Findings) -> Vec<(String, String)> {
    drawings(&example::report(&example::machine(), findings))
}

fn one(measure: Measure) -> String {
    let findings = Findings {
        measures: vec![measure],
        ..Findings::default()
    };
    let [(_, svg)] = &charts(&findings)[..] else {
        panic!("not one chart")
    };
    svg.clone()
}

/// What is wrong with a file of XML: a tag that nobody closes, a bare `<` or `&`, an attribute without quotes.
fn fault(xml: &str) -> Option<String> {
    let mut open: Vec<&str> = Vec::new();
    for piece in xml.split('<').skip(1) {
        let Some((tag, rest)) = piece.split_once('>') else {
            return Some(format!("no end: <{piece}"));
        };
        if let Some(name) = tag.strip_prefix('/') {
            if open.pop() != Some(name) {
                return Some(format!("closes what is not open: {tag}"));
            }
        } else {
            let (inner, is_closed) = match tag.strip_suffix('/') {
                Some(inner) => (inner, true),
                None => (tag, false),
            };
            let (name, attributes) = inner.split_once(' ').unwrap_or((inner, ""));
            if attributes.matches('"').count() != 2 * attributes.matches("=\"").count() {
                return Some(format!("quotes: {tag}"));
            }
            if !is_closed {
                open.push(name);
            }
        }
        let entities = ["amp;", "lt;", "gt;", "quot;", "#39;"];
        for text in [tag, rest] {
            let mut after = text.split('&').skip(1);
            if after.any(|after| !entities.iter().any(|entity| after.starts_with(entity))) {
                return Some(format!("a bare &: {text}"));
            }
        }
    }
    (!open.is_empty()).then(|| format!("open: {open:?}"))
}

/// The numbers of an attribute, wherever an element of this kind has it.
fn numbers(svg: &str, element: &str, attribute: &str) -> Vec<f64> {
    let start = format!("<{element}");
    let values = svg.split(&start).skip(1).filter_map(|rest| {
        let (tag, _) = rest.split_once('>')?;
        let (_, value) = tag.split_once(&format!(" {attribute}=\""))?;
        value.split_once('"')?.0.parse().ok()
    });
    values.collect()
}

#[test]
fn the_check_sees_faults() {
    for wrong in [
        "<a>",
        "<a></b>",
        "<a b=\"c></a>",
        "<a>x & y</a>",
        "<a",
        "</a>",
    ] {
        assert!(fault(wrong).is_some(), "{wrong}");
    }
    assert_eq!(fault("<a b=\"c\"><d/>x &amp; y</a>"), None);
}

#[test]
fn there_is_a_chart_for_each_group_and_each_curve() {
    let charts = charts(&example::findings());
    let names: Vec<&str> = charts.iter().map(|(name, _)| name.as_str()).collect();
    let expected = [
        "life.svg",
        "memory.svg",
        "output.svg",
        "hang.svg",
        "call.svg",
        "many.memory.svg",
    ];
    assert_eq!(names, expected);
    for (name, svg) in &charts {
        assert_eq!(fault(svg), None, "{name}");
        assert!(svg.contains("2026-01-02T03:04:05Z"), "{name}");
        assert!(svg.contains("Example &lt;CPU&gt; &amp; Co"), "{name}");
        let own = "xmlns=\"http://www.w3.org/2000/svg\"";
        assert!(!svg.replace(own, "").contains("http"), "{name}");
        for wrong in ["NaN", "inf", "`"] {
            assert!(!svg.contains(wrong), "{name}: {wrong}");
        }
    }
}

#[test]
fn bars_are_as_long_as_their_figures_from_zero_on() {
    let measure = Measure::new("a.b", "title", Unit::Millis);
    let svg = one(measure.with(GO, vec![80.0]).with(OUTLIVE, vec![20.0]));
    let widths = numbers(&svg, "rect", "width");
    let [_, ours, theirs] = widths[..] else {
        panic!("{widths:?}")
    };
    assert!((theirs / ours - 4.0).abs() < 0.01, "{widths:?}");
    assert!(!svg.contains("class=\"whisker\""));
}

#[test]
fn a_spread_has_a_whisker() {
    let measure = Measure::new("a.b", "title", Unit::Millis);
    let svg = one(measure
        .with(OUTLIVE, example::around(5.0))
        .with(GO, vec![7.0]));
    assert_eq!(svg.matches("class=\"whisker\"").count(), 1);
    assert!(svg.contains("medians of 1 to 7 rounds"));
}

#[test]
fn small_print_is_as_wide_as_its_chart() {
    let lines = wrapped("a few words that do not fit on one line", 80.0);
    assert_eq!(lines.join(" "), "a few words that do not fit on one line");
    assert!(
        lines.len() > 2 && lines.iter().all(|line| line.len() < 14),
        "{lines:?}"
    );
    assert_eq!(wrapped("unbreakable", 3.0), ["unbreakable"]);
}

#[test]
fn odd_figures_still_make_a_chart() {
    for values in [
        vec![0.0],
        vec![-3.0, -2.0],
        vec![f64::INFINITY],
        vec![f64::NAN, 1.0],
    ] {
        let measure = Measure::new("a.b", "title", Unit::Millis);
        let svg = one(measure.with(OUTLIVE, values.clone()).with(GO, vec![7.0]));
        assert_eq!(fault(&svg), None, "{values:?}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{values:?}");
        let (widths, page) = (
            numbers(&svg, "rect", "width"),
            numbers(&svg, "svg", "width")[0],
        );
        assert!(widths.iter().all(|width| (0.0..page).contains(width)));
    }
}

#[test]
fn what_was_not_measured_has_no_chart() {
    let findings = Findings {
        measures: vec![Measure::new("a.b", "title", Unit::Millis).with(OUTLIVE, vec![])],
        curves: vec![Curve {
            containers: vec![],
            ..example::curve()
        }],
        ..Findings::default()
    };
    assert_eq!(charts(&findings), []);
}

#[test]
fn points_are_within_the_plot() {
    let findings = Findings {
        curves: vec![example::curve()],
        ..Findings::default()
    };
    let svg = &charts(&findings)[0].1;
    let (width, height) = (
        numbers(svg, "svg", "width")[0],
        numbers(svg, "svg", "height")[0],
    );
    let (x, y) = (numbers(svg, "circle", "cx"), numbers(svg, "circle", "cy"));
    // Five of each of two, and one of each in the legend.
    assert_eq!((x.len(), y.len()), (12, 12));
    assert!(x.iter().all(|x| (0.0..width).contains(x)), "{x:?}");
    assert!(y.iter().all(|y| (0.0..height).contains(y)), "{y:?}");
    assert!(svg.contains("9,000 + 1,900 × n (r² 1.0000)"));
}

proptest! {
    #[test]
    fn no_title_breaks_a_chart(title in "\\PC{0,80}|[<>&\"'`\\x00-\\x20]{0,80}", value in 0.0..1e6_f64) {
        let measure = Measure::new("a.b", &title, Unit::Millis);
        let svg = one(measure.with(OUTLIVE, vec![value]).with(GO, vec![value, 1.0]));
        prop_assert_eq!(fault(&svg), None);
    }
}
