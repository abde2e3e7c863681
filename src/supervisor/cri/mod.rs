//! CRI v1, one thin method a call: decode, call [`super::pod`] or the image store, encode. Nothing is decided here.
//!
//! ```text
//! a read     answers from the store, at once
//! all        one line in the log for each that is refused or fails: [`CallLog`]
//! a command  find (waits while the disk is still being loaded) -> wait until the container's shim was asked ->
//!            its own task, which goes on when the caller hangs up -> answer, or DeadlineExceeded
//! ```

pub mod authority;
mod call_log;
mod call_subject;
pub mod checked;
pub mod control;
pub mod convert;
mod image;
mod info;
mod runtime;
mod stats;
mod unknown_fields;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::RwLock;
use tonic::{Response, Status};

pub use call_log::CallLog;

use super::context::Supervisor;
use super::error::Error;
use super::store::{Container, LookupError, Pod};

/// How long a command waits until a restarted supervisor has asked the container's shim.
const RECOVERY_LIMIT: Duration = Duration::from_secs(10);

/// What the calls of all services are answered from.
#[derive(Debug, Clone)]
pub struct Service {
    supervisor: Arc<Supervisor>,
    layers: Arc<stats::WritableLayers>,
    /// Read while a container is made, written while an image is forgotten.
    making: Arc<RwLock<()>>,
}

impl Service {
    /// Answers from `supervisor`.
    #[must_use]
    pub fn new(supervisor: Arc<Supervisor>) -> Self {
        Self {
            supervisor,
            layers: Arc::default(),
            making: Arc::default(),
        }
    }

    /// The container that `id` names.
    fn container(&self, id: &str) -> Result<Arc<Container>, Error> {
        named("container_id", id)?;
        Ok(self.supervisor.store.container(id)?)
    }

    /// The pod that `id` names.
    fn pod(&self, id: &str) -> Result<Arc<Pod>, Error> {
        named("pod_sandbox_id", id)?;
        Ok(self.supervisor.store.pod(id)?)
    }

    /// The container that `id` names, after its shim was asked since the start.
    async fn recovered(&self, id: &str) -> Result<Arc<Container>, Error> {
        let container = self.container(id)?;
        until_recovered(&container).await?;
        Ok(container)
    }

    /// The pod that `id` names, after the shims of its containers were asked since the start.
    async fn recovered_pod(&self, id: &str) -> Result<Arc<Pod>, Error> {
        let pod = self.pod(id)?;
        for container in self.supervisor.store.containers_of(pod.id()) {
            until_recovered(&container).await?;
        }
        Ok(pod)
    }
}

fn named(field: &'static str, id: &str) -> Result<(), Error> {
    if id.is_empty() {
        return Err(Error::invalid(field, "must not be empty"));
    }
    Ok(())
}

async fn until_recovered(container: &Container) -> Result<(), Error> {
    let recovered = tokio::time::timeout(RECOVERY_LIMIT, container.until_recovered()).await;
    recovered.map_err(|_| Error::Deadline {
        operation: format!("recovery of container {}", container.id()),
        seconds: RECOVERY_LIMIT.as_secs(),
    })
}

/// What is not there any more needs no stop and no removal: CRI's StopContainer, RemoveContainer and their like answer
/// success then.
fn present<T>(found: Result<Arc<T>, Error>) -> Result<Option<Arc<T>>, Error> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(Error::Lookup(LookupError::NotFound { .. })) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Runs a call that changes something, in a task of its own: a caller that hangs up, or whose patience ends, must not
/// leave it half done. After `limit` the caller is told that it takes too long; the work goes on to its own end.
async fn command<T: Send + 'static>(
    call: &'static str,
    limit: Duration,
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<Response<T>, Status> {
    match tokio::time::timeout(limit, tokio::spawn(work)).await {
        Ok(Ok(done)) => done.map(Response::new).map_err(Status::from),
        Ok(Err(ended)) => Err(Status::internal(format!(
            "{call}: ended unfinished: {ended}"
        ))),
        Err(_) => Err(Error::Deadline {
            operation: call.to_owned(),
            seconds: limit.as_secs(),
        }
        .into()),
    }
}

/// The status of a call that is not supported.
fn unsupported(call: &'static str) -> Status {
    Error::Unsupported(call.to_owned()).into()
}
