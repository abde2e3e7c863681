//! Replaces bytes of `:authority` values within a header block (RFC 7541), in place: neither the block nor the client's
//! dynamic table changes its size, so that nothing else of the connection's state need be known.
//!
//! A value is a literal where it comes first, and an index of the table later, which then has what was put here. The name
//! is index 1 of the static table (Go, Java, Rust) or a literal (gRPC's C core, which Python uses). A name by an index of
//! the dynamic table is not followed: no known client refers to it so, since the static table has it.

use std::ops::Range;

/// The bytes that paths and percent-encodings have and an authority must not, and what stands in for them. All three
/// have Huffman codes of 6 bits.
const REFUSED: [u8; 2] = *b"/%";
const REPLACEMENT: u8 = b'-';
const REFUSED_CODES: [u16; 2] = [0b01_1000, 0b01_0101];
const REPLACEMENT_CODE: u16 = 0b01_0110;
const CODE_BITS: usize = 6;

const NAME: &[u8] = b":authority";
/// The same by the Huffman code, with its padding.
const NAME_CODED: &[u8] = &[0xb8, 0x3b, 0x53, 0x39, 0xec, 0x32, 0x7d, 0x7f];
/// `:authority` in the static table (RFC 7541, Appendix A).
const NAME_INDEX: usize = 1;

/// How many symbols have codes of 0, 1, 2.. bits (RFC 7541, Appendix B). The code is canonical: the codes of one length
/// follow each other, after those that are shorter.
const CODES_OF_LENGTH: [u32; 31] = [
    0, 0, 0, 0, 0, 10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3, 0, 0, 0, 3, 8, 13, 26, 29, 12, 4, 15, 19,
    29, 0, 4,
];

/// Makes the `:authority` of a header block one that h2 takes. What is malformed stays as it is from there on, for the
/// decoder to refuse.
pub(super) fn soften(block: &mut [u8]) {
    let mut at = 0;
    while at < block.len() {
        let Some(field) = field(block, at) else {
            return;
        };
        at = field.end;
        match field.authority {
            Some(Value::Plain(range)) => {
                for byte in block.get_mut(range).into_iter().flatten() {
                    if REFUSED.contains(byte) {
                        *byte = REPLACEMENT;
                    }
                }
            }
            Some(Value::Coded(range)) => soften_coded(block.get_mut(range).unwrap_or_default()),
            None => {}
        }
    }
}

/// Where a literal string is in the block.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Plain(Range<usize>),
    Coded(Range<usize>),
}

/// One field representation.
struct Field {
    end: usize,
    /// Its value, where it is an `:authority` that is not indexed.
    authority: Option<Value>,
}

/// The representation at `at` (RFC 7541, 6).
fn field(block: &[u8], at: usize) -> Option<Field> {
    let first = *block.get(at)?;
    let (bits, has_value) = match first.leading_zeros() {
        0 => (7, false), // 6.1: indexed
        1 => (6, true),  // 6.2.1: incremental indexing
        2 => (5, false), // 6.3: the table's size
        _ => (4, true),  // 6.2.2, 6.2.3: not indexed
    };
    let (index, mut end) = integer(block, at, bits)?;
    if !has_value {
        let authority = None;
        return Some(Field { end, authority });
    }
    let is_authority = if index == 0 {
        let (name, after) = string(block, end)?;
        end = after;
        match name {
            Value::Plain(range) => block.get(range)? == NAME,
            Value::Coded(range) => block.get(range)? == NAME_CODED,
        }
    } else {
        index == NAME_INDEX
    };
    let (value, end) = string(block, end)?;
    let authority = is_authority.then_some(value);
    Some(Field { end, authority })
}

/// An integer with a prefix of so many bits (RFC 7541, 5.1), and where the next byte is.
fn integer(block: &[u8], at: usize, bits: u32) -> Option<(usize, usize)> {
    let most = (1_usize << bits) - 1;
    let mut number = usize::from(*block.get(at)?) & most;
    let mut next = at + 1;
    if number < most {
        return Some((number, next));
    }
    for shift in [0, 7, 14, 21] {
        let byte = *block.get(next)?;
        next += 1;
        number += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((number, next));
        }
    }
    None
}

/// A string literal (RFC 7541, 5.2), and where the next byte is.
fn string(block: &[u8], at: usize) -> Option<(Value, usize)> {
    let is_coded = block.get(at)? & 0x80 != 0;
    let (length, start) = integer(block, at, 7)?;
    let end = start
        .checked_add(length)
        .filter(|end| *end <= block.len())?;
    let value = match is_coded {
        true => Value::Coded(start..end),
        false => Value::Plain(start..end),
    };
    Some((value, end))
}

/// Replaces symbols of a Huffman-coded string by one whose code is as long.
fn soften_coded(coded: &mut [u8]) {
    let (mut code, mut bits) = (0_u32, 0_usize);
    // The first code of the present length.
    let mut first = 0_u32;
    for at in 0..coded.len() * 8 {
        code = (code << 1) | u32::from(bit(coded, at));
        first <<= 1;
        bits += 1;
        let Some(codes) = CODES_OF_LENGTH.get(bits) else {
            return;
        };
        if code.wrapping_sub(first) >= *codes {
            first += codes;
            continue;
        }
        if bits == CODE_BITS && REFUSED_CODES.iter().any(|one| u32::from(*one) == code) {
            for offset in 0..CODE_BITS {
                let value = (REPLACEMENT_CODE >> offset) & 1;
                set_bit(coded, at - offset, value == 1);
            }
        }
        (code, bits, first) = (0, 0, 0);
    }
}

fn mask(at: usize) -> u8 {
    0x80 >> (at % 8)
}

fn bit(bytes: &[u8], at: usize) -> bool {
    bytes.get(at / 8).is_some_and(|byte| byte & mask(at) != 0)
}

fn set_bit(bytes: &mut [u8], at: usize, value: bool) {
    if let Some(byte) = bytes.get_mut(at / 8) {
        match value {
            true => *byte |= mask(at),
            false => *byte &= !mask(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Codes of RFC 7541, Appendix B, for the texts below.
    const CODES: &[(u8, u32, usize)] = &[
        (b'%', 0x15, 6),
        (b'-', 0x16, 6),
        (b'.', 0x17, 6),
        (b'/', 0x18, 6),
        (b'2', 0x2, 5),
        (b'F', 0x63, 7),
        (b'_', 0x22, 6),
        (b'a', 0x3, 5),
        (b'c', 0x4, 5),
        (b'k', 0x75, 7),
        (b'n', 0x2a, 6),
        (b'o', 0x7, 5),
        (b'r', 0x2c, 6),
        (b's', 0x8, 5),
        (b'u', 0x2d, 6),
        (b'~', 0x1ffd, 13),
        (0xff, 0x3ff_ffee, 26),
    ];

    fn coded(text: &[u8]) -> Vec<u8> {
        let mut bits = Vec::new();
        for byte in text {
            let (_, code, length) = CODES.iter().find(|(one, ..)| one == byte).unwrap();
            bits.extend((0..*length).rev().map(|at| code >> at & 1 == 1));
        }
        bits.resize(bits.len().next_multiple_of(8), true);
        let mut bytes = vec![0; bits.len() / 8];
        for (at, value) in bits.into_iter().enumerate() {
            set_bit(&mut bytes, at, value);
        }
        bytes
    }

    #[test]
    fn the_lengths_of_the_codes_are_those_of_the_rfc() {
        // 256 bytes and the end of a string; a complete code fills the space of all 30-bit codes.
        assert_eq!(CODES_OF_LENGTH.iter().sum::<u32>(), 257);
        let space: u64 = CODES_OF_LENGTH
            .iter()
            .enumerate()
            .map(|(length, codes)| u64::from(*codes) << (30 - length))
            .sum();
        assert_eq!(space, 1 << 30);
    }

    #[test]
    fn coded_strings_keep_their_length_and_their_other_bytes() {
        for (text, expected) in [
            (&b"/run/a.sock"[..], &b"-run-a.sock"[..]),
            (b"run%2Fa.sock", b"run-2Fa.sock"),
            (b"~/\xff%~/\xff", b"~-\xff-~-\xff"),
            (b"a.sock", b"a.sock"),
            (b"", b""),
        ] {
            let mut bytes = coded(text);
            soften_coded(&mut bytes);
            assert_eq!(bytes, coded(expected), "{text:?}");
        }
    }

    /// A literal with its length, plain.
    fn plain(text: &[u8]) -> Vec<u8> {
        [&[u8::try_from(text.len()).unwrap()], text].concat()
    }

    fn huffman(bytes: &[u8]) -> Vec<u8> {
        [&[0x80 | u8::try_from(bytes.len()).unwrap()], bytes].concat()
    }

    #[test]
    fn only_the_authority_changes_whatever_its_form() {
        let (path, better) = (b"/run/a.sock", b"-run-a.sock");
        // :path /a/b by static index 4; an indexed field; a change of the table's size.
        let others = [&[0x44][..], &plain(b"/a/b"), &[0x86, 0x3f, 0x01]].concat();
        for first in [0x40, 0x00, 0x10] {
            for (name, index) in [(Vec::new(), 1), (plain(NAME), 0), (huffman(NAME_CODED), 0)] {
                for (value, expected) in [
                    (plain(path), plain(better)),
                    (huffman(&coded(path)), huffman(&coded(better))),
                ] {
                    let block = |value: &[u8]| {
                        let field = [&[first | index][..], &name, value].concat();
                        [&others[..], &field, &others].concat()
                    };
                    let mut softened = block(&value);
                    soften(&mut softened);
                    assert_eq!(softened, block(&expected));
                }
            }
        }
    }

    #[test]
    fn what_is_malformed_stays_and_ends_the_search() {
        for block in [
            &[][..],
            &[0x41],
            &[0x41, 0x7f],
            &[0x41, 0x05, b'/'],
            &[0x41, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, b'/'],
            &[0xff, 0x80],
            &[0x40, 0x0a, b'/'],
        ] {
            let mut softened = block.to_vec();
            soften(&mut softened);
            assert_eq!(softened, block);
        }
        // 30 ones are no symbol but the end of a string, which must not be in one.
        let mut ones = [0xff; 8];
        soften_coded(&mut ones);
        assert_eq!(ones, [0xff; 8]);
    }
}
