//! A layer becomes a directory that overlayfs takes as a lower one.
//!
//! Owns: what each member of the layer's archive does to that directory. Does not own: the archive's stream and its
//! digest ([`super::load`]), where the directory is and how it becomes visible ([`super::layers`]).
//!
//! ```text
//! a .wh.NAME         a character device 0:0 called NAME           (OCI image-spec, layer.md "Whiteouts")
//! .wh..wh.opq        trusted.overlay.opaque=y on its directory    (overlayfs.rst, "whiteouts and opaque directories")
//! ```
//!
//! No name leads out: each part of a path is opened in the directory before it without following links, and a symbolic
//! link on the way is followed by hand, with the layer's directory as the root. What a layer leaves to the ones below
//! it (a directory on the way to a file, the target of a hard link) is looked up in them and copied, as if it were
//! unpacked on top of them, which is what containerd does. The result is another one then for other layers below, and
//! [`Unpacker::finish`] says so.

mod at;
mod content;
mod error;
mod resolve;
mod union;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::sys::stat::{SFlag, makedev};

use self::at::{Attributes, Directory, Found};
use self::resolve::{Opened, Parts};
use super::members::{Kind, Member, Members};
use super::skip::Skip;

pub(super) use self::at::OVERLAY_PREFIX;
pub use self::error::UnpackError;
pub use self::union::Union;

/// What the name of a whiteout begins with.
pub(super) const WHITEOUT: &[u8] = b".wh.";

/// What aufs's own files begin with; all but the opaque marker mean nothing here.
const WHITEOUT_META: &[u8] = b".wh..wh.";
const WHITEOUT_OPAQUE: &[u8] = b".wh..wh..opq";

/// Whether a layer's directory is the same whatever layers are below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaning {
    /// It is.
    Alone,
    /// It has parts that were taken from them.
    OnLower,
}

/// What became of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Whether its directory is the same above other layers.
    pub leaning: Leaning,
    /// Whether it states the mode and owner of the root: it has a member `./`.
    pub states_root: bool,
}

/// A layer on its way.
#[derive(Debug)]
pub struct Unpacker<'a> {
    root: Rc<Directory>,
    below: &'a Union,
    leaning: Leaning,
    states_root: bool,
    /// The directory of the last member, which is mostly that of the next.
    last: Option<(Vec<u8>, Rc<Opened>)>,
    /// When directories were modified: set last, as each name made in them changes it.
    modified: BTreeMap<PathBuf, (i64, u32)>,
}

/// Unpacks all of `archive` into the empty directory `root`.
///
/// # Errors
/// [`UnpackError`]; `root` holds what came before it then.
pub fn unpack<R: Skip>(
    archive: &mut Members<R>,
    root: &Path,
    below: &Union,
) -> Result<Outcome, UnpackError> {
    let root = Directory::new(root).map_err(|source| UnpackError::Write {
        operation: "opening",
        name: root.to_string_lossy().into_owned(),
        source,
    })?;
    let mut unpacker = Unpacker {
        root: Rc::new(root),
        below,
        leaning: Leaning::Alone,
        states_root: false,
        last: None,
        modified: BTreeMap::new(),
    };
    while let Some(member) = archive.next_member()? {
        unpacker.put(&member, archive)?;
    }
    unpacker.finish()
}

/// A place for a member: a name in a directory.
struct Place<'a> {
    directory: Rc<Opened>,
    name: &'a OsStr,
}

impl Place<'_> {
    fn at(&self) -> &Directory {
        &self.directory.directory
    }

    fn path(&self) -> PathBuf {
        self.directory.path.join(self.name)
    }
}

impl Unpacker<'_> {
    fn put(&mut self, member: &Member, content: &mut impl Read) -> Result<(), UnpackError> {
        let parts = Parts::new(&member.name)?;
        let Some((directory, name)) = parts.split_last() else {
            return self.put_root(member);
        };
        let bytes = name.as_bytes();
        if bytes.starts_with(WHITEOUT_META) && bytes != WHITEOUT_OPAQUE {
            return Ok(());
        }
        let directory = self.enter(directory, &member.name)?;
        if bytes == WHITEOUT_OPAQUE {
            let made = directory.directory.make_opaque(OsStr::new("."));
            return made.map_err(writing("marking the directory of", member));
        }
        if let Some(removed) = bytes.strip_prefix(WHITEOUT) {
            return self.put_whiteout(member, &directory, OsStr::from_bytes(removed));
        }
        let place = Place { directory, name };
        let before = self.make_room(member, &place)?;
        self.make(member, &place, before, content)?;
        if member.kind == Kind::HardLink {
            return Ok(());
        }
        let set = place
            .at()
            .set_attributes(place.name, &attributes_of(member));
        set.map_err(writing("setting the attributes of", member))?;
        if member.kind == Kind::Directory {
            self.modified.insert(place.path(), member.modified);
        }
        Ok(())
    }

    fn put_root(&mut self, member: &Member) -> Result<(), UnpackError> {
        if member.kind != Kind::Directory {
            return Err(UnpackError::Root);
        }
        let set = self
            .root
            .set_attributes(OsStr::new("."), &attributes_of(member));
        set.map_err(writing("setting the attributes of", member))?;
        self.modified.insert(PathBuf::new(), member.modified);
        self.states_root = true;
        Ok(())
    }

    /// Hides what lower layers have under `name`. What this layer has itself stays (layer.md, "Whiteouts").
    fn put_whiteout(
        &mut self,
        member: &Member,
        directory: &Opened,
        name: &OsStr,
    ) -> Result<(), UnpackError> {
        if matches!(name.as_bytes(), b"" | b"." | b"..") {
            return Err(UnpackError::Whiteout {
                name: member.shown(),
            });
        }
        let at = &directory.directory;
        let found = at.find(name).map_err(writing("looking for", member))?;
        let made = match found {
            None => at.make_whiteout(name),
            Some(Found::Directory) => at.make_opaque(name),
            Some(Found::Whiteout | Found::Symlink | Found::Other) => Ok(()),
        };
        made.map_err(writing("making", member))
    }

    /// Removes what is in the way of `member`, and says what it was. A directory stays for a directory.
    fn make_room(
        &mut self,
        member: &Member,
        place: &Place<'_>,
    ) -> Result<Option<Found>, UnpackError> {
        let found = place.at().find(place.name);
        let found = found.map_err(writing("looking for", member))?;
        if found.is_none() || (found, member.kind) == (Some(Found::Directory), Kind::Directory) {
            return Ok(found);
        }
        // Paths may lead elsewhere now.
        self.last = None;
        if found == Some(Found::Directory) {
            self.forget_times(&place.path());
        }
        let removed = place.at().remove(place.name);
        removed.map_err(writing("replacing", member))?;
        Ok(found)
    }

    /// Forgets the times of the directory `path` and of those in it, which follow it in the order of paths.
    fn forget_times(&mut self, path: &Path) {
        let gone = self.modified.range(path.to_owned()..);
        let gone = gone
            .map(|(known, _)| known)
            .take_while(|known| known.starts_with(path));
        let gone = gone.cloned().collect::<Vec<_>>();
        for known in gone {
            self.modified.remove(&known);
        }
    }

    fn make(
        &mut self,
        member: &Member,
        place: &Place<'_>,
        before: Option<Found>,
        content: &mut impl Read,
    ) -> Result<(), UnpackError> {
        let (at, name) = (place.at(), place.name);
        let device = || makedev(member.device.0.into(), member.device.1.into());
        let made = match member.kind {
            Kind::Regular => {
                let file = at.create(name).map_err(writing("making", member))?;
                return content::write(member, file, content);
            }
            Kind::HardLink => return self.put_hard_link(member, place),
            Kind::Directory => match before {
                Some(Found::Directory) => Ok(()),
                None => at.make_directory(name),
                // What was there hid what lower layers have, and still does.
                Some(_) => at.make_directory(name).and_then(|()| at.make_opaque(name)),
            },
            Kind::Symlink => at.symlink(name, OsStr::from_bytes(&member.link)),
            Kind::Fifo => at.make_node(name, SFlag::S_IFIFO, 0),
            Kind::Character => at.make_node(name, SFlag::S_IFCHR, device()),
            Kind::Block => at.make_node(name, SFlag::S_IFBLK, device()),
        };
        made.map_err(writing("making", member))
    }

    fn put_hard_link(&mut self, member: &Member, place: &Place<'_>) -> Result<(), UnpackError> {
        let no_target = || UnpackError::NoTarget {
            name: member.shown(),
            target: String::from_utf8_lossy(&member.link).into_owned(),
        };
        let parts = Parts::new(&member.link)?;
        let (directory, name) = parts.split_last().ok_or_else(no_target)?;
        let target = Place {
            directory: self.enter(directory, &member.name)?,
            name,
        };
        let found = target.at().find(name);
        match found.map_err(writing("looking for the target of", member))? {
            Some(Found::Symlink | Found::Other) => {}
            Some(Found::Directory | Found::Whiteout) => return Err(no_target()),
            None => {
                let copied = self.copy_up(&target);
                if !copied.map_err(writing("copying the target of", member))? {
                    return Err(no_target());
                }
            }
        }
        let linked = place.at().link(place.name, target.at(), target.name);
        linked.map_err(writing("linking", member))
    }

    /// Copies what lower layers show at `place`; `false` where that is nothing, or a directory.
    fn copy_up(&mut self, place: &Place<'_>) -> io::Result<bool> {
        let Some(below) = self.look_below(&place.path(), &place.directory)? else {
            return Ok(false);
        };
        let (at, name) = (place.at(), place.name);
        match at::file_type(&below.stat) {
            SFlag::S_IFDIR => return Ok(false),
            SFlag::S_IFREG => {
                content::copy(below.directory.read(&below.name)?, at.create(name)?)?;
            }
            SFlag::S_IFLNK => at.symlink(name, &below.directory.read_link(&below.name)?)?,
            kind => at.make_node(name, kind, below.stat.st_rdev)?,
        }
        let attributes = below.directory.attributes(&below.name, &below.stat)?;
        at.set_attributes(name, &attributes)?;
        Ok(true)
    }

    /// Sets what only now stays as it is.
    fn finish(self) -> Result<Outcome, UnpackError> {
        for (path, modified) in &self.modified {
            let set = self
                .root
                .open_below(path)
                .and_then(|directory| directory.set_modified(OsStr::new("."), *modified));
            set.map_err(|source| UnpackError::Write {
                operation: "setting the time of",
                name: path.to_string_lossy().into_owned(),
                source,
            })?;
        }
        Ok(Outcome {
            leaning: self.leaning,
            states_root: self.states_root,
        })
    }
}

/// What overlayfs writes for itself is left out: an image has no say in that.
fn attributes_of(member: &Member) -> Attributes {
    let xattrs = member
        .xattrs
        .iter()
        .filter(|(name, _)| !name.starts_with(OVERLAY_PREFIX.as_bytes()))
        .map(|(name, value)| (OsStr::from_bytes(name).to_owned(), value.clone()))
        .collect::<Vec<(OsString, _)>>();
    Attributes {
        uid: member.uid,
        gid: member.gid,
        mode: member.mode,
        modified: member.modified,
        xattrs,
    }
}

fn writing(operation: &'static str, member: &Member) -> impl FnOnce(io::Error) -> UnpackError {
    let name = member.shown();
    move |source| UnpackError::Write {
        operation,
        name,
        source,
    }
}
