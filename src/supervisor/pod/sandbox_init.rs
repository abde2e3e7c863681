//! `outlive sandbox-init`: the first process of a pod's shared pid namespace. It reaps, and keeps the namespace alive.
//!
//! Owns: the program itself, and what it and the supervisor say to each other at its start. Started and ended by
//! [`super::sandbox`].
//!
//! ```text
//! supervisor                                init (stdin, stdout: pipes)
//!   start ------------------------------->  hides the host, becomes nobody
//!   <----------------- "ready" or the error
//!   writes its identity to status.json
//!   "g" --------------------------------->  reaps until SIGTERM from outside of its namespace
//! ```
//!
//! A supervisor that dies before the last step closes the pipe, and the init ends: none is left that nobody knows.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::sys::limits;
use crate::sys::namespace::{self, Kind};
use crate::sys::pid_one::{self, Received, Signals};
use crate::sys::pidfd::Pidfd;
use crate::sys::proc;
use crate::sys::spawn::{self, Environment, OpenFiles, Session, Spawn, Stream};
use crate::sys::wait;
use crate::types::error::chain;
use crate::types::{ProcessIdentity, Signal};

/// The hidden subcommand that is this program.
pub const SUBCOMMAND: &str = "sandbox-init";
const READY: &[u8] = b"ready";
const GO: &[u8] = b"g";
/// How long the init may take to be ready, and to end when it is killed.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest error that is read from it.
const LONGEST_ANSWER: u64 = 4096;

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Says which program has the subcommand, where that is not this one: for tests, once a process.
pub fn set_program(path: PathBuf) {
    PROGRAM.get_or_init(|| path);
}

/// What the subcommand does.
#[must_use]
pub fn run() -> ExitCode {
    let signals = match prepare() {
        Ok(signals) => signals,
        Err(error) => {
            // Nobody else could be told.
            drop(io::stdout().write_all(chain(&error).as_bytes()));
            return ExitCode::FAILURE;
        }
    };
    let mut word = [0; GO.len()];
    let told = io::stdout().write_all(READY).and_then(|()| {
        io::stdout().flush()?;
        io::stdin().read_exact(&mut word)
    });
    if told.is_err() || word != *GO {
        return ExitCode::FAILURE;
    }
    loop {
        match signals.wait() {
            Ok(Received::Child) => reap_all(),
            Ok(Received::End) => return ExitCode::SUCCESS,
            Ok(Received::Nothing) => {}
            Err(_) => return ExitCode::FAILURE,
        }
    }
}

fn prepare() -> io::Result<Signals> {
    let signals = Signals::block()?;
    pid_one::hide_host()?;
    pid_one::give_up_privileges()?;
    Ok(signals)
}

fn reap_all() {
    while let Ok(Some(zombie)) = wait::peek() {
        if wait::reap(zombie).is_err() {
            return;
        }
    }
}

/// An init that waits for its go; dropped without, it ends.
#[derive(Debug)]
pub struct Waiting {
    identity: ProcessIdentity,
    go: File,
}

impl Waiting {
    /// Which process it is.
    #[must_use]
    pub const fn identity(&self) -> ProcessIdentity {
        self.identity
    }

    /// Binds its pid namespace on the file `pin`, and lets it live on its own. Blocks.
    ///
    /// # Errors
    /// What mount(2) or write(2) answered; then it has ended, or soon does.
    pub fn release(mut self, pin: &Path) -> io::Result<()> {
        namespace::pin_of(self.identity.pid, Kind::Pid, pin)?;
        self.go.write_all(GO)
    }
}

/// Starts an init in a new pid namespace and in the namespaces that are bound at `inside`. Blocks.
///
/// # Errors
/// What starting it answered, or what the init itself met.
pub fn start(inside: &[(Kind, PathBuf)]) -> io::Result<Waiting> {
    let (stdin, go) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let (answer, stdout) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    // Not the path: an upgrade may have put another program there, which may not know this subcommand's words.
    let program = PROGRAM
        .get()
        .map_or("/proc/self/exe".into(), OsString::from);
    let init = Spawn {
        program,
        args: vec![SUBCOMMAND.into()],
        environment: Environment::Only(Vec::new()),
        cwd: Some("/".into()),
        stdin: Stream::Fd(stdin),
        stdout: Stream::Fd(stdout),
        session: Session::Own,
        open_files: OpenFiles::Inherit,
        ..Spawn::default()
    };
    let pid = namespace::in_thread(move || {
        for (kind, path) in inside {
            namespace::enter(*kind, path)?;
        }
        namespace::leave(&[Kind::Pid])?;
        spawn::spawn(init)
    })??;
    // A child that nobody has reaped: the pid is its own. It opens nothing, so it may be given its limit while it runs.
    if let Err(error) = limits::lower_of(pid) {
        log::warn!(pid = pid.get(), error:%; "limit the open files of a pod's init");
    }
    let identity = proc::identity(pid)?;
    let heard = hear(answer);
    if let Err(error) = heard {
        drop(go);
        end(identity)?;
        return Err(error);
    }
    Ok(Waiting {
        identity,
        go: go.into(),
    })
}

/// Reads what the init says of itself.
fn hear(answer: OwnedFd) -> io::Result<()> {
    let limit = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::MAX);
    let mut fds = [PollFd::new(answer.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut fds, limit) {
            Err(Errno::EINTR) => {}
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            other => {
                other?;
                break;
            }
        }
    }
    let mut answer = File::from(answer);
    let mut said = vec![0; READY.len()];
    let length = answer.read(&mut said)?;
    said.truncate(length);
    if said == READY {
        return Ok(());
    }
    // It has failed, and so ends: its whole message comes.
    answer.take(LONGEST_ANSWER).read_to_end(&mut said)?;
    let said = String::from_utf8_lossy(&said);
    Err(io::Error::other(format!("the pod's init failed: {said}")))
}

/// Kills the init, and with it every process of its pid namespace; waits until it has ended. Blocks. One that has ended
/// already, or whose pid is another's by now, is fine.
///
/// # Errors
/// What the kernel answered; `TimedOut` where it does not end.
pub fn end(identity: ProcessIdentity) -> io::Result<()> {
    // The init of a namespace dies by nothing less from outside, if it does not want to.
    let Some(init) = Pidfd::open(identity)? else {
        // It may be a zombie of ours: identity and parent both must fit.
        if proc::identity(identity.pid).is_ok_and(|found| found == identity)
            && wait::is_child(identity.pid)?
        {
            wait::try_wait(identity.pid)?;
        }
        return Ok(());
    };
    init.signal(Signal::KILL)?;
    if !init.wait(PATIENCE)? {
        return Err(io::ErrorKind::TimedOut.into());
    }
    init.reap()
}
