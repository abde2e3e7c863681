//! `outlive ps`.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::args::{Filter, Format, Global, PsArgs, State};
use super::client::{Client, is_gone};
use super::error::Error;
use super::json::container_state;
use super::output;
use super::resolve::{self, Named as _};
use super::table::{Ids, Table};
use super::time::{self, ago, between, from_cri, human};
use crate::api::cri;
use crate::types::Timestamp;

/// A container, as `-o json` prints it.
#[derive(Debug, Serialize)]
struct Row {
    id: String,
    name: String,
    attempt: u32,
    pod_id: String,
    pod_name: String,
    pod_namespace: String,
    image: String,
    image_id: String,
    state: &'static str,
    /// `null` unless it has ended.
    exit_code: Option<i32>,
    reason: String,
    message: String,
    created_at: Option<String>,
    started_at: Option<String>,
    finished_at: Option<String>,
    labels: BTreeMap<String, String>,
    #[serde(skip)]
    times: Times,
}

#[derive(Debug, Clone, Copy)]
struct Times {
    created: Option<Timestamp>,
    started: Option<Timestamp>,
    finished: Option<Timestamp>,
}

/// Lists containers, the newest first.
pub async fn list(global: &Global, args: &PsArgs) -> Result<(), Error> {
    let client = Client::connect(global).await?;
    let pods = client.pods(None).await?;
    let pod = match &args.pod {
        Some(word) => resolve::one(pods.clone(), word, resolve::POD)?.id,
        None => String::new(),
    };
    let has_status = |filter: &Filter| matches!(filter, Filter::Status(_));
    let state = match (args.state, args.all || args.filter.iter().any(has_status)) {
        (Some(state), _) => Some(state),
        (None, true) => None,
        (None, false) => Some(State::Running),
    };
    let filter = cri::ContainerFilter {
        pod_sandbox_id: pod,
        state: state.map(|state| cri::ContainerStateValue {
            state: cri_state(state).into(),
        }),
        label_selector: args.label.iter().cloned().collect(),
        ..Default::default()
    };
    let mut containers = client.containers(Some(filter)).await?;
    containers.retain(|container| is_selected(&args.filter, container));
    containers.sort_by_key(|container| std::cmp::Reverse(container.created_at));
    if args.quiet {
        return output::ids(containers.iter().map(|container| container.id.as_str()));
    }
    let pods: HashMap<&str, &cri::PodSandbox> =
        pods.iter().map(|pod| (pod.id.as_str(), pod)).collect();
    let mut rows = Vec::with_capacity(containers.len());
    for container in containers {
        match client.container_status(&container.id).await {
            Ok(status) => {
                let pod = pods.get(container.pod_sandbox_id.as_str()).copied();
                rows.push(Row::new(container, status, pod));
            }
            // It was removed meanwhile.
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    show(global.output, Ids::from(args.no_trunc), &rows)
}

/// Whether a container passes all filters. Of one kind, labels apart, one is enough (docker-ps(1)).
fn is_selected(filters: &[Filter], container: &cri::Container) -> bool {
    let passes = |filter: &Filter| match filter {
        Filter::Status(state) => container.state() == cri_state(*state),
        Filter::Label(key, value) => container.labels.get(key) == Some(value),
        Filter::Id(start) => container.id.starts_with(start),
        Filter::Name(part) => container.name().contains(part),
    };
    let kind = |filter: &Filter| std::mem::discriminant(filter);
    filters.iter().all(|filter| match filter {
        Filter::Label(..) => passes(filter),
        Filter::Status(_) | Filter::Id(_) | Filter::Name(_) => {
            let mut alike = filters.iter().filter(|other| kind(other) == kind(filter));
            alike.any(passes)
        }
    })
}

fn show(format: Format, length: Ids, rows: &[Row]) -> Result<(), Error> {
    output::rows(format, rows, |rows| {
        let now = Timestamp::now();
        let mut table = Table::new(&["ID", "NAME", "POD", "IMAGE", "STATUS", "CREATED"]);
        for row in rows {
            let created = row.times.created.map(|at| ago(at, now));
            table.row([
                length.show(&row.id),
                row.name.clone(),
                row.pod_name.clone(),
                row.image.clone(),
                row.status(now),
                created.unwrap_or_default(),
            ]);
        }
        table
    })
}

const fn cri_state(state: State) -> cri::ContainerState {
    match state {
        State::Created => cri::ContainerState::ContainerCreated,
        State::Running => cri::ContainerState::ContainerRunning,
        State::Exited => cri::ContainerState::ContainerExited,
        State::Unknown => cri::ContainerState::ContainerUnknown,
    }
}

impl Row {
    fn new(
        container: cri::Container,
        status: cri::ContainerStatus,
        pod: Option<&cri::PodSandbox>,
    ) -> Self {
        let state = status.state();
        let exited = state == cri::ContainerState::ContainerExited;
        let times = Times {
            created: from_cri(status.created_at),
            started: from_cri(status.started_at),
            finished: from_cri(status.finished_at),
        };
        let image = match (&container.image, &status.image) {
            (Some(spec), _) if !spec.user_specified_image.is_empty() => {
                spec.user_specified_image.clone()
            }
            (_, Some(spec)) | (Some(spec), None) => spec.image.clone(),
            (None, None) => container.image_ref.clone(),
        };
        let metadata = pod.and_then(|pod| pod.metadata.as_ref());
        Self {
            name: container.name().to_owned(),
            attempt: container.metadata.as_ref().map_or(0, |data| data.attempt),
            id: container.id,
            pod_id: container.pod_sandbox_id,
            pod_name: metadata.map_or_else(String::new, |data| data.name.clone()),
            pod_namespace: metadata.map_or_else(String::new, |data| data.namespace.clone()),
            image,
            image_id: status.image_id,
            state: container_state(state),
            exit_code: exited.then_some(status.exit_code),
            reason: status.reason,
            message: status.message,
            created_at: times.created.map(time::text),
            started_at: times.started.map(time::text),
            finished_at: times.finished.map(time::text),
            labels: container.labels.into_iter().collect(),
            times,
        }
    }

    /// The state for people: `running 3 minutes`, `exited (7) 2 minutes ago`.
    fn status(&self, now: Timestamp) -> String {
        let mut text = self.state.to_owned();
        if let Some(code) = self.exit_code {
            text = format!("{text} ({code})");
            // The two usual reasons say no more than the code does.
            if !["", "Completed", "Error"].contains(&self.reason.as_str()) {
                text = format!("{text} {}", self.reason);
            }
            if let Some(at) = self.times.finished {
                text = format!("{text} {}", ago(at, now));
            }
        } else if self.state == "running"
            && let Some(at) = self.times.started
        {
            text = format!("{text} {}", human(between(at, now)));
        } else if !self.message.is_empty() {
            text = format!("{text}: {}", self.message);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(status: cri::ContainerStatus) -> Row {
        Row::new(cri::Container::default(), status, None)
    }

    #[test]
    fn a_status_for_people_says_what_happened_and_when() {
        let minute = 60_000_000_000;
        let now = Timestamp::from_unix_nanos(10 * minute);
        let exited = cri::ContainerStatus {
            state: cri::ContainerState::ContainerExited.into(),
            exit_code: 137,
            reason: "OOMKilled".to_owned(),
            finished_at: 7 * i64::try_from(minute).unwrap(),
            ..Default::default()
        };
        assert_eq!(
            row(exited.clone()).status(now),
            "exited (137) OOMKilled 3 minutes ago"
        );
        let running = cri::ContainerStatus {
            state: cri::ContainerState::ContainerRunning.into(),
            started_at: 1,
            ..Default::default()
        };
        assert_eq!(row(running).status(now), "running 9 minutes");
        let unknown = cri::ContainerStatus {
            state: cri::ContainerState::ContainerUnknown.into(),
            message: "its status cannot be read".to_owned(),
            ..Default::default()
        };
        assert_eq!(
            row(unknown).status(now),
            "unknown: its status cannot be read"
        );
    }

    #[test]
    fn only_what_ended_has_an_exit_code() {
        let created = cri::ContainerStatus::default();
        let json = serde_json::to_value(row(created)).unwrap();
        assert_eq!(json["exit_code"], serde_json::Value::Null);
        assert_eq!(json["state"], "created");
        assert_eq!(json["finished_at"], serde_json::Value::Null);
    }
}
