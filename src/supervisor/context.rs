//! What every call works with.

use std::time::Duration;

use tokio::sync::watch;

use super::events::Events;
use super::metrics::Metrics;
use super::shim_client::Home;
use super::store::{Layout, Store};
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
    /// Whether everything on disk is in the store.
    pub loading: Loading,
}

impl Supervisor {
    /// One that knows nothing yet. Makes nothing on disk.
    #[must_use]
    pub fn new(config: Config) -> Self {
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
            metrics: Metrics::default(),
            loading: Loading::default(),
            config,
        }
    }
}

/// Whether everything that is on disk is in the store. Before that, an id that is not there may still come.
#[derive(Debug)]
pub struct Loading(watch::Sender<bool>);

impl Default for Loading {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Loading {
    /// Says that it is: what is not in the store now is nowhere.
    pub fn done(&self) {
        self.0.send_replace(true);
    }

    /// Whether it is.
    #[must_use]
    pub fn is_done(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is, for `limit` at most.
    pub async fn wait(&self, limit: Duration) {
        let mut done = self.0.subscribe();
        // The sender lives as long as we do; and who asked looks again after either end.
        drop(tokio::time::timeout(limit, done.wait_for(|done| *done)).await);
    }
}
