//! How many files this process may have open (getrlimit(2), RLIMIT_NOFILE), and what its children are given of that.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The soft limit that this process was started with, once it has another.
static STARTED_WITH: OnceLock<u64> = OnceLock::new();

/// Raises the soft limit to the hard one; answers how many files that is. Programs that are started by way of
/// [`as_started`] have the former limit: one that uses select(2) must not meet a descriptor above 1023.
///
/// # Errors
/// What the kernel answered.
pub fn raise_open_files() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        STARTED_WITH.get_or_init(|| soft);
    }
    Ok(hard)
}

/// Has the program run with the soft limit that this process was started with.
pub fn as_started(command: &mut Command) {
    let Some(&soft) = STARTED_WITH.get() else {
        return;
    };
    let lower = move || {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, soft.min(hard), hard)?;
        Ok(())
    };
    // SAFETY: between fork and exec `lower` makes only the system calls getrlimit and setrlimit and allocates nothing.
    unsafe { command.pre_exec(lower) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_given_what_the_process_was_started_with() {
        let (before, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        // Not needed by other tests of this process, which may run beside this one.
        setrlimit(Resource::RLIMIT_NOFILE, hard - 1, hard).unwrap();
        assert_eq!(raise_open_files().unwrap(), hard);
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (hard, hard));
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "ulimit -Sn; ulimit -Hn"]);
        as_started(&mut command);
        let output = command.output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(printed, format!("{}\n{hard}\n", hard - 1));
        setrlimit(Resource::RLIMIT_NOFILE, before, hard).unwrap();
    }
}
