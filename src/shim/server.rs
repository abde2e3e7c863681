//! The server: one process, one thread, until containerd says Shutdown, or [`idle`] finds that nobody needs it.
//!
//! ```text
//! ttrpc connections --> methods --> Service --commands--> Task actors (LocalSet)
//!                                      `----Create------> creator ----^    ^
//!                               SIGCHLD --> reaper -------facts------------'
//!                                              actors --events--> publisher --> containerd
//! ```

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use containerd_shim_protos::ttrpc;
use containerd_shim_protos::ttrpc::asynchronous::Server;
use containerd_shim_protos::ttrpc::asynchronous::transport::Listener;
use log::{LevelFilter, error, info, warn};
use tokio::net::UnixListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

use super::args::{Args, ArgsError};
use super::create::{Environment, create};
use super::idle::Stay;
use super::listener::{Accepted, Connections};
use super::publisher::Publisher;
use super::reaper::Reaper;
use super::registry::Registry;
use super::service::{NewTask, Service};
use super::stdio::StoppingLoggersOfAll;
use super::task::process::answer;
use super::{dump, idle, logger, methods, reopen};
use crate::oci::Spec;
use crate::sys::dispositions::{self, Program};
use crate::sys::{limits, memory, prctl, socket};
use crate::types::error::chain;

/// The descriptor that `start` leaves the listening socket at.
const LISTENER_FD: i32 = 3;
/// How many Create calls may wait to be looked at.
const CREATE_BOUND: usize = 16;
/// How long the last events may take to be delivered once nothing else is left to do.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);
/// How long the last answers may take to be written.
const ANSWER_LIMIT: Duration = Duration::from_millis(500);
/// How long nothing needs to have happened, at least, before freed memory is given back.
const REST_DELAY: Duration = Duration::from_millis(500);
/// How many events are taken from the kernel at once; what comes beyond is taken next.
const EVENTS: usize = 64;

/// Why the server could not be started. After it was, it ends on Shutdown, or without a task as [`idle`] says.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The command line.
    #[error(transparent)]
    Args(#[from] ArgsError),
    /// A step on the system.
    #[error("{operation}")]
    Io {
        /// Which step.
        operation: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The ttrpc server.
    #[error("ttrpc server")]
    Ttrpc(#[from] ttrpc::Error),
}

fn io_error(operation: &'static str) -> impl FnOnce(io::Error) -> ServerError {
    move |source| ServerError::Io { operation, source }
}

/// Serves in the bundle, the working directory, until Shutdown.
///
/// # Errors
/// [`ServerError`], before anything is served.
pub fn run(args: &Args) -> Result<(), ServerError> {
    let decided = dispositions::apply(Program::Shim);
    memory::forget_tunables();
    let bundle = env::current_dir().map_err(io_error("find the working directory"))?;
    let level = if args.debug {
        LevelFilter::Debug
    } else {
        LevelFilter::Info
    };
    // Without a log the shim still does its work.
    let logging = logger::init(&bundle, level);
    memory::keep_heap_small();
    // Each stream of a process takes up to three.
    let raised = limits::raise_open_files();
    prctl::become_subreaper().map_err(io_error("become a subreaper"))?;
    let listener = socket::inherited_listener(LISTENER_FD)
        .map_err(io_error("take over the listening socket"))?;
    let namespace = args.namespace()?;
    let manager = env::var("TTRPC_ADDRESS")
        .ok()
        .filter(|address| !address.is_empty());
    let manager =
        manager.map(|address| PathBuf::from(address.strip_prefix("unix://").unwrap_or(&address)));
    let grouped = Spec::read(&bundle).is_ok_and(|spec| spec.group().is_some());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_io_events_per_tick(EVENTS)
        .build()
        .map_err(io_error("build the runtime"))?;
    // The log needs the runtime.
    for (what, result) in [
        ("log", logging),
        ("decide on signals", decided),
        ("raise the limit of open files", raised.map(drop)),
    ] {
        if let Err(error) = result {
            error!("{what}: {error}");
        }
    }
    let environment = Environment {
        reaper: Reaper::default(),
        publisher: Publisher::new(namespace, manager),
        loggers: StoppingLoggersOfAll::default(),
        connections: Connections::default(),
        activity: Rc::default(),
        namespace: args.namespace()?,
    };
    let socket = args.socket.strip_prefix("unix://").map(PathBuf::from);
    let stay = Stay {
        group_of: grouped.then_some(bundle),
        empty_limit: args.idle_exit,
    };
    LocalSet::new().block_on(&runtime, serve(environment, listener, socket, stay))?;
    Ok(())
}

async fn serve(
    environment: Environment,
    listener: std::os::unix::net::UnixListener,
    socket: Option<PathBuf>,
    stay: Stay,
) -> Result<(), ServerError> {
    let publisher = environment.publisher.clone();
    let loggers = environment.loggers.clone();
    let connections = environment.connections.clone();
    drop(spawn_local(
        environment
            .reaper
            .run()
            .map_err(io_error("listen for SIGCHLD"))?,
    ));
    drop(spawn_local(publisher.clone().run()));
    drop(spawn_local(give_memory_back(environment.activity.clone())));
    let (creator, new_tasks) = mpsc::channel(CREATE_BOUND);
    let registry = Registry::default();
    drop(spawn_local(
        reopen::on_signal(registry.clone()).map_err(io_error("listen for SIGUSR2"))?,
    ));
    drop(spawn_local(create_tasks(
        environment,
        registry.clone(),
        new_tasks,
    )));
    let shutdown = Arc::new(Notify::new());
    let service = Arc::new(Service {
        registry: registry.clone(),
        connections: connections.clone(),
        creator,
        shutdown: shutdown.clone(),
    });
    let listener = UnixListener::from_std(listener).map_err(io_error("listen"))?;
    let sources = dump::Sources {
        registry: registry.clone(),
        publisher: publisher.clone(),
        connections: connections.clone(),
    };
    drop(spawn_local(
        dump::on_request(sources).map_err(io_error("listen for SIGUSR1"))?,
    ));
    let told = idle::wait_until_told(registry.clone()).map_err(io_error("listen for SIGTERM"))?;
    let owner = nix::unistd::geteuid().as_raw();
    let accepted = Accepted::new(listener, owner, connections.clone());
    let mut server = Server::new()
        .add_listener(Listener::new(accepted))
        .register_service(methods::services(&service));
    server.start().await?;
    info!(pid = std::process::id(); "serving");
    tokio::select! {
        () = shutdown.notified() => {}
        () = told => {}
        () = idle::wait_until_useless(registry, connections.clone(), stay) => {}
    }
    // First of all, so that whoever looks for the group's shim from now on starts another.
    if let Some(socket) = socket {
        remove_socket(&socket);
    }
    publisher.flush(FLUSH_LIMIT).await;
    // The answer to Shutdown, and what else is under way. Nobody has to hang up first.
    drop(timeout(ANSWER_LIMIT, server.shutdown()).await);
    loggers.ended().await;
    Ok(())
}

/// Creates tasks, each beside the others, and runs their actors.
async fn create_tasks(
    environment: Environment,
    registry: Registry,
    mut new_tasks: mpsc::Receiver<NewTask>,
) {
    while let Some((request, reply)) = new_tasks.recv().await {
        let (environment, registry) = (environment.clone(), registry.clone());
        drop(spawn_local(async move {
            let id = request.id.clone();
            match create(environment, *request).await {
                Ok(created) => {
                    registry.insert(id.clone(), created.commands);
                    answer(reply, Ok(created.pid));
                    created.actor.await;
                    registry.remove(&id);
                }
                Err(error) => {
                    registry.remove(&id);
                    warn!(container = id.as_str(); "create: {}", chain(&error));
                    answer(reply, Err(error));
                }
            }
        }));
    }
}

/// Gives freed memory back a moment after something has happened, and not before nothing does: a shim rests nearly always.
async fn give_memory_back(activity: Rc<Notify>) {
    loop {
        activity.notified().await;
        sleep(REST_DELAY).await;
        memory::trim_heap();
        memory::trim_stack();
    }
}

fn remove_socket(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        warn!("remove {path:?}: {error}");
    }
}
