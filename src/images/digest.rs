//! Content digests (OCI image-spec, descriptor.md "Digests"): `sha256:` and 64 hexadecimal digits.

use std::fmt;
use std::io::{self, Read};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A sha256 digest. Other algorithms are not valid here.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// Not a digest that is supported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no sha256 digest (sha256: and 64 hexadecimal digits)")]
pub struct NotADigest(String);

const PREFIX: &str = "sha256:";

impl Digest {
    /// Reads `sha256:HEX`.
    ///
    /// # Errors
    /// [`NotADigest`].
    pub fn parse(text: &str) -> Result<Self, NotADigest> {
        let hex = text.strip_prefix(PREFIX).filter(|hex| is_hex(hex));
        match hex {
            Some(_) => Ok(Self(text.to_owned())),
            None => Err(NotADigest(text.chars().take(128).collect())),
        }
    }

    /// That of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::finished(Sha256::new_with_prefix(bytes))
    }

    fn finished(hasher: Sha256) -> Self {
        let mut text = String::with_capacity(PREFIX.len() + 64);
        text.push_str(PREFIX);
        let digits = hasher
            .finalize()
            .into_iter()
            .flat_map(|byte| [byte >> 4, byte & 15]);
        text.extend(digits.filter_map(|digit| char::from_digit(digit.into(), 16)));
        Self(text)
    }

    /// `sha256:HEX`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The digits alone.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.0[PREFIX.len()..]
    }
}

/// Whether these are the digits of a sha256 digest.
pub(super) fn is_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(is_hex_digit)
}

/// Whether it is a digit of a digest: capital letters are none.
pub(super) const fn is_hex_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = NotADigest;

    fn try_from(text: String) -> Result<Self, NotADigest> {
        Self::parse(&text)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

/// A stream whose bytes are counted and hashed as they go by.
#[derive(Debug)]
pub struct Hashed<R> {
    source: R,
    hasher: Sha256,
    count: u64,
}

impl<R: Read> Hashed<R> {
    /// Hashes what is read of `source` from here on.
    pub fn new(source: R) -> Self {
        Self {
            source,
            hasher: Sha256::new(),
            count: 0,
        }
    }

    /// Reads to the end, and answers the digest and count of all bytes.
    ///
    /// # Errors
    /// What the stream answered.
    pub fn finish(mut self) -> io::Result<(Digest, u64)> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match self.read(&mut buffer) {
                Ok(0) => return Ok((Digest::finished(self.hasher), self.count)),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.count += u64::try_from(count).unwrap_or_default();
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_sha256_with_small_digits() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").as_str(), empty);
        assert_eq!(Digest::parse(empty).unwrap().hex(), &empty[7..]);
        for wrong in [
            "",
            "sha256:",
            &empty[7..],
            &empty.to_uppercase(),
            "sha256:../../../etc/passwd",
            "sha512:00",
        ] {
            assert!(Digest::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_was_read_before_the_end_counts_too() {
        let mut hashed = Hashed::new(&b"hello world"[..]);
        hashed.read_exact(&mut [0; 5]).unwrap();
        assert_eq!(hashed.finish().unwrap(), (Digest::of(b"hello world"), 11));
    }
}
