//! Logs of a shim that is not ours: it does not know `cri://`, so its output comes by fifos, and the supervisor makes
//! the CRI log.
//!
//! ```text
//! BUNDLE/stdio.json      {"version":1,"stdout":"cri:///..","stderr":"cri:///.."}    the URIs as they were asked for
//! BUNDLE/stdout stderr   the fifos; only those whose URI is `cri:`
//! ```
//!
//! ```text
//! container -> pipe -> shim -> fifo -> one thread for all such containers -> logs::Log -> file
//! ```
//!
//! Both sides hold both ends of the fifos, so neither gets EOF or EPIPE while the other is away. Its limits are
//! containerd's: what is written while the supervisor is away stays in the fifo, and when that is full the container
//! waits; a line that was begun before the supervisor was killed loses its beginning.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::Duration;

use log::{error, warn};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{Instant, timeout};

use crate::bundle::Bundle;
use crate::logs::{End, Flow, Log, LogStream, Sink, Source, pump};
use crate::sys::fifo::{self, Fifo, FifoError};
use crate::sys::{file, pipe};
use crate::types::OutputUri;
use crate::types::event::TaskIo;

const VERSION: u32 = 1;
const MAX_RECORD: u64 = 64 << 10;
/// What a fifo may hold while the supervisor is away; the kernel uses the memory only then.
const FIFO_BYTES: usize = 1 << 20;
/// How many orders may wait for the thread; their callers wait with a deadline.
const ORDERS_BOUND: usize = 64;
/// How long the last bytes may take to arrive once the shim has let go of the fifo.
const LAST_BYTES_LIMIT: Duration = Duration::from_secs(10);
/// Somebody still has the fifo open, but for this long there was nothing in it.
const QUIET: Duration = Duration::from_millis(200);

/// Where the output of a task goes, in the task's own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u32,
    stdout: String,
    stderr: String,
}

fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::other(error)
}

fn is_cri(uri: &str) -> bool {
    uri.starts_with("cri://")
}

/// Makes the fifos and the record; gives the stdio that the shim is to be told. Blocks for the disk.
///
/// # Errors
/// `InvalidInput` for a URI that is none; else what the file system answered.
pub fn prepare(bundle: &Bundle, io: &TaskIo) -> io::Result<TaskIo> {
    let mut told = io.clone();
    for (uri, told, path) in [
        (&io.stdout, &mut told.stdout, bundle.foreign_stdout()),
        (&io.stderr, &mut told.stderr, bundle.foreign_stderr()),
    ] {
        OutputUri::parse(uri)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        if is_cri(uri) {
            fifo::make(&path).map_err(other)?;
            *told = path.to_string_lossy().into_owned();
        }
    }
    let record = Record {
        version: VERSION,
        stdout: io.stdout.clone(),
        stderr: io.stderr.clone(),
    };
    let json = serde_json::to_vec(&record).map_err(other)?;
    file::replace(&bundle.foreign_stdio(), &json)?;
    Ok(told)
}

/// Removes what [`prepare`] made. Blocks for the disk.
pub fn remove(bundle: &Bundle) {
    for path in [
        bundle.foreign_stdio(),
        bundle.foreign_stdout(),
        bundle.foreign_stderr(),
    ] {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                warn!(path:% = path.display(); "remove: {error}");
            }
            _ => {}
        }
    }
}

/// Whether the task in `bundle` has its log written here. Blocks for the disk.
#[must_use]
pub fn is_there(bundle: &Bundle) -> bool {
    bundle.foreign_stdio().exists()
}

/// What the thread is told. Every order is answered; nobody may wait for the answer any more.
enum Order {
    /// Write the log of the task in this bundle from now on.
    Attach(Bundle, oneshot::Sender<io::Result<()>>),
    /// Go on in a new file.
    Reopen(PathBuf, oneshot::Sender<io::Result<()>>),
    /// Write what is left and close.
    Finish(PathBuf, oneshot::Sender<io::Result<()>>),
}

/// Writes the log of the task in `bundle` from now on; does nothing where that is so already.
///
/// # Errors
/// There is no valid record or fifo, or the file cannot be opened.
pub async fn attach(bundle: &Bundle) -> io::Result<()> {
    let bundle = bundle.clone();
    order(|reply| Order::Attach(bundle, reply)).await
}

/// Opens the log file again.
///
/// # Errors
/// `NotFound` where no log is written; else what open(2) answered: then the old file is written on.
pub async fn reopen(bundle: &Bundle) -> io::Result<()> {
    let dir = bundle.dir().to_owned();
    order(|reply| Order::Reopen(dir, reply)).await
}

/// Writes what is left in the fifos, which the shim has let go of, and closes the log. Where none is written, nothing.
///
/// # Errors
/// There is no thread that does it.
pub async fn finish(bundle: &Bundle) -> io::Result<()> {
    let dir = bundle.dir().to_owned();
    order(|reply| Order::Finish(dir, reply)).await
}

async fn order(order: impl FnOnce(oneshot::Sender<io::Result<()>>) -> Order) -> io::Result<()> {
    let stopped = || other("the log writer has stopped");
    let orders = thread()?;
    let (reply, answer) = oneshot::channel();
    orders.send(order(reply)).await.map_err(|_| stopped())?;
    answer.await.map_err(|_| stopped())?
}

/// The one thread, started by the first order: logs are written with plain calls, which may wait for the disk.
fn thread() -> io::Result<&'static mpsc::Sender<Order>> {
    static ORDERS: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    if let Some(orders) = ORDERS.get() {
        return Ok(orders);
    }
    let (sender, orders) = mpsc::channel(ORDERS_BOUND);
    let mut first = false;
    let sender = ORDERS.get_or_init(|| {
        first = true;
        sender
    });
    if first {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::Builder::new()
            .name("foreign-logs".to_owned())
            .spawn(move || LocalSet::new().block_on(&runtime, serve(orders)))?;
    }
    Ok(sender)
}

/// One task's log.
struct Writing {
    logs: Vec<Rc<Log>>,
    ending: watch::Sender<bool>,
    streams: Vec<JoinHandle<()>>,
}

async fn serve(mut orders: mpsc::Receiver<Order>) {
    let mut tasks: HashMap<PathBuf, Writing> = HashMap::new();
    while let Some(order) = orders.recv().await {
        match order {
            Order::Attach(bundle, reply) => {
                let attached = match tasks.contains_key(bundle.dir()) {
                    true => Ok(()),
                    false => begin(&bundle).map(|writing| {
                        tasks.insert(bundle.dir().to_owned(), writing);
                    }),
                };
                drop(reply.send(attached));
            }
            Order::Reopen(bundle, reply) => {
                let reopened = tasks
                    .get(&bundle)
                    .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
                    .and_then(reopen_all);
                drop(reply.send(reopened));
            }
            Order::Finish(bundle, reply) => match tasks.remove(&bundle) {
                None => drop(reply.send(Ok(()))),
                Some(writing) => drop(spawn_local(async move {
                    writing.ending.send_replace(true);
                    for stream in writing.streams {
                        if let Err(error) = stream.await {
                            error!("log writer: {error}");
                        }
                    }
                    drop(reply.send(Ok(())));
                })),
            },
        }
    }
}

fn reopen_all(writing: &Writing) -> io::Result<()> {
    let reopenings: Vec<_> = writing
        .logs
        .iter()
        .map(Log::begin_reopen)
        .collect::<io::Result<_>>()?;
    for reopening in reopenings {
        reopening.finish();
    }
    Ok(())
}

fn begin(bundle: &Bundle) -> io::Result<Writing> {
    let json = file::read_bounded(&bundle.foreign_stdio(), MAX_RECORD)?;
    let record: Record = serde_json::from_slice(&json).map_err(other)?;
    if record.version != VERSION {
        return Err(other(format!("stdio.json: version {}", record.version)));
    }
    let (ending, end) = watch::channel(false);
    let mut writing = Writing {
        logs: Vec::new(),
        ending,
        streams: Vec::new(),
    };
    let mut opened = Vec::new();
    for (stream, uri, fifo) in [
        (LogStream::Stdout, &record.stdout, bundle.foreign_stdout()),
        (LogStream::Stderr, &record.stderr, bundle.foreign_stderr()),
    ] {
        if let OutputUri::Cri {
            path,
            max_line,
            rotation,
        } = OutputUri::parse(uri).map_err(other)?
        {
            let log = match writing.logs.iter().find(|log| log.path() == path) {
                Some(log) => Rc::clone(log),
                None => Log::cri(&path, max_line, rotation)?,
            };
            opened.push((open(&fifo).map_err(other)?, Rc::clone(&log), stream));
            if !writing.logs.iter().any(|known| Rc::ptr_eq(known, &log)) {
                writing.logs.push(log);
            }
        }
    }
    for (fifo, log, stream) in opened {
        let following = follow(fifo, log, stream, end.clone());
        writing.streams.push(spawn_local(async move {
            if let Err(error) = following.await {
                error!("log writer: {error}");
            }
        }));
    }
    Ok(writing)
}

fn open(path: &Path) -> Result<Fifo, FifoError> {
    let fifo = fifo::open(path)?;
    if let Err(error) = pipe::grow(&fifo.read, FIFO_BYTES) {
        // Past what the user may have; then it is as long as pipes are.
        log::debug!("grow a fifo: {error}");
    }
    Ok(fifo)
}

/// Writes one stream until its end.
async fn follow(
    fifo: Fifo,
    log: Rc<Log>,
    stream: LogStream,
    mut ending: watch::Receiver<bool>,
) -> io::Result<()> {
    let Fifo { read, write } = fifo;
    let looked_at = read.try_clone()?;
    let source = Source::pipe(read)?;
    let sink = Sink::Log(log.writer(stream));
    let flow = Flow::default();
    let pump = pump::run(&source, &sink, &flow);
    tokio::pin!(pump);
    tokio::select! {
        end = &mut pump => return told(end),
        // An error: nobody is left who could say it.
        _ = ending.wait_for(|ending| *ending) => {}
    }
    // From here on the last writer's end is the end.
    drop(write);
    let deadline = Instant::now() + LAST_BYTES_LIMIT;
    loop {
        match timeout(QUIET, &mut pump).await {
            Ok(end) => return told(end),
            Err(_) if Instant::now() >= deadline => {
                warn!(path:% = log.path().display(); "somebody goes on writing to the output of a deleted task");
                return Ok(());
            }
            Err(_) if pipe::unread(&looked_at)? == 0 => return Ok(()),
            Err(_) => {}
        }
    }
}

fn told(end: End) -> io::Result<()> {
    match end {
        End::Eof | End::SinkGone => Ok(()),
        End::Failed(error) => Err(error),
    }
}
