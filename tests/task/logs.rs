//! Logs that the shim writes by itself: asked for by URI, renamed, reopened by a call and by a signal.

use crate::footprint::written_rollup;
use crate::rpc::*;
use crate::shim::*;
use containerd_shim_protos::api::{Empty, StateRequest};
use containerd_shim_protos::ttrpc::Code;
use std::fs;
use std::path::Path;

/// The contents of a CRI log, by an independent reader.
fn contents(path: &Path) -> String {
    let log = fs::read_to_string(path).unwrap();
    log.lines()
        .map(|line| {
            let fields: Vec<_> = line.splitn(4, ' ').collect();
            format!("{} {} {}\n", fields[1], fields[2], fields[3])
        })
        .collect()
}

fn contains(path: &Path, wanted: &str) {
    eventually(wanted, || {
        let found = contents(path);
        found.contains(wanted).then_some(()).ok_or(found)
    });
}

fn reopen(c: &Container, exec: &str) -> Answer<Empty> {
    let client = Client {
        socket: c.client.socket.clone(),
        service: "outlive.shim.v1.Shim".to_owned(),
    };
    client.call(
        "ReopenLogs",
        &request!(StateRequest {
            id: &*c.id,
            exec_id: exec
        }),
    )
}

/// A container that says each word which it is told.
fn echo(lab: &Lab) -> (Container, std::path::PathBuf) {
    let mut c = lab.shim(
        "c1",
        "echo begun >&2; printf half; while read word; do echo $word; done",
    );
    let (log, stdin) = (lab.dir.join("pod/0.log"), c.bundle.join("in"));
    crate::fifo::make(&stdin);
    let uri = format!("cri://{}?max-line=100", log.display());
    c.set_stdio(&Stdio {
        stdin: stdin.to_str().unwrap().to_owned(),
        stdout: uri.clone(),
        stderr: uri,
        ..Stdio::default()
    });
    c.create().unwrap();
    c.start().unwrap();
    contains(&log, "stderr F begun");
    (c, log)
}

fn say(c: &Container, word: &str) {
    fs::write(c.bundle.join("in"), format!("{word}\n")).unwrap();
}

#[test]
fn a_call_reopens_the_logs_of_one_process() {
    let lab = Lab::new();
    let (c, log) = echo(&lab);
    let old = log.with_extension("old");
    // What is read before the call is half a line; it may be read after the begin.
    say(&c, "one");
    contains(&log, "stdout F halfone");
    fs::rename(&log, &old).unwrap();
    reopen(&c, "").unwrap();
    say(&c, "two");
    contains(&log, "stdout F two");
    assert_eq!(contents(&log), "stdout F two\n");
    assert!(!contents(&old).contains("two"));
    assert_eq!(reopen(&c, "none").unwrap_err().code, Code::NOT_FOUND);
    c.kill_all(9).unwrap();
    c.wait().unwrap();
    c.delete().unwrap();
    assert_eq!(reopen(&c, "").unwrap_err().code, Code::NOT_FOUND);
}

#[test]
fn a_reopening_that_cannot_be_is_an_error_and_the_old_file_goes_on() {
    let lab = Lab::new();
    let (c, log) = echo(&lab);
    let old = lab.dir.join("old.log");
    fs::rename(&log, &old).unwrap();
    fs::remove_dir(log.parent().unwrap()).unwrap();
    let error = reopen(&c, "").unwrap_err();
    assert!(
        error.message.contains("0.log: open: No such file"),
        "{error:?}"
    );
    assert!(!log.exists());
    say(&c, "still");
    contains(&old, "stdout F halfstill");
    c.kill_all(9).unwrap();
    c.wait().unwrap();
}

#[test]
fn a_signal_reopens_all_logs() {
    let lab = Lab::new();
    let (c, log) = echo(&lab);
    let old = log.with_extension("old");
    fs::rename(&log, &old).unwrap();
    let shim = nix::unistd::Pid::from_raw(c.shim_pid().try_into().unwrap());
    nix::sys::signal::kill(shim, nix::sys::signal::Signal::SIGUSR2).unwrap();
    eventually("new log", || {
        log.exists().then_some(()).ok_or_else(|| lab.log())
    });
    say(&c, "two");
    contains(&log, "two");
    assert!(!contents(&old).contains("two"));
    c.kill_all(9).unwrap();
    c.wait().unwrap();
}

#[test]
fn a_parameter_that_no_log_has_is_refused_by_name() {
    let lab = Lab::new();
    let mut c = lab.shim("c1", "true");
    for (uri, wrong) in [
        ("cri:///x?max-lines=1", "max-lines"),
        ("file:///x?max-line=1", "max-line"),
    ] {
        c.set_stdio(&Stdio {
            stdout: uri.to_owned(),
            ..Stdio::default()
        });
        let error = c.create().unwrap_err();
        assert_eq!(error.code, Code::INVALID_ARGUMENT);
        assert!(error.message.contains(wrong), "{error:?}");
    }
}

/// The process's own pages in kB.
fn own_pages(pid: u32) -> u64 {
    written_rollup(pid, "Private_Dirty:")
}

#[test]
fn a_flood_costs_a_shim_little_memory_and_afterwards_none() {
    let lab = Lab::new();
    let mut c = lab.shim(
        "c1",
        "read word; yes 'a line of some length, as they come' | head -c 100000000; read word",
    );
    let (log, stdin) = (lab.dir.join("log"), c.bundle.join("in"));
    crate::fifo::make(&stdin);
    c.set_stdio(&Stdio {
        stdin: stdin.to_str().unwrap().to_owned(),
        stdout: format!("cri://{}?max-size=20000000&max-files=1", log.display()),
        ..Stdio::default()
    });
    c.create().unwrap();
    c.start().unwrap();
    let (pid, before) = (c.shim_pid(), own_pages(c.shim_pid()));
    say(&c, "go");
    let rotated = lab.dir.join(".log.1");
    let mut most = 0;
    let mut quiet = 0;
    let mut last = None;
    eventually("the flood ends", || {
        most = most.max(own_pages(pid));
        // By its inode: the size alone would look the same after a rotation.
        let now = fs::metadata(&log)
            .map(|it| (std::os::unix::fs::MetadataExt::ino(&it), it.len()))
            .ok();
        quiet = if now == last && rotated.exists() {
            quiet + 1
        } else {
            0
        };
        last = now;
        (quiet > 50).then_some(()).ok_or_else(|| format!("{now:?}"))
    });
    let release = !binary()
        .components()
        .any(|part| part.as_os_str() == "debug");
    let after = eventually("it rests", || {
        let now = own_pages(pid);
        (now <= before + 100 || !release)
            .then_some(now)
            .ok_or_else(|| format!("{now} kB, {before} kB before"))
    });
    eprintln!("Private_Dirty: {before} kB before, up to {most} kB in the flood, {after} kB after");
    assert!(most <= 1000 || !release, "{most} kB");
    say(&c, "end");
    c.wait().unwrap();
}
