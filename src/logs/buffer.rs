//! The one copy buffer of the thread, so that an idle stream has none.

use std::cell::Cell;

/// What a pipe holds at most unless its size was changed (pipe(7)): one read empties it.
pub const LENGTH: usize = 64 * 1024;

thread_local! {
    static BUFFER: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
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
