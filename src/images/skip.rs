//! Streams that a tar archive is read from: by reading on, or by seeking over what nobody wants.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// A stream that can be skipped in.
pub trait Skip: Read {
    /// Skips `count` bytes.
    ///
    /// # Errors
    /// `UnexpectedEof`, and what the stream answered.
    fn skip(&mut self, count: u64) -> io::Result<()>;
}

/// Skips by reading.
#[derive(Debug)]
pub struct Streamed<R>(pub R);

impl<R: Read> Read for Streamed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read> Skip for Streamed<R> {
    fn skip(&mut self, count: u64) -> io::Result<()> {
        let skipped = io::copy(&mut (&mut self.0).take(count), &mut io::sink())?;
        if skipped == count {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
}

/// A regular file, which is skipped in by seeking. Its length is looked at once.
#[derive(Debug)]
pub struct Seeked {
    file: File,
    length: u64,
    position: u64,
}

impl Seeked {
    /// `file` from its beginning.
    ///
    /// # Errors
    /// What the file answered.
    pub fn new(mut file: File) -> io::Result<Self> {
        file.seek(SeekFrom::Start(0))?;
        let length = file.metadata()?.len();
        Ok(Self {
            file,
            length,
            position: 0,
        })
    }

    /// Bytes before the next one to read.
    pub const fn position(&self) -> u64 {
        self.position
    }
}

impl Read for Seeked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.position += u64::try_from(count).unwrap_or_default();
        Ok(count)
    }
}

impl Skip for Seeked {
    fn skip(&mut self, count: u64) -> io::Result<()> {
        let next = self.position.checked_add(count);
        let Some(next) = next.filter(|&next| next <= self.length) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        self.position = self.file.seek(SeekFrom::Start(next))?;
        Ok(())
    }
}
