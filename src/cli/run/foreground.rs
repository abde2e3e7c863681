//! A container in the foreground: its output here, and the signals of here there.

use std::path::Path;

use nix::sys::signal::Signal as Heard;

use super::Made;
use super::config::Plan;
use crate::cli::client::{Client, KillScope};
use crate::cli::error::{Error, tell, warn};
use crate::cli::log::Reader;
use crate::cli::logs::{Follower, Printer, finish};
use crate::cli::watch::{Ended, Watch};
use crate::sys::signals::{Listener, listen};
use crate::types::Signal;

/// How often a user must ask for the end of a program that does not want to, before it is left alone: docker-run(1) has
/// as many.
const INSISTING: u32 = 3;

/// The signals that are passed on.
#[derive(Debug)]
pub struct Signals {
    interrupt: Listener,
    terminate: Listener,
    hangup: Listener,
    quit: Listener,
    user1: Listener,
    user2: Listener,
}

impl Signals {
    /// Takes them from now on.
    ///
    /// # Errors
    /// What sigaction(2) answered.
    pub fn listen() -> Result<Self, Error> {
        let listen = |signal| {
            listen(signal).map_err(|source| Error::Io {
                operation: "listen to signals".to_owned(),
                source,
            })
        };
        Ok(Self {
            interrupt: listen(Heard::SIGINT)?,
            terminate: listen(Heard::SIGTERM)?,
            hangup: listen(Heard::SIGHUP)?,
            quit: listen(Heard::SIGQUIT)?,
            user1: listen(Heard::SIGUSR1)?,
            user2: listen(Heard::SIGUSR2)?,
        })
    }

    async fn next(&mut self) -> Heard {
        tokio::select! {
            _ = self.interrupt.next() => Heard::SIGINT,
            _ = self.terminate.next() => Heard::SIGTERM,
            _ = self.hangup.next() => Heard::SIGHUP,
            _ = self.quit.next() => Heard::SIGQUIT,
            _ = self.user1.next() => Heard::SIGUSR1,
            _ = self.user2.next() => Heard::SIGUSR2,
        }
    }

    /// Passes them on to the container until the user insists.
    async fn pass_on(&mut self, client: &Client, container: &str) {
        let mut insisted = 0;
        loop {
            let heard = self.next().await;
            let number = u32::try_from(heard as i32).unwrap_or(0);
            let Some(signal) = Signal::new(number) else {
                continue;
            };
            if [Heard::SIGINT, Heard::SIGTERM].contains(&heard) {
                insisted += 1;
            }
            if insisted == INSISTING {
                return;
            }
            if let Err(error) = client.kill(container, signal, KillScope::Init).await {
                tell(&error);
            }
        }
    }
}

/// Shows a container's output and passes signals on until it has ended, or the user wants to leave: `None`.
///
/// # Errors
/// Those of the calls, of reading the log and of printing it.
pub async fn show(
    client: &Client,
    made: &Made,
    plan: &Plan,
    bundle: Option<&Path>,
    watch: Watch,
    mut signals: Signals,
) -> Result<Option<Ended>, Error> {
    let log = plan.log_path();
    let log = log.as_path();
    let ended = async {
        let passing = signals.pass_on(client, &made.container);
        tokio::select! {
            ended = watch.ended() => ended.map(Some),
            () = passing => {
                warn(&format!(
                    "the program does not end; it goes on, and `outlive stop {0}` or `outlive kill {0}` ends it",
                    plan.name
                ));
                Ok(None)
            }
        }
    };
    let read = Reader::from_start(log);
    let mut reader = read.map_err(|source| Error::Io {
        operation: format!("read log {log:?}"),
        source,
    })?;
    let mut printer = Printer::new(false);
    let follower = Follower {
        path: log,
        reader: &mut reader,
        printer: &mut printer,
    };
    let ended = follower.until(ended, bundle).await?;
    finish(log, &mut reader, &mut printer)?;
    Ok(ended)
}
