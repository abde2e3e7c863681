//! Waits for a container's end, over restarts of the supervisor: the container does not notice them, and who watches it
//! need not either.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tonic::Streaming;

use super::client::{Client, is_gone};
use super::error::{Error, warn};
use crate::api::cri;

/// How long the supervisor may be away.
const OUTAGE: Duration = Duration::from_secs(60);
/// Between two looks while events tell what happens; without them, and while it is away, [`SOON`].
const SELDOM: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_millis(200);

/// How a container ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ended {
    /// As its status says.
    Exited(Box<cri::ContainerStatus>),
    /// Somebody has removed it.
    Removed,
}

/// A container that is watched.
#[derive(Debug)]
pub struct Watch {
    client: Client,
    id: String,
    events: Option<Streaming<cri::ContainerEventResponse>>,
}

impl Watch {
    /// Listens from now on, so that no end is missed that comes after this.
    pub async fn new(client: &Client, id: &str) -> Self {
        Self {
            client: client.clone(),
            id: id.to_owned(),
            // Without events it is looked at more often.
            events: client.events().await.ok(),
        }
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// What the supervisor answers, unless it is away: that is an error after a minute.
    pub async fn ended(mut self) -> Result<Ended, Error> {
        let mut away: Option<Instant> = None;
        loop {
            match self.client.container_status(&self.id).await {
                Ok(status) => {
                    if away.take().is_some() {
                        warn("the supervisor is back");
                    }
                    if status.state() == cri::ContainerState::ContainerExited {
                        return Ok(Ended::Exited(Box::new(status)));
                    }
                    if self.events.is_none() {
                        self.events = self.client.events().await.ok();
                    }
                }
                Err(error) if is_gone(&error) => return Ok(Ended::Removed),
                Err(error) if error.is_outage() => {
                    self.events = None;
                    match away {
                        None => {
                            warn("the supervisor is away; the container goes on");
                            away = Some(Instant::now());
                        }
                        Some(since) if since.elapsed() > OUTAGE => return Err(error),
                        Some(_) => {}
                    }
                }
                Err(error) => return Err(error),
            }
            self.pause().await;
        }
    }

    /// Waits for an event of the container, or for a while.
    async fn pause(&mut self) {
        let Some(events) = &mut self.events else {
            return tokio::time::sleep(SOON).await;
        };
        let id = &self.id;
        let of_container = async {
            loop {
                match events.message().await {
                    Ok(Some(event)) if event.container_id == *id => return true,
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return false,
                }
            }
        };
        match tokio::time::timeout(SELDOM, of_container).await {
            Ok(true) | Err(_) => {}
            Ok(false) => {
                self.events = None;
                tokio::time::sleep(SOON / 4).await;
            }
        }
    }
}

/// The container's bundle, which is there until the shim has written the last of its log; `None` where the server does
/// not say.
pub async fn bundle(client: &Client, id: &str) -> Option<PathBuf> {
    let request = cri::ContainerStatusRequest {
        container_id: id.to_owned(),
        verbose: true,
    };
    let mut runtime = client.runtime();
    let answer = client.call("status", runtime.container_status(request));
    let info = super::json::info(&answer.await.ok()?.info);
    Some(info.pointer("/info/bundle")?.as_str()?.into())
}
