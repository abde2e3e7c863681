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
    changed: Arc<Notify>,
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
        self.changed.notify_waiters();
    }

    /// Frees the id.
    pub fn remove(&self, id: &ContainerId) {
        let mut entries = self.entries();
        entries.tasks.remove(id);
        entries.tasks.shrink_to_fit();
        self.changed.notify_waiters();
    }

    /// Returns when a task has come or an id was freed.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Returns when the last task has gone.
    pub async fn emptied(&self) {
        loop {
            let changed = self.changed.notified();
            if self.is_empty() {
                return;
            }
            changed.await;
        }
    }

    /// Where the commands of the task `id` go. While it is being created this waits: a daemon that was restarted during
    /// Create asks at once, and takes "not found" for a shim that it has to be rid of.
    ///
    /// # Errors
    /// `NotFound` where there is no such task.
    pub async fn commands(&self, id: &ContainerId) -> Result<mpsc::Sender<Command>, ShimError> {
        loop {
            let changed = self.changed.notified();
            match self.entries().tasks.get(id) {
                Some(Entry::Task(commands)) => return Ok(commands.clone()),
                Some(Entry::Reserved) => {}
                None => {
                    return Err(ShimError::NotFound {
                        what: "task",
                        id: id.to_string(),
                    });
                }
            }
            changed.await;
        }
    }

    /// Every task and where its commands go, which is nowhere while it is being created.
    #[must_use]
    pub fn tasks(&self) -> Vec<(ContainerId, Option<mpsc::Sender<Command>>)> {
        let commands = |entry: &Entry| match entry {
            Entry::Task(commands) => Some(commands.clone()),
            Entry::Reserved => None,
        };
        let entries = self.entries();
        entries
            .tasks
            .iter()
            .map(|(id, entry)| (id.clone(), commands(entry)))
            .collect()
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
