//! From a member's name to the directory that it lies in, which is made where it is missing.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::at::{Directory, Found, found};
use super::union::Below;
use super::{Leaning, UnpackError, Unpacker};

/// Bytes of a name (PATH_MAX).
const LONGEST_NAME: usize = 4096;

/// Directories in each other. Each is held open on the way, here and when the layer is removed.
const DEEPEST: usize = 256;

/// Symbolic links on one way, as many as the kernel follows.
const MOST_LINKS: usize = 40;

/// A name's parts: no empty one, no `.` and no `..`.
#[derive(Debug)]
pub(super) struct Parts<'a>(Vec<&'a OsStr>);

impl<'a> Parts<'a> {
    /// Takes a name apart. An absolute one is taken as relative to the image's root.
    pub fn new(name: &'a [u8]) -> Result<Self, UnpackError> {
        let shown = || String::from_utf8_lossy(&name[..name.len().min(256)]).into_owned();
        if name.len() > LONGEST_NAME {
            return Err(UnpackError::TooLong { name: shown() });
        }
        let parts = split(name).collect::<Vec<_>>();
        if parts.iter().any(|part| part.as_bytes() == b"..") {
            return Err(UnpackError::Escapes { name: shown() });
        }
        Ok(Self(parts))
    }

    /// The directory's parts, and the last one; `None` for the root.
    pub fn split_last(&self) -> Option<(&[&'a OsStr], &'a OsStr)> {
        let (last, directory) = self.0.split_last()?;
        Some((directory, last))
    }
}

fn split(name: &[u8]) -> impl Iterator<Item = &OsStr> {
    let parts = name.split(|&byte| byte == b'/');
    parts
        .filter(|part| !matches!(*part, b"" | b"."))
        .map(OsStr::from_bytes)
}

/// A directory of the layer.
#[derive(Debug)]
pub(super) struct Opened {
    /// Where it is in the layer: no part of it is a symbolic link.
    pub path: PathBuf,
    pub directory: Rc<Directory>,
    /// Whether nothing of lower layers is seen in it.
    pub opaque: bool,
}

/// What is to be done about one part of the way.
enum Next {
    Into(Rc<Opened>),
    Link(OsString),
}

impl Unpacker<'_> {
    /// The directory that `parts` lead to, in the layer and the ones below it. `name` is that of the member.
    pub(super) fn enter(
        &mut self,
        parts: &[&OsStr],
        name: &[u8],
    ) -> Result<Rc<Opened>, UnpackError> {
        let shown = || String::from_utf8_lossy(&name[..name.len().min(256)]).into_owned();
        let key = parts.join(OsStr::new("/"));
        if let Some((known, opened)) = &self.last
            && known == key.as_bytes()
        {
            return Ok(Rc::clone(opened));
        }
        let mut way: Vec<Rc<Opened>> = vec![Rc::new(self.opened_root().map_err(|source| {
            UnpackError::Write {
                operation: "opening the directory of",
                name: shown(),
                source,
            }
        })?)];
        let mut ahead: VecDeque<OsString> = parts.iter().map(|&part| part.to_owned()).collect();
        let mut links = 0;
        while let Some(part) = ahead.pop_front() {
            if part == ".." {
                // Above the root is the root.
                way.truncate(way.len().saturating_sub(1).max(1));
                continue;
            }
            let Some(here) = way.last().map(Rc::clone) else {
                break;
            };
            match self.step(&here, &part, &shown)? {
                Next::Into(opened) => way.push(opened),
                Next::Link(target) => {
                    links += 1;
                    if target.as_bytes().starts_with(b"/") {
                        way.truncate(1);
                    }
                    for part in split(target.as_bytes()).collect::<Vec<_>>().iter().rev() {
                        ahead.push_front((*part).to_owned());
                    }
                }
            }
            if links > MOST_LINKS {
                return Err(UnpackError::TooManyLinks { name: shown() });
            }
            if way.len() > DEEPEST {
                return Err(UnpackError::TooLong { name: shown() });
            }
        }
        let opened = way.pop().ok_or(UnpackError::Root)?;
        self.last = Some((key.as_bytes().to_owned(), Rc::clone(&opened)));
        Ok(opened)
    }

    fn opened_root(&self) -> io::Result<Opened> {
        Ok(Opened {
            path: PathBuf::new(),
            directory: Rc::clone(&self.root),
            opaque: self.root.is_opaque()?,
        })
    }

    fn step(
        &mut self,
        here: &Opened,
        part: &OsStr,
        shown: &impl Fn() -> String,
    ) -> Result<Next, UnpackError> {
        let failed = |source| UnpackError::Write {
            operation: "opening the directory of",
            name: shown(),
            source,
        };
        let directory = &here.directory;
        match directory.find(part).map_err(failed)? {
            Some(Found::Directory) => {}
            Some(Found::Symlink) => {
                return Ok(Next::Link(directory.read_link(part).map_err(failed)?));
            }
            Some(Found::Other) => {
                return Err(UnpackError::NotADirectory {
                    name: shown(),
                    part: here.path.join(part).to_string_lossy().into_owned(),
                });
            }
            Some(Found::Whiteout) => {
                let replaced = directory
                    .remove(part)
                    .and_then(|()| make_plain(directory, part))
                    .and_then(|()| directory.make_opaque(part));
                replaced.map_err(failed)?;
            }
            None => {
                if let Some(target) = self.make_like_below(here, part).map_err(failed)? {
                    return Ok(Next::Link(target));
                }
            }
        }
        let directory = directory.open(part).map_err(failed)?;
        Ok(Next::Into(Rc::new(Opened {
            path: here.path.join(part),
            opaque: here.opaque || directory.is_opaque().map_err(failed)?,
            directory: Rc::new(directory),
        })))
    }

    /// Makes the directory `part` as lower layers have it: this one's would hide their mode and owner. Where they have
    /// a symbolic link, that is followed.
    fn make_like_below(&mut self, here: &Opened, part: &OsStr) -> io::Result<Option<OsString>> {
        let path = here.path.join(part);
        let below = self.look_below(&path, here)?;
        let Some(below) = below else {
            make_plain(&here.directory, part)?;
            return Ok(None);
        };
        match found(&below.stat) {
            Found::Symlink => return below.directory.read_link(&below.name).map(Some),
            Found::Directory => {
                here.directory.make_directory(part)?;
                let attributes = below.directory.attributes(&below.name, &below.stat)?;
                here.directory.set_attributes(part, &attributes)?;
                self.modified.insert(path, attributes.modified);
            }
            // Hides it, as a directory of this layer's own would.
            Found::Whiteout | Found::Other => make_plain(&here.directory, part)?,
        }
        Ok(None)
    }

    /// What lower layers show at `path`, which lies in `here`.
    pub(super) fn look_below(&mut self, path: &Path, here: &Opened) -> io::Result<Option<Below>> {
        if here.opaque {
            return Ok(None);
        }
        self.leaning = Leaning::OnLower;
        self.below.look(path)
    }
}

/// A directory that nobody described.
fn make_plain(directory: &Directory, name: &OsStr) -> io::Result<()> {
    directory.make_directory(name)?;
    let attributes = super::Attributes {
        uid: 0,
        gid: 0,
        mode: 0o755,
        modified: (0, 0),
        xattrs: Vec::new(),
    };
    directory.set_attributes(name, &attributes)
}
