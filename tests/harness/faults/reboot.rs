//! What a reboot takes, while the supervisor is dead: processes, what is mounted, the runtime directory, cgroups, the OCI
//! runtime's state and the shims' sockets. What survives one stays as it is.

use std::fs;
use std::path::Path;

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::poll;
use crate::support::supervisor::Supervisor;
use crate::support::supervisor_leaks;

/// Does it. Disks that a test has mounted outside of `state/` stay.
pub fn reboot(supervisor: &Supervisor) {
    supervisor.note_all();
    let footprint = supervisor.footprint();
    assert_eq!(
        footprint.supervisor, None,
        "a supervisor does not survive a reboot"
    );
    poll::until("every process of the supervisor's ends", || {
        let all = supervisor_leaks::processes(&footprint);
        for (pid, _) in &all {
            // It may have ended meanwhile.
            kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap_or_default();
        }
        if all.is_empty() {
            Ok(())
        } else {
            Err(format!("{all:?}"))
        }
    });
    unmount_below(&supervisor.state());
    fs::remove_dir_all(supervisor.state()).unwrap();
    supervisor_leaks::remove_runtime_state(&footprint);
}

fn unmount_below(dir: &Path) {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    let own: Vec<_> = points
        .filter(|point| Path::new(point).starts_with(dir))
        .collect();
    for point in own.iter().rev() {
        umount2(*point, MntFlags::MNT_DETACH).unwrap();
    }
}
