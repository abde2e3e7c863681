//! The connections to the shim's socket: only from its own user, and counted.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use log::{info, warn};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use crate::logs::Attendance;
use crate::sys::accept::{Accepting, Incoming};

/// How many connections there are and were; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Connections(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    open: watch::Sender<Attendance>,
    lost: AtomicUsize,
    lost_at_read: AtomicUsize,
    lost_at_delete: AtomicUsize,
}

impl Connections {
    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.open.borrow().connections == 0
    }

    /// How many were closed so far.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.0.lost.load(Ordering::Relaxed)
    }

    /// Notes that a task is asked to be deleted. By now the caller may be known to be gone: what was lost when somebody was
    /// last heard counts.
    pub fn deletes(&self) {
        let lost = self.0.lost_at_read.load(Ordering::Relaxed);
        self.0.lost_at_delete.store(lost, Ordering::Relaxed);
    }

    /// Whether one was closed since a task was last asked to be deleted: perhaps its caller's.
    #[must_use]
    pub fn lost_since_delete(&self) -> bool {
        self.lost() != self.0.lost_at_delete.load(Ordering::Relaxed)
    }

    fn heard(&self) {
        self.0.lost_at_read.store(self.lost(), Ordering::Relaxed);
    }

    /// Tells of every change. A manager that is stopped (SIGSTOP) keeps its connection, and so counts as there.
    #[must_use]
    pub fn attendance(&self) -> watch::Receiver<Attendance> {
        self.0.open.subscribe()
    }

    fn opened(&self) {
        self.0.open.send_modify(|now| now.connections += 1);
    }

    fn closed(&self) {
        self.0.open.send_modify(|now| {
            now.connections = now.connections.saturating_sub(1);
            if now.connections == 0 {
                now.absences += 1;
            }
        });
        self.0.lost.fetch_add(1, Ordering::Relaxed);
    }
}

/// The accepted connections as ttrpc takes them.
pub struct Accepted {
    listener: Accepting<UnixListener>,
    owner: u32,
    connections: Connections,
}

impl Accepted {
    /// The connections that come to `listener` from processes of the user `owner`.
    #[must_use]
    pub const fn new(listener: UnixListener, owner: u32, connections: Connections) -> Self {
        Self {
            listener: Accepting::new(listener),
            owner,
            connections,
        }
    }
}

impl Stream for Accepted {
    type Item = io::Result<Counted>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let stream = match ready!(self.listener.poll_next(cx)) {
                Incoming::Connection(stream) => stream,
                // Not told to the server, which would ask again at once and log each time.
                Incoming::Failing(error) => {
                    warn!("accept fails: connections wait: {error}");
                    continue;
                }
                Incoming::Recovered => {
                    info!("connections are accepted again");
                    continue;
                }
            };
            // unix(7), SO_PEERCRED: the credentials at the time of connect(2).
            match stream.peer_cred() {
                Ok(peer) if peer.uid() == self.owner => {
                    self.connections.opened();
                    return Poll::Ready(Some(Ok(Counted {
                        stream,
                        connections: self.connections.clone(),
                    })));
                }
                Ok(peer) => warn!(uid = peer.uid(); "refused a connection of another user"),
                Err(error) => warn!("refused a connection of an unknown user: {error}"),
            }
        }
    }
}

/// A connection that is counted while it is open.
pub struct Counted {
    stream: UnixStream,
    connections: Connections,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.connections.closed();
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.connections.heard();
        }
        read
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
