//! Reads the log of a container as it grows, over renames, and accounts for every byte: the lines are 0, 1, 2 and so on,
//! each once, in order, and every record parses.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use crate::target::LogFormat;

/// A time of the CRI format: `2026-01-02T03:04:05.123456789Z`.
const TIME_LEN: usize = 30;

/// A silence that the report shows, in nanoseconds: the slowest program writes ten times a second.
const SILENT: i64 = 1_000_000_000;

/// Whether lines may be missing: after a fault that takes them where nobody can keep them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Losses {
    /// Not one.
    None,
    /// Some, but none comes twice or in another order.
    Allowed,
}

/// What was read of a log.
#[derive(Debug, Clone)]
pub struct LogBook {
    format: LogFormat,
    /// The files, in the order in which they were written; the last is the current one.
    files: Vec<PathBuf>,
    at: usize,
    offset: u64,
    /// The pieces of a line that is not complete.
    line: Vec<u8>,
    /// The next number.
    next: u64,
    /// Whether lines may be missing.
    pub losses: Losses,
    faults: Vec<String>,
    /// When the last record was written.
    last_at: Option<i64>,
    gaps: Vec<(i64, i64)>,
}

impl LogBook {
    pub fn new(format: LogFormat, path: PathBuf) -> Self {
        Self {
            format,
            files: vec![path],
            at: 0,
            offset: 0,
            line: Vec::new(),
            next: 0,
            losses: Losses::None,
            faults: Vec::new(),
            last_at: None,
            gaps: Vec::new(),
        }
    }

    /// The current file.
    pub fn current(&self) -> &Path {
        &self.files[self.files.len() - 1]
    }

    /// The current file is called `to` now, and what comes goes to a new one under its name.
    pub fn renamed(&mut self, to: PathBuf) {
        let current = self.current().to_owned();
        let last = self.files.len() - 1;
        self.files[last] = to;
        self.files.push(current);
    }

    /// Reads what has come since.
    pub fn read(&mut self) {
        loop {
            self.read_file();
            if self.at + 1 >= self.files.len() || !self.files[self.at + 1].exists() {
                return;
            }
            // Once more: the writer may have gone on until it opened the next one.
            self.end_file();
            self.at += 1;
            self.offset = 0;
        }
    }

    /// What was wrong, and is now that nothing more will come: `lines` is how many lines there should be.
    pub fn faults(&self, has_ended: bool, lines: Option<u64>) -> Vec<String> {
        let mut faults = self.faults.clone();
        if has_ended {
            let expected = self.next.to_string();
            if self.losses == Losses::None && !expected.as_bytes().starts_with(&self.line) {
                faults.push(format!(
                    "ends with {:?} where line {expected} should be",
                    String::from_utf8_lossy(&self.line)
                ));
            }
            let is_short = |lines: &u64| *lines != self.next && self.losses == Losses::None;
            if let Some(lines) = lines.filter(is_short) {
                faults.push(format!("has {} lines of {lines}", self.next));
            }
        }
        faults
    }

    fn unread(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read = File::open(&self.files[self.at]).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.offset))?;
            file.read_to_end(&mut bytes)
        });
        if read.is_ok() { bytes } else { Vec::new() }
    }

    /// Reads the rest of a file that nobody writes to any more. Bytes go on in the next file wherever they were cut; a
    /// record is whole.
    fn end_file(&mut self) {
        self.read_file();
        let rest = self.unread();
        match self.format {
            LogFormat::Raw => self.line.extend_from_slice(&rest),
            LogFormat::Cri if !rest.is_empty() => {
                self.fault(format!("ends with {:?}", String::from_utf8_lossy(&rest)));
            }
            LogFormat::Cri => {}
        }
    }

    fn read_file(&mut self) {
        let bytes = self.unread();
        // What is not ended by a newline is being written; it is read again when it is whole.
        let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else {
            return;
        };
        self.offset += u64::try_from(end + 1).unwrap();
        for record in bytes[..end].split(|byte| *byte == b'\n') {
            self.record(record);
        }
    }

    fn record(&mut self, record: &[u8]) {
        let (content, is_whole) = match self.format {
            LogFormat::Raw => (record, true),
            LogFormat::Cri => match parse(record) {
                Some((at, content, is_whole)) => {
                    self.came_at(at);
                    (content, is_whole)
                }
                None => {
                    self.fault(format!("no record: {:?}", String::from_utf8_lossy(record)));
                    return;
                }
            },
        };
        self.line.extend_from_slice(content);
        if is_whole {
            let line = std::mem::take(&mut self.line);
            self.number(&line);
        }
    }

    fn number(&mut self, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        let found = text.parse::<u64>();
        match (found, self.losses) {
            (Ok(number), _) if number == self.next => self.next += 1,
            (Ok(number), Losses::Allowed) if number > self.next => self.next = number + 1,
            // The shim's word about what is missing, or a line of which a piece is.
            (Err(_), Losses::Allowed) => {}
            (Ok(number), Losses::Allowed) if is_rest_of(number, self.next) => {}
            (found, _) => {
                self.fault(format!("line {} is {text:?}", self.next));
                if let Ok(number) = found {
                    self.next = self.next.max(number + 1);
                }
            }
        }
    }

    fn fault(&mut self, what: String) {
        // A log that is wrong once may be wrong ten thousand times.
        if self.faults.len() < 10 {
            let path = self.files[self.at].display();
            self.faults.push(format!("{path}: {what}"));
        }
    }

    /// From and until when nothing came for longer than a second.
    pub fn gaps(&self) -> &[(i64, i64)] {
        &self.gaps
    }

    fn came_at(&mut self, at: i64) {
        if let Some(last) = self.last_at.replace(at)
            && at - last > SILENT
        {
            self.gaps.push((last, at));
        }
    }

    /// How long all of its files are.
    pub fn len(&self) -> u64 {
        let of = |path: &PathBuf| fs::metadata(path).map_or(0, |is| is.len());
        self.files.iter().map(of).sum()
    }
}

/// Whether `number` may be the end of a line of about `next` whose beginning is missing.
fn is_rest_of(number: u64, next: u64) -> bool {
    number < next && number.to_string().len() < next.to_string().len() + 1
}

/// The time of a record in Unix nanoseconds, its content, and whether it ends its line.
fn parse(record: &[u8]) -> Option<(i64, &[u8], bool)> {
    let (time, rest) = record.split_at_checked(TIME_LEN)?;
    let shape = |index: usize, byte: &u8| match index {
        4 | 7 => *byte == b'-',
        10 => *byte == b'T',
        13 | 16 => *byte == b':',
        19 => *byte == b'.',
        29 => *byte == b'Z',
        _ => byte.is_ascii_digit(),
    };
    if !time
        .iter()
        .enumerate()
        .all(|(index, byte)| shape(index, byte))
    {
        return None;
    }
    let at = outlive::cli::time::rfc3339(std::str::from_utf8(time).ok()?)?;
    let at = i64::try_from(at.unix_nanos()).ok()?;
    let rest = rest
        .strip_prefix(b" stdout ")
        .or_else(|| rest.strip_prefix(b" stderr "))?;
    match rest {
        [b'F', b' ', content @ ..] => Some((at, content, true)),
        [b'P', b' ', content @ ..] => Some((at, content, false)),
        _ => None,
    }
}
