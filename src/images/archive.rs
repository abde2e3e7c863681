//! Where an image comes from: a directory, or a tar file whose members are read in any order.
//!
//! A compressed archive, or one from a pipe, is first written to the store's disk, to a file without a name.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use super::ImageError;
use super::compression::{self, Compression};
use super::digest::Digest;
use super::members::{Kind, Members, TarError};
use super::skip::Seeked;

/// Bytes of a JSON document, as containerd has it for manifests.
pub(super) const LARGEST_DOCUMENT: u64 = 4 << 20;

/// Bytes of an uncompressed layer or archive.
pub(super) const LARGEST_STREAM: u64 = 512 << 30;

/// Bytes of all JSON documents of an archive, each counted as often as it is read: an index may name others, and these
/// others again, many times each.
const LARGEST_DOCUMENTS: u64 = 64 << 20;

/// Bytes of the names of all members.
const LONGEST_NAMES: usize = 16 << 20;

/// Members of an archive (each layer is one, or three in old docker archives).
const MOST_MEMBERS: usize = 100_000;

/// An archive.
#[derive(Debug)]
pub(super) struct Archive {
    path: PathBuf,
    content: Content,
    /// Bytes of documents that were read.
    read: Cell<u64>,
}

#[derive(Debug)]
enum Content {
    Directory(File),
    Tar {
        file: Arc<File>,
        members: HashMap<String, Place>,
    },
}

/// Where a member's content is.
#[derive(Debug)]
enum Place {
    At { offset: u64, size: u64 },
    Link(String),
}

/// One file of the archive.
#[derive(Debug)]
pub(super) struct Section {
    file: Arc<File>,
    next: u64,
    end: u64,
}

impl Section {
    /// Bytes that are left.
    pub const fn size(&self) -> u64 {
        self.end - self.next
    }
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.size()).unwrap_or(usize::MAX);
        let most = most.min(buffer.len());
        let count = self.file.read_at(&mut buffer[..most], self.next)?;
        self.next += u64::try_from(count).unwrap_or_default();
        Ok(count)
    }
}

impl Archive {
    /// Opens the directory or file `path`. `disk` is a directory with room for what must be written down first.
    pub fn open(path: &Path, disk: &Path) -> Result<Self, ImageError> {
        let failed = |error| ImageError::io("opening", path, error);
        let metadata = fs::metadata(path).map_err(failed)?;
        let mut file = File::open(path).map_err(failed)?;
        if metadata.is_dir() {
            return Ok(Self {
                path: path.to_owned(),
                content: Content::Directory(file),
                read: Cell::new(0),
            });
        }
        let mut first = Vec::new();
        (&mut file)
            .take(compression::MAGIC)
            .read_to_end(&mut first)
            .map_err(|error| ImageError::io("reading", path, error))?;
        if !metadata.is_file() || Compression::of(&first) != Compression::Plain {
            let whole = io::Cursor::new(first).chain(file);
            file = spool(whole, path, disk)?;
        }
        let members = members(&file).map_err(|source| ImageError::Archive {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            content: Content::Tar {
                file: Arc::new(file),
                members,
            },
            read: Cell::new(0),
        })
    }

    /// Where it is, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file `name`; `None` where there is none, or something else.
    pub fn find(&self, name: &str) -> Result<Option<Section>, ImageError> {
        match &self.content {
            Content::Directory(directory) => {
                open_in(directory, name).map_err(|error| match error.raw_os_error() {
                    Some(libc::EXDEV) => ImageError::LeadsOut {
                        name: name.to_owned(),
                        path: self.path.clone(),
                    },
                    _ => ImageError::io("opening", &self.path.join(name), error),
                })
            }
            Content::Tar { file, members } => Ok(find_member(file, members, name)),
        }
    }

    /// The file `name`.
    pub fn open_file(&self, name: &str) -> Result<Section, ImageError> {
        self.find(name)?.ok_or_else(|| ImageError::Missing {
            name: name.to_owned(),
        })
    }

    /// The content of `name`, a JSON document; `None` where it is missing.
    pub fn document(&self, name: &str) -> Result<Option<Vec<u8>>, ImageError> {
        let Some(mut section) = self.find(name)? else {
            return Ok(None);
        };
        if section.size() > LARGEST_DOCUMENT {
            return Err(ImageError::TooLarge {
                subject: name.to_owned(),
                limit: LARGEST_DOCUMENT,
            });
        }
        let read = self.read.get().saturating_add(section.size());
        if read > LARGEST_DOCUMENTS {
            return Err(ImageError::TooLarge {
                subject: "the sum of the documents".to_owned(),
                limit: LARGEST_DOCUMENTS,
            });
        }
        self.read.set(read);
        let mut bytes = Vec::new();
        let read = section.read_to_end(&mut bytes);
        read.map_err(|error| ImageError::io("reading", &self.path, error))?;
        Ok(Some(bytes))
    }

    /// The content of `name`, a JSON document that has `digest`.
    pub fn verified_document(&self, name: &str, digest: &Digest) -> Result<Vec<u8>, ImageError> {
        let bytes = self.document(name)?.ok_or_else(|| ImageError::Missing {
            name: name.to_owned(),
        })?;
        let found = Digest::of(&bytes);
        if found == *digest {
            return Ok(bytes);
        }
        Err(ImageError::DigestMismatch {
            subject: name.to_owned(),
            expected: digest.to_string(),
            found: found.to_string(),
        })
    }
}

/// A regular file below `directory`. Symbolic links are followed in it (some build tools link the blobs of a layout to
/// one another); one that leads out of it is `EXDEV`.
fn open_in(directory: &File, name: &str) -> io::Result<Option<Section>> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH);
    let file = match openat2(directory, name, how).map_err(io::Error::from) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        other => File::from(other?),
    };
    let metadata = file.metadata()?;
    Ok(metadata.is_file().then(|| Section {
        file: Arc::new(file),
        next: 0,
        end: metadata.len(),
    }))
}

fn find_member(file: &Arc<File>, members: &HashMap<String, Place>, name: &str) -> Option<Section> {
    let mut name = normalised(name);
    // Old docker archives have links to layers, but none to another link.
    for _ in 0..8 {
        match members.get(&name)? {
            Place::At { offset, size } => {
                return Some(Section {
                    file: Arc::clone(file),
                    next: *offset,
                    end: offset + size,
                });
            }
            Place::Link(target) => name.clone_from(target),
        }
    }
    None
}

/// `./a//b/../c` as `a/c`; what leads out stays inside.
fn normalised(name: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn members(file: &File) -> Result<HashMap<String, Place>, TarError> {
    let seeked = file.try_clone().and_then(Seeked::new);
    let mut archive = Members::new(seeked.map_err(TarError::Read)?);
    let (mut members, mut bytes) = (HashMap::new(), 0_usize);
    while let Some(member) = archive.next_member()? {
        // Whatever is looked for has a name in UTF-8.
        let (Ok(name), Ok(link)) = (
            String::from_utf8(member.name),
            String::from_utf8(member.link),
        ) else {
            continue;
        };
        let name = normalised(&name);
        bytes = bytes.saturating_add(name.len() + link.len());
        let place = match member.kind {
            Kind::Regular if member.sparse.is_some() => {
                return Err(TarError::Unsupported {
                    name,
                    what: "a sparse file of the archive itself".into(),
                });
            }
            Kind::Regular => Place::At {
                offset: archive.source().position(),
                size: member.size,
            },
            Kind::HardLink => Place::Link(normalised(&link)),
            Kind::Symlink => {
                let parent = name.rsplit_once('/').map_or("", |(parent, _)| parent);
                Place::Link(normalised(&format!("{parent}/{link}")))
            }
            Kind::Directory | Kind::Fifo | Kind::Character | Kind::Block => continue,
        };
        members.insert(name, place);
        if members.len() > MOST_MEMBERS || bytes > LONGEST_NAMES {
            return Err(TarError::Unsupported {
                name: "the archive".into(),
                what: format!(
                    "one of more than {MOST_MEMBERS} members or {LONGEST_NAMES} bytes of names"
                ),
            });
        }
    }
    Ok(members)
}

/// Writes `source`, decompressed, to a file of its own on `disk`.
fn spool(source: impl Read, path: &Path, disk: &Path) -> Result<File, ImageError> {
    let reading = |error| ImageError::io("decompressing", path, error);
    let made = fs::create_dir_all(disk).and_then(|()| {
        OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(nix::libc::O_TMPFILE)
            .mode(0o600)
            .open(disk)
    });
    let mut file = made.map_err(|error| ImageError::io("making a file in", disk, error))?;
    let plain = compression::decoder(source).map_err(reading)?;
    let mut plain = Limited::new(plain, LARGEST_STREAM);
    io::copy(&mut plain, &mut file).map_err(reading)?;
    Ok(file)
}

/// A stream that breaks where it gets too long.
#[derive(Debug)]
pub(super) struct Limited<R> {
    source: R,
    left: u64,
}

impl<R: Read> Limited<R> {
    /// At most `limit` bytes of `source`.
    pub const fn new(source: R, limit: u64) -> Self {
        Self {
            source,
            left: limit,
        }
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        let left = u64::try_from(count).ok();
        let left = left.and_then(|count| self.left.checked_sub(count));
        self.left = left.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::FileTooLarge,
                "it has more bytes than sensible",
            )
        })?;
        Ok(count)
    }
}
