//! The `delete` action: containerd runs it when a shim is dead or does not answer, to be rid of what it leaves.
//!
//! It works from the bundle alone: the runtime record tells which OCI runtime keeps the container, the exit journal how
//! init ended. Only an exit that nobody has recorded is told as 137, as containerd's own shim always does: init was
//! alive and was killed here and now; or it died after its shim, or its record cannot be read, and nobody knows. Which of
//! these it was is said on stderr, and containerd logs that.
//!
//! Where the dead shim served a group, containerd asks for its leader alone; the others are cleaned up along with it.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use containerd_shim_protos::api::DeleteResponse;
use containerd_shim_protos::protobuf::{self, Message};

use super::args::{Args, ArgsError};
use super::convert;
use super::create::oci_runtime;
use crate::bundle::exit_journal::Tail;
use crate::bundle::layout::Bundle;
use crate::bundle::{Read, endpoint, exit_journal, runtime};
use crate::config::ShimOptions;
use crate::oci::command::DeleteMode;
use crate::oci::driver::CallStdio;
use crate::oci::{Command, FailureKind, OciError, OciRuntime};
use crate::sys::socket::{self, Presence};
use crate::sys::{file, mount, proc};
use crate::types::error::chain;
use crate::types::{
    ContainerId, ExitRecord, ExitStatus, Namespace, Pid, ProcessIdentity, Timestamp,
};

/// containerd waits five seconds for the whole action.
const OCI_LIMIT: Duration = Duration::from_secs(4);

/// Why nothing could be said.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// The command line.
    #[error(transparent)]
    Args(#[from] ArgsError),
    /// No `-bundle`, and no working directory.
    #[error("find the bundle")]
    Bundle(#[source] io::Error),
    /// The reply.
    #[error("encode the reply")]
    Encode(#[from] protobuf::Error),
}

/// Cleans up and gives the encoded `DeleteResponse` for stdout. What could not be cleaned up goes to stderr, which
/// containerd logs; the reply is given all the same.
///
/// # Errors
/// [`DeleteError`], before anything was done.
pub fn run(args: &Args) -> Result<Vec<u8>, DeleteError> {
    let (namespace, id) = (args.namespace()?, args.id()?);
    let directory = match &args.bundle {
        Some(directory) => directory.clone(),
        None => env::current_dir().map_err(DeleteError::Bundle)?,
    };
    let bundle = Bundle::new(directory);
    for sibling in siblings_of_a_dead_shim(&bundle) {
        if let Some(id) = sibling
            .dir()
            .file_name()
            .and_then(|name| ContainerId::new(name.to_str()?).ok())
        {
            clean(&sibling, &namespace, &id);
        }
    }
    let exit = clean(&bundle, &namespace, &id);
    remove_dead_socket(&bundle);
    let response = DeleteResponse {
        pid: exit.pid.map_or(0, Pid::get),
        exit_status: exit.status.get().into(),
        exited_at: Some(convert::timestamp(exit.exited_at)).into(),
        ..DeleteResponse::default()
    };
    Ok(response.write_to_bytes()?)
}

/// How init ended, as far as anybody knows.
struct End {
    pid: Option<Pid>,
    status: ExitStatus,
    exited_at: Timestamp,
}

fn clean(bundle: &Bundle, namespace: &Namespace, id: &ContainerId) -> End {
    // Read before the container is deleted: what is not recorded by now ends by our hand.
    let recorded = recorded_exit(bundle);
    let pid = init_pid(bundle);
    let alive = pid.and_then(|pid| proc::running(pid).ok());
    let runtime = runtime_of(bundle, namespace);
    if let Some(runtime) = &runtime {
        match delete_container(runtime, id, bundle.dir()) {
            Err(error) if error.kind() != FailureKind::NoSuchContainer => {
                complain("delete the container", &error);
            }
            _ => {}
        }
    }
    if let Err(error) = mount::unmount_tree(&bundle.rootfs()) {
        complain("unmount", &error);
    }
    if let Some(exit) = recorded {
        return End {
            pid: Some(exit.pid),
            status: exit.status,
            exited_at: exit.exited_at,
        };
    }
    // Where there is no record of a runtime, no task was created, or it was deleted: nothing needs to be explained.
    if let (Some(_), Some(pid)) = (runtime, pid) {
        explain_invented_exit(id, pid, alive);
    }
    End {
        pid,
        status: ExitStatus::KILLED,
        exited_at: Timestamp::now(),
    }
}

/// Says on stderr what 137 stands for, where no exit was recorded; `was` is init as it ran before the container was
/// deleted.
fn explain_invented_exit(id: &ContainerId, pid: Pid, was: Option<ProcessIdentity>) {
    match was {
        None => say(&format!(
            "{id}: process {pid} was dead already and no exit of it is recorded: its exit status is not known, 137 is given"
        )),
        Some(was) if proc::running(pid).is_ok_and(|is| is == was) => say(&format!(
            "{id}: process {pid} had no shim any more and could not be killed: it still runs"
        )),
        Some(_) => say(&format!(
            "{id}: process {pid} had no shim any more and was killed"
        )),
    }
}

fn delete_container(
    runtime: &OciRuntime,
    id: &ContainerId,
    directory: &Path,
) -> Result<(), OciError> {
    let command = Command::Delete(DeleteMode::Force);
    let (spawn, call) = runtime.prepare(&command, id, Some(directory), CallStdio::Captured)?;
    call.run_blocking(spawn, OCI_LIMIT).map(drop)
}

/// The OCI runtime that keeps the container: as the shim wrote it down before it called it. There is none before Create
/// and after Delete; containerd runs `delete` after every Shutdown, and a needless call costs as much as a shim's start.
fn runtime_of(bundle: &Bundle, namespace: &Namespace) -> Option<OciRuntime> {
    match runtime::read(bundle) {
        Read::Found(record) => Some(OciRuntime {
            binary: record.binary,
            root: record.root,
            systemd_cgroup: record.systemd_cgroup,
        }),
        Read::Absent => None,
        Read::Corrupt(path, reason) => {
            complain(&format!("read {path:?}"), &reason);
            Some(oci_runtime(&ShimOptions::default(), namespace))
        }
    }
}

/// Init's last recorded exit.
fn recorded_exit(bundle: &Bundle) -> Option<ExitRecord> {
    match exit_journal::read(&bundle.exits()) {
        Read::Found(exits) => {
            if exits.tail == Tail::Torn {
                say(&format!(
                    "the exit journal {:?} ends with what is no record; the {} before it are whole",
                    bundle.exits(),
                    exits.entries.len()
                ));
            }
            let init = exits
                .entries
                .iter()
                .rev()
                .find(|entry| entry.exec.is_none());
            init.map(|entry| entry.record())
        }
        Read::Absent => None,
        Read::Corrupt(path, reason) => {
            complain(&format!("read the exit journal {path:?}"), &reason);
            None
        }
    }
}

fn init_pid(bundle: &Bundle) -> Option<Pid> {
    let text = String::from_utf8(file::read_bounded(&bundle.init_pid(), 32).ok()?).ok()?;
    Pid::new(text.trim().parse().ok()?)
}

fn socket_of(bundle: &Bundle) -> Option<PathBuf> {
    match endpoint::read(bundle) {
        Read::Found(address) => address.strip_prefix("unix://").map(PathBuf::from),
        Read::Absent => None,
        Read::Corrupt(path, reason) => {
            complain(&format!("read {path:?}"), &reason);
            None
        }
    }
}

/// The bundles beside `bundle` whose shim was the same; none while that still listens.
fn siblings_of_a_dead_shim(bundle: &Bundle) -> Vec<Bundle> {
    let Some(socket) = socket_of(bundle) else {
        return Vec::new();
    };
    if !matches!(
        socket::presence(&socket),
        Ok(Presence::Dead | Presence::Absent)
    ) {
        return Vec::new();
    }
    // Only the leader has the duty: the shim ran in its bundle, under its name.
    let entries = bundle
        .dir()
        .parent()
        .and_then(|parent| fs::read_dir(parent).ok());
    let others = entries
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| Bundle::new(entry.path()));
    let others = others.filter(|other| other != bundle);
    others
        .filter(|other| other.runtime().exists() && socket_of(other).as_ref() == Some(&socket))
        .collect()
}

fn remove_dead_socket(bundle: &Bundle) {
    let Some(socket) = socket_of(bundle) else {
        return;
    };
    if matches!(socket::presence(&socket), Ok(Presence::Dead))
        && let Err(error) = fs::remove_file(&socket)
    {
        complain("remove the socket", &error);
    }
}

fn complain(operation: &str, error: &dyn std::error::Error) {
    say(&format!("{operation}: {}", chain(error)));
}

fn say(what: &str) {
    // A closed stderr must not keep the rest from being cleaned up.
    drop(writeln!(io::stderr(), "{what}"));
}
