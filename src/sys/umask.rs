//! The file mode creation mask (umask(2)), which is the same however the program was started.
//!
//! Under the mask 077 of a careful administrator's shell, a writable layer made with mkdir(2) would shut the container's
//! own users out of `/`, and the OCI runtime, which inherits the mask, would shut them out of the directories that it
//! makes for mounts. So both programs set the mask that systemd gives services (systemd.exec(5), `UMask=`) and that runc
//! gives containers (libcontainer `rootfs_linux.go`, `finalizeRootfs`), and what must be more private says so by its mode.

use std::sync::OnceLock;

use nix::sys::stat::{Mode, umask};

/// The mask: files and directories that do not state a mode are 0644 and 0755.
const MASK: Mode = Mode::S_IWGRP.union(Mode::S_IWOTH);

/// The mask that this process was started with.
static STARTED_WITH: OnceLock<Mode> = OnceLock::new();

/// Sets the mask to 022 for this process and its children. To be called first thing in `main`: the mask is the whole
/// process's, so no other thread may be making files.
pub fn fix() {
    let before = umask(MASK);
    STARTED_WITH.get_or_init(|| before);
}

/// Runs `work` with the mask that this process was started with: for children whose files are the user's alone to set
/// modes for. To be called where no other thread makes files.
pub fn as_started<T>(work: impl FnOnce() -> T) -> T {
    let Some(&started_with) = STARTED_WITH.get() else {
        return work();
    };
    let own = umask(started_with);
    let done = work();
    umask(own);
    done
}
