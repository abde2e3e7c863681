//! Many containers end while containerd is away: every code, every time and every event is told afterwards.
//!
//! `OUTLIVE_LONG=1` makes the absence a minute long.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::support::ctr::Running;
use crate::support::node::Node;
use crate::support::poll;
use crate::support::task_events::{self, TaskEvent};
use crate::support::tasks::touch;

on_every_containerd![
    thirty_exits_of_an_absence_are_told_after_it,
    a_subscriber_that_is_back_sees_every_late_exit_once,
];

/// How many containers end.
const MANY: u32 = 30;
/// How many clients work at a time.
const CLIENTS: u32 = 6;

/// How long containerd is away, `short` unless the long run is asked for.
fn absence(short: u64) -> Duration {
    let long = std::env::var("OUTLIVE_LONG").is_ok_and(|value| value == "1");
    Duration::from_secs(if long { 60 } else { short })
}

fn name(number: u32) -> String {
    format!("away-{number}")
}

/// The exit code of container `number`: no other's, and never the 0 of one that nobody was told.
fn code(number: u32) -> u32 {
    number * 8 + 7
}

/// Does `work` for every container, some at a time.
fn for_all(work: impl Fn(u32) + Sync) {
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let work = &work;
            scope.spawn(move || (client..MANY).step_by(CLIENTS as usize).for_each(work));
        }
    });
}

/// Every container with the pid and the status of its task, in the order of their numbers.
fn tasks(node: &Node) -> Vec<(u32, String)> {
    let list = node.ctr(&["task", "ls"]).ok();
    let find = |number| {
        let id = name(number);
        list.lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .find(|words| words.first() == Some(&id.as_str()))
            .map(|words| (words[1].parse().unwrap(), words[2].to_owned()))
            .unwrap_or_else(|| panic!("no task {id} in:\n{list}\n{}", node.log_tail()))
    };
    (0..MANY).map(find).collect()
}

/// Starts the containers; returns their pids.
fn start(node: &Node) -> Vec<u32> {
    for_all(|number| {
        let script = format!(
            "while [ ! -e /go ]; do sleep 0.3; done; exit {}",
            code(number)
        );
        node.ctr(&node.run_args(&name(number), &["--detach"], &["/bin/sh", "-c", &script]))
            .ok();
    });
    let tasks = tasks(node);
    assert!(
        tasks.iter().all(|(_, status)| status == "RUNNING"),
        "{tasks:?}"
    );
    tasks.into_iter().map(|(pid, _)| pid).collect()
}

/// Whether init `pid` still is to end, or its shim to hear of it.
fn lives(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// The seconds in which all of them ended, first and last.
type Span = (u64, u64);

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// Kills containerd, lets every container end, and leaves it dead until `absence` is over.
fn end_in_absence(node: &mut Node, pids: &[u32], absence: Duration) -> Span {
    node.kill9();
    let since = Instant::now();
    let first = now();
    touch(&node.rootfs().join("go"));
    poll::until("every init has ended", || {
        let alive: Vec<&u32> = pids.iter().filter(|pid| lives(**pid)).collect();
        if alive.is_empty() {
            Ok(())
        } else {
            Err(format!("{alive:?}"))
        }
    });
    // Shims note the time a moment after they have reaped.
    let last = now() + 2;
    poll::until("the absence is over", || {
        let lasted = since.elapsed();
        if lasted >= absence {
            Ok(())
        } else {
            Err(format!("{lasted:?}"))
        }
    });
    assert_eq!(
        node.shims().len(),
        pids.len(),
        "a shim whose exit nobody has read stays"
    );
    (first, last)
}

/// Every task is there as it ended, and the second question has the same answer.
fn assert_stopped(node: &Node, pids: &[u32]) {
    let expected: Vec<(u32, String)> = pids
        .iter()
        .map(|pid| (*pid, "STOPPED".to_owned()))
        .collect();
    for _ in 0..2 {
        assert_eq!(tasks(node), expected, "{}", node.log_tail());
    }
}

/// What a subscriber has seen of a process that ended.
#[derive(Debug, PartialEq)]
struct Told {
    topic: String,
    id: String,
    code: u32,
    exited_at: u64,
}

/// The exits and deletions of tasks, in the order received.
fn told(text: &str) -> Vec<Told> {
    text.lines()
        .filter_map(task_events::parse)
        .filter_map(end)
        .collect()
}

fn end(event: TaskEvent) -> Option<Told> {
    ["exit", "delete"]
        .contains(&event.topic.as_str())
        .then(|| Told {
            code: event
                .code
                .unwrap_or_else(|| panic!("the code in {event:?}")),
            exited_at: event
                .exited_at
                .and_then(|at| u64::try_from(at / 1_000_000_000).ok())
                .unwrap_or_else(|| panic!("the time in {event:?}")),
            topic: event.topic,
            id: event.container,
        })
}

/// Makes an event that is no task's, until `subscriber` sees it.
fn mark(node: &Node, subscriber: &Running, round: u32) {
    task_events::mark(node, subscriber, round)
        .unwrap_or_else(|last| panic!("the subscriber hears nothing: {last}"));
}

/// Nothing twice, nothing invented, and of each container the exit before the deletion.
fn assert_sound(events: &[Told], span: Span) {
    for number in 0..MANY {
        let id = name(number);
        let own: Vec<&Told> = events.iter().filter(|event| event.id == id).collect();
        let topics: Vec<&str> = own.iter().map(|event| event.topic.as_str()).collect();
        assert!(
            matches!(topics[..], [] | ["exit" | "delete"] | ["exit", "delete"]),
            "{id}: {own:?}"
        );
        for event in own {
            assert_eq!(event.code, code(number), "{event:?}");
            assert!(
                (span.0..=span.1).contains(&event.exited_at),
                "it ended within {span:?}: {event:?}"
            );
        }
    }
}

fn count(events: &[Told], topic: &str) -> usize {
    events.iter().filter(|event| event.topic == topic).count()
}

/// Deletes every container; each tells its own code.
fn delete_all(node: &Node) {
    for_all(|number| assert_eq!(node.delete(&name(number)), code(number), "{number}"));
}

/// Waits until the shims are gone: what they had to tell has been told.
fn wait_for_the_last_shim(node: &Node) {
    poll::until("every shim is gone", || {
        let shims = node.shims();
        if shims.is_empty() {
            Ok(())
        } else {
            Err(format!("{shims:?}"))
        }
    });
}

fn thirty_exits_of_an_absence_are_told_after_it(node: &mut Node) {
    let pids = start(node);
    let span = end_in_absence(node, &pids, absence(15));
    node.restart();
    // Some shims may be faster than it: an exit that was told before is not missing.
    let subscriber = node.spawn_ctr(&["events"]);
    assert_stopped(node, &pids);
    mark(node, &subscriber, 0);
    delete_all(node);
    wait_for_the_last_shim(node);
    mark(node, &subscriber, 1);
    let events = told(&subscriber.stdout());
    println!("{} exits came after the subscriber", count(&events, "exit"));
    assert_sound(&events, span);
    assert_eq!(count(&events, "delete"), pids.len(), "{events:?}");
}

/// containerd comes back with its socket for events in another place, so that the shims find it when the subscriber
/// listens and not before.
fn a_subscriber_that_is_back_sees_every_late_exit_once(node: &mut Node) {
    let pids = start(node);
    let [socket, later] = ["c.ttrpc", "later.ttrpc"].map(|name| node.dir().join(name));
    let config = node.dir().join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    let moved = text.replace(socket.to_str().unwrap(), later.to_str().unwrap());
    assert_ne!(moved, text);
    // Longer than the shims' longest pause between two attempts.
    let span = end_in_absence(node, &pids, absence(5));
    fs::write(&config, moved).unwrap();
    fs::remove_file(&socket).unwrap();
    node.restart();
    let subscriber = node.spawn_ctr(&["events"]);
    mark(node, &subscriber, 0);
    let early = told(&subscriber.stdout());
    assert!(early.is_empty(), "no shim has found it yet: {early:?}");
    symlink(&later, &socket).unwrap();
    poll::until("every exit is told", || {
        let events = told(&subscriber.stdout());
        if count(&events, "exit") >= pids.len() {
            Ok(())
        } else {
            Err(format!("{events:?}\n{}", node.log_tail()))
        }
    });
    assert_stopped(node, &pids);
    delete_all(node);
    wait_for_the_last_shim(node);
    mark(node, &subscriber, 1);
    let events = told(&subscriber.stdout());
    assert_sound(&events, span);
    for topic in ["exit", "delete"] {
        assert_eq!(count(&events, topic), pids.len(), "{topic}: {events:?}");
    }
}
