//! Copies a directory of an image, as overlayfs would show it, to a place outside of the layers: the content of a volume.
//!
//! Owners, modes, times and extended attributes are kept; of several names of one file each becomes a file of its own.
//! Nothing outside of the layers is opened: links are copied, and not followed.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, UtimensatFlags, fstat, fstatat, mknod, utimensat};
use nix::sys::time::TimeSpec;

use super::layers::{Entry, FILE, Merged, kind, lookup};
use crate::sys::xattr;

/// Directories below each other, at most: those of the present path are open, in each layer that has them.
const DEEPEST: usize = 128;

/// Attributes of overlayfs itself: they say how layers lie on each other.
const OVERLAY: &[u8] = b"trusted.overlay.";

/// A directory that is being copied.
struct Copying {
    from: Merged,
    to: PathBuf,
    stat: FileStat,
    /// What is still to be copied of it.
    names: std::collections::btree_set::IntoIter<OsString>,
}

impl Copying {
    /// Makes the directory `to` like `from`; `None` where `from` has no layer.
    fn begin(from: Merged, to: PathBuf) -> io::Result<Option<Self>> {
        let Some(top) = from.first() else {
            return Ok(None);
        };
        let stat = fstat(top)?;
        fs::create_dir(&to)?;
        own(&to, &stat)?;
        attributes(&through(top).join("."), &to)?;
        Ok(Some(Self {
            names: names(&from)?.into_iter(),
            from,
            to,
            stat,
        }))
    }
}

/// Copies `from` and all that is in it to the new directory `to`. Only the directories of one path are open at a time.
///
/// # Errors
/// What the kernel answered, or more than [`DEEPEST`] directories below each other; what was copied by then stays.
pub(super) fn directory(from: Merged, to: &Path) -> io::Result<()> {
    let mut path: Vec<Copying> = Copying::begin(from, to.to_owned())?.into_iter().collect();
    while let Some(here) = path.last_mut() {
        let Some(name) = here.names.next() else {
            // When all that is in it is there: making that has changed the times.
            set_times(&here.to, &here.stat)?;
            path.pop();
            continue;
        };
        let target = here.to.join(&name);
        match lookup(&here.from, &name)? {
            Entry::Absent | Entry::Blocked => {}
            Entry::Link(text) => link(&here.from, &name, &text, &target)?,
            Entry::Other(parent, name) => file(&parent, &name, &target)?,
            Entry::Directory(_) if path.len() >= DEEPEST => {
                return Err(io::ErrorKind::InvalidFilename.into());
            }
            Entry::Directory(below) => path.extend(Copying::begin(below, target)?),
        }
    }
    Ok(())
}

/// Every name that any of the directories has, whiteouts included.
fn names(merged: &Merged) -> io::Result<BTreeSet<OsString>> {
    let mut names = BTreeSet::new();
    for layer in merged {
        for entry in fs::read_dir(through(layer))? {
            names.insert(entry?.file_name());
        }
    }
    Ok(names)
}

/// A path to an open directory, for calls that take no descriptor (proc_pid_fd(5)).
fn through(directory: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()))
}

fn link(merged: &Merged, name: &OsStr, text: &OsStr, to: &Path) -> io::Result<()> {
    symlink(text, to)?;
    for layer in merged {
        if readlinkat(layer, name).is_ok() {
            let stat = fstatat(layer, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
            lchown(to, Some(stat.st_uid), Some(stat.st_gid))?;
            return set_times(to, &stat);
        }
    }
    Ok(())
}

fn file(parent: &OwnedFd, name: &OsStr, to: &Path) -> io::Result<()> {
    let stat = fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    if kind(&stat) == SFlag::S_IFREG {
        let mut from = File::from(openat(parent, name, FILE, Mode::empty())?);
        let mut copy = File::create_new(to)?;
        io::copy(&mut from, &mut copy)?;
    } else {
        mknod(to, kind(&stat), Mode::empty(), stat.st_rdev)?;
    }
    own(to, &stat)?;
    attributes(&through(parent).join(name), to)?;
    set_times(to, &stat)
}

/// Owner before mode and attributes: chown(2) clears the set-user-ID bits and the capabilities.
fn own(path: &Path, stat: &FileStat) -> io::Result<()> {
    chown(path, Some(stat.st_uid), Some(stat.st_gid))?;
    fs::set_permissions(path, fs::Permissions::from_mode(stat.st_mode & 0o7777))
}

fn attributes(from: &Path, to: &Path) -> io::Result<()> {
    for name in xattr::list(from)? {
        if name.as_bytes().starts_with(OVERLAY) {
            continue;
        }
        if let Some(value) = xattr::get(from, &name)? {
            xattr::set(to, &name, &value)?;
        }
    }
    Ok(())
}

fn set_times(path: &Path, stat: &FileStat) -> io::Result<()> {
    let (accessed, modified) = (
        TimeSpec::new(stat.st_atime, stat.st_atime_nsec),
        TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec),
    );
    Ok(utimensat(
        AT_FDCWD,
        path,
        &accessed,
        &modified,
        UtimensatFlags::NoFollowSymlink,
    )?)
}

#[cfg(test)]
mod tests {
    use super::super::layers::{Layers, Place};
    use super::*;
    use crate::sys::file::scratch::Scratch;
    use crate::sys::opaque::mark_opaque;
    use nix::sys::stat::makedev;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_directory_of_several_layers_is_copied_as_the_container_would_see_it() {
        let scratch = Scratch::new();
        scratch.write("0/data/low", "low");
        scratch.write("0/data/both", "low");
        scratch.write("0/data/gone", "low");
        scratch.write("0/data/sub/hidden", "low");
        scratch.write("1/data/both", "top");
        scratch.write("1/data/sub/seen", "top");
        let at = |name: &str| scratch.path().join(name);
        mark_opaque(&at("1/data/sub")).unwrap();
        mknod(
            &at("1/data/gone"),
            SFlag::S_IFCHR,
            Mode::empty(),
            makedev(0, 0),
        )
        .unwrap();
        symlink("/etc/shadow", at("1/data/link")).unwrap();
        chown(at("0/data/low"), Some(7), Some(8)).unwrap();
        fs::set_permissions(at("0/data/low"), fs::Permissions::from_mode(0o4751)).unwrap();
        xattr::set(&at("0/data/low"), OsStr::new("trusted.test"), b"kept").unwrap();
        fs::set_permissions(at("1/data"), fs::Permissions::from_mode(0o1770)).unwrap();
        let layers = [at("0"), at("1")];
        let Place::Directory(found) = Layers::new(&layers).place(Path::new("/data")).unwrap()
        else {
            panic!("/data is not found")
        };
        let to = at("copy");
        directory(found, &to).unwrap();
        let read = |name: &str| fs::read_to_string(to.join(name)).unwrap();
        assert_eq!((read("low"), read("both")), ("low".into(), "top".into()));
        assert_eq!(read("sub/seen"), "top");
        for absent in ["gone", "sub/hidden"] {
            assert!(!to.join(absent).exists(), "{absent}");
        }
        assert_eq!(
            fs::read_link(to.join("link")).unwrap(),
            Path::new("/etc/shadow")
        );
        let low = fs::metadata(to.join("low")).unwrap();
        assert_eq!((low.uid(), low.gid(), low.mode() & 0o7777), (7, 8, 0o4751));
        let before = fs::metadata(at("0/data/low")).unwrap();
        assert_eq!(low.modified().unwrap(), before.modified().unwrap());
        let kept = xattr::get(&to.join("low"), OsStr::new("trusted.test")).unwrap();
        assert_eq!(kept.as_deref(), Some(&b"kept"[..]));
        assert_eq!(xattr::list(&to.join("sub")).unwrap(), [""; 0]);
        assert_eq!(fs::metadata(&to).unwrap().mode() & 0o7777, 0o1770);
    }

    #[test]
    fn siblings_are_not_open_together_and_a_tree_that_is_too_deep_is_refused() {
        let scratch = Scratch::new();
        let deepest = "d/".repeat(DEEPEST - 2);
        fs::create_dir_all(scratch.path().join("0/data").join(&deepest)).unwrap();
        for number in 0..2000 {
            fs::create_dir(scratch.path().join(format!("0/data/{number}"))).unwrap();
        }
        let layers = [scratch.path().join("0")];
        let find = || match Layers::new(&layers).place(Path::new("/data")).unwrap() {
            Place::Directory(found) => found,
            other => panic!("{other:?}"),
        };
        let to = scratch.path().join("copy");
        directory(find(), &to).unwrap();
        assert!(to.join(&deepest).is_dir() && to.join("1999").is_dir());
        let deeper = scratch.path().join("0/data").join(deepest).join("d/d");
        fs::create_dir_all(deeper).unwrap();
        assert!(directory(find(), &scratch.path().join("again")).is_err());
    }
}
