//! What every call works with.

use super::events::Events;
use super::metrics::Metrics;
use super::shim_client::Home;
use super::store::Store;
use crate::config::supervisor::Config;
use crate::images::ImageStore;

/// The supervisor: one for the process, shared by every call.
#[derive(Debug)]
pub struct Supervisor {
    /// The settings.
    pub config: Config,
    /// What is known.
    pub store: Store,
    /// What shims are told.
    pub home: Home,
    /// The images.
    pub images: ImageStore,
    /// Who listens to GetContainerEvents.
    pub events: Events,
    /// What is counted.
    pub metrics: Metrics,
}
