//! The streams of a container: pipes, a terminal, files and loggers.

use std::fs::{self, File};
use std::io::{Read, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::pty::{OpenptyResult, Winsize, openpty};
use sha2::{Digest as _, Sha256};

use crate::support::node::Node;
use crate::support::tasks::touch;
use crate::support::{ctr, poll, program};

on_every_containerd![
    a_terminal_has_a_size_and_can_be_resized,
    an_exec_can_have_a_terminal,
    stdin_is_piped_through_and_closed,
    a_hundred_megabytes_arrive_byte_for_byte,
    a_log_uri_can_be_a_file,
    a_log_uri_can_be_a_program,
    a_log_uri_of_an_unknown_scheme_is_refused,
];

/// A terminal of the test with `ctr` on its other side.
struct Terminal {
    child: std::process::Child,
    master: File,
    name: PathBuf,
    seen: Arc<Mutex<String>>,
}

impl Terminal {
    fn open(command: &mut Command, size: (u16, u16)) -> Self {
        let size = Winsize {
            ws_row: size.0,
            ws_col: size.1,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let OpenptyResult { master, slave } = openpty(Some(&size), None).unwrap();
        let name = fs::read_link(format!("/proc/self/fd/{}", slave.as_raw_fd())).unwrap();
        command
            .stdin(slave.try_clone().unwrap())
            .stdout(slave.try_clone().unwrap())
            .stderr(slave);
        let child = command.spawn().unwrap();
        // The command holds the slave's other copies: without them gone the master would never end.
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let master = File::from(master);
        let seen = Arc::<Mutex<String>>::default();
        let (mut reader, sink) = (master.try_clone().unwrap(), Arc::clone(&seen));
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // A terminal without a slave answers EIO, which is its end of file.
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                sink.lock()
                    .unwrap()
                    .push_str(&String::from_utf8_lossy(&buffer[..length]));
            }
        });
        Self {
            child,
            master,
            name,
            seen,
        }
    }

    fn type_line(&mut self, line: &str) {
        self.master
            .write_all(format!("{line}\n").as_bytes())
            .unwrap();
    }

    fn wait_for(&self, text: &str) {
        poll::until(&format!("the terminal shows {text:?}"), || {
            let seen = self.seen.lock().unwrap().clone();
            if seen.contains(text) {
                Ok(())
            } else {
                Err(seen)
            }
        });
    }

    fn resize(&self, rows: &str, columns: &str) {
        assert!(
            Command::new("stty")
                .arg("-F")
                .arg(&self.name)
                .args(["rows", rows, "cols", columns])
                .status()
                .unwrap()
                .success()
        );
        Command::new("kill")
            .args(["-WINCH", &self.child.id().to_string()])
            .status()
            .unwrap();
    }

    fn exit_code(mut self) -> Option<i32> {
        ctr::end(&mut self.child)
            .unwrap_or_else(|| panic!("ctr hangs: {}", self.seen.lock().unwrap()))
            .code()
    }
}

fn a_terminal_has_a_size_and_can_be_resized(node: &mut Node) {
    let script = "tty; while read -r line; do echo \"got $line\"; stty size; [ \"$line\" = end ] && exit 6; done";
    let args = node.run_args("terminal", &["--rm", "--tty"], &["/bin/sh", "-c", script]);
    let mut terminal = Terminal::open(&mut node.ctr_command(&args), (24, 80));
    terminal.wait_for("/dev/");
    // The size reaches the container after its start.
    poll::until("the first size arrives", || {
        terminal.type_line("one");
        let seen = terminal.seen.lock().unwrap().clone();
        if seen.contains("24 80") {
            Ok(())
        } else {
            Err(seen)
        }
    });
    terminal.resize("33", "77");
    poll::until("the new size arrives", || {
        terminal.type_line("two");
        let seen = terminal.seen.lock().unwrap().clone();
        if seen.contains("33 77") {
            Ok(())
        } else {
            Err(seen)
        }
    });
    terminal.type_line("end");
    terminal.wait_for("got end");
    assert_eq!(terminal.exit_code(), Some(6));
}

fn an_exec_can_have_a_terminal(node: &mut Node) {
    node.run_detached("host", &[], &["/bin/sleep", "1000"]);
    let args = node.exec_args(
        "host",
        "shell",
        &["--tty"],
        &[
            "/bin/sh",
            "-c",
            "tty; read -r line; echo \"got $line\"; exit 8",
        ],
    );
    let mut terminal = Terminal::open(&mut node.ctr_command(&args), (24, 80));
    terminal.wait_for("/dev/");
    terminal.type_line("word");
    terminal.wait_for("got word");
    assert_eq!(terminal.exit_code(), Some(8));
    assert_eq!(node.destroy("host"), 137);
}

fn stdin_is_piped_through_and_closed(node: &mut Node) {
    let mut running = node.spawn_ctr(&node.run_args("cat", &["--rm"], &["/bin/cat"]));
    let mut stdin = running.take_stdin();
    stdin.write_all(b"first\n").unwrap();
    // ctr drops a close that comes before its create has returned; an echo proves that it has.
    poll::until("the first line comes back", || {
        if running.stdout() == "first\n" {
            Ok(())
        } else {
            Err(format!("{:?} {:?}", running.stdout(), running.stderr()))
        }
    });
    stdin.write_all(b"last\n").unwrap();
    drop(stdin);
    let output = running.finish();
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (Some(0), "first\nlast\n"),
        "{}",
        output.stderr
    );
}

/// One line of what [`flood`] says over and over.
const LINE: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz\n";

/// Runs a container that says `length` bytes, then what `then` adds; hands each piece that `ctr` gives on to `take`.
fn flood(node: &Node, length: usize, then: &str, mut take: impl FnMut(&[u8]) + Send) {
    let line = std::str::from_utf8(LINE).unwrap().trim_end();
    let script = format!("yes {line} | head -c {length}{then}");
    let args = node.run_args("flood", &["--rm"], &["/bin/sh", "-c", &script]);
    let mut command = node.ctr_command(&args);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stream = child.stdout.take().unwrap();
    let status = thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = vec![0; 1 << 16];
            while let count @ 1.. = stream.read(&mut buffer).unwrap() {
                take(&buffer[..count]);
            }
        });
        ctr::end(&mut child).expect("ctr ends")
    });
    assert_eq!(status.code(), Some(0));
}

fn a_hundred_megabytes_arrive_byte_for_byte(node: &mut Node) {
    const LENGTH: usize = 100 * 1000 * 1000;
    let (mut said, mut heard, mut length) = (Sha256::new(), Sha256::new(), 0);
    for start in (0..LENGTH).step_by(LINE.len()) {
        said.update(&LINE[..LINE.len().min(LENGTH - start)]);
    }
    // ctr deletes a task that has ended without waiting for what it has still to read: the container ends when all is read.
    let go = node.rootfs().join("go");
    flood(
        node,
        LENGTH,
        "; while [ ! -e /go ]; do sleep 0.05; done",
        |bytes| {
            heard.update(bytes);
            length += bytes.len();
            if length >= LENGTH {
                touch(&go);
            }
        },
    );
    assert_eq!(length, LENGTH);
    assert!(heard.finalize() == said.finalize(), "the bytes differ");
}

fn wait_for_content(path: &Path, content: &str) {
    poll::until(&format!("{} has its content", path.display()), || {
        let seen = fs::read_to_string(path).unwrap_or_else(|error| error.to_string());
        if seen == content { Ok(()) } else { Err(seen) }
    });
}

fn a_log_uri_can_be_a_file(node: &mut Node) {
    let log = node.dir().join("logs/of/file.log");
    let uri = format!("file://{}", log.display());
    node.run_detached(
        "filed",
        &["--log-uri", &uri],
        &["/bin/sh", "-c", "echo out; echo err >&2; exit 2"],
    );
    node.wait_for("filed", "STOPPED");
    // Two pipes lead there: each line is whole, their order is not defined.
    poll::until("both lines are in the file", || {
        let seen = fs::read_to_string(&log).unwrap_or_else(|error| error.to_string());
        if ["out\nerr\n", "err\nout\n"].contains(&seen.as_str()) {
            Ok(())
        } else {
            Err(seen)
        }
    });
    assert_eq!(node.delete("filed"), 2);
}

fn a_log_uri_can_be_a_program(node: &mut Node) {
    let (program, logs) = (node.dir().join("logger"), node.dir().join("logged"));
    fs::create_dir(&logs).unwrap();
    // Its contract: 3 and 4 are the streams, closing 5 says that it is ready.
    let script = format!(
        "#!/bin/sh\ncd {}\necho \"$CONTAINER_NAMESPACE $CONTAINER_ID $*\" > who\nexec 5>&-\ncat <&4 > err &\ncat <&3 > out\nwait\n",
        logs.display()
    );
    program::write(&program, script);
    let uri = format!("binary://{}?key=value", program.display());
    node.run_detached(
        "logged",
        &["--log-uri", &uri],
        &["/bin/sh", "-c", "echo out; echo err >&2; exit 2"],
    );
    node.wait_for("logged", "STOPPED");
    wait_for_content(&logs.join("out"), "out\n");
    wait_for_content(&logs.join("err"), "err\n");
    wait_for_content(
        &logs.join("who"),
        &format!("{} logged key value\n", node.namespace()),
    );
    assert_eq!(node.delete("logged"), 2);
}

fn a_log_uri_of_an_unknown_scheme_is_refused(node: &mut Node) {
    let args = node.run_args(
        "odd",
        &["--detach", "--log-uri", "carrier-pigeon:///roof"],
        &["/bin/true"],
    );
    let output = node.ctr(&args);
    assert_ne!(output.code, Some(0), "{output:?}");
    assert_eq!(node.task("odd"), None);
    drop(node.ctr(&["container", "delete", "odd"]));
}
