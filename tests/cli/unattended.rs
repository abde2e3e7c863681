//! `run -d --rm`: nobody waits for the end, so the supervisor removes what was made.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::support::poll;
use super::support::supervisor::{IMAGE, Supervisor};
use super::{Running, code, json, run_words, stderr, with_image};

/// Waits until there is no container, pod or log `name` any more.
fn until_gone(supervisor: &Supervisor, name: &str) {
    poll::until("everything is gone", || {
        let left = supervisor.ok(&["ps", "-aq"]) + &supervisor.ok(&["pods", "-q"]);
        let logs = supervisor.root().join("logs").join(name);
        if left.is_empty() && !logs.exists() {
            Ok(())
        } else {
            Err(format!("{left}{}", supervisor.log_tail()))
        }
    });
}

/// The container's init.
fn pid_of(supervisor: &Supervisor, name: &str) -> Pid {
    let inspected = json(&supervisor.ok(&["inspect", name]));
    let pid = inspected["info"]["info"]["pid"].as_i64().unwrap();
    Pid::from_raw(pid.try_into().unwrap())
}

#[test]
fn a_detached_container_goes_when_it_has_ended() {
    let supervisor = with_image();
    let script = "echo 1; while ! [ -e /go ]; do sleep 0.05; done; echo 2; exit 3";
    let words = ["-d", "--rm", "--name", "job", IMAGE, "sh", "-c", script];
    supervisor.ok(&run_words(&words));
    let mut following = Running::start(&supervisor, &["logs", "-f", "job"]);
    assert_eq!(following.line(), "1\n");
    supervisor.ok(&["exec", "job", "touch", "/go"]);
    until_gone(&supervisor, "job");
    assert_eq!(following.end(), (0, "2\n".to_owned(), String::new()));
    // The name is free again.
    supervisor.ok(&run_words(&words));
    supervisor.ok(&["stop", "-t", "0", "job"]);
    until_gone(&supervisor, "job");
}

#[test]
fn one_that_cannot_start_goes_too() {
    let supervisor = with_image();
    let words = ["-d", "--rm", "--name", "job", IMAGE, "no-such-program"];
    let output = supervisor.cli(&run_words(&words));
    assert_eq!(code(&output), 127, "{output:?}");
    assert!(stderr(&output).contains("no-such-program"), "{output:?}");
    until_gone(&supervisor, "job");
}

#[test]
fn the_user_s_own_log_directory_stays() {
    let supervisor = with_image();
    let logs = supervisor.dir().join("mine");
    let place = logs.to_str().unwrap();
    let words = [
        "-d",
        "--rm",
        "--name",
        "job",
        "--log-dir",
        place,
        IMAGE,
        "echo",
        "kept",
    ];
    supervisor.ok(&run_words(&words));
    until_gone(&supervisor, "job");
    let log = fs::read_to_string(logs.join("job.log")).unwrap();
    assert!(log.ends_with("kept\n"), "{log}");
}

#[test]
fn one_that_ended_without_a_supervisor_goes_at_the_next_start() {
    let mut supervisor = with_image();
    supervisor.ok(&run_words(&[
        "-d", "--rm", "--name", "job", IMAGE, "sleep", "600",
    ]));
    supervisor.ok(&run_words(&["-d", "--name", "stays", IMAGE, "true"]));
    let pid = pid_of(&supervisor, "job");
    supervisor.kill9();
    kill(pid, Signal::SIGKILL).unwrap();
    supervisor.restart();
    poll::until("only the unmarked one is left", || {
        let left = json(&supervisor.ok(&["ps", "-a", "-o", "json"]));
        let names: Vec<_> = left
            .as_array()
            .unwrap()
            .iter()
            .map(|row| &row["name"])
            .collect();
        let pods = supervisor.ok(&["pods", "-q"]).lines().count();
        if names == ["stays"] && pods == 1 {
            Ok(())
        } else {
            Err(left.to_string())
        }
    });
    assert!(!supervisor.root().join("logs/job").exists());
    supervisor.ok(&["rm", "stays"]);
}
