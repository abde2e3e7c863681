//! One container in memory: what it was asked to be, what it is, who works on it, and the connection to its shim.
//!
//! What is on disk is announced after it is there: [`Container::commit`] and [`Container::observe`] write the
//! checkpoint first, change the memory, and only then wake who watches.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::StoreError;
use super::layout::Files;
use super::meta::ContainerMeta;
use super::names::NameLease;
use super::status::{Checkpoint, ContainerStatus};
use crate::supervisor::shim_client::ShimClient;
use crate::types::ContainerId;
use crate::types::error::chain;

/// How long the first attempt to write a checkpoint again waits; doubled each time up to [`SAVE_AGAIN_MOST`].
const SAVE_AGAIN: Duration = Duration::from_millis(250);
const SAVE_AGAIN_MOST: Duration = Duration::from_secs(30);

/// What is being done to a container by a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nothing.
    Idle,
    /// StartContainer.
    Starting,
    /// StopContainer.
    Stopping,
    /// RemoveContainer.
    Removing,
}

/// Whether the shim that a restart left behind was asked already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// Not yet: the status is the one on disk.
    Pending,
    /// It was, or there was nothing to ask.
    Done,
}

/// Whether the disk has what is shown, or is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// It has.
    Yes,
    /// It did not take it: it is written again and again. Until then an end is kept in STATE, where the next start finds it.
    NotYet,
}

/// One container.
#[derive(Debug)]
pub struct Container {
    id: ContainerId,
    /// `None` where container.json is missing or cannot be believed: such a container can be listed, stopped, removed.
    meta: Option<ContainerMeta>,
    files: Files,
    status: watch::Sender<Checkpoint>,
    /// What the disk has, or will have when it takes it: other than `status` only where that is in doubt.
    recorded: Mutex<Checkpoint>,
    saved: watch::Sender<Saved>,
    recovery: watch::Sender<Recovery>,
    phase: Mutex<Phase>,
    shim: Mutex<Option<ShimClient>>,
    /// Whether its shim told of an OOM kill in it.
    oom_killed: AtomicBool,
    /// Held over each change, so that disk and memory change in the same order.
    changing: tokio::sync::Mutex<()>,
    /// Held by start, stop, remove and recovery while they work on the task.
    task: tokio::sync::Mutex<()>,
    _name: Option<NameLease>,
}

/// A phase that lasts until this is dropped.
#[derive(Debug)]
pub struct PhaseGuard(Arc<Container>);

impl Drop for PhaseGuard {
    fn drop(&mut self) {
        *lock(&self.0.phase) = Phase::Idle;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Container {
    /// A container whose checkpoint is in `files`. What is not `saved` is written by [`Container::pay`].
    #[must_use]
    pub fn new(
        id: ContainerId,
        files: Files,
        meta: Option<ContainerMeta>,
        (checkpoint, saved): (Checkpoint, Saved),
        name: Option<NameLease>,
        recovery: Recovery,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            meta,
            files,
            status: watch::Sender::new(checkpoint.clone()),
            recorded: Mutex::new(checkpoint),
            saved: watch::Sender::new(saved),
            recovery: watch::Sender::new(recovery),
            phase: Mutex::new(Phase::Idle),
            shim: Mutex::new(None),
            oom_killed: AtomicBool::new(false),
            changing: tokio::sync::Mutex::new(()),
            task: tokio::sync::Mutex::new(()),
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
    pub const fn meta(&self) -> Option<&ContainerMeta> {
        self.meta.as_ref()
    }

    /// Its directory below ROOT.
    #[must_use]
    pub fn dir(&self) -> &std::path::Path {
        &self.files.dir
    }

    /// What it is.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        self.status.borrow().clone()
    }

    /// What it is, without its limits.
    #[must_use]
    pub fn status(&self) -> ContainerStatus {
        self.status.borrow().status.clone()
    }

    /// Tells of every change.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Checkpoint> {
        self.status.subscribe()
    }

    /// What is being done to it.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *lock(&self.phase)
    }

    /// Begins `phase`, which ends when the guard is dropped.
    ///
    /// # Errors
    /// The phase that is going on instead. A stop may begin again while one is going on: both wait for the same end.
    pub fn begin(self: &Arc<Self>, phase: Phase) -> Result<PhaseGuard, Phase> {
        let mut current = lock(&self.phase);
        match *current {
            Phase::Idle => {
                *current = phase;
                Ok(PhaseGuard(Arc::clone(self)))
            }
            other => Err(other),
        }
    }

    /// Excludes others that work on the task: start, stop, remove, recovery.
    pub async fn lock_task(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.task.lock().await
    }

    /// The connection to its shim, while there is one.
    #[must_use]
    pub fn shim(&self) -> Option<ShimClient> {
        lock(&self.shim).clone()
    }

    /// Sets the connection to its shim.
    pub fn set_shim(&self, shim: Option<ShimClient>) {
        *lock(&self.shim) = shim;
    }

    /// Notes that its shim told of an OOM kill in it.
    pub fn set_oom_killed(&self) {
        self.oom_killed.store(true, Ordering::Relaxed);
    }

    /// Whether its shim told of an OOM kill in it.
    #[must_use]
    pub fn was_oom_killed(&self) -> bool {
        self.oom_killed.load(Ordering::Relaxed)
    }

    /// Says that its shim was asked.
    pub fn recovered(&self) {
        self.recovery.send_replace(Recovery::Done);
    }

    /// Whether its shim was asked since the supervisor started.
    #[must_use]
    pub fn recovery(&self) -> Recovery {
        *self.recovery.borrow()
    }

    /// Waits until its shim was asked; recovery bounds that by a deadline of its own.
    pub async fn until_recovered(&self) {
        let mut recovery = self.recovery.subscribe();
        // The sender is ours and lives as long as we do.
        drop(recovery.wait_for(|state| *state == Recovery::Done).await);
    }

    /// Changes the checkpoint on disk and then in memory. `change` says to what, or `None` for no change.
    ///
    /// # Errors
    /// The disk's; then nothing has changed.
    pub async fn commit(
        self: &Arc<Self>,
        change: impl FnOnce(&Checkpoint) -> Option<Checkpoint> + Send,
    ) -> Result<Option<Checkpoint>, StoreError> {
        let _changing = self.changing.lock().await;
        let Some(next) = change(&self.status.borrow()) else {
            return Ok(None);
        };
        let next = self.settled(next);
        self.save(next.clone()).await?;
        *lock(&self.recorded) = next.clone();
        self.status.send_replace(next.clone());
        Ok(Some(next))
    }

    /// Changes the checkpoint in memory for something that has happened, whether or not the disk takes it: what it
    /// does not take is written again until it does. Answers the change, `None` where `change` saw none to make.
    pub async fn observe(
        self: &Arc<Self>,
        change: impl FnOnce(&Checkpoint) -> Option<Checkpoint> + Send,
    ) -> Option<Checkpoint> {
        let _changing = self.changing.lock().await;
        let next = change(&self.status.borrow())?;
        let next = self.settled(next);
        *lock(&self.recorded) = next.clone();
        if let Err(error) = self.save(next.clone()).await {
            log::warn!(container = self.id.as_str(), error:% = chain(&error); "the status cannot be written, it will be tried again");
            self.saved.send_replace(Saved::NotYet);
            self.keep_end(next.clone()).await;
            tokio::spawn(save_again(Arc::downgrade(self)));
        }
        self.status.send_replace(next.clone());
        Some(next)
    }

    /// Shows `status` and leaves the disk as it is: for what cannot be believed now, where the disk may know more.
    pub async fn doubt(&self, status: ContainerStatus) {
        let _changing = self.changing.lock().await;
        self.status
            .send_modify(|checkpoint| checkpoint.status = status);
    }

    /// `next`, with the end that is recorded already, where there is one: it never changes, whatever was in doubt since.
    fn settled(&self, mut next: Checkpoint) -> Checkpoint {
        let recorded = lock(&self.recorded);
        if let (ContainerStatus::Exited { .. }, ContainerStatus::Exited { .. }) =
            (&recorded.status, &next.status)
        {
            next.status = recorded.status.clone();
        }
        next
    }

    /// Whether the disk has what was observed last.
    #[must_use]
    pub fn is_saved(&self) -> bool {
        *self.saved.borrow() == Saved::Yes
    }

    /// Waits until the disk has what was observed last, or nothing is to be written any more: before that, what a task
    /// left may be all that tells the next start of its end.
    pub async fn until_saved(&self) {
        let mut saved = self.saved.subscribe();
        // The sender is ours and lives as long as we do.
        drop(saved.wait_for(|saved| *saved == Saved::Yes).await);
    }

    async fn save(&self, checkpoint: Checkpoint) -> Result<(), StoreError> {
        let path = self.files.dir.join("status.json");
        let kept = (!self.is_saved()).then(|| self.files.end.clone());
        super::blocking("write", path.clone(), move || {
            checkpoint.write(&path)?;
            // What cannot be removed says the same as the disk.
            if let Some(end) = kept {
                drop(std::fs::remove_dir_all(end));
            }
            Ok(())
        })
        .await?;
        self.saved.send_replace(Saved::Yes);
        Ok(())
    }

    /// Keeps an end that ROOT does not take in STATE, which is another file system: what was shown and announced must
    /// be what the next start finds. Anything but an end can be found out again.
    async fn keep_end(&self, checkpoint: Checkpoint) {
        if !matches!(checkpoint.status, ContainerStatus::Exited { .. }) {
            return;
        }
        let end = self.files.end.clone();
        let kept = super::blocking("write", end.clone(), move || {
            std::fs::create_dir_all(&end)?;
            checkpoint.write(&end.join("status.json"))
        });
        if let Err(error) = kept.await {
            log::error!(container = self.id.as_str(), error:% = chain(&error); "the end is nowhere on disk");
        }
    }

    /// Writes what was not saved when this was made; where the disk still does not take it, again and again.
    pub async fn pay(self: &Arc<Self>) {
        if self.is_saved() {
            return;
        }
        let _changing = self.changing.lock().await;
        let checkpoint = lock(&self.recorded).clone();
        if self.save(checkpoint).await.is_err() {
            tokio::spawn(save_again(Arc::downgrade(self)));
        }
    }

    /// Forgets a kept end, with the container.
    ///
    /// # Errors
    /// What the file system answered.
    pub fn forget_end(files: &Files) -> std::io::Result<()> {
        match std::fs::remove_dir_all(&files.end) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Writes the status until the disk takes it, or the container is gone from memory or disk.
async fn save_again(container: std::sync::Weak<Container>) {
    let mut pause = SAVE_AGAIN;
    loop {
        tokio::time::sleep(pause).await;
        let Some(container) = container.upgrade() else {
            return;
        };
        let _changing = container.changing.lock().await;
        let checkpoint = lock(&container.recorded).clone();
        match container.save(checkpoint).await {
            Ok(()) => return,
            Err(_) if !container.files.dir.exists() => {
                container.saved.send_replace(Saved::Yes);
                return;
            }
            Err(error) => {
                log::debug!(container = container.id.as_str(), error:% = chain(&error); "the status cannot be written yet");
            }
        }
        pause = (pause * 2).min(SAVE_AGAIN_MOST);
    }
}
