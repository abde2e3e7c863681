//! Damage to what was written down: a file that is torn, empty, missing or of another version; a socket that nobody
//! listens on any more.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::support::poll;

/// What has happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// Only its first half is there.
    Truncated,
    /// It is not there.
    Missing,
    /// Nothing is in it.
    Empty,
    /// A program of another time wrote it.
    FutureVersion,
}

impl Damage {
    /// Every kind.
    pub const ALL: [Self; 4] = [
        Self::Truncated,
        Self::Missing,
        Self::Empty,
        Self::FutureVersion,
    ];

    /// Does it to `file`. What was there comes back when the answer is dropped, unless somebody has written it anew.
    pub fn apply(self, file: &Path) -> Damaged {
        let text = fs::read(file).unwrap();
        let left = match self {
            Self::Truncated => Some(text[..text.len() / 2].to_vec()),
            Self::Missing => None,
            Self::Empty => Some(Vec::new()),
            Self::FutureVersion => {
                Some(br#"{"version":4711,"state":{"Hibernating":{"since":1}}}"#.to_vec())
            }
        };
        match &left {
            Some(bytes) => fs::write(file, bytes).unwrap(),
            None => fs::remove_file(file).unwrap(),
        }
        Damaged {
            file: file.to_owned(),
            text,
            left,
        }
    }
}

/// A damaged file.
#[derive(Debug)]
pub struct Damaged {
    file: PathBuf,
    text: Vec<u8>,
    left: Option<Vec<u8>>,
}

impl Damaged {
    /// It stays as it is.
    pub fn keep(self) {
        std::mem::forget(self);
    }

    /// What is there is no longer what the damage left.
    pub fn is_mended(&self) -> bool {
        fs::read(&self.file).ok() != self.left
    }
}

impl Drop for Damaged {
    fn drop(&mut self) {
        // Its directory may be gone, with the container.
        if !self.is_mended() && self.file.parent().is_some_and(Path::exists) {
            fs::write(&self.file, &self.text).unwrap();
        }
    }
}

/// A socket whose listener is dead. Where one was, it is put aside, its listener alive, and comes back when this is dropped,
/// unless somebody has cleared the place by then.
#[derive(Debug)]
pub struct StaleSocket {
    path: PathBuf,
    aside: Option<PathBuf>,
}

impl StaleSocket {
    /// Puts one at `path`.
    pub fn put(path: &Path) -> Self {
        let aside = path.exists().then(|| {
            // A name of the same length: a socket's path has at most 107 bytes (unix(7)).
            let mut name = path.to_str().unwrap().to_owned();
            name.pop();
            let aside = PathBuf::from(name + "~");
            fs::rename(path, &aside).unwrap();
            aside
        });
        // Closing does not unlink.
        drop(UnixListener::bind(path).unwrap());
        fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
        let stale = Self {
            path: path.to_owned(),
            aside,
        };
        // A child that another thread has forked meanwhile has the listener too, until it executes its program.
        poll::until("nobody listens at a stale socket", || {
            stale.is_there().then_some(()).ok_or_else(String::new)
        });
        stale
    }

    /// It still stands there: nobody listens.
    pub fn is_there(&self) -> bool {
        // Not told by its inode, whose number the next socket may have.
        UnixStream::connect(&self.path)
            .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    }
}

impl Drop for StaleSocket {
    fn drop(&mut self) {
        match (&self.aside, self.is_there()) {
            (Some(aside), true) => drop(fs::rename(aside, &self.path)),
            (None, true) => drop(fs::remove_file(&self.path)),
            // Somebody listens there now, or has removed it: what was put aside is nobody's.
            (Some(aside), false) => drop(fs::remove_file(aside)),
            (None, false) => {}
        }
    }
}
