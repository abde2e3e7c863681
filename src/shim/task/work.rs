//! What runs beside a task's actor: calls of the OCI runtime and all else that takes time. Each piece ends by telling
//! the actor a fact, or by answering its caller.

use std::fs;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use log::{debug, warn};
use tokio::io::Interest;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::facts::Fact;
use super::process::answer;
use super::{Key, PendingRestore, Reply, Shared};
use crate::cgroup::{self, Cgroup, Metrics, OomNotice, OomWatch};
use crate::oci::driver::CallStdio;
use crate::oci::{CheckpointArgs, Command, CreateArgs, ExecArgs, OciError, Restore};
use crate::shim::call::read_pid;
use crate::shim::error::ShimError;
use crate::shim::reaper::{Child, Exit};
use crate::shim::stdio::{ChildStdio, ProcessStdio, StdioContext};
use crate::sys::readiness::Watched;
use crate::sys::spawn::Stream;
use crate::sys::worker;
use crate::types::error::chain;
use crate::types::{Event, ExecId, Pid, Signal, Stdio};

/// How long an OCI runtime that has answered may take to hand over the terminal.
const CONSOLE_LIMIT: Duration = Duration::from_secs(10);
/// How often an ended task looks whether its bundle is still there.
const OBLIVION_INTERVAL: Duration = Duration::from_secs(10);

/// The pauses between two looks for a kill that the kernel has given notice of: two seconds in all.
const FIRST_OOM_LOOK: Duration = Duration::from_millis(1);
const LAST_OOM_LOOK: Duration = Duration::from_millis(1024);

/// What a start has brought.
#[derive(Default)]
pub struct Started {
    /// The new process, where there is one.
    pub pid: Option<Pid>,
    /// Tells its end.
    pub exit: Option<oneshot::Receiver<Exit>>,
    /// Its stdio.
    pub stdio: Option<ProcessStdio>,
    /// Its cgroup, where it brings one.
    pub cgroup: Option<Cgroup>,
}

impl std::fmt::Debug for Started {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Started")
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

/// Tells the actor; it may have ended, and then nobody needs to know.
pub(super) fn tell(shared: &Shared, fact: Fact) {
    drop(shared.facts.send(fact));
}

pub(super) async fn simple(shared: &Shared, command: Command) -> Result<(), ShimError> {
    Ok(shared
        .caller
        .call(&command, CallStdio::Captured)
        .await
        .map(drop)?)
}

/// Starts the created init.
pub async fn start_init(shared: Rc<Shared>) {
    let result = simple(&shared, Command::Start)
        .await
        .map(|()| Started::default());
    tell(&shared, Fact::StartAnswered(None, Box::new(result)));
}

/// Starts init from images.
pub async fn restore(shared: Rc<Shared>, restore: PendingRestore, stdio: Option<ProcessStdio>) {
    let result = run_restore(&shared, restore, stdio).await;
    tell(&shared, Fact::StartAnswered(None, Box::new(result)));
}

async fn run_restore(
    shared: &Shared,
    restore: PendingRestore,
    stdio: Option<ProcessStdio>,
) -> Result<Started, ShimError> {
    let caller = &shared.caller;
    let pid_file = caller.bundle.init_pid();
    let create = CreateArgs {
        bundle: caller.bundle.dir().to_owned(),
        pid_file: pid_file.clone(),
        console_socket: restore.stdio.console_socket,
        no_pivot_root: shared.options.no_pivot_root,
        no_new_keyring: shared.options.no_new_keyring,
    };
    let work_path = criu_work_path(shared, "restore");
    make_dir(&work_path)?;
    let command = Command::Restore(Restore {
        create,
        image_path: restore.image_path,
        work_path,
    });
    let streams = (
        restore.stdio.stdin,
        restore.stdio.stdout,
        restore.stdio.stderr,
    );
    let child = start_process(shared, &command, streams, pid_file, stdio.as_ref()).await?;
    let cgroup = find_cgroup(child.pid);
    Ok(Started {
        pid: Some(child.pid),
        exit: Some(child.exit),
        stdio,
        cgroup,
    })
}

/// Calls the OCI runtime for a new process and takes that process over.
pub async fn start_process(
    shared: &Shared,
    command: &Command,
    (stdin, stdout, stderr): (Stream, Stream, Stream),
    pid_file: PathBuf,
    stdio: Option<&ProcessStdio>,
) -> Result<Child, ShimError> {
    // From before the OCI runtime runs until the pid is known, an exit must not be taken for an orphan's.
    let start = shared.caller.reaper.start_under_way();
    shared
        .caller
        .call(
            command,
            CallStdio::Process {
                stdin,
                stdout,
                stderr,
            },
        )
        .await?;
    let child = shared
        .caller
        .reaper
        .adopt(read_pid(command.name(), pid_file)?, &start);
    let attached = match stdio {
        Some(stdio) => stdio.attach_console(CONSOLE_LIMIT).await,
        None => Ok(()),
    };
    match attached {
        Ok(()) => Ok(child),
        Err(error) => {
            // It runs already, and nobody would ever hear of it again.
            drop(shared.caller.reaper.signal(child.pid, Signal::KILL));
            Err(error.into())
        }
    }
}

/// Starts an exec.
pub async fn start_exec(shared: Rc<Shared>, exec: ExecId, process: Vec<u8>, request: Stdio) {
    let result = run_exec(&shared, &exec, &process, &request).await;
    tell(&shared, Fact::StartAnswered(Some(exec), Box::new(result)));
}

async fn run_exec(
    shared: &Shared,
    exec: &ExecId,
    process: &[u8],
    request: &Stdio,
) -> Result<Started, ShimError> {
    let caller = &shared.caller;
    let context = StdioContext {
        reaper: &caller.reaper,
        container: caller.id.as_str(),
        namespace: shared.namespace.as_str(),
        bundle: caller.bundle.dir(),
        name: exec.as_str(),
        io_uid: shared.options.io_uid,
        io_gid: shared.options.io_gid,
        attendance: shared.connections.attendance(),
        spool_bytes: shared.options.log_spool_bytes,
    };
    let (stdio, child_stdio) = ProcessStdio::open(request, context).await?;
    let process_file = caller.bundle.exec_spec(exec);
    let pid_file = caller.bundle.exec_pid(exec);
    let result = async {
        fs::write(&process_file, process).map_err(io("write", &process_file))?;
        let ChildStdio {
            stdin,
            stdout,
            stderr,
            console_socket,
        } = child_stdio;
        let args = ExecArgs {
            process: process_file.clone(),
            pid_file: pid_file.clone(),
            console_socket,
        };
        start_process(
            shared,
            &Command::Exec(args),
            (stdin, stdout, stderr),
            pid_file.clone(),
            Some(&stdio),
        )
        .await
    }
    .await;
    for path in [&process_file, &pid_file] {
        remove_file(path);
    }
    match result {
        Ok(child) => Ok(Started {
            pid: Some(child.pid),
            exit: Some(child.exit),
            stdio: Some(stdio),
            cgroup: None,
        }),
        Err(error) => {
            shared.loggers.add(stdio.close().await);
            Err(error)
        }
    }
}

/// Tells the actor when the process `key` has ended.
pub async fn await_exit(shared: Rc<Shared>, key: Key, exit: oneshot::Receiver<Exit>) {
    if let Ok(exit) = exit.await {
        tell(&shared, Fact::Exited(key, exit));
    }
}

/// Tells the actor when the bundle of the ended task is gone. containerd removes it after Delete; but a daemon that could
/// not load the task has it cleaned up by the `delete` action, and never asks this shim again. Where the shim did not run
/// meanwhile, both are over before it hears of the exit, and the container's id may be wanted again.
pub async fn await_oblivion(shared: Rc<Shared>) {
    while !shared.facts.is_closed() {
        if shared.caller.bundle.is_gone() {
            tell(&shared, Fact::Forgotten);
        }
        sleep(OBLIVION_INTERVAL).await;
    }
}

/// Freezes the container.
pub async fn pause(shared: Rc<Shared>) {
    let result = simple(&shared, Command::Pause).await;
    tell(&shared, Fact::PauseAnswered(result));
}

/// Thaws the container.
pub async fn resume(shared: Rc<Shared>) {
    let result = simple(&shared, Command::Resume).await;
    tell(&shared, Fact::ResumeAnswered(result));
}

/// Sets limits.
pub async fn update(shared: Rc<Shared>, resources: Vec<u8>, reply: Reply<()>) {
    let result = shared
        .caller
        .call(&Command::Update, CallStdio::Input(resources))
        .await;
    answer(reply, result.map(drop).map_err(ShimError::from));
    tell(&shared, Fact::OtherAnswered);
}

/// Writes the container's state to images.
pub async fn checkpoint(shared: Rc<Shared>, mut args: CheckpointArgs, reply: Reply<()>) {
    if args.image_path.as_os_str().is_empty() {
        args.image_path = PathBuf::from(&shared.options.criu_image_path);
    }
    let own_work_path = args.work_path.as_os_str().is_empty();
    if own_work_path {
        args.work_path = criu_work_path(&shared, "checkpoint");
    }
    let (image_path, work_path) = (args.image_path.clone(), args.work_path.clone());
    let result = async {
        if image_path.as_os_str().is_empty() {
            return Err(ShimError::Field {
                field: "path",
                reason: "neither it nor criu_image_path is given".into(),
            });
        }
        make_dir(&image_path)?;
        make_dir(&work_path)?;
        simple(&shared, Command::Checkpoint(args)).await
    }
    .await;
    let result = result.map_err(|error| keep_dump_log(&shared, &work_path, error));
    if own_work_path {
        drop(fs::remove_dir_all(&work_path));
    }
    if result.is_ok() {
        let checkpoint = image_path.to_string_lossy().into_owned();
        shared.publisher.publish(Event::Checkpointed {
            container: shared.caller.id.clone(),
            checkpoint,
        });
    }
    answer(reply, result);
    tell(&shared, Fact::OtherAnswered);
}

fn criu_work_path(shared: &Shared, operation: &str) -> PathBuf {
    match shared.options.criu_work_path.as_str() {
        "" => shared.caller.bundle.dir().join(format!("criu-{operation}")),
        path => PathBuf::from(path).join(shared.caller.id.as_str()),
    }
}

/// criu says why it failed in its log alone; it is kept in the bundle and named in the error.
fn keep_dump_log(shared: &Shared, work_path: &Path, error: ShimError) -> ShimError {
    let kept = shared.caller.bundle.checkpoint_log();
    match (error, fs::copy(work_path.join("dump.log"), &kept)) {
        (
            ShimError::Oci(OciError::Failed {
                operation,
                message,
                kind,
            }),
            Ok(_),
        ) => OciError::Failed {
            operation,
            message: format!("{message}; criu's log is {kept:?}"),
            kind,
        }
        .into(),
        (error, _) => error,
    }
}

/// Reads the container's cgroup, on a worker thread: some of its files make the kernel sum up over all processors.
pub async fn stats(shared: Rc<Shared>, cgroup: Option<Rc<Cgroup>>, reply: Reply<Metrics>) {
    let Some(cgroup) = cgroup.map(|cgroup| Cgroup::clone(&cgroup)) else {
        return answer(
            reply,
            Err(ShimError::NotFound {
                what: "cgroup of",
                id: shared.caller.id.to_string(),
            }),
        );
    };
    let metrics = worker::run(move || cgroup.metrics()).await;
    answer(
        reply,
        metrics
            .map_err(|_| ShimError::Worker { operation: "stats" })
            .and_then(|read| Ok(read?)),
    );
}

/// The cgroup of a new init. On cgroup2 its controllers are enabled along the way, so that statistics and events are
/// there (containerd `cmd/containerd-shim-runc-v2/task/service.go`, `Create`).
#[must_use]
pub fn find_cgroup(pid: Pid) -> Option<Cgroup> {
    match Cgroup::of_process(&cgroup::Roots::default(), pid) {
        Ok(cgroup) => {
            for error in cgroup::enable_controllers(&cgroup) {
                debug!(pid = pid.get(); "enable controllers: {}", chain(&error));
            }
            Some(cgroup)
        }
        Err(error) => {
            // A process that has ended already has no cgroup; all others have.
            warn!(pid = pid.get(); "find the cgroup: {}", chain(&error));
            None
        }
    }
}

/// Tells the actor whenever the container has run out of memory, until its cgroup is gone.
pub async fn watch_oom(shared: Rc<Shared>, cgroup: Rc<Cgroup>) {
    let watched = OomWatch::new(&cgroup).and_then(|watch| {
        let readiness = Watched::new(watch.as_fd().try_clone_to_owned()?, Interest::READABLE)?;
        Ok((watch, readiness))
    });
    let (mut watch, readiness) = match watched {
        Ok(watched) => watched,
        Err(error) => {
            return debug!(container = shared.caller.id.as_str(); "watch for OOM kills: {error}");
        }
    };
    drop(cgroup);
    while let Ok(mut ready) = readiness.readable().await {
        ready.clear_ready();
        if tell_oom(&shared, &mut watch).await.is_break() || shared.facts.is_closed() {
            return;
        }
    }
}

/// Tells what a wake meant, and looks again until kills that the kernel has given notice of are counted. One wake may stand
/// for several.
async fn tell_oom(shared: &Shared, watch: &mut OomWatch) -> ControlFlow<()> {
    let mut pause = None;
    loop {
        match watch.consume() {
            Ok(OomNotice::Killed) => {
                tell(shared, Fact::OomKilled);
                pause = Some(FIRST_OOM_LOOK);
            }
            Ok(OomNotice::Awaited) => pause = Some(FIRST_OOM_LOOK),
            Ok(OomNotice::Uncounted) => tell(shared, Fact::OutOfMemory),
            Ok(OomNotice::Nothing) => pause = pause.map(|pause| pause * 2),
            Ok(OomNotice::Gone) => return ControlFlow::Break(()),
            // For want of a descriptor, say.
            Err(error) => {
                debug!(container = shared.caller.id.as_str(); "look at the count of OOM kills: {error}");
                pause = Some(pause.map_or(FIRST_OOM_LOOK, |pause| pause * 2));
            }
        }
        // A kill that is counted later still is found at the next wake, or at the next exit.
        match pause.filter(|pause| *pause <= LAST_OOM_LOOK) {
            Some(pause) => sleep(pause).await,
            None => return ControlFlow::Continue(()),
        }
    }
}

fn io(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> ShimError {
    let path = path.to_owned();
    move |source| ShimError::Io {
        operation,
        path,
        source,
    }
}

fn make_dir(path: &Path) -> Result<(), ShimError> {
    fs::create_dir_all(path).map_err(io("make the directory", path))
}

pub(super) fn remove_file(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            warn!("remove {path:?}: {error}")
        }
        _ => {}
    }
}
