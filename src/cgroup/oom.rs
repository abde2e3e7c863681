//! Waiting for a container to run out of memory.
//!
//! Version 1: an eventfd registered in `cgroup.event_control` for `memory.oom_control`
//! (`admin-guide/cgroup-v1/memory.rst`, chapter 10). The kernel signals it **before** it kills, so that the count of
//! kills is often still the old one when the waiter looks (seen on Linux 6.18), and again when the group is removed.
//! So a wake of a group that is still there is the news, as the Go shim takes it, and the count is none.
//!
//! Version 2: inotify on `memory.events`, which changes for reclaim at `memory.high` too: there the count decides.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::PathBuf;

use super::Cgroup;
use crate::sys::eventfd::EventFd;
use crate::sys::inotify::Inotify;

/// What a wake of an [`OomWatch`] meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OomNotice {
    /// The container ran out of memory since the last call.
    Oom,
    /// Something else happened, or nothing.
    Nothing,
    /// The cgroup is gone; there will be no further news.
    Gone,
}

#[derive(Debug)]
enum Source {
    V1 { event: EventFd, group: PathBuf },
    V2 { events: Inotify, kills: u64 },
}

/// A descriptor that becomes readable when the container may have run out of memory. Dropping it ends the watch.
#[derive(Debug)]
pub struct OomWatch {
    cgroup: Cgroup,
    source: Source,
}

impl OomWatch {
    /// Starts to watch `cgroup`.
    ///
    /// # Errors
    /// `NotFound` where the group is gone; `Unsupported` where it has no memory controller.
    pub fn new(cgroup: &Cgroup) -> io::Result<Self> {
        let Some(file) = cgroup.oom_file() else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let source = match cgroup {
            Cgroup::V1(v1) => {
                let Some(group) = v1.dir("memory") else {
                    return Err(io::ErrorKind::Unsupported.into());
                };
                let event = EventFd::new()?;
                let control = fs::File::open(&file)?;
                let registration = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
                // Not `fs::write`: that would create the file in a directory which is no cgroup.
                write_existing(&group.join("cgroup.event_control"), &registration)?;
                let group = group.to_path_buf();
                Source::V1 { event, group }
            }
            Cgroup::V2(v2) => {
                if v2.dir().is_dir() && !file.exists() {
                    return Err(io::ErrorKind::Unsupported.into());
                }
                let events = Inotify::of_modifications(&file)?;
                let kills = cgroup.oom_kills()?;
                Source::V2 { events, kills }
            }
        };
        Ok(Self {
            cgroup: cgroup.clone(),
            source,
        })
    }

    /// Takes the readiness away and says what it meant. Never blocks.
    ///
    /// # Errors
    /// What reading the descriptor or the count answered.
    pub fn consume(&mut self) -> io::Result<OomNotice> {
        match &mut self.source {
            Source::V1 { event, group } => {
                let signalled = event.drain()? > 0;
                Ok(match (group.is_dir(), signalled) {
                    (false, _) => OomNotice::Gone,
                    (true, true) => OomNotice::Oom,
                    (true, false) => OomNotice::Nothing,
                })
            }
            Source::V2 { events, kills } => {
                events.drain()?;
                let now = match self.cgroup.oom_kills() {
                    Ok(now) => now,
                    Err(error) if super::read::is_absence(&error) => return Ok(OomNotice::Gone),
                    Err(error) => return Err(error),
                };
                let before = std::mem::replace(kills, now);
                Ok(if now > before {
                    OomNotice::Oom
                } else {
                    OomNotice::Nothing
                })
            }
        }
    }
}

/// Writes to a control file in one call.
pub(super) fn write_existing(path: &std::path::Path, value: &str) -> io::Result<()> {
    use io::Write;
    let mut file = fs::OpenOptions::new().write(true).open(path)?;
    file.write_all(value.as_bytes())
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.source {
            Source::V1 { event, .. } => event.as_fd(),
            Source::V2 { events, .. } => events.as_fd(),
        }
    }
}

impl AsRawFd for OomWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}
