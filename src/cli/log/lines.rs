//! Lines out of records: the pieces of one line are put together again. Pure.

use super::record::{Record, Stream, Tag};
use crate::types::Timestamp;

/// The longest line that is put together; of a longer one the pieces are passed on as they come.
pub const MAX_LINE: usize = 1 << 20;

/// What a container wrote, from after a newline to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When its first piece was written.
    pub at: Timestamp,
    /// By which output.
    pub stream: Stream,
    /// Its bytes; with the newline, if it has one.
    pub bytes: Vec<u8>,
    /// What is before it.
    pub start: Start,
}

/// What is before a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// A newline, or the beginning of the log.
    Line,
    /// Another piece of the same line, which was passed on before.
    Piece,
    /// Nobody knows: reading began somewhere in the middle.
    Unknown,
}

#[derive(Debug, Clone)]
struct Open {
    at: Timestamp,
    bytes: Vec<u8>,
    start: Start,
}

/// The lines that have begun and not ended, one for each output.
#[derive(Debug)]
pub struct Lines {
    open: [Option<Open>; 2],
    start: [Start; 2],
}

impl Lines {
    /// No lines yet; `start` is what is before the first.
    pub const fn new(start: Start) -> Self {
        Self {
            open: [None, None],
            start: [start, start],
        }
    }

    /// Takes a record; the line that it ends, if it does.
    pub fn push(&mut self, record: Record<'_>) -> Option<Line> {
        let index = index(record.stream);
        let start = self.start.get(index).copied().unwrap_or(Start::Line);
        let slot = self.open.get_mut(index)?;
        let open = slot.get_or_insert_with(|| Open {
            at: record.at,
            bytes: Vec::new(),
            start,
        });
        open.bytes.extend_from_slice(record.content);
        let next = match record.tag {
            Tag::Full => {
                open.bytes.push(b'\n');
                Start::Line
            }
            Tag::Partial if open.bytes.len() >= MAX_LINE => Start::Piece,
            Tag::Partial => return None,
        };
        let ended = slot.take()?;
        if let Some(slot) = self.start.get_mut(index) {
            *slot = next;
        }
        Some(ended.line(record.stream))
    }

    /// The lines that no newline has ended, the older first: nothing more comes, or nothing for now.
    pub fn rest(&mut self) -> Vec<Line> {
        let mut rest = Vec::new();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let index = index(stream);
            let open = self.open.get_mut(index).and_then(Option::take);
            if let (Some(open), Some(start)) = (open, self.start.get_mut(index)) {
                *start = Start::Piece;
                rest.push(open.line(stream));
            }
        }
        rest.sort_by_key(|line| line.at);
        rest
    }
}

impl Open {
    fn line(self, stream: Stream) -> Line {
        Line {
            at: self.at,
            stream,
            bytes: self.bytes,
            start: self.start,
        }
    }
}

const fn index(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(second: u64, stream: Stream, tag: Tag, content: &str) -> Record<'_> {
        Record {
            at: Timestamp::from_unix_nanos(second),
            stream,
            tag,
            content: content.as_bytes(),
        }
    }

    #[test]
    fn pieces_become_one_line_with_the_time_of_the_first() {
        let mut lines = Lines::new(Start::Line);
        use Stream::{Stderr, Stdout};
        assert_eq!(lines.push(record(1, Stdout, Tag::Partial, "a")), None);
        assert_eq!(lines.push(record(2, Stderr, Tag::Partial, "x")), None);
        assert_eq!(lines.push(record(3, Stdout, Tag::Partial, "b")), None);
        let line = lines.push(record(4, Stdout, Tag::Full, "c")).unwrap();
        assert_eq!((line.at.unix_nanos(), line.bytes), (1, b"abc\n".to_vec()));
        let line = lines.push(record(5, Stderr, Tag::Full, "")).unwrap();
        assert_eq!((line.at.unix_nanos(), line.bytes), (2, b"x\n".to_vec()));
    }

    #[test]
    fn the_rest_has_no_newline_and_what_follows_is_known_as_a_piece() {
        let mut lines = Lines::new(Start::Line);
        lines.push(record(1, Stream::Stdout, Tag::Partial, "prompt> "));
        let rest = lines.rest();
        assert_eq!(rest[0].bytes, b"prompt> ");
        assert_eq!(rest[0].start, Start::Line);
        assert_eq!(lines.rest(), []);
        let line = lines.push(record(2, Stream::Stdout, Tag::Full, "y"));
        assert_eq!(line.unwrap().start, Start::Piece);
        let line = lines.push(record(3, Stream::Stdout, Tag::Full, "z"));
        assert_eq!(line.unwrap().start, Start::Line);
    }

    #[test]
    fn an_endless_line_is_passed_on_in_pieces() {
        let mut lines = Lines::new(Start::Line);
        let piece = "x".repeat(16 << 10);
        let mut passed = 0;
        for _ in 0..200 {
            if let Some(line) = lines.push(record(1, Stream::Stdout, Tag::Partial, &piece)) {
                assert!(line.bytes.len() < MAX_LINE + piece.len());
                passed += line.bytes.len();
            }
        }
        passed += lines.rest()[0].bytes.len();
        assert_eq!(passed, 200 * piece.len());
    }
}
