//! The start of the supervisor, beside the calls that it serves already: every container's shim is asked, every pod
//! restored, and what belongs to nobody removed last.
//!
//! Each container is a task of its own. The bound is on those that work: one that takes longer than `QUICK` most
//! likely waits for its shim, and gives its turn to the next, so that no number of silent shims delays another container.
//! After `LIMIT` its commands are let through, whatever it still waits for.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::classify::Reported;
use super::load::{Loaded, Plan};
use super::reconcile::reconcile;
use super::{orphans, pods, retry};
use crate::supervisor::context::Supervisor;
use crate::supervisor::store::{Container, ContainerStatus};
use crate::supervisor::{crash, remove_when_ended};

/// How long a container's commands wait for its recovery at most.
const LIMIT: Duration = Duration::from_secs(10);
/// How long a shim's answer is waited for. Less than [`LIMIT`]: its absence has to be noted down.
const ANSWER_LIMIT: Duration = Duration::from_secs(9);
/// How many containers are worked on at a time.
const AT_A_TIME: usize = 32;
/// How long one counts as worked on.
const QUICK: Duration = Duration::from_millis(250);

/// Carries out a plan. Ends when every container was asked and what belongs to nobody is gone.
pub async fn run(supervisor: Arc<Supervisor>, plan: Plan) {
    let turns = Arc::new(Semaphore::new(AT_A_TIME));
    let count = plan.containers.len();
    let mut containers = JoinSet::new();
    for loaded in plan.containers {
        containers.spawn(recover(Arc::clone(&supervisor), loaded, Arc::clone(&turns)));
    }
    let mut restored = JoinSet::new();
    for pod in &plan.pods {
        restored.spawn(pods::restore(Arc::clone(&supervisor), Arc::clone(pod)));
    }
    while let Some(ended) = containers.join_next().await {
        if let Err(error) = ended {
            log::error!(error:% = error; "the recovery of a container failed");
        }
    }
    let took = plan.began.elapsed();
    supervisor.metrics.recovery_took(took);
    log::info!(containers = count, milliseconds = took.as_millis(); "every container was asked");
    while let Some(ended) = restored.join_next().await {
        if let Err(error) = ended {
            log::error!(error:% = error; "the restoration of a pod failed");
        }
    }
    pods::undo(&supervisor, &plan.pods).await;
    crash::point("recover.orphans");
    orphans::remove(&supervisor, plan.orphans).await;
    remove_when_ended::after_recovery(&supervisor, &plan.pods);
    log::info!(milliseconds = plan.began.elapsed().as_millis(); "the recovery has ended");
}

/// Lets a container's commands through when it is dropped, however its recovery ends.
struct Recovering(Arc<Container>);

impl Drop for Recovering {
    fn drop(&mut self) {
        self.0.recovered();
    }
}

async fn recover(supervisor: Arc<Supervisor>, loaded: Loaded, turns: Arc<Semaphore>) {
    let recovering = Recovering(Arc::clone(&loaded.container));
    // Nobody closes it.
    let turn = turns.acquire().await;
    let deadline = Instant::now() + LIMIT;
    let mut work = tokio::spawn(work(Arc::clone(&supervisor), loaded));
    let mut ended = timeout(QUICK, &mut work).await;
    drop(turn);
    if ended.is_err() {
        ended = timeout_at(deadline, &mut work).await;
    }
    let id = recovering.0.id().as_str();
    match ended {
        Ok(Ok(outcome)) => supervisor.metrics.recovered(outcome),
        Ok(Err(error)) => {
            log::error!(container = id, error:% = error; "the container's recovery failed");
        }
        Err(_) => {
            log::warn!(container = id; "the container's recovery goes on, its commands are let through");
            supervisor.metrics.recovered("overdue");
        }
    }
}

/// Asks and reconciles; answers the metric's word for what came of it.
async fn work(supervisor: Arc<Supervisor>, loaded: Loaded) -> &'static str {
    let _task = loaded.container.lock_task().await;
    loaded.container.pay().await;
    let question = retry::question(&supervisor, &loaded);
    let answer = retry::answer(&question, &loaded, Instant::now() + ANSWER_LIMIT).await;
    crash::gate("recover.asked").await;
    let is_unreachable = matches!(answer.reported, Reported::Unreachable(_));
    let verdict = reconcile(&supervisor, &loaded, answer).await;
    match verdict.status {
        _ if is_unreachable => "unreachable",
        ContainerStatus::Created { .. } => "created",
        ContainerStatus::Running { .. } => "running",
        ContainerStatus::Exited { .. } => "exited",
        ContainerStatus::Unknown { .. } => "unknown",
    }
}
