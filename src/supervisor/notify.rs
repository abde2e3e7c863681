//! What the service manager is told (sd_notify(3)): READY=1 and STOPPING=1 to the socket `NOTIFY_SOCKET`.
//!
//! The variable is taken out of the environment: runc would hand it on to a container (its `notify_socket.go`).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use sd_notify::NotifyState;

/// Who is told; nobody where the supervisor was not started as a service.
#[derive(Debug)]
pub struct Notify(Option<OsString>);

impl Notify {
    /// The supervisor serves. Called before anything is started that would inherit the environment.
    #[must_use]
    pub fn ready() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET");
        tell(sd_notify::notify(true, &[NotifyState::Ready]));
        Self(socket.filter(|socket| !socket.is_empty()))
    }

    /// The supervisor is about to end.
    pub fn stopping(&self) {
        if let Some(socket) = &self.0 {
            tell(send(socket, &format!("{}\n", NotifyState::Stopping)));
        }
    }
}

fn tell(told: io::Result<()>) {
    if let Err(error) = told {
        log::warn!(error:% = error; "the service manager cannot be told");
    }
}

fn send(socket: &OsStr, message: &str) -> io::Result<()> {
    let address = match socket.as_bytes().split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    let sender = UnixDatagram::unbound()?;
    // A full queue would hold the supervisor up.
    sender.set_nonblocking(true)?;
    sender.send_to_addr(message.as_bytes(), &address)?;
    Ok(())
}
