//! What the lower layers show together, as overlayfs would: for the few entries of a layer that lean on them.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path};

use nix::sys::stat::FileStat;

use super::at::{Directory, Found, found};

/// The layers below the one that is unpacked.
#[derive(Debug, Default)]
pub struct Union {
    /// The highest first.
    layers: Vec<Directory>,
}

/// A file of the highest layer that has it.
#[derive(Debug)]
pub struct Below {
    /// Where it is.
    pub directory: Directory,
    /// Its name there.
    pub name: OsString,
    /// What is known of it.
    pub stat: FileStat,
}

/// What one layer has of a path.
enum Seen {
    Here(Below),
    /// Nothing, and lower layers may have it.
    Below,
    /// Nothing, and nobody sees what lower layers have.
    Nothing,
}

impl Union {
    /// The directories `layers`, the lowest first.
    ///
    /// # Errors
    /// What open(2) answered.
    pub fn new<'a>(layers: impl IntoIterator<Item = &'a Path>) -> io::Result<Self> {
        let mut layers: Vec<_> = layers
            .into_iter()
            .map(Directory::new)
            .collect::<io::Result<_>>()?;
        layers.reverse();
        Ok(Self { layers })
    }

    /// What is at `path`, in which no part but the last is a symbolic link.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn look(&self, path: &Path) -> io::Result<Option<Below>> {
        for layer in &self.layers {
            match look_in(layer, path)? {
                Seen::Here(below) => return Ok(Some(below)),
                Seen::Below => {}
                Seen::Nothing => return Ok(None),
            }
        }
        Ok(None)
    }
}

fn look_in(layer: &Directory, path: &Path) -> io::Result<Seen> {
    let mut directory = layer.open(OsStr::new("."))?;
    let mut opaque = directory.is_opaque()?;
    let mut parts = path.components().peekable();
    while let Some(Component::Normal(name)) = parts.next() {
        let Some(stat) = directory.stat(name)? else {
            return Ok(if opaque { Seen::Nothing } else { Seen::Below });
        };
        let what = found(&stat);
        if parts.peek().is_none() && what != Found::Whiteout {
            return Ok(Seen::Here(Below {
                directory,
                name: name.to_owned(),
                stat,
            }));
        }
        if what != Found::Directory {
            return Ok(Seen::Nothing);
        }
        directory = directory.open(name)?;
        opaque |= directory.is_opaque()?;
    }
    Ok(Seen::Nothing)
}
