//! How many files may be open: the supervisor has three for each container, a shim up to nine for each process; both take
//! what they may have.

use std::fs;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::fleet::{alone, program, shim_of};
use crate::support::supervisor::{Options, Supervisor};

/// What systemd starts a service with.
const SOFT: u64 = 1024;

/// The soft and the hard limit.
fn open_files(pid: i32) -> (u64, u64) {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let mut numbers = line.unwrap().split_ascii_whitespace();
    let mut next = || numbers.next().unwrap().parse().unwrap();
    (next(), next())
}

#[test]
fn the_limit_is_raised_for_the_supervisor_and_its_shims_and_not_for_containers() {
    let _alone = alone();
    let (before, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(hard > SOFT, "the machine allows {hard} files");
    setrlimit(Resource::RLIMIT_NOFILE, SOFT, hard).unwrap();
    let supervisor = Supervisor::start(Options {
        program: Some(program()),
        ..Options::default()
    });
    supervisor.load_busybox();
    let pod = supervisor.run_pod("pod");
    let id = supervisor.run(&pod, "c", &["/bin/sleep", "1000000"]);
    let own = i32::try_from(supervisor.pid()).unwrap();
    assert_eq!(open_files(own), (hard, hard));
    let shim = shim_of(&id);
    assert_eq!(open_files(shim), (hard, hard));
    let children = fs::read_to_string(format!("/proc/{shim}/task/{shim}/children")).unwrap();
    let init = children.trim().parse().unwrap();
    assert_eq!(open_files(init), (SOFT, hard));
    setrlimit(Resource::RLIMIT_NOFILE, before, hard).unwrap();
}
