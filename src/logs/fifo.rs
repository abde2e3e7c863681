//! The pump to a manager's fifo, which stalls nobody when that manager is away.
//!
//! ```text
//! source --- splice ---> fifo                          nothing is spooled
//! source -- splice --> spool -- copy --> fifo          fifo full in an outage, and from then on until the spool is empty
//! ```
//!
//! A byte is in one of three places, and they are emptied in this order: fifo, spool, source. So nothing is passed
//! directly as long as the spool holds anything, and the order is kept; and what was read stays read, since the fifo is
//! the same one for the next reader and the shim keeps both of its ends: nothing is lost or doubled by a restart.
//!
//! Who reads slowly, or is stopped, but is connected: back-pressure, as through any pipe. The same past the spool's bound,
//! and where its file cannot be written. splice(2) uses a slot of the fifo for each write of the container, so that a fifo
//! may be full of sixteen lines; a full one is one that answers EAGAIN, however little is in it.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use log::{debug, warn};
use tokio::time::{Instant, sleep_until, timeout};

use super::attendance::Outage;
use super::buffer;
use super::flow::Flow;
use super::pump::{End, Turn, would_block};
use super::source::Source;
use super::spool::Spool;
use crate::sys::readiness::Watched;
use crate::sys::{pipe, splice};

/// How long a disk that took nothing is left alone.
const DISK_PAUSE: Duration = Duration::from_secs(1);
/// What the container's pipe is to hold once there was an outage: the most that the kernel allows by default
/// (pipe(7), `pipe-max-size`), since its writer waits while a long spool is replayed.
const PIPE_LENGTH: usize = 1 << 20;

/// Where an output may be spooled.
#[derive(Debug, Clone)]
pub struct SpoolPlace {
    /// The directory.
    pub directory: PathBuf,
    /// A file name that no other stream of the container has.
    pub name: Box<str>,
    /// The bound, in bytes; with zero nothing is ever spooled.
    pub limit: u64,
}

/// One output's way into a fifo, and what is under way there.
#[derive(Debug)]
pub struct FifoPump {
    place: SpoolPlace,
    outage: Outage,
    /// Holds something as long as it is there.
    spool: Option<Spool>,
    /// Read from a terminal and not delivered, which comes after what the spool holds.
    rest: Box<[u8]>,
    disk_rests_until: Option<Instant>,
    full_told: bool,
}

/// What became of one attempt to take bytes off the source and into the spool.
enum Taken {
    Bytes,
    Nothing,
    End,
}

enum Step {
    Further,
    End,
}

impl FifoPump {
    /// A pump with nothing under way.
    #[must_use]
    pub fn new(place: SpoolPlace, outage: Outage) -> Self {
        Self {
            place,
            outage,
            spool: None,
            rest: Box::default(),
            disk_rests_until: None,
            full_told: false,
        }
    }

    /// Whether it keeps bytes that the fifo has not taken.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.spool.is_none() && self.rest.is_empty()
    }

    /// Moves bytes until the source has ended; what this keeps then is for [`Self::replay`]. The future may be dropped
    /// at any time and nothing is lost.
    pub async fn run(&mut self, source: &Source, sink: &Watched, flow: &Flow) -> End {
        let mut turn = Turn::default();
        loop {
            let step = match self.spool {
                None => self.pass(source, sink, flow).await,
                Some(_) => self.detour(source, sink, flow).await,
            };
            match step {
                Ok(Step::Further) => turn.batch_done().await,
                Ok(Step::End) => return End::Eof,
                Err(error) => return error.into(),
            }
        }
    }

    /// Delivers what is kept, however long that takes; or gives up what is left, once nobody has taken any of it for as
    /// long as `patience`.
    pub async fn replay(&mut self, sink: &Watched, flow: &Flow, patience: Option<Duration>) {
        let mut turn = Turn::default();
        while !self.is_empty() {
            let writable = match patience {
                None => sink.writable().await,
                Some(patience) => match timeout(patience, sink.writable()).await {
                    Ok(writable) => writable,
                    Err(_) => return self.abandon("nobody reads them", flow),
                },
            };
            let delivered = match (writable, &self.spool) {
                (Err(error), _) => Err(error),
                (Ok(mut writable), kept) => {
                    let delivered = match kept {
                        Some(_) => self.replay_once(sink, flow),
                        None => self.write_rest(sink, flow),
                    };
                    match delivered {
                        Err(error) if would_block(&error) => {
                            writable.clear_ready();
                            Ok(())
                        }
                        other => other,
                    }
                }
            };
            if let Err(error) = delivered {
                return self.abandon(&error.to_string(), flow);
            }
            turn.batch_done().await;
        }
    }

    /// One batch from the source to the fifo, or the first one to the spool.
    async fn pass(&mut self, source: &Source, sink: &Watched, flow: &Flow) -> io::Result<Step> {
        let mut readable = if self.rest.is_empty() {
            Some(source.fd().readable().await?)
        } else {
            None
        };
        flow.set_held(true);
        let writable = tokio::select! {
            biased;
            writable = sink.writable() => Some(writable?),
            () = self.may_spool() => None,
        };
        flow.set_held(false);
        let Some(mut writable) = writable else {
            match (self.take(source, flow)?, &mut readable) {
                (Taken::End, _) => return Ok(Step::End),
                (Taken::Nothing, Some(readable)) => readable.clear_ready(),
                (Taken::Nothing, None) | (Taken::Bytes, _) => {}
            }
            return Ok(Step::Further);
        };
        let moved = match source {
            _ if !self.rest.is_empty() => self.write_rest(sink, flow).map(|()| 1),
            Source::Pipe(source) => splice::splice(source, sink, buffer::LENGTH)
                .inspect(|moved| flow.count_moved(*moved)),
            Source::Terminal(_) => self.copy(source, sink, flow),
        };
        match moved {
            Ok(0) => Ok(Step::End),
            Ok(_) => Ok(Step::Further),
            Err(error) if would_block(&error) => {
                // EAGAIN does not say whose fault it is, and waiting for the wrong one would be for ever.
                let ready = pipe::ready(source.fd(), sink)?;
                if let (Some(readable), false) = (&mut readable, ready.source) {
                    readable.clear_ready();
                }
                if !ready.sink {
                    writable.clear_ready();
                }
                Ok(Step::Further)
            }
            Err(error) => Err(error),
        }
    }

    /// One batch from the spool to the fifo, or from the source to the spool.
    async fn detour(&mut self, source: &Source, sink: &Watched, flow: &Flow) -> io::Result<Step> {
        let room = self.spool.as_ref().is_some_and(|spool| spool.room() > 0);
        let fills = room && self.outage.lasts() && self.disk_rests_until.is_none();
        flow.set_held(!fills);
        if fills && !self.rest.is_empty() {
            self.take(source, flow)?;
            return Ok(Step::Further);
        }
        tokio::select! {
            biased;
            writable = sink.writable() => {
                let mut writable = writable?;
                // It was full when the spool was begun, or since: somebody has read.
                self.outage.reader_seen();
                match self.replay_once(sink, flow) {
                    Err(error) if would_block(&error) => writable.clear_ready(),
                    other => other?,
                }
            }
            readable = source.fd().readable(), if fills => {
                let mut readable = readable?;
                match self.take(source, flow)? {
                    Taken::Bytes => {}
                    Taken::Nothing => readable.clear_ready(),
                    Taken::End => return Ok(Step::End),
                }
            }
            () = self.outage.changed() => {}
            () = rested(&mut self.disk_rests_until) => {}
        }
        Ok(Step::Further)
    }

    /// Waits until a full fifo is a reason to spool.
    async fn may_spool(&mut self) {
        loop {
            if self.place.limit == 0 || !self.outage.lasts() {
                self.outage.changed().await;
            } else if self.disk_rests_until.is_some() {
                rested(&mut self.disk_rests_until).await;
            } else {
                return;
            }
        }
    }

    /// Takes one batch into the spool, which is made where there is none. An error is the source's; a disk that does not
    /// take the batch is left alone for a while, and nothing is lost.
    fn take(&mut self, source: &Source, flow: &Flow) -> io::Result<Taken> {
        let mut spool = match self.spool.take() {
            Some(spool) => spool,
            None => match self.begin(source) {
                Ok(spool) => spool,
                Err(error) => return Ok(self.let_disk_rest(&error)),
            },
        };
        let taken = match source {
            _ if !self.rest.is_empty() => self.append_rest(&mut spool),
            Source::Pipe(source) => spool.fill_from(source),
            Source::Terminal(_) => {
                let room = usize::try_from(spool.room()).unwrap_or(usize::MAX);
                match self.read_rest(source, room) {
                    Err(error) if !would_block(&error) => return Err(error),
                    Ok(1..) => self.append_rest(&mut spool),
                    nothing => nothing,
                }
            }
        };
        let full = spool.room() == 0;
        self.spool = Some(spool).filter(|spool| !spool.is_empty());
        match taken {
            Ok(0) => return Ok(Taken::End),
            Ok(bytes) => flow.count_spooled(bytes),
            Err(error) if would_block(&error) => return Ok(Taken::Nothing),
            Err(error) => return Ok(self.let_disk_rest(&error)),
        }
        if full {
            flow.count_spool_full();
            if !std::mem::replace(&mut self.full_told, true) {
                warn!(stream = *self.place.name, bytes = self.place.limit; "spool is full: the container waits for the reader");
            }
        }
        Ok(Taken::Bytes)
    }

    fn begin(&self, source: &Source) -> io::Result<Spool> {
        // Where it is not allowed, it holds what it did.
        if let (Source::Pipe(source), true) = (source, self.place.limit > 0)
            && let Err(error) = pipe::grow(source, PIPE_LENGTH)
        {
            debug!(stream = *self.place.name; "grow the pipe: {error}");
        }
        debug!(stream = *self.place.name; "nobody reads the fifo: spooling");
        let place = &self.place;
        Spool::create(&place.directory, &place.name, place.limit)
    }

    fn let_disk_rest(&mut self, error: &io::Error) -> Taken {
        if self.disk_rests_until.is_none() && !std::mem::replace(&mut self.full_told, true) {
            warn!(stream = *self.place.name, directory:% = self.place.directory.display();
                "spool cannot be written, the container waits for the reader: {error}");
        }
        self.disk_rests_until = Some(Instant::now() + DISK_PAUSE);
        Taken::Bytes
    }

    fn replay_once(&mut self, sink: impl AsFd, flow: &Flow) -> io::Result<()> {
        let Some(spool) = &mut self.spool else {
            return Ok(());
        };
        match spool.replay_into(sink) {
            Ok(bytes) => flow.count_moved(bytes),
            Err(error) if would_block(&error) || error.kind() == io::ErrorKind::BrokenPipe => {
                return Err(error);
            }
            Err(error) => {
                flow.count_dropped(usize::try_from(spool.used()).unwrap_or(usize::MAX));
                warn!(stream = *self.place.name, bytes = spool.used(); "spool cannot be read and is lost: {error}");
                self.spool = None;
            }
        }
        if self.spool.as_ref().is_some_and(Spool::is_empty) {
            debug!(stream = *self.place.name; "spool is replayed");
            (self.spool, self.full_told) = (None, false);
        }
        Ok(())
    }

    /// Reads from a terminal, and writes what the fifo takes; the rest is kept. Zero is the end.
    fn copy(&mut self, source: &Source, sink: &Watched, flow: &Flow) -> io::Result<usize> {
        let read = self.read_rest(source, usize::MAX)?;
        if read > 0 {
            self.write_rest(sink, flow)?;
        }
        Ok(read)
    }

    fn read_rest(&mut self, source: &Source, most: usize) -> io::Result<usize> {
        buffer::with(|buffer| {
            let most = most.min(buffer.len());
            let read = source.read(buffer.get_mut(..most).unwrap_or_default())?;
            self.rest = buffer.get(..read).unwrap_or_default().into();
            Ok(read)
        })
    }

    fn write_rest(&mut self, sink: &Watched, flow: &Flow) -> io::Result<()> {
        let written = pipe::write(sink, &self.rest)?;
        flow.count_moved(written);
        self.forget(written);
        Ok(())
    }

    fn append_rest(&mut self, spool: &mut Spool) -> io::Result<usize> {
        let written = spool.append(&self.rest)?;
        self.forget(written);
        Ok(written)
    }

    fn forget(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default().into();
    }

    fn abandon(&mut self, why: &str, flow: &Flow) {
        let spooled = self.spool.take().map_or(0, |spool| spool.used());
        let bytes = usize::try_from(spooled).unwrap_or(usize::MAX) + self.rest.len();
        self.rest = Box::default();
        flow.count_dropped(bytes);
        warn!(stream = *self.place.name, bytes = bytes; "the last bytes are lost: {why}");
    }
}

/// Waits until the disk may be tried again; for ever where it may now.
async fn rested(until: &mut Option<Instant>) {
    match until {
        Some(time) => sleep_until(*time).await,
        None => std::future::pending().await,
    }
    *until = None;
}
