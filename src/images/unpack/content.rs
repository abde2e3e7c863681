//! The content of files: holes stay holes, however large they are.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

use super::{UnpackError, writing};
use crate::images::members::{Member, TarError};

/// Writes the content of `member`, all of which `content` has, to `file`.
pub(super) fn write(
    member: &Member,
    mut file: File,
    content: &mut impl Read,
) -> Result<(), UnpackError> {
    let failed = || writing("writing", member);
    let mut buffer = vec![0; 64 << 10];
    let Some(sparse) = &member.sparse else {
        return write_part(member, &mut file, content, member.size, &mut buffer);
    };
    for &(offset, length) in &sparse.parts {
        file.seek(SeekFrom::Start(offset)).map_err(failed())?;
        write_part(member, &mut file, content, length, &mut buffer)?;
    }
    file.set_len(sparse.size).map_err(failed())
}

fn write_part(
    member: &Member,
    file: &mut File,
    content: &mut impl Read,
    length: u64,
    buffer: &mut [u8],
) -> Result<(), UnpackError> {
    let mut part = content.take(length);
    loop {
        match part.read(buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                let written = file.write_all(&buffer[..count]);
                written.map_err(writing("writing", member))?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(TarError::Truncated("a file").into());
            }
            Err(error) => return Err(TarError::Read(error).into()),
        }
    }
}

/// Copies a file with its holes (lseek(2), SEEK_DATA). A file system that knows of no holes says that all is data.
pub(super) fn copy(mut from: File, mut to: File) -> io::Result<()> {
    let length = from.metadata()?.len();
    let mut end = 0;
    loop {
        let Some(data) = find(&from, end, Whence::SeekData)? else {
            return to.set_len(length);
        };
        end = find(&from, data, Whence::SeekHole)?.unwrap_or(length);
        from.seek(SeekFrom::Start(data))?;
        to.seek(SeekFrom::Start(data))?;
        io::copy(&mut (&mut from).take(end.saturating_sub(data)), &mut to)?;
    }
}

/// The next data or hole at `from` or after it; `None` where there is none before the end.
fn find(file: impl AsFd, from: u64, what: Whence) -> io::Result<Option<u64>> {
    let from = i64::try_from(from).map_err(io::Error::other)?;
    match lseek(file, from, what) {
        Err(Errno::ENXIO) => Ok(None),
        found => Ok(u64::try_from(found?).ok()),
    }
}
