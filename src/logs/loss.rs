//! What could not be written, and the words that say so where it is missing.

use std::io;

use crate::types::Timestamp;

/// A count of what was taken from the container and lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Loss {
    /// Bytes of the stream.
    pub bytes: u64,
    /// Records of a CRI log, or newlines of a plain one.
    pub records: u64,
}

impl Loss {
    /// Adds to it.
    pub fn add(&mut self, bytes: usize, records: usize) {
        let wide = |count| u64::try_from(count).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(wide(bytes));
        self.records = self.records.saturating_add(wide(records));
    }

    /// Adds another.
    pub fn merge(&mut self, other: Self) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.records = self.records.saturating_add(other.records);
    }
}

/// One stream's losses since the file last took everything.
#[derive(Debug)]
pub struct Incident {
    /// How much.
    pub lost: Loss,
    /// When the last of it was read.
    pub at: Timestamp,
    /// Why, at first.
    pub cause: io::Error,
}

impl Incident {
    /// What the log says in the place of what is missing.
    #[must_use]
    pub fn text(&self, stream: &str) -> String {
        let Loss { bytes, records } = self.lost;
        let cause = &self.cause;
        format!("outlive: {bytes} bytes of {stream} in {records} lines are missing here: {cause}")
    }
}
