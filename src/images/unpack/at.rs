//! A directory that is held open, and what is done to the names in it: nothing here follows a symbolic link.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmodat, fstatat, mkdirat, mknodat,
    utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, linkat, symlinkat, unlinkat};

use crate::sys::xattr;

/// Marks a directory whose lower ones are not seen (overlayfs(5), "Opaque directories").
pub(super) const OPAQUE: &str = "trusted.overlay.opaque";

/// What overlayfs writes for itself.
pub(crate) const OVERLAY_PREFIX: &str = "trusted.overlay.";

/// A directory that is held open.
#[derive(Debug)]
pub struct Directory(OwnedFd);

/// What else a file has besides its content.
#[derive(Debug, Clone)]
pub struct Attributes {
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
    /// Seconds since the epoch and nanoseconds.
    pub modified: (i64, u32),
    pub xattrs: Vec<(OsString, Vec<u8>)>,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    Directory,
    Symlink,
    /// A character device 0:0: nothing is seen of what lower layers have here (overlayfs(5), "whiteouts").
    Whiteout,
    Other,
}

impl Directory {
    /// Opens `path`.
    pub fn new(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self(nix::fcntl::open(path, flags, Mode::empty())?))
    }

    /// Opens the directory `name` in this one.
    pub fn open(&self, name: &OsStr) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(Self(openat(self, name, flags, Mode::empty())?))
    }

    /// Opens the directory at `path` below this one, in which no part is a symbolic link.
    pub fn open_below(&self, path: &Path) -> io::Result<Self> {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        Ok(Self(openat2(self, path, how)?))
    }

    /// A path to `name` in this directory, for calls that take no descriptor.
    pub fn path(&self, name: &OsStr) -> PathBuf {
        Path::new("/proc/self/fd")
            .join(self.0.as_raw_fd().to_string())
            .join(name)
    }

    /// What is known of `name`; `None` where it is not there.
    pub fn stat(&self, name: &OsStr) -> io::Result<Option<FileStat>> {
        match fstatat(self, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => Ok(None),
            other => Ok(Some(other?)),
        }
    }

    /// What `name` stands for.
    pub fn find(&self, name: &OsStr) -> io::Result<Option<Found>> {
        Ok(self.stat(name)?.map(|stat| found(&stat)))
    }

    /// Where the symbolic link `name` leads.
    pub fn read_link(&self, name: &OsStr) -> io::Result<OsString> {
        Ok(readlinkat(self, name)?)
    }

    /// Makes a directory, for root alone until it gets its attributes.
    pub fn make_directory(&self, name: &OsStr) -> io::Result<()> {
        Ok(mkdirat(self, name, Mode::S_IRWXU)?)
    }

    /// Makes an empty file to be written.
    pub fn create(&self, name: &OsStr) -> io::Result<File> {
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        Ok(File::from(openat(self, name, flags, mode)?))
    }

    /// Opens a regular file to be read.
    pub fn read(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        Ok(File::from(openat(self, name, flags, Mode::empty())?))
    }

    /// Makes a symbolic link to `target`.
    pub fn symlink(&self, name: &OsStr, target: &OsStr) -> io::Result<()> {
        Ok(symlinkat(target, self, name)?)
    }

    /// Makes a device or a named pipe.
    pub fn make_node(&self, name: &OsStr, kind: SFlag, device: u64) -> io::Result<()> {
        Ok(mknodat(self, name, kind, Mode::S_IRUSR, device)?)
    }

    /// Makes a whiteout.
    pub fn make_whiteout(&self, name: &OsStr) -> io::Result<()> {
        self.make_node(name, SFlag::S_IFCHR, 0)
    }

    /// Gives the file `from` in `of` another name here.
    pub fn link(&self, name: &OsStr, of: &Self, from: &OsStr) -> io::Result<()> {
        // Without AT_SYMLINK_FOLLOW the link itself gets the name.
        Ok(linkat(of, from, self, name, AtFlags::empty())?)
    }

    /// Removes `name`, with all that is in it where it is a directory.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        match unlinkat(self, name, UnlinkatFlags::NoRemoveDir) {
            Err(Errno::EISDIR) => std::fs::remove_dir_all(self.path(name)),
            other => Ok(other?),
        }
    }

    /// Makes lower layers' directories under `name` unseen.
    pub fn make_opaque(&self, name: &OsStr) -> io::Result<()> {
        xattr::set(&self.path(name), OsStr::new(OPAQUE), b"y")
    }

    /// Whether lower layers' directories are unseen under this one.
    pub fn is_opaque(&self) -> io::Result<bool> {
        let value = xattr::get(&self.path(OsStr::new(".")), OsStr::new(OPAQUE))?;
        Ok(value.as_deref() == Some(b"y"))
    }

    /// Reads the attributes of `name`.
    pub fn attributes(&self, name: &OsStr, stat: &FileStat) -> io::Result<Attributes> {
        let path = self.path(name);
        let mut xattrs = Vec::new();
        for attribute in xattr::list(&path)? {
            let own = attribute.as_bytes().starts_with(OVERLAY_PREFIX.as_bytes());
            if let Some(value) = xattr::get(&path, &attribute)?.filter(|_| !own) {
                xattrs.push((attribute, value));
            }
        }
        Ok(Attributes {
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: stat.st_mode & 0o7777,
            modified: (
                stat.st_mtime,
                u32::try_from(stat.st_mtime_nsec).unwrap_or_default(),
            ),
            xattrs,
        })
    }

    /// Gives `name` its attributes. The owner comes first: a change of it clears set-user-ID and file capabilities.
    ///
    /// An attribute that the file system has no room for by design (`EOPNOTSUPP`) is left out, as containerd does it;
    /// but for file capabilities, without which the program would not work.
    pub fn set_attributes(&self, name: &OsStr, attributes: &Attributes) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
        fchownat(
            self,
            name,
            Some(uid),
            Some(gid),
            AtFlags::AT_SYMLINK_NOFOLLOW,
        )?;
        if self.find(name)? != Some(Found::Symlink) {
            let mode = Mode::from_bits_truncate(attributes.mode);
            // No link is followed: it is none.
            fchmodat(self, name, mode, FchmodatFlags::FollowSymlink)?;
        }
        let path = self.path(name);
        for (attribute, value) in &attributes.xattrs {
            match xattr::set(&path, attribute, value) {
                Err(error)
                    if error.raw_os_error() == Some(libc::EOPNOTSUPP)
                        && attribute != "security.capability" => {}
                other => other?,
            }
        }
        self.set_modified(name, attributes.modified)
    }

    /// Sets the time of modification.
    pub fn set_modified(&self, name: &OsStr, (seconds, nanoseconds): (i64, u32)) -> io::Result<()> {
        let modified = TimeSpec::new(seconds, nanoseconds.into());
        Ok(utimensat(
            self,
            name,
            &TimeSpec::UTIME_OMIT,
            &modified,
            UtimensatFlags::NoFollowSymlink,
        )?)
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What a file is by its mode and device number.
pub(super) fn found(stat: &FileStat) -> Found {
    match file_type(stat) {
        SFlag::S_IFDIR => Found::Directory,
        SFlag::S_IFLNK => Found::Symlink,
        SFlag::S_IFCHR if stat.st_rdev == 0 => Found::Whiteout,
        _ => Found::Other,
    }
}

/// The type among the mode's bits.
pub(super) fn file_type(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}
