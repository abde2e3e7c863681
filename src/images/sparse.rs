//! Sparse files of tar archives: where in the file the bytes belong that the archive has of it.
//!
//! GNU tar has four ways to write that (its manual, "Storing Sparse Files"): in the header and blocks after it (the old
//! GNU format), in pax records (0.0 with a record for each number, 0.1 with all of them in one), and before the content
//! (1.0). What Go's archive/tar and libarchive read is the same.

use std::io;

use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

use super::members::{BLOCK, Kind, LARGEST_EXTENSION, Member, Members, TarError, number};
use super::skip::Skip;

/// Bytes of a sparse file with its holes, at most: as many as of a layer.
const LARGEST: u64 = 512 << 30;

const FIELD: &str = "GNU.sparse";

/// Where the bytes belong that the archive has of a file. The rest of the file is holes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sparse {
    /// Bytes of the file, with its holes.
    pub size: u64,
    /// The offset and length of each part, in order; they do not overlap.
    pub parts: Vec<(u64, u64)>,
}

const fn bad() -> TarError {
    TarError::Field { field: FIELD }
}

impl Sparse {
    /// Takes the offsets and lengths `numbers` for a file of `size` bytes, of which the archive has `stored`.
    pub(super) fn new(size: u64, numbers: &[u64], stored: u64) -> Result<Self, TarError> {
        let (mut parts, mut end, mut sum) = (Vec::new(), 0, 0);
        let (pairs, rest) = numbers.as_chunks::<2>();
        for &[offset, length] in pairs {
            let next = offset.checked_add(length).filter(|&next| next <= size);
            let next = next.filter(|_| offset >= end).ok_or_else(bad)?;
            end = next;
            sum += length;
            if length > 0 {
                parts.push((offset, length));
            }
        }
        if !rest.is_empty() || size > LARGEST || sum != stored {
            return Err(bad());
        }
        Ok(Self { size, parts })
    }
}

/// What pax records say of a sparse file.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// Its name: the one of the header is a stand-in.
    pub name: Option<Vec<u8>>,
    size: Option<u64>,
    numbers: Vec<u64>,
    is_before_content: bool,
    any: bool,
}

/// Where the offsets and lengths are.
#[derive(Debug)]
pub(super) enum Map {
    /// The file is not sparse.
    None,
    /// Here, for a file of this size.
    Known(u64, Vec<u64>),
    /// At the beginning of the content of a file of this size.
    BeforeContent(u64),
}

impl Records {
    /// Takes the record `GNU.sparse.KEY`.
    pub fn add(&mut self, key: &[u8], value: Vec<u8>) -> Result<(), TarError> {
        self.any = true;
        match key {
            b"name" => self.name = Some(value),
            b"size" | b"realsize" => self.size = Some(decimal(&value)?),
            b"offset" | b"numbytes" => self.numbers.push(decimal(&value)?),
            b"map" => {
                let numbers = value.split(|&byte| byte == b',');
                self.numbers = numbers.map(decimal).collect::<Result<_, _>>()?;
            }
            b"major" => match value.as_slice() {
                b"0" => {}
                b"1" => self.is_before_content = true,
                _ => return Err(bad()),
            },
            // How many there are is seen.
            _ => {}
        }
        Ok(())
    }

    /// Where the offsets and lengths are.
    pub fn map(self) -> Result<Map, TarError> {
        match (self.any, self.size) {
            (false, _) => Ok(Map::None),
            (true, None) => Err(bad()),
            (true, Some(size)) if self.is_before_content => Ok(Map::BeforeContent(size)),
            (true, Some(size)) => Ok(Map::Known(size, self.numbers)),
        }
    }
}

impl<R: Skip> Members<R> {
    /// The content of `member` follows; where it belongs is told by `map`, or by blocks that are read here.
    pub(super) fn sparse_follows(
        &mut self,
        header: &Header,
        kind: EntryType,
        member: &mut Member,
        map: Map,
    ) -> Result<(), TarError> {
        let map = match kind {
            EntryType::GNUSparse => self.sparse_blocks(header)?,
            _ => map,
        };
        self.content_follows(member.size)?;
        if member.kind != Kind::Regular {
            return Ok(());
        }
        let (size, numbers) = match map {
            Map::None => return Ok(()),
            Map::Known(size, numbers) => (size, numbers),
            Map::BeforeContent(size) => (size, self.sparse_map()?),
        };
        member.size = self.left;
        member.sparse = Some(Sparse::new(size, &numbers, self.left)?);
        Ok(())
    }

    /// The old GNU format: four parts in the header, and 21 in each block after it.
    fn sparse_blocks(&mut self, header: &Header) -> Result<Map, TarError> {
        let gnu = header.as_gnu().ok_or(TarError::Field { field: "magic" })?;
        let size = number("real size", gnu.real_size(), &gnu.realsize)?;
        let mut numbers = from_blocks(&gnu.sparse)?;
        let (mut more, mut read) = (gnu.is_extended(), 0);
        while more {
            let mut block = GnuExtSparseHeader::new();
            self.block(block.as_mut_bytes(), &mut read)?;
            numbers.extend(from_blocks(block.sparse())?);
            more = block.is_extended();
        }
        Ok(Map::Known(size, numbers))
    }

    /// The map before the content, which is what is left then.
    fn sparse_map(&mut self) -> Result<Vec<u64>, TarError> {
        let (mut before, mut read) = (Before::default(), 0);
        loop {
            let mut block = [0; 512];
            self.left = self.left.checked_sub(BLOCK).ok_or_else(bad)?;
            self.block(&mut block, &mut read)?;
            if let Some(numbers) = before.add(&block)? {
                return Ok(numbers);
            }
        }
    }

    /// Reads a block of a sparse file's map; `read` counts the bytes of all.
    fn block(&mut self, block: &mut [u8], read: &mut u64) -> Result<(), TarError> {
        *read += BLOCK;
        if *read > LARGEST_EXTENSION {
            return Err(TarError::Extension(*read));
        }
        self.source.read_exact(block).map_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                TarError::Truncated("the map of a sparse file")
            } else {
                TarError::Read(error)
            }
        })
    }
}

/// The offsets and lengths in header blocks of the old GNU format; the first of no length ends them.
fn from_blocks(headers: &[GnuSparseHeader]) -> Result<Vec<u64>, TarError> {
    let mut numbers = Vec::new();
    for header in headers.iter().take_while(|header| !header.is_empty()) {
        numbers.push(header.offset().map_err(|_| bad())?);
        numbers.push(header.length().map_err(|_| bad())?);
    }
    Ok(numbers)
}

/// How the map before the content is read: a number on each line, the first says how many pairs follow. It is filled up
/// to a whole block, and goes on for as many blocks as it needs.
#[derive(Debug, Default)]
struct Before {
    numbers: Vec<u64>,
    digits: Vec<u8>,
}

impl Before {
    /// Takes the next block; answers the offsets and lengths when they are whole.
    fn add(&mut self, block: &[u8]) -> Result<Option<Vec<u64>>, TarError> {
        for &byte in block {
            if byte != b'\n' {
                self.digits.push(byte);
                if self.digits.len() > 20 {
                    return Err(bad());
                }
                continue;
            }
            self.numbers.push(decimal(&self.digits)?);
            self.digits.clear();
            let pairs = self.numbers.first().copied().unwrap_or_default();
            let all = pairs.checked_mul(2).and_then(|all| all.checked_add(1));
            if u64::try_from(self.numbers.len()).ok() == Some(all.ok_or_else(bad)?) {
                return Ok(Some(self.numbers.split_off(1)));
            }
        }
        Ok(None)
    }
}

fn decimal(text: &[u8]) -> Result<u64, TarError> {
    let text = std::str::from_utf8(text).map_err(|_| bad())?;
    text.parse().map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_in_order_within_the_file_and_as_many_bytes_as_there_are() {
        let good = Sparse::new(100, &[0, 10, 50, 5, 100, 0], 15).unwrap();
        assert_eq!(good.parts, [(0, 10), (50, 5)]);
        for (size, numbers, stored) in [
            (100, &[0, 10][..], 11),
            (100, &[0, 10, 5], 10),
            (100, &[0, 10, 9, 1], 11),
            (100, &[99, 2], 2),
            (100, &[u64::MAX, 2], 2),
            (u64::MAX, &[], 0),
        ] {
            assert!(Sparse::new(size, numbers, stored).is_err(), "{numbers:?}");
        }
    }

    #[test]
    fn a_map_before_the_content_ends_with_its_last_number() {
        let mut map = Before::default();
        assert_eq!(map.add(b"2\n0\n1").unwrap(), None);
        assert_eq!(
            map.add(b"0\n50\n5\n\0\0").unwrap(),
            Some(vec![0, 10, 50, 5])
        );
        assert_eq!(Before::default().add(b"0\n\0").unwrap(), Some(vec![]));
        assert!(Before::default().add(b"x\n").is_err());
        assert!(Before::default().add(&[b'1'; 21]).is_err());
        assert!(Before::default().add(b"18446744073709551615\n").is_err());
    }
}
