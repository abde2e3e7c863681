//! `outlive run -d --rm`: the removal that the supervisor begins by itself when the container has ended.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::ground::{Ground, pods};
use crate::support::poll;
use crate::support::supervisor::IMAGE;
use crate::support::supervisor_calls::pid;

pub const POINTS: &[&str] = &[
    "exit.recorded",
    "remove_when_ended.begun",
    "remove_when_ended.logs",
    "remove.cleaned",
    "remove.renamed",
    "remove_pod.containers",
    "stop_pod.recorded",
    "remove_pod.cgroup",
    "remove_pod.renamed",
];

#[test]
fn a_removal_that_was_cut_off_is_completed_by_the_next_start() {
    let mut ground = Ground::new();
    for point in POINTS {
        let words = ["run", "-d", "--rm", "--net", "host", "--name", "job", IMAGE];
        let id = ground
            .supervisor
            .ok(&[&words[..], &["sleep", "600"]].concat());
        let init = pid(&ground.supervisor, id.trim());
        ground.arm(point);
        kill(Pid::from_raw(i32::try_from(init).unwrap()), Signal::SIGKILL).unwrap();
        ground.crashed();
        ground.recover();
        poll::until(point, || {
            let logs = ground.supervisor.root().join("logs/job");
            match (pods(&ground.supervisor).len(), logs.exists()) {
                (1, false) => Ok(()),
                left => Err(format!("{left:?}\n{}", ground.supervisor.log_tail())),
            }
        });
        ground.nothing_else_is_left(point);
    }
    ground.nothing_was_lost();
}
