//! What a resting shim takes of the machine: alone and beside others, and what it keeps after work.

use std::thread;
use std::time::Duration;

use crate::bench::{Bench, Named, Rounds};
use crate::conmon::{self, Monitored};
use crate::exec;
use crate::flood::{Carrier, Flood, Sink};
use crate::measure::{Bound, CONMON, GO, Measure, Unit};
use crate::peer::Peer;
use crate::process::Usage;
use crate::shim::{Bundle, Ground, Running};

/// A shim gives back what it does not need half a second after its last work.
const REST: Duration = Duration::from_millis(1500);
const EXECS: usize = 100;
const GIBIBYTE: usize = 1 << 30;
/// How often a lone one is looked at, each time another.
const ALONE: usize = 5;
/// How often work is done, and looked at what is kept.
const AFTER: Rounds = Rounds {
    warm_up: 0,
    counted: 3,
};

/// One who is measured.
#[derive(Clone)]
enum Subject {
    Shim(Peer),
    Conmon,
}

/// A container that runs, under a shim or conmon.
enum Watched {
    Shim(Bundle, Running),
    Conmon(Bundle, Monitored),
}

impl Named for Subject {
    fn name(&self) -> &'static str {
        match self {
            Self::Shim(peer) => peer.name,
            Self::Conmon => CONMON,
        }
    }
}

impl Subject {
    fn run(&self, ground: &Ground) -> Watched {
        let bundle = ground.bundle(&["/bin/sleep", "1000000"]);
        match self {
            Self::Shim(peer) => {
                let running = bundle.run(ground, peer);
                Watched::Shim(bundle, running)
            }
            Self::Conmon => {
                let monitored = conmon::run(&bundle, &bundle.dir.join("ctr.log"));
                Watched::Conmon(bundle, monitored)
            }
        }
    }

    /// What each of `count` resting ones takes.
    fn rest(&self, ground: &Ground, count: usize) -> Vec<Usage> {
        let all: Vec<Watched> = (0..count).map(|_| self.run(ground)).collect();
        thread::sleep(REST);
        let usages = all.iter().map(|one| Usage::of(one.pid())).collect();
        all.into_iter().for_each(Watched::end);
        usages
    }
}

impl Watched {
    const fn pid(&self) -> u32 {
        match self {
            Self::Shim(_, running) => running.pid,
            Self::Conmon(_, monitored) => monitored.pid,
        }
    }

    fn end(self) {
        match self {
            Self::Shim(bundle, running) => {
                running.end();
                bundle.remove();
            }
            Self::Conmon(bundle, monitored) => {
                monitored.end(&bundle);
                bundle.remove();
            }
        }
    }
}

pub fn run(bench: &mut Bench) {
    // The pages of a program that was built just now are dirty until the disk has them, and would count as the process's own.
    nix::unistd::sync();
    let mut subjects: Vec<Subject> = bench.peers.iter().cloned().map(Subject::Shim).collect();
    match conmon::absence() {
        None => subjects.push(Subject::Conmon),
        Some(why) => bench.skip("memory: conmon", &why),
    }
    let counts: &[usize] = if bench.is_quick {
        &[1, 20]
    } else {
        &[1, 20, 100]
    };
    for count in counts {
        at_rest(bench, &subjects, *count);
    }
    after_work(bench);
}

/// The figures of a [`Usage`], and what they are called.
type Figure = (&'static str, &'static str, Unit, fn(&Usage) -> f64);

fn at_rest(bench: &mut Bench, subjects: &[Subject], count: usize) {
    let rounds = if count == 1 { ALONE } else { 1 };
    let ground = &bench.ground;
    let mut usages: Vec<Vec<Usage>> = subjects.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for (subject, usages) in subjects.iter().zip(&mut usages) {
            usages.extend(subject.rest(ground, count));
        }
    }
    let figures: [Figure; 5] = [
        ("private_dirty", "Private_Dirty", Unit::Kilobytes, |usage| {
            usage.private_dirty
        }),
        ("pss", "PSS", Unit::Kilobytes, |usage| usage.pss),
        ("rss", "RSS", Unit::Kilobytes, |usage| usage.rss),
        ("threads", "threads", Unit::Count, |usage| usage.threads),
        ("files", "open files", Unit::Count, |usage| usage.files),
    ];
    for (id, title, unit, figure) in figures {
        // They hardly depend on how many others there are.
        if unit == Unit::Count && count > 1 {
            continue;
        }
        let title = format!("{title} of each of {count}, idle");
        let mut measure = Measure::new(&format!("memory.{id}_{count}"), &title, unit);
        for (subject, usages) in subjects.iter().zip(&usages) {
            measure = measure.with(subject.name(), usages.iter().map(figure).collect());
        }
        if matches!((id, count), ("private_dirty", 1) | ("pss", 20)) {
            let conmon = Bound::AtMost {
                times: 1.0,
                of: CONMON,
            };
            measure = measure
                .held_to(conmon)
                .held_to(Bound::AtMost { times: 0.1, of: GO });
        }
        bench.findings.measures.push(measure);
    }
}

/// How much more it keeps after commands, and after output.
fn after_work(bench: &mut Bench) {
    let mut execs = Measure::new(
        "memory.after_execs",
        &format!("Private_Dirty, growth over {EXECS} execs"),
        Unit::Kilobytes,
    )
    .held_to(Bound::Below(20.0));
    let mut output = Measure::new(
        "memory.after_output",
        "Private_Dirty, growth over 1 GiB of output",
        Unit::Kilobytes,
    )
    .held_to(Bound::Below(20.0));
    let peers = bench.peers.clone();
    let what = "memory.after_execs";
    let over = bench.alternate(what, AFTER, &peers, over_execs);
    for (peer, values) in peers.iter().zip(over) {
        execs = execs.with(peer.name, values);
    }
    let what = "memory.after_output";
    let over = bench.alternate(what, AFTER, &peers, over_output);
    for (peer, values) in peers.iter().zip(over) {
        output = output.with(peer.name, values);
    }
    bench.findings.measures.extend([execs, output]);
}

fn private_dirty(pid: u32) -> f64 {
    thread::sleep(REST);
    Usage::of(pid).private_dirty
}

fn over_execs(ground: &Ground, peer: &Peer) -> f64 {
    let bundle = ground.bundle(&["/bin/sleep", "1000000"]);
    let mut running = bundle.run(ground, peer);
    let before = private_dirty(running.pid);
    for _ in 0..EXECS {
        let exec = ground.new_id();
        exec::cycle(&mut running, &exec);
    }
    let after = private_dirty(running.pid);
    running.end();
    bundle.remove();
    after - before
}

fn over_output(ground: &Ground, peer: &Peer) -> f64 {
    let flood = Flood::new(ground, 100, GIBIBYTE);
    let waiting = flood.prepare(ground, &Carrier::Shim(peer.clone()), Sink::Fifo);
    let before = private_dirty(waiting.pid);
    waiting.flow();
    let after = private_dirty(waiting.pid);
    waiting.end();
    after - before
}
