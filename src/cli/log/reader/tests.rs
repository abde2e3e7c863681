//! Logs that grow, are rotated, truncated and damaged.

use std::fs;
use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::cli::log::Stream;

struct Log {
    dir: PathBuf,
    second: u32,
}

impl Log {
    fn new() -> Self {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let name = format!("outlive-log-{}-{serial}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).unwrap();
        Self { dir, second: 0 }
    }

    fn path(&self) -> PathBuf {
        self.dir.join("0.log")
    }

    fn append(&self, bytes: &[u8]) {
        let file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path());
        file.unwrap().write_all(bytes).unwrap();
    }

    fn record(&mut self, stream: &str, tag: &str, content: &str) {
        self.second += 1;
        let (minute, second) = (self.second / 60 % 60, self.second % 60);
        let line = format!("2024-02-29T10:{minute:02}:{second:02}Z {stream} {tag} {content}\n");
        self.append(line.as_bytes());
    }

    fn line(&mut self, content: &str) {
        self.record("stdout", "F", content);
    }

    /// As the shim does it.
    fn rotate(&self) {
        for number in (1..9).rev() {
            let old = self.dir.join(format!(".0.log.{number}"));
            drop(fs::rename(
                old,
                self.dir.join(format!(".0.log.{}", number + 1)),
            ));
        }
        fs::rename(self.path(), self.dir.join(".0.log.1")).unwrap();
        fs::File::create(self.path()).unwrap();
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.dir));
    }
}

fn text(lines: &[Line]) -> String {
    let text = lines
        .iter()
        .map(|line| String::from_utf8_lossy(&line.bytes));
    text.collect()
}

fn drain(reader: &mut Reader) -> Vec<Line> {
    let mut lines = Vec::new();
    loop {
        let progress = reader.read(&mut |line| {
            lines.push(line);
            Ok(())
        });
        if progress.unwrap() == Progress::AtEnd {
            return lines;
        }
    }
}

#[test]
fn a_log_is_read_over_all_its_files() {
    let mut log = Log::new();
    log.line("1");
    log.rotate();
    log.record("stdout", "P", "2");
    log.rotate();
    log.record("stderr", "F", "e");
    log.record("stdout", "F", "2");
    let mut reader = Reader::from_start(&log.path()).unwrap();
    let lines = drain(&mut reader);
    assert_eq!(text(&lines), "1\ne\n22\n");
    assert_eq!(lines[1].stream, Stream::Stderr);
}

#[test]
fn a_log_that_is_not_there_yet_is_read_when_it_is() {
    let mut log = Log::new();
    let mut reader = Reader::from_start(&log.path()).unwrap();
    assert_eq!(drain(&mut reader), []);
    log.line("1");
    assert_eq!(text(&drain(&mut reader)), "1\n");
    let missing = log.dir.join("no/such/0.log");
    assert_eq!(drain(&mut Reader::from_start(&missing).unwrap()), []);
}

#[test]
fn a_growing_log_is_followed_over_many_rotations_between_two_looks() {
    let mut log = Log::new();
    let mut reader = Reader::from_start(&log.path()).unwrap();
    log.line("0");
    let mut seen = text(&drain(&mut reader));
    let mut expected = "0\n".to_owned();
    for round in 1..6 {
        for part in 0..4 {
            log.line(&format!("{round}.{part}"));
            expected.push_str(&format!("{round}.{part}\n"));
            if part != 3 {
                log.rotate();
            }
        }
        seen.push_str(&text(&drain(&mut reader)));
        assert_eq!(seen, expected, "round {round}");
    }
    assert_eq!(reader.losses(), Losses::default());
}

#[test]
fn what_is_written_to_the_old_file_just_after_the_rotation_is_read() {
    let mut log = Log::new();
    log.line("1");
    let mut reader = Reader::from_start(&log.path()).unwrap();
    assert_eq!(text(&drain(&mut reader)), "1\n");
    log.rotate();
    let old = fs::OpenOptions::new()
        .append(true)
        .open(log.dir.join(".0.log.1"));
    let late = b"2024-02-29T11:00:00Z stdout F late\n";
    old.unwrap().write_all(late).unwrap();
    log.line("2");
    assert_eq!(text(&drain(&mut reader)), "late\n2\n");
}

#[test]
fn a_record_is_waited_for_until_its_end_is_there() {
    let log = Log::new();
    let mut reader = Reader::from_start(&log.path()).unwrap();
    log.append(b"2024-02-29T10:00:00Z stdout F hel");
    assert_eq!(drain(&mut reader), []);
    log.append(b"lo\n2024");
    assert_eq!(text(&drain(&mut reader)), "hello\n");
    log.append(b"-02-29T10:00:01Z stdout P end");
    log.append(b"\n");
    assert_eq!(drain(&mut reader), []);
    assert_eq!(text(&reader.rest()), "end");
}

#[test]
fn a_file_that_was_removed_unread_is_told() {
    let mut log = Log::new();
    log.line("1");
    let mut reader = Reader::from_start(&log.path()).unwrap();
    drain(&mut reader);
    log.rotate();
    log.line("2");
    log.rotate();
    log.line("3");
    fs::remove_file(log.dir.join(".0.log.2")).unwrap();
    assert_eq!(text(&drain(&mut reader)), "2\n3\n");
    assert_eq!(reader.losses().missed, 1);
}

#[test]
fn a_truncated_log_is_read_from_its_new_beginning() {
    let mut log = Log::new();
    log.line("a long first line");
    let mut reader = Reader::from_start(&log.path()).unwrap();
    drain(&mut reader);
    fs::File::create(log.path()).unwrap();
    log.line("2");
    assert_eq!(text(&drain(&mut reader)), "2\n");
    assert_eq!(reader.losses().missed, 1);
}

#[test]
fn damage_costs_its_own_line_only() {
    let mut log = Log::new();
    log.line("1");
    log.append(b"\0\0\xff garbage\n\n");
    log.line("2");
    let mut reader = Reader::from_start(&log.path()).unwrap();
    assert_eq!(text(&drain(&mut reader)), "1\n2\n");
    assert_eq!(reader.losses().malformed, 2);
}

#[test]
fn the_last_lines_are_lines_and_not_records_or_files() {
    let mut log = Log::new();
    for number in 0..5 {
        log.line(&number.to_string());
        log.rotate();
    }
    log.record("stdout", "P", "fi");
    log.record("stdout", "F", "ve");
    log.record("stderr", "P", "open");
    for (count, expected) in [
        (0, ""),
        (1, "open"),
        (2, "five\nopen"),
        (4, "3\n4\nfive\nopen"),
        (100, "0\n1\n2\n3\n4\nfive\nopen"),
    ] {
        let (lines, mut reader) = Reader::tail(&log.path(), count).unwrap();
        assert_eq!(text(&lines), expected, "{count}");
        assert_eq!(drain(&mut reader), []);
    }
    let (_, mut reader) = Reader::tail(&log.path(), 1).unwrap();
    log.line("next");
    assert_eq!(text(&drain(&mut reader)), "next\n");
}

#[test]
fn the_last_lines_of_a_large_log_are_whole_wherever_reading_begins() {
    let mut log = Log::new();
    for number in 0..300 {
        // 40 KiB a line, in pieces, on two streams that take turns.
        for piece in 0..4 {
            let tag = if piece == 3 { "F" } else { "P" };
            log.record(
                "stdout",
                tag,
                &format!("{number:05}{}", "x".repeat(5 << 10)),
            );
            log.record(
                "stderr",
                tag,
                &format!("{number:05}{}", "y".repeat(5 << 10)),
            );
        }
        if number % 100 == 99 {
            log.rotate();
        }
    }
    let all = drain(&mut Reader::from_start(&log.path()).unwrap());
    assert_eq!(all.len(), 600);
    for count in [1, 2, 7, 50, 500] {
        let (lines, _) = Reader::tail(&log.path(), count).unwrap();
        assert!(lines.len() == count, "{count}: {}", lines.len());
        let expected = &all[all.len() - count..];
        let same = lines
            .iter()
            .zip(expected)
            .all(|(line, expected)| line.bytes == expected.bytes);
        assert!(same, "the last {count} lines");
    }
}
