//! Stopping a process for certain: SIGSTOP takes effect some time after kill(2) has returned.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a process may take to stand still.
const LIMIT: Duration = Duration::from_secs(10);

/// Sends SIGSTOP and waits until every thread of the process stands still (`T` in proc_pid_stat(5)).
pub fn stop(pid: Pid) {
    kill(pid, Signal::SIGSTOP).unwrap();
    let end = Instant::now() + LIMIT;
    loop {
        let states = states(pid);
        if !states.is_empty() && states.iter().all(|state| state == "T") {
            return;
        }
        assert!(Instant::now() < end, "process {pid} is in {states:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn states(pid: Pid) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let lines = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("stat")).ok());
    // The second field is the command in parentheses, and may hold anything.
    lines
        .filter_map(|line| Some(line.rsplit_once(") ")?.1.split(' ').next()?.to_owned()))
        .collect()
}
