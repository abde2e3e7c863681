//! Round trips, arbitrary bytes, and every truncation.

use std::fs;

use proptest::prelude::*;

use super::*;
use crate::sys::file::scratch::Scratch;

fn entry(pid: u32, exec: Option<&str>) -> ExitEntry {
    ExitEntry {
        exec: exec.map(|id| ExecId::new(id).unwrap()),
        identity: ProcessIdentity {
            pid: Pid::new(pid).unwrap(),
            start_ticks: 42,
            boot_id: 7,
        },
        status: ExitStatus::from_code(7),
        exited_at: Timestamp::from_unix_nanos(2),
        started_at: Some(Timestamp::from_unix_nanos(1)),
        oom_killed: false,
    }
}

fn journal(scratch: &Scratch) -> ExitJournal {
    ExitJournal::new(scratch.path().join("exits"))
}

fn found(scratch: &Scratch) -> Exits {
    match read(&scratch.path().join("exits")) {
        Read::Found(exits) => exits,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_checksum_is_the_one_that_everybody_has() {
    assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
}

#[test]
fn entries_are_read_in_the_order_of_writing() {
    let scratch = Scratch::new();
    assert!(matches!(read(&scratch.path().join("exits")), Read::Absent));
    let mut journal = journal(&scratch);
    let entries = vec![entry(1, None), entry(2, Some("one")), entry(3, Some("two"))];
    let mut length = 0;
    for entry in &entries {
        length = journal.append(entry).unwrap();
    }
    assert_eq!(
        length,
        fs::metadata(scratch.path().join("exits")).unwrap().len()
    );
    let tail = Tail::Whole;
    assert_eq!(found(&scratch), Exits { entries, tail });
    assert_eq!(found(&scratch).entries[0].record().status.get(), 7);
}

#[test]
fn a_torn_end_is_cut_off_by_the_next_writer() {
    let scratch = Scratch::new();
    let path = scratch.path().join("exits");
    journal(&scratch).append(&entry(1, None)).unwrap();
    let whole = fs::read(&path).unwrap();
    for cut in 0..whole.len() {
        fs::write(&path, [&whole[..], &whole[12..12 + cut.min(30)]].concat()).unwrap();
        journal(&scratch).append(&entry(2, Some("x"))).unwrap();
        assert_eq!(found(&scratch).entries.len(), 2);
        assert_eq!(found(&scratch).tail, Tail::Whole);

        fs::write(&path, &whole[..cut]).unwrap();
        assert_eq!(found(&scratch).entries, []);
        journal(&scratch).append(&entry(2, Some("x"))).unwrap();
        let after = found(&scratch);
        assert_eq!(after.entries, [entry(2, Some("x"))], "cut at {cut}");
        assert_eq!(after.tail, Tail::Whole);
    }
}

#[test]
fn a_write_that_failed_half_way_is_not_built_upon() {
    let scratch = Scratch::new();
    let mut journal = journal(&scratch);
    journal.append(&entry(1, None)).unwrap();
    let path = scratch.path().join("exits");
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend(b"half a record");
    fs::write(&path, bytes).unwrap();
    assert_eq!(found(&scratch).tail, Tail::Torn);
    assert_eq!(found(&scratch).entries.len(), 1);
    journal.append(&entry(2, Some("x"))).unwrap();
    assert_eq!(found(&scratch).entries.len(), 2);
    fs::remove_file(&path).unwrap();
    journal.append(&entry(3, Some("y"))).unwrap();
    assert_eq!(found(&scratch).entries, [entry(3, Some("y"))]);
}

#[test]
fn what_is_no_journal_or_a_later_one_is_neither_believed_nor_touched() {
    let scratch = Scratch::new();
    let path = scratch.path().join("exits");
    scratch.write("exits", "{\"not\":\"a journal\"}");
    assert!(matches!(
        read(&path),
        Read::Corrupt(_, CorruptReason::Foreign)
    ));
    assert!(journal(&scratch).append(&entry(1, None)).is_err());
    scratch.write("exits", b"outlexit\x02\0\0\0what comes then");
    assert!(matches!(
        read(&path),
        Read::Corrupt(_, CorruptReason::Version(2))
    ));
    assert!(journal(&scratch).append(&entry(1, None)).is_err());
    assert!(journal(&scratch).compact(|_| true).is_err());
    assert!(fs::read(&path).unwrap().ends_with(b"what comes then"));
}

#[test]
fn a_sound_record_of_another_kind_is_neither_dropped_nor_cut_off() {
    let scratch = Scratch::new();
    let path = scratch.path().join("exits");
    let whole = encoded(&[entry(1, None), entry(2, Some("x"))]);
    let first = HEADER_LEN + size_of::<u16>();
    // Of the first body: the pid, the flags, and started_at without its flag.
    for (at, byte) in [(first, 0), (first + 29, 4 | FLAG_STARTED), (first + 29, 0)] {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        let end = first + 46;
        let checksum = crc32(&bytes[HEADER_LEN..end]);
        bytes[end..end + 4].copy_from_slice(&checksum.to_le_bytes());
        fs::write(&path, &bytes).unwrap();
        let found = read(&path);
        assert!(
            matches!(found, Read::Corrupt(_, CorruptReason::Malformed(_))),
            "{found:?}"
        );
        assert!(journal(&scratch).append(&entry(3, None)).is_err());
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn compacting_keeps_what_is_wanted_and_appending_goes_on() {
    let scratch = Scratch::new();
    let mut journal = journal(&scratch);
    assert_eq!(journal.compact(|_| true).unwrap(), 0);
    journal.append(&entry(1, None)).unwrap();
    for number in 0..100 {
        let id = format!("e{number}");
        journal.append(&entry(2 + number, Some(&id))).unwrap();
    }
    let before = fs::metadata(scratch.path().join("exits")).unwrap().len();
    let after = journal.compact(|entry| entry.exec.is_none()).unwrap();
    assert!(after < before / 10, "{before} -> {after}");
    journal.append(&entry(500, Some("last"))).unwrap();
    assert_eq!(
        found(&scratch).entries,
        [entry(1, None), entry(500, Some("last"))]
    );
}

fn any_entry() -> impl Strategy<Value = ExitEntry> {
    let exec = proptest::option::of("[a-z0-9]{1,76}");
    let times = (any::<u64>(), proptest::option::of(any::<u64>()));
    let identity = (1..i32::MAX.unsigned_abs(), any::<u64>(), any::<u128>());
    (exec, identity, any::<u8>(), times, any::<bool>()).prop_map(
        |(exec, (pid, start_ticks, boot_id), status, (exited_at, started_at), oom_killed)| {
            ExitEntry {
                exec: exec.map(|id| ExecId::new(&id).unwrap()),
                identity: ProcessIdentity {
                    pid: Pid::new(pid).unwrap(),
                    start_ticks,
                    boot_id,
                },
                status: ExitStatus::from_code(status),
                exited_at: Timestamp::from_unix_nanos(exited_at),
                started_at: started_at.map(Timestamp::from_unix_nanos),
                oom_killed,
            }
        },
    )
}

fn encoded(entries: &[ExitEntry]) -> Vec<u8> {
    let mut bytes = header().to_vec();
    for entry in entries {
        encode(entry, &mut bytes);
    }
    bytes
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
        drop(parse(&bytes));
        let (entries, torn) = parse(&[&header()[..], &bytes].concat()).unwrap();
        prop_assert!(entries.is_empty());
        prop_assert_eq!(torn, bytes.len());
    }

    #[test]
    fn what_was_written_is_read(entries in proptest::collection::vec(any_entry(), 0..5)) {
        prop_assert_eq!(parse(&encoded(&entries)).unwrap(), (entries, 0));
    }

    #[test]
    fn every_truncation_gives_a_prefix(
        entries in proptest::collection::vec(any_entry(), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let bytes = encoded(&entries);
        let cut = cut.index(bytes.len());
        let (kept, torn) = parse(&bytes[..cut]).unwrap();
        prop_assert!(entries.starts_with(&kept));
        prop_assert!(kept.len() < entries.len());
        prop_assert!(torn <= cut);
        prop_assert_eq!(parse(&bytes[..cut - torn]).unwrap(), (kept, 0));
    }

    #[test]
    fn a_changed_byte_is_noticed(
        entry in any_entry(),
        at in any::<prop::sample::Index>(),
        change in 1..=u8::MAX,
    ) {
        let mut bytes = encoded(&[entry]);
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        let parsed = parse(&bytes);
        prop_assert!(!matches!(parsed, Ok((entries, _)) if !entries.is_empty()));
    }
}
