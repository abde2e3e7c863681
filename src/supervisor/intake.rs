//! What shims tell by themselves, on its way to the containers.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};

use super::context::Supervisor;
use super::exits;
use super::shim_client::events::ShimEvent;
use super::store::{Activity, Checkpoint, Container, ContainerStatus};
use crate::types::{ContainerId, Event};

/// Events that were taken from the shims and wait; when it is full the shims keep theirs.
pub const QUEUE: usize = 256;
/// How many are worked on at a time: each may wait for the disk.
const AT_A_TIME: usize = 64;

/// Handles what comes, until nobody can send any more.
pub async fn run(supervisor: Arc<Supervisor>, mut events: mpsc::Receiver<ShimEvent>) {
    let turns = Arc::new(Semaphore::new(AT_A_TIME));
    while let Some(told) = events.recv().await {
        if told.namespace != supervisor.home.namespace {
            log::debug!(namespace = told.namespace.as_str(); "an event of another's container");
            continue;
        }
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else {
            return;
        };
        let supervisor = Arc::clone(&supervisor);
        tokio::spawn(async move {
            handle(&supervisor, told.event).await;
            drop(turn);
        });
    }
}

async fn handle(supervisor: &Arc<Supervisor>, event: Event) {
    match event {
        Event::Exit {
            container,
            exec: None,
            exit,
        } => {
            if let Some(container) = known(supervisor, &container) {
                exits::announced(supervisor, &container, exit).await;
            }
        }
        Event::Paused { container } => activity(supervisor, &container, Activity::Paused).await,
        Event::Resumed { container } => activity(supervisor, &container, Activity::Running).await,
        Event::Oom { container } => {
            log::info!(container = container.as_str(); "a process was killed for want of memory");
            // Our shim's journal says so too; of another shim's nothing else does.
            if let Ok(container) = supervisor.store.container(container.as_str()) {
                container.set_oom_killed();
            }
        }
        // What the supervisor did itself, or of no meaning for it: an exec's end is waited for by who started it.
        Event::Create { .. }
        | Event::Start { .. }
        | Event::Exit { exec: Some(_), .. }
        | Event::Delete { .. }
        | Event::ExecAdded { .. }
        | Event::ExecStarted { .. }
        | Event::Checkpointed { .. } => (),
    }
}

/// A shim says whole ids, never the beginnings of some.
fn known(supervisor: &Supervisor, id: &ContainerId) -> Option<Arc<Container>> {
    let found = supervisor.store.container(id.as_str()).ok();
    found.filter(|container| container.id() == id)
}

async fn activity(supervisor: &Arc<Supervisor>, id: &ContainerId, now: Activity) {
    let Some(container) = known(supervisor, id) else {
        return;
    };
    // What it was before is of no interest here: the change itself is all that follows.
    drop(container.observe(|before| changed(before, now)).await);
}

fn changed(before: &Checkpoint, now: Activity) -> Option<Checkpoint> {
    let mut after = before.clone();
    match &mut after.status {
        ContainerStatus::Running { activity, .. } if *activity != now => {
            *activity = now;
            Some(after)
        }
        ContainerStatus::Running { .. }
        | ContainerStatus::Created { .. }
        | ContainerStatus::Exited { .. }
        | ContainerStatus::Unknown { .. } => None,
    }
}
