//! What the shim does at its own limits: of a file's size (RLIMIT_FSIZE), and of open files (RLIMIT_NOFILE).

use crate::fifo_reader::{FifoReader, numbers};
use crate::leaks;
use crate::rpc::*;
use crate::shim::*;
use crate::spec::process;
use containerd_shim_protos::api::{Empty, KillRequest, Status, WaitRequest, WaitResponse};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::ttrpc::Code;
use outlive::bundle::Read;
use outlive::bundle::exit_journal;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// prlimit(1), soft and hard.
fn limit(pid: u32, what: &str) {
    let set = Command::new("prlimit")
        .args(["--pid", &pid.to_string(), what])
        .status();
    assert!(set.unwrap().success(), "{what}");
}

fn logged(lab: &Lab, text: &str) {
    eventually(text, || {
        let log = lab.log();
        if log.contains(text) { Ok(()) } else { Err(log) }
    });
}

fn reads(path: &Path, text: &str) {
    eventually(text, || {
        let all = fs::read_to_string(path).unwrap_or_default();
        let tail = all.len().saturating_sub(300);
        match all.contains(text) {
            true => Ok(()),
            false => Err(all[tail..].to_owned()),
        }
    });
}

/// 4000 lines of 50 bytes, then one after a word, again and again.
const WRITER: &str = "i=0; while [ $i -lt 4000 ]; do printf '%049d\\n' $i; i=$((i+1)); done; \
                      while read word; do echo $word; done";

#[test]
fn a_log_that_may_not_grow_loses_bytes_is_told_of_and_goes_on_when_it_may() {
    let lab = Lab::new();
    for (id, scheme) in [("c1", "file"), ("c2", "cri")] {
        let mut c = lab.shim(id, WRITER);
        let (log, stdin) = (c.bundle.join("0.log"), c.bundle.join("in"));
        crate::fifo::make(&stdin);
        c.set_stdio(&Stdio {
            stdin: stdin.to_str().unwrap().to_owned(),
            stdout: format!("{scheme}://{}", log.display()),
            ..Stdio::default()
        });
        c.create().unwrap();
        let shim = c.shim_pid();
        limit(shim, "--fsize=65536:unlimited");
        c.start().unwrap();
        let path = log.display().to_string();
        eventually("the error is told", || {
            let text = lab.log();
            let mut lines = text.lines();
            let told = |line: &str| line.contains(&path) && line.contains("File too large");
            lines.any(told).then_some(()).ok_or(text)
        });
        assert_eq!(fs::metadata(&log).unwrap().len(), 65536, "{scheme}");
        assert_eq!(c.status(), Status::RUNNING);
        limit(shim, "--fsize=unlimited:unlimited");
        fs::write(&stdin, "again\n").unwrap();
        reads(&log, "again");
        let text = fs::read_to_string(&log).unwrap();
        assert!(
            text.contains("bytes"),
            "what is missing is said in {scheme}"
        );
        assert_eq!(c.shim_pid(), shim);
    }
}

#[test]
fn an_exit_whose_record_may_not_be_written_is_told_and_recorded_later() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    let shim = c.shim_pid();
    // The header and a part of the first record.
    limit(shim, "--fsize=30:unlimited");
    let exec = c.exec("e1");
    exec.add(&process("exit 7"), &Stdio::default()).unwrap();
    // The OCI runtime writes the pid; the shim writes the process.
    limit(shim, "--fsize=unlimited:unlimited");
    exec.start().unwrap_or_else(|failure| panic!("{failure:?}"));
    assert_eq!(exec.wait().unwrap().exit_status, 7);
    limit(shim, "--fsize=30:unlimited");
    c.kill(9).unwrap();
    assert_eq!(c.wait().unwrap().exit_status, 137);
    lab.events.wait("exit c1 137");
    logged(&lab, "File too large");
    limit(shim, "--fsize=unlimited:unlimited");
    eventually("both exits are recorded", || {
        match exit_journal::read(&c.bundle.join("exits")) {
            Read::Found(exits) if exits.entries.len() == 2 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

#[test]
fn a_spool_that_may_not_grow_loses_nothing() {
    let lab = Lab::new();
    let mut c = lab.shim("c1", "exec seq 0 199999");
    let out = crate::fifo::make(&c.bundle.join("out"));
    c.set_stdio(&Stdio {
        stdout: out.display().to_string(),
        ..Stdio::default()
    });
    c.create().unwrap();
    let shim = c.shim_pid();
    limit(shim, "--fsize=65536:unlimited");
    c.start().unwrap();
    logged(&lab, "File too large");
    assert_eq!(c.status(), Status::RUNNING);
    let mut reader = FifoReader::of(&out);
    reader.come();
    eventually("end of output", || match reader.at_end() {
        true => Ok(()),
        false => Err(format!("{} bytes", reader.length())),
    });
    assert_eq!(numbers(&reader.take()), 200_000);
    assert_eq!(c.shim_pid(), shim);
    c.wait().unwrap();
    c.delete().unwrap();
}

#[test]
fn the_shim_raises_its_soft_limit_of_open_files_and_its_children_have_the_former_one() {
    let mut lab = Lab::new();
    lab.under = &["prlimit", "--nofile=256:2048"];
    // Not asked in the container: a runc that was built with Go 1.19 gives it the hard limit in any case.
    let told = lab.dir.join("runtime-limits");
    let script = format!("{{ ulimit -Sn; ulimit -Hn; }} >{}", told.display());
    let mut c = lab.shim("c1", "exec sleep 1000");
    lab.wrap_runtime(&mut c, &script);
    c.create().unwrap();
    assert_eq!(fs::read_to_string(told).unwrap(), "256\n2048\n");
    let limits = fs::read_to_string(format!("/proc/{}/limits", c.shim_pid())).unwrap();
    let own = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let words: Vec<_> = own.unwrap().split_ascii_whitespace().collect();
    assert_eq!(words[3..5], ["2048", "2048"], "{limits}");
}

/// Calls over one connection, for a shim that cannot accept another.
struct Line(Connection, String);

impl Line {
    /// Accepted by the shim: it has answered once.
    fn to(c: &Container) -> Self {
        let mut line = Self(c.client.connection().unwrap(), c.client.service.clone());
        assert_eq!(code(line.kill(c, 0)), Code::INVALID_ARGUMENT);
        line
    }

    fn call<R: Message>(&mut self, method: &str, body: &impl Message) -> Answer<R> {
        let id = self.0.send(&self.1, method, body).unwrap();
        self.0.receive(id).unwrap()
    }

    fn kill(&mut self, c: &Container, signal: u32) -> Answer<()> {
        let body = request!(KillRequest {
            id: &*c.id,
            signal: signal
        });
        self.call::<Empty>("Kill", &body).map(drop)
    }
}

#[test]
fn a_shim_that_cannot_accept_connections_is_quiet_and_serves_those_it_has() {
    let mut lab = Lab::new();
    lab.under = &["prlimit", "--nofile=64:64"];
    let c = lab.run("c1", "exec sleep 1000");
    let shim = c.shim_pid();
    let mut line = Line::to(&c);
    let flood: Vec<_> = (0..100)
        .map(|_| UnixStream::connect(&c.client.socket).unwrap())
        .collect();
    logged(&lab, "accept fails");
    let used = || -> u64 {
        let of = |field| leaks::stat(shim, field).unwrap().parse::<u64>().unwrap();
        of(14) + of(15)
    };
    let (before, begun) = (used(), Instant::now());
    eventually("a second has passed", || match begun.elapsed() {
        passed if passed > Duration::from_secs(1) => Ok(()),
        passed => Err(format!("{passed:?}")),
    });
    // In ticks of ten milliseconds.
    let ticks = used() - before;
    assert!(ticks < 30, "{ticks} ticks of processor time in a second");
    line.kill(&c, 9).unwrap();
    lab.events.wait("exit c1 137");
    let log = lab.log();
    assert_eq!(log.matches("accept fails").count(), 1, "{log}");
    assert!(!log.contains("without the OCI runtime"), "{log}");
    drop(flood);
    logged(&lab, "connections are accepted again");
    assert_eq!(c.wait().unwrap().exit_status, 137);
}

#[test]
fn a_shim_that_may_open_nothing_kills_and_tells_and_records_later() {
    let lab = Lab::new();
    let c = lab.run("c1", "trap 'exit 3' TERM; while :; do sleep 0.05; done");
    let d = c.exec_run("e1", "exec sleep 1000");
    let shim = c.shim_pid();
    let mut line = Line::to(&c);
    // All of its descriptors are above that.
    limit(shim, "--nofile=3:");
    line.kill(&c, 15).unwrap();
    let wait = request!(WaitRequest { id: &*c.id });
    let exit: WaitResponse = line.call("Wait", &wait).unwrap();
    assert_eq!(exit.exit_status, 3);
    lab.events.wait("exit c1 3");
    lab.events.wait("exit c1/e1 137");
    logged(&lab, "signalled without the OCI runtime");
    limit(shim, "--nofile=1024:");
    assert_eq!(d.wait().unwrap().exit_status, 137);
    eventually("both exits are recorded", || {
        match exit_journal::read(&c.bundle.join("exits")) {
            Read::Found(exits) if exits.entries.len() == 2 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}
