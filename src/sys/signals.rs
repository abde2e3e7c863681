//! Signals that a process takes as they come, in its event loop.
//!
//! A handler raises an eventfd(2) for its signal, and whoever listens reads that. Not the async runtime's own, which
//! keeps a record for every signal there could be, six pages of memory in each shim, and listens for SIGCHLD unasked.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::eventfd::EventFd;

/// One more than the largest of the standard signals (signal(7)).
const SIGNALS: usize = 32;

/// What is raised for each signal, once somebody has listened for it; it stays, since a handler may be about to use it.
static RAISED: [OnceLock<EventFd>; SIGNALS] = [const { OnceLock::new() }; SIGNALS];

/// Hears of one signal. Several deliveries between two looks are one, as for the kernel.
#[derive(Debug)]
pub struct Listener {
    event: &'static EventFd,
    ready: AsyncFd<BorrowedFd<'static>>,
}

/// Has `signal` told to the listener from now on, for as long as the process lives; one listener for each. A runtime must
/// be entered.
///
/// # Errors
/// What eventfd(2), sigaction(2) or epoll_ctl(2) answered.
pub fn listen(signal: Signal) -> io::Result<Listener> {
    let number = usize::try_from(signal as i32).map_err(io::Error::other)?;
    let place = RAISED.get(number).ok_or(Errno::EINVAL)?;
    let fresh = EventFd::new()?;
    let event = place.get_or_init(|| fresh);
    let fd = event.as_fd();
    // SAFETY: the descriptor is that of a static, which nobody can replace or close.
    let ready = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    let ready = ready.map_err(|error| error.into_parts().1)?;
    let action = SigAction::new(
        SigHandler::Handler(raise),
        SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    // SAFETY: `raise` does only what signal-safety(7) allows.
    unsafe { sigaction(signal, &action) }?;
    Ok(Listener { event, ready })
}

extern "C" fn raise(number: libc::c_int) {
    let event = usize::try_from(number)
        .ok()
        .and_then(|number| RAISED.get(number)?.get());
    if let Some(event) = event {
        let before = Errno::last_raw();
        let one = 1_u64.to_ne_bytes();
        // A counter that is full has been raised.
        // SAFETY: write(2) may be called in a handler; the descriptor is never closed, and the bytes outlive the call.
        unsafe { libc::write(event.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        Errno::set_raw(before);
    }
}

impl Listener {
    /// Waits for the next one.
    ///
    /// # Errors
    /// The runtime is shutting down, or what read(2) answered.
    pub async fn next(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.ready.readable().await?;
            match self.event.drain()? {
                0 => ready.clear_ready(),
                _ => return Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::raise as send;
    use tokio::time::timeout;

    use super::*;

    #[test]
    fn each_listener_in_turn_hears_a_signal_and_many_at_once_are_one() {
        let soon = std::time::Duration::from_millis(100);
        for _ in 0..2 {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_all().build().unwrap();
            runtime.block_on(async {
                let mut listener = listen(Signal::SIGWINCH).unwrap();
                let mut heard = async || timeout(soon, listener.next()).await;
                assert!(heard().await.is_err(), "nothing was sent");
                for _ in 0..3 {
                    send(Signal::SIGWINCH).unwrap();
                }
                heard().await.unwrap().unwrap();
                assert!(heard().await.is_err(), "they were one");
            });
        }
    }
}
