//! What one supervisor has for itself: its two directories, a lock in each, and its socket.
//!
//! ```text
//! ROOT, STATE                              flock(2), held until this process ends
//! ROOT/outlive.lock, STATE/outlive.lock    the holder's pid, for people; locked too, as earlier versions do in STATE
//! ```
//!
//! A lock is the kernel's and goes with its process, so a file that a dead supervisor left is no lock. It is the inode's:
//! a directory that is reached by another name, through a link or a bind mount, has the same one. It needs no file, so
//! that a full disk stops no start. A start that has no lock never waits. One that has a lock tries the other for a second:
//! a start that is being refused may look at it at that moment, and holds it no longer than that.

use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{Mode, umask};

use crate::supervisor::store::Layout;
use crate::sys::socket;

/// How long one that has a lock tries to get the other, and how often it looks.
const PATIENCE: Duration = Duration::from_secs(1);
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

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
    /// Another supervisor holds a lock.
    #[error(
        "another supervisor runs on these directories: {}; nothing was changed. Stop it, or give this one a --root and a \
         --state of its own",
        .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    Taken(Vec<Holder>),
    /// Root and state are one directory, by two names.
    #[error(
        "the root {root:?} and the state {state:?} are the same directory: one outlives a reboot, the other must not"
    )]
    Same {
        /// `--root`.
        root: PathBuf,
        /// `--state`.
        state: PathBuf,
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

/// A lock that another supervisor holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// `root` or `state`.
    role: &'static str,
    directory: PathBuf,
    /// What the lock file says; empty where its holder has not written it yet.
    pid: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            role,
            directory,
            pid,
        } = self;
        match pid.as_str() {
            "" => write!(f, "the {role} {directory:?} is locked"),
            pid => write!(f, "the {role} {directory:?} is locked by process {pid}"),
        }
    }
}

/// The locks on both directories.
#[derive(Debug)]
pub struct Claim {
    #[expect(dead_code, reason = "held until this is dropped")]
    locks: Vec<Locked>,
}

/// Makes the directories and locks them.
///
/// # Errors
/// [`ClaimError`]; `Taken` before anything but the directories was made.
pub fn prepare(layout: &Layout) -> Result<Claim, ClaimError> {
    let (root, state) = (layout.root(), layout.state());
    let mut places = [
        Place::new("root", root, layout.root_lock()),
        Place::new("state", state, layout.state_lock()),
    ];
    places.sort_by_key(|place| inode(place.directory));
    check_distinct(root, state)?;
    // What is there first: where it cannot be used, or another supervisor has it, nothing is made.
    for place in places.iter().filter(|place| place.directory.exists()) {
        private_directory(place.directory)?;
    }
    let mut holders = take(places.iter_mut().filter(|place| place.directory.exists()))?;
    if holders.is_empty() {
        for place in &places {
            private_directory(place.directory)?;
        }
        check_distinct(root, state)?;
        places.sort_by_key(|place| inode(place.directory));
        let at_hand = places.iter().any(|place| place.taken.is_some());
        let left = places.iter_mut().filter(|place| place.taken.is_none());
        holders = if at_hand {
            take_patiently(left)?
        } else {
            take(left)?
        };
    }
    if !holders.is_empty() {
        return Err(ClaimError::Taken(holders));
    }
    for place in &mut places {
        place.sign();
    }
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
    Ok(Claim {
        locks: places.into_iter().filter_map(|place| place.taken).collect(),
    })
}

/// Takes the locks of `places`, each at once but those after one that was got; answers who holds the others.
fn take<'a, 'b: 'a>(
    places: impl Iterator<Item = &'a mut Place<'b>>,
) -> Result<Vec<Holder>, ClaimError> {
    let mut holders = Vec::new();
    let mut places = places;
    while let Some(place) = places.next() {
        match place.take()? {
            Some(holder) => holders.push(holder),
            None if holders.is_empty() => return take_patiently(places),
            // Looked at to name its holder only.
            None => place.taken = None,
        }
    }
    Ok(holders)
}

/// The same for one who has a lock already.
fn take_patiently<'a, 'b: 'a>(
    places: impl Iterator<Item = &'a mut Place<'b>>,
) -> Result<Vec<Holder>, ClaimError> {
    let mut holders = Vec::new();
    for place in places {
        let end = Instant::now() + PATIENCE;
        let mut holder = place.take()?;
        while holder.is_some() && Instant::now() < end {
            thread::sleep(LOOK_INTERVAL);
            holder = place.take()?;
        }
        holders.extend(holder);
    }
    Ok(holders)
}

fn check_distinct(root: &Path, state: &Path) -> Result<(), ClaimError> {
    if inode(root).is_some() && inode(root) == inode(state) {
        return Err(ClaimError::Same {
            root: root.to_owned(),
            state: state.to_owned(),
        });
    }
    Ok(())
}

/// Device and inode of a directory; `None` if it does not exist.
fn inode(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
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

/// One of the two directories.
struct Place<'a> {
    role: &'static str,
    directory: &'a Path,
    file: PathBuf,
    taken: Option<Locked>,
}

/// A directory and the file in it.
#[derive(Debug)]
struct Locked {
    #[expect(dead_code, reason = "held until this is dropped")]
    directory: Flock<fs::File>,
    file: Option<Flock<fs::File>>,
}

impl<'a> Place<'a> {
    const fn new(role: &'static str, directory: &'a Path, file: PathBuf) -> Self {
        Self {
            role,
            directory,
            file,
            taken: None,
        }
    }

    /// Takes the locks that are there, and makes nothing; answers their holder where one is another's.
    fn take(&mut self) -> Result<Option<Holder>, ClaimError> {
        let open = fs::File::open(self.directory);
        let open = open.map_err(failed("open", self.directory))?;
        let directory = match Flock::lock(open, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((_, Errno::EWOULDBLOCK)) => return Ok(Some(self.holder())),
            Err((_, errno)) => return Err(failed("lock", self.directory)(errno.into())),
        };
        let mut options = OpenOptions::new();
        let file = match options.read(true).write(true).open(&self.file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            opened => {
                let file = opened.map_err(failed("open", &self.file))?;
                match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                    Ok(lock) => Some(lock),
                    Err((_, Errno::EWOULDBLOCK)) => return Ok(Some(self.holder())),
                    Err((_, errno)) => return Err(failed("lock", &self.file)(errno.into())),
                }
            }
        };
        self.taken = Some(Locked { directory, file });
        Ok(None)
    }

    fn holder(&self) -> Holder {
        let mut pid = String::new();
        if let Ok(file) = fs::File::open(&self.file) {
            // Without it the error says less, and is the same.
            drop(file.take(32).read_to_string(&mut pid));
        }
        Holder {
            role: self.role,
            directory: self.directory.to_owned(),
            pid: pid.trim().to_owned(),
        }
    }

    /// Writes our pid into the file. Only for people: the file of a holder that has ended still says its number, and a
    /// full disk takes none.
    fn sign(&mut self) {
        let Some(taken) = &mut self.taken else {
            return;
        };
        let write = |file: &mut Option<Flock<fs::File>>| {
            if file.is_none() {
                let mut options = OpenOptions::new();
                let options = options.read(true).write(true).create(true).mode(0o600);
                let made = options.open(&self.file)?;
                let lock = Flock::lock(made, FlockArg::LockExclusiveNonblock);
                *file = Some(lock.map_err(|(_, errno)| errno)?);
            }
            let Some(file) = file else { return Ok(()) };
            file.set_len(0)?;
            file.write_all(format!("{}\n", std::process::id()).as_bytes())
        };
        if let Err(error) = write(&mut taken.file) {
            log::warn!(file:% = self.file.display(), error:% = error; "a second supervisor could not say which process has its directories");
        }
    }
}

/// Listens on `path`, in the place of a socket that one of us left there. The locks must be held.
///
/// # Errors
/// [`ClaimError`].
pub fn listen(path: &Path) -> Result<UnixListener, ClaimError> {
    let occupied = || ClaimError::Occupied {
        path: path.to_owned(),
    };
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {
            // One who serves other directories at the same address has other locks.
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
