//! The exit journal: what is read of it is what was written, from its beginning on, and nothing else.

use std::fs;
use std::path::Path;

use outlive::bundle::exit_journal::read;
use outlive::bundle::{CorruptReason, ExitEntry, ExitJournal, Exits, Read, Tail};
use outlive::types::{ExecId, ExitStatus, Pid, ProcessIdentity, Timestamp};

use super::Scratch;

const HEADER: &[u8] = b"outlexit\x01\0\0\0";

/// A journal. The first byte says what the others are: 0, the file; 1, the file after its header; anything else, the
/// bodies of records, each after a byte with its length, which get the rest of a record around them.
pub fn exit_journal(bytes: &[u8]) {
    match bytes.split_first() {
        None => check(b""),
        Some((0, file)) => check(file),
        Some((1, rest)) => check(&[HEADER, rest].concat()),
        Some((_, bodies)) => check(&sealed(bodies)),
    }
}

/// A file of records whose checksums are right.
fn sealed(mut bodies: &[u8]) -> Vec<u8> {
    let mut file = HEADER.to_vec();
    while let Some((length, rest)) = bodies.split_first() {
        let (body, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        let start = file.len();
        file.extend(u16::try_from(body.len()).unwrap().to_le_bytes());
        file.extend(body);
        let sum = checksum(&file[start..]);
        file.extend(sum.to_le_bytes());
        bodies = rest;
    }
    file
}

/// The same, the other way round: the bodies in a sound file, as [`exit_journal`] takes them.
pub fn bodies(file: &[u8]) -> Vec<u8> {
    let mut bodies = vec![2];
    let mut rest = &file[HEADER.len()..];
    while let Some((length, after)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes(*length));
        bodies.push(u8::try_from(length).unwrap());
        bodies.extend(&after[..length]);
        rest = &after[length + 4..];
    }
    bodies
}

/// CRC-32 of IEEE 802.3, by long division.
fn checksum(bytes: &[u8]) -> u32 {
    let mut remainder = !0_u32;
    for bit in bytes
        .iter()
        .flat_map(|byte| (0..8).map(move |shift| byte >> shift & 1))
    {
        let out = remainder & 1 ^ u32::from(bit);
        remainder >>= 1;
        if out == 1 {
            remainder ^= 0xEDB8_8320;
        }
    }
    !remainder
}

fn check(file: &[u8]) {
    let scratch = Scratch::new();
    let path = scratch.write("exits", file);
    match read(&path) {
        Read::Absent => panic!("the file is there"),
        Read::Corrupt(at, reason) => {
            assert_eq!(at, path);
            check_corrupt(&path, file, &reason);
        }
        Read::Found(exits) => {
            let canonical = written(&scratch, &exits.entries);
            assert!(
                file.starts_with(&canonical),
                "not what was written: {exits:?}"
            );
            check_tail(file, canonical.len(), &exits);
            check_damage(&path, file, canonical.len(), &exits.entries);
            fs::write(&path, file).unwrap();
            check_writer(&path, exits.entries);
        }
    }
}

/// The bytes of a journal of these entries; none for none.
fn written(scratch: &Scratch, entries: &[ExitEntry]) -> Vec<u8> {
    let path = scratch.join("written");
    let mut journal = ExitJournal::new(path.clone());
    for entry in entries {
        journal.append(entry).unwrap();
    }
    fs::read(path).unwrap_or_default()
}

/// What is not believed is not touched.
fn check_corrupt(path: &Path, file: &[u8], reason: &CorruptReason) {
    let is_journal = file.starts_with(&HEADER[..8]);
    match reason {
        CorruptReason::Version(version) => assert!(is_journal && *version != 1),
        CorruptReason::Foreign => {
            let is_short = file.len() < HEADER.len();
            assert!(!is_journal || is_short && !HEADER.starts_with(file));
        }
        CorruptReason::Malformed(_) => assert!(file.starts_with(HEADER)),
        CorruptReason::Unreadable(error) => panic!("{error}"),
    }
    assert!(ExitJournal::new(path.into()).append(&entry(1)).is_err());
    assert!(ExitJournal::new(path.into()).compact(|_| true).is_err());
    assert_eq!(fs::read(path).unwrap(), file);
}

/// A tail is torn where no sound record is, and nowhere else.
fn check_tail(file: &[u8], known: usize, exits: &Exits) {
    let whole = if exits.entries.is_empty() {
        HEADER.len()
    } else {
        known
    };
    let is_whole = file.len() == whole;
    assert_eq!(exits.tail == Tail::Whole, is_whole, "{exits:?}");
    let rest = file.get(whole..).unwrap_or_default();
    if let Some((length, after)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes(*length));
        let sum = after.get(length..length + 4);
        let sound = sum.is_some_and(|sum| sum == checksum(&rest[..length + 2]).to_le_bytes());
        assert!(!sound, "a whole record is taken for a torn one");
    }
}

/// Whatever happens to the file, an entry is lost at most, with those behind it, and none is invented.
fn check_damage(path: &Path, file: &[u8], known: usize, entries: &[ExitEntry]) {
    let expect_beginning = |what: &str, at: usize| match read(path) {
        Read::Found(exits) => {
            let beginning = entries.starts_with(&exits.entries);
            assert!(beginning, "{what} at {at}: {:?}", exits.entries);
            exits.entries.len()
        }
        other => panic!("{what} at {at}: {other:?}"),
    };
    let mut most = 0;
    for at in (0..file.len()).step_by(file.len() / 16 + 1) {
        fs::write(path, &file[..at]).unwrap();
        let kept = expect_beginning("cut", at);
        assert!(kept >= most, "a longer beginning has fewer entries");
        most = kept;
        if (HEADER.len()..known).contains(&at) {
            let mut changed = file.to_vec();
            changed[at] ^= 0x41;
            fs::write(path, &changed).unwrap();
            expect_beginning("changed", at);
        }
    }
}

/// A writer goes on after the entries that are read.
fn check_writer(path: &Path, mut entries: Vec<ExitEntry>) {
    let mut journal = ExitJournal::new(path.into());
    let length = journal.append(&entry(7)).unwrap();
    entries.push(entry(7));
    assert_eq!(length, fs::metadata(path).unwrap().len());
    expect(path, &entries);
    journal.compact(|entry| entry.exec.is_none()).unwrap();
    entries.retain(|entry| entry.exec.is_none());
    journal.append(&entry(8)).unwrap();
    entries.push(entry(8));
    expect(path, &entries);
}

fn expect(path: &Path, entries: &[ExitEntry]) {
    match read(path) {
        Read::Found(exits) => {
            assert_eq!(exits.entries, entries);
            assert_eq!(exits.tail, Tail::Whole);
        }
        other => panic!("after a write: {other:?}"),
    }
}

/// An exec's end.
fn entry(number: u32) -> ExitEntry {
    ExitEntry {
        exec: Some(ExecId::new(&format!("exec-{number}")).unwrap()),
        identity: ProcessIdentity {
            pid: Pid::new(number).unwrap(),
            start_ticks: 11,
            boot_id: 12,
        },
        status: ExitStatus::from_code(13),
        exited_at: Timestamp::from_unix_nanos(15),
        started_at: Some(Timestamp::from_unix_nanos(14)),
        oom_killed: false,
    }
}
