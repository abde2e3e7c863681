//! One pod in memory.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::StoreError;
use super::meta::PodMeta;
use super::names::NameLease;
use super::status::{PodCheckpoint, PodState};
use crate::types::ContainerId;
use crate::types::error::chain;

/// One pod.
#[derive(Debug)]
pub struct Pod {
    id: ContainerId,
    /// `None` where pod.json is missing or cannot be believed.
    meta: Option<PodMeta>,
    dir: PathBuf,
    status: watch::Sender<PodCheckpoint>,
    /// The pod's addresses, the first being the main one; none on the host's network.
    addresses: Mutex<Vec<String>>,
    changing: tokio::sync::Mutex<()>,
    /// Held by run, stop and remove.
    work: tokio::sync::Mutex<()>,
    _name: Option<NameLease>,
}

impl Pod {
    /// A pod whose files are in `dir`.
    #[must_use]
    pub fn new(
        id: ContainerId,
        dir: PathBuf,
        meta: Option<PodMeta>,
        checkpoint: PodCheckpoint,
        name: Option<NameLease>,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            meta,
            dir,
            status: watch::Sender::new(checkpoint),
            addresses: Mutex::new(Vec::new()),
            changing: tokio::sync::Mutex::new(()),
            work: tokio::sync::Mutex::new(()),
            _name: name,
        })
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> &ContainerId {
        &self.id
    }

    /// What it was asked to be; `None` where that cannot be read.
    #[must_use]
    pub const fn meta(&self) -> Option<&PodMeta> {
        self.meta.as_ref()
    }

    /// Its directory below ROOT.
    #[must_use]
    pub fn dir(&self) -> &std::path::Path {
        &self.dir
    }

    /// What it is.
    #[must_use]
    pub fn checkpoint(&self) -> PodCheckpoint {
        self.status.borrow().clone()
    }

    /// Whether containers may be started in it.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.status.borrow().state == PodState::Ready
    }

    /// Its addresses.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Sets its addresses.
    pub fn set_addresses(&self, addresses: Vec<String>) {
        *self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    /// Excludes others that work on the pod.
    pub async fn lock_work(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.work.lock().await
    }

    /// Changes the checkpoint on disk and then in memory.
    ///
    /// # Errors
    /// The disk's; then nothing has changed.
    pub async fn commit(&self, next: PodCheckpoint) -> Result<(), StoreError> {
        let _changing = self.changing.lock().await;
        let (path, written) = (self.dir.join("status.json"), next.clone());
        super::blocking("write", path.clone(), move || written.write(&path)).await?;
        self.status.send_replace(next);
        Ok(())
    }

    /// Changes the checkpoint in memory for something that has happened, whether or not the disk takes it; recovery
    /// finds it out again.
    pub async fn observe(&self, next: PodCheckpoint) {
        if let Err(error) = self.commit(next.clone()).await {
            log::warn!(pod = self.id.as_str(), error:% = chain(&error); "the pod's status cannot be written");
            self.status.send_replace(next);
        }
    }
}
