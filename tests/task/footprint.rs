//! What a shim costs while its container runs and nothing happens. `make footprint` prints it.

use std::time::Duration;

use containerd_shim_protos::protobuf::Message;

use crate::fifo::Output;
use crate::program;
use crate::rpc::Stdio;
use crate::shim::{Lab, binary, eventually};

/// Pages that are the process's own, in kB. The release binary must keep to these; one for debugging need not.
const PRIVATE_DIRTY_LIMIT: u64 = 250;
const BINARY_LIMIT: u64 = 3_000_000;
/// What the heap keeps between what lives long, after a hundred processes have come and gone.
const GROWTH_LIMIT: u64 = 80;

/// A line of a process's smaps_rollup (proc_pid_smaps(5)), in kB.
pub fn rollup(pid: u32, field: &str) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup.lines().find(|line| line.starts_with(field)).unwrap();
    let figure = line.split_ascii_whitespace().nth(1);
    figure.unwrap().parse().unwrap()
}

/// The same, when no page of a file is still to be written back: such a one counts as dirty for whoever has it mapped, and
/// the shim's program may be new.
pub fn written_rollup(pid: u32, field: &str) -> u64 {
    nix::unistd::sync();
    rollup(pid, field)
}

/// How long a shim that does nothing is left alone before it is measured: it gives memory back after half a second.
const REST: Duration = Duration::from_secs(1);

/// The figure once the shim rests: with one thread, and no more than `limit`.
fn settled(pid: u32, field: &str, limit: u64) -> u64 {
    eventually("the shim rests", || {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task"))
            .unwrap()
            .count();
        let figure = written_rollup(pid, field);
        match (threads, figure <= limit) {
            (1, true) => Ok(()),
            _ => Err(format!(
                "{threads} threads, {field} {figure} kB; at most {limit} kB are allowed"
            )),
        }
    });
    std::thread::sleep(REST);
    written_rollup(pid, field)
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
    let (pss, rss) = (written_rollup(pid, "Pss:"), written_rollup(pid, "Rss:"));
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

#[test]
fn the_settings_of_the_servers_c_library_are_not_given_to_the_oci_runtime() {
    let lab = Lab::new();
    let (program, record) = (lab.dir.join("recorder"), lab.dir.join("tunables"));
    let script = format!(
        "#!/bin/sh\necho \"[$GLIBC_TUNABLES]\" >>{}\nexec runc \"$@\"\n",
        record.display()
    );
    program::write(&program, script);
    let mut options = lab.options();
    options.binary_name = program.display().to_string();
    let mut c = lab.shim("c1", "exit 0");
    c.set_options(
        "containerd.runc.v1.Options",
        options.write_to_bytes().unwrap(),
    );
    let given = std::fs::read(format!("/proc/{}/environ", c.shim_pid())).unwrap();
    let given = String::from_utf8_lossy(&given);
    assert!(given.contains("\0GLIBC_TUNABLES="), "{given:?}");
    c.create().unwrap();
    c.start().unwrap();
    assert_eq!(c.wait().unwrap().exit_status, 0);
    c.delete().unwrap();
    let seen = std::fs::read_to_string(record).unwrap();
    assert!(seen.lines().count() >= 3, "{seen}");
    assert!(seen.lines().all(|line| line == "[]"), "{seen}");
}
