//! From a command to a call, and from a finished call to its result.
//!
//! Nobody waits here: the shim waits through its reaper, and the `delete` and `-info` actions, which have none, wait
//! by [`Call::run_blocking`].

use std::ffi::{CStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::command::Command;
use super::error::{MAKE_INPUT, MAKE_OUTPUT, OciError, classify};
use crate::sys::memory::memfd;
use crate::sys::spawn::{Environment, OpenFiles, Session, Spawn, Stream, spawn};
use crate::sys::wait;
use crate::types::{ContainerId, ExitStatus, Pid, Signal};

/// What is kept of a runtime's output and log, in bytes; errors stand at the end.
const MAX_OUTPUT: u64 = 1 << 20;

/// An OCI runtime and how it is called for one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OciRuntime {
    /// The program: a name to look for on PATH, or a path.
    pub binary: PathBuf,
    /// The directory where the runtime keeps its containers' state.
    pub root: PathBuf,
    /// Whether cgroups are made by systemd.
    pub systemd_cgroup: bool,
}

/// The streams of a call.
#[derive(Debug, Default)]
pub enum CallStdio {
    /// The runtime's own output, kept for its errors; nothing on stdin.
    #[default]
    Captured,
    /// As [`CallStdio::Captured`], with these bytes on stdin.
    Input(Vec<u8>),
    /// The streams of the process that the call starts.
    Process {
        /// Its stdin.
        stdin: Stream,
        /// Its stdout.
        stdout: Stream,
        /// Its stderr.
        stderr: Stream,
    },
}

/// A call that was prepared, and then was started.
#[derive(Debug)]
pub struct Call {
    /// The subcommand.
    pub operation: &'static str,
    binary: PathBuf,
    /// Where the runtime keeps the container.
    state: PathBuf,
    output: Option<File>,
    log: Option<RuntimeLog>,
}

/// The log of a runtime. It grows with every call; what a call adds to it is its own.
#[derive(Debug)]
struct RuntimeLog {
    path: PathBuf,
    /// How long it was before the call, in bytes.
    start: u64,
}

impl OciRuntime {
    /// Prepares `command` for the container `id` in `bundle`: what to start, and what to ask for its result after. Where
    /// there is no bundle the runtime works in `/` and keeps no log: what it has to say it prints.
    ///
    /// # Errors
    /// [`OciError::Io`] where no memory file could be made.
    pub fn prepare(
        &self,
        command: &Command,
        id: &ContainerId,
        bundle: Option<&Path>,
        stdio: CallStdio,
    ) -> Result<(Spawn, Call), OciError> {
        let operation = command.name();
        let io = |step| {
            move |source| OciError::Io {
                operation,
                step,
                source,
            }
        };
        let log = bundle.map(RuntimeLog::of);
        let mut args: Vec<OsString> = vec!["--root".into(), self.root.clone().into()];
        if let Some(log) = &log {
            let path = log.path.clone().into();
            args.extend(["--log".into(), path, "--log-format".into(), "json".into()]);
        }
        args.extend(self.systemd_cgroup.then(|| "--systemd-cgroup".into()));
        args.extend(command.argv(id));
        let (stdin, stdout, stderr, output) = match stdio {
            CallStdio::Process {
                stdin,
                stdout,
                stderr,
            } => (stdin, stdout, stderr, None),
            CallStdio::Captured => {
                let (output, stdout, stderr) = captured().map_err(io(MAKE_OUTPUT))?;
                (Stream::Null, stdout, stderr, Some(output))
            }
            CallStdio::Input(bytes) => {
                let (output, stdout, stderr) = captured().map_err(io(MAKE_OUTPUT))?;
                let stdin = file_of(c"oci-input", &bytes).map_err(io(MAKE_INPUT))?;
                (Stream::Fd(stdin), stdout, stderr, Some(output))
            }
        };
        let spawn = Spawn {
            program: self.binary.clone().into(),
            args,
            environment: Environment::Inherit,
            cwd: Some(bundle.unwrap_or(Path::new("/")).to_owned()),
            stdin,
            stdout,
            stderr,
            further_fds: Vec::new(),
            session: Session::Inherit,
            open_files: OpenFiles::AsStarted,
        };
        Ok((
            spawn,
            Call {
                operation,
                binary: self.binary.clone(),
                state: self.root.join(id.as_str()),
                output,
                log,
            },
        ))
    }
}

fn captured() -> io::Result<(File, Stream, Stream)> {
    let output = memfd(c"oci-output")?;
    let (stdout, stderr) = (output.try_clone()?, output.try_clone()?);
    Ok((File::from(output), Stream::Fd(stdout), Stream::Fd(stderr)))
}

fn file_of(name: &CStr, bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd(name)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

/// One line of a runtime's JSON log.
#[derive(Deserialize)]
struct LogLine {
    #[serde(default)]
    level: String,
    #[serde(default)]
    msg: String,
}

impl Call {
    /// The error of a program that could not be started.
    #[must_use]
    pub fn not_started(&self, source: io::Error) -> OciError {
        OciError::Spawn {
            binary: self.binary.clone(),
            source,
        }
    }

    /// The result of a call that ended with `status`: what the program printed, where that was captured.
    ///
    /// # Errors
    /// [`OciError::Failed`] with what the program said last: in its log, else in its output.
    pub fn finish(self, status: ExitStatus) -> Result<Vec<u8>, OciError> {
        let operation = self.operation;
        let output = self.output.map_or_else(|| Ok(Vec::new()), read_from_start);
        let output = output.map_err(|source| OciError::Io {
            operation,
            step: "read its output",
            source,
        })?;
        if status.get() == 0 {
            return Ok(output);
        }
        let logged = self.log.as_ref().and_then(RuntimeLog::last_error);
        let printed = String::from_utf8_lossy(&output).trim().to_owned();
        let message = logged.or(Some(printed)).filter(|text| !text.is_empty());
        let message =
            message.unwrap_or_else(|| format!("exit status {status}, and nothing was said"));
        let kind = classify(&message, &self.state);
        Err(OciError::Failed {
            operation,
            message,
            kind,
        })
    }

    /// Starts `spawn` and waits for it by polling, at most `limit`: for actions that have no reaper.
    ///
    /// # Errors
    /// As [`Call::finish`], and [`OciError::TimedOut`] after the program was killed.
    pub fn run_blocking(self, program: Spawn, limit: Duration) -> Result<Vec<u8>, OciError> {
        let operation = self.operation;
        let pid = spawn(program).map_err(|source| self.not_started(source))?;
        let deadline = Instant::now() + limit;
        loop {
            let ended = wait::try_wait(pid).map_err(|source| OciError::Io {
                operation,
                step: "wait for it",
                source,
            })?;
            if let Some(status) = ended {
                return self.finish(status);
            }
            if Instant::now() >= deadline {
                kill_and_reap(pid);
                return Err(OciError::TimedOut { operation, limit });
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Kills a child that outstayed its time; it is left to whoever reaps next if even that does not end it.
fn kill_and_reap(pid: Pid) {
    if wait::signal_child(pid, Signal::KILL).is_ok() {
        for _ in 0..100 {
            if !matches!(wait::try_wait(pid), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn read_from_start(mut file: File) -> io::Result<Vec<u8>> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(MAX_OUTPUT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl RuntimeLog {
    /// The log in `bundle`, as long as it is now.
    fn of(bundle: &Path) -> Self {
        let path = bundle.join("log.json");
        let start = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        Self { path, start }
    }

    /// The last error that was added; `None` where there is none or it cannot be read.
    fn last_error(&self) -> Option<String> {
        let mut file = File::open(&self.path).ok()?;
        let len = file.metadata().ok()?.len();
        let start = self.start.max(len.saturating_sub(MAX_OUTPUT));
        file.seek(SeekFrom::Start(start)).ok()?;
        let mut bytes = Vec::new();
        file.take(MAX_OUTPUT).read_to_end(&mut bytes).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let lines = text
            .lines()
            .rev()
            .filter_map(|line| serde_json::from_str::<LogLine>(line).ok());
        lines
            .into_iter()
            .find(|line| line.level == "error" && !line.msg.is_empty())
            .map(|line| line.msg)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_in(
        bundle: Option<&Path>,
        binary: &str,
        command: &Command,
        stdio: CallStdio,
    ) -> Result<Vec<u8>, OciError> {
        let runtime = OciRuntime {
            binary: binary.into(),
            root: std::env::temp_dir().join("none"),
            systemd_cgroup: false,
        };
        let id = ContainerId::new("unknown").unwrap();
        let (spawn, call) = runtime.prepare(command, &id, bundle, stdio).unwrap();
        call.run_blocking(spawn, Duration::from_secs(20))
    }

    fn run(binary: &str, command: &Command, stdio: CallStdio) -> Result<Vec<u8>, OciError> {
        run_in(Some(&std::env::temp_dir()), binary, command, stdio)
    }

    #[test]
    fn a_container_that_runc_does_not_know_is_no_such_container_with_a_bundle_and_without() {
        for bundle in [Some(std::env::temp_dir()), None] {
            let bundle = bundle.as_deref();
            let error = run_in(bundle, "runc", &Command::Start, CallStdio::Captured).unwrap_err();
            assert_eq!(
                error.kind(),
                super::super::FailureKind::NoSuchContainer,
                "{error}"
            );
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = run("/no/such/runtime", &Command::Start, CallStdio::Captured).unwrap_err();
        assert!(
            matches!(&error, OciError::Spawn { binary, .. } if binary == Path::new("/no/such/runtime")),
            "{error}"
        );
    }

    #[test]
    fn what_runc_can_do_is_read_from_its_output() {
        let output = run("runc", &Command::Features, CallStdio::Captured).unwrap();
        assert!(
            serde_json::from_slice::<serde_json::Value>(&output)
                .unwrap()
                .get("ociVersionMin")
                .is_some()
        );
    }
}
