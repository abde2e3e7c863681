//! A shim that did not answer is asked again, more and more rarely, until it answers, its container has gone, or somebody
//! else has settled what became of it. Slow is not dead: nothing is deleted for the lack of an answer.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::ask::{Answer, Question};
use super::classify::{Reported, Seen};
use super::load::Loaded;
use super::reconcile::reconcile;
use crate::supervisor::context::Supervisor;
use crate::supervisor::store::{Container, ContainerStatus, Phase};

/// How long the first pause is; doubled each time up to [`MOST`].
const FIRST: Duration = Duration::from_millis(500);
const MOST: Duration = Duration::from_secs(10);
/// How long an answer is waited for, with nothing held up by it.
const WITHIN: Duration = Duration::from_secs(5);
/// How long a second answer is waited for, with the container's commands held up.
const SOON: Duration = Duration::from_secs(1);

/// Asks again, in a task of its own.
pub fn spawn(supervisor: &Arc<Supervisor>, loaded: &Loaded) {
    let supervisor = Arc::clone(supervisor);
    // Weak: a container that was removed is not kept for this, nor is its name.
    let container = Arc::downgrade(&loaded.container);
    let seen = loaded.seen.clone();
    tokio::spawn(async move {
        let mut pause = FIRST;
        loop {
            sleep(pause).await;
            if attempt(&supervisor, &container, &seen).await == Next::Done {
                return;
            }
            pause = (pause * 2).min(MOST);
        }
    });
}

/// Whether to go on.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Again,
    Done,
}

async fn attempt(supervisor: &Arc<Supervisor>, container: &Weak<Container>, seen: &Seen) -> Next {
    let Some(container) = container.upgrade() else {
        return Next::Done;
    };
    let loaded = Loaded {
        container,
        seen: seen.clone(),
    };
    if is_settled(supervisor, &loaded) {
        return Next::Done;
    }
    let question = question(supervisor, &loaded);
    if is_unreachable(&question.ask(Instant::now() + WITHIN).await) {
        return Next::Again;
    }
    // It answers. Only what it answers to the one who holds the lock is acted on.
    let _task = loaded.container.lock_task().await;
    if is_settled(supervisor, &loaded) {
        return Next::Done;
    }
    let answer = answer(&question, &loaded, Instant::now() + SOON).await;
    if is_unreachable(&answer) {
        return Next::Again;
    }
    reconcile(supervisor, &loaded, answer).await;
    Next::Done
}

fn is_unreachable(answer: &Answer) -> bool {
    matches!(answer.reported, Reported::Unreachable(_))
}

/// What its shim says that can be acted on, by whoever holds the container's task lock.
pub(super) async fn answer(question: &Question, loaded: &Loaded, deadline: Instant) -> Answer {
    let answer = question.ask(deadline).await;
    match loaded.now() {
        Seen::Known(ContainerStatus::Created { .. }) | Seen::Lost { .. } => {
            question.certain(answer, deadline).await
        }
        // Its start was answered: none goes on.
        Seen::Known(
            ContainerStatus::Running { .. }
            | ContainerStatus::Exited { .. }
            | ContainerStatus::Unknown { .. },
        ) => answer,
    }
}

/// What is to be asked of a container's shim.
pub(super) fn question(supervisor: &Supervisor, loaded: &Loaded) -> Question {
    let id = loaded.container.id().clone();
    Question {
        bundle: supervisor.store.layout().bundle(&id),
        id,
        started_at: loaded.seen.started_at(),
    }
}

/// Whether it has gone, is being removed, or was stopped by a command, which then cleans up too.
fn is_settled(supervisor: &Supervisor, loaded: &Loaded) -> bool {
    let id = loaded.container.id();
    let current = supervisor.store.container(id.as_str());
    let is_there = current.is_ok_and(|current| Arc::ptr_eq(&current, &loaded.container));
    let has_ended = |status: &ContainerStatus| matches!(status, ContainerStatus::Exited { .. });
    let had_ended = matches!(&loaded.seen, Seen::Known(status) if has_ended(status));
    !is_there
        || loaded.container.phase() == Phase::Removing
        || (has_ended(&loaded.container.status()) && !had_ended)
}
