//! Starting a child process. Nobody here waits for it: see [`super::wait`].
//!
//! By posix_spawn(3), which shares the parent's memory until the exec and so copies no page tables. The standard library
//! uses it too, but not for a child in a session of its own or with descriptors of its own: then it forks.

use std::ffi::{CStr, CString, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::ptr;

use super::limits;
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

/// The limit of open files of a child.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum OpenFiles {
    /// What this process was started with. Only where no other thread needs the raised limit meanwhile
    /// ([`limits::lower_for_child`]).
    #[default]
    AsStarted,
    /// What this process has now.
    Inherit,
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
    /// Its limit of open files.
    pub open_files: OpenFiles,
}

/// The first descriptor after the standard ones.
const FIRST_FURTHER_FD: RawFd = 3;

/// Starts `spawn` and returns its pid. The caller must see to it that the exit is waited for. The child has no signal
/// blocked and ignores none.
///
/// # Errors
/// What clone(2), a step before exec, or execve(2) answered: `NotFound` where there is no such program; `InvalidInput` for
/// a word with a NUL in it.
pub fn spawn(spawn: Spawn) -> io::Result<Pid> {
    let program = CString::new(spawn.program.into_vec())?;
    let args = strings(spawn.args)?;
    let variables = match spawn.environment {
        Environment::Inherit => std::env::vars_os().collect(),
        Environment::Only(variables) => variables,
    };
    let variables = strings(variables.into_iter().map(|(mut variable, value)| {
        variable.push("=");
        variable.push(value);
        variable
    }))?;

    let mut actions = FileActions::new()?;
    let streams = [spawn.stdin, spawn.stdout, spawn.stderr];
    for (target, stream) in (0..).zip(&streams) {
        match stream {
            Stream::Null => actions.null(target)?,
            Stream::Fd(fd) => actions.dup2(fd.as_raw_fd(), target)?,
        }
    }
    // Moved out of the way of the numbers that they will get, so that no dup2 overwrites one still needed.
    let above =
        FIRST_FURTHER_FD + RawFd::try_from(spawn.further_fds.len()).unwrap_or(RawFd::MAX / 2);
    let further = spawn
        .further_fds
        .iter()
        .map(|fd| nix::fcntl::fcntl(fd.as_fd(), nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(above)))
        .collect::<Result<Vec<RawFd>, _>>()?;
    let further = further.into_iter().map(own).collect::<Vec<_>>();
    for (target, source) in (FIRST_FURTHER_FD..).zip(&further) {
        actions.dup2(source.as_raw_fd(), target)?;
    }
    if let Some(cwd) = spawn.cwd {
        actions.chdir(&CString::new(cwd.into_os_string().into_vec())?)?;
    }
    let attributes = Attributes::new(spawn.session)?;

    let argv = pointers(std::iter::once(&program).chain(&args));
    let envp = pointers(&variables);
    let lowered = match spawn.open_files {
        OpenFiles::AsStarted => limits::lower_for_child()?,
        OpenFiles::Inherit => None,
    };
    let mut pid = 0;
    // SAFETY: all that is pointed to lives until the end of this function, both lists of pointers end with a null pointer,
    // and the strings are only read, whatever the C declaration says.
    let started = check(unsafe {
        libc::posix_spawnp(
            &raw mut pid,
            program.as_ptr(),
            &raw const actions.0,
            &raw const attributes.0,
            argv.as_ptr(),
            envp.as_ptr(),
        )
    });
    drop((lowered, streams, further));
    started?;
    u32::try_from(pid)
        .ok()
        .and_then(Pid::new)
        .ok_or_else(|| io::Error::other(format!("posix_spawn returned pid {pid}")))
}

/// What the child does with its descriptors and its working directory before the exec, in order.
struct FileActions(libc::posix_spawn_file_actions_t);

impl FileActions {
    fn new() -> io::Result<Self> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: it is there to be initialised.
        check(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        // SAFETY: it just was.
        Ok(Self(unsafe { actions.assume_init() }))
    }

    /// Opens `/dev/null` as the standard stream `target`.
    fn null(&mut self, target: RawFd) -> io::Result<()> {
        let flags = match target {
            libc::STDIN_FILENO => libc::O_RDONLY,
            _ => libc::O_WRONLY,
        };
        let path = c"/dev/null".as_ptr();
        // SAFETY: `self` is initialised, and the path is copied.
        check(unsafe {
            libc::posix_spawn_file_actions_addopen(&raw mut self.0, target, path, flags, 0)
        })
    }

    fn dup2(&mut self, source: RawFd, target: RawFd) -> io::Result<()> {
        // SAFETY: `self` is initialised; a descriptor that is not open fails in the child.
        check(unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut self.0, source, target) })
    }

    fn chdir(&mut self, path: &CStr) -> io::Result<()> {
        // SAFETY: `self` is initialised, and the path is copied.
        check(unsafe { libc::posix_spawn_file_actions_addchdir_np(&raw mut self.0, path.as_ptr()) })
    }
}

impl Drop for FileActions {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, and not used again.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

/// The child's signals and session.
struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new(session: Session) -> io::Result<Self> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: it is there to be initialised.
        check(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: it just was.
        let mut attributes = Self(unsafe { attributes.assume_init() });
        let none = nix::sys::signal::SigSet::empty();
        // SAFETY: both are initialised; the set is copied.
        check(unsafe { libc::posix_spawnattr_setsigmask(&raw mut attributes.0, none.as_ref()) })?;
        // What this process ignores its children would ignore too (execve(2)). Not by sigfillset(3), which leaves out the
        // signals that the C library keeps to itself.
        let mut all = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: the set has room for its own size, and every pattern of bits is a set.
        unsafe { all.as_mut_ptr().write_bytes(0xff, 1) };
        // SAFETY: both are initialised; the set is copied.
        check(unsafe { libc::posix_spawnattr_setsigdefault(&raw mut attributes.0, all.as_ptr()) })?;
        let signals = libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF;
        let flags = match session {
            Session::Inherit => signals,
            Session::Own => signals | i32::from(libc::POSIX_SPAWN_SETSID),
        };
        let flags = libc::c_short::try_from(flags).map_err(io::Error::other)?;
        // SAFETY: initialised above.
        check(unsafe { libc::posix_spawnattr_setflags(&raw mut attributes.0, flags) })?;
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, and not used again.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}

/// These functions return an error number, and do not set errno.
fn check(code: libc::c_int) -> io::Result<()> {
    match code {
        0 => Ok(()),
        number => Err(io::Error::from_raw_os_error(number)),
    }
}

fn strings(words: impl IntoIterator<Item = OsString>) -> io::Result<Vec<CString>> {
    let words = words.into_iter();
    let words = words.map(|word| CString::new(word.into_vec()).map_err(io::Error::from));
    words.collect()
}

/// Pointers to them, and a null pointer.
fn pointers<'a>(words: impl IntoIterator<Item = &'a CString>) -> Vec<*mut libc::c_char> {
    let words = words.into_iter().map(|word| word.as_ptr().cast_mut());
    words.chain([ptr::null_mut()]).collect()
}

fn own(fd: RawFd) -> OwnedFd {
    use std::os::fd::FromRawFd;
    // SAFETY: `fd` was just returned by F_DUPFD_CLOEXEC and belongs to nobody else.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
