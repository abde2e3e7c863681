//! One run of containerd's own client `ctr`, with a hard deadline: a hang is a failure that shows what hung.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::poll;

/// What a finished command left.
#[derive(Debug)]
pub struct Output {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output, invalid UTF-8 replaced.
    pub stdout: String,
    /// Its standard error, invalid UTF-8 replaced.
    pub stderr: String,
}

impl Output {
    /// The output of a command that has to succeed.
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "the command failed: {self:?}");
        self.stdout
    }

    /// The exit code of the task that a `ctr task delete` which succeeded has deleted: it warns about any but 0.
    pub fn task_exit_code(&self) -> Option<i32> {
        let Some((_, rest)) = self.stderr.split_once("non-zero exit code ") else {
            return Some(0);
        };
        let end = rest.find(|letter: char| !letter.is_ascii_digit());
        rest.get(..end.unwrap_or(rest.len()))?.parse().ok()
    }
}

/// A command under way. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    child: Child,
    what: String,
    stdout: PathBuf,
    stderr: PathBuf,
}

static SERIAL: AtomicU32 = AtomicU32::new(0);

impl Running {
    /// Starts `command` with its output in files under `dir`: a pipe could be inherited by a daemon and never end.
    pub fn start(command: &mut Command, dir: &std::path::Path) -> Self {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let stdout = dir.join(format!("{serial}.out"));
        let stderr = dir.join(format!("{serial}.err"));
        command
            .stdout(File::create(&stdout).unwrap())
            .stderr(File::create(&stderr).unwrap());
        let child = command
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Self {
            child,
            what: format!("{command:?}"),
            stdout,
            stderr,
        }
    }

    /// The process id of the command.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The writing end of its standard input, when it was started with a pipe there.
    pub fn take_stdin(&mut self) -> std::process::ChildStdin {
        self.child
            .stdin
            .take()
            .expect("started with a pipe as standard input")
    }

    /// Its standard output up to now.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.stdout).unwrap_or_default()).into_owned()
    }

    /// Its standard error up to now.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.stderr).unwrap_or_default()).into_owned()
    }

    /// Waits for its end, at most for [`poll::DEADLINE`], then kills it and fails.
    pub fn finish(mut self) -> Output {
        let status = end(&mut self.child).unwrap_or_else(|| {
            panic!(
                "{} hangs\nstdout: {}\nstderr: {}",
                self.what,
                self.stdout(),
                self.stderr()
            )
        });
        Output {
            code: status.code(),
            stdout: self.stdout(),
            stderr: self.stderr(),
        }
    }

    /// Its standard output from this byte on, up to now.
    pub fn stdout_from(&self, offset: u64) -> Vec<u8> {
        let mut rest = Vec::new();
        if let Ok(mut file) = File::open(&self.stdout)
            && file.seek(SeekFrom::Start(offset)).is_ok()
        {
            // What cannot be read now is read by the next question.
            drop(file.read_to_end(&mut rest));
        }
        rest
    }

    /// Waits for its end, at most for `limit` and until `gives_up` says why; then kills it.
    pub fn finish_within(
        mut self,
        limit: Duration,
        mut gives_up: impl FnMut() -> Option<String>,
    ) -> Result<Output, String> {
        let ended = poll::within(limit, || match self.child.try_wait().unwrap() {
            Some(status) => Ok(Ok(status)),
            None => gives_up().map(Err).ok_or_else(|| "no end".to_owned()),
        });
        let why = match ended {
            Ok(Ok(status)) => {
                return Ok(Output {
                    code: status.code(),
                    stdout: self.stdout(),
                    stderr: self.stderr(),
                });
            }
            Ok(Err(why)) => why,
            Err(why) => format!("{why} within {limit:?}"),
        };
        Err(format!("{}: {why} {}", self.what, self.stderr()))
    }

    /// Kills it without a word of what it was doing.
    pub fn kill9(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        // Both fail only when it has already been waited for.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
        for file in [&self.stdout, &self.stderr] {
            drop(std::fs::remove_file(file));
        }
    }
}

/// Waits for the end of `child`; after [`poll::DEADLINE`] it is killed and the answer is `None`.
pub fn end(child: &mut Child) -> Option<ExitStatus> {
    let ended = poll::within(poll::DEADLINE, || {
        child
            .try_wait()
            .unwrap()
            .ok_or_else(|| "still running".to_owned())
    });
    ended.ok().or_else(|| {
        child.kill().unwrap();
        child.wait().unwrap();
        None
    })
}

/// Runs `command` with nothing on its standard input.
pub fn run(command: &mut Command, dir: &std::path::Path) -> Output {
    Running::start(command.stdin(Stdio::null()), dir).finish()
}
