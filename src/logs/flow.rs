//! How much went through a stream, and how much could not be delivered.

use serde::Serialize;
use std::cell::Cell;

/// The count of one stream, kept by its pump.
#[derive(Debug, Default)]
pub struct Flow {
    moved: Cell<u64>,
    dropped: Cell<u64>,
    spooled: Cell<u64>,
    spool_full: Cell<u64>,
    held: Cell<bool>,
}

/// A count as it was when it was asked for, in bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// Delivered.
    pub moved: u64,
    /// Taken from the container so that it does not block, and lost.
    pub dropped: u64,
    /// Kept in the spool for a while: part of `moved` once it was replayed.
    pub spooled: u64,
    /// How often the spool had no room left, so that the container had to wait; a number, not bytes.
    pub spool_full: u64,
}

impl Flow {
    pub(super) fn count_moved(&self, bytes: usize) {
        add(&self.moved, bytes);
    }

    /// To be told of bytes that were lost.
    pub fn count_dropped(&self, bytes: usize) {
        add(&self.dropped, bytes);
    }

    pub(super) fn count_spooled(&self, bytes: usize) {
        add(&self.spooled, bytes);
    }

    pub(super) fn count_spool_full(&self) {
        add(&self.spool_full, 1);
    }

    pub(super) fn set_held(&self, held: bool) {
        self.held.set(held);
    }

    /// Whether the source may have bytes that wait for the sink.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held.get()
    }

    /// The count now.
    #[must_use]
    pub fn get(&self) -> Moved {
        Moved {
            moved: self.moved.get(),
            dropped: self.dropped.get(),
            spooled: self.spooled.get(),
            spool_full: self.spool_full.get(),
        }
    }
}

fn add(count: &Cell<u64>, bytes: usize) {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    count.set(count.get().saturating_add(bytes));
}
