//! A log: a file, in one of two formats, and the two streams that write to it.

use std::cell::{Cell, RefCell};
use std::fs::DirBuilder;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::buffer;
use super::cri::{Batch, Encoder, LogStream};
use super::file::{Format, LogFile, Opened};
use super::flow::Flow;
use crate::types::Timestamp;
use crate::types::stdio::Rotation;

/// A log. It lives on one thread and never waits but for the file system, so that stdout and stderr, and a reopening,
/// take turns by whole batches.
#[derive(Debug)]
pub struct Log(RefCell<Inner>);

#[derive(Debug)]
struct Inner {
    file: LogFile,
    encoding: Encoding,
    counted: [Counted; 2],
}

#[derive(Debug)]
enum Encoding {
    Plain,
    Cri([Encoder; 2]),
}

/// What became of a stream's bytes and was not told to its flow yet.
#[derive(Debug, Default)]
struct Counted {
    moved: usize,
    dropped: usize,
}

impl Counted {
    fn add(&mut self, taken: usize, lost: u64) {
        let lost = usize::try_from(lost).unwrap_or(usize::MAX).min(taken);
        self.moved += taken - lost;
        self.dropped += lost;
    }
}

impl Log {
    /// Opens or makes a file for the bytes as they come, 0644, and the directories above it, 0755 (as containerd's
    /// `cmd/containerd-shim-runc-v2/process/io.go`).
    ///
    /// # Errors
    /// What mkdir(2) or open(2) answered.
    pub fn plain(path: &Path, rotation: Option<Rotation>) -> io::Result<Rc<Self>> {
        Self::new(path, Format::Plain, rotation, Encoding::Plain)
    }

    /// The same for CRI records of at most `max_line` bytes of content, 0640.
    ///
    /// # Errors
    /// As [`Self::plain`].
    pub fn cri(
        path: &Path,
        max_line: Option<NonZeroUsize>,
        rotation: Option<Rotation>,
    ) -> io::Result<Rc<Self>> {
        let encoders = LogStream::ALL.map(|stream| Encoder::new(stream, max_line));
        Self::new(path, Format::Cri, rotation, Encoding::Cri(encoders))
    }

    fn new(
        path: &Path,
        format: Format,
        rotation: Option<Rotation>,
        encoding: Encoding,
    ) -> io::Result<Rc<Self>> {
        if let Some(parent) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(parent)?;
        }
        Ok(Rc::new(Self(RefCell::new(Inner {
            file: LogFile::open(path, format, rotation)?,
            encoding,
            counted: Default::default(),
        }))))
    }

    /// What `stream` is written through. One for each.
    #[must_use]
    pub fn writer(self: &Rc<Self>, stream: LogStream) -> LogWriter {
        LogWriter {
            log: Rc::clone(self),
            stream,
            finished: Cell::new(false),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.0.borrow().file.path().to_owned()
    }

    /// Begins to reopen, since the file was renamed: opens or makes what is to be written from now on.
    ///
    /// # Errors
    /// What open(2) answered; then there is no new file, and the old one is written on.
    pub fn begin_reopen(self: &Rc<Self>) -> io::Result<Reopening> {
        Ok(Reopening {
            opened: Some(self.0.borrow().file.open_again()?),
            log: Rc::clone(self),
        })
    }
}

/// A new file for a log, not in use yet. Dropped, it is removed again.
#[derive(Debug)]
pub struct Reopening {
    log: Rc<Log>,
    opened: Option<Opened>,
}

impl Reopening {
    /// Writes what is held of a line to the old file as P, and everything after that to the new one.
    pub fn finish(mut self) {
        let Some(opened) = self.opened.take() else {
            return;
        };
        let mut inner = self.log.0.borrow_mut();
        for stream in LogStream::ALL {
            inner.release(stream);
        }
        inner.file.replace(opened);
    }
}

impl Drop for Reopening {
    fn drop(&mut self) {
        if let Some(opened) = self.opened.take() {
            self.log.0.borrow().file.discard(&opened);
        }
    }
}

impl Inner {
    fn take(&mut self, stream: LogStream, bytes: &[u8]) {
        let at = Timestamp::now();
        self.write(stream, at, bytes, |encoder, batch| {
            encoder.push(bytes, at, batch);
        });
    }

    /// Writes what is held of `stream`.
    fn release(&mut self, stream: LogStream) {
        self.write(stream, Timestamp::now(), &[], Encoder::finish);
    }

    /// Writes the bytes as they are, or the records that `encode` makes.
    fn write(
        &mut self,
        stream: LogStream,
        at: Timestamp,
        plain: &[u8],
        encode: impl FnOnce(&mut Encoder, &mut Batch<'_>),
    ) {
        let Self {
            file,
            encoding,
            counted,
        } = self;
        let Some(counted) = counted.get_mut(stream.index()) else {
            return;
        };
        match encoding {
            Encoding::Plain if plain.is_empty() => {}
            Encoding::Plain => counted.add(plain.len(), file.write(stream, at, plain).bytes),
            Encoding::Cri(encoders) => {
                let Some(encoder) = encoders.get_mut(stream.index()) else {
                    return;
                };
                if plain.is_empty() && encoder.is_empty() {
                    return;
                }
                let mut write = |records: &[u8], taken| {
                    counted.add(taken, file.write(stream, at, records).bytes);
                };
                buffer::with_records(|records| {
                    let mut batch = Batch::new(records, &mut write);
                    encode(encoder, &mut batch);
                    batch.flush();
                });
            }
        }
    }

    fn tell(&mut self, stream: LogStream, flow: &Flow) {
        if let Some(counted) = self.counted.get_mut(stream.index()) {
            let Counted { moved, dropped } = std::mem::take(counted);
            flow.count_moved(moved);
            flow.count_dropped(dropped);
        }
    }
}

/// One stream's way into a log. Dropped, it is finished.
#[derive(Debug)]
pub struct LogWriter {
    log: Rc<Log>,
    stream: LogStream,
    finished: Cell<bool>,
}

impl LogWriter {
    /// Takes what one read brought.
    pub(super) fn take(&self, bytes: &[u8], flow: &Flow) {
        let mut inner = self.log.0.borrow_mut();
        inner.take(self.stream, bytes);
        inner.tell(self.stream, flow);
    }

    /// The stream has ended: what is held of a line is written, and what is missing is said, if that is possible now.
    pub(super) fn finish(&self, flow: &Flow) {
        if !self.finished.replace(true) {
            let mut inner = self.log.0.borrow_mut();
            inner.release(self.stream);
            inner.file.flush();
            inner.tell(self.stream, flow);
        }
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.finish(&Flow::default());
    }
}
