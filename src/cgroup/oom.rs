//! Waiting for a container to run out of memory.
//!
//! One source decides, the kernel's count of kills; what wakes is only a reason to look at it.
//!
//! Version 1: an eventfd registered in `cgroup.event_control` for `memory.oom_control`
//! (`admin-guide/cgroup-v1/memory.rst`, chapter 10). The kernel signals it **before** it kills, so that the count is often
//! still the old one at the first look; for every group below the one whose limit is reached, in which nothing may have
//! been killed (`mem_cgroup_oom_notify`); and when the group is removed. A kill is counted before the victim is signalled
//! (`__oom_kill_process`), so at its exit the count is right. Kernels before Linux 4.13 do not count, and no kernel kills
//! where `oom_kill_disable` is set: there each wake is the news, as for containerd's Go shim.
//!
//! Version 2: inotify on `memory.events`, which changes for reclaim at `memory.high` too.

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
    /// The count of kills has risen.
    Killed,
    /// The kernel is about to kill, here or in a group beside this one: the count is to be looked at again.
    Awaited,
    /// The container ran out of memory, and the kernel counts no kill for it.
    Uncounted,
    /// Something else happened, or nothing.
    Nothing,
    /// The cgroup is gone; there will be no further news.
    Gone,
}

/// The kernel's counts of kills for want of memory: of a group, and on version 1 of each group below it, which counts for
/// itself. A group that is removed takes its count with it, and a new one begins at 0, so only rises add up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OomCounts {
    own: u64,
    /// Inode of the group's directory, and its count.
    below: Vec<(u64, u64)>,
}

impl OomCounts {
    /// The count of the group itself.
    #[must_use]
    pub(super) const fn of(own: u64) -> Self {
        Self {
            own,
            below: Vec::new(),
        }
    }

    /// Adds the count of a group below, told by the inode of its directory.
    pub(super) fn add(&mut self, inode: u64, kills: u64) {
        self.below.push((inode, kills));
    }

    /// How many kills were counted since `before`.
    #[must_use]
    pub fn rise_since(&self, before: &Self) -> u64 {
        let below = self.below.iter().map(|(inode, kills)| {
            let known = before.below.iter().find(|(known, _)| known == inode);
            kills.saturating_sub(known.map_or(0, |(_, kills)| *kills))
        });
        below.fold(self.own.saturating_sub(before.own), u64::saturating_add)
    }
}

#[derive(Debug)]
enum Source {
    V1 { event: EventFd, group: PathBuf },
    V2 { events: Inotify },
}

/// A descriptor that becomes readable when the container may have run out of memory. Dropping it ends the watch.
#[derive(Debug)]
pub struct OomWatch {
    cgroup: Cgroup,
    source: Source,
    /// As counted at the last look.
    kills: Option<OomCounts>,
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
                Source::V2 { events }
            }
        };
        Ok(Self {
            kills: cgroup.oom_kills()?,
            cgroup: cgroup.clone(),
            source,
        })
    }

    /// Takes the readiness away, looks at the count, and says what it meant. May be called without a wake. Never blocks.
    ///
    /// # Errors
    /// What reading the descriptor or the count answered.
    pub fn consume(&mut self) -> io::Result<OomNotice> {
        let signalled = match &self.source {
            Source::V1 { event, .. } => event.drain()? > 0,
            Source::V2 { events } => {
                events.drain()?;
                false
            }
        };
        let now = match self.cgroup.oom_kills() {
            Err(error) if super::read::is_absence(&error) => return Ok(OomNotice::Gone),
            other => other?,
        };
        let before = std::mem::replace(&mut self.kills, now);
        Ok(match (&self.kills, before) {
            (Some(now), Some(before)) if now.rise_since(&before) > 0 => OomNotice::Killed,
            _ if !signalled => OomNotice::Nothing,
            (Some(_), _) if !self.is_killing_disabled() => OomNotice::Awaited,
            (Some(_) | None, _) => OomNotice::Uncounted,
        })
    }

    fn is_killing_disabled(&self) -> bool {
        let Source::V1 { group, .. } = &self.source else {
            return false;
        };
        fs::read_to_string(group.join("memory.oom_control"))
            .is_ok_and(|text| super::read::value(&text, "oom_kill_disable") == Some(1))
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
            Source::V2 { events } => events.as_fd(),
        }
    }
}

impl AsRawFd for OomWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(own: u64, below: &[(u64, u64)]) -> OomCounts {
        OomCounts {
            own,
            below: below.to_vec(),
        }
    }

    #[test]
    fn the_kills_of_groups_that_come_and_go_add_up() {
        let mut before = counts(1, &[(7, 2)]);
        let mut kills = 0;
        for now in [
            counts(1, &[(7, 3)]),
            // The group below is removed, and others take its place, one after the other.
            counts(1, &[]),
            counts(1, &[(8, 1)]),
            counts(2, &[]),
            counts(2, &[(9, 1), (10, 4)]),
            counts(2, &[(9, 1), (10, 4)]),
        ] {
            kills += now.rise_since(&before);
            before = now;
        }
        assert_eq!(kills, 1 + 1 + 1 + 5);
    }
}
