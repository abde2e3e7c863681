//! Signals to a container: by the OCI runtime, which knows whom they are for; and where it cannot be run, by the shim itself,
//! so that a container can be stopped with no descriptor, process or memory to spare.

use std::rc::Rc;
use std::time::Duration;

use log::{info, warn};
use tokio::time::sleep;

use super::facts::Fact;
use super::process::answer;
use super::work::{simple, tell};
use super::{Reply, Shared};
use crate::cgroup::{self, Cgroup};
use crate::oci::command::KillScope;
use crate::oci::{Command, FailureKind, OciError};
use crate::shim::error::ShimError;
use crate::types::error::chain;
use crate::types::{Pid, Signal};

/// How often processes that init left are looked for, where the OCI runtime cannot be run, and how long each time waits.
const LOOKS: u32 = 50;
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Whom a signal is for.
pub struct Target {
    /// The container's init, which is not reaped.
    pub init: Pid,
    /// The container's cgroup, where it was found.
    pub cgroup: Option<Rc<Cgroup>>,
    /// Whether the kernel ends every process with init.
    pub own_pid_namespace: bool,
}

/// Sends a signal.
pub async fn kill_init(
    shared: Rc<Shared>,
    target: Target,
    signal: Signal,
    scope: KillScope,
    reply: Reply<()>,
) {
    let sent = simple(&shared, Command::Kill { signal, scope }).await;
    let sent = match sent {
        Err(ShimError::Oci(error)) if may_do_itself(&error, signal) => {
            match directly(&shared, &target, signal, scope) {
                Ok(()) => {
                    warn!(container = shared.caller.id.as_str(), signal = signal.get(); "signalled without the OCI runtime: {}", chain(&error));
                    Ok(())
                }
                Err(direct) => {
                    warn!(container = shared.caller.id.as_str(), signal = signal.get(); "signal without the OCI runtime: {direct}");
                    Err(error.into())
                }
            }
        }
        other => other,
    };
    answer(reply, sent);
}

/// Whether a signal that the OCI runtime failed to send is the shim's to send: any that surely was not sent, and SIGKILL,
/// since a second one changes nothing.
fn may_do_itself(error: &OciError, signal: Signal) -> bool {
    let may_repeat = signal == Signal::KILL && error.kind() == FailureKind::Other;
    error.is_before_start() || may_repeat
}

/// # Errors
/// The first that the kernel answered. That init has ended is no error where others are signalled too: they may
/// outlive it.
fn directly(
    shared: &Shared,
    target: &Target,
    signal: Signal,
    scope: KillScope,
) -> Result<(), String> {
    let everybody =
        scope == KillScope::All || (signal == Signal::KILL && !target.own_pid_namespace);
    let sent = match (&target.cgroup, everybody) {
        // Init is one of them.
        (Some(cgroup), true) => cgroup::signal_all(cgroup, signal).map_err(|error| chain(&error)),
        (Some(_) | None, _) => {
            let sent = shared.caller.reaper.signal(target.init, signal);
            sent.map_err(|error| error.to_string())
        }
    };
    // A frozen process dies when it is thawed (`admin-guide/cgroup-v1/freezer-subsystem.rst`).
    if signal == Signal::KILL
        && let Some(cgroup) = &target.cgroup
        && let Err(error) = cgroup::thaw(cgroup)
    {
        warn!(container = shared.caller.id.as_str(); "thaw: {}", chain(&error));
    }
    sent
}

/// Kills what init's pid namespace does not.
pub async fn kill_all(shared: Rc<Shared>, cgroup: Option<Rc<Cgroup>>) {
    let command = Command::Kill {
        signal: Signal::KILL,
        scope: KillScope::All,
    };
    match simple(&shared, command).await {
        Ok(()) => {}
        Err(ShimError::Oci(error)) if error.kind() != FailureKind::Other => {}
        Err(error) => {
            warn!(container = shared.caller.id.as_str(); "kill what init left by the OCI runtime: {}", error.chain());
            if let Some(cgroup) = &cgroup {
                kill_the_rest(&shared, cgroup).await;
            }
        }
    }
    tell(&shared, Fact::OthersKilled);
}

/// Kills what is in the cgroup until nothing is, or the looks are used up.
async fn kill_the_rest(shared: &Shared, cgroup: &Cgroup) {
    let mut last = None;
    for _ in 0..LOOKS {
        let killed = cgroup::signal_all(cgroup, Signal::KILL);
        let thawed = cgroup::thaw(cgroup);
        last = killed.and(thawed).err();
        if matches!(cgroup.is_empty(), Ok(true)) {
            return info!(container = shared.caller.id.as_str(); "killed what init left without the OCI runtime");
        }
        sleep(LOOK_INTERVAL).await;
    }
    let reason = last.map_or_else(|| "they do not die".to_owned(), |error| chain(&error));
    warn!(container = shared.caller.id.as_str(); "processes outlive their init: {reason}");
}
