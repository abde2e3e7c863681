//! What a manager costs by the number of its containers: how long after kill -9 it has them back, its memory, one container
//! more. `outlive serve` beside containerd 1.6.
//!
//! The supervisor lists what its disk says and asks the shims meanwhile; containerd answers nothing before it has asked all.
//! So there is a figure for both: all listed, and all asked.

use std::thread;
use std::time::Duration;

use crate::bench::{Bench, Named, Rounds};
use crate::fleet::{self, Fleet, Rest, Restart};
use crate::measure::{Bound, Curve, GO, Measure, Series, Unit, as_float, quantile};

const SIZES: [usize; 4] = [1, 10, 100, 500];
/// Sizes from here on have measures of their own; the smaller ones are points of the curves.
const MANY: usize = 100;
/// The size that the targets are for.
const HELD: usize = 100;
const ROUNDS: usize = 5;
/// The supervisor's threads for what blocks live for ten seconds after their last work. containerd gives nothing back for
/// minutes, and rather takes more: no longer rest would be in its favour.
const REST: Duration = Duration::from_secs(11);

/// For what is done but once.
const ONCE: Rounds = Rounds {
    warm_up: 0,
    counted: 1,
};

/// A fleet, and what was measured of it, size by size.
struct Measured {
    fleet: Fleet,
    one_more: Vec<Vec<f64>>,
    restarts: Vec<Vec<Restart>>,
    rests: Vec<Rest>,
}

/// A place among the fleets.
struct Place {
    at: usize,
    who: &'static str,
}

impl Named for Place {
    fn name(&self) -> &'static str {
        self.who
    }
}

pub fn run(bench: &mut Bench) {
    let sizes = if bench.is_quick {
        &SIZES[..3]
    } else {
        &SIZES[..]
    };
    let measured = |fleet| Measured {
        fleet,
        one_more: Vec::new(),
        restarts: Vec::new(),
        rests: Vec::new(),
    };
    let mut all: Vec<Measured> = fleet::all(bench).into_iter().map(measured).collect();
    for size in sizes {
        take(bench, *size, &mut all);
        if *size >= MANY {
            bench.findings.measures.extend(measures(*size, &all));
        }
    }
    bench.findings.curves.extend(curves(sizes, &all));
    let what = "recovery, removal of all containers";
    each(bench, what, ONCE, &mut all, Fleet::end, |_, _| ());
}

/// Takes every figure at this size.
fn take(bench: &mut Bench, size: usize, all: &mut Vec<Measured>) {
    let what = format!("recovery, {size} containers");
    let grow = |fleet: &mut Fleet| fleet.grow_to(size);
    each(bench, &what, ONCE, all, grow, |_, _| ());
    let rounds = bench.rounds(ROUNDS);
    let one_more = |fleet: &mut Fleet| fleet.one_more();
    each(bench, &what, rounds, all, one_more, |one, values| {
        one.one_more.push(values);
    });
    each(bench, &what, rounds, all, Fleet::restart, |one, values| {
        one.restarts.push(values);
    });
    // Not a wait for anything: what is at rest is what nobody has asked anything for so long.
    thread::sleep(REST);
    let rest = |fleet: &mut Fleet| fleet.rest();
    each(bench, &what, ONCE, all, rest, |one, values| {
        one.rests.extend(values);
    });
}

/// Does the same with every fleet in turn, and keeps what came of it. One with which it fails is given up.
fn each<T>(
    bench: &mut Bench,
    what: &str,
    rounds: Rounds,
    all: &mut Vec<Measured>,
    work: impl Fn(&mut Fleet) -> T,
    keep: impl Fn(&mut Measured, Vec<T>),
) {
    let place = |(at, one): (usize, &Measured)| Place {
        at,
        who: one.fleet.who,
    };
    let places: Vec<Place> = all.iter().enumerate().map(place).collect();
    let values = bench.alternate(what, rounds, &places, |_, place| {
        work(&mut all[place.at].fleet)
    });
    for (mut one, values) in std::mem::take(all).into_iter().zip(values) {
        if !values.is_empty() {
            keep(&mut one, values);
            all.push(one);
        }
    }
}

/// The figures of the last size.
fn measures(size: usize, all: &[Measured]) -> Vec<Measure> {
    let of = |what: &str, title: &str, unit, values: &dyn Fn(&Measured) -> Vec<f64>| {
        let measure = Measure::new(&format!("recovery.{what}_{size}"), title, unit);
        all.iter().fold(measure, |measure, one| {
            measure.with(one.fleet.who, values(one))
        })
    };
    let restarts = |one: &Measured, part: fn(&Restart) -> f64| {
        let last = one.restarts.last().into_iter().flatten();
        last.map(part).collect()
    };
    let rest = |one: &Measured, part: fn(&Rest) -> Vec<f64>| {
        one.rests.last().map(part).unwrap_or_default()
    };
    let held = |measure: Measure| match size {
        HELD => measure.held_to(Bound::AtMost { times: 0.3, of: GO }),
        _ => measure,
    };
    vec![
        of(
            "first",
            &format!("restart until one of {size} is listed"),
            Unit::Millis,
            &|one| restarts(one, |restart| restart.first),
        ),
        held(of(
            "all",
            &format!("restart until all {size} are listed"),
            Unit::Millis,
            &|one| restarts(one, |restart| restart.all),
        )),
        of(
            "asked",
            &format!("restart until all {size} shims are asked"),
            Unit::Millis,
            &|one| restarts(one, |restart| restart.asked),
        ),
        held(of(
            "rss",
            &format!("manager's RSS with {size}"),
            Unit::Kilobytes,
            &|one| rest(one, |rest| vec![rest.manager.rss]),
        )),
        of(
            "dirty",
            &format!("manager's Private_Dirty with {size}"),
            Unit::Kilobytes,
            &|one| rest(one, |rest| vec![rest.manager.private_dirty]),
        ),
        of(
            "shim_dirty",
            &format!("a shim's Private_Dirty with {size}"),
            Unit::Kilobytes,
            &|one| rest(one, |rest| rest.shims_private_dirty.clone()),
        ),
    ]
}

fn curves(sizes: &[usize], all: &[Measured]) -> Vec<Curve> {
    let of = |id: &str, title: &str, unit, flat_within, values: &dyn Fn(&Measured) -> Vec<f64>| {
        let series = all.iter().map(|one| Series {
            who: one.fleet.who,
            values: values(one),
        });
        Curve {
            id: id.to_owned(),
            title: title.to_owned(),
            unit,
            containers: sizes.iter().copied().map(as_float).collect(),
            series: series.collect(),
            flat_within,
        }
    };
    vec![
        of(
            "growth.recovery",
            "restart until all are listed",
            Unit::Millis,
            Some(0.2),
            &|one| {
                let all = one.restarts.iter().map(|restarts| {
                    let all: Vec<f64> = restarts.iter().map(|restart| restart.all).collect();
                    quantile(&all, 0.5)
                });
                all.collect()
            },
        ),
        of(
            "growth.rss",
            "manager's RSS",
            Unit::Kilobytes,
            None,
            &|one| one.rests.iter().map(|rest| rest.manager.rss).collect(),
        ),
        of(
            "growth.start",
            "one more container, made and started",
            Unit::Millis,
            None,
            &|one| {
                let medians = one.one_more.iter().map(|values| quantile(values, 0.5));
                medians.collect()
            },
        ),
    ]
}
