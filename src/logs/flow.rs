//! How much went through a stream, and how much could not be delivered.

use std::cell::Cell;

/// The count of one stream, kept by its pump.
#[derive(Debug, Default)]
pub struct Flow {
    moved: Cell<u64>,
    dropped: Cell<u64>,
}

/// A count as it was when it was asked for, in bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// Delivered.
    pub moved: u64,
    /// Taken from the container so that it does not block, and lost.
    pub dropped: u64,
}

impl Flow {
    pub(super) fn count_moved(&self, bytes: usize) {
        add(&self.moved, bytes);
    }

    pub(super) fn count_dropped(&self, bytes: usize) {
        add(&self.dropped, bytes);
    }

    /// The count now.
    #[must_use]
    pub fn get(&self) -> Moved {
        Moved {
            moved: self.moved.get(),
            dropped: self.dropped.get(),
        }
    }
}

fn add(count: &Cell<u64>, bytes: usize) {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    count.set(count.get().saturating_add(bytes));
}
