//! The members of a tar archive, one after the other, out of a stream: names, attributes, and then the content.
//!
//! The crate `tar` reads the header block; what lies between the blocks is read here (pax(1), tar(5)), because its own
//! iterator takes long names and pax records of any length into memory and splits binary values at their newlines.

use std::borrow::Cow;
use std::io::{self, Read};

use tar::{EntryType, Header};

use super::pax::{Record, XATTR, records, time};
use super::skip::Skip;
use super::sparse::{self, Map, Sparse};

/// Bytes of a header, and what content is filled up to.
pub(super) const BLOCK: u64 = 512;

/// Bytes of a long name or of one member's pax records, at most: a value of an extended attribute has 64 KiB.
pub(super) const LARGEST_EXTENSION: u64 = 1 << 20;

/// How the records of sparse files are called.
const SPARSE: &[u8] = b"GNU.sparse.";

/// What is not a tar archive, or one of a kind that is not read.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The stream broke: the file's error, or the decompressor's.
    #[error("reading the archive")]
    Read(#[source] io::Error),
    /// It ends in the middle of a member.
    #[error("the archive ends in the middle of {0}")]
    Truncated(&'static str),
    /// A header's sum is not that of its bytes.
    #[error("a tar header's checksum is wrong: this is no tar archive, or it is damaged")]
    Checksum,
    /// A field of a header or a pax record.
    #[error("a tar header's {field} is not valid")]
    Field {
        /// Which.
        field: &'static str,
    },
    /// A long name or pax records of more than 1 MiB.
    #[error("a tar extension header, or the map of a sparse file, has {0} bytes, more than 1 MiB")]
    Extension(u64),
    /// A kind of member that is not unpacked.
    #[error("{name:?} is {what}, which is not supported")]
    Unsupported {
        /// Its name.
        name: String,
        /// `a member of type 0x56`.
        what: String,
    },
}

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file with content.
    Regular,
    /// Another name of a file.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    Character,
    /// A block device.
    Block,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name, as it is written: anything may be in it but NUL.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Bytes of content.
    pub size: u64,
    /// Where a link leads.
    pub link: Vec<u8>,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Permission bits, with set-user-ID and the like.
    pub mode: u32,
    /// When it was modified: seconds since the epoch and nanoseconds.
    pub modified: (i64, u32),
    /// A device's major and minor number.
    pub device: (u32, u32),
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the content belongs in a file with holes.
    pub sparse: Option<Sparse>,
}

impl Member {
    /// The name for a message.
    pub fn shown(&self) -> String {
        shown(&self.name)
    }
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).chars().take(256).collect()
}

/// The members of an archive. Reading from it gives the content of the last one.
#[derive(Debug)]
pub struct Members<R> {
    pub(super) source: R,
    /// Bytes of the content that are not read yet, and what follows them up to the next header.
    pub(super) left: u64,
    padding: u64,
}

/// What extension headers say about the next member.
#[derive(Debug, Default)]
struct Extensions {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    records: Vec<Record>,
}

impl<R: Skip> Members<R> {
    /// The archive at the beginning of `source`.
    pub const fn new(source: R) -> Self {
        Self {
            source,
            left: 0,
            padding: 0,
        }
    }

    /// The stream.
    pub const fn source(&self) -> &R {
        &self.source
    }

    /// The next member, or the end. What was not read of the one before is skipped.
    ///
    /// # Errors
    /// [`TarError`]; the archive cannot be read further then.
    pub fn next_member(&mut self) -> Result<Option<Member>, TarError> {
        let mut extensions = Extensions::default();
        loop {
            self.skip_content()?;
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let size = number("size", header.entry_size(), &header.as_old().size)?;
            match header.entry_type() {
                EntryType::XGlobalHeader => self.content_follows(size)?,
                EntryType::XHeader => extensions.records = records(&self.extension(size)?)?,
                EntryType::GNULongName => {
                    extensions.name = Some(without_end(self.extension(size)?));
                }
                EntryType::GNULongLink => {
                    extensions.link = Some(without_end(self.extension(size)?));
                }
                kind => {
                    let (mut member, map) = member(&header, kind, size, extensions)?;
                    self.sparse_follows(&header, kind, &mut member, map)?;
                    return Ok(Some(member));
                }
            }
        }
    }

    fn skip_content(&mut self) -> Result<(), TarError> {
        let count = self.left + self.padding;
        (self.left, self.padding) = (0, 0);
        match self.source.skip(count) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(TarError::Truncated("a member's content"))
            }
            other => other.map_err(TarError::Read),
        }
    }

    pub(super) fn content_follows(&mut self, size: u64) -> Result<(), TarError> {
        // So that no sum overflows; no file system has larger files either.
        if size > i64::MAX.unsigned_abs() - BLOCK {
            return Err(TarError::Field { field: "size" });
        }
        self.left = size;
        self.padding = size.next_multiple_of(BLOCK) - size;
        Ok(())
    }

    /// The next header block; `None` at the end: a block of zeros, or of the stream.
    fn header(&mut self) -> Result<Option<Header>, TarError> {
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        let mut filled = 0;
        while filled < block.len() {
            match self.source.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(TarError::Truncated("a header")),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TarError::Read(error)),
            }
        }
        if block.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        // The field counts as eight spaces.
        let outside = block[..148].iter().chain(&block[156..]);
        let sum = outside.map(|&byte| u32::from(byte)).sum::<u32>() + 8 * 32;
        if header.cksum().ok() != Some(sum) {
            return Err(TarError::Checksum);
        }
        Ok(Some(header))
    }

    /// The content of an extension header.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        if size > LARGEST_EXTENSION {
            return Err(TarError::Extension(size));
        }
        self.content_follows(size)?;
        let mut content = Vec::new();
        self.read_to_end(&mut content).map_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                TarError::Truncated("an extension header")
            } else {
                TarError::Read(error)
            }
        })?;
        Ok(content)
    }
}

impl<R: Read> Read for Members<R> {
    /// The content; its end is an end of file, that of the archive before it an error.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let most = most.min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let count = self.source.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= u64::try_from(count).unwrap_or(self.left);
        Ok(count)
    }
}

/// A GNU long name ends with NUL.
fn without_end(mut name: Vec<u8>) -> Vec<u8> {
    let end = name.iter().position(|&byte| byte == 0);
    name.truncate(end.unwrap_or(name.len()));
    name
}

/// A field's value; one of blanks is 0, as most readers have it.
pub(super) fn number<T: Default>(
    field: &'static str,
    parsed: io::Result<T>,
    bytes: &[u8],
) -> Result<T, TarError> {
    match parsed {
        Err(_) if bytes.iter().all(|byte| matches!(byte, 0 | b' ')) => Ok(T::default()),
        other => other.map_err(|_| TarError::Field { field }),
    }
}

fn member(
    header: &Header,
    kind: EntryType,
    size: u64,
    extensions: Extensions,
) -> Result<(Member, Map), TarError> {
    let old = header.as_old();
    let id = |field, parsed, bytes: &[u8]| {
        let id: u64 = number(field, parsed, bytes)?;
        u32::try_from(id).map_err(|_| TarError::Field { field })
    };
    let mut member = Member {
        name: header.path_bytes().into_owned(),
        kind: Kind::Regular,
        size,
        link: header
            .link_name_bytes()
            .map(Cow::into_owned)
            .unwrap_or_default(),
        // Where a pax record says it, the field may be anything.
        uid: id("uid", header.uid(), &old.uid).unwrap_or(u32::MAX),
        gid: id("gid", header.gid(), &old.gid).unwrap_or(u32::MAX),
        mode: number("mode", header.mode(), &old.mode)? & 0o7777,
        // Times before 1970 and after any clock become the epoch.
        modified: (
            i64::try_from(number("mtime", header.mtime(), &old.mtime)?).unwrap_or_default(),
            0,
        ),
        device: (0, 0),
        xattrs: Vec::new(),
        sparse: None,
    };
    let map = apply_records(&mut member, extensions.records)?;
    member.name = extensions.name.unwrap_or(member.name);
    member.link = extensions.link.unwrap_or(member.link);
    for (field, id) in [("uid", member.uid), ("gid", member.gid)] {
        // The kernel's word for "leave it as it is".
        if id == u32::MAX {
            return Err(TarError::Field { field });
        }
    }
    if member.name.contains(&0) || member.link.contains(&0) {
        return Err(TarError::Field { field: "name" });
    }
    member.kind = kind_of(kind, &member)?;
    if matches!(member.kind, Kind::Character | Kind::Block) {
        let part = |field, parsed: io::Result<Option<u32>>| match parsed {
            Ok(number) => Ok(number.unwrap_or_default()),
            Err(_) => Err(TarError::Field { field }),
        };
        member.device = (
            part("devmajor", header.device_major())?,
            part("devminor", header.device_minor())?,
        );
    }
    if member.kind != Kind::Regular {
        // Some writers give directories and links a size, but no content; Go's reader goes by the type too.
        member.size = 0;
    }
    Ok((member, map))
}

fn kind_of(kind: EntryType, member: &Member) -> Result<Kind, TarError> {
    let unsupported = |what: String| TarError::Unsupported {
        name: member.shown(),
        what,
    };
    Ok(match kind {
        // Archives older than the type for directories mark them so.
        EntryType::Regular if member.name.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::Regular,
        EntryType::Link => Kind::HardLink,
        EntryType::Symlink => Kind::Symlink,
        EntryType::Char => Kind::Character,
        EntryType::Block => Kind::Block,
        EntryType::Directory => Kind::Directory,
        EntryType::Fifo => Kind::Fifo,
        other => {
            return Err(unsupported(format!(
                "a member of type {:#04x}",
                other.as_byte()
            )));
        }
    })
}

/// Applies pax records to a member; answers where those of a sparse file say that its parts are.
fn apply_records(member: &mut Member, records: Vec<Record>) -> Result<Map, TarError> {
    fn parsed<T: std::str::FromStr>(field: &'static str, value: &[u8]) -> Result<T, TarError> {
        let text = std::str::from_utf8(value).ok();
        text.and_then(|text| text.parse().ok())
            .ok_or(TarError::Field { field })
    }
    let mut sparse = sparse::Records::default();
    for (key, value) in records {
        // An empty value takes back what a global header says (pax(1)), and those are not read.
        match key.as_slice() {
            _ if value.is_empty() && !key.starts_with(XATTR) => {}
            b"path" => member.name = value,
            b"linkpath" => member.link = value,
            b"size" => member.size = parsed("size", &value)?,
            b"uid" => member.uid = parsed("uid", &value)?,
            b"gid" => member.gid = parsed("gid", &value)?,
            b"mtime" => member.modified = time(&value).ok_or(TarError::Field { field: "mtime" })?,
            key if key.starts_with(SPARSE) => sparse.add(&key[SPARSE.len()..], value)?,
            key => {
                if let Some(name) = key.strip_prefix(XATTR) {
                    member.xattrs.push((name.to_vec(), value));
                }
            }
        }
    }
    if let Some(name) = sparse.name.take() {
        member.name = name;
    }
    sparse.map()
}
