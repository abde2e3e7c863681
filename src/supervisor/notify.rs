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
    /// Takes the socket's name from the environment, where children would find it too.
    #[must_use]
    pub fn from_environment() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET");
        let own = Self(socket.filter(|socket| !socket.is_empty()));
        // It says nothing, and removes the variable.
        if let Err(error) = sd_notify::notify(true, &[]) {
            log::debug!(error:% = error; "NOTIFY_SOCKET");
        }
        own
    }

    /// The supervisor serves.
    pub fn ready(&self) {
        self.tell(&NotifyState::Ready);
    }

    /// The supervisor is about to end.
    pub fn stopping(&self) {
        self.tell(&NotifyState::Stopping);
    }

    fn tell(&self, state: &NotifyState<'_>) {
        let Some(socket) = &self.0 else {
            return;
        };
        if let Err(error) = send(socket, &format!("{state}\n")) {
            log::warn!(error:% = error; "the service manager cannot be told");
        }
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
