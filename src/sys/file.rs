//! Files that are whole or not there: written, synchronised, and only then visible (fsync(2), rename(2)), so that
//! they survive a crash of the machine; and read no further than a limit.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What files of the shim may be: nobody else reads them.
const MODE: u32 = 0o600;

/// Puts `bytes` at `path` in one step: a reader, or the machine after a crash, sees the old file or the new one whole.
///
/// Blocks for two fsyncs. One writer at a time: the temporary file's name is fixed, so that a crash leaves one at most.
///
/// # Errors
/// What the file system answered; the old file is then still there, and the temporary one is not.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary(path)?;
    let written = write_new(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // The write's error is the one to tell; what cannot be removed is replaced by the next attempt.
        drop(fs::remove_file(&temporary));
        return Err(error);
    }
    sync_parent(path)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(MODE)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// `path` with a dot before its name and `.tmp` after it, in the same directory and so on the same file system.
fn temporary(path: &Path) -> io::Result<PathBuf> {
    let Some(name) = path.file_name() else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".tmp");
    Ok(path.with_file_name(hidden))
}

/// Makes the entries of the directory that holds `path` durable.
///
/// # Errors
/// What opening or synchronising the directory answered.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    File::open(parent)?.sync_all()
}

/// The contents of `path`, at most `limit` bytes.
///
/// # Errors
/// What open(2) or read(2) answered; `FileTooLarge` past the limit.
pub fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    contents_of(File::open(path)?, limit)
}

/// As [`read_bounded`], of a path that another program has named or could have replaced: nothing there is waited for.
/// open(2) of a fifo waits for its writer, and so would whoever serves everybody from one thread.
///
/// # Errors
/// As [`read_bounded`]; `InvalidInput` for a fifo.
pub fn read_at_once(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path)?;
    if file.metadata()?.file_type().is_fifo() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a fifo"));
    }
    contents_of(file, limit)
}

fn contents_of(file: File, limit: u64) -> io::Result<Vec<u8>> {
    let mut contents = Vec::new();
    file.take(limit.saturating_add(1))
        .read_to_end(&mut contents)?;
    if u64::try_from(contents.len()).is_ok_and(|len| len <= limit) {
        Ok(contents)
    } else {
        Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("more than {limit} bytes"),
        ))
    }
}

/// Removes the files in a directory and the directory. What else is in it stays, and the directory with it. Succeeds
/// where there is none.
///
/// # Errors
/// What the file system answered; `DirectoryNotEmpty` where something stays.
pub fn remove_with_files(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    fs::remove_dir(directory)
}

/// Directories for tests.
#[cfg(test)]
pub mod scratch {
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicU32, Ordering};

    /// An empty directory of its own, removed with its content on drop.
    #[derive(Debug)]
    pub struct Scratch(PathBuf);

    impl Scratch {
        /// Makes it.
        #[must_use]
        #[expect(
            clippy::new_without_default,
            reason = "making a directory is no default"
        )]
        pub fn new() -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let name = format!(
                "outlive-test-{}-{}",
                std::process::id(),
                NEXT.fetch_add(1, Ordering::Relaxed)
            );
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&path).unwrap();
            Self(path.canonicalize().unwrap())
        }

        /// Where it is.
        #[must_use]
        pub fn path(&self) -> &Path {
            &self.0
        }

        /// Writes a file in it, with the directories on the way.
        pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
            let path = self.0.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            drop(std::fs::remove_dir_all(&self.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::scratch::Scratch;
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_replaced_file_is_private_and_leaves_no_temporary_one() {
        let scratch = Scratch::new();
        let path = scratch.path().join("address");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_replacement_keeps_the_old_file() {
        let scratch = Scratch::new();
        let path = scratch.path().join("taken");
        fs::create_dir_all(path.join("full")).unwrap();
        assert!(replace(&path, b"x").is_err());
        assert!(path.join("full").is_dir());
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
        assert!(replace(&scratch.path().join("no/such/dir"), b"x").is_err());
    }

    #[test]
    fn a_fifo_that_nobody_writes_to_is_refused_and_not_waited_for() {
        let scratch = Scratch::new();
        let path = scratch.path().join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let refused = read_at_once(&path, 10).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        scratch.write("file", "0123456789");
        let file = scratch.path().join("file");
        assert_eq!(read_at_once(&file, 10).unwrap(), b"0123456789");
        assert!(read_at_once(&file, 9).is_err());
    }
}
