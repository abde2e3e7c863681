//! What a shim logs: the fifo `log` of its bundle, read into our own log.
//!
//! Our shim drops what does not fit into it. containerd's opens it for writing when it starts and waits for a reader, and
//! stands still when it is full (`pkg/shim/shim_unix.go`, `openLog`): so it is there and open before the shim is
//! launched, and after a restart it is opened again. While nobody has it open containerd's shim gets EPIPE, which it
//! ignores.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use log::{debug, warn};
use tokio::io::Interest;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::bundle::Bundle;
use crate::sys::fifo::{self, FifoError};
use crate::sys::pipe;
use crate::sys::readiness::Watched;
use crate::types::ContainerId;

const READ_LENGTH: usize = 4096;
/// The longest line that is told whole; a backtrace comes in many.
const MAX_LINE: usize = 1024;
/// A shim that logs more than this is not believed to have so much to say: the rest of the period is dropped, and counted.
const LINES_A_PERIOD: u32 = 200;
const PERIOD: Duration = Duration::from_secs(10);

/// Reads the log for as long as it is kept, or until the shim has gone.
#[derive(Debug)]
pub struct ShimLog(AbortHandle);

impl Drop for ShimLog {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Makes the fifo where there is none, and opens it. Does not wait.
///
/// # Errors
/// [`FifoError`]
pub fn open(bundle: &Bundle) -> Result<OwnedFd, FifoError> {
    let path = bundle.log();
    fifo::make(&path)?;
    fifo::open_to_read(&path)
}

impl ShimLog {
    /// Reads the fifo of the shim of `id`.
    ///
    /// # Errors
    /// What epoll_ctl(2) answered.
    pub fn read(id: &ContainerId, fifo: OwnedFd) -> io::Result<Self> {
        let fifo = Watched::new(fifo, Interest::READABLE)?;
        let lines = Lines::new(id.clone());
        Ok(Self(tokio::spawn(follow(fifo, lines)).abort_handle()))
    }
}

async fn follow(fifo: Watched, mut lines: Lines) {
    loop {
        let Ok(mut readable) = fifo.readable().await else {
            return;
        };
        // On the stack only while it is used: there is a task like this for every shim.
        let mut buffer = [0; READ_LENGTH];
        match pipe::read(&fifo, &mut buffer) {
            // Only after a writer was there is this told: the shim has ended.
            Ok(0) => return lines.end(),
            Ok(length) => lines.take(buffer.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => readable.clear_ready(),
            Err(error) => return warn!("a shim's log: {error}"),
        }
    }
}

/// Makes lines of what was read, and tells them.
struct Lines {
    container: ContainerId,
    begun: Vec<u8>,
    period: Instant,
    told: u32,
}

impl Lines {
    fn new(container: ContainerId) -> Self {
        Self {
            container,
            begun: Vec::new(),
            period: Instant::now(),
            told: 0,
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = MAX_LINE.saturating_sub(self.begun.len());
            self.begun
                .extend_from_slice(piece.get(..room.min(piece.len())).unwrap_or_default());
            if piece.ends_with(b"\n") {
                self.end();
            }
        }
    }

    fn end(&mut self) {
        let line = std::mem::take(&mut self.begun);
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if text.is_empty() || !self.may_tell() {
            return;
        }
        let container = self.container.as_str();
        if ["level=warn", "level=error", "level=fatal", "panic"]
            .iter()
            .any(|word| text.contains(word))
        {
            warn!(container; "shim: {text}");
        } else {
            debug!(container; "shim: {text}");
        }
    }

    fn may_tell(&mut self) -> bool {
        if self.period.elapsed() >= PERIOD {
            let dropped = self.told.saturating_sub(LINES_A_PERIOD);
            if dropped > 0 {
                warn!(container = self.container.as_str(), dropped; "the shim logs too much");
            }
            (self.period, self.told) = (Instant::now(), 0);
        }
        self.told = self.told.saturating_add(1);
        self.told <= LINES_A_PERIOD
    }
}
