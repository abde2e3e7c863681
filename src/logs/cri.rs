//! The CRI log format: bytes of a stream in, whole records out. Pure; who writes them is [`super::log`].
//!
//! ```text
//! 2024-02-29T23:59:59.000000001Z stdout F content\n
//! |-- of the read that brought --|      |    `-- at most the limit, never a newline
//!     the content's last byte           `------ F ends a line, P is a piece of one
//! ```
//!
//! The format is Kubernetes' (`kubelet-cri-logging.md`, cri-api `pkg/apis/runtime/v1/constants.go`). What becomes of a
//! line is what containerd makes of it (`internal/cri/io/logger.go`):
//!
//! - The newline ends the record; one carriage return before it goes with it, with and without a terminal. All other
//!   bytes stay, NUL among them.
//! - A line longer than the limit becomes P pieces of exactly the limit and an F remainder. Exactly the limit is F.
//! - Text without a newline is held until there is one, or more than the limit. At the end (and before the file is
//!   replaced) it is P; a carriage return stays there.
//!
//! Unlike containerd's, a timestamp is in UTC and has all nine digits, so that records of one stream sort as text.

use super::loss::Loss;
use crate::types::Timestamp;
use crate::types::time::RFC3339_LENGTH;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStream {
    /// stdout; with a terminal, all output.
    Stdout,
    /// stderr.
    Stderr,
}

impl LogStream {
    /// Both, in the order of [`Self::index`].
    pub const ALL: [Self; 2] = [Self::Stdout, Self::Stderr];

    /// Its name in a record.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }

    /// Its place where something is kept for each.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Stdout => 0,
            Self::Stderr => 1,
        }
    }
}

/// What stands before the content: both streams' names are of one length.
const HEADER_LENGTH: usize = RFC3339_LENGTH + " stdout F ".len();
const TAG_OFFSET: usize = HEADER_LENGTH - 2;

/// The most of a line that is ever held, so that a stream without newlines and without a limit costs no more memory.
pub const MOST_HELD: usize = 16 << 20;

/// How many bytes of records are collected for one write.
pub const BATCH_LENGTH: usize = 128 * 1024;

/// Whole records on their way to the file.
pub struct Batch<'a> {
    buffer: &'a mut [u8],
    filled: usize,
    source_bytes: usize,
    write: &'a mut dyn FnMut(&[u8], usize),
}

impl<'a> Batch<'a> {
    /// Collects in `buffer`, whatever is in it. `write` gets whole records, and how many bytes of the stream are in them.
    pub fn new(buffer: &'a mut [u8], write: &'a mut dyn FnMut(&[u8], usize)) -> Self {
        Self {
            buffer,
            filled: 0,
            source_bytes: 0,
            write,
        }
    }

    /// Runs for each line of a container at full speed: one check, and the header's length is known to the compiler.
    fn record(&mut self, header: &[u8; HEADER_LENGTH], content: [&[u8]; 2], source_bytes: usize) {
        let [first, second] = content;
        let length = HEADER_LENGTH + first.len() + second.len() + 1;
        if length > self.buffer.len() - self.filled {
            self.flush();
        }
        let room = self.buffer.get_mut(self.filled..self.filled + length);
        let Some((place, rest)) = room.and_then(<[u8]>::split_first_chunk_mut) else {
            // Longer than the whole buffer.
            let record = [header, first, second, b"\n"].concat();
            return (self.write)(&record, source_bytes);
        };
        *place = *header;
        let (place, rest) = rest.split_at_mut(first.len());
        place.copy_from_slice(first);
        let (place, rest) = rest.split_at_mut(second.len());
        if !second.is_empty() {
            place.copy_from_slice(second);
        }
        if let Some(end) = rest.first_mut() {
            *end = b'\n';
        }
        self.filled += length;
        self.source_bytes += source_bytes;
    }

    /// Writes what was collected.
    pub fn flush(&mut self) {
        let records = self.buffer.get(..self.filled).unwrap_or_default();
        if !records.is_empty() {
            (self.write)(records, self.source_bytes);
            self.filled = 0;
            self.source_bytes = 0;
        }
    }
}

/// Makes records of one stream. At rest it holds the line that is not ended, and nothing else.
#[derive(Debug)]
pub struct Encoder {
    stream: LogStream,
    limit: usize,
    held: Vec<u8>,
    held_at: Timestamp,
}

impl Encoder {
    /// An encoder whose records hold `limit` bytes of content at most; `None`: [`MOST_HELD`].
    #[must_use]
    pub fn new(stream: LogStream, limit: Option<std::num::NonZeroUsize>) -> Self {
        Self {
            stream,
            limit: limit.map_or(MOST_HELD, |limit| limit.get().min(MOST_HELD)),
            held: Vec::new(),
            held_at: Timestamp::from_unix_nanos(0),
        }
    }

    /// Takes what one read brought, at `at`. The caller flushes the batch.
    pub fn push(&mut self, mut bytes: &[u8], at: Timestamp, batch: &mut Batch<'_>) {
        let header = Header::new(self.stream, at);
        while let Some(length) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(length);
            self.end_line(line, &header, batch);
            bytes = rest.get(1..).unwrap_or_default();
        }
        if !bytes.is_empty() {
            self.hold(bytes, &header, batch);
            self.held_at = at;
        }
    }

    /// Whether nothing is held.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Makes P records of what is held: the stream has ended, or the file is about to be replaced.
    pub fn finish(&mut self, batch: &mut Batch<'_>) {
        let held = std::mem::take(&mut self.held);
        let header = Header::new(self.stream, self.held_at);
        for piece in held.chunks(self.limit) {
            batch.record(&header.partial, [piece, &[]], piece.len());
        }
    }

    fn end_line(&mut self, line: &[u8], header: &Header, batch: &mut Batch<'_>) {
        let line_end = 1 + usize::from(line.last().or(self.held.last()) == Some(&b'\r'));
        if self.held.is_empty() {
            // The usual case: nothing is copied but into the batch.
            let content = line.get(..line.len() + 1 - line_end).unwrap_or(line);
            let mut rest = content;
            while let Some((piece, more)) = rest.split_at_checked(self.limit)
                && !more.is_empty()
            {
                batch.record(&header.partial, [piece, &[]], piece.len());
                rest = more;
            }
            return batch.record(&header.full, [rest, &[]], rest.len() + line_end);
        }
        let mut held = std::mem::take(&mut self.held);
        let mut line = line;
        if line_end == 2 && line.is_empty() {
            held.pop();
        } else if line_end == 2 {
            line = line.get(..line.len() - 1).unwrap_or(line);
        }
        let mut parts: [&[u8]; 2] = [&held, line];
        while parts[0].len() + parts[1].len() > self.limit {
            let piece = take(&mut parts, self.limit);
            batch.record(&header.partial, piece, self.limit);
        }
        let length = parts[0].len() + parts[1].len();
        batch.record(&header.full, parts, length + line_end);
    }

    /// Keeps text without a newline, but for the pieces of which it is certain that they are pieces.
    fn hold(&mut self, text: &[u8], header: &Header, batch: &mut Batch<'_>) {
        // A carriage return at the end may still turn out to belong to the newline.
        let undecided = usize::from(text.last() == Some(&b'\r'));
        let mut held = std::mem::take(&mut self.held);
        let mut parts: [&[u8]; 2] = [&held, text];
        while parts[0].len() + parts[1].len() - undecided > self.limit {
            let piece = take(&mut parts, self.limit);
            batch.record(&header.partial, piece, self.limit);
        }
        let [of_held, of_text] = parts.map(<[u8]>::len);
        held.drain(..held.len() - of_held);
        held.extend_from_slice(text.get(text.len() - of_text..).unwrap_or_default());
        self.held = held;
    }
}

/// Takes the first `length` bytes off two parts, which are long enough.
fn take<'a>(parts: &mut [&'a [u8]; 2], length: usize) -> [&'a [u8]; 2] {
    let from_first = length.min(parts[0].len());
    let (first, first_rest) = parts[0].split_at(from_first);
    let (second, second_rest) = parts[1].split_at(length - from_first);
    *parts = [first_rest, second_rest];
    [first, second]
}

/// Both headers of one read's records: one that is changed before each copy would have to be waited for.
struct Header {
    full: [u8; HEADER_LENGTH],
    partial: [u8; HEADER_LENGTH],
}

impl Header {
    fn new(stream: LogStream, at: Timestamp) -> Self {
        let (time, name) = (at.rfc3339(), stream.name().as_bytes());
        let tagged = |tag: &[u8]| {
            let mut header = [b' '; HEADER_LENGTH];
            let text = time.iter().chain(b" ").chain(name).chain(tag);
            for (target, byte) in header.iter_mut().zip(text) {
                *target = *byte;
            }
            header
        };
        Self {
            full: tagged(b" F"),
            partial: tagged(b" P"),
        }
    }
}

/// An F record with a text of the shim's own.
#[must_use]
pub fn notice(stream: LogStream, at: Timestamp, text: &str) -> Vec<u8> {
    let header = Header::new(stream, at);
    [&header.full, text.as_bytes(), b"\n"].concat()
}

/// How much of the stream is in these whole records. A carriage return that went with a newline is not counted.
#[must_use]
pub fn content_of(records: &[u8]) -> Loss {
    let mut content = Loss::default();
    for record in records.split_inclusive(|byte| *byte == b'\n') {
        let newline = usize::from(record.get(TAG_OFFSET) == Some(&b'F'));
        content.add(record.len().saturating_sub(HEADER_LENGTH + 1) + newline, 1);
    }
    content
}

#[cfg(test)]
mod tests;
