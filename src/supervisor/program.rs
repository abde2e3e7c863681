//! A program that the supervisor runs: what goes in and comes out of it, and its end.
//!
//! Owns: the process and its zombie. Its end is known by a pidfd, not by SIGCHLD (`crate::sys::signals` says why the async
//! runtime's own processes are not used). It has a process group of its own, so that no signal for the supervisor's reaches
//! it, and what it has started is killed with it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::Interest;
use tokio::net::unix::pipe::{Receiver, Sender};

use crate::sys::limits;
use crate::sys::pidfd::Pidfd;
use crate::sys::readiness::Watched;

/// A running program; killed where it is dropped before its end.
#[derive(Debug)]
pub struct Program(Option<Running>);

#[derive(Debug)]
struct Running {
    child: Child,
    end: Watched,
}

/// The supervisor's ends of its pipes; `None` where it has none.
#[derive(Debug)]
pub struct Pipes {
    /// To its stdin.
    pub stdin: Option<Sender>,
    /// From its stdout.
    pub stdout: Option<Receiver>,
    /// From its stderr.
    pub stderr: Option<Receiver>,
}

impl Program {
    /// Starts it. A runtime must be entered.
    ///
    /// # Errors
    /// What starting it, pidfd_open(2), or watching it answered; nothing runs then.
    pub fn start(mut command: Command) -> io::Result<(Self, Pipes)> {
        command.process_group(0);
        limits::as_started(&mut command);
        let mut child = command.spawn()?;
        let watch = |child: &mut Child| {
            let pidfd = Pidfd::of_child(child)?;
            let end = Watched::new(OwnedFd::from(pidfd), Interest::READABLE)?;
            let stdin = child.stdin.take().map(OwnedFd::from);
            let stdout = child.stdout.take().map(OwnedFd::from);
            let stderr = child.stderr.take().map(OwnedFd::from);
            let pipes = Pipes {
                stdin: stdin.map(Sender::from_owned_fd).transpose()?,
                stdout: stdout.map(Receiver::from_owned_fd).transpose()?,
                stderr: stderr.map(Receiver::from_owned_fd).transpose()?,
            };
            Ok((end, pipes))
        };
        match watch(&mut child) {
            Ok((end, pipes)) => Ok((Self(Some(Running { child, end })), pipes)),
            Err(error) => {
                kill_group(&child);
                child.wait()?;
                Err(error)
            }
        }
    }

    /// Waits for its end, and takes its zombie away. May be cancelled, and called again until it has answered.
    ///
    /// # Errors
    /// What waitid(2) answered; `NotFound` after its end was told.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        let running = self.0.as_mut().ok_or(io::ErrorKind::NotFound)?;
        let status = running.ended().await?;
        self.0 = None;
        Ok(status)
    }

    /// Kills it and its process group, and waits for its end.
    ///
    /// # Errors
    /// As [`Program::wait`]; `TimedOut` where it has not ended `within` that.
    pub async fn kill(&mut self, within: Duration) -> io::Result<()> {
        if let Some(running) = &self.0 {
            kill_group(&running.child);
        }
        tokio::time::timeout(within, self.wait()).await??;
        Ok(())
    }
}

impl Running {
    async fn ended(&mut self) -> io::Result<ExitStatus> {
        loop {
            let mut ready = self.end.readable().await?;
            match self.child.try_wait()? {
                Some(status) => return Ok(status),
                None => ready.clear_ready(),
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let Some(mut running) = self.0.take() else {
            return;
        };
        kill_group(&running.child);
        // Without a runtime this process is about to end, and its children get another parent.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            drop(runtime.spawn(async move { running.ended().await }));
        }
    }
}

/// Not reaped yet: the number is still this group's.
fn kill_group(child: &Child) {
    let Ok(group) = i32::try_from(child.id()) else {
        return;
    };
    match killpg(Pid::from_raw(group), Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => log::warn!(pid = group, error:%; "a program cannot be killed"),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn block_on(test: impl Future<Output = ()>) {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap().block_on(test);
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn what_goes_in_comes_out_and_the_end_is_told_once() {
        block_on(async {
            let mut command = shell("cat; exit 7");
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            let (mut program, pipes) = Program::start(command).unwrap();
            let (mut stdin, mut stdout) = (pipes.stdin.unwrap(), pipes.stdout.unwrap());
            stdin.write_all(b"text").await.unwrap();
            drop(stdin);
            let mut read = String::new();
            stdout.read_to_string(&mut read).await.unwrap();
            assert_eq!(read, "text");
            let status = timeout(SOON, program.wait()).await.unwrap().unwrap();
            assert_eq!(status.code(), Some(7));
            let again = program.wait().await.unwrap_err();
            assert_eq!(again.kind(), io::ErrorKind::NotFound);
        });
    }

    #[test]
    fn a_killed_program_ends_with_what_it_started() {
        block_on(async {
            let mut command = shell("sleep 1000 & echo; wait");
            command.stdout(Stdio::piped());
            let (mut program, pipes) = Program::start(command).unwrap();
            let mut stdout = pipes.stdout.unwrap();
            stdout.read_u8().await.unwrap();
            program.kill(SOON).await.unwrap();
            // The pipe ends when the last process that has it does.
            let rest = timeout(SOON, stdout.read_to_end(&mut Vec::new())).await;
            assert_eq!(rest.unwrap().unwrap(), 0);
        });
    }

    #[test]
    fn a_dropped_program_is_killed_and_leaves_no_zombie() {
        block_on(async {
            let (program, _) = Program::start(shell("exec sleep 1000")).unwrap();
            let pid = program.0.as_ref().unwrap().child.id();
            drop(program);
            let gone = async {
                while std::fs::exists(format!("/proc/{pid}")).unwrap() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            timeout(SOON, gone).await.unwrap();
        });
    }
}
