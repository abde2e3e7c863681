//! The files of one log, and which comes after which.
//!
//! ```text
//! 0.log                       being written; absent for a moment while it is rotated
//! .0.log.1  .0.log.2  ..      the shim's old files, 1 the youngest
//! 0.log.20240229-100000       the kubelet's old files (pkg/kubelet/logs/container_log_manager.go)
//! 0.log.*.gz  0.log.*.tmp     compressed by the kubelet: not read
//! ```
//!
//! A log is renamed and then written to until the shim has opened the new one; so an old file is complete once there is
//! a younger one, or a moment later.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A file, whatever its name is by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
}

impl From<&Metadata> for Identity {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// One of a log's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// Where it is.
    pub path: PathBuf,
    /// Which it is.
    pub identity: Identity,
    /// Its bytes.
    pub len: u64,
}

/// Where a file is in the order of those last written at the same moment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Numbered downwards: the larger number is the older file.
    Numbered(std::cmp::Reverse<u32>),
    /// Named after its time.
    Dated(Vec<u8>),
    /// The one that is being written.
    Current,
}

/// The files of the log at `path`, the oldest first.
///
/// # Errors
/// What readdir(3) or stat(2) answered; a file that has gone meanwhile is left out.
pub fn all(path: &Path) -> io::Result<Vec<LogFile>> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let base = path.file_name().unwrap_or_default();
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let Some(rank) = rank(base, &entry.file_name()) else {
            continue;
        };
        match fs::metadata(entry.path()) {
            Ok(metadata) if metadata.is_file() => {
                let written = (metadata.mtime(), metadata.mtime_nsec());
                found.push((rank == Rank::Current, written, rank, entry.path(), metadata));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    found.sort_by(|one, other| (one.0, one.1, &one.2).cmp(&(other.0, other.1, &other.2)));
    let file = |(_, _, _, path, metadata): (_, _, _, _, Metadata)| LogFile {
        path,
        identity: Identity::from(&metadata),
        len: metadata.len(),
    };
    Ok(found.into_iter().map(file).collect())
}

fn rank(base: &OsStr, name: &OsStr) -> Option<Rank> {
    let (base, name) = (base.as_bytes(), name.as_bytes());
    if name == base {
        return Some(Rank::Current);
    }
    let hidden = name.strip_prefix(b".");
    let ending = |name: &'_ [u8]| Some(name.strip_prefix(base)?.strip_prefix(b".")?.to_vec());
    if let Some(ending) = hidden.and_then(ending) {
        let number = std::str::from_utf8(&ending).ok()?.parse().ok()?;
        return Some(Rank::Numbered(std::cmp::Reverse(number)));
    }
    let ending = ending(name)?;
    let is_date = ending.len() == 15
        && ending.iter().enumerate().all(|(at, byte)| match at {
            8 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    is_date.then_some(Rank::Dated(ending))
}

/// The files that come after `file`, the oldest first; `None` where it is none of the log's any more.
///
/// # Errors
/// Those of [`all`].
pub fn after(path: &Path, file: Identity) -> io::Result<Option<Vec<LogFile>>> {
    let mut files = all(path)?;
    let place = files.iter().position(|other| other.identity == file);
    Ok(place.map(|place| files.split_off(place + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_files_come_before_young_ones_and_strangers_are_left_out() {
        let dir = std::env::temp_dir().join(format!("outlive-files-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let at = |seconds| std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        for (name, seconds) in [
            ("0.log", 1),
            (".0.log.1", 500),
            (".0.log.2", 500),
            ("0.log.20240229-100000", 400),
            ("0.log.20240229-100000.gz", 400),
            ("0.log.20240229-100000.tmp", 400),
            (".0.log.new", 600),
            ("10.log", 600),
            ("0.log.old", 600),
        ] {
            let file = fs::File::create(dir.join(name)).unwrap();
            file.set_modified(at(seconds)).unwrap();
        }
        let files = all(&dir.join("0.log")).unwrap();
        let names: Vec<_> = files
            .iter()
            .map(|file| file.path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        let expected = ["0.log.20240229-100000", ".0.log.2", ".0.log.1", "0.log"];
        assert_eq!(names, expected);
        let rest = after(&dir.join("0.log"), files[1].identity)
            .unwrap()
            .unwrap();
        assert_eq!(rest, files[2..]);
        fs::remove_file(&files[0].path).unwrap();
        assert_eq!(after(&dir.join("0.log"), files[0].identity).unwrap(), None);
        fs::remove_dir_all(&dir).unwrap();
    }
}
