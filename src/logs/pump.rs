//! The pump: one stream's bytes from its source to its sink, until one of them ends.
//!
//! A pump waits for readiness only, keeps nothing while it waits (but the rest of a batch that a full terminal or pipe
//! did not take), and lets others run after a megabyte, so that a flood on one stream starves nobody.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::io::unix::AsyncFdReadyGuard;
use tokio::time::timeout;

use super::buffer;
use super::flow::Flow;
use super::sink::Sink;
use super::source::Source;
use crate::sys::readiness::Watched;
use crate::sys::{pipe, splice};

/// Why a pump stopped.
#[derive(Debug)]
pub enum End {
    /// The source ended, and everything it gave was delivered or counted as dropped.
    Eof,
    /// Nobody reads the sink any more.
    SinkGone,
    /// A system call answered what it should not.
    Failed(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            // EIO: a terminal that every process has closed.
            Some(libc::EPIPE | libc::EIO) => Self::SinkGone,
            _ => Self::Failed(error),
        }
    }
}

/// Moves bytes until the end. Dropping the future stops it at once.
pub async fn run(source: &Source, sink: &Sink, flow: &Flow) -> End {
    let result = match (source, sink) {
        (Source::Pipe(source), Sink::Pipe(sink)) => splice_all(source, sink, flow).await,
        (source, Sink::Pipe(sink)) => copy_all(source, sink, flow).await,
        (source, Sink::Terminal(sink)) => copy_all(source, sink, flow).await,
        (source, Sink::Log(log)) => {
            let result = consume(source, |bytes| log.take(bytes, flow)).await;
            log.finish(flow);
            result
        }
        (source, Sink::Nowhere) => consume(source, |bytes| flow.count_dropped(bytes.len())).await,
    };
    match result {
        Ok(()) => End::Eof,
        Err(error) => error.into(),
    }
}

/// Takes everything off `source` and loses it, so that whoever writes there never waits.
pub async fn discard(source: &Source, flow: &Flow) -> End {
    run(source, &Sink::Nowhere, flow).await
}

/// How often a pump may move a batch before the other tasks of the thread get their turn.
const BATCHES_A_TURN: u8 = 16;

#[derive(Default)]
pub(super) struct Turn {
    batches: u8,
}

impl Turn {
    pub(super) async fn batch_done(&mut self) {
        self.batches += 1;
        if self.batches >= BATCHES_A_TURN {
            self.batches = 0;
            tokio::task::yield_now().await;
        }
    }
}

async fn splice_all(source: &Watched, sink: &Watched, flow: &Flow) -> io::Result<()> {
    let mut turn = Turn::default();
    loop {
        let mut readable = source.readable().await?;
        let mut writable = sink.writable().await?;
        match splice::splice(source, sink, buffer::LENGTH) {
            Ok(0) => return Ok(()),
            Ok(moved) => flow.count_moved(moved),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // EAGAIN does not say whose fault it is, and waiting for the wrong one would be for ever.
                let ready = pipe::ready(source, sink)?;
                if !ready.source {
                    readable.clear_ready();
                }
                if !ready.sink {
                    writable.clear_ready();
                }
            }
            Err(error) => return Err(error),
        }
        turn.batch_done().await;
    }
}

/// How long nothing comes until the buffers are given back.
const QUIET: Duration = Duration::from_millis(200);

async fn readable_or_rest(source: &Watched) -> io::Result<AsyncFdReadyGuard<'_, OwnedFd>> {
    if buffer::is_allocated() {
        match timeout(QUIET, source.readable()).await {
            Ok(readable) => return readable,
            Err(_) => buffer::release(),
        }
    }
    source.readable().await
}

async fn consume(source: &Source, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut turn = Turn::default();
    loop {
        let mut readable = readable_or_rest(source.fd()).await?;
        let read = buffer::with(|buffer| {
            let length = source.read(buffer)?;
            let bytes = buffer.get(..length).unwrap_or_default();
            if !bytes.is_empty() {
                take(bytes);
            }
            Ok(length)
        });
        match read {
            Ok(0) => return Ok(()),
            Ok(_) => turn.batch_done().await,
            Err(error) if would_block(&error) => readable.clear_ready(),
            Err(error) => return Err(error),
        }
    }
}

async fn copy_all(source: &Source, sink: &Watched, flow: &Flow) -> io::Result<()> {
    let mut turn = Turn::default();
    loop {
        let mut readable = readable_or_rest(source.fd()).await?;
        match buffer::with(|buffer| copy_once(source, sink, buffer, flow)) {
            Ok(Copied::Everything) => turn.batch_done().await,
            Ok(Copied::AllBut(rest)) => deliver(sink, &rest, flow).await?,
            Ok(Copied::End) => return Ok(()),
            Err(error) if would_block(&error) => readable.clear_ready(),
            Err(error) => return Err(error),
        }
    }
}

/// What became of one batch.
enum Copied {
    Everything,
    /// The sink is full; this much is kept until it is not.
    AllBut(Box<[u8]>),
    /// There was none: the source ended.
    End,
}

fn copy_once(
    source: &Source,
    sink: &Watched,
    buffer: &mut [u8],
    flow: &Flow,
) -> io::Result<Copied> {
    let length = source.read(buffer)?;
    let mut batch = buffer.get(..length).unwrap_or_default();
    if batch.is_empty() {
        return Ok(Copied::End);
    }
    while !batch.is_empty() {
        match pipe::write(sink, batch) {
            Ok(written) => {
                flow.count_moved(written);
                batch = batch.get(written..).unwrap_or_default();
            }
            Err(error) if would_block(&error) => return Ok(Copied::AllBut(batch.into())),
            Err(error) => {
                flow.count_dropped(batch.len());
                return Err(error);
            }
        }
    }
    Ok(Copied::Everything)
}

async fn deliver(sink: &Watched, mut rest: &[u8], flow: &Flow) -> io::Result<()> {
    while !rest.is_empty() {
        let mut writable = sink.writable().await?;
        match pipe::write(sink, rest) {
            Ok(written) => {
                flow.count_moved(written);
                rest = rest.get(written..).unwrap_or_default();
            }
            Err(error) if would_block(&error) => writable.clear_ready(),
            Err(error) => {
                flow.count_dropped(rest.len());
                return Err(error);
            }
        }
    }
    Ok(())
}

pub(super) fn would_block(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}
