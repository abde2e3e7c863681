//! From a Create request to a task: mounts, stdio, the OCI runtime's create, the cgroup. What a failure leaves half
//! done is undone.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use log::{info, warn};
use tokio::sync::{Notify, mpsc};
use tokio::task::spawn_local;

use super::call::Caller;
use super::error::ShimError;
use super::exit::Journal;
use super::listener::Connections;
use super::publisher::Publisher;
use super::reaper::Reaper;
use super::rootfs;
use super::stdio::{ChildStdio, ProcessStdio, StdioContext, StoppingLoggersOfAll};
use super::task::facts::Fact;
use super::task::process::Process;
use super::task::{Command, PendingRestore, Shared, Task, work};
use crate::bundle::layout::Bundle;
use crate::bundle::runtime::{self, RuntimeRecord};
use crate::cgroup::OomCounts;
use crate::config::ShimOptions;
use crate::oci::command::DeleteMode;
use crate::oci::driver::CallStdio;
use crate::oci::{self, CreateArgs, OciRuntime, Spec};
use crate::sys::worker;
use crate::types::event::TaskIo;
use crate::types::{ContainerId, Event, Mount, Namespace, Pid, Stdio};

/// A Create request, validated.
#[derive(Debug)]
pub struct CreateRequest {
    /// The task's id.
    pub id: ContainerId,
    /// Its bundle directory.
    pub bundle: PathBuf,
    /// What to mount its root filesystem from.
    pub rootfs: Vec<Mount>,
    /// Its stdio, as asked for.
    pub io: TaskIo,
    /// Its stdio, parsed.
    pub stdio: Stdio,
    /// The images to restore it from.
    pub checkpoint: Option<PathBuf>,
    /// The options.
    pub options: ShimOptions,
}

/// What every task of this shim shares.
#[derive(Clone)]
pub struct Environment {
    /// Starts and reaps.
    pub reaper: Reaper,
    /// Where events go.
    pub publisher: Publisher,
    /// The logging binaries that were told to end.
    pub loggers: StoppingLoggersOfAll,
    /// Who is connected to this shim.
    pub connections: Connections,
    /// Told of everything that happens to a task.
    pub activity: Rc<Notify>,
    /// The containerd namespace.
    pub namespace: Namespace,
}

/// A created task: where its commands go, init's pid, and the actor to run.
pub struct Created {
    /// Where its commands go.
    pub commands: mpsc::Sender<Command>,
    /// Init's pid; `None` before a restore.
    pub pid: Option<Pid>,
    /// The actor; it ends when the task is deleted.
    pub actor: std::pin::Pin<Box<dyn Future<Output = ()>>>,
}

/// The OCI runtime that `options` name, with its state directory for `namespace`.
#[must_use]
pub fn oci_runtime(options: &ShimOptions, namespace: &Namespace) -> OciRuntime {
    OciRuntime {
        binary: PathBuf::from(&options.binary_name),
        root: PathBuf::from(&options.root).join(namespace.as_str()),
        systemd_cgroup: options.systemd_cgroup,
    }
}

/// Creates a task.
///
/// # Errors
/// [`ShimError`] of the first step that failed; everything before it is undone.
pub async fn create(
    environment: Environment,
    request: CreateRequest,
) -> Result<Created, ShimError> {
    let runtime = oci_runtime(&request.options, &environment.namespace);
    let bundle = Bundle::new(request.bundle.clone());
    record_runtime(&bundle, &runtime, &environment.namespace).await?;
    let (sender, facts) = mpsc::unbounded_channel();
    let shared = Rc::new(share(environment, &request, runtime, sender));
    rootfs::mount(&shared.caller.reaper, &bundle, &request.rootfs).await?;
    let set_up = match open_stdio(&shared, &request.stdio).await {
        Ok((stdio, child_stdio)) => {
            set_up(&shared, stdio, child_stdio, request.checkpoint.as_ref()).await
        }
        Err(error) => Err(error),
    };
    let init = match set_up {
        Ok(init) => init,
        Err(error) => {
            if let Err(also) = rootfs::unmount(&bundle).await {
                warn!(container = request.id.as_str(); "after a failed create: {}", also.chain());
            }
            return Err(error);
        }
    };
    // From here on the shim owns a child: nothing may fail any more.
    let mut process = Process::new(request.io.clone(), request.stdio, Vec::new());
    let pid = init.child.as_ref().map(|child| child.pid);
    (process.pid, process.stdio) = (pid, Some(init.stdio));
    let own_pid_namespace =
        Spec::read(&request.bundle).is_ok_and(|spec| spec.has_own_pid_namespace());
    let mut task = Task {
        shared: shared.clone(),
        init: process,
        execs: BTreeMap::new(),
        cgroup: None,
        oom_kills: 0,
        counted_oom_kills: OomCounts::default(),
        own_pid_namespace,
        killing_others: false,
        restore: init.restore,
    };
    shared.publisher.publish(Event::Create {
        container: request.id.clone(),
        bundle: request.bundle.to_string_lossy().into_owned(),
        rootfs: request.rootfs,
        io: request.io,
        checkpoint: request
            .checkpoint
            .map(|path| path.to_string_lossy().into_owned())
            .unwrap_or_default(),
        pid,
    });
    if let Some(child) = init.child {
        info!(container = request.id.as_str(), pid = child.pid.get(); "created");
        if let Some(cgroup) = work::find_cgroup(child.pid) {
            task.watch(cgroup);
        }
        drop(spawn_local(work::await_exit(shared, None, child.exit)));
    }
    let (commands, receiver) = Task::channel();
    Ok(Created {
        commands,
        pid,
        actor: Box::pin(task.run(receiver, facts)),
    })
}

/// What all that works for the new task needs.
fn share(
    environment: Environment,
    request: &CreateRequest,
    runtime: OciRuntime,
    facts: mpsc::UnboundedSender<Fact>,
) -> Shared {
    let bundle = Bundle::new(request.bundle.clone());
    let journal = Journal::new(bundle.exits());
    let caller = Caller {
        reaper: environment.reaper,
        runtime,
        id: request.id.clone(),
        bundle,
        limit: request.options.oci_timeout(),
    };
    Shared {
        caller,
        namespace: environment.namespace,
        options: request.options.clone(),
        publisher: environment.publisher,
        loggers: environment.loggers,
        connections: environment.connections,
        activity: environment.activity,
        journal,
        facts,
    }
}

/// Writes down which OCI runtime keeps the container, before it does: `delete` needs it when the shim is dead. Exits of
/// a task that was in the bundle before are forgotten.
async fn record_runtime(
    bundle: &Bundle,
    oci: &OciRuntime,
    namespace: &Namespace,
) -> Result<(), ShimError> {
    let record = RuntimeRecord {
        namespace: namespace.to_string(),
        binary: oci.binary.clone(),
        root: oci.root.clone(),
        systemd_cgroup: oci.systemd_cgroup,
    };
    let (path, bundle) = (bundle.runtime(), bundle.clone());
    let write = move || {
        // Of a task that was deleted: its exit is not this one's.
        match std::fs::remove_file(bundle.exits()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        runtime::write(&bundle, &record)
    };
    let written = worker::run(write).await;
    let written = written.map_err(|_| ShimError::Worker {
        operation: "record the OCI runtime",
    })?;
    written.map_err(|source| ShimError::Io {
        operation: "write",
        path,
        source,
    })
}

async fn open_stdio(
    shared: &Shared,
    request: &Stdio,
) -> Result<(ProcessStdio, ChildStdio), ShimError> {
    let context = StdioContext {
        reaper: &shared.caller.reaper,
        container: shared.caller.id.as_str(),
        namespace: shared.namespace.as_str(),
        bundle: shared.caller.bundle.dir(),
        name: "init",
        io_uid: shared.options.io_uid,
        io_gid: shared.options.io_gid,
        attendance: shared.connections.attendance(),
        spool_bytes: shared.options.log_spool_bytes,
    };
    Ok(ProcessStdio::open(request, context).await?)
}

struct Init {
    stdio: ProcessStdio,
    child: Option<super::reaper::Child>,
    restore: Option<PendingRestore>,
}

async fn set_up(
    shared: &Shared,
    stdio: ProcessStdio,
    child_stdio: ChildStdio,
    checkpoint: Option<&PathBuf>,
) -> Result<Init, ShimError> {
    if let Some(image_path) = checkpoint {
        // The OCI runtime creates and starts in one call; that is Start's.
        let restore = PendingRestore {
            image_path: image_path.clone(),
            stdio: child_stdio,
        };
        return Ok(Init {
            stdio,
            child: None,
            restore: Some(restore),
        });
    }
    let ChildStdio {
        stdin,
        stdout,
        stderr,
        console_socket,
    } = child_stdio;
    let bundle = &shared.caller.bundle;
    let pid_file = bundle.init_pid();
    let command = oci::Command::Create(CreateArgs {
        bundle: bundle.dir().to_owned(),
        pid_file: pid_file.clone(),
        console_socket,
        no_pivot_root: shared.options.no_pivot_root,
        no_new_keyring: shared.options.no_new_keyring,
    });
    match work::start_process(
        shared,
        &command,
        (stdin, stdout, stderr),
        pid_file,
        Some(&stdio),
    )
    .await
    {
        Ok(child) => Ok(Init {
            stdio,
            child: Some(child),
            restore: None,
        }),
        Err(error) => {
            let delete = oci::Command::Delete(DeleteMode::Force);
            if let Err(also) = shared.caller.call(&delete, CallStdio::Captured).await {
                // Usually the OCI runtime has cleaned up itself and knows no such container.
                log::debug!(container = shared.caller.id.as_str(); "after a failed create: {also}");
            }
            shared.loggers.add(stdio.close().await);
            Err(error)
        }
    }
}
