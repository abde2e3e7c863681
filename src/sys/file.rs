//! Files that must be whole or not there.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The contents of `path`, at most `limit` bytes.
///
/// # Errors
/// What open(2) or read(2) answered; `FileTooLarge` past the limit.
pub fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut contents = Vec::new();
    File::open(path)?
        .take(limit.saturating_add(1))
        .read_to_end(&mut contents)?;
    if u64::try_from(contents.len()).is_ok_and(|len| len <= limit) {
        Ok(contents)
    } else {
        Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("more than {limit} bytes"),
        ))
    }
}
