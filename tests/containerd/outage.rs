//! The output of a container while containerd is dead: a manager reads its fifos as the CRI plugin does, that is in
//! containerd's own process, so it dies with it and comes back some time after it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::fifo_reader::{FifoReader, STEADY_WRITER, assert_not_held_up, numbers};
use crate::support::node::Node;
use crate::support::poll;
use crate::support::tasks::touch;

on_every_containerd![
    a_steady_writer_does_not_notice_an_outage_and_loses_no_line,
    a_writer_at_full_speed_loses_no_byte_in_an_outage,
    a_log_in_the_cri_format_needs_nobody_but_the_shim,
];

/// How long containerd is dead.
const OUTAGE: Duration = Duration::from_secs(15);

/// What init's stdout goes to; `ctr` has made it and gone.
fn stdout_of(node: &Node, id: &str) -> PathBuf {
    let name = format!("{id}-stdout");
    let within = |dir: &Path| {
        fs::read_dir(dir)
            .unwrap()
            .flatten()
            .map(|entry| entry.path())
    };
    within(&node.dir().join("fifo"))
        .flat_map(|set| within(&set).collect::<Vec<_>>())
        .find(|path| path.ends_with(&name))
        .unwrap_or_else(|| panic!("no fifo {name}"))
}

/// Kills containerd and its reader, waits, and brings them back: first containerd, as ever.
fn outage(node: &mut Node, reader: &mut FifoReader) {
    node.kill9();
    reader.leave();
    let since = Instant::now();
    poll::until("the outage has lasted", || {
        let lasted = since.elapsed();
        if lasted >= OUTAGE {
            Ok(())
        } else {
            Err(format!("{lasted:?}"))
        }
    });
    node.restart();
    reader.come();
}

fn comes(reader: &FifoReader, length: usize) {
    poll::until("output comes", || match reader.length() {
        come if come >= length => Ok(()),
        come => Err(format!("{come} of {length} bytes")),
    });
}

fn ends(reader: &FifoReader) {
    poll::until("output ends", || {
        if reader.at_end() {
            Ok(())
        } else {
            Err(format!("{} bytes", reader.length()))
        }
    });
}

/// A number that the steady writer has left behind.
fn told(node: &Node, name: &str) -> usize {
    let text = fs::read_to_string(node.rootfs().join(name)).unwrap();
    text.trim().parse().unwrap()
}

fn a_steady_writer_does_not_notice_an_outage_and_loses_no_line(node: &mut Node) {
    // It begins when `ctr`, which reads too until it leaves, has left.
    let script = format!("while [ ! -e /go ]; do sleep 0.05; done; {STEADY_WRITER}");
    node.run_detached("steady", &[], &["/bin/sh", "-c", &script]);
    let mut reader = FifoReader::of(&stdout_of(node, "steady"));
    reader.come();
    touch(&node.rootfs().join("go"));
    comes(&reader, 2000);
    outage(node, &mut reader);
    comes(&reader, reader.length() + 10_000);
    touch(&node.rootfs().join("stop"));
    ends(&reader);
    node.wait_for("steady", "STOPPED");
    let told = |name: &str| told(node, name);
    let lines = numbers(&reader.take());
    assert_eq!(lines, told("count"));
    assert_not_held_up(told);
    assert_eq!(node.delete("steady"), 7);
}

/// More than the spool takes: then it waits, and goes on afterwards.
fn a_writer_at_full_speed_loses_no_byte_in_an_outage(node: &mut Node) {
    const LINES: usize = 15_000_000;
    let script = format!(
        "while [ ! -e /go ]; do sleep 0.05; done; seq 0 {}",
        LINES - 1
    );
    node.run_detached("flood", &[], &["/bin/sh", "-c", &script]);
    let mut reader = FifoReader::of(&stdout_of(node, "flood"));
    reader.come();
    touch(&node.rootfs().join("go"));
    comes(&reader, 1_000_000);
    outage(node, &mut reader);
    ends(&reader);
    assert_eq!(numbers(&reader.take()), LINES);
    node.wait_for("flood", "STOPPED");
    assert_eq!(node.delete("flood"), 0);
}

fn a_log_in_the_cri_format_needs_nobody_but_the_shim(node: &mut Node) {
    let log = node.dir().join("cri.log");
    let uri = format!("cri://{}", log.display());
    node.run_detached(
        "cri",
        &["--log-uri", &uri],
        &["/bin/sh", "-c", STEADY_WRITER],
    );
    let records = || fs::read_to_string(&log).unwrap_or_default().lines().count();
    let grows_by = |count| {
        let from = records();
        poll::until("the log grows", || match records() {
            now if now >= from + count => Ok(()),
            now => Err(format!("{from} records, then {now}")),
        });
    };
    grows_by(500);
    node.kill9();
    let since = Instant::now();
    while since.elapsed() < OUTAGE {
        grows_by(500);
    }
    node.restart();
    grows_by(500);
    touch(&node.rootfs().join("stop"));
    node.wait_for("cri", "STOPPED");
    assert_eq!(node.delete("cri"), 7);
    let text = fs::read_to_string(&log).unwrap();
    for (number, record) in text.lines().enumerate() {
        let fields: Vec<&str> = record.splitn(4, ' ').collect();
        assert_eq!(
            fields[1..],
            ["stdout", "F", &number.to_string()],
            "{record}"
        );
    }
    let told = |name: &str| told(node, name);
    assert_eq!(text.lines().count(), told("count"));
    assert_not_held_up(told);
}
