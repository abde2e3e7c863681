//! The `start` action: find the group's server, or start one, and tell its address.
//!
//! No runtime and no thread: it runs before every container, and containerd waits for it. Its stdout and stderr are read
//! as one, so nothing may be written but the reply.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::args::{Args, ArgsError};
use super::bootstrap::{self, StartParams};
use crate::bundle::endpoint;
use crate::bundle::layout::Bundle;
use crate::cgroup;
use crate::config::{OptionsError, ShimOptions};
use crate::oci::Spec;
use crate::oci::spec::SpecError;
use crate::sys::socket::{self, Presence};
use crate::sys::spawn::{Environment, OpenFiles, Session, Spawn, Stream, spawn};
use crate::sys::{memory, prctl, umask};
use crate::types::Pid;

/// Where containerd expects the sockets of its shims.
const SOCKET_DIR: &str = "/run/containerd/s";
/// How often a socket that appears and goes is tried again.
const BIND_TRIES: usize = 5;

/// Why no server could be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The command line.
    #[error(transparent)]
    Args(#[from] ArgsError),
    /// The bundle's config.json.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The options.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// A step on the system.
    #[error("{operation} {subject:?}")]
    Io {
        /// Which step.
        operation: &'static str,
        /// On what.
        subject: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The endpoint file in the bundle.
    #[error("write the address into the bundle")]
    Endpoint(#[source] io::Error),
    /// The cgroup that the options name.
    #[error("join the cgroup {path:?}")]
    Cgroup {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: cgroup::CgroupError,
    },
}

fn io_error(
    operation: &'static str,
    subject: impl Into<PathBuf>,
) -> impl FnOnce(io::Error) -> StartError {
    let subject = subject.into();
    move |source| StartError::Io {
        operation,
        subject,
        source,
    }
}

/// Runs the action in the bundle, the working directory; gives the reply for stdout.
///
/// # Errors
/// [`StartError`]; then no server was started.
pub fn run(args: &Args) -> Result<Vec<u8>, StartError> {
    let (namespace, id) = (args.namespace()?, args.id()?);
    let input = bootstrap::read_stdin().map_err(io_error("read", "stdin"))?;
    let params = bootstrap::start_params(&input, args, env::var("TTRPC_ADDRESS").ok());
    let options = ShimOptions::from_any(params.options.as_ref())?;
    let bundle = env::current_dir().map_err(io_error("find", "the working directory"))?;
    let spec = Spec::read(&bundle)?;
    let group = spec.group().unwrap_or(id.as_str());
    let socket = socket_path(&params, namespace.as_str(), group);
    let address = format!("unix://{}", socket.display());
    if let Some(listener) = listen(&socket)?
        && let Err(error) = serve(args, &params, &options, &address, listener)
    {
        drop(fs::remove_file(&socket));
        return Err(error);
    }
    // containerd before 2.0 looks for it there when it loads its tasks, and `delete` when it cleans up.
    endpoint::write(&Bundle::new(bundle), &address).map_err(StartError::Endpoint)?;
    Ok(bootstrap::reply(params.protocol, &address))
}

/// The socket of a group: named by a hash, as containerd's `pkg/shim/util_unix.go` does, since paths are short.
fn socket_path(params: &StartParams, namespace: &str, group: &str) -> PathBuf {
    let identity = Path::new(&params.grpc_address).join(namespace).join(group);
    let hash = Sha256::digest(identity.as_os_str().as_encoded_bytes());
    let name: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    params
        .socket_dir
        .as_deref()
        .unwrap_or(Path::new(SOCKET_DIR))
        .join(name)
}

/// Listens on the group's socket; `None` where its server is there already.
fn listen(path: &Path) -> Result<Option<UnixListener>, StartError> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..BIND_TRIES {
        match socket::listen(path) {
            Ok(listener) => return Ok(Some(listener)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
            Err(error) => return Err(io_error("listen on", path)(error)),
        }
        match socket::presence(path).map_err(io_error("connect to", path))? {
            Presence::Alive => return Ok(None),
            Presence::Absent => {}
            Presence::Dead => match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(io_error("remove", path)(error));
                }
                _ => {}
            },
        }
    }
    Err(io_error("listen on", path)(last))
}

/// Starts the server with the listening socket as its fd 3.
fn serve(
    args: &Args,
    params: &StartParams,
    options: &ShimOptions,
    address: &str,
    listener: UnixListener,
) -> Result<(), StartError> {
    let program = env::current_exe().map_err(io_error("find", "the shim's own program"))?;
    let mut words: Vec<OsString> = Vec::new();
    for (flag, value) in [
        ("-namespace", &args.namespace),
        ("-id", &args.id),
        ("-address", &params.grpc_address),
        ("-publish-binary", &args.publish_binary),
        ("-socket", &address.to_owned()),
        // The server itself sees options with Create only.
        ("-idle-exit-seconds", &options.idle_exit_seconds.to_string()),
    ] {
        words.extend([flag.into(), value.into()]);
    }
    words.extend(params.debug.then(|| "-debug".into()));
    // The child inherits these. A manager that is gone before the child could be would leave it unlikely to be killed.
    if let Err(source) = prctl::be_killed_before(std::os::unix::process::parent_id()) {
        return Err(io_error("set the OOM score of", "the shim")(source));
    }
    if env::var_os("SCHED_CORE").is_some_and(|value| !value.is_empty()) {
        prctl::create_core_scheduling_group()
            .map_err(io_error("core scheduling of", "the shim"))?;
    }
    if !options.shim_cgroup.is_empty() {
        let roots = cgroup::Roots::default();
        Pid::new(std::process::id())
            .map_or(Ok(()), |pid| {
                cgroup::join(&roots, &options.shim_cgroup, pid)
            })
            .map_err(|source| StartError::Cgroup {
                path: options.shim_cgroup.clone(),
                source,
            })?;
    }
    let mut variables: Vec<(OsString, OsString)> = env::vars_os()
        .filter(|(name, _)| name != "TTRPC_ADDRESS")
        .collect();
    variables.push(("TTRPC_ADDRESS".into(), params.ttrpc_address.clone().into()));
    let (name, value) = memory::TUNABLES;
    if variables.iter().all(|(set, _)| set != name) {
        variables.push((name.into(), value.into()));
    }
    let server = Spawn {
        program: program.clone().into(),
        args: words,
        environment: Environment::Only(variables),
        cwd: None,
        stdin: Stream::Null,
        stdout: Stream::Null,
        stderr: Stream::Null,
        further_fds: vec![OwnedFd::from(listener)],
        session: Session::Own,
        open_files: OpenFiles::AsStarted,
    };
    // The server fixes its mask itself, and has to know which one its loggers are to have.
    let started = umask::as_started(|| spawn(server));
    started.map(drop).map_err(io_error("start", program))
}
