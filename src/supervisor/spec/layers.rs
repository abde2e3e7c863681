//! Files of a root filesystem that is not mounted yet, read from its layers as overlayfs would show them.
//!
//! A name is looked up from the top layer down until something has it: a file, a link, or a whiteout (a character
//! device 0:0), which hides what is below; directories of the same name are one, as far down as an opaque one
//! (`filesystems/overlayfs.rst` of the kernel's documentation). Links are followed here and not by the kernel, each
//! step is one openat(2) that follows none: whatever an image holds, nothing outside of its layers is opened.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat, major, minor};

use super::SpecError;
use crate::sys::opaque::is_opaque;

/// As many links as the kernel follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Bytes that are read at a time.
const BUFFER: usize = 16 << 10;

/// A directory: the ones that it is made of, the top one first.
pub(super) type Merged = Vec<OwnedFd>;

/// What a name is.
#[derive(Debug)]
pub(super) enum Entry {
    Absent,
    Directory(Merged),
    Link(OsString),
    /// Anything else, in this directory under this name.
    Other(OwnedFd, OsString),
    /// Nothing, since a part of the path before the last is no directory.
    Blocked,
}

/// What an image has at a path where a directory is wanted.
#[derive(Debug)]
pub(super) enum Place {
    /// Nothing; it can be made.
    Free,
    /// A directory.
    Directory(Merged),
    /// A file, or a path that leads through one.
    File,
}

const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);
/// Opens a file for reading, which never waits.
pub(super) const FILE: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// The type of a file (inode(7)).
pub(super) fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

/// Whether it hides the name in the layers below.
fn is_whiteout(stat: &FileStat) -> bool {
    kind(stat) == SFlag::S_IFCHR && major(stat.st_rdev) == 0 && minor(stat.st_rdev) == 0
}

/// What `directory` shows under `name`.
pub(super) fn lookup(directory: &Merged, name: &OsStr) -> io::Result<Entry> {
    let mut merged = Merged::new();
    for layer in directory {
        let stat = match fstatat(layer, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::ENOENT) => continue,
            Err(errno) => return Err(errno.into()),
        };
        if kind(&stat) == SFlag::S_IFDIR {
            let found = openat(layer, name, DIRECTORY, Mode::empty())?;
            let hides = is_opaque(found.as_fd())?;
            merged.push(found);
            if hides {
                break;
            }
        } else if is_whiteout(&stat) || !merged.is_empty() {
            break;
        } else if kind(&stat) == SFlag::S_IFLNK {
            return Ok(Entry::Link(readlinkat(layer, name)?));
        } else {
            return Ok(Entry::Other(layer.try_clone()?, name.to_owned()));
        }
    }
    Ok(if merged.is_empty() {
        Entry::Absent
    } else {
        Entry::Directory(merged)
    })
}

fn components(path: &OsStr) -> impl DoubleEndedIterator<Item = OsString> {
    let names = path.as_bytes().split(|byte| *byte == b'/');
    names
        .filter(|name| !name.is_empty() && *name != b".")
        .map(|name| OsStr::from_bytes(name).to_owned())
}

/// The layers of a root filesystem.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layers<'a>(&'a [PathBuf]);

impl<'a> Layers<'a> {
    /// The layers' directories, the lowest first.
    pub(super) const fn new(layers: &'a [PathBuf]) -> Self {
        Self(layers)
    }

    /// Follows `path` from the root; links lead nowhere but into the layers again, and `..` ends at the root.
    fn find(self, path: &Path) -> io::Result<Entry> {
        let open = |layer: &PathBuf| nix::fcntl::open(layer, DIRECTORY, Mode::empty());
        let root: Result<Merged, _> = self.0.iter().rev().map(open).collect();
        let mut way = vec![root?];
        let mut ahead: VecDeque<OsString> = components(path.as_os_str()).collect();
        let mut links = 0;
        while let Some(name) = ahead.pop_front() {
            if name == ".." {
                if way.len() > 1 {
                    way.pop();
                }
                continue;
            }
            let Some(here) = way.last() else { break };
            match lookup(here, &name)? {
                Entry::Absent => return Ok(Entry::Absent),
                Entry::Directory(found) => way.push(found),
                Entry::Link(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::ELOOP.into());
                    }
                    if target.as_bytes().starts_with(b"/") {
                        way.truncate(1);
                    }
                    for name in components(&target).rev() {
                        ahead.push_front(name);
                    }
                }
                other @ Entry::Other(..) if ahead.is_empty() => return Ok(other),
                Entry::Other(..) | Entry::Blocked => return Ok(Entry::Blocked),
            }
        }
        Ok(way.pop().map_or(Entry::Absent, Entry::Directory))
    }

    /// Gives each line of a regular file to `each`, and holds no more than one of them; none where there is no such
    /// file. What is no UTF-8 is replaced.
    ///
    /// # Errors
    /// The file has more than `limit` bytes; what the kernel answered.
    pub(super) fn lines(
        self,
        path: &str,
        limit: u64,
        mut each: impl FnMut(&str),
    ) -> Result<(), SpecError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::FileTooLarge => SpecError::invalid(
                format!("image /{path}"),
                format!("it has more than {limit} bytes"),
            ),
            _ => SpecError::io("read from the image", Path::new(path))(error),
        };
        let Some(file) = self.open(Path::new(path)).map_err(failed)? else {
            return Ok(());
        };
        let mut file = BufReader::with_capacity(BUFFER, file.take(limit.saturating_add(1)));
        let (mut line, mut read) = (Vec::new(), 0);
        loop {
            line.clear();
            let length = file.read_until(b'\n', &mut line).map_err(failed)?;
            if length == 0 {
                return Ok(());
            }
            read += u64::try_from(length).unwrap_or(u64::MAX);
            if read > limit {
                return Err(failed(io::ErrorKind::FileTooLarge.into()));
            }
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            each(&String::from_utf8_lossy(text));
        }
    }

    fn open(self, path: &Path) -> io::Result<Option<File>> {
        let Entry::Other(parent, name) = self.find(path)? else {
            return Ok(None);
        };
        let stat = fstatat(&parent, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        if kind(&stat) != SFlag::S_IFREG {
            return Ok(None);
        }
        let file = openat(&parent, name.as_os_str(), FILE, Mode::empty())?;
        Ok(Some(File::from(file)))
    }

    /// What is at `path`, links followed.
    pub(super) fn place(self, path: &Path) -> Result<Place, SpecError> {
        let found = self.find(path);
        Ok(
            match found.map_err(SpecError::io("look up in the image", path))? {
                Entry::Absent | Entry::Link(_) => Place::Free,
                Entry::Directory(merged) => Place::Directory(merged),
                Entry::Other(..) | Entry::Blocked => Place::File,
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::file::scratch::Scratch;
    use crate::sys::opaque::mark_opaque;
    use nix::sys::stat::{makedev, mknod};
    use std::os::unix::fs::symlink;

    struct Image(Scratch, Vec<PathBuf>);

    impl Image {
        fn new(layers: usize) -> Self {
            let scratch = Scratch::new();
            let paths: Vec<_> = (0..layers)
                .map(|number| scratch.path().join(number.to_string()))
                .collect();
            for path in &paths {
                std::fs::create_dir(path).unwrap();
            }
            Self(scratch, paths)
        }

        fn read(&self, path: &str) -> Option<String> {
            let mut text = None;
            let each = |line: &str| text.get_or_insert_with(String::new).push_str(line);
            Layers::new(&self.1).lines(path, 64, each).unwrap();
            text
        }

        fn whiteout(&self, path: &str) {
            let path = self.0.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            mknod(&path, SFlag::S_IFCHR, Mode::empty(), makedev(0, 0)).unwrap();
        }
    }

    #[test]
    fn the_top_layer_wins_and_a_whiteout_hides() {
        let image = Image::new(3);
        image.0.write("0/etc/passwd", "low");
        image.0.write("0/etc/group", "low");
        image.0.write("1/etc/passwd", "mid");
        assert_eq!(image.read("etc/passwd").unwrap(), "mid");
        assert_eq!(image.read("/etc/group").unwrap(), "low");
        image.whiteout("2/etc/passwd");
        assert_eq!(image.read("etc/passwd"), None);
        assert_eq!(image.read("etc/group").unwrap(), "low");
        assert_eq!(image.read("etc"), None);
        assert_eq!(image.read("etc/group/x"), None);
    }

    #[test]
    fn an_opaque_directory_and_a_file_in_the_way_end_the_search() {
        let image = Image::new(2);
        image.0.write("0/etc/passwd", "low");
        image.0.write("1/etc/hosts", "top");
        let top = image.0.path().join("1/etc");
        mark_opaque(&top).unwrap();
        assert_eq!(image.read("etc/passwd"), None);
        assert_eq!(image.read("etc/hosts").unwrap(), "top");
        let image = Image::new(3);
        image.0.write("0/etc/passwd", "low");
        image.0.write("1/etc", "a file");
        image.0.write("2/etc/hosts", "top");
        assert_eq!(image.read("etc/passwd"), None);
    }

    #[test]
    fn links_are_followed_through_all_layers_and_never_out_of_them() {
        let image = Image::new(2);
        image.0.write("0/usr/lib/passwd", "linked");
        image.0.write("1/etc/x", "");
        let top = image.0.path().join("1");
        symlink("../../../usr/lib/passwd", top.join("etc/passwd")).unwrap();
        symlink("/usr/lib", top.join("lib")).unwrap();
        symlink("/proc/self/environ", top.join("etc/group")).unwrap();
        symlink("loop", top.join("loop")).unwrap();
        assert_eq!(image.read("etc/passwd").unwrap(), "linked");
        assert_eq!(image.read("lib/passwd").unwrap(), "linked");
        assert_eq!(image.read("etc/group"), None);
        assert!(Layers::new(&image.1).lines("loop", 9, |_| ()).is_err());
    }

    #[test]
    fn what_is_no_plain_file_or_too_long_is_not_read() {
        let image = Image::new(1);
        image.0.write("0/long", "x".repeat(65));
        nix::unistd::mkfifo(&image.0.path().join("0/fifo"), Mode::S_IRWXU).unwrap();
        assert_eq!(image.read("fifo"), None);
        let refused = Layers::new(&image.1).lines("long", 64, |_| ()).unwrap_err();
        assert_eq!(refused.field(), Some("image /long"));
        image.0.write("0/most", "x".repeat(64));
        assert_eq!(image.read("most").unwrap().len(), 64);
    }

    #[test]
    fn a_place_is_free_a_directory_or_a_file() {
        let image = Image::new(2);
        image.0.write("0/full/file", "");
        image.whiteout("1/gone");
        let layers = Layers::new(&image.1);
        let place = |path: &str| layers.place(Path::new(path)).unwrap();
        assert!(matches!(place("/full"), Place::Directory(_)));
        assert!(matches!(place("/none"), Place::Free));
        assert!(matches!(place("/gone"), Place::Free));
        assert!(matches!(place("/full/file"), Place::File));
        assert!(matches!(place("/full/file/below"), Place::File));
    }
}
