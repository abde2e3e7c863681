//! Which targets are met, missed, or not measured.

use crate::example;
use crate::measure::{Bound, Curve, GO, Measure, OUTLIVE, RUST, Series, Unit};
use crate::report::standing::{Outcome, Target, of_curve, of_measure, targets};

fn measure(bound: Bound) -> Measure {
    Measure::new("a.b", "title", Unit::Millis)
        .with(OUTLIVE, vec![3.0, 4.0, 5.0])
        .with(GO, vec![6.0, 8.0, 10.0])
        .held_to(bound)
}

fn outcome(measure: &Measure) -> Outcome {
    let [Target { outcome, .. }] = &of_measure(measure)[..] else {
        panic!("not one target")
    };
    outcome.clone()
}

fn not_measured(why: &str) -> Outcome {
    Outcome::NotMeasured(why.into())
}

#[test]
fn a_limit_that_is_reached_exactly_is_met() {
    let at_most = |times| outcome(&measure(Bound::AtMost { times, of: GO }));
    assert_eq!(at_most(0.5), Outcome::Met(0.5));
    assert_eq!(at_most(0.49), Outcome::Missed(0.5));
    let at_least = |times| outcome(&measure(Bound::AtLeast { times, of: GO }));
    assert_eq!(at_least(0.5), Outcome::Met(0.5));
    assert_eq!(at_least(0.51), Outcome::Missed(0.5));
    let below = |most| outcome(&measure(Bound::Below(most)));
    assert_eq!(below(4.0), Outcome::Met(4.0));
    assert_eq!(below(3.9), Outcome::Missed(4.0));
}

#[test]
fn who_was_skipped_makes_nobody_miss() {
    let beside_rust = Bound::AtMost {
        times: 9.0,
        of: RUST,
    };
    let skipped = not_measured("rust was skipped");
    assert_eq!(outcome(&measure(beside_rust)), skipped);
    assert_eq!(outcome(&measure(beside_rust).with(RUST, vec![])), skipped);
    let alone = Measure::new("a.b", "title", Unit::Millis).held_to(Bound::Below(1.0));
    assert_eq!(outcome(&alone), not_measured("outlive was skipped"));
}

#[test]
fn beside_nothing_any_figure_is_too_much() {
    let beside = |ours| {
        Measure::new("a.b", "title", Unit::Count)
            .with(OUTLIVE, vec![ours])
            .with(GO, vec![0.0])
            .held_to(Bound::AtMost { times: 2.0, of: GO })
    };
    assert_eq!(outcome(&beside(1.0)), Outcome::Missed(f64::INFINITY));
    let both = not_measured("both outlive and go are at zero");
    assert_eq!(outcome(&beside(0.0)), both);
}

fn curve(values: Vec<f64>) -> Curve {
    let who = OUTLIVE;
    Curve {
        id: "many.time".into(),
        title: "time".into(),
        unit: Unit::Millis,
        containers: vec![1.0, 10.0, 100.0],
        series: vec![Series { who, values }],
        flat_within: Some(0.2),
    }
}

#[test]
fn a_curve_is_flat_while_one_container_costs_no_more_among_many() {
    let outcome = |values| of_curve(&curve(values)).unwrap().outcome;
    assert_eq!(outcome(vec![9.0, 10.0, 120.0]), Outcome::Met(1.2));
    assert_eq!(outcome(vec![9.0, 10.0, 125.0]), Outcome::Missed(1.25));
    let few = not_measured("there is no figure with ten containers and one with more");
    assert_eq!(outcome(vec![9.0, 10.0]), few);
    let mut other = curve(vec![9.0, 10.0, 120.0]);
    other.series[0].who = GO;
    let skipped = not_measured("outlive was skipped");
    assert_eq!(of_curve(&other).unwrap().outcome, skipped);
    other.flat_within = None;
    assert_eq!(of_curve(&other), None);
}

#[test]
fn targets_are_told_in_words() {
    let findings = example::findings();
    let told: Vec<[String; 2]> = targets(&findings)
        .iter()
        .map(|target| [target.asks(), target.reached()])
        .collect();
    let expected = [
        ["at most 0.35 × go", "0.137 × go"],
        ["at most 0.2 × rust", "0.244 × rust"],
        ["at most 0.6 × rust", ""],
        ["at most 1.5 ms", "0.919 ms"],
        ["at least 0.8 × cat", "0.935 × cat"],
        ["at least 3 × go", "2.14 × go"],
        [
            "per container at most 1.2 × that with ten",
            "0.695 × that with ten",
        ],
    ];
    assert_eq!(told, expected.map(|pair| pair.map(str::to_owned)));
}
