//! An exec's cycle in a running container: Exec, Start, Wait, Delete.

use std::cell::RefCell;
use std::time::Instant;

use crate::bench::{Bench, Named};
use crate::measure::{Measure, Unit};
use crate::peer::Peer;
use crate::shim::{Bundle, Running, millis};

const ROUNDS: usize = 40;

/// A peer and its container.
struct Executing {
    peer: Peer,
    bundle: Bundle,
    running: RefCell<Running>,
}

impl Named for Executing {
    fn name(&self) -> &'static str {
        self.peer.name
    }
}

pub fn run(bench: &mut Bench) {
    let all: Vec<Executing> = bench
        .peers
        .iter()
        .map(|peer| {
            let bundle = bench.ground.bundle(&["/bin/sleep", "1000000"]);
            Executing {
                peer: peer.clone(),
                running: bundle.run(&bench.ground, peer).into(),
                bundle,
            }
        })
        .collect();
    let rounds = bench.rounds(ROUNDS);
    let cycles = bench.alternate("exec", rounds, &all, |ground, one| {
        cycle(&mut one.running.borrow_mut(), &ground.new_id())
    });
    let mut measure = Measure::new(
        "exec.cycle",
        "Exec, Start, Wait, Delete of an exec",
        Unit::Millis,
    );
    for (one, values) in all.into_iter().zip(cycles) {
        // One that failed does not answer any more; it is swept away with the rest.
        if !values.is_empty() {
            one.running.into_inner().end();
            one.bundle.remove();
        }
        measure = measure.with(one.peer.name, values);
    }
    bench.findings.measures.push(measure);
}

/// In milliseconds.
pub fn cycle(running: &mut Running, exec: &str) -> f64 {
    let shim = &mut running.shim;
    let began = Instant::now();
    shim.exec(exec, &["/bin/true"]);
    let wait = shim.send_wait(exec);
    shim.start(exec);
    assert_eq!(shim.waited(wait), 0);
    shim.delete(exec);
    millis(began.elapsed())
}
