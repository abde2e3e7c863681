//! The tasks of this shim, by id. The lock is held for one look-up at a time, never over a call.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};

use super::error::ShimError;
use super::task::Command;
use crate::types::ContainerId;

/// What stands under an id.
#[derive(Debug)]
enum Entry {
    /// Being created: the id is taken, but there is no task yet.
    Reserved,
    /// A task, and where its commands go.
    Task(mpsc::Sender<Command>),
}

/// The tasks; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    entries: Arc<Mutex<HashMap<ContainerId, Entry>>>,
    emptied: Arc<Notify>,
}

impl Registry {
    fn entries(&self) -> MutexGuard<'_, HashMap<ContainerId, Entry>> {
        // No code under the lock can panic, so a poisoned map is whole.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the id for a task that is to be created.
    ///
    /// # Errors
    /// `AlreadyExists` where it is taken.
    pub fn reserve(&self, id: &ContainerId) -> Result<(), ShimError> {
        let mut entries = self.entries();
        if entries.contains_key(id) {
            return Err(ShimError::AlreadyExists {
                what: "task",
                id: id.to_string(),
            });
        }
        entries.insert(id.clone(), Entry::Reserved);
        Ok(())
    }

    /// Puts the created task under its id.
    pub fn insert(&self, id: ContainerId, commands: mpsc::Sender<Command>) {
        self.entries().insert(id, Entry::Task(commands));
    }

    /// Frees the id.
    pub fn remove(&self, id: &ContainerId) {
        let mut entries = self.entries();
        entries.remove(id);
        entries.shrink_to_fit();
        if entries.is_empty() {
            self.emptied.notify_waiters();
        }
    }

    /// Returns when the last task has gone.
    pub async fn emptied(&self) {
        let emptied = self.emptied.notified();
        if !self.is_empty() {
            emptied.await;
        }
    }

    /// Where the commands of the task `id` go.
    ///
    /// # Errors
    /// `NotFound` where there is no such task, or not yet.
    pub fn commands(&self, id: &ContainerId) -> Result<mpsc::Sender<Command>, ShimError> {
        match self.entries().get(id) {
            Some(Entry::Task(commands)) => Ok(commands.clone()),
            Some(Entry::Reserved) | None => Err(ShimError::NotFound {
                what: "task",
                id: id.to_string(),
            }),
        }
    }

    /// Whether no task is there or being created.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }
}
