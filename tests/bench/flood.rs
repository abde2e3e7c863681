//! A program that writes as fast as its pipe takes it, and whoever carries that to a fifo or a file.
//!
//! ```text
//! busybox cat -> pipe -> a shim, conmon, or cat -> fifo -> this program
//!                                               -> file
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;

use crate::bench::Named;
use crate::conmon;
use crate::measure::{CAT, CONMON};
use crate::peer::Peer;
use crate::process;
use crate::rpc::DEADLINE;
use crate::shim::{Bundle, Ground, Running};

/// The bytes that the program has in a file, and writes again and again.
const BLOCK: usize = 8 << 20;
/// What comes last.
const LAST: &[u8] = b"END\n";
/// How often a file is looked at.
const LOOK: Duration = Duration::from_micros(500);

/// Where the output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sink {
    /// A fifo that somebody reads, as `ctr` and containerd's CRI plugin do.
    Fifo,
    /// `file://`.
    File,
    /// `cri://`; conmon calls it `k8s-file`.
    Cri,
}

/// Who carries the output.
#[derive(Debug, Clone)]
pub enum Carrier {
    Shim(Peer),
    Conmon,
    /// The kernel's floor: nothing but read(2) and write(2).
    Cat,
}

impl Named for Carrier {
    fn name(&self) -> &'static str {
        match self {
            Self::Shim(peer) => peer.name,
            Self::Conmon => CONMON,
            Self::Cat => CAT,
        }
    }
}

/// What one flow took.
#[derive(Debug, Clone, Copy)]
pub struct Flow {
    /// From the word to begin until the last byte was there.
    pub seconds: f64,
    /// What the carrier computed, in seconds.
    pub cpu: f64,
}

/// So many bytes in lines of one width.
#[derive(Debug)]
pub struct Flood {
    block: String,
    /// Of the block.
    lines: usize,
    /// How often it is written.
    rounds: usize,
    length: u64,
}

/// A container that waits for the word to begin.
pub struct Waiting {
    length: u64,
    sink: Sink,
    out: PathBuf,
    gate: PathBuf,
    /// The carrier's pid.
    pub pid: u32,
    stop: Stop,
}

/// What has to be ended.
enum Stop {
    Shim(Bundle, Running),
    Conmon(Bundle, conmon::Monitored),
    Cat(Bundle, [Child; 2]),
}

impl Flood {
    /// At least `bytes` bytes, newlines included, in lines of `width`.
    pub fn new(ground: &Ground, width: usize, bytes: usize) -> Self {
        let block = format!("block-{width}");
        let lines = BLOCK / width;
        let text = width - 1;
        let text: String = (0..lines).map(|line| format!("{line:~>text$}\n")).collect();
        fs::write(ground.dir.join("rootfs").join(&block), &text).unwrap();
        let rounds = bytes.div_ceil(BLOCK);
        Self {
            block,
            lines,
            rounds,
            length: u64::try_from(text.len() * rounds + LAST.len()).unwrap(),
        }
    }

    /// How many bytes there are.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// How many lines there are, but for the last one.
    pub fn lines(&self) -> f64 {
        crate::measure::as_float(self.lines * self.rounds)
    }

    fn script(&self, gate: &str) -> String {
        let (block, rounds) = (&self.block, self.rounds);
        format!(
            "read x </{gate}; n=0; while [ $n -lt {rounds} ]; do cat /{block} || exit 9; n=$((n+1)); done; \
             echo END; exec sleep 1000000"
        )
    }

    /// Makes the container, or for `cat` the bare program.
    pub fn prepare(&self, ground: &Ground, carrier: &Carrier, sink: Sink) -> Waiting {
        let gate = format!("gate-{}", ground.new_id());
        let rootfs = ground.dir.join("rootfs");
        nix::unistd::mkfifo(&rootfs.join(&gate), Mode::S_IRWXU).unwrap();
        let script = self.script(&gate);
        let bundle = ground.bundle(&["/bin/sh", "-c", &script]);
        let out = match sink {
            Sink::Fifo => bundle.dir.join("stdout"),
            Sink::File | Sink::Cri => ground.dir.join(format!("{}.log", bundle.id)),
        };
        let (pid, stop) = match carrier {
            Carrier::Shim(peer) => {
                let running = under_shim(&bundle, ground, peer, sink, &out);
                (running.pid, Stop::Shim(bundle, running))
            }
            Carrier::Conmon => {
                let monitored = conmon::run(&bundle, &out);
                (monitored.pid, Stop::Conmon(bundle, monitored))
            }
            Carrier::Cat => {
                let both = under_cat(&rootfs, &script, &out);
                (both[1].id(), Stop::Cat(bundle, both))
            }
        };
        Waiting {
            length: self.length,
            sink,
            out,
            gate: rootfs.join(gate),
            pid,
            stop,
        }
    }
}

fn under_shim(bundle: &Bundle, ground: &Ground, peer: &Peer, sink: Sink, out: &Path) -> Running {
    let (mut shim, _) = bundle.start(ground, peer);
    let mut request = bundle.request();
    let scheme = match sink {
        Sink::Fifo => None,
        Sink::File => Some("file"),
        Sink::Cri => Some("cri"),
    };
    if let Some(scheme) = scheme {
        request.stdout = format!("{scheme}://{}", out.display());
        request.stderr.clone_from(&request.stdout);
    }
    let init = shim.create(&request);
    shim.start("");
    let pid = shim.pid();
    Running { shim, init, pid }
}

/// The program in the same root, and `cat` at its pipe.
fn under_cat(rootfs: &Path, script: &str, out: &Path) -> [Child; 2] {
    let mut writer = Command::new("chroot")
        .arg(rootfs)
        .args(["/bin/sh", "-c", script])
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let sink = OpenOptions::new().create(true).append(true).open(out);
    let reader = Command::new("cat")
        .stdin(writer.stdout.take().unwrap())
        .stdout(sink.unwrap())
        .spawn()
        .unwrap();
    [writer, reader]
}

impl Waiting {
    /// Lets it write, until all has arrived.
    pub fn flow(&self) -> Flow {
        let length = self.length;
        let before = process::cpu(self.pid);
        let reader = (self.sink == Sink::Fifo).then(|| {
            let out = File::open(&self.out).unwrap();
            thread::spawn(move || arrived(out, length))
        });
        let began = Instant::now();
        let mut gate = OpenOptions::new().write(true).open(&self.gate).unwrap();
        gate.write_all(b"\n").unwrap();
        let ended = match reader {
            Some(reader) => reader.join().unwrap(),
            None => until_last(&self.out),
        };
        Flow {
            seconds: (ended - began).as_secs_f64(),
            cpu: (process::cpu(self.pid) - before).as_secs_f64(),
        }
    }

    pub fn end(self) {
        fs::remove_file(self.gate).unwrap();
        fs::remove_file(self.out).unwrap();
        match self.stop {
            Stop::Shim(bundle, running) => {
                running.end();
                bundle.remove();
            }
            Stop::Conmon(bundle, monitored) => {
                monitored.end(&bundle);
                bundle.remove();
            }
            Stop::Cat(bundle, both) => {
                for mut child in both {
                    child.kill().unwrap();
                    child.wait().unwrap();
                }
                bundle.remove();
            }
        }
    }
}

/// Reads `length` bytes; when the last was there.
fn arrived(mut out: File, length: u64) -> Instant {
    let mut buffer = vec![0; 256 << 10];
    let mut left = length;
    while left > 0 {
        let count = out.read(&mut buffer).unwrap();
        assert!(count > 0, "the output ends {left} bytes early");
        left -= u64::try_from(count).unwrap();
    }
    Instant::now()
}

/// When a file ends with the last line.
fn until_last(path: &Path) -> Instant {
    let deadline = Instant::now() + DEADLINE;
    let mut file = File::open(path).unwrap();
    let mut end = [0; LAST.len()];
    let back = -i64::try_from(LAST.len()).unwrap();
    loop {
        let is_there = file.seek(SeekFrom::End(back)).is_ok() && file.read_exact(&mut end).is_ok();
        let now = Instant::now();
        if is_there && end == LAST {
            return now;
        }
        assert!(now < deadline, "{} does not end", path.display());
        thread::sleep(LOOK);
    }
}
