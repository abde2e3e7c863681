//! The supervisor's own memory, and what it does while nothing happens.

use std::thread;
use std::time::Duration;

use crate::fleet::{Fleet, alone, is_release, program, size};
use crate::support::poll;
use crate::usage::{Usage, load};

/// Resident pages of all kinds, in kB, with a hundred containers.
const RSS_LIMIT: u64 = 15_000;
/// How long it is watched at rest, and how much of that it may compute.
const REST: Duration = Duration::from_secs(5);
const CPU_LIMIT: Duration = Duration::from_millis(100);

/// Waits until the threads for what blocks have ended: each lives for ten seconds after its last work.
fn rested(pid: u32) -> Usage {
    poll::until("the supervisor is one thread", || {
        let usage = Usage::of(pid);
        match usage.threads {
            1 => Ok(usage),
            _ => Err(format!("{usage:?}")),
        }
    })
}

#[test]
fn a_hundred_containers_take_less_than_15_mb_and_no_time_at_rest() {
    let _alone = alone();
    let mut fleet = Fleet::start();
    let pid = fleet.supervisor.pid();
    println!("supervisor {}", program().display());
    println!("  {} containers, load {}", size(), load());
    let busy = Usage::of(pid);
    busy.print("after the last start");
    let rest = rested(pid);
    rest.print("at rest");
    // Not a wait for anything: this time is what is measured.
    thread::sleep(REST);
    let cpu = Usage::of(pid).cpu - rest.cpu;
    println!("  processor time in {REST:?} of rest {cpu:?}");
    fleet.supervisor.kill9();
    fleet.supervisor.restart();
    let pid = fleet.supervisor.pid();
    Usage::of(pid).print("after a restart");
    let again = rested(pid);
    again.print("at rest after a restart");
    if is_release(&program()) && size() == 100 {
        for usage in [busy, rest, again] {
            assert!(usage.rss < RSS_LIMIT, "{usage:?}");
        }
        assert!(cpu < CPU_LIMIT, "{cpu:?}");
    }
}
