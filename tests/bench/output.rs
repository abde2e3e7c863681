//! How fast the output of a container gets to where it is to go, and what that costs.

use crate::bench::{Bench, Named};
use crate::conmon;
use crate::flood::{Carrier, Flood, Flow, Sink};
use crate::measure::{Bound, CAT, CONMON, GO, Measure, OUTLIVE, RUST, Unit};
use crate::peer::Peer;

const ROUNDS: usize = 5;
const VOLUME: usize = 512 << 20;
const GIBIBYTE: f64 = 1_073_741_824.0;
/// Of a line, with its newline: a short log line, and a page.
const WIDTHS: [usize; 2] = [100, 4096];

pub fn run(bench: &mut Bench) {
    let why = conmon::absence();
    if let Some(why) = &why {
        bench.skip("output: conmon", why);
    }
    for sink in [Sink::Fifo, Sink::File, Sink::Cri] {
        let mut carriers: Vec<Carrier> = bench
            .peers
            .iter()
            .filter(|peer| takes(peer, sink))
            .cloned()
            .map(Carrier::Shim)
            .collect();
        if sink == Sink::Cri && why.is_none() {
            carriers.push(Carrier::Conmon);
        }
        carriers.push(Carrier::Cat);
        for width in WIDTHS {
            of_sink(bench, &carriers, sink, width);
        }
    }
}

/// Whether a shim writes there. Only this project's writes the CRI format; the one in Rust opens every output as a fifo.
fn takes(peer: &Peer, sink: Sink) -> bool {
    match sink {
        Sink::Fifo => true,
        Sink::File => peer.name != RUST,
        Sink::Cri => peer.name == OUTLIVE,
    }
}

fn of_sink(bench: &mut Bench, carriers: &[Carrier], sink: Sink, width: usize) {
    let (id, place) = match sink {
        Sink::Fifo => ("fifo", "to a fifo"),
        Sink::File => ("file", "to a file"),
        Sink::Cri => ("cri", "in the CRI log format"),
    };
    let volume = if bench.is_quick { VOLUME / 4 } else { VOLUME };
    let flood = Flood::new(&bench.ground, width, volume);
    let what = format!("output.{id}_{width}");
    let rounds = bench.rounds(ROUNDS);
    let flows = bench.alternate(&what, rounds, carriers, |ground, carrier| {
        let waiting = flood.prepare(ground, carrier, sink);
        let flow = waiting.flow();
        waiting.end();
        flow
    });
    let measure = |of: &str, title: &str, unit| {
        let title = format!("{title} {place}, lines of {width} bytes");
        Measure::new(&format!("{what}_{of}"), &title, unit)
    };
    let mut speed = measure("speed", "output", Unit::MegabytesPerSecond);
    let mut cpu = measure("cpu", "CPU, output", Unit::CpuPerGibibyte);
    let length = f64_of(flood.length());
    for (carrier, flows) in carriers.iter().zip(&flows) {
        let rate = |flow: &Flow| length / flow.seconds / 1e6;
        speed = speed.with(carrier.name(), flows.iter().map(rate).collect());
        let cost = |flow: &Flow| flow.cpu / length * GIBIBYTE;
        cpu = cpu.with(carrier.name(), flows.iter().map(cost).collect());
    }
    if sink == Sink::Cri {
        if width == 100 {
            speed = speed
                .held_to(Bound::AtLeast {
                    times: 3.0,
                    of: CONMON,
                })
                .held_to(Bound::AtLeast {
                    times: 0.5,
                    of: CAT,
                });
        }
    } else {
        speed = speed.held_to(Bound::AtLeast { times: 1.5, of: GO });
        cpu = cpu.held_to(Bound::AtMost { times: 0.5, of: GO });
    }
    bench.findings.measures.extend([speed, cpu]);
}

fn f64_of(bytes: u64) -> f64 {
    // Exact: all are whole kibibytes and four.
    f64::from(u32::try_from(bytes >> 2).expect("below 16 GiB")) * 4.0
}
