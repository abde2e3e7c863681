//! A flood through each sink of the shim: byte for byte what the container wrote, and the shim's memory while it streams.
//! `OUTLIVE_VOLUME_MIB` says how much of it; `make test-long` takes a gibibyte.

use crate::fifo::make;
use crate::footprint::rollup;
use crate::program;
use crate::rpc::*;
use crate::shim::*;
use containerd_shim_protos::api::Status;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// What a streaming shim may have of its own, in kB; the release binary only.
const PRIVATE_DIRTY_LIMIT: u64 = 1024;
/// For one flood; a gibibyte on a machine with other work takes its time.
const PATIENCE: Duration = Duration::from_secs(300);

const LINE_LENGTH: usize = 100;
/// Lines of a block, all different. The container writes the block again and again.
const LINES: usize = 81_920;

/// The bytes of a container whose volume is in mebibytes, and the check of what arrives of them.
struct Flood {
    block: Vec<u8>,
    rounds: usize,
}

impl Flood {
    /// The volume that was asked for, divided by `divisor`.
    fn new(divisor: usize) -> Self {
        let mib: usize = std::env::var("OUTLIVE_VOLUME_MIB").map_or(64, |mib| mib.parse().unwrap());
        let width = LINE_LENGTH - 1;
        let block: String = (0..LINES)
            .map(|number| format!("{number:~>width$}\n"))
            .collect();
        Self {
            rounds: (mib << 20).div_ceil(block.len() * divisor),
            block: block.into_bytes(),
        }
    }

    const fn length(&self) -> usize {
        self.rounds * self.block.len()
    }

    /// A container that does `before` and then writes.
    fn container(&self, lab: &Lab, before: &str) -> Container {
        fs::write(lab.dir.join("rootfs/block"), &self.block).unwrap();
        let rounds = self.rounds;
        lab.shim(
            "c1",
            &format!(
                "{before} n=0; while [ $n -lt {rounds} ]; do cat /block || exit 9; n=$((n+1)); done"
            ),
        )
    }

    /// Reads to the end, and compares as it comes: what arrived is not kept.
    fn check(&self, mut from: impl Read) {
        let mut buffer = vec![0; 256 * 1024];
        let mut position = 0;
        loop {
            let count = from.read(&mut buffer).unwrap();
            if count == 0 {
                assert_eq!(position, self.length(), "the end comes at the wrong byte");
                return;
            }
            let mut rest = &buffer[..count];
            while !rest.is_empty() {
                let expected = &self.block[position % self.block.len()..];
                let length = rest.len().min(expected.len());
                assert!(
                    rest[..length] == expected[..length],
                    "wrong within {length} bytes at {position}"
                );
                position += length;
                rest = &rest[length..];
            }
            assert!(position <= self.length(), "more than was written");
        }
    }

    /// The same for a log of CRI records, of which each is a whole line.
    fn check_records(&self, from: impl Read) {
        let mut log = BufReader::with_capacity(1 << 20, from);
        let (mut line, mut last) = (Vec::new(), Vec::new());
        let mut position = 0;
        while log.read_until(b'\n', &mut line).unwrap() > 0 {
            let mut fields = line.splitn(3, |byte| *byte == b' ');
            let time = fields.next().unwrap();
            assert!(time >= &last[..], "time goes back at byte {position}");
            last.clear();
            last.extend_from_slice(time);
            assert_eq!(fields.next(), Some(&b"stdout"[..]));
            let content = fields
                .next()
                .unwrap()
                .strip_prefix(b"F ")
                .expect("a whole line");
            let start = position % self.block.len();
            assert!(
                content == &self.block[start..start + LINE_LENGTH],
                "wrong line at byte {position}"
            );
            position += LINE_LENGTH;
            line.clear();
        }
        assert_eq!(position, self.length(), "the end comes at the wrong byte");
    }
}

/// User and system time of a process in seconds (proc(5), stat).
fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks: f64 = fields
        .split(' ')
        .skip(11)
        .take(2)
        .map(|field| field.parse::<f64>().unwrap())
        .sum();
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK);
    ticks
        / per_second
            .unwrap()
            .map_or(100.0, |ticks| f64::from(i32::try_from(ticks).unwrap()))
}

/// Runs the container to its end, with an eye on its shim, and prints what that cost.
fn stream(sink: &str, flood: &Flood, c: &Container) {
    c.create().unwrap();
    let pid = c.shim_pid();
    // A page of the binary that is still to be written back counts as dirty for whoever has it mapped.
    nix::unistd::sync();
    let (began, cpu_before, mut peak) = (Instant::now(), cpu_seconds(pid), 0);
    c.start().unwrap();
    loop {
        peak = peak.max(rollup(pid, "Private_Dirty:"));
        let state = c.state().unwrap();
        if state.status.enum_value() == Ok(Status::STOPPED) {
            assert_eq!(state.exit_status, 0, "the container could not write");
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{sink}: {state:?}");
        thread::sleep(Duration::from_millis(10));
    }
    c.delete().unwrap();
    let (seconds, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds(pid) - cpu_before);
    let mb = f64::from(u32::try_from(flood.length() / 1000).unwrap()) / 1000.0;
    println!(
        "{sink:<7} {mb:>5.0} MB  {:>5.0} MB/s  shim: {:.2} CPU s/GiB, {peak} kB Private_Dirty at most",
        mb / seconds,
        cpu / mb * 1_073.741_824
    );
    let path = binary();
    let release = !path.components().any(|part| part.as_os_str() == "debug");
    let ours = path.to_string_lossy().contains("outlive");
    assert!(
        !release || !ours || peak <= PRIVATE_DIRTY_LIMIT,
        "{sink}: {peak} kB Private_Dirty"
    );
}

/// Runs the container while what comes out of its fifo is checked.
fn stream_to_fifo(sink: &str, flood: &Flood, c: &mut Container, terminal: bool) {
    let path = make(&c.bundle.join("out"));
    let mut options = fs::OpenOptions::new();
    let mut fifo = options
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(&path)
        .unwrap();
    c.set_stdio(&Stdio {
        stdout: path.display().to_string(),
        // containerd's shim cannot do without.
        stderr: if terminal {
            String::new()
        } else {
            path.display().to_string()
        },
        terminal,
        ..Stdio::default()
    });
    thread::scope(|scope| {
        let reader = scope.spawn(|| flood.check(Patient(&mut fifo)));
        stream(sink, flood, c);
        reader.join().unwrap();
    });
}

/// A nonblocking fifo whose reads wait, also for its first writer: before that a read would say that this is the end.
struct Patient<'a>(&'a mut File);

impl Read for Patient<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::NONE)?;
        self.0.read(buffer)
    }
}

/// Runs the container with a log for its stdout.
fn stream_to(sink: &str, flood: &Flood, c: &mut Container, path: &Path) {
    let uri = format!("{sink}://{}", path.display());
    c.set_stdio(&Stdio {
        stdout: uri.clone(),
        stderr: uri,
        ..Stdio::default()
    });
    stream(sink, flood, c);
}

/// With a terminal it is the bundle that says so too; containerd writes both.
fn terminal_in_config(c: &Container) {
    let path = c.bundle.join("config.json");
    let mut spec: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    spec["process"]["terminal"] = true.into();
    fs::write(path, spec.to_string()).unwrap();
}

#[test]
fn a_flood_passes_a_fifo_unchanged() {
    let (lab, flood) = (Lab::new(), Flood::new(1));
    let mut c = flood.container(&lab, "");
    stream_to_fifo("fifo", &flood, &mut c, false);
}

/// Of an eighth of the volume: a terminal is slow.
#[test]
fn a_flood_passes_a_terminal_unchanged() {
    let (lab, flood) = (Lab::new(), Flood::new(8));
    // Without output processing a newline stays one.
    let mut c = flood.container(&lab, "stty -opost;");
    terminal_in_config(&c);
    stream_to_fifo("tty", &flood, &mut c, true);
}

#[test]
fn a_flood_reaches_a_file_unchanged() {
    let (lab, flood) = (Lab::new(), Flood::new(1));
    let mut c = flood.container(&lab, "");
    let path = lab.dir.join("log");
    stream_to("file", &flood, &mut c, &path);
    flood.check(File::open(path).unwrap());
}

#[test]
fn a_flood_becomes_cri_records_of_the_same_lines() {
    let (lab, flood) = (Lab::new(), Flood::new(1));
    let mut c = flood.container(&lab, "");
    let path = lab.dir.join("log");
    stream_to("cri", &flood, &mut c, &path);
    flood.check_records(File::open(path).unwrap());
}

#[test]
fn a_flood_reaches_a_logging_program_unchanged() {
    let (lab, flood) = (Lab::new(), Flood::new(1));
    let (program, path) = (lab.dir.join("logger"), lab.dir.join("log"));
    let script = format!(
        "#!/bin/sh\ntrap '' TERM\nexec 5>&-\nexec cat <&3 >{}\n",
        path.display()
    );
    program::write(&program, script);
    let mut c = flood.container(&lab, "");
    stream_to("binary", &flood, &mut c, &program);
    flood.check(File::open(path).unwrap());
}
