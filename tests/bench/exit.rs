//! From the death of a container's init, as a pidfd shows it, to Wait's answer and to the event at the daemon.

use std::os::fd::AsFd as _;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};

use crate::bench::Bench;
use crate::measure::{Bound, GO, Measure, Unit};
use crate::peer::Peer;
use crate::process;
use crate::shim::{Ground, millis};

const ROUNDS: usize = 40;

pub fn run(bench: &mut Bench) {
    let (rounds, peers) = (bench.rounds(ROUNDS), bench.peers.clone());
    let latencies = bench.alternate("exit", rounds, &peers, latency);
    let measure = |id: &str, title: &str| {
        let bound = Bound::AtMost { times: 0.5, of: GO };
        Measure::new(id, title, Unit::Millis).held_to(bound)
    };
    let mut wait = measure("exit.wait", "init's death to Wait's answer");
    let mut event = measure("exit.event", "init's death to the event at the daemon");
    for (peer, values) in bench.peers.iter().zip(&latencies) {
        wait = wait.with(peer.name, values.iter().map(|both| both.0).collect());
        event = event.with(peer.name, values.iter().map(|both| both.1).collect());
    }
    bench.findings.measures.extend([wait, event]);
}

/// Milliseconds until Wait's answer and until the event.
fn latency(ground: &Ground, peer: &Peer) -> (f64, f64) {
    let bundle = ground.bundle(&["/bin/sleep", "1000000"]);
    let mut running = bundle.run(ground, peer);
    let held = process::held(running.init).expect("init runs");
    let wait = running.shim.send_wait("");
    // An answer to this comes after the Wait before it was taken.
    running.shim.pid();
    let init = nix::unistd::Pid::from_raw(i32::try_from(running.init).unwrap());
    kill(init, Signal::SIGKILL).unwrap();
    let answer = running.shim.connection.stream.try_clone().unwrap();
    let (mut died, mut answered) = (None, None);
    while died.is_none() || answered.is_none() {
        let watched = [held.as_fd(), answer.as_fd()];
        let mut fds: Vec<PollFd<'_>> = [died, answered]
            .iter()
            .zip(watched)
            .filter(|(at, _)| at.is_none())
            .map(|(_, fd)| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        poll(&mut fds, PollTimeout::NONE).unwrap();
        let now = Instant::now();
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        let mut ready = ready.into_iter();
        for at in [&mut died, &mut answered] {
            if at.is_none() && ready.next() == Some(true) {
                *at = Some(now);
            }
        }
    }
    running.shim.waited(wait);
    let told = ground.events.told(&bundle.id);
    let pid = running.pid;
    running.shim.delete("");
    running.shim.shutdown();
    process::gone(pid);
    bundle.remove();
    let since = |at: Instant| millis(at.saturating_duration_since(died.unwrap()));
    (since(answered.unwrap()), since(told))
}
