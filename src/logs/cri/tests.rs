//! The encoder against a reader that shares no code with it, and against containerd's rules, restated.

use std::num::NonZeroUsize;

use proptest::prelude::*;

use super::*;

/// A record as an independent reader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Read {
    time: String,
    stream: String,
    tag: String,
    content: Vec<u8>,
}

/// Reads a log as the kubelet does: lines, then three fields, then the content.
fn read(log: &[u8]) -> Vec<Read> {
    let mut records = Vec::new();
    let mut start = 0;
    for end in (0..log.len()).filter(|end| log[*end] == b'\n') {
        let mut fields = log[start..end].splitn(4, |byte| *byte == b' ');
        let mut text = || String::from_utf8(fields.next().unwrap().to_vec()).unwrap();
        let (time, stream, tag) = (text(), text(), text());
        let content = fields.next().unwrap().to_vec();
        records.push(Read {
            time,
            stream,
            tag,
            content,
        });
        start = end + 1;
    }
    assert_eq!(start, log.len(), "the last record is whole");
    records
}

/// What containerd's logger makes of a whole stream (`internal/cri/io/logger.go`): lines without their `\n` or `\r\n`,
/// cut at the limit for as long as more than the limit is left, P at the end of the stream.
fn containerd(stream: &[u8], limit: usize) -> Vec<(char, Vec<u8>)> {
    let mut records = Vec::new();
    let mut lines: Vec<&[u8]> = stream.split(|byte| *byte == b'\n').collect();
    let unterminated = lines.pop().unwrap_or_default();
    let ended = lines
        .iter()
        .map(|line| ('F', line.strip_suffix(b"\r").unwrap_or(line)));
    let rest = Some(('P', unterminated)).filter(|(_, text)| !text.is_empty());
    for (last, mut line) in ended.chain(rest) {
        while line.len() > limit {
            records.push(('P', line[..limit].to_vec()));
            line = &line[limit..];
        }
        records.push((last, line.to_vec()));
    }
    records
}

/// Encodes a stream that comes in these reads; checks on the way that only whole records are written, that every byte
/// is counted once, and that no more is held than has to be.
fn encode(reads: &[Vec<u8>], limit: usize) -> Vec<u8> {
    let mut encoder = Encoder::new(LogStream::Stdout, NonZeroUsize::new(limit));
    let (mut log, mut counted) = (Vec::new(), 0);
    // Some records fit in beside others, some alone, some not at all.
    let mut buffer = [0; HEADER_LENGTH + 20];
    let mut write = |records: &[u8], taken: usize| {
        assert_eq!(records.last(), Some(&b'\n'));
        log.extend_from_slice(records);
        counted += taken;
    };
    for (number, read) in reads.iter().enumerate() {
        let mut batch = Batch::new(&mut buffer, &mut write);
        let at = Timestamp::from_unix_nanos(u64::try_from(number).unwrap());
        encoder.push(read, at, &mut batch);
        batch.flush();
        assert!(encoder.held.len() <= limit + 1);
        assert!(!encoder.held.is_empty() || encoder.held.capacity() == 0);
    }
    let mut batch = Batch::new(&mut buffer, &mut write);
    encoder.finish(&mut batch);
    batch.flush();
    assert_eq!(encoder.held.capacity(), 0);
    assert_eq!(counted, reads.iter().map(Vec::len).sum::<usize>());
    log
}

fn tagged(log: &[u8]) -> Vec<(char, Vec<u8>)> {
    let tag = |read: &Read| read.tag.chars().next().unwrap();
    read(log)
        .into_iter()
        .map(|read| (tag(&read), read.content))
        .collect()
}

fn one_read(stream: &[u8], limit: usize) -> Vec<(char, String)> {
    let text = |content| String::from_utf8(content).unwrap();
    tagged(&encode(&[stream.to_vec()], limit))
        .into_iter()
        .map(|(tag, content)| (tag, text(content)))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_stream_becomes_what_containerd_makes_of_it(
        // Few letters, so that newlines, carriage returns and NULs meet all limits and ends of reads.
        reads in prop::collection::vec(prop::collection::vec(prop::sample::select(b"ab \0\r\r\n".to_vec()), 0..40), 0..12),
        limit in 1..20_usize,
    ) {
        let stream = reads.concat();
        prop_assert_eq!(tagged(&encode(&reads, limit)), containerd(&stream, limit));
    }

    #[test]
    fn the_stream_can_be_read_back(
        reads in prop::collection::vec(prop::collection::vec(any::<u8>().prop_filter("CRLF loses its CR", |byte| *byte != b'\r'), 0..300), 0..12),
        limit in 1..200_usize,
    ) {
        let mut back = Vec::new();
        for read in read(&encode(&reads, limit)) {
            prop_assert_eq!(&read.stream, "stdout");
            prop_assert!(read.content.len() <= limit);
            back.extend(read.content);
            if read.tag == "F" {
                back.push(b'\n');
            }
        }
        prop_assert_eq!(back, reads.concat());
    }
}

#[test]
fn exactly_the_limit_is_a_full_record_and_one_more_is_not() {
    let record = |tag, text: &str| (tag, text.to_owned());
    assert_eq!(one_read(b"1234\n", 4), [record('F', "1234")]);
    assert_eq!(one_read(b"1234\r\n", 4), [record('F', "1234")]);
    assert_eq!(
        one_read(b"12345\n", 4),
        [record('P', "1234"), record('F', "5")]
    );
    assert_eq!(
        one_read(b"12345678\n\n", 4),
        [record('P', "1234"), record('F', "5678"), record('F', "")]
    );
    assert_eq!(one_read(b"1234", 4), [record('P', "1234")]);
    assert_eq!(
        one_read(b"1234\r", 4),
        [record('P', "1234"), record('P', "\r")]
    );
    assert_eq!(one_read(b"", 4), []);
}

#[test]
fn a_record_has_the_time_of_the_read_that_ended_it() {
    let log = encode(&[b"a\nb".to_vec(), b"c\nd".to_vec(), b"e".to_vec()], 10);
    let records = read(&log);
    let times: Vec<_> = records
        .iter()
        .map(|read| (&*read.content, &*read.time))
        .collect();
    assert_eq!(
        times,
        [
            (b"a".as_slice(), "1970-01-01T00:00:00.000000000Z"),
            (b"bc", "1970-01-01T00:00:00.000000001Z"),
            (b"de", "1970-01-01T00:00:00.000000002Z"),
        ]
    );
}

#[test]
fn long_records_and_many_short_ones_are_written_whole() {
    let long = [vec![b'x'; 3 * BATCH_LENGTH], vec![b'\n']].concat();
    let short = b"y\n".repeat(20_000);
    let reads = [short.clone(), long, short];
    let stream = reads.concat();
    assert!(tagged(&encode(&reads, MOST_HELD)) == containerd(&stream, MOST_HELD));
    assert!(tagged(&encode(&reads, 16384)) == containerd(&stream, 16384));
}

#[test]
fn what_is_lost_is_counted_as_the_stream_counts_it() {
    let log = encode(&[b"abcdef\n\nxyz".to_vec()], 4);
    let expected = Loss {
        bytes: 11,
        records: 4,
    };
    assert_eq!(content_of(&log), expected);
    assert_eq!(content_of(b""), Loss::default());
}

#[test]
fn a_notice_is_a_record() {
    let at = Timestamp::from_unix_nanos(1_709_251_199_000_000_001);
    assert_eq!(
        notice(LogStream::Stderr, at, "text"),
        b"2024-02-29T23:59:59.000000001Z stderr F text\n"
    );
}
