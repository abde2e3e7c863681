//! The copy buffers of the thread, so that an idle stream has none, and an idle thread neither.

use std::cell::Cell;

use super::cri::BATCH_LENGTH;

/// What a pipe holds at most unless its size was changed (pipe(7)): one read empties it.
pub const LENGTH: usize = 64 * 1024;

thread_local! {
    static BUFFER: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
    static RECORDS: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Lends the buffer to `work`, which does not wait and so cannot keep it. Its first use allocates it.
pub fn with<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    let mut buffer = BUFFER
        .take()
        .unwrap_or_else(|| vec![0; LENGTH].into_boxed_slice());
    let result = work(&mut buffer);
    BUFFER.set(Some(buffer));
    result
}

/// Lends the empty buffer for records, in the same way.
pub fn with_records<T>(work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let mut records = RECORDS.take();
    records.reserve_exact(BATCH_LENGTH);
    let result = work(&mut records);
    // One long record is no reason to keep so much.
    if records.capacity() <= BATCH_LENGTH {
        records.clear();
        RECORDS.set(records);
    }
    result
}

/// Whether a buffer is allocated.
pub fn is_allocated() -> bool {
    let buffer = BUFFER.take();
    let allocated = buffer.is_some();
    BUFFER.set(buffer);
    allocated
}

/// Frees the buffers; the next use allocates them again.
pub fn release() {
    BUFFER.set(None);
    RECORDS.set(Vec::new());
}
