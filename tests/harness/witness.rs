//! What the kernel knows of each init, seen by nobody whom the harness kills: a pidfd of each is polled, and its exit
//! status is asked of the kernel itself (`PIDFD_GET_INFO`, Linux 6.15).

use std::collections::HashMap;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use outlive::sys::pidfd::Pidfd;
use outlive::sys::proc;
use outlive::types::{ExitStatus, Pid, ProcessIdentity};

/// How exact the last moment is at which an init was seen alive.
const LOOK: u16 = 10;

/// How long a dead init may stay a zombie: nobody but its shim takes it away.
const REAPED: Duration = Duration::from_secs(20);

/// What is known of an init. Times are Unix nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Testimony {
    /// Whose it is.
    pub process: ProcessIdentity,
    /// When it was last seen alive.
    pub alive_at: i64,
    /// When it was first seen dead.
    pub dead_at: Option<i64>,
    /// How it ended; `None` while it runs, and on a kernel that does not tell.
    pub exit: Option<ExitStatus>,
}

#[derive(Debug, Default)]
struct Book {
    held: Vec<(u32, Arc<Pidfd>, Option<Instant>)>,
    known: HashMap<u32, Testimony>,
}

/// Watches inits from a thread of its own.
#[derive(Debug)]
pub struct Witness {
    book: Arc<Mutex<Book>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Unix nanoseconds.
pub fn now() -> i64 {
    i64::try_from(outlive::types::Timestamp::now().unix_nanos()).unwrap_or(i64::MAX)
}

impl Witness {
    pub fn start() -> Self {
        let book = Arc::new(Mutex::new(Book::default()));
        let ends = Arc::new(AtomicBool::new(false));
        let (own, stop) = (Arc::clone(&book), Arc::clone(&ends));
        let thread = thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                look(&own);
            }
        });
        Self {
            book,
            ends,
            thread: Some(thread),
        }
    }

    /// Watches the init of this pid from now on; nothing where it has ended, or is watched already.
    pub fn watch(&self, pid: u32) {
        let Some(known) = Pid::new(pid) else { return };
        let Ok(process) = proc::running(known) else {
            return;
        };
        let mut book = self.book.lock().unwrap();
        if book.known.get(&pid).is_some_and(|is| is.process == process) {
            return;
        }
        let Ok(Some(held)) = Pidfd::open(process) else {
            return;
        };
        let testimony = Testimony {
            process,
            alive_at: now(),
            dead_at: None,
            exit: None,
        };
        book.known.insert(pid, testimony);
        book.held.push((pid, Arc::new(held), None));
    }

    /// What is known of the init that had this pid.
    pub fn of(&self, pid: u32) -> Option<Testimony> {
        self.book.lock().unwrap().known.get(&pid).copied()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// One look at all that are watched.
fn look(book: &Mutex<Book>) {
    let held: Vec<_> = book.lock().unwrap().held.clone();
    let before = now();
    let mut fds: Vec<_> = held
        .iter()
        .filter(|(_, _, dead)| dead.is_none())
        .map(|(_, pidfd, _)| PollFd::new(pidfd.as_fd(), PollFlags::POLLIN))
        .collect();
    if poll(&mut fds, PollTimeout::from(LOOK)).is_err() {
        return;
    }
    let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(true)).collect();
    let mut ready = ready.into_iter();
    let mut book = book.lock().unwrap();
    let mut rest = Vec::new();
    let watched = held.len();
    for (pid, pidfd, dead) in held {
        let ended = dead.is_some() || ready.next().unwrap_or(false);
        let Some(testimony) = book.known.get_mut(&pid) else {
            continue;
        };
        if !ended {
            // Not dead when the poll ended, which was after `before`.
            testimony.alive_at = before;
            rest.push((pid, pidfd, None));
            continue;
        }
        testimony.dead_at.get_or_insert_with(now);
        match pidfd.exit_status() {
            Ok(Some(exit)) => testimony.exit = Some(exit),
            Ok(None) if dead.is_none_or(|since| since.elapsed() < REAPED) => {
                rest.push((pid, pidfd, dead.or_else(|| Some(Instant::now()))));
            }
            Ok(None) | Err(_) => {}
        }
    }
    let added = book.held.split_off(watched);
    rest.extend(added);
    book.held = rest;
}
