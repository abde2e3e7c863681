//! `outlive inspect`: the verbose status of containers and pods. JSON whatever `-o` says.

use serde_json::{Value, json};

use super::args::{Global, InspectArgs};
use super::client::Client;
use super::error::Error;
use super::{json, output, resolve};
use crate::api::cri;

/// Prints one JSON object, or an array of them where several were named.
pub async fn run(global: &Global, args: &InspectArgs) -> Result<(), Error> {
    let client = Client::connect(global).await?;
    let mut found = Vec::with_capacity(args.names.len());
    for word in &args.names {
        found.push(one(&client, word, args.pod).await?);
    }
    match found.as_slice() {
        [one] => output::json(one),
        all => output::json(&all),
    }
}

async fn one(client: &Client, word: &str, pods_only: bool) -> Result<Value, Error> {
    if !pods_only {
        match resolve::container(client, word).await {
            Ok(container) => return of_container(client, container.id).await,
            Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    match resolve::pod(client, word).await {
        Ok(pod) => of_pod(client, pod.id).await,
        Err(Error::NotFound { word, .. }) if !pods_only => Err(Error::NotFound {
            kind: "container or pod",
            word,
            see: "outlive ps -a",
        }),
        Err(error) => Err(error),
    }
}

async fn of_container(client: &Client, id: String) -> Result<Value, Error> {
    let operation = format!("container {id}");
    let mut runtime = client.runtime();
    let request = cri::ContainerStatusRequest {
        container_id: id,
        verbose: true,
    };
    let answer = client
        .call(operation, runtime.container_status(request))
        .await?;
    let status = answer.status.unwrap_or_default();
    Ok(json!({
        "kind": "container",
        "status": json::container(&status),
        "info": json::info(&answer.info),
    }))
}

async fn of_pod(client: &Client, id: String) -> Result<Value, Error> {
    let operation = format!("pod {id}");
    let mut runtime = client.runtime();
    let request = cri::PodSandboxStatusRequest {
        pod_sandbox_id: id,
        verbose: true,
    };
    let answer = client
        .call(operation, runtime.pod_sandbox_status(request))
        .await?;
    let status = answer.status.unwrap_or_default();
    let containers: Vec<Value> = answer
        .containers_statuses
        .iter()
        .map(json::container)
        .collect();
    Ok(json!({
        "kind": "pod",
        "status": json::pod(&status),
        "containers": containers,
        "info": json::info(&answer.info),
    }))
}
