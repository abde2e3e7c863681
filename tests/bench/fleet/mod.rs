//! Managers with many running containers: how a fleet grows, how its manager is killed and back again, and how all of it
//! goes. Each container is a `/bin/sleep` on the host's network that logs to a file, made over the manager's own API by
//! calls of this program: no client's start is part of a figure.
//!
//! ```text
//! supervised   `outlive serve` over CRI
//! containerd   Debian's containerd 1.6 over its API, with this shim or with its own
//! ```
//!
//! All fleets stand side by side, so each has the containers of the others around it, too. It matters: the OCI runtime
//! copies the host's table of mounts, which has one more for every container of the supervisor.

mod containerd;
mod supervised;

pub use containerd::leave;

use std::cell::Cell;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::bench::Bench;
use crate::measure::{GO, OUTLIVE};
use crate::process::Usage;
use crate::shim::millis;
use crate::support::poll;
use crate::support::under_test::Runtime;

/// containerd with this project's shim: tells what of a figure of [`GO`] is containerd's, and what its shim's.
const CONTAINERD_OUTLIVE: &str = "containerd+outlive";

const COMMAND: [&str; 2] = ["/bin/sleep", "1000000"];
/// How many containers are made or removed at a time.
const AT_A_TIME: usize = 8;
/// Between two questions of a manager that comes back.
const PAUSE: Duration = Duration::from_millis(1);
/// How many shims are looked at, of however many there are.
const SAMPLES: usize = 20;

/// What manages containers, and the few things that are asked of it here. Where one fails, it panics.
trait Manager: Sync {
    /// Makes and starts a container of [`COMMAND`]; its id.
    fn make(&self, name: &str) -> String;
    /// Kills and removes a container.
    fn remove(&self, id: &str);
    /// Kills the manager as a crash would.
    fn kill9(&mut self);
    /// Starts it over what the last one left, and does not wait.
    fn spawn(&mut self);
    /// How many containers it lists as running, or why it does not answer.
    fn running(&self) -> Result<usize, String>;
    /// How many containers' shims it was not in touch with yet since its start.
    fn unasked(&self) -> Result<usize, String>;
    fn pid(&self) -> u32;
    /// The pids of its containers' shims.
    fn shims(&self) -> Vec<u32>;
    fn log_tail(&self) -> String;
    /// Says that the last container was removed: nothing of any may be left.
    fn finish(&mut self);
}

/// Milliseconds from the start of a manager that was killed.
#[derive(Debug, Clone, Copy)]
pub struct Restart {
    /// Until it listed a container as running.
    pub first: f64,
    /// Until it listed all of them so.
    pub all: f64,
    /// Until it had asked every shim, too.
    pub asked: f64,
}

/// What there is while nothing happens.
#[derive(Debug, Clone)]
pub struct Rest {
    pub manager: Usage,
    /// In kB, of at most [`SAMPLES`] of the shims, in the order of their pids.
    pub shims_private_dirty: Vec<f64>,
}

/// A manager and its containers.
pub struct Fleet {
    pub who: &'static str,
    manager: Box<dyn Manager>,
    containers: Vec<String>,
    next: Cell<usize>,
}

/// All fleets that this machine can have, this project's first. None has a container yet.
pub fn all(bench: &mut Bench) -> Vec<Fleet> {
    let binary = |who| {
        let peer = bench.peers.iter().find(|peer| peer.name == who);
        peer.map(|peer| peer.binary.clone())
    };
    let ours = binary(OUTLIVE).expect("this project is always measured");
    let mut fleets = vec![Fleet::of(OUTLIVE, supervised::start(&ours))];
    if !Path::new("/usr/bin/containerd").exists() || binary(GO).is_none() {
        bench.skip("recovery: containerd", "Debian's containerd is missing");
        return fleets;
    }
    for (who, runtime) in [
        (GO, Runtime::Go),
        (CONTAINERD_OUTLIVE, Runtime::Outlive(ours)),
    ] {
        fleets.push(Fleet::of(who, containerd::start(runtime)));
    }
    fleets
}

impl Fleet {
    fn of(who: &'static str, manager: Box<dyn Manager>) -> Self {
        Self {
            who,
            manager,
            containers: Vec::new(),
            next: Cell::new(0),
        }
    }

    fn len(&self) -> usize {
        self.containers.len()
    }

    /// A name that no container had before.
    fn new_name(&self) -> String {
        self.next.set(self.next.get() + 1);
        format!("c{}", self.next.get())
    }

    /// Adds containers until there are so many.
    pub fn grow_to(&mut self, count: usize) {
        let names: Vec<String> = (self.len()..count).map(|_| self.new_name()).collect();
        let made = Mutex::new(Vec::new());
        each(&names, |name| {
            let id = self.manager.make(name);
            made.lock().unwrap_or_else(PoisonError::into_inner).push(id);
        });
        let made = made.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.containers.extend(made);
    }

    /// Milliseconds until one more container runs, which is removed again.
    pub fn one_more(&self) -> f64 {
        let name = self.new_name();
        let began = Instant::now();
        let id = self.manager.make(&name);
        let took = millis(began.elapsed());
        self.manager.remove(&id);
        took
    }

    /// Kills the manager, starts it again and waits until it has everything back.
    pub fn restart(&mut self) -> Restart {
        self.manager.kill9();
        let began = Instant::now();
        self.manager.spawn();
        let running = || self.manager.running();
        let (first, count) = self.until(began, running, |count| count >= 1);
        let all = if count == self.len() {
            first
        } else {
            self.until(began, running, |count| count == self.len()).0
        };
        let (asked, _) = self.until(began, || self.manager.unasked(), |count| count == 0);
        // What the shims answered is that all of them run.
        assert_eq!(running().unwrap(), self.len(), "{}", self.who);
        Restart { first, all, asked }
    }

    /// Asks the manager until its answer is one that `is_it`: the milliseconds since `began`, and the answer.
    fn until(
        &self,
        began: Instant,
        ask: impl Fn() -> Result<usize, String>,
        is_it: impl Fn(usize) -> bool,
    ) -> (f64, usize) {
        loop {
            let answer = ask();
            let took = began.elapsed();
            match answer {
                Ok(count) if is_it(count) => return (millis(took), count),
                Ok(_) | Err(_) if took < poll::DEADLINE => thread::sleep(PAUSE),
                Ok(_) | Err(_) => panic!("{}: {answer:?}\n{}", self.who, self.manager.log_tail()),
            }
        }
    }

    /// Memory at this moment. It is an error that a container has no shim of its own.
    pub fn rest(&self) -> Rest {
        let shims = self.manager.shims();
        assert_eq!(shims.len(), self.len(), "{}: a shim a container", self.who);
        let step = shims.len().div_ceil(SAMPLES).max(1);
        let sample = shims.iter().step_by(step);
        Rest {
            manager: Usage::of(self.manager.pid()),
            shims_private_dirty: sample.map(|pid| Usage::of(*pid).private_dirty).collect(),
        }
    }

    /// Removes every container, after which nothing may be left of them. The manager goes when this is dropped.
    pub fn end(&mut self) {
        each(&self.containers, |id| self.manager.remove(id));
        self.containers.clear();
        self.manager.finish();
    }
}

/// Works on all of them, [`AT_A_TIME`].
fn each<T: Sync>(all: &[T], work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME.min(all.len()) {
            scope.spawn(|| {
                while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(one);
                }
            });
        }
    });
}
