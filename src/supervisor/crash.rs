//! Named points at which tests kill the supervisor or hold it up. Without the feature `crash-points` there are none.
//!
//! `FAILPOINTS="start.created=return"` in the environment kills the supervisor with SIGKILL where
//! `crash::point("start.created")` stands; `=pause` and `=sleep(MS)` hold it up there (the crate `fail`). Each name is
//! `RPC.STEP`, the step being the one that was just done. `sent.METHOD` is of the calls to shims: it was sent, and is not
//! answered.

/// Does nothing: there are no points.
#[cfg(not(feature = "crash-points"))]
pub const fn arm() {}

/// Takes the points that the environment names, once, before anything else runs.
#[cfg(feature = "crash-points")]
pub fn arm() {
    let points = std::env::var("FAILPOINTS").unwrap_or_default();
    for (name, actions) in points.split(';').filter_map(|one| one.split_once('=')) {
        if let Err(error) = fail::cfg(name.trim(), actions) {
            log::error!(point = name, error = error.as_str(); "FAILPOINTS is not understood");
        }
    }
}

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

/// After a call was sent to a shim.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub async fn sent(_method: &str) {}

/// After a call was sent to a shim: `sent.METHOD`.
#[cfg(feature = "crash-points")]
pub async fn sent(method: &str) {
    // The task that writes takes it from its queue meanwhile.
    for _ in 0..4 {
        tokio::task::yield_now().await;
    }
    point(&format!("sent.{method}"));
}
