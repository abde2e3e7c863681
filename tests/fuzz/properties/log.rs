//! Logs in the CRI format: what a container writes comes back from the reader, byte for byte but for the carriage return
//! of a line's end, whatever pieces it came in.

use std::fs;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::Path;

use outlive::cli::log::lines::Start;
use outlive::cli::log::record::{Record, Tag};
use outlive::cli::log::{Line, Progress, Reader, Stream};
use outlive::logs::LogStream;
use outlive::logs::cri::{Batch, Encoder, content_of};
use outlive::types::Timestamp;

use super::Scratch;

/// What two streams say. The first byte is the limit of a record's content, 0 for none; the second says how the others
/// are cut into reads, and of which stream each is.
pub fn cri_log(bytes: &[u8]) {
    let (limit, bytes) = bytes.split_first().unwrap_or((&0, b""));
    let (pattern, bytes) = bytes.split_first().unwrap_or((&0, b""));
    let limit = NonZeroUsize::new((*limit).into());
    let reads = cut(bytes, *pattern);
    let log = encoded(limit, &reads);
    let streams = LogStream::ALL.map(|stream| {
        let of_stream = reads.iter().filter(|(of, _)| *of == stream);
        let pieces: Vec<&[u8]> = of_stream.map(|(_, piece)| *piece).collect();
        pieces.concat()
    });
    check_records(&log, limit);
    let scratch = Scratch::new();
    let path = scratch.write("0.log", &log);
    let lines = read_again(&path, &log, log.len() / 3);
    for (stream, said) in [Stream::Stdout, Stream::Stderr].into_iter().zip(&streams) {
        let of_stream = lines.iter().filter(|line| line.stream == stream);
        let read: Vec<&[u8]> = of_stream.map(|line| line.bytes.as_slice()).collect();
        assert_eq!(read, expected(said), "{stream:?} of {log:?}");
    }
    assert!(lines.iter().all(|line| line.start == Start::Line));
    for count in [0, 2, lines.len() + 1] {
        let (tail, _) = Reader::tail(&path, count).unwrap();
        assert_eq!(tail, lines[lines.len().saturating_sub(count)..]);
    }
}

/// The pieces that reads bring.
fn cut(mut bytes: &[u8], pattern: u8) -> Vec<(LogStream, &[u8])> {
    let mut state = u32::from(pattern);
    let mut reads = Vec::new();
    while !bytes.is_empty() {
        // Numerical Recipes' generator; its upper bits are the better ones.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let longest = usize::from(pattern) + 1;
        let length = usize::try_from(state >> 20).unwrap() % longest + 1;
        let (piece, rest) = bytes.split_at(length.min(bytes.len()));
        let stream = LogStream::ALL[usize::from(pattern & 1 == 1 && state >> 19 & 1 == 1)];
        reads.push((stream, piece));
        bytes = rest;
    }
    reads
}

/// The log that a shim makes of these reads, one a millisecond.
fn encoded(limit: Option<NonZeroUsize>, reads: &[(LogStream, &[u8])]) -> Vec<u8> {
    let mut encoders = LogStream::ALL.map(|stream| Encoder::new(stream, limit));
    let (mut log, mut taken) = (Vec::new(), 0);
    // A few short records, or less than a long one.
    let mut buffer = [0; 256];
    let mut write = |records: &[u8], of_stream: usize| {
        assert_eq!(records.last(), Some(&b'\n'), "half a record");
        log.extend_from_slice(records);
        taken += of_stream;
    };
    let mut batch = Batch::new(&mut buffer, &mut write);
    for (number, (stream, bytes)) in (0_u64..).zip(reads) {
        let at = Timestamp::from_unix_nanos(1_700_000_000_000_000_000 + number * 1_000_000);
        encoders[stream.index()].push(bytes, at, &mut batch);
        batch.flush();
    }
    for mut encoder in encoders {
        encoder.finish(&mut batch);
        assert!(encoder.is_empty());
    }
    batch.flush();
    let said: usize = reads.iter().map(|(_, bytes)| bytes.len()).sum();
    assert_eq!(taken, said, "bytes of the streams in the records");
    log
}

/// A stream's lines as they are to be shown.
fn expected(said: &[u8]) -> Vec<Vec<u8>> {
    let lines = said.split_inclusive(|byte| *byte == b'\n');
    lines
        .map(|line| match line.strip_suffix(b"\r\n") {
            Some(text) => [text, b"\n"].concat(),
            None => line.to_vec(),
        })
        .collect()
}

/// A piece of a line has exactly the limit, something of the line follows it, and no record has more; but for what no
/// newline has ended, whose last piece may be shorter, and which nothing follows.
fn check_records(log: &[u8], limit: Option<NonZeroUsize>) {
    let limit = limit.map_or(usize::MAX, NonZeroUsize::get);
    let records: Vec<Record<'_>> = log
        .split_inclusive(|byte| *byte == b'\n')
        .map(|record| {
            let record = record.strip_suffix(b"\n").expect("half a record");
            Record::parse(record).expect("a record")
        })
        .collect();
    let content: usize = records.iter().map(|record| record.content.len()).sum();
    let full = records.iter().filter(|record| record.tag == Tag::Full);
    let counted = u64::try_from(content + full.count()).unwrap();
    assert_eq!(content_of(log).bytes, counted);
    for stream in [Stream::Stdout, Stream::Stderr] {
        let mut records = records
            .iter()
            .filter(|record| record.stream == stream)
            .peekable();
        let mut last = Timestamp::from_unix_nanos(0);
        while let Some(record) = records.next() {
            assert!(record.at >= last, "time goes backwards");
            last = record.at;
            let length = record.content.len();
            assert!(length <= limit, "{record:?}");
            match (record.tag, records.peek()) {
                (Tag::Partial, Some(next)) => {
                    assert_eq!(length, limit, "{record:?}");
                    assert!(!next.content.is_empty(), "{next:?}");
                }
                (Tag::Partial, None) => assert_ne!(length, 0),
                (Tag::Full, _) => {}
            }
        }
    }
}

/// A log file of any bytes: what is no record is counted, and everything else is shown.
pub fn log_reader(bytes: &[u8]) {
    let scratch = Scratch::new();
    let path = scratch.write("0.log", bytes);
    let end = bytes.iter().rposition(|byte| *byte == b'\n');
    let whole = &bytes[..end.map_or(0, |at| at + 1)];
    let mut shown = [Vec::new(), Vec::new()];
    let mut malformed = 0;
    for record in whole.split_inclusive(|byte| *byte == b'\n') {
        match Record::parse(&record[..record.len() - 1]) {
            Some(record) => {
                let of_stream = &mut shown[usize::from(record.stream == Stream::Stderr)];
                of_stream.extend_from_slice(record.content);
                if record.tag == Tag::Full {
                    of_stream.push(b'\n');
                }
            }
            None => malformed += 1,
        }
    }
    let mut reader = Reader::from_start(&path).unwrap();
    let mut lines = Vec::new();
    read_all(&mut reader, &mut lines);
    assert_eq!(
        (reader.losses().malformed, reader.losses().missed),
        (malformed, 0)
    );
    lines.extend(reader.rest());
    for (stream, shown) in [Stream::Stdout, Stream::Stderr].into_iter().zip(shown) {
        let of_stream = lines.iter().filter(|line| line.stream == stream);
        let read: Vec<&[u8]> = of_stream.map(|line| line.bytes.as_slice()).collect();
        assert_eq!(read.concat(), shown, "{stream:?}");
    }
    for at in [bytes.len() / 3, bytes.len() / 2, bytes.len()] {
        assert_eq!(read_again(&path, bytes, at), lines, "cut at {at}");
    }
}

/// The lines of the log `bytes`, which are written to `path` in three pieces and read after each.
fn read_again(path: &Path, bytes: &[u8], cut: usize) -> Vec<Line> {
    let (first, last) = bytes.split_at(cut);
    let (first, second) = first.split_at(cut - cut / 4);
    fs::write(path, first).unwrap();
    let mut reader = Reader::from_start(path).unwrap();
    let mut lines = Vec::new();
    read_all(&mut reader, &mut lines);
    let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
    for piece in [second, last] {
        file.write_all(piece).unwrap();
        read_all(&mut reader, &mut lines);
    }
    lines.extend(reader.rest());
    lines
}

fn read_all(reader: &mut Reader, lines: &mut Vec<Line>) {
    let mut each = |line| {
        lines.push(line);
        Ok(())
    };
    while reader.read(&mut each).unwrap() == Progress::More {}
}
