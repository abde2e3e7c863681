//! What every call works with.

use super::events::Events;
use super::features::Features;
use super::metrics::Metrics;
use super::shim_client::Home;
use super::spec::HostFacts;
use super::store::{Layout, Store};
use crate::config::supervisor::Config;
use crate::images::ImageStore;

/// The supervisor: one for the process, shared by every call.
#[derive(Debug)]
pub struct Supervisor {
    /// The settings.
    pub config: Config,
    /// The machine.
    pub host: HostFacts,
    /// What is known.
    pub store: Store,
    /// What shims are told.
    pub home: Home,
    /// The images.
    pub images: ImageStore,
    /// Who listens to GetContainerEvents.
    pub events: Events,
    /// What the runtime handlers can do.
    pub features: Features,
    /// What is counted.
    pub metrics: Metrics,
}

impl Supervisor {
    /// One that knows nothing yet, on the machine that `host` describes. Makes nothing on disk.
    #[must_use]
    pub fn new(config: Config, host: HostFacts) -> Self {
        let layout = Layout::new(&config.root, &config.state);
        Self {
            home: Home {
                address: config.socket.clone(),
                events: layout.events_socket(),
                namespace: "outlive".to_owned(),
            },
            images: ImageStore::new(layout.images()),
            store: Store::new(layout),
            events: Events::default(),
            features: Features::default(),
            metrics: Metrics::default(),
            config,
            host,
        }
    }
}
