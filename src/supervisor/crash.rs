//! Named points at which tests kill the supervisor or hold it up. Without the feature `crash-points` there are none.
//!
//! ```text
//! FAILPOINTS="start.created=return"            SIGKILL where `crash::point("start.created")` stands
//! FAILPOINTS="start.created=2*off->return"     the same, when it is passed for the third time
//! FAILPOINTS="recover.asked=return(PATH)"      at a gate: waits until there is no PATH; everything else goes on
//! FAILPOINTS="defect.orphans=return"           one of the defects by which the recovery harness is tested
//! ```
//!
//! Each name is `RPC.STEP`, the step being the one that was just done. `sent.METHOD` is of the calls to shims: it was sent,
//! and is not answered. The rest of the grammar is that of the crate `fail`; its `pause` and `sleep(MS)` hold up the whole thread.

/// Takes the points that the environment names. Before any is passed.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub fn arm() {}

/// Does nothing, unless a test asked for this point by name.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub fn point(_name: &str) {}

/// Does nothing, unless a test asked for this gate by name.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub async fn gate(_name: &str) {}

/// Does nothing, unless a test asked for `sent.METHOD` by name. After a call was sent to a shim.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub async fn sent(_method: &str) {}

/// Whether a test asked for the seeded defect `defect.NAME`: never.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub const fn has_defect(_name: &str) -> bool {
    false
}

#[cfg(feature = "crash-points")]
pub use armed::{arm, gate, has_defect, point, sent};

#[cfg(feature = "crash-points")]
mod armed {
    use std::path::Path;
    use std::time::Duration;

    /// How often a gate looks whether it is open.
    const LOOK: Duration = Duration::from_millis(5);

    /// Takes the points that the environment names. Before any is passed.
    pub fn arm() {
        let points = std::env::var("FAILPOINTS").unwrap_or_default();
        for point in points.split(';').filter(|point| !point.is_empty()) {
            let (name, actions) = point.split_once('=').unwrap_or((point, "return"));
            if let Err(error) = fail::cfg(name, actions) {
                log::error!(point = name, error = error.as_str(); "no crash point");
            }
        }
    }

    /// Kills this process with SIGKILL or waits, if a test asked for it by name.
    pub fn point(name: &str) {
        if reached(name).is_some() {
            die(name);
        }
    }

    /// As [`point`], or waits here until the file that a test named is gone.
    pub async fn gate(name: &str) {
        match reached(name) {
            None => {}
            Some(None) => die(name),
            Some(Some(path)) => {
                log::warn!(point = name; "held up");
                while Path::new(&path).exists() {
                    tokio::time::sleep(LOOK).await;
                }
            }
        }
    }

    /// After a call was sent to a shim: `sent.METHOD`.
    pub async fn sent(method: &str) {
        // The task that writes takes it from its queue meanwhile.
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
        point(&format!("sent.{method}"));
    }

    /// Whether a test asked for the seeded defect `defect.NAME`.
    pub fn has_defect(name: &str) -> bool {
        reached(&format!("defect.{name}")).is_some()
    }

    /// The argument of `return`, where a test named this point.
    fn reached(name: &str) -> Option<Option<String>> {
        fail::fail_point!(name, Some);
        None
    }

    fn die(name: &str) {
        log::warn!(point = name; "crash point reached");
        // SIGKILL cannot fail to reach oneself, and nothing is left to do if it did.
        nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL)
            .unwrap_or_default();
    }
}
