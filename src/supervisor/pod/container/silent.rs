//! Ending a container whose shim does not answer: stopped by SIGSTOP, in a debugger, or hung. Slow is not dead, so this is
//! only for calls that ask for the end, and the shim itself stays until its container or pod is given up.
//!
//! ```text
//! stop    signal by pidfd -> grace -> SIGKILL by pidfd, and to the whole cgroup -> init is dead
//!           the shim answers again -----------> its own record
//!           the exit journal has the end -----> that
//!           the kernel tells: zombie, pidfd --> its exit code, at the time when the end was seen here
//!           nothing does ---------------------> 255, "Unknown"
//! remove  SIGKILL to the process that listens on the shim's socket; then as with every dead shim
//! ```
//!
//! A shim that is continued later finds its container ended: its TaskExit and its answer to Wait change nothing
//! ([`exits::ended`] takes the first end only), and the Wait cleans up after it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::time::timeout;

use super::stop::{AFTER_KILL, has_ended};
use super::subject;
use crate::bundle::{Bundle, Read, endpoint};
use crate::cgroup::{Cgroup, Roots};
use crate::supervisor::context::Supervisor;
use crate::supervisor::error::Error;
use crate::supervisor::exits::{self, Ended};
use crate::supervisor::shim_client::{ShimClient, ShimError};
use crate::supervisor::store::{self, Container, ContainerStatus, ExitCause};
use crate::sys::pidfd::{self, Pidfd};
use crate::sys::readiness::Watched;
use crate::sys::{file, listener, proc, socket};
use crate::types::error::chain;
use crate::types::{ExitStatus, Pid, ProcessIdentity, Signal, Timestamp};

/// How long Kill may take before the shim is asked for its task's state, which it knows without its OCI runtime.
const SLOW: Duration = Duration::from_secs(1);
/// How long that answer may take, before a stop goes on without it.
const ANSWERS_WITHIN: Duration = Duration::from_millis(2500);
/// How long the answer may take after init has ended: a shim that goes on by then records the end itself.
const ANSWERS_AT_ONCE: Duration = Duration::from_millis(500);
/// How long the answer may take before the shim is killed, with what it has not written yet of its container's output.
const ANSWERS_OR_DIES: Duration = Duration::from_secs(5);
/// How long the processes of a killed cgroup may take to be gone.
const CGROUP_LIMIT: Duration = Duration::from_secs(5);
/// How long a killed shim may take to be gone.
const SHIM_LIMIT: Duration = Duration::from_secs(5);

/// What there is of a container without its shim.
struct Remains {
    init: Option<ProcessIdentity>,
    /// `None` where init does not run.
    pidfd: Option<Pidfd>,
    cgroup: Option<Cgroup>,
}

/// Ends the container without its shim: by `polite`, a signal and how long init has after it, then by SIGKILL.
///
/// # Errors
/// [`Error::Deadline`] where a process outlives SIGKILL, being in an uninterruptible wait; may be called again.
pub(super) async fn end(
    supervisor: &Arc<Supervisor>,
    container: &Arc<Container>,
    polite: Option<(Signal, Duration)>,
) -> Result<(), Error> {
    log::warn!(container = container.id().as_str(); "the container does not end by way of its shim: it is ended by pidfd and cgroup");
    if matches!(container.status(), ContainerStatus::Unknown { .. }) {
        // A shim that was silent when the supervisor started may have no monitor yet.
        exits::monitor(supervisor, container);
    }
    let remains = look(supervisor, container).await?;
    let mut died_at = None;
    if let (Some((signal, grace)), Some(init)) = (polite, &remains.pidfd) {
        // That init has ended meanwhile is no error, and the next line sees it.
        if let Err(error) = init.signal(signal) {
            log::warn!(container = container.id().as_str(), signal = signal.get(), error:% = error; "the stop signal cannot be sent");
        }
        died_at = death(init, grace).await?;
    }
    let remains = kill(container, remains).await?;
    if let (Some(init), None) = (&remains.pidfd, died_at) {
        died_at = death(init, AFTER_KILL).await?;
        if died_at.is_none() {
            return Err(overdue(container));
        }
    }
    if let Some(shim) = container.shim()
        && !is_silent(&shim, ANSWERS_AT_ONCE).await
    {
        // It was busy, or goes on: it tells of the end itself.
        return match has_ended(container, AFTER_KILL).await {
            true => Ok(()),
            false => Err(overdue(container)),
        };
    }
    let end = record(supervisor, container, remains, died_at).await;
    exits::ended(supervisor, container, end).await;
    Ok(())
}

fn overdue(container: &Container) -> Error {
    Error::Deadline {
        operation: format!("{}: SIGKILL", subject(container)),
        seconds: AFTER_KILL.as_secs(),
    }
}

/// Waits until the shim is silent; does not return while it answers. A shim that answers may still take long for another
/// call, whose OCI runtime is slow.
pub(super) async fn until_silent(shim: &ShimClient) {
    loop {
        tokio::time::sleep(SLOW).await;
        if is_silent(shim, ANSWERS_WITHIN).await {
            return;
        }
    }
}

/// Whether the shim leaves State unanswered, which it answers from memory.
async fn is_silent(shim: &ShimClient, within: Duration) -> bool {
    matches!(shim.state(within).await, Err(ShimError::Timeout { .. }))
}

async fn look(supervisor: &Supervisor, container: &Arc<Container>) -> Result<Remains, Error> {
    let bundle = supervisor.store.layout().bundle(container.id());
    let spec = container.dir().join("config.json");
    let known = container.status().process();
    let looked = store::blocking("look for", bundle.dir().to_owned(), move || {
        let cgroup = cgroup(&spec).or_else(|| cgroup(&bundle.config()));
        let init = known.or_else(|| init(&bundle, cgroup.as_ref()?));
        Ok(Remains {
            pidfd: init.map(Pidfd::open).transpose()?.flatten(),
            init,
            cgroup,
        })
    });
    Ok(looked.await?)
}

/// The cgroup that the specification names.
fn cgroup(spec: &std::path::Path) -> Option<Cgroup> {
    let spec: serde_json::Value = serde_json::from_slice(&std::fs::read(spec).ok()?).ok()?;
    let path = spec["linux"]["cgroupsPath"].as_str()?;
    Cgroup::at(&Roots::default(), path).ok()
}

/// The init that the OCI runtime has written down. Its pid may be another's by now, and then is not in the cgroup.
fn init(bundle: &Bundle, cgroup: &Cgroup) -> Option<ProcessIdentity> {
    let text = String::from_utf8(file::read_bounded(&bundle.init_pid(), 32).ok()?).ok()?;
    let pid = Pid::new(text.trim().parse().ok()?)?;
    let identity = proc::running(pid).ok()?;
    cgroup.pids().ok()?.contains(&pid).then_some(identity)
}

/// Kills init and everything in the cgroup: without a pid namespace of its own, init's end ends nothing else.
async fn kill(container: &Container, remains: Remains) -> Result<Remains, Error> {
    let id = container.id().clone();
    let killed = store::blocking("kill", PathBuf::from(id.as_str()), move || {
        if let Some(init) = &remains.pidfd {
            init.signal(Signal::KILL)?;
        }
        match remains
            .cgroup
            .as_ref()
            .map(|cgroup| cgroup.kill(CGROUP_LIMIT))
        {
            None | Some(Ok(true)) => {}
            Some(Ok(false)) => {
                log::warn!(container = id.as_str(); "processes of the container's cgroup outlive SIGKILL");
            }
            Some(Err(error)) => return Err(io::Error::other(error)),
        }
        Ok(remains)
    });
    Ok(killed.await?)
}

/// Waits for the end of a process; when it was seen, `None` where it has not ended `within` that.
async fn death(process: &Pidfd, within: Duration) -> Result<Option<Timestamp>, Error> {
    use std::os::fd::AsFd as _;
    let wait = async {
        let fd = process.as_fd().try_clone_to_owned()?;
        let watched = Watched::new(fd, Interest::READABLE)?;
        drop(watched.readable().await?);
        Ok(Timestamp::now())
    };
    match timeout(within, wait).await {
        Ok(ended) => ended.map(Some).map_err(|source: io::Error| {
            Error::Store(store::StoreError {
                operation: "wait for",
                path: PathBuf::from("pidfd"),
                source,
            })
        }),
        Err(_) => Ok(None),
    }
}

/// The end as far as anything but the shim tells it.
async fn record(
    supervisor: &Arc<Supervisor>,
    container: &Arc<Container>,
    remains: Remains,
    died_at: Option<Timestamp>,
) -> Ended {
    if let Ok(Some(entry)) = exits::journal(supervisor, container).await {
        return Ended::recorded(&entry);
    }
    let told = store::blocking("ask for the exit of", PathBuf::new(), move || {
        let zombie = remains
            .init
            .map(pidfd::exit_of_zombie)
            .transpose()?
            .flatten();
        match (zombie, &remains.pidfd) {
            (None, Some(pidfd)) => pidfd.exit_status(),
            (told, _) => Ok(told),
        }
    });
    let told: Option<ExitStatus> = told.await.unwrap_or_else(|error| {
        log::warn!(container = container.id().as_str(), error:% = chain(&error); "the kernel does not tell how the container ended");
        None
    });
    match told {
        Some(exit) => Ended {
            exit,
            at: died_at.unwrap_or_else(Timestamp::now),
            started_at: None,
            cause: if container.was_oom_killed() {
                ExitCause::OomKilled
            } else {
                ExitCause::Exited
            },
        },
        None => {
            Ended::unknown("stopped while its shim did not answer; its exit was recorded nowhere")
        }
    }
}

/// Kills the shim where it does not answer, for a container that is being given up: each later step would wait for it, and
/// the zombie that it does not reap holds up the end of a shared pid namespace (pid_namespaces(7)). A shim that answers is
/// left alone. Must be called without the task's lock, whose holder may be waiting for that shim.
///
/// # Errors
/// The process table cannot be read, or the shim outlives SIGKILL.
pub async fn end_silent_shim(
    supervisor: &Arc<Supervisor>,
    container: &Arc<Container>,
) -> Result<(), Error> {
    let bundle = supervisor.store.layout().bundle(container.id());
    if bundle.is_gone() {
        return Ok(());
    }
    let is_silent = match container.shim() {
        Some(shim) => is_silent(&shim, ANSWERS_OR_DIES).await,
        None => match ShimClient::connect(container.id(), &bundle).await {
            Ok(shim) => {
                // What answers is to delete its task and to end by itself.
                container.set_shim(Some(shim.clone()));
                is_silent(&shim, ANSWERS_OR_DIES).await
            }
            // Its backlog is full.
            Err(ShimError::Timeout { .. }) => true,
            Err(_) => false,
        },
    };
    if !is_silent {
        return Ok(());
    }
    let killed = store::blocking("kill the shim of", bundle.dir().to_owned(), move || {
        let Read::Found(address) = endpoint::read(&bundle) else {
            return Ok(Vec::new());
        };
        let socket = PathBuf::from(address.strip_prefix("unix://").unwrap_or(&address));
        let mut killed = Vec::new();
        for shim in listener::holders(&socket)? {
            if let Some(process) = Pidfd::open(shim)? {
                process.signal(Signal::KILL)?;
                if !process.wait(SHIM_LIMIT)? {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                killed.push(shim.pid);
            }
        }
        // The `delete` of another shim than ours leaves it.
        if !killed.is_empty() && socket::presence(&socket)? == socket::Presence::Dead {
            std::fs::remove_file(&socket)?;
        }
        Ok(killed)
    });
    for pid in killed.await? {
        log::warn!(container = container.id().as_str(), pid = pid.get(); "killed a shim that did not answer");
    }
    Ok(())
}
