//! Accepting connections for as long as a process lives.
//!
//! An error of accept(2) leaves the connection waiting and the listener readable: EMFILE and ENFILE (no descriptor is free),
//! ENOBUFS and ENOMEM. So each error is followed by a pause, and is told once: when accepting begins to fail, and when it
//! works again; and not more often than every ten seconds, where the two alternate. A connection that would take one of the last descriptors waits too: exits, events and kills need some.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::{Instant, Sleep, sleep};

use super::limits::{self, Demand};

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_secs(1);
/// A failure this long after the last one is a new one: it is told, and its pauses begin with the first.
const NEW_AFTER: Duration = Duration::from_secs(10);

/// A socket that connections come to.
pub trait Listener {
    /// One connection.
    type Stream;

    /// Accepts the next one.
    ///
    /// # Errors
    /// What accept(2) answered.
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Self::Stream>>;
}

impl Listener for UnixListener {
    type Stream = UnixStream;

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<UnixStream>> {
        Self::poll_accept(self, cx).map_ok(|(stream, _)| stream)
    }
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<TcpStream>> {
        Self::poll_accept(self, cx).map_ok(|(stream, _)| stream)
    }
}

/// What happened on a listener.
#[derive(Debug)]
pub enum Incoming<S> {
    /// A connection came.
    Connection(S),
    /// Accepting fails from now on, first for this reason. Connections wait meanwhile.
    Failing(io::Error),
    /// Accepting works again; a connection follows.
    Recovered,
}

/// The connections to one listener.
#[derive(Debug)]
pub struct Accepting<L: Listener> {
    listener: L,
    /// The last error: when it came, and how long the pause after it was.
    last_error: Option<(Instant, Duration)>,
    /// When a failure was told.
    told_at: Option<Instant>,
    /// Whether accepting fails.
    is_failing: bool,
    /// Whether that was told, so that its end is to be.
    is_told: bool,
    pause: Option<Pin<Box<Sleep>>>,
    /// Accepted, and not told yet.
    held: Option<L::Stream>,
}

impl<L: Listener> Accepting<L> {
    /// The connections to `listener`.
    #[must_use]
    pub const fn new(listener: L) -> Self {
        Self {
            listener,
            last_error: None,
            told_at: None,
            is_failing: false,
            is_told: false,
            pause: None,
            held: None,
        }
    }

    /// Tells what happens next. Never ends. A runtime must be entered.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Incoming<L::Stream>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            let accepted = match self.held.take() {
                Some(stream) => Ok(stream),
                None => ready!(self.listener.poll_accept(cx)),
            };
            let error = match accepted {
                Ok(stream) => match limits::spare_reserve(Demand::Connection) {
                    Ok(()) if self.is_told => {
                        (self.is_failing, self.is_told) = (false, false);
                        self.held = Some(stream);
                        return Poll::Ready(Incoming::Recovered);
                    }
                    Ok(()) => {
                        self.is_failing = false;
                        return Poll::Ready(Incoming::Connection(stream));
                    }
                    Err(error) => {
                        self.held = Some(stream);
                        error
                    }
                },
                Err(error) => error,
            };
            let now = Instant::now();
            let is_new = |since: &Instant| now.duration_since(*since) >= NEW_AFTER;
            let before = self
                .last_error
                .filter(|(at, _)| self.is_failing || !is_new(at));
            let pause = before.map_or(FIRST_PAUSE, |(_, pause)| (pause * 2).min(LAST_PAUSE));
            self.last_error = Some((now, pause));
            self.is_failing = true;
            self.pause = Some(Box::pin(sleep(pause)));
            if !self.is_told && self.told_at.as_ref().is_none_or(is_new) {
                (self.is_told, self.told_at) = (true, Some(now));
                return Poll::Ready(Incoming::Failing(error));
            }
        }
    }

    /// As [`Accepting::poll_next`]. May be cancelled.
    pub async fn next(&mut self) -> Incoming<L::Stream> {
        poll_fn(|cx| self.poll_next(cx)).await
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;

    use super::*;

    /// Answers as it is told, then never again.
    struct Scripted(RefCell<VecDeque<Result<u32, i32>>>);

    impl Listener for Scripted {
        type Stream = u32;

        fn poll_accept(&self, _: &mut Context<'_>) -> Poll<io::Result<u32>> {
            match self.0.borrow_mut().pop_front() {
                None => Poll::Pending,
                Some(answer) => Poll::Ready(answer.map_err(io::Error::from_raw_os_error)),
            }
        }
    }

    #[test]
    fn a_failure_is_told_once_and_so_is_its_end_and_there_is_a_pause_after_each_error() {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build().unwrap();
        runtime.block_on(async {
            for errno in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM] {
                let answers = [Ok(1), Err(errno), Err(errno), Err(errno), Ok(2), Ok(3)];
                let mut accepting = Accepting::new(Scripted(RefCell::new(answers.into())));
                let begun = Instant::now();
                let mut told = Vec::new();
                for _ in 0..5 {
                    told.push(match accepting.next().await {
                        Incoming::Connection(number) => number.to_string(),
                        Incoming::Failing(error) => error.raw_os_error().unwrap().to_string(),
                        Incoming::Recovered => "recovered".to_owned(),
                    });
                }
                assert_eq!(told, ["1", &errno.to_string(), "recovered", "2", "3"]);
                assert!(begun.elapsed() >= FIRST_PAUSE * (1 + 2 + 4));
            }
        });
    }

    #[test]
    fn failures_that_alternate_with_connections_are_told_once_and_the_pauses_grow() {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build().unwrap();
        runtime.block_on(async {
            let pairs = (0..5).flat_map(|number| [Err(libc::EMFILE), Ok(number)]);
            let mut accepting = Accepting::new(Scripted(RefCell::new(pairs.collect())));
            let begun = Instant::now();
            let (mut failing, mut recovered, mut connections) = (0, 0, 0);
            while connections < 5 {
                match accepting.next().await {
                    Incoming::Connection(_) => connections += 1,
                    Incoming::Failing(_) => failing += 1,
                    Incoming::Recovered => recovered += 1,
                }
            }
            assert_eq!((failing, recovered), (1, 1));
            assert!(begun.elapsed() >= FIRST_PAUSE * (1 + 2 + 4 + 8 + 16));
        });
    }
}
