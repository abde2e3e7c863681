//! `outlive events`: what happens, as it happens.

use std::collections::HashMap;

use serde::Serialize;

use super::args::{Format, Global};
use super::client::Client;
use super::error::Error;
use super::output;
use super::table::short;
use super::time;
use crate::api::cri;
use crate::types::Timestamp;

/// An event, as `-o json` prints it: one a line.
#[derive(Debug, Serialize)]
struct Line<'a> {
    time: Option<String>,
    event: &'static str,
    container_id: &'a str,
    /// Empty for a pod's own events.
    container_name: &'a str,
    pod_id: &'a str,
    pod_name: &'a str,
    /// `null` unless the container has ended.
    exit_code: Option<i32>,
    reason: &'a str,
}

/// Prints events until the stream ends, which is an error: the caller decides whether to list and listen again, since
/// what happened in between is in no stream.
pub async fn run(global: &Global) -> Result<(), Error> {
    let client = Client::connect(global).await?;
    let mut stream = client.events().await?;
    // A removed container's event has no status any more.
    let mut names = HashMap::new();
    loop {
        match stream.message().await {
            Ok(Some(event)) => print(global.output, &event, &mut names)?,
            Ok(None) => {
                return Err(Error::Unreachable {
                    address: global.address().to_owned(),
                    remedy: "it ended the stream of events; list what there is, and listen again",
                    is_absent: false,
                    source: "end of stream".into(),
                });
            }
            Err(status) => {
                return Err(Error::Call {
                    operation: "events".to_owned(),
                    status: Box::new(status),
                });
            }
        }
    }
}

fn print(
    format: Format,
    event: &cri::ContainerEventResponse,
    names: &mut HashMap<String, String>,
) -> Result<(), Error> {
    let id = event.container_id.as_str();
    let status = event
        .containers_statuses
        .iter()
        .find(|status| status.id == id);
    if let Some(metadata) = status.and_then(|status| status.metadata.as_ref()) {
        names.insert(id.to_owned(), metadata.name.clone());
    }
    let known = match event.container_event_type() {
        cri::ContainerEventType::ContainerDeletedEvent => names.remove(id),
        _ => names.get(id).cloned(),
    };
    let name = known.unwrap_or_default();
    let pod = event.pod_sandbox_status.as_ref();
    let exited = status.filter(|status| status.state() == cri::ContainerState::ContainerExited);
    let line = Line {
        time: time::from_cri(event.created_at).map(time::text),
        event: word(event.container_event_type()),
        container_id: id,
        container_name: &name,
        pod_id: pod.map_or("", |pod| &pod.id),
        pod_name: pod
            .and_then(|pod| pod.metadata.as_ref())
            .map_or("", |metadata| &metadata.name),
        exit_code: exited.map(|status| status.exit_code),
        reason: exited.map_or("", |status| &status.reason),
    };
    match format {
        Format::Json => output::json_line(&line),
        Format::Table => output::text(&line.for_people()),
    }
}

const fn word(kind: cri::ContainerEventType) -> &'static str {
    match kind {
        cri::ContainerEventType::ContainerCreatedEvent => "created",
        cri::ContainerEventType::ContainerStartedEvent => "started",
        cri::ContainerEventType::ContainerStoppedEvent => "stopped",
        cri::ContainerEventType::ContainerDeletedEvent => "deleted",
    }
}

impl Line<'_> {
    fn for_people(&self) -> String {
        let now = || time::text(Timestamp::now());
        let at = self.time.clone().unwrap_or_else(now);
        let subject = if self.container_id == self.pod_id {
            "pod"
        } else {
            "container"
        };
        let name = if subject == "pod" {
            self.pod_name
        } else {
            self.container_name
        };
        let mut line = format!(
            "{at}  {:<8} {subject:<9}  {}  {name}",
            self.event,
            short(self.container_id)
        );
        if let Some(code) = self.exit_code {
            line.push_str(&format!("  ({code} {})", self.reason));
        }
        line.replace(|c: char| c.is_control(), "?") + "\n"
    }
}
