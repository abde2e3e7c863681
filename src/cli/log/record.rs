//! One record of a log in the CRI format (Kubernetes `kubelet-cri-logging.md`): `TIME STREAM TAGS CONTENT`. Pure.

use crate::cli::time::rfc3339;
use crate::types::Timestamp;

/// Which of a container's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// stdout.
    Stdout,
    /// stderr.
    Stderr,
}

/// Whether a record ends its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    /// It does.
    Full,
    /// It is a piece of one.
    Partial,
}

/// A record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// When it was written.
    pub at: Timestamp,
    /// By which output.
    pub stream: Stream,
    /// Whether it ends its line.
    pub tag: Tag,
    /// What, without the newline.
    pub content: &'a [u8],
}

impl<'a> Record<'a> {
    /// Reads a record, which is a line of the file without its newline. `None` where it is none.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.splitn(4, |byte| *byte == b' ');
        let at = rfc3339(std::str::from_utf8(fields.next()?).ok()?)?;
        let stream = match fields.next()? {
            b"stdout" => Stream::Stdout,
            b"stderr" => Stream::Stderr,
            _ => return None,
        };
        // Tags are separated by colons; those of later versions of the format are to be passed over.
        let tag = match fields.next()?.split(|byte| *byte == b':').next()? {
            b"F" => Tag::Full,
            b"P" => Tag::Partial,
            _ => return None,
        };
        Some(Self {
            at,
            stream,
            tag,
            content: fields.next().unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read() {
        let record = Record::parse(b"2024-02-29T10:00:00.000000001Z stdout F a b  c").unwrap();
        assert_eq!(record.content, b"a b  c");
        assert_eq!(record.stream, Stream::Stdout);
        assert_eq!(record.tag, Tag::Full);
        assert_eq!(record.at.unix_nanos(), 1_709_200_800_000_000_001);
        let record = Record::parse(b"2024-02-29T11:00:00+01:00 stderr P:x \xff").unwrap();
        assert_eq!(
            (record.stream, record.tag, record.content),
            (Stream::Stderr, Tag::Partial, &b"\xff"[..])
        );
        let empty = Record::parse(b"2024-02-29T10:00:00Z stdout F ").unwrap();
        assert_eq!(empty.content, b"");
    }

    #[test]
    fn what_is_no_record_is_none() {
        for line in [
            &b""[..],
            b"hello",
            b"2024-02-29T10:00:00Z",
            b"2024-02-29T10:00:00Z stdin F x",
            b"2024-02-29T10:00:00Z stdout X x",
            b"yesterday stdout F x",
            b"\xff stdout F x",
        ] {
            assert_eq!(Record::parse(line), None, "{line:?}");
        }
    }
}
