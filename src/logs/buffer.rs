//! The copy buffers of the thread, so that an idle stream has none, and an idle thread neither.

use std::cell::Cell;

use super::cri::BATCH_LENGTH;

/// What a pipe holds at most unless its size was changed (pipe(7)): one read empties it.
pub const LENGTH: usize = 64 * 1024;

thread_local! {
    static BUFFER: Place = const { Cell::new(None) };
    static RECORDS: Place = const { Cell::new(None) };
}

type Place = Cell<Option<Box<[u8]>>>;

/// Lends the buffer to `work`, which does not wait and so cannot keep it. Its first use allocates it.
pub fn with<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    BUFFER.with(|place| lend(place, LENGTH, work))
}

/// Lends the buffer for records, of [`BATCH_LENGTH`] bytes, in the same way.
pub fn with_records<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    RECORDS.with(|place| lend(place, BATCH_LENGTH, work))
}

fn lend<T>(place: &Place, length: usize, work: impl FnOnce(&mut [u8]) -> T) -> T {
    let mut buffer = place
        .take()
        .unwrap_or_else(|| vec![0; length].into_boxed_slice());
    let result = work(&mut buffer);
    place.set(Some(buffer));
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
    RECORDS.set(None);
}
