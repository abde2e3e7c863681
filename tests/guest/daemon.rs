//! The same under a real containerd: checkpoint and restore by `ctr`, out of memory in its events.

use std::fs;

use crate::in_guest;
use crate::support::node::on;
use crate::support::poll;
use crate::support::under_test::Version;

const COUNTER: &str =
    "trap 'exit 7' TERM; i=0; while :; do i=$((i+1)); echo $i >>/count; sleep 0.1; done";

/// What `ctr container checkpoint` stores: a paused task's images, its changes to the image, and its specification.
#[test]
fn ctr_restores_a_container_from_its_content_store() {
    in_guest();
    on(Version::V1_6, |node| {
        node.ctr(&node.run_image_args(
            "c1",
            &["--detach", "--net-host"],
            &["/bin/sh", "-c", COUNTER],
        ))
        .ok();
        let inside = |id: &str| format!("/proc/{}/root/count", node.pid(id));
        let count = |id: &str| {
            let text = fs::read_to_string(inside(id)).unwrap_or_default();
            text.lines()
                .last()
                .and_then(|line| line.parse::<u64>().ok())
        };
        let past = |id: &str, number: u64| {
            poll::until(&format!("a count past {number}"), || match count(id) {
                Some(count) if count > number => Ok(count),
                other => Err(format!("{other:?}")),
            })
        };
        past("c1", 3);
        let name = "outlive.test/checkpoint:1";
        node.ctr(&[
            "container",
            "checkpoint",
            "--rw",
            "--image",
            "--task",
            "c1",
            name,
        ])
        .ok();
        let taken = count("c1").unwrap();
        past("c1", taken + 3);
        assert_eq!(node.destroy("c1"), 137);
        node.grouped_by("c2");
        node.ctr(&["container", "restore", "--rw", "--live", "c2", name])
            .ok();
        assert_eq!(node.task("c2").unwrap().1, "RUNNING");
        // It goes on from what it had in memory: a new counter would begin with 1.
        past("c2", taken + 3);
        let text = fs::read_to_string(inside("c2")).unwrap();
        let numbers: Vec<u64> = text.lines().filter_map(|line| line.parse().ok()).collect();
        assert!(
            numbers.windows(2).all(|pair| pair[1] == pair[0] + 1),
            "{numbers:?}"
        );
        node.kill("c2", "SIGTERM");
        node.wait_for("c2", "STOPPED");
        assert_eq!(node.delete("c2"), 7);
    });
}

#[test]
fn an_oom_kill_is_an_event_of_containerd_before_the_exit() {
    in_guest();
    on(Version::V1_6, |node| {
        let events = node.spawn_ctr(&["events"]);
        let seen = |topic: &str| events.stdout().contains(topic);
        // A subscription is there when an event of its own making is seen.
        poll::until("a subscription", || {
            node.ctr(&["namespaces", "label", node.namespace(), "a=b"])
                .ok();
            if seen("/namespaces/update") {
                Ok(())
            } else {
                Err(events.stdout() + &events.stderr())
            }
        });
        let limit = (24 << 20).to_string();
        let output = node.run(
            "c1",
            &["--net-host", "--memory-limit", &limit],
            &["/bin/tail", "/dev/zero"],
        );
        assert_eq!(output.code, Some(137), "{output:?}");
        poll::until("the delete", || {
            if seen("/tasks/delete") {
                Ok(())
            } else {
                Err(events.stdout())
            }
        });
        let text = events.stdout();
        let topics: Vec<&str> = ["/tasks/oom", "/tasks/exit", "/tasks/delete"]
            .into_iter()
            .filter(|topic| text.contains(topic))
            .collect();
        assert_eq!(topics.len(), 3, "{text}");
        assert!(text.find("/tasks/oom") < text.find("/tasks/exit"), "{text}");
        events.kill9();
    });
}
