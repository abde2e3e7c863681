//! What a shim costs while its container runs and nothing happens. `make footprint` prints it.

use crate::fifo::Output;
use crate::rpc::Stdio;
use crate::shim::{Lab, binary, eventually};

/// Pages that are the process's own, in kB. The release binary must keep to these; one for debugging need not.
const PRIVATE_DIRTY_LIMIT: u64 = 350;
const BINARY_LIMIT: u64 = 3_000_000;
/// What the heap keeps between what lives long, after a hundred processes have come and gone.
const GROWTH_LIMIT: u64 = 150;

fn rollup(pid: u32, field: &str) -> u64 {
    // A page of a file that is still to be written back counts as dirty for whoever has it mapped; the binary may be new.
    nix::unistd::sync();
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_ascii_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

/// The figure once the shim rests: with one thread, and no more than `limit` or as it stays.
fn settled(pid: u32, field: &str, limit: u64) -> u64 {
    let mut last = 0;
    let attempt = || {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task"))
            .unwrap()
            .count();
        last = rollup(pid, field);
        match (threads, last <= limit) {
            (1, true) => Ok(()),
            _ => Err(format!(
                "{threads} threads, {field} {last} kB; at most {limit} kB are allowed"
            )),
        }
    };
    eventually("the shim rests", attempt);
    last
}

#[test]
fn a_resting_shim_is_one_thread_and_some_pages() {
    let lab = Lab::new();
    let mut c = lab.shim("c1", "exec sleep 1000");
    let (out, err) = (
        Output::new(&c.bundle.join("out")),
        Output::new(&c.bundle.join("err")),
    );
    c.set_stdio(&Stdio {
        stdout: out.uri(),
        stderr: err.uri(),
        ..Stdio::default()
    });
    c.create().unwrap();
    c.start().unwrap();
    let pid = c.shim_pid();
    let release = !binary()
        .components()
        .any(|part| part.as_os_str() == "debug");
    let limit = if release {
        PRIVATE_DIRTY_LIMIT
    } else {
        u64::MAX
    };
    let idle = settled(pid, "Private_Dirty:", limit);
    let (pss, rss) = (rollup(pid, "Pss:"), rollup(pid, "Rss:"));
    for number in 0..100 {
        let exec = c.exec_run(&format!("e{number}"), "exit 0");
        exec.wait().unwrap();
        exec.delete().unwrap();
    }
    let grown = settled(
        pid,
        "Private_Dirty:",
        if release {
            idle + GROWTH_LIMIT
        } else {
            u64::MAX
        },
    );
    let size = std::fs::metadata(binary()).unwrap().len();
    assert!(
        !release || size <= BINARY_LIMIT,
        "the binary has {size} bytes"
    );
    println!("shim {}", binary().display());
    println!("  binary                          {size:>9} bytes");
    println!("  threads at rest                 {:>9}", 1);
    println!("  Private_Dirty, one container    {idle:>9} kB");
    println!("  Private_Dirty, after 100 execs  {grown:>9} kB");
    println!("  Pss                             {pss:>9} kB");
    println!("  Rss                             {rss:>9} kB");
}
