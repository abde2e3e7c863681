//! Starting a child process. Nobody here waits for it: see [`super::wait`].

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::types::Pid;

/// What a child inherits in place of one of its standard streams.
#[derive(Debug, Default)]
pub enum Stream {
    /// `/dev/null`.
    #[default]
    Null,
    /// This descriptor.
    Fd(OwnedFd),
}

impl From<Option<OwnedFd>> for Stream {
    fn from(fd: Option<OwnedFd>) -> Self {
        fd.map_or(Self::Null, Self::Fd)
    }
}

impl From<Stream> for Stdio {
    fn from(stream: Stream) -> Self {
        match stream {
            Stream::Null => Self::null(),
            Stream::Fd(fd) => Self::from(fd),
        }
    }
}

/// The environment of a child.
#[derive(Debug, Default)]
pub enum Environment {
    /// The shim's own.
    #[default]
    Inherit,
    /// These variables alone.
    Only(Vec<(OsString, OsString)>),
}

/// The session of a child.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    /// The one of its parent.
    #[default]
    Inherit,
    /// One of its own (setsid(2)), so that no signal meant for the parent's reaches it.
    Own,
}

/// A program to start.
#[derive(Debug, Default)]
pub struct Spawn {
    /// The program: a path, or a name to look for on PATH.
    pub program: OsString,
    /// Its arguments, without its name.
    pub args: Vec<OsString>,
    /// Its environment.
    pub environment: Environment,
    /// Its working directory; the shim's where there is none.
    pub cwd: Option<PathBuf>,
    /// Its stdin.
    pub stdin: Stream,
    /// Its stdout.
    pub stdout: Stream,
    /// Its stderr.
    pub stderr: Stream,
    /// Further descriptors; the first becomes its fd 3, the next 4, and so on.
    pub further_fds: Vec<OwnedFd>,
    /// Its session.
    pub session: Session,
}

/// The first descriptor after the standard ones.
const FIRST_FURTHER_FD: RawFd = 3;

/// Starts `spawn` and returns its pid. The caller must see to it that the exit is waited for.
///
/// # Errors
/// What fork(2), a step before exec, or execve(2) answered: `NotFound` where there is no such program.
pub fn spawn(spawn: Spawn) -> io::Result<Pid> {
    let mut command = Command::new(&spawn.program);
    command
        .args(&spawn.args)
        .stdin(spawn.stdin)
        .stdout(spawn.stdout)
        .stderr(spawn.stderr);
    if let Environment::Only(variables) = spawn.environment {
        command.env_clear().envs(variables);
    }
    if let Some(cwd) = spawn.cwd {
        command.current_dir(cwd);
    }
    let own_session = spawn.session == Session::Own;
    // Moved out of the way of the numbers that they will get, so that no dup2 below overwrites one still needed.
    let above =
        FIRST_FURTHER_FD + RawFd::try_from(spawn.further_fds.len()).unwrap_or(RawFd::MAX / 2);
    let further = spawn
        .further_fds
        .iter()
        .map(|fd| nix::fcntl::fcntl(fd.as_fd(), nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(above)))
        .collect::<Result<Vec<RawFd>, _>>()?;
    let further = further.into_iter().map(own).collect::<Vec<_>>();
    let occupied = occupy_below(above, further.first())?;
    let numbers = further.iter().map(AsRawFd::as_raw_fd).collect::<Vec<_>>();
    if own_session || !numbers.is_empty() {
        let prepare = move || {
            if own_session {
                nix::unistd::setsid()?;
            }
            for (target, &source) in (FIRST_FURTHER_FD..).zip(&numbers) {
                // SAFETY: dup2 is async-signal-safe; `source` is open, the parent holds it in `further` until after the fork.
                if unsafe { libc::dup2(source, target) } < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(())
        };
        // SAFETY: between fork and exec `prepare` makes only the system calls setsid and dup2 and allocates nothing.
        unsafe { command.pre_exec(prepare) };
    }
    let child = command.spawn()?;
    drop((further, occupied));
    Pid::new(child.id()).ok_or_else(|| io::Error::other("fork returned pid 0"))
}

/// Takes every free number from [`FIRST_FURTHER_FD`] to below `above`, as duplicates of `any`: the standard library would
/// put the pipe by which the child reports a failed exec there, and the child's dup2 would overwrite it.
fn occupy_below(above: RawFd, any: Option<&OwnedFd>) -> io::Result<Vec<OwnedFd>> {
    let mut occupied = Vec::new();
    let Some(any) = any else { return Ok(occupied) };
    loop {
        let lowest = nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(FIRST_FURTHER_FD);
        let fd = own(nix::fcntl::fcntl(any.as_fd(), lowest)?);
        if fd.as_raw_fd() >= above {
            return Ok(occupied);
        }
        occupied.push(fd);
    }
}

fn own(fd: RawFd) -> OwnedFd {
    use std::os::fd::FromRawFd;
    // SAFETY: `fd` was just returned by F_DUPFD_CLOEXEC and belongs to nobody else.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
