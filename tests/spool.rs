//! What happens to a process's output while nobody reads its fifo: real fifos, real writers, and a manager that is only a
//! number of connections.
#![cfg(test)]

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use outlive::logs::Attendance;
use outlive::shim::reaper::Child;
use outlive::shim::stdio::{ChildStdio, Drained, ProcessStdio, StdioCounters};
use outlive::sys::spawn::Stream;
use outlive::types::Stdio;
use tokio::sync::watch;

#[path = "support/in_shim.rs"]
mod in_shim;

use in_shim::{Bundle, Disk};

/// Far beyond what any test here drains for, so that a wait for it is a failure.
const CAP: Duration = Duration::from_secs(100);

struct Lab {
    bundle: Bundle,
    manager: watch::Sender<Attendance>,
}

impl Lab {
    fn fifo(&self) -> String {
        self.bundle.fifo("out")
    }

    async fn open(&self, stdio: &Stdio, spool_bytes: u64) -> (ProcessStdio, ChildStdio) {
        let attendance = self.manager.subscribe();
        let opened = self.bundle.open(stdio, attendance, spool_bytes);
        opened.await.unwrap()
    }

    fn sh(&self, script: &str, stdio: ChildStdio) -> Child {
        self.bundle.sh(script, stdio)
    }

    fn manager_goes(&self) {
        self.manager.send_modify(|now| {
            now.connections = 0;
            now.absences += 1;
        });
    }

    fn manager_comes(&self) {
        self.manager.send_modify(|now| now.connections = 1);
    }

    /// Numbers, one a line.
    fn numbers(&self, from: usize, to: usize) -> Vec<u8> {
        (from..to)
            .flat_map(|i| format!("{i}\n").into_bytes())
            .collect()
    }
}

/// Runs `test` as the shim runs, with a manager that is connected.
fn in_shim<F: Future<Output = ()>>(name: &str, test: impl FnOnce(Lab) -> F) {
    in_shim::in_shim(name, |bundle| {
        let (manager, _) = watch::channel(Attendance {
            connections: 1,
            absences: 0,
        });
        test(Lab { bundle, manager })
    });
}

fn to_fifo(path: &str) -> Stdio {
    Stdio::parse(false, "", path, "").unwrap()
}

/// Polls; shows the last value seen where it is never the wanted one.
async fn until<T: std::fmt::Debug>(
    what: &str,
    probe: impl Fn() -> T,
    wanted: impl Fn(&T) -> bool,
) -> T {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let seen = probe();
        if wanted(&seen) {
            return seen;
        }
        assert!(Instant::now() < end, "never: {what}; last seen: {seen:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until nothing has moved for a while.
async fn at_rest(stdio: &ProcessStdio) -> StdioCounters {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut last = (stdio.counters(), Instant::now());
    loop {
        assert!(Instant::now() < deadline, "it never rests: {:?}", last.0);
        tokio::time::sleep(Duration::from_millis(5)).await;
        let now = stdio.counters();
        if now != last.0 {
            last = (now, Instant::now());
        } else if last.1.elapsed() > Duration::from_millis(300) {
            return now;
        }
    }
}

/// The manager's end of a fifo. It never waits, so the runtime goes on.
struct Reader {
    fifo: File,
    got: Vec<u8>,
}

impl Reader {
    fn open(path: &str) -> Self {
        let fifo = File::options()
            .read(true)
            .custom_flags(nix::libc::O_NONBLOCK)
            .open(path)
            .unwrap();
        Self {
            fifo,
            got: Vec::new(),
        }
    }

    /// Takes what is there; `None` at the end.
    fn take(&mut self, most: usize) -> Option<usize> {
        let mut buffer = vec![0; most];
        match self.fifo.read(&mut buffer) {
            Ok(0) => None,
            Ok(read) => {
                self.got.extend_from_slice(&buffer[..read]);
                Some(read)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Some(0),
            Err(error) => panic!("{error}"),
        }
    }

    async fn read_until(&mut self, length: usize) {
        let end = Instant::now() + Duration::from_secs(60);
        while self.got.len() < length {
            let most = (length - self.got.len()).min(1 << 16);
            match self.take(most) {
                Some(0) => tokio::time::sleep(Duration::from_micros(200)).await,
                Some(_) => tokio::task::yield_now().await,
                None => panic!("EOF after {} of {length} bytes", self.got.len()),
            }
            assert!(Instant::now() < end, "{} of {length} bytes", self.got.len());
        }
    }

    async fn read_to_end(&mut self) {
        while let Some(read) = self.take(1 << 16) {
            if read == 0 {
                tokio::time::sleep(Duration::from_micros(200)).await;
            } else {
                tokio::task::yield_now().await;
            }
        }
    }
}

fn same(got: &[u8], sent: &[u8]) {
    let differs = got.iter().zip(sent).position(|(got, sent)| got != sent);
    assert!(
        got == sent,
        "{} of {} bytes, first other one at {differs:?}",
        got.len(),
        sent.len()
    );
}

#[test]
fn a_writer_at_full_speed_does_not_notice_an_outage_and_no_byte_is_lost_or_doubled() {
    in_shim("flood", |lab| async move {
        const LENGTH: usize = 40 << 20;
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let sent = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .take(LENGTH / 8)
        .flatten()
        .collect::<Vec<u8>>();
        fs::write(lab.bundle.at("data"), &sent).unwrap();
        let out = lab.fifo();
        let (stdio, child) = lab.open(&to_fifo(&out), 64 << 20).await;
        let process = lab.sh("exec cat data", child);
        let mut reader = Reader::open(&out);
        reader.read_until(LENGTH / 8).await;
        // Several restarts: each time the fifo fills, the spool is used, and the next reader goes on.
        for share in 2..6 {
            let Reader { fifo, got } = reader;
            lab.manager_goes();
            drop(fifo);
            let before = stdio.counters().stdout.spooled;
            until(
                "it is spooled",
                || stdio.counters().stdout,
                |now| now.spooled > before + (1 << 20) || now.moved + now.spooled >= LENGTH as u64,
            )
            .await;
            lab.manager_comes();
            reader = Reader::open(&out);
            reader.got = got;
            reader.read_until(LENGTH / 8 * share).await;
        }
        lab.manager_goes();
        // The rest fits into the spool: the process ends although nobody reads.
        assert_eq!(process.exit.await.unwrap().record.status.get(), 0);
        lab.manager_comes();
        reader.read_to_end().await;
        same(&reader.got, &sent);
        let flow = stdio.counters().stdout;
        assert_eq!(
            (flow.moved, flow.dropped, flow.spool_full),
            (LENGTH as u64, 0, 0)
        );
        stdio.close().await.ended().await;
    });
}

#[test]
fn small_lines_fill_the_fifo_by_their_number_and_come_in_order_through_the_spool() {
    in_shim("lines", |lab| async move {
        let out = lab.fifo();
        let (stdio, child) = lab.open(&to_fifo(&out), 64 << 20).await;
        lab.manager_goes();
        let process = lab.sh(
            "i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done",
            child,
        );
        assert_eq!(process.exit.await.unwrap().record.status.get(), 0);
        let flow = at_rest(&stdio).await.stdout;
        let sent = lab.numbers(0, 20000);
        assert_eq!(flow.moved + flow.spooled, sent.len() as u64);
        assert!(flow.spooled > flow.moved, "{flow:?}");
        lab.manager_comes();
        let mut reader = Reader::open(&out);
        reader.read_to_end().await;
        same(&reader.got, &sent);
        stdio.close().await.ended().await;
    });
}

#[test]
fn past_the_bound_the_writer_waits_and_it_is_counted() {
    in_shim("bound", |lab| async move {
        const LIMIT: u64 = 100_000;
        let out = lab.fifo();
        let (stdio, child) = lab.open(&to_fifo(&out), LIMIT).await;
        lab.manager_goes();
        let process = lab.sh(
            "i=0; while [ $i -lt 500000 ]; do echo $i; i=$((i+1)); done",
            child,
        );
        let flow = until(
            "full",
            || stdio.counters().stdout,
            |flow| flow.spool_full > 0,
        )
        .await;
        assert_eq!((flow.spooled, flow.spool_full, flow.dropped), (LIMIT, 1, 0));
        assert_eq!(at_rest(&stdio).await.stdout, flow, "it waits");
        // A reader takes a little: that much more goes through the ring, as often as it takes.
        let mut reader = Reader::open(&out);
        let sent = lab.numbers(0, 500_000);
        for _ in 0..10 {
            reader.read_until(reader.got.len() + 30_000).await;
            at_rest(&stdio).await;
        }
        assert!(stdio.counters().stdout.spooled > 2 * LIMIT);
        lab.manager_comes();
        reader.read_until(sent.len()).await;
        assert_eq!(process.exit.await.unwrap().record.status.get(), 0);
        reader.read_to_end().await;
        same(&reader.got, &sent);
        stdio.close().await.ended().await;
    });
}

#[test]
fn with_the_spool_off_or_a_manager_there_a_full_fifo_holds_the_writer_back() {
    for limit in [0, 64 << 20] {
        in_shim("off", |lab| async move {
            let out = lab.fifo();
            let (stdio, child) = lab.open(&to_fifo(&out), limit).await;
            if limit == 0 {
                lab.manager_goes();
            }
            let process = lab.sh(
                "i=0; while [ $i -lt 100000 ]; do echo $i; i=$((i+1)); done",
                child,
            );
            let flow = at_rest(&stdio).await.stdout;
            let sent = lab.numbers(0, 100_000);
            assert_eq!((flow.spooled, flow.spool_full), (0, 0));
            assert!(flow.moved < sent.len() as u64);
            let mut reader = Reader::open(&out);
            reader.read_until(sent.len()).await;
            assert_eq!(process.exit.await.unwrap().record.status.get(), 0);
            same(&reader.got, &sent);
            assert_eq!(stdio.counters().stdout.spooled, 0);
            stdio.close().await.ended().await;
        });
    }
}

/// containerd connects to its shims when it starts, and opens the fifos later.
#[test]
fn a_manager_that_is_back_but_does_not_read_yet_holds_nobody_back() {
    in_shim("back", |lab| async move {
        let out = lab.fifo();
        let (stdio, child) = lab.open(&to_fifo(&out), 64 << 20).await;
        let script = "i=0; while [ $i -lt 40000 ]; do echo $i; i=$((i+1)); if [ $i = 20000 ]; then read go < go; fi; done";
        let go = lab.bundle.at("go");
        nix::unistd::mkfifo(&go, nix::sys::stat::Mode::S_IRWXU).unwrap();
        lab.manager_goes();
        let process = lab.sh(script, child);
        at_rest(&stdio).await;
        lab.manager_comes();
        tokio::task::spawn_blocking(|| fs::write(go, "\n").unwrap())
            .await
            .unwrap();
        assert_eq!(process.exit.await.unwrap().record.status.get(), 0);
        let mut reader = Reader::open(&out);
        reader.read_to_end().await;
        same(&reader.got, &lab.numbers(0, 40000));
        stdio.close().await.ended().await;
    });
}

#[test]
fn a_slow_reader_ends_the_outage_and_is_waited_for_as_ever() {
    in_shim("slow", |lab| async move {
        let out = lab.fifo();
        let (stdio, child) = lab.open(&to_fifo(&out), 64 << 20).await;
        lab.manager_goes();
        let process = lab.sh(
            "i=0; while [ $i -lt 400000 ]; do echo $i; i=$((i+1)); done",
            child,
        );
        until(
            "spooled",
            || stdio.counters().stdout.spooled,
            |spooled| *spooled > 50_000,
        )
        .await;
        lab.manager_comes();
        let mut reader = Reader::open(&out);
        reader.read_until(80_000).await;
        let spooled = at_rest(&stdio).await.stdout.spooled;
        reader.read_until(90_000).await;
        let flow = at_rest(&stdio).await.stdout;
        assert_eq!(flow.spooled, spooled, "nothing more is spooled");
        let sent = lab.numbers(0, 400_000);
        assert!(flow.moved + flow.spooled < sent.len() as u64, "{flow:?}");
        reader.read_until(sent.len()).await;
        process.exit.await.unwrap();
        same(&reader.got, &sent);
        stdio.close().await.ended().await;
    });
}

#[test]
fn a_terminals_output_takes_the_same_way() {
    in_shim("terminal", |lab| async move {
        let out = lab.fifo();
        let stdio = Stdio::parse(true, "", &out, "").unwrap();
        let (stdio, child) = lab.open(&stdio, 300_000).await;
        let slave = hand_out_terminal(&lab.bundle.path, &child.console_socket.unwrap());
        stdio.attach_console(CAP).await.unwrap();
        lab.manager_goes();
        let stream = || Stream::Fd(slave.try_clone().unwrap());
        let child = ChildStdio {
            stdin: stream(),
            stdout: stream(),
            stderr: stream(),
            console_socket: None,
        };
        let script = "stty raw -echo; i=0; while [ $i -lt 100000 ]; do echo $i; i=$((i+1)); done";
        let process = lab.sh(script, child);
        drop(slave);
        let flow = until(
            "full",
            || stdio.counters().stdout,
            |flow| flow.spool_full > 0,
        )
        .await;
        assert_eq!(flow.spooled, 300_000);
        let mut reader = Reader::open(&out);
        reader.read_until(200_000).await;
        lab.manager_comes();
        reader.read_to_end().await;
        assert_eq!(process.exit.await.unwrap().record.status.get(), 0);
        same(&reader.got, &lab.numbers(0, 100_000));
        stdio.close().await.ended().await;
    });
}

/// Does what an OCI runtime does with a console socket; returns the slave.
fn hand_out_terminal(bundle: &Path, socket: &Path) -> OwnedFd {
    let pair = nix::pty::openpty(None, None).unwrap();
    for fd in [&pair.master, &pair.slave] {
        let flags = nix::fcntl::FdFlag::FD_CLOEXEC;
        nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_SETFD(flags)).unwrap();
    }
    let socket = bundle.join(socket.file_name().unwrap());
    let stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    outlive::sys::fdpass::send(&stream, b"/dev/pts/0", &pair.master).unwrap();
    pair.slave
}

#[test]
fn the_reader_does_not_hold_up_the_drain_and_gets_the_last_bytes_after_delete() {
    in_shim("last", |lab| async move {
        let out = lab.fifo();
        let (stdio, child) = lab.open(&to_fifo(&out), 64 << 20).await;
        // The manager is there, and its reader is slow: the pipe is full when the process dies.
        let process = lab.sh("i=0; while :; do echo $i; i=$((i+1)); done", child);
        let mut reader = Reader::open(&out);
        reader.read_until(10_000).await;
        at_rest(&stdio).await;
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(process.pid.as_raw()),
            nix::sys::signal::SIGKILL,
        )
        .unwrap();
        process.exit.await.unwrap();
        let begun = Instant::now();
        assert_eq!(stdio.drained(CAP, || false).await, Drained::Everything);
        let spooled = stdio.counters().stdout.spooled;
        assert!(spooled > 0, "what was in the pipe is in the spool");
        let closed = stdio.close().await;
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(2), "{took:?}");
        assert!(!closed.is_finished(), "the last bytes are still to come");
        tokio::join!(closed.ended(), reader.read_to_end());
        let last = String::from_utf8(reader.got.clone())
            .unwrap()
            .lines()
            .count();
        let mut sent = lab.numbers(0, last);
        sent.truncate(reader.got.len());
        same(&reader.got, &sent);
        assert!(reader.got.len() > 60_000);
    });
}

#[test]
fn last_bytes_that_nobody_reads_are_given_up_in_time() {
    in_shim("given-up", |lab| async move {
        let out = lab.fifo();
        let (stdio, child) = lab.open(&to_fifo(&out), 64 << 20).await;
        lab.manager_goes();
        let process = lab.sh(
            "i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done",
            child,
        );
        process.exit.await.unwrap();
        assert_eq!(stdio.drained(CAP, || false).await, Drained::Everything);
        let begun = Instant::now();
        stdio.close().await.ended().await;
        let took = begun.elapsed();
        assert!((9..30).contains(&took.as_secs()), "{took:?}");
    });
}

#[test]
fn a_stream_that_a_stranger_holds_open_is_over_when_the_container_is_empty_and_it_is_quiet() {
    in_shim("stranger", |lab| async move {
        let out = lab.fifo();
        let (stdio, child) = lab.open(&to_fifo(&out), 1 << 20).await;
        let process = lab.sh("sleep 300 & echo $! > stranger; echo said", child);
        assert_eq!(process.exit.await.unwrap().record.status.get(), 0);
        let empty = std::rc::Rc::new(std::cell::Cell::new(false));
        let others_gone = {
            let empty = empty.clone();
            move || empty.get()
        };
        let drained = stdio.drained(CAP, others_gone);
        tokio::pin!(drained);
        let still = tokio::time::timeout(Duration::from_secs(1), &mut drained).await;
        assert!(still.is_err(), "somebody is left in the cgroup: {still:?}");
        empty.set(true);
        let begun = Instant::now();
        assert_eq!(drained.await, Drained::Quiet { streams: 1 });
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(2), "{took:?}");
        let mut reader = Reader::open(&out);
        reader.read_to_end().await;
        same(&reader.got, b"said\n");
        stdio.close().await.ended().await;
        let stranger = fs::read_to_string(lab.bundle.at("stranger")).unwrap();
        let stranger = nix::unistd::Pid::from_raw(stranger.trim().parse().unwrap());
        nix::sys::signal::kill(stranger, nix::sys::signal::SIGKILL).unwrap();
    });
}

#[test]
fn a_disk_that_takes_no_spool_means_back_pressure_and_no_loss() {
    in_shim("disk", |lab| async move {
        let work = lab.bundle.at("work");
        let disk = Disk::mount(&work, "64k");
        let out = lab.fifo();
        let (stdio, child) = lab.open(&to_fifo(&out), 64 << 20).await;
        lab.manager_goes();
        let process = lab.sh(
            "i=0; while [ $i -lt 200000 ]; do echo $i; i=$((i+1)); done",
            child,
        );
        let flow = at_rest(&stdio).await.stdout;
        let sent = lab.numbers(0, 200_000);
        assert!((50_000..70_000).contains(&flow.spooled), "{flow:?}");
        assert_eq!(flow.dropped, 0);
        lab.manager_comes();
        let mut reader = Reader::open(&out);
        reader.read_to_end().await;
        assert_eq!(process.exit.await.unwrap().record.status.get(), 0);
        same(&reader.got, &sent);
        stdio.close().await.ended().await;
        drop(disk);
    });
}
