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

#[derive(Debug, Default)]
struct Entries {
    tasks: HashMap<ContainerId, Entry>,
    closed: bool,
}

/// The tasks; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    entries: Arc<Mutex<Entries>>,
    emptied: Arc<Notify>,
}

impl Registry {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        // No code under the lock can panic, so a poisoned map is whole.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the id for a task that is to be created.
    ///
    /// # Errors
    /// `AlreadyExists` where it is taken; `ShuttingDown` after [`Registry::close`].
    pub fn reserve(&self, id: &ContainerId) -> Result<(), ShimError> {
        let mut entries = self.entries();
        if entries.closed {
            return Err(ShimError::ShuttingDown);
        }
        if entries.tasks.contains_key(id) {
            return Err(ShimError::AlreadyExists {
                what: "task",
                id: id.to_string(),
            });
        }
        entries.tasks.insert(id.clone(), Entry::Reserved);
        Ok(())
    }

    /// Puts the created task under its id.
    pub fn insert(&self, id: ContainerId, commands: mpsc::Sender<Command>) {
        self.entries().tasks.insert(id, Entry::Task(commands));
    }

    /// Frees the id.
    pub fn remove(&self, id: &ContainerId) {
        let mut entries = self.entries();
        entries.tasks.remove(id);
        entries.tasks.shrink_to_fit();
        if entries.tasks.is_empty() {
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
        match self.entries().tasks.get(id) {
            Some(Entry::Task(commands)) => Ok(commands.clone()),
            Some(Entry::Reserved) | None => Err(ShimError::NotFound {
                what: "task",
                id: id.to_string(),
            }),
        }
    }

    /// Where the commands of all tasks go.
    #[must_use]
    pub fn all(&self) -> Vec<mpsc::Sender<Command>> {
        let task = |entry: &Entry| match entry {
            Entry::Task(commands) => Some(commands.clone()),
            Entry::Reserved => None,
        };
        self.entries().tasks.values().filter_map(task).collect()
    }

    /// Takes no further task, if there is none: a server that is to end must not be given one any more. Tells whether.
    #[must_use]
    pub fn close(&self) -> bool {
        let mut entries = self.entries();
        entries.closed = entries.closed || entries.tasks.is_empty();
        entries.closed
    }

    /// Whether no task is there or being created.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries().tasks.is_empty()
    }
}
