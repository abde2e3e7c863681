//! One log file: appended to by whole batches, rotated, reopened; and what is done when it takes nothing.
//!
//! ```text
//! batch -> rest of a torn record, if any -> notices of what is missing, if any -> batch -> file
//!                     |  the file does not take it: the batch is dropped and counted
//! ```
//!
//! A write error must not end the log, and must not stop the container
//! (<https://github.com/containerd/containerd/issues/12462>): every batch tries anew. A record of which the file took a
//! part is kept and finished first, so that no record follows a torn one. What was lost is said where it is missing, in
//! one record for each stream, as soon as the file takes bytes again.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use log::{info, warn};

use super::cri::{self, LogStream};
use super::loss::{Incident, Loss};
use super::rotate::{Naming, rotate};
use crate::sys::pipe;
use crate::types::Timestamp;
use crate::types::stdio::Rotation;

/// What stands in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The container's bytes as they came.
    Plain,
    /// CRI records.
    Cri,
}

impl Format {
    /// As containerd's shim makes log files (`process/io.go`), and as its CRI plugin does (`internal/cri/io`).
    const fn mode(self) -> u32 {
        match self {
            Self::Plain => 0o644,
            Self::Cri => 0o640,
        }
    }

    const fn naming(self) -> Naming {
        match self {
            Self::Plain => Naming::Suffixed,
            Self::Cri => Naming::Hidden,
        }
    }

    fn loss(self, batch: &[u8]) -> Loss {
        match self {
            Self::Cri => cri::content_of(batch),
            Self::Plain => {
                let mut loss = Loss::default();
                loss.add(batch.len(), memchr::memchr_iter(b'\n', batch).count());
                loss
            }
        }
    }

    fn notice(self, stream: LogStream, incident: &Incident) -> Vec<u8> {
        let text = incident.text(stream.name());
        match self {
            // Of the last read that was lost, so that it is not after the records behind it.
            Self::Cri => cri::notice(stream, incident.at, &text),
            Self::Plain => (text + "\n").into_bytes(),
        }
    }
}

/// A newly opened file.
#[derive(Debug)]
pub struct Opened {
    file: File,
    created: bool,
}

/// A file that is appended to, whatever happens to it.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    format: Format,
    rotation: Option<Rotation>,
    file: File,
    size: u64,
    at_line_start: bool,
    /// The rest of a record that the file took a part of.
    unfinished: Vec<u8>,
    unfinished_of: LogStream,
    /// Of the last read of which something was to be written.
    at: Timestamp,
    incidents: [Option<Incident>; 2],
    /// Below this size no rotation is tried: one has failed.
    patience: u64,
}

impl LogFile {
    /// Opens or makes the file.
    ///
    /// # Errors
    /// What open(2) answered.
    pub fn open(path: &Path, format: Format, rotation: Option<Rotation>) -> io::Result<Self> {
        let Opened { file, .. } = open(path, format)?;
        let mut log = Self {
            path: path.to_owned(),
            format,
            rotation,
            file,
            size: 0,
            at_line_start: true,
            unfinished: Vec::new(),
            unfinished_of: LogStream::Stdout,
            at: Timestamp::from_unix_nanos(0),
            incidents: [None, None],
            patience: 0,
        };
        log.look();
        Ok(log)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens what is at the path now, or makes it. Nothing is changed yet.
    ///
    /// # Errors
    /// What open(2) answered; then no file was made.
    pub fn open_again(&self) -> io::Result<Opened> {
        open(&self.path, self.format)
    }

    /// Forgets a file that is not to be used after all.
    pub fn discard(&self, opened: &Opened) {
        if opened.created
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            warn!(path:% = self.path.display(); "log file: remove: {error}");
        }
    }

    /// Goes on in `opened`. What the old file still owes is tried once more; then it is missing, and the new one says so.
    pub fn replace(&mut self, opened: Opened) {
        if self.owes()
            && let Err(cause) = self.settle()
            && !self.unfinished.is_empty()
        {
            let mut rest = Loss::default();
            rest.add(std::mem::take(&mut self.unfinished).len(), 1);
            self.lose(self.unfinished_of, rest, cause);
        }
        self.file = opened.file;
        self.look();
    }

    /// Tries to write what is owed: the rest of a torn record, and what is to be said of what is missing.
    pub fn flush(&mut self) {
        if self.owes()
            && let Err(error) = self.settle()
        {
            warn!(path:% = self.path.display(); "log file still takes nothing: {error}");
        }
    }

    /// Appends a batch (of whole records, in the CRI format) that was read at `at`, or what the file takes of it. Gives
    /// what was lost.
    pub fn write(&mut self, stream: LogStream, at: Timestamp, mut batch: &[u8]) -> Loss {
        self.at = at;
        if self.owes()
            && let Err(error) = self.settle()
        {
            return self.lose(stream, self.format.loss(batch), error);
        }
        while let Some(fitting) = self.fitting(batch) {
            let (now, later) = batch.split_at(fitting);
            if !now.is_empty() {
                let lost = self.append(stream, now, later);
                if lost.bytes > 0 || !self.unfinished.is_empty() {
                    return lost;
                }
            }
            batch = later;
            if batch.is_empty() {
                return Loss::default();
            }
            self.rotate();
        }
        self.append(stream, batch, &[])
    }

    /// Appends `now`; on an error, that and `later` are lost, but for a record that is begun.
    fn append(&mut self, stream: LogStream, now: &[u8], later: &[u8]) -> Loss {
        let (written, result) = self.write_out(now);
        let Err(error) = result else {
            return Loss::default();
        };
        let mut rest = now.get(written..).unwrap_or_default();
        if self.format == Format::Cri && !self.at_line_start {
            let (torn, whole) = rest.split_at(line_length(rest));
            self.unfinished = torn.to_vec();
            self.unfinished_of = stream;
            rest = whole;
        }
        let mut lost = self.format.loss(rest);
        lost.merge(self.format.loss(later));
        self.lose(stream, lost, error)
    }

    fn owes(&self) -> bool {
        let torn = self.format == Format::Cri && !self.at_line_start;
        torn || !self.unfinished.is_empty() || self.incidents.iter().any(Option::is_some)
    }

    fn settle(&mut self) -> io::Result<()> {
        if self.unfinished.is_empty() && !self.at_line_start {
            // A record that nobody can finish, or a line that the notice must not continue.
            self.unfinished.push(b'\n');
        }
        self.write_unfinished()?;
        for stream in LogStream::ALL {
            let Some(place) = self.incidents.get_mut(stream.index()) else {
                continue;
            };
            let Some(incident) = place.take() else {
                continue;
            };
            self.unfinished = self.format.notice(stream, &incident);
            let whole = self.unfinished.len();
            let result = self.write_unfinished();
            if result.is_err() && self.unfinished.len() == whole {
                self.unfinished = Vec::new();
                if let Some(place) = self.incidents.get_mut(stream.index()) {
                    *place = Some(incident);
                }
            } else {
                let (path, Loss { bytes, records }) = (self.path.display(), incident.lost);
                info!(path:% = path, stream = stream.name(), bytes = bytes, records = records;
                    "log file takes bytes again; those are missing");
            }
            result?;
        }
        Ok(())
    }

    fn write_unfinished(&mut self) -> io::Result<()> {
        let mut unfinished = std::mem::take(&mut self.unfinished);
        let (written, result) = self.write_out(&unfinished);
        if result.is_err() {
            unfinished.drain(..written);
            self.unfinished = unfinished;
        }
        result
    }

    /// Writes as much as the file takes, and tells how much that was.
    fn write_out(&mut self, bytes: &[u8]) -> (usize, io::Result<()>) {
        let mut rest = bytes;
        let mut result = Ok(());
        while !rest.is_empty() && result.is_ok() {
            match pipe::write(&self.file, rest) {
                Ok(0) => result = Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    let (done, more) = rest.split_at(written.min(rest.len()));
                    self.at_line_start = done.last() == Some(&b'\n');
                    rest = more;
                }
                Err(error) => result = Err(error),
            }
        }
        let written = bytes.len() - rest.len();
        self.size = self
            .size
            .saturating_add(u64::try_from(written).unwrap_or(u64::MAX));
        (written, result)
    }

    fn lose(&mut self, stream: LogStream, lost: Loss, cause: io::Error) -> Loss {
        if lost == Loss::default() {
            return lost;
        }
        match self.incidents.get_mut(stream.index()) {
            Some(Some(incident)) => {
                incident.lost.merge(lost);
                incident.at = self.at;
            }
            Some(place) => {
                let path = self.path.display();
                warn!(path:% = path, stream = stream.name(); "log file takes no bytes, they are dropped: {cause}");
                let at = self.at;
                *place = Some(Incident { lost, at, cause });
            }
            None => {}
        }
        lost
    }

    /// How much of `batch` fits, in whole lines, before the file has to be rotated; `None`: all of it.
    fn fitting(&self, batch: &[u8]) -> Option<usize> {
        let limit = self.rotation?.max_size.get().max(self.patience);
        let room = usize::try_from(limit.saturating_sub(self.size)).unwrap_or(usize::MAX);
        let within = batch
            .get(..room)
            .filter(|within| within.len() < batch.len())?;
        match memchr::memrchr(b'\n', within) {
            Some(last) => Some(last + 1),
            None if self.size > 0 => Some(0),
            // One that is longer than a file may be has a file of its own.
            None => Some(line_length(batch)).filter(|length| *length < batch.len()),
        }
    }

    fn rotate(&mut self) {
        let Some(rotation) = self.rotation else {
            return;
        };
        let format = self.format;
        let create = |path: &Path| options(format).create_new(true).open(path);
        match rotate(&self.path, format.naming(), rotation.max_files, create) {
            Ok(file) => {
                self.file = file;
                self.look();
            }
            Err(error) => {
                if self.patience == 0 {
                    warn!(path:% = self.path.display(); "log file is not rotated: {error}");
                }
                // The log grows instead. Not every batch needs to try.
                let pause = (rotation.max_size.get() / 16).max(1 << 16);
                self.patience = self.size.saturating_add(pause);
            }
        }
    }

    /// Finds out about a file that was just opened.
    fn look(&mut self) {
        self.patience = 0;
        self.size = 0;
        self.at_line_start = true;
        match self.file.metadata() {
            Ok(metadata) if metadata.is_file() => {
                self.size = metadata.len();
                let mut last = [b'\n'];
                // What cannot be read is taken for whole.
                if let Some(offset) = self.size.checked_sub(1)
                    && self.file.read_at(&mut last, offset).is_ok()
                {
                    self.at_line_start = last == [b'\n'];
                }
            }
            // A device or a fifo is never moved away.
            Ok(_) | Err(_) => self.rotation = None,
        }
    }
}

/// The length of the first line with its newline, or of everything.
fn line_length(text: &[u8]) -> usize {
    memchr::memchr(b'\n', text).map_or(text.len(), |length| length + 1)
}

/// Read as well, for the last byte. Non-blocking does nothing to a regular file, and keeps open(2) from waiting on
/// whatever else is there.
fn options(format: Format) -> OpenOptions {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .append(true)
        .mode(format.mode())
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    options
}

fn open(path: &Path, format: Format) -> io::Result<Opened> {
    match options(format).create_new(true).open(path) {
        Ok(file) => Ok(Opened {
            file,
            created: true,
        }),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Made by somebody else, and maybe removed again.
            let file = options(format).create(true).open(path)?;
            Ok(Opened {
                file,
                created: false,
            })
        }
        Err(error) => Err(error),
    }
}
