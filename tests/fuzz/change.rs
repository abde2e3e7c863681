//! Inputs: arbitrary bytes, and valid ones that were changed here and there.

use proptest::prelude::*;
use proptest::sample::Index;

/// One change.
#[derive(Debug, Clone)]
enum Change {
    /// A byte is another one.
    Set(Index, u8),
    /// A bit is another one.
    Flip(Index, u8),
    /// Bytes come in between.
    Insert(Index, Vec<u8>),
    /// Some are left out.
    Remove(Index, usize),
    /// Some are there twice.
    Repeat(Index, usize),
    /// All from here on are left out.
    Cut(Index),
    /// From here on it is the end of another input.
    Join(Index, Index),
}

/// Three of four inputs are changed ones of `seeds`.
pub fn input(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let arbitrary = prop::collection::vec(any::<u8>(), 0..600);
    let changes = prop::collection::vec(change(), 0..6);
    let changed = (any::<Index>(), changes).prop_map(move |(which, changes)| {
        let mut bytes = which.get(&seeds).clone();
        for change in changes {
            apply(&mut bytes, change, &seeds);
        }
        bytes
    });
    prop_oneof![1 => arbitrary, 3 => changed]
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    let text = prop::sample::select(TEXTS).prop_map(<[u8]>::to_vec);
    let bytes = prop_oneof![prop::collection::vec(any::<u8>(), 1..9), text];
    prop_oneof![
        4 => (at(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        4 => (at(), 0..8_u8).prop_map(|(at, bit)| Change::Flip(at, 1 << bit)),
        3 => (at(), b'0'..=b'9').prop_map(|(at, digit)| Change::Set(at, digit)),
        3 => (at(), bytes).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        2 => (at(), 1..40_usize).prop_map(|(at, length)| Change::Remove(at, length)),
        2 => (at(), 1..40_usize).prop_map(|(at, length)| Change::Repeat(at, length)),
        1 => at().prop_map(Change::Cut),
        1 => (at(), at()).prop_map(|(at, other)| Change::Join(at, other)),
    ]
}

/// What means something in one format or another.
const TEXTS: &[&[u8]] = &[
    b"\0",
    b"\xff",
    b"\n",
    b"\r\n",
    b"%",
    b"%00",
    b"?",
    b"&",
    b"=",
    b"../",
    b"/",
    b"null",
    b"[]",
    b"{}",
    b"\"",
    b",",
    b"-1",
    b"18446744073709551616",
    b"1e9",
    b" ",
];

fn apply(bytes: &mut Vec<u8>, change: Change, seeds: &[Vec<u8>]) {
    // There is always one more place than bytes: behind them.
    let place = |at: Index| at.index(bytes.len() + 1);
    match change {
        Change::Set(at, byte) => {
            let at = place(at);
            bytes.splice(at..bytes.len().min(at + 1), [byte]);
        }
        Change::Flip(at, mask) => {
            let at = place(at);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= mask;
            }
        }
        Change::Insert(at, inserted) => {
            let at = place(at);
            bytes.splice(at..at, inserted);
        }
        Change::Remove(at, length) => {
            let at = place(at);
            bytes.drain(at..bytes.len().min(at + length));
        }
        Change::Repeat(at, length) => {
            let at = place(at);
            let again = bytes[at..bytes.len().min(at + length)].to_vec();
            bytes.splice(at..at, again);
        }
        Change::Cut(at) => bytes.truncate(place(at)),
        Change::Join(at, other) => {
            bytes.truncate(place(at));
            let other = other.get(seeds);
            bytes.extend(other.get(bytes.len()..).unwrap_or_default());
        }
    }
}
