//! `outlive serve`: the wiring, in the order trace, configuration, build, serve, drain.
//!
//! ```text
//! log to stderr -> settings read and checked -> directories, locks -> sockets -> runtime
//!     -> READY=1 -> serve CRI, the shims' events, metrics; recovery beside them
//! SIGTERM, SIGINT -> STOPPING=1 -> no new connections, event streams end, running calls end (10 s) -> exit 0
//! ```
//!
//! Containers and shims are not touched by the end of this: they outlive it.

mod claim;

use std::fs;
use std::io;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;

use self::claim::ClaimError;
use super::context::Supervisor;
use super::cri::authority::Connection;
use super::cri::checked::{Checked, Protocol};
use super::cri::control::ControlServer;
use super::cri::{CallLog, Service};
use super::notify::Notify;
use super::shim_client::events::{self, Endpoint};
use super::spec::{HostFacts, SpecError};
use super::{crash, intake, logger, metrics, recovery};
use crate::api::cri::image_service_server::ImageServiceServer;
use crate::api::cri::runtime_service_server::RuntimeServiceServer;
use crate::config::supervisor::{Config, ConfigError, Givers, Overrides};
use crate::sys::accept::{Accepting, Incoming};
use crate::sys::dispositions::{self, Program};
use crate::sys::signals::{Listener, listen};
use crate::sys::{limits, memory, worker};
use crate::types::error::chain;

/// The largest message of either direction, as kubelet has it.
const MAX_MESSAGE: usize = 16 << 20;
/// How long running calls have when the supervisor is told to end.
const DRAIN: Duration = Duration::from_secs(10);
/// How long work beside the runtime's thread has after that: it may hang in a dead file system.
const LAST: Duration = Duration::from_secs(1);
/// Connections that were accepted and are not served yet; the next wait in the socket's backlog.
const ACCEPTED: usize = 16;

/// What the command line says.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// What survives a reboot.
    pub root: Option<PathBuf>,
    /// What does not.
    pub state: Option<PathBuf>,
    /// Where CRI is spoken: `unix:///PATH`.
    pub address: Option<String>,
    /// Which of these come from the environment.
    pub givers: Givers,
}

impl Options {
    /// The settings: those of the file, with these before them.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(&self) -> Result<Config, ConfigError> {
        let overrides = Overrides {
            root: self.root.clone(),
            state: self.state.clone(),
            address: self.address.clone(),
            givers: self.givers,
        };
        Config::load(self.config.as_deref(), &overrides)
    }
}

/// Why the supervisor did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Claim(#[from] ClaimError),
    #[error("listen for metrics on {address}")]
    Metrics {
        address: std::net::SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("look at the machine")]
    Host(#[source] SpecError),
    #[error("start the runtime")]
    Runtime(#[source] io::Error),
    #[error("serve CRI")]
    Serve(#[source] tonic::transport::Error),
}

/// Runs the supervisor until it is told to end. Blocks; answers the process's exit code.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    memory::keep_heap_small();
    logger::init();
    if let Err(error) = dispositions::apply(Program::Supervisor) {
        log::warn!(error:%; "decide on signals");
    }
    crash::arm();
    match serve(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// What is opened before anything runs.
struct Sockets {
    cri: UnixListener,
    metrics: Option<std::net::TcpListener>,
}

fn serve(options: &Options) -> Result<(), ServeError> {
    let config = options.load()?;
    logger::configure(config.log);
    tell_settings(&config);
    let supervisor = Arc::new(Supervisor::new(
        config,
        HostFacts::read().map_err(ServeError::Host)?,
    ));
    // After the machine was looked at: containers are given what we were started with.
    if let Err(error) = limits::raise_open_files() {
        log::warn!(error:% = error; "the limit of open files stays as it is: each container takes three");
    }
    let _claim = claim::prepare(supervisor.store.layout())?;
    if let Err(error) = supervisor.images.make_root() {
        log::warn!(error:% = chain(&error); "the directory of the images cannot be made");
    }
    let sockets = open(&supervisor)?;
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ServeError::Runtime)?;
    // Everything is listed before the first call is answered; who calls meanwhile waits to be accepted.
    let plan = recovery::load(&supervisor);
    let ended = within(&runtime, &supervisor, sockets, plan);
    drop(runtime);
    if !worker::finish(LAST) {
        log::warn!("work with a disk or a mount is cut off");
    }
    // Nobody connects any more; and nobody else has made one at the same place, since the locks are still ours.
    drop(fs::remove_file(&supervisor.config.socket));
    log::info!("ended");
    ended
}

/// Says on which directories and where this supervisor serves, and why there.
fn tell_settings(config: &Config) {
    let origins = &config.origins;
    let file = origins.file.as_deref();
    log::info!(
        file:% = file.map_or("none".into(), |file| file.display().to_string()),
        root:% = config.root.display(),
        root_from = origins.root.as_str(),
        state:% = config.state.display(),
        state_from = origins.state.as_str(),
        address:% = config.socket.display(),
        address_from = origins.address.as_str();
        "settings"
    );
    for one in &origins.overridden {
        log::warn!(
            variable = one.variable,
            value = one.value.as_str(),
            setting = one.setting.as_str(),
            instead_of = one.instead_of.as_str();
            "an environment variable overrides the configuration file"
        );
    }
}

fn open(supervisor: &Supervisor) -> Result<Sockets, ServeError> {
    Ok(Sockets {
        cri: claim::listen(&supervisor.config.socket)?,
        metrics: supervisor
            .config
            .metrics
            .map(|address| {
                metrics::listen(address).map_err(|source| ServeError::Metrics { address, source })
            })
            .transpose()?,
    })
}

fn within(
    runtime: &Runtime,
    supervisor: &Arc<Supervisor>,
    sockets: Sockets,
    plan: recovery::Plan,
) -> Result<(), ServeError> {
    runtime.block_on(async {
        let mut told = Told::new().map_err(ServeError::Runtime)?;
        let cri = tokio::net::UnixListener::from_std(sockets.cri).map_err(ServeError::Runtime)?;
        if let Some(listener) = sockets.metrics {
            let listener = tokio::net::TcpListener::from_std(listener);
            let listener = listener.map_err(ServeError::Runtime)?;
            tokio::spawn(metrics::serve(Arc::clone(supervisor), listener));
        }
        let endpoint = take_events(supervisor).await?;
        let notify = Notify::ready();
        let service = Service::new(Arc::clone(supervisor));
        tokio::spawn(recover(service.clone(), Arc::clone(supervisor), plan));
        let (stop, stopped) = oneshot::channel();
        let mut server = tokio::spawn(serve_cri(service, cri, stopped));
        log::info!(
            version = env!("CARGO_PKG_VERSION"),
            pid = std::process::id(),
            address:% = supervisor.config.socket.display();
            "serving"
        );
        tokio::select! {
            name = told.end() => log::info!(signal = name; "told to end: containers go on"),
            ended = &mut server => return outcome(ended),
        }
        notify.stopping();
        supervisor.events.close();
        drop(stop);
        tokio::select! {
            ended = &mut server => {
                endpoint.close().await;
                return outcome(ended);
            }
            () = tokio::time::sleep(DRAIN) => log::warn!(seconds = DRAIN.as_secs(); "some calls did not end in time"),
            name = told.end() => log::warn!(signal = name; "told to end again: some calls are cut off"),
        }
        server.abort();
        endpoint.close().await;
        Ok(())
    })
}

/// Takes the shims' events from now on. Those that live have kept what they could not tell, and try again by themselves.
async fn take_events(supervisor: &Arc<Supervisor>) -> Result<Endpoint, ServeError> {
    let path = &supervisor.home.events;
    let (sink, events) = mpsc::channel(intake::QUEUE);
    tokio::spawn(intake::run(Arc::clone(supervisor), events));
    let endpoint = events::serve(path, sink).await;
    Ok(endpoint.map_err(claim::failed("listen on", path))?)
}

fn outcome(
    ended: Result<Result<(), tonic::transport::Error>, tokio::task::JoinError>,
) -> Result<(), ServeError> {
    match ended {
        Ok(served) => served.map_err(ServeError::Serve),
        Err(ended) => Err(ServeError::Runtime(io::Error::other(ended))),
    }
}

/// Recovers everything, and last of all the image store.
async fn recover(service: Service, supervisor: Arc<Supervisor>, plan: recovery::Plan) {
    recovery::run(supervisor, plan).await;
    service.collect_leftovers().await;
}

async fn serve_cri(
    service: Service,
    listener: tokio::net::UnixListener,
    stopped: oneshot::Receiver<()>,
) -> Result<(), tonic::transport::Error> {
    let runtime = RuntimeServiceServer::new(service.clone())
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    let images = ImageServiceServer::new(service.clone())
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    let protocol = Protocol::new(MAX_MESSAGE);
    let (queue, connections) = mpsc::channel(ACCEPTED);
    let accepting = tokio::spawn(accept(listener, queue));
    let stop = async move {
        // Nothing is ever sent: the other end is dropped.
        drop(stopped.await);
        accepting.abort();
    };
    Server::builder()
        .layer(CallLog)
        .add_service(Checked::new(runtime, Arc::clone(&protocol)))
        .add_service(Checked::new(images, protocol))
        .add_service(ControlServer(service))
        .serve_with_incoming_shutdown(ReceiverStream::new(connections), stop)
        .await
}

/// Accepts for ever. The server would end at the first error of accept(2), such as too many open files.
async fn accept(listener: tokio::net::UnixListener, queue: mpsc::Sender<io::Result<Connection>>) {
    let mut connections = Accepting::new(listener);
    loop {
        match connections.next().await {
            Incoming::Connection(stream) => {
                if queue.send(Ok(stream.into())).await.is_err() {
                    return;
                }
            }
            Incoming::Failing(error) => {
                log::warn!(error:%; "accept fails: connections for CRI wait");
            }
            Incoming::Recovered => log::info!("connections for CRI are accepted again"),
        }
    }
}

/// The signals that the supervisor is told to end by, and those that it only logs.
struct Told {
    terminate: Listener,
    interrupt: Listener,
    hang_up: Listener,
    user_1: Listener,
    user_2: Listener,
}

impl Told {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: listen(Signal::SIGTERM)?,
            interrupt: listen(Signal::SIGINT)?,
            // Caught, not ignored: what is ignored is so in every container too (execve(2)).
            hang_up: listen(Signal::SIGHUP)?,
            user_1: listen(Signal::SIGUSR1)?,
            user_2: listen(Signal::SIGUSR2)?,
        })
    }

    async fn end(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.next() => return "SIGTERM",
                _ = self.interrupt.next() => return "SIGINT",
                _ = self.hang_up.next() => log::info!("SIGHUP: nothing is read again"),
                _ = self.user_1.next() => log::info!("SIGUSR1 means nothing to the supervisor; a shim dumps its state"),
                _ = self.user_2.next() => log::info!("SIGUSR2 means nothing to the supervisor; a shim reopens its logs"),
            }
        }
    }
}
