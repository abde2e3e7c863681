//! A container in the foreground: its output here, and the signals of here there.

use std::path::Path;

use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};

use super::Made;
use super::config::Plan;
use crate::cli::client::{Client, KillScope};
use crate::cli::error::{Error, tell, warn};
use crate::cli::log::Reader;
use crate::cli::logs::{Follower, Printer, finish};
use crate::cli::watch::{Ended, Watch};
use crate::types::Signal;

/// How often a user must ask for the end of a program that does not want to, before it is left alone: docker-run(1) has
/// as many.
const INSISTING: u32 = 3;

/// The signals that are passed on.
#[derive(Debug)]
pub struct Signals {
    interrupt: SignalStream,
    terminate: SignalStream,
    hangup: SignalStream,
    quit: SignalStream,
    user1: SignalStream,
    user2: SignalStream,
}

impl Signals {
    /// Takes them from now on.
    ///
    /// # Errors
    /// What sigaction(2) answered.
    pub fn listen() -> Result<Self, Error> {
        let listen = |kind| {
            signal(kind).map_err(|source| Error::Io {
                operation: "listen to signals".to_owned(),
                source,
            })
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
            quit: listen(SignalKind::quit())?,
            user1: listen(SignalKind::user_defined1())?,
            user2: listen(SignalKind::user_defined2())?,
        })
    }

    async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.hangup.recv() => SignalKind::hangup(),
            _ = self.quit.recv() => SignalKind::quit(),
            _ = self.user1.recv() => SignalKind::user_defined1(),
            _ = self.user2.recv() => SignalKind::user_defined2(),
        }
    }

    /// Passes them on to the container until the user insists.
    async fn pass_on(&mut self, client: &Client, container: &str) {
        let mut insisted = 0;
        loop {
            let kind = self.next().await;
            let number = u32::try_from(kind.as_raw_value()).unwrap_or(0);
            let Some(signal) = Signal::new(number) else {
                continue;
            };
            if [SignalKind::interrupt(), SignalKind::terminate()].contains(&kind) {
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
    let mut printer = Printer::new(false, None);
    let follower = Follower {
        path: log,
        reader: &mut reader,
        printer: &mut printer,
    };
    let ended = follower.until(ended, bundle).await?;
    finish(log, &mut reader, &mut printer)?;
    Ok(ended)
}
