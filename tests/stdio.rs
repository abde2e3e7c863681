//! The stdio of a process against real fifos, files, programs and terminals.
#![cfg(test)]

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use outlive::logs::Attendance;
use outlive::shim::stdio::{ChildStdio, DRAIN_CAP, Drained, ProcessStdio, StdioOpenError};
use outlive::sys::fdpass;
use outlive::sys::spawn::Stream;
use outlive::types::Stdio;
use tokio::sync::watch;

#[path = "support/in_shim.rs"]
mod in_shim;

use in_shim::{Bundle, Disk};

/// Longer than any terminal takes to come.
const DEADLINE: Duration = Duration::from_secs(60);

fn text(bundle: &Bundle, name: &str) -> String {
    fs::read_to_string(bundle.at(name)).unwrap_or_else(|error| format!("{name}: {error}"))
}

/// Opens `stdio` while a manager is there, always.
async fn open(
    bundle: &Bundle,
    stdio: &Stdio,
) -> Result<(ProcessStdio, ChildStdio), StdioOpenError> {
    let there = Attendance {
        connections: 1,
        absences: 0,
    };
    let attendance = watch::channel(there).1;
    bundle.open(stdio, attendance, 1 << 20).await
}

fn stdio(stdin: &str, stdout: &str, stderr: &str) -> Stdio {
    Stdio::parse(false, stdin, stdout, stderr).unwrap()
}

/// Runs `test` as the shim runs. Every descriptor must be closed at the end.
fn in_shim<F: Future<Output = ()>>(name: &str, test: impl FnOnce(Bundle) -> F) {
    in_shim::in_shim(name, |bundle| async move {
        let before = descriptors();
        test(bundle).await;
        assert_eq!(descriptors(), before, "descriptors were left open");
    });
}

fn descriptors() -> Vec<String> {
    let mut open = fs::read_dir("/proc/self/fd")
        .unwrap()
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .map(|target| target.display().to_string())
        .filter(|target| !target.contains("/proc/") && !target.contains("/fd"))
        .collect::<Vec<_>>();
    open.sort();
    open
}

/// Awaits a thread without blocking the runtime's.
async fn joined<T: 'static>(thread: thread::JoinHandle<T>) -> T {
    until("the thread ends", || thread.is_finished()).await;
    thread.join().unwrap()
}

async fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !reached() {
        assert!(Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn read_all(path: &str) -> thread::JoinHandle<Vec<u8>> {
    let path = path.to_owned();
    thread::spawn(move || fs::read(path).unwrap())
}

#[test]
fn a_hundred_megabytes_survive_a_manager_that_goes_and_comes_back() {
    in_shim("flood", |bundle| async move {
        const LENGTH: usize = 100 << 20;
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
        fs::write(bundle.at("data"), &sent).unwrap();
        let out = bundle.fifo("out");
        let (stdio, child) = open(&bundle, &stdio("", &out, "")).await.unwrap();
        let process = bundle.sh("exec cat data", child);
        let reader = thread::spawn(move || {
            let mut got = Vec::with_capacity(LENGTH);
            for share in [LENGTH / 3, LENGTH / 3, LENGTH] {
                let fifo = File::open(&out).unwrap();
                fifo.take(u64::try_from(share).unwrap())
                    .read_to_end(&mut got)
                    .unwrap();
            }
            got
        });
        let got = joined(reader).await;
        assert!(got == sent, "{} of {} bytes, or others", got.len(), LENGTH);
        assert_eq!(process.exit.await.unwrap().record.status.get(), 0);
        assert_eq!(
            stdio.drained(DRAIN_CAP, || false).await,
            Drained::Everything
        );
        let moved = stdio.counters().stdout;
        assert_eq!((moved.moved, moved.dropped), (LENGTH as u64, 0));
        stdio.close().await.ended().await;
    });
}

#[test]
fn small_lines_survive_a_full_fifo_without_a_reader() {
    in_shim("lines", |bundle| async move {
        let out = bundle.fifo("out");
        let (stdio, child) = open(&bundle, &stdio("", &out, "")).await.unwrap();
        let process = bundle.sh(
            "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done",
            child,
        );
        let mut last = 0;
        until("the fifo is full and the pump rests", || {
            let now = stdio.counters().stdout.moved;
            let rests = now > 0 && now == last;
            last = now;
            rests
        })
        .await;
        let got = String::from_utf8(joined(read_all(&out)).await).unwrap();
        let lines = (0..20000).map(|i| format!("line {i}\n"));
        assert!(got == lines.collect::<String>(), "{} bytes", got.len());
        process.exit.await.unwrap();
        stdio.close().await.ended().await;
    });
}

#[test]
fn what_was_written_before_the_exit_is_there_for_a_reader_that_comes_after_it() {
    in_shim("late", |bundle| async move {
        let (out, err) = (bundle.fifo("out"), bundle.fifo("err"));
        let (stdio, child) = open(&bundle, &stdio("", &out, &err)).await.unwrap();
        let process = bundle.sh("echo last words; echo of it >&2; exit 7", child);
        assert_eq!(process.exit.await.unwrap().record.status.get(), 7);
        assert_eq!(
            stdio.drained(DRAIN_CAP, || false).await,
            Drained::Everything
        );
        assert_eq!(joined(read_all(&out)).await, b"last words\n");
        assert_eq!(joined(read_all(&err)).await, b"of it\n");
        stdio.close().await.ended().await;
    });
}

#[test]
fn stdin_outlives_its_client_and_ends_with_close_io() {
    in_shim("stdin", |bundle| async move {
        let (stdin, out) = (bundle.fifo("in"), bundle.fifo("out"));
        let (stdio, child) = open(&bundle, &stdio(&stdin, &out, "")).await.unwrap();
        let process = bundle.sh("exec cat", child);
        let reader = read_all(&out);
        for word in ["one ", "two ", "three"] {
            let wanted = stdio.counters().stdin.moved + word.len() as u64;
            let mut client = OpenOptions::new().write(true).open(&stdin).unwrap();
            client.write_all(word.as_bytes()).unwrap();
            drop(client);
            until("the word is through", || {
                stdio.counters().stdin.moved == wanted
            })
            .await;
        }
        stdio.close_stdin();
        assert_eq!(process.exit.await.unwrap().record.status.get(), 0);
        assert_eq!(joined(reader).await, b"one two three");
        stdio.close().await.ended().await;
    });
}

#[test]
fn a_container_that_closes_its_stdin_ends_that_pump_alone() {
    in_shim("epipe", |bundle| async move {
        let (stdin, out) = (bundle.fifo("in"), bundle.fifo("out"));
        let (stdio, child) = open(&bundle, &stdio(&stdin, &out, "")).await.unwrap();
        let go = bundle.fifo("go");
        let process = bundle.sh("exec <&-; echo closed; read line < go; echo $line", child);
        let mut client = OpenOptions::new().write(true).open(&stdin).unwrap();
        let mut reader = File::open(&out).unwrap();
        let mut said = [0; 7];
        let first = thread::spawn(move || {
            reader.read_exact(&mut said).unwrap();
            (said, reader)
        });
        let (said, reader) = joined(first).await;
        assert_eq!(&said, b"closed\n");
        client.write_all(b"nobody reads this").unwrap();
        until("the pump is gone, and with it the fifo's reader", || {
            client.write_all(b"x").is_err()
        })
        .await;
        joined(thread::spawn(|| fs::write(go, "still here\n").unwrap())).await;
        process.exit.await.unwrap();
        let mut rest = String::new();
        let rest = joined(thread::spawn(move || {
            (&reader).read_to_string(&mut rest).unwrap();
            rest
        }))
        .await;
        assert_eq!(rest, "still here\n");
        stdio.close().await.ended().await;
    });
}

#[test]
fn stdout_and_stderr_share_a_file_that_is_made_with_its_directories_and_appended_to() {
    in_shim("file", |bundle| async move {
        let uri = format!("file://{}/a/b/log", bundle.path.display());
        for _ in 0..2 {
            let (stdio, child) = open(&bundle, &stdio("", &uri, &uri)).await.unwrap();
            let process = bundle.sh("echo out; echo err >&2", child);
            process.exit.await.unwrap();
            assert_eq!(
                stdio.drained(DRAIN_CAP, || false).await,
                Drained::Everything
            );
            let counters = stdio.counters();
            assert_eq!((counters.stdout.moved, counters.stderr.moved), (4, 4));
            stdio.close().await.ended().await;
        }
        let text = text(&bundle, "a/b/log");
        assert_eq!(text.matches("out\n").count(), 2, "{text:?}");
        assert_eq!(text.matches("err\n").count(), 2, "{text:?}");
        let mode = |path: &str| {
            let permissions = fs::metadata(bundle.at(path)).unwrap().permissions();
            permissions.mode() & 0o777
        };
        assert_eq!((mode("a"), mode("a/b/log")), (0o755, 0o644));
    });
}

#[test]
fn a_full_disk_stops_neither_the_container_nor_the_log() {
    in_shim("full", |bundle| async move {
        let disk = bundle.at("disk");
        let mounted = Disk::mount(&disk, "64k");
        let uri = format!("file://{}/log", disk.display());
        let (stdio, child) = open(&bundle, &stdio("", &uri, "")).await.unwrap();
        let go = bundle.fifo("go");
        let process = bundle.sh(
            "head -c 1000000 /dev/zero; read line < go; echo $line",
            child,
        );
        until("all of it is drained", || {
            let flow = stdio.counters().stdout;
            flow.moved + flow.dropped == 1_000_000
        })
        .await;
        assert_eq!(stdio.counters().stdout.moved, 64 << 10);
        let log = OpenOptions::new().write(true).open(disk.join("log"));
        log.unwrap().set_len(0).unwrap();
        joined(thread::spawn(|| fs::write(go, "room again\n").unwrap())).await;
        assert_eq!(process.exit.await.unwrap().record.status.get(), 0);
        assert_eq!(
            stdio.drained(DRAIN_CAP, || false).await,
            Drained::Everything
        );
        let missing = 1_000_000 - (64 << 10);
        let expected = format!(
            "\noutlive: {missing} bytes of stdout in 0 lines are missing here: \
             No space left on device (os error 28)\nroom again\n"
        );
        assert_eq!(text(&bundle, "disk/log"), expected);
        stdio.close().await.ended().await;
        drop(mounted);
    });
}

const LOGGER: &str = r#"#!/bin/sh
echo "$@" > args
env | grep CONTAINER > environment
env | wc -l >> environment
cat <&3 5>&- > logged-out &
cat <&4 5>&- > logged-err &
exec 5>&-
wait
echo ended > ended
"#;

#[test]
fn a_logging_binary_gets_both_streams_its_arguments_and_its_eof() {
    in_shim("binary", |bundle| async move {
        let script = LOGGER.replace("> ", &format!("> {}/", bundle.path.display()));
        let program = bundle.program("logger", &script);
        let uri = format!("binary://{program}?tag=a%20b&flag");
        let (stdio, child) = open(&bundle, &stdio("", &uri, &uri)).await.unwrap();
        let process = bundle.sh("echo out; echo err >&2; exit 3", child);
        assert_eq!(process.exit.await.unwrap().record.status.get(), 3);
        assert_eq!(
            stdio.drained(DRAIN_CAP, || false).await,
            Drained::Everything
        );
        stdio.close().await.ended().await;
        assert_eq!(text(&bundle, "args"), "tag a b flag\n");
        let environment = text(&bundle, "environment");
        assert!(environment.contains("CONTAINER_ID=c1\n"), "{environment}");
        assert!(
            environment.contains("CONTAINER_NAMESPACE=ns1\n"),
            "{environment}"
        );
        assert_eq!(text(&bundle, "logged-out"), "out\n");
        assert_eq!(text(&bundle, "logged-err"), "err\n");
        assert_eq!(text(&bundle, "ended"), "ended\n");
    });
}

#[test]
fn a_binary_and_a_fifo_serve_one_process() {
    in_shim("mixed", |bundle| async move {
        let script = LOGGER.replace("> ", &format!("> {}/", bundle.path.display()));
        let uri = format!("binary://{}", bundle.program("logger", &script));
        let out = bundle.fifo("out");
        let (stdio, child) = open(&bundle, &stdio("", &out, &uri)).await.unwrap();
        let process = bundle.sh("echo out; echo err >&2", child);
        assert_eq!(joined(read_all(&out)).await, b"out\n");
        process.exit.await.unwrap();
        stdio.drained(DRAIN_CAP, || false).await;
        stdio.close().await.ended().await;
        assert_eq!(text(&bundle, "logged-out"), "");
        assert_eq!(text(&bundle, "logged-err"), "err\n");
    });
}

#[test]
fn a_logger_that_ends_at_sigterm_only_is_told_so() {
    in_shim("term", |bundle| async move {
        let script = "#!/bin/sh\ntrap 'echo told > TOLD; exit' TERM\nexec 5>&-\nwhile :; do sleep 0.05; done\n";
        let told = bundle.at("told");
        let script = script.replace("TOLD", told.to_str().unwrap());
        let uri = format!("binary://{}", bundle.program("logger", &script));
        let (stdio, child) = open(&bundle, &stdio("", &uri, "")).await.unwrap();
        drop(child);
        let begun = Instant::now();
        let stopping = stdio.close().await;
        let took = begun.elapsed();
        assert!(took < Duration::from_millis(500), "close took {took:?}");
        stopping.ended().await;
        assert_eq!(text(&bundle, "told"), "told\n");
    });
}

#[test]
fn only_a_byte_makes_a_v2_binary_ready() {
    in_shim("v2", |bundle| async move {
        let dies = bundle.program("dies", "#!/bin/sh\nexit 1\n");
        let error = open(&bundle, &stdio("", &format!("binary-v2://{dies}"), ""))
            .await
            .unwrap_err();
        assert!(
            matches!(&error, StdioOpenError::LoggerDied { program } if program == Path::new(&dies)),
            "{error}"
        );
        let error = open(&bundle, &stdio("", "binary-v2:///no/such/program", ""))
            .await
            .unwrap_err();
        assert!(
            matches!(error, StdioOpenError::StartLogger { .. }),
            "{error}"
        );
        let lives = bundle.program("lives", "#!/bin/sh\necho >&5\nexec cat <&3 >/dev/null\n");
        let (stdio, child) = open(&bundle, &stdio("", &format!("binary-v2://{lives}"), ""))
            .await
            .unwrap();
        drop(child);
        stdio.close().await.ended().await;
    });
}

#[test]
fn a_logger_that_dies_does_not_stop_the_container() {
    in_shim("dead-logger", |bundle| async move {
        let uri = format!(
            "binary://{}",
            bundle.program("logger", "#!/bin/sh\nexit 1\n")
        );
        let (stdio, child) = open(&bundle, &stdio("", &uri, &uri)).await.unwrap();
        let process = bundle.sh("head -c 1000000 /dev/zero && echo done >&2", child);
        assert_eq!(process.exit.await.unwrap().record.status.get(), 0);
        until("what nobody reads is counted", || {
            let counters = stdio.counters();
            (counters.stdout.dropped, counters.stderr.dropped) == (1_000_000, 5)
        })
        .await;
        stdio.close().await.ended().await;
    });
}

#[test]
fn what_is_not_a_fifo_is_named() {
    in_shim("refused", |bundle| async move {
        let missing = bundle.at("missing").display().to_string();
        let regular = bundle.program("regular", "kept");
        for (stdin, stdout) in [(&*missing, ""), ("", &*missing)] {
            let error = open(&bundle, &stdio(stdin, stdout, "")).await.unwrap_err();
            assert!(
                matches!(&error, StdioOpenError::FifoMissing { path } if path == Path::new(&missing)),
                "{error}"
            );
        }
        for (stdin, stdout) in [(&*regular, ""), ("", &*regular)] {
            let error = open(&bundle, &stdio(stdin, stdout, "")).await.unwrap_err();
            assert!(matches!(error, StdioOpenError::NotAFifo { .. }), "{error}");
        }
        assert_eq!(text(&bundle, "regular"), "kept");
    });
}

#[test]
fn without_any_stdio_nothing_is_held() {
    in_shim("null", |bundle| async move {
        let before = descriptors();
        let (stdio, child) = open(&bundle, &stdio("", "", "")).await.unwrap();
        assert_eq!(descriptors(), before);
        let process = bundle.sh("echo lost; cat", child);
        assert_eq!(process.exit.await.unwrap().record.status.get(), 0);
        stdio.attach_console(DRAIN_CAP).await.unwrap();
        stdio.resize(80, 24).unwrap();
        assert_eq!(
            stdio.drained(DRAIN_CAP, || false).await,
            Drained::Everything
        );
        stdio.close().await.ended().await;
    });
}

#[test]
fn a_grandchild_that_keeps_the_output_open_is_waited_for_until_the_cap() {
    in_shim("grandchild", |bundle| async move {
        let out = bundle.fifo("out");
        let (stdio, child) = open(&bundle, &stdio("", &out, "")).await.unwrap();
        let process = bundle.sh("sleep 300 & echo $! > grandchild; echo said", child);
        assert_eq!(process.exit.await.unwrap().record.status.get(), 0);
        let reader = read_all(&out);
        let drained = stdio.drained(Duration::from_millis(200), || false).await;
        assert_eq!(drained, Drained::CapReached { streams: 1 });
        assert_eq!(joined(reader).await, b"said\n", "and the reader's EOF");
        stdio.close().await.ended().await;
        let grandchild = text(&bundle, "grandchild").trim().parse().unwrap();
        let grandchild = nix::unistd::Pid::from_raw(grandchild);
        nix::sys::signal::kill(grandchild, nix::sys::signal::SIGKILL).unwrap();
    });
}

/// Does what an OCI runtime does with a console socket; returns the slave.
fn hand_out_terminal(bundle: &Path, socket: &Path) -> OwnedFd {
    let pair = nix::pty::openpty(None, None).unwrap();
    for fd in [&pair.master, &pair.slave] {
        let flags = nix::fcntl::FdFlag::FD_CLOEXEC;
        nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_SETFD(flags)).unwrap();
    }
    // The runtime's working directory is the bundle, so a relative path is one in there.
    let directory = File::open(bundle).unwrap();
    let name = socket.file_name().unwrap();
    let path = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string());
    let stream = UnixStream::connect(path.join(name)).unwrap();
    fdpass::send(&stream, b"/dev/pts/0", &pair.master).unwrap();
    pair.slave
}

fn on_terminal(slave: &OwnedFd) -> ChildStdio {
    let stream = || Stream::Fd(slave.try_clone().unwrap());
    ChildStdio {
        stdin: stream(),
        stdout: stream(),
        stderr: stream(),
        console_socket: None,
    }
}

#[test]
fn a_terminal_is_received_resized_and_carries_both_ways() {
    in_shim("terminal", |mut bundle| async move {
        bundle.path.push("deep".repeat(40));
        fs::create_dir(&bundle.path).unwrap();
        let (stdin, out) = (bundle.fifo("in"), bundle.fifo("out"));
        let stdio = Stdio::parse(true, &stdin, &out, "").unwrap();
        let (stdio, child) = open(&bundle, &stdio).await.unwrap();
        let socket = child.console_socket.unwrap();
        assert_eq!(socket, Path::new("init.console.sock"));
        stdio.resize(1, 1).unwrap();
        let slave = hand_out_terminal(&bundle.path, &socket);
        stdio.attach_console(DEADLINE).await.unwrap();
        assert!(!bundle.path.join(&socket).exists());
        stdio.resize(123, 45).unwrap();
        let process = bundle.sh(
            "stty size; read line; echo got $line; exit 5",
            on_terminal(&slave),
        );
        drop(slave);
        let reader = read_all(&out);
        fs::write(&stdin, "typed\n").unwrap();
        assert_eq!(process.exit.await.unwrap().record.status.get(), 5);
        assert_eq!(
            stdio.drained(DRAIN_CAP, || false).await,
            Drained::Everything
        );
        let said = String::from_utf8(joined(reader).await).unwrap();
        for wanted in ["45 123\r\n", "typed\r\n", "got typed\r\n"] {
            assert!(said.contains(wanted), "{said:?}");
        }
        stdio.close().await.ended().await;
    });
}

#[test]
fn a_flood_through_a_terminal_loses_nothing_in_either_direction() {
    in_shim("terminal-flood", |bundle| async move {
        const LINES: usize = 100_000;
        let (stdin, out) = (bundle.fifo("in"), bundle.fifo("out"));
        let stdio = Stdio::parse(true, &stdin, &out, "").unwrap();
        let (stdio, child) = open(&bundle, &stdio).await.unwrap();
        let socket = child.console_socket.unwrap();
        assert_eq!(socket, bundle.at("init.console.sock"));
        let slave = hand_out_terminal(&bundle.path, &socket);
        stdio.attach_console(DEADLINE).await.unwrap();
        let text = (0..LINES).map(|i| format!("{i}\n")).collect::<String>();
        let script = format!("stty raw -echo; echo ready; exec head -c {}", text.len());
        let process = bundle.sh(&script, on_terminal(&slave));
        drop(slave);
        let mut fifo = File::open(&out).unwrap();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let reader = thread::spawn(move || {
            let mut said = [0; 6];
            fifo.read_exact(&mut said).unwrap();
            ready.send(()).unwrap();
            let mut rest = String::new();
            fifo.read_to_string(&mut rest).unwrap();
            (said, rest)
        });
        let sent = text.clone();
        let writer = thread::spawn(move || {
            is_ready.recv().unwrap();
            fs::write(&stdin, sent).unwrap();
        });
        assert_eq!(process.exit.await.unwrap().record.status.get(), 0);
        assert_eq!(
            stdio.drained(DRAIN_CAP, || false).await,
            Drained::Everything
        );
        let (said, rest) = joined(reader).await;
        assert_eq!(&said, b"ready\n");
        assert!(rest == text, "{} of {} bytes", rest.len(), text.len());
        joined(writer).await;
        stdio.close().await.ended().await;
    });
}

#[test]
fn a_terminal_that_never_comes_is_an_error_in_time_and_leaves_no_socket() {
    in_shim("no-terminal", |bundle| async move {
        let stdio = Stdio::parse(true, "", "", "").unwrap();
        let (late, child) = open(&bundle, &stdio).await.unwrap();
        let error = late.attach_console(Duration::from_millis(50)).await;
        assert!(
            matches!(error, Err(StdioOpenError::ConsoleLate { .. })),
            "{error:?}"
        );
        assert!(!child.console_socket.unwrap().exists());
        late.close().await.ended().await;

        let (wrong, child) = open(&bundle, &stdio).await.unwrap();
        let socket = child.console_socket.unwrap();
        let stream = UnixStream::connect(&socket).unwrap();
        fdpass::send(&stream, b"x", File::open("/dev/null").unwrap()).unwrap();
        let error = wrong.attach_console(DEADLINE).await;
        assert!(
            matches!(error, Err(StdioOpenError::ConsoleReceive { .. })),
            "{error:?}"
        );
        wrong.close().await.ended().await;

        let (unused, child) = open(&bundle, &stdio).await.unwrap();
        unused.close().await.ended().await;
        assert!(!child.console_socket.unwrap().exists());
    });
}
