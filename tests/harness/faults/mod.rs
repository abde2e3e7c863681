//! The mechanisms of the hard faults: each file owns one, made for real by the kernel, and undone when it is dropped.
//!
//! Nothing here knows what a promise is or which target runs; scenarios choose the moment and the victim. Root is needed,
//! and Debian's e2fsprogs, xfsprogs, util-linux and libfaketime.
#![allow(dead_code, reason = "each test crate uses its own part of this module")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

pub mod backing;
pub mod clock;
pub mod damage;
pub mod disk;
pub mod failing;
pub mod loop_device;
pub mod mount_copy;
pub mod pid_reuse;
pub mod reboot;
pub mod shim;
pub mod slow_umount;
pub mod upgrade;

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Runs a program to its end, and gives what it printed. It must succeed.
fn tool<S: AsRef<OsStr>>(program: &str, args: &[S]) -> String {
    match try_tool(program, args) {
        Ok(printed) => printed,
        Err(why) => panic!("{why}"),
    }
}

/// The same; the error is what it complained of.
fn try_tool<S: AsRef<OsStr>>(program: &str, args: &[S]) -> Result<String, String> {
    let args: Vec<&OsStr> = args.iter().map(AsRef::as_ref).collect();
    let output = Command::new(program)
        .args(&args)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(format!("{program} {args:?}: {output:?}"))
    }
}

/// A directory of its own outside of every supervisor's, so that no leak check takes what is mounted there for a leak.
fn place(kind: &str) -> PathBuf {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!(
        "outlive-fault-{kind}-{}-{serial}",
        std::process::id()
    ));
    std::fs::create_dir_all(&path).unwrap();
    path
}
