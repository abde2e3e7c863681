//! Signals that the shim is sent, and what its children are given of its decisions.

use crate::leaks;
use crate::rpc::*;
use crate::shim::*;
use outlive::sys::dispositions::{Decision, TABLE};
use std::fs;
use std::path::Path;
use std::process::Command;

/// A line of /proc/PID/status that is a set of signals, bit 0 for signal 1.
fn set(status: &str, name: &str) -> u64 {
    let mut lines = status.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    u64::from_str_radix(value.unwrap_or_else(|| panic!("{name}: {status}")), 16).unwrap()
}

fn contains(set: u64, signal: i32) -> bool {
    set & (1 << (signal - 1)) != 0
}

/// kill(1), which knows every number.
fn send(pid: u32, signal: i32) {
    let sent = Command::new("/bin/kill")
        .args([format!("-{signal}"), pid.to_string()])
        .status();
    assert!(sent.unwrap().success(), "signal {signal}");
}

#[test]
fn each_signal_has_the_disposition_that_the_table_gives_it() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    let status = fs::read_to_string(format!("/proc/{}/status", c.shim_pid())).unwrap();
    let (ignored, caught) = (set(&status, "SigIgn"), set(&status, "SigCgt"));
    assert_eq!(set(&status, "SigBlk"), 0);
    for row in TABLE {
        for signal in row.signals.clone() {
            let is = (contains(ignored, signal), contains(caught, signal));
            let fits = match row.shim {
                Decision::Handle => is == (false, true),
                // The C library's own real-time signals, once it uses them.
                Decision::Ignore => is == (true, false) || (32..34).contains(&signal),
                // Rust's runtime tells of a stack overflow, and then has the default action.
                Decision::Default => !is.0,
            };
            assert!(fits, "signal {signal}: ignored, caught {is:?}; {row:?}");
        }
    }
}

#[test]
fn no_signal_that_is_ignored_changes_anything() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    let pid = c.shim_pid();
    let ignored = TABLE.iter().filter(|row| row.shim == Decision::Ignore);
    for signal in ignored.flat_map(|row| row.signals.clone()) {
        send(pid, signal);
        assert_eq!(
            leaks::stat(pid, 3)
                .as_deref()
                .map(|state| "RSD".contains(state)),
            Some(true),
            "after signal {signal}"
        );
    }
    assert_eq!(c.exec_run("e1", "exit 3").wait().unwrap().exit_status, 3);
    assert_eq!(c.shim_pid(), pid);
}

#[test]
fn the_oci_runtime_and_the_container_ignore_and_block_no_signal() {
    let lab = Lab::new();
    let told = lab.dir.join("runtime-status");
    let mut c = lab.shim("c1", "exec cat /proc/self/status");
    let script = format!("cat /proc/self/status >{}", told.display());
    lab.wrap_runtime(&mut c, &script);
    let out = crate::fifo::Output::new(&c.bundle.join("out"));
    c.set_stdio(&Stdio::to(&out));
    c.create().unwrap();
    c.start().unwrap();
    c.wait().unwrap();
    let read = |path: &Path| fs::read_to_string(path).unwrap();
    let container = String::from_utf8(out.to_end()).unwrap();
    for status in [read(&told), container] {
        for name in ["SigIgn", "SigBlk"] {
            assert_eq!(set(&status, name), 0, "{name}: {status}");
        }
    }
}
