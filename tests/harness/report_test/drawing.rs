//! Pixels, bars and lines.

use crate::example::{self, BEGAN};
use crate::history::{MarkKind, Run};
use crate::report::lane::{self, Bar};
use crate::report::scale::{self, Scale, WIDTH};
use crate::report::timeline::{self, Manager};

fn spans<S: Copy>(bars: &[Bar<S>]) -> Vec<(i64, i64, S)> {
    bars.iter()
        .map(|bar| (bar.from, bar.until, bar.state))
        .collect()
}

#[test]
fn a_scale_goes_from_edge_to_edge() {
    let scale = Scale::new(100, 1_100);
    assert_eq!(
        [0, 100, 600, 1_100, i64::MAX].map(|at| scale.x(at)),
        [0, 0, 500, WIDTH, WIDTH]
    );
    assert_eq!(Scale::new(5, 5).x(5), 0);
    assert_eq!(Scale::new(i64::MIN, i64::MAX).x(0), WIDTH / 2);
}

#[test]
fn a_run_without_an_end_goes_as_far_as_what_is_in_it() {
    let mut run = example::run("outlive", "kill at rest");
    assert_eq!(Scale::of(&run), Some(Scale::new(run.began, run.ended)));
    run.ended = 0;
    let scale = Scale::of(&run).unwrap();
    assert_eq!(
        (scale.from(), scale.until()),
        (BEGAN + 200_000_000, BEGAN + 8_900_000_000)
    );
    assert_eq!(Scale::of(&Run::default()), None);
}

#[test]
fn ticks_are_round_and_few() {
    for span in [1, 10, 999, 12_345, 10_000_000_000, i64::MAX] {
        let ticks = Scale::new(0, span).ticks();
        assert!((1..=11).contains(&ticks.len()), "{span}: {ticks:?}");
    }
    let ticks = Scale::new(BEGAN, BEGAN + 4_000_000_000).ticks();
    let texts: Vec<&str> = ticks.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts[..3], ["0", "500 ms", "1000 ms"]);
}

#[test]
fn bars_do_not_overlap_and_what_is_too_short_is_counted() {
    let scale = Scale::new(0, 100_000);
    let changes = [
        (0, Some('a')),
        (10_000, Some('b')),
        (10_020, Some('c')),
        (10_040, Some('a')),
        (50_000, None),
        (60_000, Some('a')),
    ];
    let drawn = lane::bars(&changes, scale);
    assert_eq!(
        spans(&drawn.bars),
        [
            (0, 100, 'a'),
            (100, 101, 'b'),
            (101, 500, 'a'),
            (600, 1_000, 'a')
        ]
    );
    assert_eq!(drawn.left_out, 1);
}

#[test]
fn many_states_are_no_more_bars_than_pixels() {
    let changes: Vec<(i64, Option<i64>)> = (0..50_000).map(|at| (at, Some(at % 3))).collect();
    let drawn = lane::bars(&changes, Scale::new(0, 50_000));
    assert!(drawn.bars.len() <= 1_001, "{}", drawn.bars.len());
    assert!(
        drawn
            .bars
            .windows(2)
            .all(|pair| pair[0].until <= pair[1].from)
    );
}

#[test]
fn gaps_that_touch_are_one() {
    let scale = Scale::new(0, 1_000);
    let gaps = lane::stretches(&[(500, 500), (10, 20), (20, 30)], scale);
    assert_eq!(spans(&gaps), [(10, 30, ()), (500, 502, ())]);
}

#[test]
fn things_of_one_pixel_are_one() {
    let groups = scale::grouped([(3, 'a'), (4, 'b'), (3, 'c')].into_iter());
    let groups: Vec<_> = groups
        .iter()
        .map(|group| (group.x, group.first, group.count))
        .collect();
    assert_eq!(groups, [(3, 'a', 2), (4, 'b', 1)]);
}

#[test]
fn a_manager_was_up_before_it_was_killed_and_unknown_before_it_was_started() {
    let scale = Scale::new(BEGAN, BEGAN + 10);
    let first = |kind| timeline::manager(&[example::mark(1, kind, "")], scale)[0].1;
    assert_eq!(first(MarkKind::Killed), Some(Manager::Recovered));
    assert_eq!(first(MarkKind::Fault), Some(Manager::Recovered));
    assert_eq!(first(MarkKind::Answers), None);
}

#[test]
fn what_was_violated_has_a_line_however_many_containers_there_are() {
    let mut run = example::torture("outlive", 300, 10);
    let held = timeline::lines(&run);
    assert_eq!((held.len(), held[0], held[23]), (24, 0, 287));
    run.violations = example::violated("outlive").violations;
    run.violations[0].subject = "t-271".to_owned();
    run.violations[1].subject = "the log of t-299: a record".to_owned();
    let lines = timeline::lines(&run);
    assert_eq!(lines.len(), 60);
    assert!(lines.contains(&271) && lines.contains(&299), "{lines:?}");
    let few = example::run("outlive", "kill at rest");
    assert_eq!(timeline::lines(&few), [0, 1, 2]);
}

#[test]
fn a_torture_is_drawn_small_and_says_what_is_left_out() {
    let drawing = timeline::drawn(&example::torture("outlive", 300, 2_500)).unwrap();
    assert!(drawing.svg.len() < 60_000, "{}", drawing.svg.len());
    assert!(
        drawing.left_out[0].starts_with("276 containers"),
        "{:?}",
        drawing.left_out
    );
    for word in ["marks drawn as one", "ticks above the manager"] {
        let is_said = drawing.left_out.iter().any(|text| text.contains(word));
        assert!(is_said, "{word}: {:?}", drawing.left_out);
    }
}

#[test]
fn a_time_outside_of_the_run_is_said_to_be() {
    let mut run = example::run("outlive", "clock step");
    assert!(timeline::drawn(&run).unwrap().left_out.is_empty());
    run.containers[0].states[0].0 = 0;
    let left_out = timeline::drawn(&run).unwrap().left_out;
    assert_eq!(left_out, ["1 time outside the run drawn at its edge."]);
}
