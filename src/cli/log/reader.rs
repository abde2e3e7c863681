//! Reads a log from somewhere to its end, and on when there is more: over the files' succession.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::files::{self, Identity, LogFile};
use super::lines::{Line, Lines, Start};
use super::record::Record;

/// Read at once.
const CHUNK: usize = 256 << 10;
/// A record without an end that is larger than this is no record.
const MAX_RECORD: usize = 4 << 20;
/// How long the shim may still write to a file after there is a younger one.
const SETTLE: Duration = Duration::from_millis(50);
/// What is first looked at for the last lines.
const TAIL: u64 = 256 << 10;

/// Whether something was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Something was.
    More,
    /// There is nothing more now.
    AtEnd,
}

/// Where reading has come to.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    current: Option<Current>,
    waiting: VecDeque<LogFile>,
    /// The last file read, so that its successors can be told.
    last: Option<Identity>,
    lines: Lines,
    /// The beginning of a record whose end is not there yet.
    pending: Vec<u8>,
    /// Whether the bytes up to the next newline are the end of a record whose beginning was not read.
    cut: bool,
    /// Lines in the files that are no records, and files that went before they were read.
    losses: Losses,
}

/// What was in a log's files and could not be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Losses {
    /// Lines that are no records.
    pub malformed: u64,
    /// Times that a file was gone before it was read.
    pub missed: u64,
}

#[derive(Debug)]
struct Current {
    file: File,
    offset: u64,
    /// Whether its end was seen when there was a younger file already: then it is complete.
    superseded: bool,
}

impl Reader {
    /// Reads everything that there is of the log at `path`, from the oldest file on. The log may not be there yet.
    ///
    /// # Errors
    /// What readdir(3) answered, but for a missing directory.
    pub fn from_start(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            current: None,
            waiting: list(path)?.into(),
            last: None,
            lines: Lines::new(Start::Line),
            pending: Vec::new(),
            cut: false,
            losses: Losses::default(),
        })
    }

    /// The last `count` lines of the log at `path`, and a reader of what comes after them.
    ///
    /// # Errors
    /// What readdir(3), open(2) or read(2) answered.
    pub fn tail(path: &Path, count: usize) -> io::Result<(Vec<Line>, Self)> {
        let mut window = TAIL;
        loop {
            let (mut reader, whole) = Self::near_end(path, window)?;
            let mut last = VecDeque::new();
            loop {
                let progress = reader.read(&mut |line| {
                    last.push_back(line);
                    // One more than asked for: what a following piece belongs to is not counted.
                    if last.len() > count.saturating_add(2) {
                        last.pop_front();
                    }
                    Ok(())
                })?;
                if progress == Progress::AtEnd {
                    break;
                }
            }
            last.extend(reader.lines.rest());
            let surplus = last.len().saturating_sub(count);
            last.drain(..surplus);
            let sound = last.len() == count && last.iter().all(|line| line.start != Start::Unknown);
            if whole || sound {
                return Ok((last.into(), reader));
            }
            window = window.saturating_mul(8);
        }
    }

    /// A reader of the last `window` bytes, and whether that is everything.
    fn near_end(path: &Path, window: u64) -> io::Result<(Self, bool)> {
        let mut reader = Self::from_start(path)?;
        let mut before: u64 = reader.waiting.iter().map(|file| file.len).sum();
        before = before.saturating_sub(window);
        if before == 0 {
            return Ok((reader, true));
        }
        while let Some(first) = reader.waiting.front()
            && first.len <= before
        {
            before -= first.len;
            reader.last = Some(first.identity);
            reader.waiting.pop_front();
        }
        reader.lines = Lines::new(Start::Unknown);
        reader.cut = before > 0;
        if reader.open_next()?
            && let Some(current) = &mut reader.current
        {
            current.offset = before;
            current.file.seek(SeekFrom::Start(before))?;
        }
        Ok((reader, false))
    }

    /// What could not be shown so far.
    pub const fn losses(&self) -> Losses {
        self.losses
    }

    /// The lines that no newline has ended.
    pub fn rest(&mut self) -> Vec<Line> {
        self.lines.rest()
    }

    /// Reads at most a chunk and passes on the lines in it.
    ///
    /// # Errors
    /// What readdir(3), open(2) or read(2) answered, or `each`.
    pub fn read(&mut self, each: &mut dyn FnMut(Line) -> io::Result<()>) -> io::Result<Progress> {
        if self.current.is_none() && !self.open_next()? {
            return Ok(Progress::AtEnd);
        }
        let Some(current) = &mut self.current else {
            return Ok(Progress::AtEnd);
        };
        let mut chunk = vec![0; CHUNK];
        let length = current.file.read(&mut chunk)?;
        if length == 0 {
            return self.at_end();
        }
        current.superseded = false;
        current.offset += u64::try_from(length).unwrap_or(u64::MAX);
        chunk.truncate(length);
        self.take(&chunk, each)?;
        Ok(Progress::More)
    }

    /// The current file has no more bytes: it was cut short, or there is a younger one, or nothing is to be done.
    fn at_end(&mut self) -> io::Result<Progress> {
        let Some(current) = &mut self.current else {
            return Ok(Progress::AtEnd);
        };
        let metadata = current.file.metadata()?;
        if metadata.len() < current.offset {
            // Somebody truncated it: what is there now is new.
            current.offset = 0;
            current.file.seek(SeekFrom::Start(0))?;
            self.pending.clear();
            self.losses.missed += 1;
            return Ok(Progress::More);
        }
        let identity = Identity::from(&metadata);
        let at_path = std::fs::metadata(&self.path);
        let is_current = match &at_path {
            Ok(at_path) => (at_path.dev(), at_path.ino()) == (metadata.dev(), metadata.ino()),
            // It is just being rotated, or was removed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(_) => return at_path.map(|_| Progress::AtEnd),
        };
        if is_current && self.waiting.is_empty() {
            return Ok(Progress::AtEnd);
        }
        if !current.superseded {
            // The shim may have written to it until just now: once more.
            let fresh = metadata
                .modified()
                .is_ok_and(|at| at.elapsed().is_ok_and(|age| age < SETTLE * 20));
            if fresh {
                std::thread::sleep(SETTLE);
            }
            current.superseded = true;
            return Ok(Progress::More);
        }
        match files::after(&self.path, identity)? {
            Some(younger) if younger.is_empty() => {
                // The rotation was undone.
                current.superseded = false;
                return Ok(Progress::AtEnd);
            }
            Some(younger) => self.waiting = younger.into(),
            None => {
                // It was removed as too old, so that all there are are younger; how many have gone nobody knows.
                self.losses.missed += 1;
                self.waiting = list(&self.path)?.into();
            }
        }
        // A record is written whole to one file: what is left is half of one.
        self.losses.malformed += u64::from(!self.pending.is_empty());
        self.pending.clear();
        self.current = None;
        Ok(Progress::More)
    }

    /// Opens the next file; whether there is one.
    fn open_next(&mut self) -> io::Result<bool> {
        if self.waiting.is_empty() {
            self.waiting = match self.last {
                Some(last) => files::after(&self.path, last)?.unwrap_or_default().into(),
                None => list(&self.path)?.into(),
            };
        }
        while let Some(next) = self.waiting.pop_front() {
            let file = match File::open(&next.path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let identity = Identity::from(&file.metadata()?);
            if identity != next.identity {
                // It was rotated between the two looks; from here on by the order there is now.
                self.waiting = list(&self.path)?.into();
                while self
                    .waiting
                    .front()
                    .is_some_and(|file| file.identity != next.identity)
                {
                    self.waiting.pop_front();
                }
                continue;
            }
            self.last = Some(identity);
            self.current = Some(Current {
                file,
                offset: 0,
                superseded: false,
            });
            return Ok(true);
        }
        Ok(false)
    }

    fn take(
        &mut self,
        bytes: &[u8],
        each: &mut dyn FnMut(Line) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (record, tail) = rest.split_at(end);
            rest = tail.get(1..).unwrap_or_default();
            if std::mem::take(&mut self.cut) {
                continue;
            }
            let joined;
            let record = if self.pending.is_empty() {
                record
            } else {
                let mut whole = std::mem::take(&mut self.pending);
                whole.extend_from_slice(record);
                joined = whole;
                &joined
            };
            match Record::parse(record) {
                Some(record) => {
                    if let Some(line) = self.lines.push(record) {
                        each(line)?;
                    }
                }
                None => self.losses.malformed += 1,
            }
        }
        if !self.cut {
            self.pending.extend_from_slice(rest);
            if self.pending.len() > MAX_RECORD {
                self.pending = Vec::new();
                self.cut = true;
                self.losses.malformed += 1;
            }
        }
        Ok(())
    }
}

fn list(path: &Path) -> io::Result<Vec<LogFile>> {
    match files::all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed,
    }
}

#[cfg(test)]
mod tests;
