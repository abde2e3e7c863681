//! What is counted, for Prometheus.

use std::time::Duration;

/// The counters.
#[derive(Debug, Default)]
pub struct Metrics;

impl Metrics {
    /// A container of `runtime` was started, from the call to RUNNING.
    pub fn started(&self, _runtime: &str, _took: Duration) {}

    /// A container ended, for CRI's `reason`.
    pub fn exited(&self, _reason: &str) {}

    /// Recovery found `outcome` for one container (a word of [`super::recovery`]).
    pub fn recovered(&self, _outcome: &str) {}

    /// Recovery of everything took so long.
    pub fn recovery_took(&self, _took: Duration) {}

    /// A shim was connected to again.
    pub fn reconnected(&self) {}
}
