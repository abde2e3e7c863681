//! How a shim is found and its files are opened: what may wait, with its limits.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use log::warn;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};

use super::error::ShimError;
use super::shim_log::{self, ShimLog};
use crate::bundle::{Bundle, Read, endpoint};
use crate::sys::worker;
use crate::types::ContainerId;
use crate::types::error::chain;

/// How long connecting may take: it does, where a stopped shim's backlog is full.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
const CONNECT_PAUSE: Duration = Duration::from_millis(20);
/// How long the writer of another shim's logs may take for an order; it waits for disks.
const LOG_LIMIT: Duration = Duration::from_secs(15);

/// What is in the bundle's `address` file; the inner error says why there is no shim to be found by it.
pub(super) fn read_address(bundle: &Bundle) -> io::Result<io::Result<String>> {
    match endpoint::read(bundle) {
        Read::Found(address) => Ok(Ok(address)),
        Read::Absent => Ok(Err(io::ErrorKind::NotFound.into())),
        Read::Corrupt(path, reason) => Err(io::Error::other(format!(
            "{}: {}",
            path.display(),
            chain(&reason)
        ))),
    }
}

pub(super) async fn dial(call: &'static str, address: &str) -> Result<UnixStream, ShimError> {
    let path = Path::new(address.strip_prefix("unix://").unwrap_or(address));
    let deadline = Instant::now() + CONNECT_LIMIT;
    let timed_out = ShimError::Timeout {
        call,
        after: CONNECT_LIMIT,
    };
    loop {
        match timeout(CONNECT_LIMIT, UnixStream::connect(path)).await {
            Ok(Ok(stream)) => return Ok(stream),
            // unix(7): the backlog is full; somebody is there who does not accept.
            Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(Err(source)) => return Err(ShimError::Gone { call, source }),
            Err(_) => return Err(timed_out),
        }
        if Instant::now() >= deadline {
            return Err(timed_out);
        }
        sleep(CONNECT_PAUSE).await;
    }
}

pub(super) async fn open_log(bundle: &Bundle, call: &'static str) -> Result<OwnedFd, ShimError> {
    let bundle = bundle.clone();
    local(call, "open the shim's log", move || {
        shim_log::open(&bundle).map_err(io::Error::other)
    })
    .await
}

pub(super) fn read_log(id: &ContainerId, fifo: OwnedFd) -> Option<ShimLog> {
    ShimLog::read(id, fifo)
        .inspect_err(|error| warn!(container = id.as_str(); "the shim's log: {error}"))
        .ok()
}

/// Work that may wait for the disk, off the runtime's thread.
pub(super) async fn local<T: Send + 'static>(
    call: &'static str,
    step: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, ShimError> {
    let done = worker::run(work).await;
    done.unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
        .map_err(|error| ShimError::local(call, step, &error))
}

/// Work of the log writer.
pub(super) async fn bounded(
    call: &'static str,
    step: &'static str,
    work: impl Future<Output = io::Result<()>>,
) -> Result<(), ShimError> {
    match timeout(LOG_LIMIT, work).await {
        Ok(done) => done.map_err(|error| ShimError::local(call, step, &error)),
        Err(_) => Err(ShimError::Timeout {
            call,
            after: LOG_LIMIT,
        }),
    }
}
