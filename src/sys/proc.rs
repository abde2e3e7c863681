//! procfs: who a process is (proc(5)).

use std::fs;
use std::io;
use std::sync::OnceLock;

use crate::types::{Pid, ProcessIdentity, Timestamp};

/// How many clock ticks a second has in what procfs shows: USER_HZ, 100 wherever Linux runs containers (proc(5)).
const TICKS_PER_SECOND: u64 = 100;

/// The identity of `pid`, which may be a zombie.
///
/// # Errors
/// `NotFound` where there is no such process; `InvalidData` where procfs reads otherwise than documented.
pub fn identity(pid: Pid) -> io::Result<ProcessIdentity> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let start_ticks = start_ticks(&stat).ok_or_else(|| malformed("/proc/PID/stat"))?;
    Ok(ProcessIdentity {
        pid,
        start_ticks,
        boot_id: boot_id()?,
    })
}

/// The identity of `pid` if it runs: a zombie does not.
///
/// # Errors
/// As [`identity`]; `NotFound` for a zombie too.
pub fn running(pid: Pid) -> io::Result<ProcessIdentity> {
    let identity = identity(pid)?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    match stat.rsplit_once(") ") {
        Some((_, fields)) if fields.starts_with(['Z', 'X']) => Err(io::ErrorKind::NotFound.into()),
        _ => Ok(identity),
    }
}

/// The wait status of a zombie, as waitpid(2) will give it to its parent; `None` where the process runs or is another.
///
/// # Errors
/// As [`identity`].
pub fn zombie(process: ProcessIdentity) -> io::Result<Option<i32>> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.pid))?;
    let is_it = start_ticks(&stat) == Some(process.start_ticks) && boot_id()? == process.boot_id;
    let Some((_, fields)) = stat.rsplit_once(") ") else {
        return Err(malformed("/proc/PID/stat"));
    };
    if !is_it || !fields.starts_with(['Z', 'X']) {
        return Ok(None);
    }
    // Field 52, `exit_code`; zero also where this process must not see it, which root may.
    let status = fields.split_ascii_whitespace().nth(52 - 3);
    let status = status.and_then(|status| status.parse().ok());
    status.map(Some).ok_or_else(|| malformed("/proc/PID/stat"))
}

/// When a process was started, by the clock as it is set now; exact to a hundredth of a second.
///
/// # Errors
/// As [`identity`].
pub fn started_at(process: &ProcessIdentity) -> io::Result<Timestamp> {
    let uptime = fs::read_to_string("/proc/uptime")?;
    let now = Timestamp::now();
    let ticks = uptime_ticks(&uptime).ok_or_else(|| malformed("/proc/uptime"))?;
    let age = ticks.saturating_sub(process.start_ticks);
    let nanos = age.saturating_mul(1_000_000_000 / TICKS_PER_SECOND);
    Ok(Timestamp::from_unix_nanos(
        now.unix_nanos().saturating_sub(nanos),
    ))
}

/// The first number of /proc/uptime, which has two digits after the point.
fn uptime_ticks(uptime: &str) -> Option<u64> {
    let (seconds, rest) = uptime.split_once('.')?;
    let hundredths = rest.get(..2)?;
    let seconds: u64 = seconds.parse().ok()?;
    Some(seconds * TICKS_PER_SECOND + hundredths.parse::<u64>().ok()?)
}

/// Field 22 of a stat line. The second field is the command in parentheses and may hold anything, parentheses too.
fn start_ticks(stat: &str) -> Option<u64> {
    let (_, after_command) = stat.rsplit_once(") ")?;
    after_command
        .split_ascii_whitespace()
        .nth(22 - 3)?
        .parse()
        .ok()
}

/// The id that the kernel drew at boot.
///
/// # Errors
/// As [`identity`].
pub fn boot_id() -> io::Result<u128> {
    static BOOT_ID: OnceLock<u128> = OnceLock::new();
    if let Some(id) = BOOT_ID.get() {
        return Ok(*id);
    }
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let id = u128::from_str_radix(&text.trim().replace('-', ""), 16)
        .map_err(|_| malformed("boot_id"))?;
    Ok(*BOOT_ID.get_or_init(|| id))
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{what} is not of the documented form"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_parentheses_does_not_shift_the_fields() {
        let line = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 1";
        assert_eq!(start_ticks(line), Some(4242));
        assert_eq!(start_ticks("7 (x"), None);
    }

    #[test]
    fn a_process_was_started_when_it_was() {
        assert_eq!(uptime_ticks("12.34 5.00\n"), Some(1234));
        assert_eq!(uptime_ticks("x"), None);
        let before = Timestamp::now();
        let mut child = std::process::Command::new("/bin/sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let process = identity(Pid::new(child.id()).unwrap()).unwrap();
        let started = started_at(&process).unwrap().unix_nanos();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(started.abs_diff(before.unix_nanos()) < 1_000_000_000);
    }

    #[test]
    fn this_process_has_an_identity_and_pid_max_has_none() {
        let own = Pid::new(std::process::id()).unwrap();
        assert_eq!(identity(own).unwrap(), identity(own).unwrap());
        assert!(identity(Pid::new(i32::MAX.unsigned_abs()).unwrap()).is_err());
    }
}
