//! Calls of the OCI runtime from the server: started and awaited through the reaper, each with a deadline.

use std::path::PathBuf;
use std::time::Duration;

use log::{debug, warn};
use tokio::time::timeout;

use super::reaper::{Child, Reaper};
use crate::bundle::layout::Bundle;
use crate::oci::driver::CallStdio;
use crate::oci::{Command, OciError, OciRuntime};
use crate::types::{ContainerId, ExitStatus, Pid, Signal};

/// How long a killed OCI runtime may take to be gone.
const KILL_GRACE: Duration = Duration::from_secs(5);

/// The OCI runtime of one container.
pub struct Caller {
    /// Starts and reaps.
    pub reaper: Reaper,
    /// Which runtime, with which global options.
    pub runtime: OciRuntime,
    /// The container.
    pub id: ContainerId,
    /// Its bundle.
    pub bundle: Bundle,
    /// How long one call may take.
    pub limit: Duration,
}

impl Caller {
    /// Makes one call and waits for its end; gives what it printed, where that is captured. A bundle that is gone is no
    /// reason not to: the runtime keeps its state elsewhere, and what runs must be killable and what has ended removable.
    ///
    /// # Errors
    /// [`OciError`]; at the deadline the runtime is killed, whatever it had done by then.
    pub async fn call(&self, command: &Command, stdio: CallStdio) -> Result<Vec<u8>, OciError> {
        // Neither a program's working directory nor its log can be in what is not there.
        let bundle = (!self.bundle.is_gone()).then(|| self.bundle.dir());
        let (spawn, call) = self.runtime.prepare(command, &self.id, bundle, stdio)?;
        debug!(container = self.id.as_str(), operation = call.operation; "call the OCI runtime");
        let mut child = self
            .reaper
            .spawn(spawn)
            .map_err(|source| call.not_started(source))?;
        match timeout(self.limit, &mut child.exit).await {
            Ok(exit) => call.finish(exit.map_or(ExitStatus::UNKNOWN, |exit| exit.record.status)),
            Err(_) => {
                self.kill(&mut child).await;
                Err(OciError::TimedOut {
                    operation: call.operation,
                    limit: self.limit,
                })
            }
        }
    }

    async fn kill(&self, child: &mut Child) {
        if let Err(error) = self.reaper.signal(child.pid, Signal::KILL) {
            return warn!(pid = child.pid.get(); "kill the OCI runtime: {error}");
        }
        if timeout(KILL_GRACE, &mut child.exit).await.is_err() {
            warn!(pid = child.pid.get(); "the OCI runtime outlives SIGKILL");
        }
    }
}

/// The pid that an OCI runtime wrote to `path`.
///
/// # Errors
/// [`OciError::NoPid`] where there is none.
pub fn read_pid(operation: &'static str, path: PathBuf) -> Result<Pid, OciError> {
    let read = crate::sys::file::read_bounded(&path, 32).ok();
    let text = read.and_then(|bytes| String::from_utf8(bytes).ok());
    let pid = text
        .and_then(|text| text.trim().parse().ok())
        .and_then(Pid::new);
    pid.ok_or(OciError::NoPid { operation, path })
}
