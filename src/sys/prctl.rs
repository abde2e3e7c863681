//! What a process sets for itself: prctl(2), and its files in `/proc/self`.

use std::fs;
use std::io;

/// From linux/prctl.h.
const PR_SCHED_CORE: libc::c_int = 62;
const PR_SCHED_CORE_CREATE: libc::c_ulong = 1;
/// From linux/pid.h: `PIDTYPE_PGID`.
const SCOPE_PROCESS_GROUP: libc::c_ulong = 2;
/// The highest OOM score adjustment that there is (proc(5)).
const MAX_OOM_SCORE_ADJ: i32 = 1000;

/// Makes this process the parent of its descendants' orphans.
///
/// # Errors
/// What prctl(2) answered.
pub fn become_subreaper() -> io::Result<()> {
    // SAFETY: this option takes one number and touches no memory.
    let result = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    nix::errno::Errno::result(result)?;
    Ok(())
}

/// Gives this process group a core scheduling cookie of its own: no other shares a physical core with it at the same
/// time (Linux `Documentation/admin-guide/hw-vuln/core-scheduling.rst`).
///
/// # Errors
/// What prctl(2) answered; `InvalidInput` where the kernel has no core scheduling, `ENODEV` where the machine has no SMT.
pub fn create_core_scheduling_group() -> io::Result<()> {
    // SAFETY: with CREATE the last argument must be 0 and nothing is written.
    let result = unsafe {
        libc::prctl(
            PR_SCHED_CORE,
            PR_SCHED_CORE_CREATE,
            0,
            SCOPE_PROCESS_GROUP,
            0,
        )
    };
    nix::errno::Errno::result(result)?;
    Ok(())
}

/// Makes this process the likelier victim, by one, than `parent` when memory runs out: the manager should outlive it.
/// Only raising is tried, which needs no privilege.
///
/// # Errors
/// What reading or writing `oom_score_adj` answered.
pub fn be_killed_before(parent: u32) -> io::Result<()> {
    let score = |pid: &str| -> io::Result<i32> {
        let text = fs::read_to_string(format!("/proc/{pid}/oom_score_adj"))?;
        text.trim()
            .parse()
            .map_err(|_| io::ErrorKind::InvalidData.into())
    };
    let wanted = score(&parent.to_string())?
        .saturating_add(1)
        .min(MAX_OOM_SCORE_ADJ);
    if wanted > score("self")? {
        fs::write("/proc/self/oom_score_adj", wanted.to_string())
    } else {
        Ok(())
    }
}
