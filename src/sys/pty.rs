//! The master side of a pseudo-terminal (pty(7), ioctl_tty(2)).

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Whether `fd` is a terminal.
#[must_use]
pub fn is_terminal(fd: impl AsFd) -> bool {
    nix::unistd::isatty(fd).unwrap_or(false)
}

/// Sets the size in characters; the foreground process group gets SIGWINCH if it changes.
///
/// # Errors
/// What TIOCSWINSZ answered.
pub fn resize(master: impl AsFd, width: u16, height: u16) -> io::Result<()> {
    let size = libc::winsize {
        ws_row: height,
        ws_col: width,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the descriptor is borrowed for the call; TIOCSWINSZ only reads the winsize behind the pointer.
    let result = unsafe {
        libc::ioctl(
            master.as_fd().as_raw_fd(),
            libc::TIOCSWINSZ,
            &raw const size,
        )
    };
    nix::errno::Errno::result(result)?;
    Ok(())
}
