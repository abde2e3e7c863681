//! The spool: a bounded ring in a file, for what a full fifo does not take while nobody is there to read it.
//!
//! ```text
//!  0            head % limit        tail % limit             limit
//!  |   free     |  not replayed yet |          free          |      used = tail - head <= limit
//! ```
//!
//! The file has no name: it is made in the bundle and unlinked at once. It need not outlive the shim, since the pipe that
//! it continues does not either; and so neither a crash nor a Delete leaves one behind. A ring needs no more space than
//! its limit, however long bytes go in and out, and what is empty is given back.
//!
//! Bytes come by splice(2), which copies them into the file, and leave by read and write: splicing them out would put
//! the file's own pages into the fifo, where the next lap of the ring would change them under the reader.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::buffer;
use crate::sys::{pipe, splice};

/// What was written and not replayed yet. Every call may wait for a disk, but for nothing else.
#[derive(Debug)]
pub struct Spool {
    file: File,
    limit: u64,
    /// Bytes replayed since it was empty.
    head: u64,
    /// Bytes written since it was empty.
    tail: u64,
}

impl Spool {
    /// A new one of at most `limit` bytes in the directory; `name` is its own for a moment.
    ///
    /// # Errors
    /// What open(2) or unlink(2) answered.
    pub fn create(directory: &Path, name: &str, limit: u64) -> io::Result<Self> {
        let path = directory.join(format!(".{name}.spool"));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(Self {
            file,
            limit,
            head: 0,
            tail: 0,
        })
    }

    /// How many bytes are in it.
    #[must_use]
    pub const fn used(&self) -> u64 {
        self.tail - self.head
    }

    /// Whether it has nothing to replay.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.used() == 0
    }

    /// How many bytes it may still take.
    #[must_use]
    pub const fn room(&self) -> u64 {
        self.limit - self.used()
    }

    /// Takes what is in the pipe `source`, a buffer's length at most; zero is the pipe's end.
    ///
    /// # Errors
    /// `WouldBlock` where the pipe is empty, `StorageFull` where there is no room, otherwise what the file system
    /// answered; nothing is lost then.
    pub fn fill_from(&mut self, source: impl AsFd) -> io::Result<usize> {
        let (at, most) = self.gap();
        if most == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let moved = splice::into_file(source, &self.file, at, most)?;
        self.written(moved);
        Ok(moved)
    }

    /// Takes the beginning of `bytes`, and tells how much that is.
    ///
    /// # Errors
    /// As [`Self::fill_from`].
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (at, most) = self.gap();
        let bytes = bytes.get(..bytes.len().min(most)).unwrap_or_default();
        if bytes.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let written = self.file.write_at(bytes, at)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.written(written);
        Ok(written)
    }

    /// Writes the oldest bytes to `sink`, and tells how many it took.
    ///
    /// # Errors
    /// What reading the file, or writing to `sink`, answered: `WouldBlock` where it is full.
    pub fn replay_into(&mut self, sink: impl AsFd) -> io::Result<usize> {
        let at = self.head % self.limit;
        let most = length(self.used().min(self.limit - at));
        let taken = buffer::with(|buffer| {
            let most = most.min(buffer.len());
            let chunk = buffer.get_mut(..most).unwrap_or_default();
            let read = self.file.read_at(chunk, at)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            pipe::write(sink, chunk.get(..read).unwrap_or_default())
        })?;
        self.head += u64::try_from(taken).unwrap_or(u64::MAX);
        if self.is_empty() {
            (self.head, self.tail) = (0, 0);
        }
        Ok(taken)
    }

    /// Where the next bytes go, and how many may: up to the ring's end at once, a buffer's length at most.
    fn gap(&self) -> (u64, usize) {
        let at = self.tail % self.limit;
        (
            at,
            length(self.room().min(self.limit - at)).min(buffer::LENGTH),
        )
    }

    fn written(&mut self, bytes: usize) {
        self.tail += u64::try_from(bytes).unwrap_or(u64::MAX);
    }
}

fn length(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::file::scratch::Scratch;
    use crate::sys::pipe::Pipe;
    use proptest::prelude::*;

    fn ends() -> Pipe {
        let ends = Pipe::new().unwrap();
        pipe::set_nonblocking(&ends.read).unwrap();
        pipe::set_nonblocking(&ends.write).unwrap();
        ends
    }

    #[test]
    fn it_has_no_name_and_keeps_its_bound() {
        let scratch = Scratch::new();
        let mut spool = Spool::create(scratch.path(), "init-stdout", 10).unwrap();
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
        assert_eq!(spool.append(b"0123456789abc").unwrap(), 10);
        assert_eq!(
            spool.append(b"abc").unwrap_err().kind(),
            io::ErrorKind::StorageFull
        );
        let source = ends();
        pipe::write(&source.write, b"abc").unwrap();
        assert_eq!(
            spool.fill_from(&source.read).unwrap_err().kind(),
            io::ErrorKind::StorageFull
        );
        assert_eq!(pipe::unread(&source.read).unwrap(), 3, "nothing is lost");
    }

    #[test]
    fn the_end_and_the_emptiness_of_a_pipe_are_told_apart() {
        let scratch = Scratch::new();
        let mut spool = Spool::create(scratch.path(), "x", 10).unwrap();
        let source = ends();
        assert_eq!(
            spool.fill_from(&source.read).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        drop(source.write);
        assert_eq!(spool.fill_from(&source.read).unwrap(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_goes_in_comes_out_in_order_lap_after_lap(
            steps in proptest::collection::vec((0_usize..9000, any::<bool>(), 0_usize..4), 1..60),
            limit in 1_u64..20_000,
        ) {
            let scratch = Scratch::new();
            let mut spool = Spool::create(scratch.path(), "x", limit).unwrap();
            let (source, sink) = (ends(), ends());
            let mut next = 0_u64;
            let (mut sent, mut got) = (Vec::new(), Vec::new());
            let drain = |spool: &mut Spool, got: &mut Vec<u8>| {
                if !spool.is_empty() {
                    spool.replay_into(&sink.write).unwrap();
                }
                let mut bytes = [0; 4000];
                while let Ok(read) = pipe::read(&sink.read, &mut bytes) {
                    got.extend_from_slice(&bytes[..read]);
                }
            };
            for (bytes, spliced, replays) in steps {
                let batch: Vec<u8> = (0..bytes).map(|_| {
                    next += 1;
                    (next.wrapping_mul(0x9e37_79b9) >> 13).to_le_bytes()[0]
                }).collect();
                let mut rest = batch.as_slice();
                while !rest.is_empty() && spool.room() > 0 {
                    let taken = if spliced {
                        let offered = rest.len().min(usize::try_from(spool.room()).unwrap()).min(4096);
                        let offered = pipe::write(&source.write, &rest[..offered]).unwrap();
                        let mut moved = 0;
                        while moved < offered {
                            moved += spool.fill_from(&source.read).unwrap();
                        }
                        offered
                    } else {
                        spool.append(rest).unwrap()
                    };
                    sent.extend_from_slice(&rest[..taken]);
                    rest = &rest[taken..];
                }
                prop_assert!(spool.used() <= limit);
                for _ in 0..replays {
                    drain(&mut spool, &mut got);
                }
            }
            while !spool.is_empty() {
                drain(&mut spool, &mut got);
            }
            drain(&mut spool, &mut got);
            prop_assert!(spool.file.metadata().unwrap().len() <= limit);
            prop_assert_eq!(got, sent);
        }
    }
}
