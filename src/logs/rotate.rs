//! The names of old log files, and the renames that make one.
//!
//! ```text
//! a plain log    p  ->  p.1  ->  p.2  ..  p.N, which the next one replaces
//! a CRI log      0.log  ->  .0.log.1  ->  .0.log.2  ..      in the same directory
//! ```
//!
//! The kubelet takes everything that matches `0.log.*` for its own old files, compresses and removes it
//! (`pkg/kubelet/logs/container_log_manager.go`); hence the dot in front.
//!
//! The new file is made under a hidden name first: where none can be made nothing was renamed. Nothing is truncated or
//! copied, so that a reader of the old file reads on.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

/// How old files are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// With a number behind the name.
    Suffixed,
    /// The same, and hidden.
    Hidden,
}

impl Naming {
    /// The `number`th old file of the log at `path`; 1 is the youngest.
    #[must_use]
    pub fn old(self, path: &Path, number: u32) -> PathBuf {
        match self {
            Self::Suffixed => renamed(path, "", &number.to_string()),
            Self::Hidden => renamed(path, ".", &number.to_string()),
        }
    }
}

fn renamed(path: &Path, before: &str, extension: &str) -> PathBuf {
    let mut name = OsString::from(before);
    name.push(path.file_name().unwrap_or_default());
    name.push(".");
    name.push(extension);
    path.with_file_name(name)
}

/// Makes room at `path`: what is there becomes the first of at most `keep` old files, and a new file, made by `create`
/// (which must fail where there is one), takes its place. Does not fsync.
///
/// # Errors
/// What `create` or rename(2) answered; then `path` is what it was before.
pub fn rotate(
    path: &Path,
    naming: Naming,
    keep: NonZeroU32,
    create: impl FnOnce(&Path) -> io::Result<File>,
) -> io::Result<File> {
    let fresh = renamed(path, ".", "new");
    // Left by a shim that was killed between the renames; it is empty.
    remove(&fresh)?;
    let file = create(&fresh)?;
    let youngest = naming.old(path, 1);
    let moved =
        shift(path, naming, keep).and_then(|()| absent_is_fine(fs::rename(path, &youngest)));
    let placed = moved.and_then(|()| {
        fs::rename(&fresh, path).inspect_err(|_| {
            // The log must have its name; who cannot undo that has an error to tell anyhow.
            drop(fs::rename(&youngest, path));
        })
    });
    match placed {
        Ok(()) => Ok(file),
        Err(error) => {
            drop(remove(&fresh));
            Err(error)
        }
    }
}

/// Frees the name of the youngest old file, by moving as few as possible.
fn shift(path: &Path, naming: Naming, keep: NonZeroU32) -> io::Result<()> {
    let taken = |number: &u32| fs::symlink_metadata(naming.old(path, *number)).is_ok();
    let last = (1..keep.get()).take_while(taken).count();
    for number in (1..=u32::try_from(last).unwrap_or(u32::MAX)).rev() {
        absent_is_fine(fs::rename(
            naming.old(path, number),
            naming.old(path, number + 1),
        ))?;
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    absent_is_fine(fs::remove_file(path))
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::file::scratch::Scratch;

    fn texts(scratch: &Scratch) -> Vec<(String, String)> {
        let mut all: Vec<_> = fs::read_dir(scratch.path())
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                let name = entry.file_name().into_string().unwrap();
                (name, fs::read_to_string(entry.path()).unwrap())
            })
            .collect();
        all.sort();
        all
    }

    #[test]
    fn the_oldest_goes_when_there_are_enough() {
        for (naming, name) in [(Naming::Suffixed, "log"), (Naming::Hidden, ".log")] {
            let scratch = Scratch::new();
            let path = scratch.path().join("log");
            for round in 0..5 {
                fs::write(&path, round.to_string()).unwrap();
                rotate(&path, naming, NonZeroU32::new(3).unwrap(), |path| {
                    File::create_new(path)
                })
                .unwrap();
            }
            let mut expected: Vec<_> = [("1", "4"), ("2", "3"), ("3", "2")]
                .map(|(number, text)| (format!("{name}.{number}"), text.to_owned()))
                .to_vec();
            expected.push(("log".to_owned(), String::new()));
            expected.sort();
            assert_eq!(texts(&scratch), expected);
        }
    }

    #[test]
    fn a_gap_is_filled_and_nothing_behind_it_is_touched() {
        let scratch = Scratch::new();
        for name in ["log", "log.1", "log.3"] {
            scratch.write(name, name);
        }
        let path = scratch.path().join("log");
        let keep = NonZeroU32::new(9).unwrap();
        rotate(&path, Naming::Suffixed, keep, |path| File::create_new(path)).unwrap();
        let expected = [
            ("log", ""),
            ("log.1", "log"),
            ("log.2", "log.1"),
            ("log.3", "log.3"),
        ];
        assert_eq!(
            texts(&scratch),
            expected.map(|(name, text)| (name.to_owned(), text.to_owned()))
        );
    }

    #[test]
    fn where_no_file_can_be_made_everything_stays() {
        let scratch = Scratch::new();
        scratch.write("log", "text");
        let path = scratch.path().join("log");
        let keep = NonZeroU32::new(1).unwrap();
        let full = |_: &Path| Err(io::Error::from(io::ErrorKind::StorageFull));
        assert!(rotate(&path, Naming::Suffixed, keep, full).is_err());
        assert_eq!(texts(&scratch), [("log".to_owned(), "text".to_owned())]);
    }
}
