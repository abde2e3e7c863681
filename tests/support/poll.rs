//! Waiting for a state of the world: a probe that is asked again until a deadline, never a bare sleep.

use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take. The machine may be small and busy, so this is for hangs, not for slowness.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Asks `probe` until it answers `Ok`, at most for [`DEADLINE`]; fails with the last `Err` it gave.
pub fn until<T>(what: &str, probe: impl FnMut() -> Result<T, String>) -> T {
    match within(DEADLINE, probe) {
        Ok(value) => value,
        Err(last) => panic!("{what}: not within {DEADLINE:?}, last seen: {last}"),
    }
}

/// Asks `probe` until it answers `Ok` or `limit` has passed; then the last `Err` it gave.
pub fn within<T>(
    limit: Duration,
    mut probe: impl FnMut() -> Result<T, String>,
) -> Result<T, String> {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(2);
    loop {
        match probe() {
            Ok(value) => return Ok(value),
            Err(last) if Instant::now() >= deadline => return Err(last),
            Err(_) => thread::sleep(pause),
        }
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
