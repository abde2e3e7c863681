//! Named points at which tests kill the supervisor or hold it up. Without the feature `crash-points` there are none.
//!
//! `FAILPOINTS="start.created=return"` in the environment kills the supervisor with SIGKILL where
//! `crash::point("start.created")` stands; `=pause` and `=sleep(MS)` hold it up there (the crate `fail`). Each name is
//! `RPC.STEP`, the step being the one that was just done.

/// Does nothing, unless a test asked for this point by name.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub fn point(_name: &str) {}

/// Kills this process with SIGKILL or waits, if a test asked for it by name.
#[cfg(feature = "crash-points")]
pub fn point(name: &str) {
    fail::fail_point!(name, |_| {
        log::warn!(point = name; "crash point reached");
        // SIGKILL cannot fail to reach oneself, and nothing is left to do if it did.
        nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL)
            .unwrap_or_default();
    });
}
