//! The one place that starts the shim's children, and the one that waits for them.
//!
//! ```text
//! SIGCHLD -> peek -> identify -> record -> reap
//!                      |
//!                      +- a program that the shim started     -> its Child's `wait`
//!                      +- a container process (adopted)       -> its owner's channel
//!                      +- unknown while a start is under way  -> kept; `adopt` finds it: it died before it was known
//!                      `- unknown otherwise: an orphan of a container -> reaped, forgotten
//! ```
//!
//! A SIGCHLD that never came, or a child that was reaped behind its back, would leave a container running for ever that
//! is dead. Neither can happen short of a defect of the kernel or of a library; so a look every half minute, for as long
//! as there are children, is enough ([`Reaper::check`]).
//!
//! It runs on the runtime's only thread, and starting and adopting are synchronous: no exit can come between the
//! fork and the entry in the table.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use log::{debug, error};
use nix::sys::signal::Signal::SIGCHLD;
use tokio::sync::oneshot;

use crate::sys::{proc, signals, spawn, wait};
use crate::types::{ExitRecord, ExitStatus, Pid, ProcessIdentity, Signal, Timestamp};

/// How long children may be silent before somebody looks.
const CHECK_INTERVAL: Duration = Duration::from_secs(30);

/// What is known of children; shared by the handles of one runtime thread.
#[derive(Default)]
struct Table {
    waiting: HashMap<Pid, oneshot::Sender<Exit>>,
    starts_under_way: usize,
    unclaimed: HashMap<Pid, Exit>,
}

/// A handle to the table; cheap to clone.
#[derive(Clone, Default)]
pub struct Reaper(Rc<RefCell<Table>>);

/// The end of a child, and who it was.
#[derive(Debug, Clone, Copy)]
pub struct Exit {
    /// How it ended.
    pub record: ExitRecord,
    /// Who it was, where the kernel still told.
    pub identity: Option<ProcessIdentity>,
}

/// A child of the shim whose end will be told.
#[derive(Debug)]
pub struct Child {
    /// Its pid; it may be signalled until `exit` has answered, since it is not reaped before.
    pub pid: Pid,
    /// Tells its end, once.
    pub exit: oneshot::Receiver<Exit>,
}

/// While one of these lives, the exits of unknown children are kept for [`Reaper::adopt`].
pub struct StartUnderWay(Rc<RefCell<Table>>);

impl Drop for StartUnderWay {
    fn drop(&mut self) {
        let mut table = self.0.borrow_mut();
        table.starts_under_way = table.starts_under_way.saturating_sub(1);
        if table.starts_under_way == 0 {
            table.unclaimed = HashMap::new();
        }
    }
}

impl Reaper {
    /// Starts a program and registers it.
    ///
    /// # Errors
    /// As [`spawn::spawn`].
    pub fn spawn(&self, program: spawn::Spawn) -> io::Result<Child> {
        let pid = spawn::spawn(program)?;
        Ok(self.register(pid))
    }

    /// To be held from before an OCI runtime is started until its container's process was adopted.
    #[must_use]
    pub fn start_under_way(&self) -> StartUnderWay {
        self.0.borrow_mut().starts_under_way += 1;
        StartUnderWay(Rc::clone(&self.0))
    }

    /// Registers a process that the OCI runtime started and left to the shim as subreaper; it may be dead already.
    #[must_use]
    pub fn adopt(&self, pid: Pid, _start: &StartUnderWay) -> Child {
        // Whoever is there under this pid now is not the one that was reaped.
        let early = self
            .0
            .borrow_mut()
            .unclaimed
            .remove(&pid)
            .filter(|_| proc::identity(pid).is_err());
        let child = self.register(pid);
        if let Some(exit) = early {
            self.tell(exit);
        }
        child
    }

    /// Sends `signal` to a child that is not reaped, so that the pid is its own.
    ///
    /// # Errors
    /// `NotFound` where the child has ended; else what kill(2) answered.
    pub fn signal(&self, pid: Pid, signal: Signal) -> io::Result<()> {
        if self.0.borrow().waiting.contains_key(&pid) {
            wait::signal_child(pid, signal)
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn register(&self, pid: Pid) -> Child {
        let (sender, exit) = oneshot::channel();
        self.0.borrow_mut().waiting.insert(pid, sender);
        Child { pid, exit }
    }

    fn tell(&self, exit: Exit) {
        let mut table = self.0.borrow_mut();
        match table.waiting.remove(&exit.record.pid) {
            Some(owner) => {
                if owner.send(exit).is_err() {
                    debug!(pid = exit.record.pid.get(), status = exit.record.status.get(); "nobody asks for this exit any more");
                }
            }
            None if table.starts_under_way > 0 => {
                table.unclaimed.insert(exit.record.pid, exit);
            }
            None => {
                debug!(pid = exit.record.pid.get(), status = exit.record.status.get(); "reaped an orphan")
            }
        }
    }

    /// Reaps every child that is dead now.
    fn reap_all(&self) {
        loop {
            let zombie = match wait::peek() {
                Ok(Some(zombie)) => zombie,
                Ok(None) => return,
                Err(error) => return error!("waitid: {error}"),
            };
            let record = ExitRecord {
                pid: zombie.pid,
                status: zombie.status,
                exited_at: Timestamp::now(),
            };
            // While it is a zombie its start time can still be read.
            let identity = proc::identity(zombie.pid).ok();
            self.tell(Exit { record, identity });
            if let Err(error) = wait::reap(zombie) {
                // Going on would find the same zombie for ever; the next SIGCHLD tries again.
                return error!(pid = zombie.pid.get(); "reap: {error}");
            }
        }
    }

    /// Finds what no SIGCHLD has told: children that are dead and were not reaped, and ones that are gone although
    /// nobody here has reaped them, whose exit status nobody knows any more.
    pub fn check(&self) {
        self.reap_all();
        self.tell_lost();
    }

    fn tell_lost(&self) {
        let pids: Vec<Pid> = self.0.borrow().waiting.keys().copied().collect();
        for pid in pids {
            // A process that the OCI runtime has not left to the shim is no child, and may live.
            let is_gone = matches!(wait::is_child(pid), Ok(false)) && proc::identity(pid).is_err();
            if is_gone {
                error!(pid = pid.get(); "a process is gone and its exit was not seen");
                let record = ExitRecord {
                    pid,
                    status: ExitStatus::UNKNOWN,
                    exited_at: Timestamp::now(),
                };
                self.tell(Exit {
                    record,
                    identity: None,
                });
            }
        }
    }

    /// Starts to listen for SIGCHLD; the future that this returns reaps for as long as it is polled.
    ///
    /// # Errors
    /// What installing the signal handler answered.
    pub fn run(&self) -> io::Result<impl Future<Output = ()> + use<>> {
        let mut child_signals = signals::listen(SIGCHLD)?;
        let reaper = self.clone();
        Ok(async move {
            loop {
                reaper.reap_all();
                let has_children = !reaper.0.borrow().waiting.is_empty();
                tokio::select! {
                    received = child_signals.next() => if let Err(error) = received {
                        return error!("SIGCHLD is not heard any more: {error}");
                    },
                    () = tokio::time::sleep(CHECK_INTERVAL), if has_children => reaper.check(),
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn told(child: &mut Child) -> Option<ExitStatus> {
        child.exit.try_recv().ok().map(|exit| exit.record.status)
    }

    #[test]
    fn what_was_reaped_by_another_is_told_with_an_unknown_status() {
        let mut process = Command::new("true").spawn().unwrap();
        let reaper = Reaper::default();
        let mut child = reaper.register(Pid::new(process.id()).unwrap());
        process.wait().unwrap();
        reaper.tell_lost();
        assert_eq!(told(&mut child), Some(ExitStatus::UNKNOWN));
    }

    #[test]
    fn a_living_process_is_left_alone_child_or_not() {
        let mut process = Command::new("sleep").arg("1000").spawn().unwrap();
        let reaper = Reaper::default();
        let mut child = reaper.register(Pid::new(process.id()).unwrap());
        let mut stranger = reaper.register(Pid::new(1).unwrap());
        reaper.tell_lost();
        assert_eq!((told(&mut child), told(&mut stranger)), (None, None));
        process.kill().unwrap();
        process.wait().unwrap();
    }
}
