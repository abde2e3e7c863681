//! Findings that nobody measured: every kind of unit, target and gap.

use crate::measure::{
    Bound, CAT, CONMON, Curve, Findings, GO, Measure, OUTLIVE, RUNC, RUST, Series, Skipped, Unit,
};
use crate::report::{Machine, Report};

pub fn machine() -> Machine {
    let versions = [
        (OUTLIVE, "0.1.0"),
        (GO, "1.6.20~ds1"),
        ("crun", "not there"),
        (RUNC, "runc version 1.1.5+ds1"),
    ];
    Machine {
        kernel: "6.1.0-18-amd64".into(),
        cpu: "Example <CPU> & Co".into(),
        cpus: 2,
        memory_kb: 16_303_428,
        date: "2026-01-02T03:04:05Z".into(),
        versions: versions.map(|(who, says)| (who.into(), says.into())).into(),
    }
}

pub fn report<'a>(machine: &'a Machine, findings: &'a Findings) -> Report<'a> {
    Report {
        command: Some("make bench ONLY='life'"),
        machine,
        is_quick: false,
        findings,
    }
}

/// Around a middle, a little to both sides.
pub fn around(middle: f64) -> Vec<f64> {
    let parts = [0.97, 1.0, 1.04, 0.99, 1.02, 1.3, 1.01];
    parts.iter().map(|part| middle * part).collect()
}

pub fn curve() -> Curve {
    let containers = vec![1.0, 10.0, 50.0, 100.0, 200.0];
    let line = |a: f64, b: f64| containers.iter().map(|n| a + b * n).collect();
    let series = [
        ("containerd", line(25_000.0, 14_120.0)),
        (OUTLIVE, line(9_000.0, 1_900.0)),
    ];
    Curve {
        id: "many.memory".into(),
        title: "memory of all that manages".into(),
        unit: Unit::Kilobytes,
        series: series.map(|(who, values)| Series { who, values }).into(),
        containers,
        flat_within: Some(0.2),
    }
}

fn life() -> Vec<Measure> {
    let at_most = |times, of| Bound::AtMost { times, of };
    vec![
        Measure::new("life.total", "a container's life", Unit::Millis)
            .with(RUNC, around(31.0))
            .with(RUST, around(61.3))
            .with(GO, around(84.9))
            .with(OUTLIVE, around(38.4)),
        Measure::new("life.own", "the shim's own part of it", Unit::Millis)
            .with(OUTLIVE, around(7.4))
            .with(GO, around(53.9))
            .with(RUST, around(30.3))
            .held_to(at_most(0.35, GO))
            .held_to(at_most(0.2, RUST)),
        Measure::new(
            "life.start",
            "`start` action, <until> it answers & is gone",
            Unit::Millis,
        )
        .with(OUTLIVE, around(0.91))
        .with(GO, around(21.7))
        .with(RUST, Vec::new())
        .held_to(at_most(0.6, RUST))
        .held_to(Bound::Below(1.5)),
    ]
}

fn others() -> Vec<Measure> {
    vec![
        Measure::new(
            "memory.rest",
            "private memory of a resting shim",
            Unit::Kilobytes,
        )
        .with(OUTLIVE, vec![612.0])
        .with(GO, vec![9_876.0])
        .with(RUST, vec![3_004.0])
        .with(CONMON, vec![400.0]),
        Measure::new("memory.threads", "threads", Unit::Count)
            .with(OUTLIVE, vec![1.0])
            .with(GO, vec![11.0])
            .with(CONMON, vec![0.0]),
        Measure::new(
            "output.pipe",
            "a gibibyte to a pipe",
            Unit::MegabytesPerSecond,
        )
        .with(OUTLIVE, around(2_810.0))
        .with(GO, around(1_312.0))
        .with(CAT, around(3_004.0))
        .held_to(Bound::AtLeast {
            times: 0.8,
            of: CAT,
        })
        .held_to(Bound::AtLeast { times: 3.0, of: GO }),
        Measure::new("output.cpu", "of it the shim's time", Unit::CpuPerGibibyte)
            .with(OUTLIVE, around(0.041))
            .with(GO, around(0.62)),
        Measure::new(
            "hang.state_rate",
            "State, while an exec hangs",
            Unit::CallsPerSecond,
        )
        .with(OUTLIVE, vec![14_203.3]),
        Measure::new("call.state", "State", Unit::KiloInstructions)
            .with(GO, vec![1_203.0])
            .with(OUTLIVE, vec![88.4]),
    ]
}

pub fn findings() -> Findings {
    Findings {
        measures: [life(), others()].concat(),
        curves: vec![curve()],
        skipped: vec![Skipped {
            what: "hang.state: go".into(),
            why: "no answer within 5 s | it waits".into(),
        }],
    }
}
