//! What CRI asks of containers, one file a command. All are run to their end, whoever waits for the answer.

mod create;
mod exec;
mod joins;
mod remove;
mod silent;
mod start;
mod stop;
mod update;

use std::sync::Arc;

pub use create::create;
pub use exec::exec_sync;
pub use remove::remove;
pub use silent::end_silent_shim;
pub use start::start;
pub use stop::{kill, stop};
pub use update::{reopen_log, update};

use crate::supervisor::error::Error;
use crate::supervisor::shim_client::ShimClient;
use crate::supervisor::store::{Container, ContainerMeta, ContainerStatus, Phase};

fn subject(container: &Container) -> String {
    format!("container {}", container.id())
}

/// The state as CRI spells it.
const fn word(status: &ContainerStatus) -> &'static str {
    match status {
        ContainerStatus::Created { .. } => "CREATED",
        ContainerStatus::Running { .. } => "RUNNING",
        ContainerStatus::Exited { .. } => "EXITED",
        ContainerStatus::Unknown { .. } => "UNKNOWN",
    }
}

fn wrong_state(container: &Container, needed: &'static str) -> Error {
    Error::WrongState {
        subject: subject(container),
        state: word(&container.status()).to_owned(),
        needed,
    }
}

fn busy(container: &Container, phase: Phase) -> Error {
    let doing = match phase {
        Phase::Idle => "idle",
        Phase::Starting => "being started",
        Phase::Stopping => "being stopped",
        Phase::Removing => "being removed",
    };
    Error::WrongState {
        subject: subject(container),
        state: doing.to_owned(),
        needed: "call again when that is done",
    }
}

/// What the container was asked to be, where it can be read.
fn meta(container: &Container) -> Result<&ContainerMeta, Error> {
    container.meta().ok_or_else(|| Error::WrongState {
        subject: subject(container),
        state: "without readable metadata".to_owned(),
        needed: "it can only be stopped and removed",
    })
}

/// The shim of a running container.
fn running(container: &Arc<Container>) -> Result<ShimClient, Error> {
    match (container.status(), container.shim()) {
        (ContainerStatus::Running { .. }, Some(shim)) => Ok(shim),
        _ => Err(wrong_state(container, "it must be RUNNING")),
    }
}
