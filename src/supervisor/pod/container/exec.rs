//! ExecSync.

use std::sync::Arc;
use std::time::Duration;

use oci_spec::runtime::Spec;

use super::running;
use crate::supervisor::context::Supervisor;
use crate::supervisor::error::Error;
use crate::supervisor::shim_client::ExecOutput;
use crate::supervisor::spec;
use crate::supervisor::store::{self, Container};
use crate::types::ExecId;

/// How much of each stream is given, in bytes: what a gRPC message of the CRI may hold (containerd's `execSync`).
const MOST_OUTPUT: usize = 7 << 20;

/// ExecSync: runs `command` in the container to its end. `timeout` `None` is without limit.
///
/// # Errors
/// [`Error`]; `DeadlineExceeded` where it was killed after `timeout`.
pub async fn exec_sync(
    _supervisor: &Arc<Supervisor>,
    container: &Arc<Container>,
    command: Vec<String>,
    timeout: Option<Duration>,
) -> Result<ExecOutput, Error> {
    let shim = running(container)?;
    let path = container.dir().join("config.json");
    let read = path.clone();
    let spec: Spec = store::blocking("read", path, move || {
        Ok(serde_json::from_slice(&std::fs::read(&read)?)?)
    })
    .await?;
    let process = serde_json::to_vec(&spec::exec_process(&spec, command)?)
        .map_err(|error| Error::invalid("cmd", error.to_string()))?;
    let id = store::blocking("draw", "/dev/urandom".into(), store::new_id).await?;
    let exec =
        ExecId::new(id.as_str()).map_err(|error| Error::invalid("exec", error.to_string()))?;
    Ok(shim.exec_sync(&exec, process, timeout, MOST_OUTPUT).await?)
}
