//! `outlive pods`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::args::{Global, PodListArgs};
use super::client::{Client, is_gone};
use super::error::Error;
use super::json::pod_state;
use super::output;
use super::table::{Ids, Table};
use super::time::{self, ago, from_cri};
use crate::api::cri;
use crate::types::Timestamp;

/// A pod, as `-o json` prints it.
#[derive(Debug, Serialize)]
struct Row {
    id: String,
    name: String,
    namespace: String,
    uid: String,
    attempt: u32,
    state: &'static str,
    /// The first of its addresses; empty where it has none.
    ip: String,
    additional_ips: Vec<String>,
    runtime_handler: String,
    created_at: Option<String>,
    labels: BTreeMap<String, String>,
    #[serde(skip)]
    created: Option<Timestamp>,
}

/// Lists pods, the newest first.
pub async fn list(global: &Global, args: &PodListArgs) -> Result<(), Error> {
    let client = Client::connect(global).await?;
    let filter = cri::PodSandboxFilter {
        label_selector: args.label.iter().cloned().collect(),
        ..Default::default()
    };
    let mut pods = client.pods(Some(filter)).await?;
    pods.sort_by_key(|pod| std::cmp::Reverse(pod.created_at));
    if args.quiet {
        return output::ids(pods.iter().map(|pod| pod.id.as_str()));
    }
    let mut rows = Vec::with_capacity(pods.len());
    for pod in pods {
        match client.pod_status(&pod.id).await {
            Ok(status) => rows.push(row(pod, status)),
            // It was removed meanwhile.
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    let length = Ids::from(args.no_trunc);
    output::rows(global.output, &rows, |rows| {
        let now = Timestamp::now();
        let mut table = Table::new(&["ID", "NAME", "NAMESPACE", "STATE", "IP", "CREATED"]);
        for row in rows {
            table.row([
                length.show(&row.id),
                row.name.clone(),
                row.namespace.clone(),
                row.state.replace('_', " "),
                row.ip.clone(),
                row.created.map(|at| ago(at, now)).unwrap_or_default(),
            ]);
        }
        table
    })
}

fn row(pod: cri::PodSandbox, status: cri::PodSandboxStatus) -> Row {
    let state = pod_state(status.state());
    let metadata = pod.metadata.unwrap_or_default();
    let network = status.network.unwrap_or_default();
    let created = from_cri(pod.created_at);
    Row {
        id: pod.id,
        name: metadata.name,
        namespace: metadata.namespace,
        uid: metadata.uid,
        attempt: metadata.attempt,
        state,
        ip: network.ip,
        additional_ips: network.additional_ips.into_iter().map(|ip| ip.ip).collect(),
        runtime_handler: pod.runtime_handler,
        created_at: created.map(time::text),
        labels: pod.labels.into_iter().collect(),
        created,
    }
}
