//! The events of a life, as a subscriber of containerd sees them.

use serde_json::Value;

use crate::support::node::Node;
use crate::support::poll;

on_every_containerd![
    a_life_is_told_in_order,
    an_early_exit_is_told_after_the_start,
    pause_and_resume_are_told,
];

/// One line of `ctr events`: date, time, zone twice, namespace, topic, JSON.
fn parse(line: &str) -> Option<(String, Value)> {
    let start = line.find(" /")? + 1;
    let (topic, body) = line[start..].split_once(' ')?;
    Some((topic.to_owned(), serde_json::from_str(body).ok()?))
}

/// `topic id exec_id status` of every task event, in the order received; the id that is in the event as such is the exec's.
fn told(text: &str) -> Vec<String> {
    let describe = |(topic, body): (String, Value)| {
        let text = |key: &str| {
            body.get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let process = [text("exec_id"), text("id")].concat();
        let status = body
            .get("exit_status")
            .and_then(Value::as_u64)
            .map_or_else(String::new, |code| format!(" {code}"));
        topic.strip_prefix("/tasks/").map(|topic| {
            format!("{topic} {} {process}{status}", text("container_id"))
                .trim_end()
                .to_owned()
        })
    };
    text.lines()
        .filter_map(parse)
        .filter_map(describe)
        .collect()
}

/// Records what `body` causes until the event that starts with `last` has come.
fn record(node: &Node, last: &str, body: impl FnOnce()) -> Vec<String> {
    let subscriber = node.spawn_ctr(&["events"]);
    // The subscription has no acknowledgement: a label change is repeated until it is seen.
    node.ctr(&["namespace", "create", "probe"]).ok();
    let mut round = 0;
    poll::until("the subscriber listens", || {
        round += 1;
        node.ctr(&["namespace", "label", "probe", &format!("round={round}")])
            .ok();
        if subscriber.stdout().contains("/namespaces/") {
            Ok(())
        } else {
            Err(subscriber.stderr())
        }
    });
    body();
    let events = poll::until(last, || {
        let events = told(&subscriber.stdout());
        if events.iter().any(|event| event.starts_with(last)) {
            Ok(events)
        } else {
            Err(subscriber.stdout())
        }
    });
    node.ctr(&["namespace", "remove", "probe"]).ok();
    events
}

fn a_life_is_told_in_order(node: &mut Node) {
    let events = record(node, "delete life", || {
        node.run_detached("life", &[], &["/bin/sleep", "1000"]);
        assert_eq!(
            node.exec("life", "short", &["/bin/sh", "-c", "exit 9"])
                .code,
            Some(9)
        );
        node.ctr(&node.exec_args("life", "long", &["--detach"], &["/bin/sleep", "1000"]))
            .ok();
        assert_eq!(node.destroy("life"), 137);
    });
    let expected = [
        "create life",
        "start life",
        "exec-added life short",
        "exec-started life short",
        "exit life short 9",
        "exec-added life long",
        "exec-started life long",
        "exit life long 137",
        "exit life life 137",
        "delete life  137",
    ];
    let deleted: Vec<String> = events
        .iter()
        .map(|event| event.replace("delete life 137", "delete life  137"))
        .collect();
    assert_eq!(deleted, expected.map(str::to_owned), "{events:?}");
}

fn topics(events: &[String]) -> Vec<&str> {
    let words = events.iter().filter_map(|event| event.split(' ').next());
    words.collect()
}

fn an_early_exit_is_told_after_the_start(node: &mut Node) {
    for round in 0..5 {
        let id = format!("early-{round}");
        let events = record(node, &format!("delete {id}"), || {
            assert_eq!(node.run(&id, &[], &["/bin/true"]).code, Some(0));
        });
        assert_eq!(
            topics(&events),
            ["create", "start", "exit", "delete"],
            "round {round}"
        );
    }
}

fn pause_and_resume_are_told(node: &mut Node) {
    let events = record(node, "delete still", || {
        node.run_detached("still", &[], &["/bin/sleep", "1000"]);
        node.ctr(&["task", "pause", "still"]).ok();
        node.ctr(&["task", "resume", "still"]).ok();
        assert_eq!(node.destroy("still"), 137);
    });
    assert_eq!(
        topics(&events),
        ["create", "start", "paused", "resumed", "exit", "delete"]
    );
}
