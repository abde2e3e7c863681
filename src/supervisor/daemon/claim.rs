//! What one supervisor has for itself: its directories, the lock on them, and its socket.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{Mode, umask};

use crate::supervisor::store::Layout;
use crate::sys::socket;

/// Why something is not the supervisor's own.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// A system call failed.
    #[error("{operation} {path:?}")]
    File {
        /// Which.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others can write in a directory.
    #[error("{path:?} is open to others: {reason}")]
    Open {
        /// Which.
        path: PathBuf,
        /// How.
        reason: String,
    },
    /// Another supervisor holds the lock.
    #[error("another supervisor has the state directory {state:?}: {holder}")]
    Taken {
        /// The directory.
        state: PathBuf,
        /// Who.
        holder: String,
    },
    /// What stands at the socket's path is not a socket that one of us left.
    #[error("{path:?} is not a socket, or somebody listens there who does not have our lock")]
    Occupied {
        /// Where.
        path: PathBuf,
    },
}

/// The error of a system call on `path`.
pub fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ClaimError {
    let path = path.to_owned();
    move |source| ClaimError::File {
        operation,
        path,
        source,
    }
}

/// Makes the directories and takes the lock, which is held until the answer is dropped.
///
/// # Errors
/// [`ClaimError`]; without the lock nothing but the state directory was made.
pub fn prepare(layout: &Layout) -> Result<Flock<fs::File>, ClaimError> {
    let state = layout.state();
    private_directory(state)?;
    let lock = lock(state, &layout.lock())?;
    private_directory(layout.root())?;
    // Not made here but when they are needed: where STATE has tasks and ROOT has no containers/, ROOT is not mounted,
    // and recovery takes nothing for an orphan.
    for directory in [layout.containers(), layout.pods()] {
        if directory.exists() {
            private_directory(&directory)?;
        }
    }
    for directory in [layout.pods_state(), layout.tasks()] {
        private_directory(&directory)?;
    }
    Ok(lock)
}

/// Makes a directory for us alone, or looks whether the one that is there lets others write.
fn private_directory(path: &Path) -> Result<(), ClaimError> {
    let mut builder = DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(path);
    made.map_err(failed("create directory", path))?;
    let metadata = fs::metadata(path).map_err(failed("look at", path))?;
    let (mode, owner) = (metadata.mode() & 0o7777, metadata.uid());
    let own = nix::unistd::geteuid().as_raw();
    let reason = match (mode & 0o022, owner) {
        (0, owner) if owner == own => return Ok(()),
        (0, owner) => format!("it belongs to user {owner}"),
        _ => format!("its mode is {mode:o}"),
    };
    Err(ClaimError::Open {
        path: path.to_owned(),
        reason,
    })
}

fn lock(state: &Path, path: &Path) -> Result<Flock<fs::File>, ClaimError> {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).mode(0o600);
    let file = options.open(path).map_err(failed("open", path))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut lock) => {
            // Only for people: whoever reads it may find the number of one that has ended.
            let written = lock
                .set_len(0)
                .and_then(|()| lock.write_all(format!("{}\n", std::process::id()).as_bytes()));
            written.map_err(failed("write", path))?;
            Ok(lock)
        }
        Err((mut file, Errno::EWOULDBLOCK)) => {
            let mut holder = String::new();
            let read = Read::by_ref(&mut file).take(32).read_to_string(&mut holder);
            Err(ClaimError::Taken {
                state: state.to_owned(),
                holder: match (read, holder.trim()) {
                    (Ok(_), pid) if !pid.is_empty() => format!("process {pid}"),
                    _ => "a process that has not said which".to_owned(),
                },
            })
        }
        Err((_, errno)) => Err(failed("lock", path)(errno.into())),
    }
}

/// Listens on `path`, in the place of a socket that one of us left there. The lock must be held.
///
/// # Errors
/// [`ClaimError`].
pub fn listen(path: &Path) -> Result<UnixListener, ClaimError> {
    let occupied = || ClaimError::Occupied {
        path: path.to_owned(),
    };
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {
            // One who serves another state directory at the same address has another lock.
            match socket::presence(path).map_err(failed("connect to", path))? {
                socket::Presence::Alive => return Err(occupied()),
                socket::Presence::Dead => fs::remove_file(path).map_err(failed("remove", path))?,
                socket::Presence::Absent => (),
            }
        }
        Ok(_) => return Err(occupied()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (),
        Err(error) => return Err(failed("look at", path)(error)),
    }
    // bind(2) makes the socket with what the mask leaves, and it listens before its mode can be changed.
    let mask = umask(Mode::from_bits_truncate(0o177));
    let listener = socket::listen(path);
    umask(mask);
    let listener = listener.map_err(failed("listen on", path))?;
    let set = listener.set_nonblocking(true);
    set.map_err(failed("listen on", path))?;
    Ok(listener)
}
