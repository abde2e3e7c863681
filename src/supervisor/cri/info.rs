//! What the supervisor tells of itself (Version, Status), and the `info` of verbose answers: JSON under one key, for
//! people and for `outlive inspect`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::api::cri;
use crate::bundle::{Read, endpoint};
use crate::supervisor::context::Supervisor;
use crate::supervisor::features;
use crate::supervisor::network::{self, Plugins, given_up};
use crate::supervisor::store::{self, Container, Phase, Pod, PodState, Recovery};
use crate::sys::worker;
use crate::types::error::chain;

/// Version's answer.
pub fn version() -> cri::VersionResponse {
    cri::VersionResponse {
        // The version of the kubelet's runtime interface, which never was another.
        version: "0.1.0".to_owned(),
        runtime_name: "outlive".to_owned(),
        runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
        runtime_api_version: "v1".to_owned(),
    }
}

/// Status's answer.
pub async fn status(supervisor: &Arc<Supervisor>, verbose: bool) -> cri::StatusResponse {
    let condition = |name: &str, failure: Option<(&str, String)>| {
        let status = failure.is_none();
        let (reason, message) = failure.unwrap_or_default();
        cri::RuntimeCondition {
            r#type: name.to_owned(),
            status,
            reason: reason.to_owned(),
            message,
        }
    };
    let network = network_failure(supervisor).await;
    let network = network.map(|message| ("NetworkPluginNotReady", message));
    // The first is the default, which has the empty name too.
    let first = supervisor.config.runtimes.first();
    let handlers = first.map(|runtime| ("", runtime)).into_iter();
    let all = supervisor.config.runtimes.iter();
    let handlers = handlers.chain(all.map(|runtime| (&*runtime.name, runtime)));
    let mut runtime_handlers = Vec::new();
    for (name, runtime) in handlers {
        runtime_handlers.push(cri::RuntimeHandler {
            name: name.to_owned(),
            features: Some(features::of_handler(supervisor, runtime).await),
        });
    }
    cri::StatusResponse {
        status: Some(cri::RuntimeStatus {
            conditions: vec![
                condition("RuntimeReady", None),
                condition("NetworkReady", network),
            ],
        }),
        info: match verbose {
            true => info(&about(supervisor, networks_left(supervisor).await)),
            false => HashMap::new(),
        },
        runtime_handlers,
        features: Some(features::of_runtime()),
    }
}

/// Why no pod can have a network of its own; `None` where it can.
async fn network_failure(supervisor: &Supervisor) -> Option<String> {
    let plugins = Plugins::from(&supervisor.config);
    let looked = worker::run(move || network::readiness(&plugins)).await;
    match looked {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(chain(&error)),
        Err(ended) => Some(chain(&ended)),
    }
}

/// The records of networks that the CNI plugins did not delete.
async fn networks_left(supervisor: &Supervisor) -> Vec<PathBuf> {
    let left = supervisor.store.layout().networks_left();
    let path = left.clone();
    let read = move || given_up::records(&left);
    match store::blocking("read", path, read).await {
        Ok(records) => records,
        Err(error) => {
            log::warn!(error:% = chain(&error); "the records of networks that were not deleted");
            Vec::new()
        }
    }
}

fn about(supervisor: &Supervisor, networks_left: Vec<PathBuf>) -> Value {
    let containers = supervisor.store.containers();
    let pending = containers
        .iter()
        .filter(|one| one.recovery() == Recovery::Pending);
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "root": supervisor.config.root,
        "state": supervisor.config.state,
        "images": supervisor.images.root(),
        "containers": containers.len(),
        "pods": supervisor.store.pods().len(),
        "recovering": pending.count(),
        "networksLeft": networks_left,
    })
}

fn info(value: &Value) -> HashMap<String, String> {
    HashMap::from([("info".to_owned(), value.to_string())])
}

/// The `info` of ContainerStatus.
pub async fn container(
    supervisor: &Supervisor,
    container: &Arc<Container>,
) -> HashMap<String, String> {
    let bundle = supervisor.store.layout().bundle(container.id());
    let bundle_dir = bundle.dir().to_owned();
    let address = worker::run(move || match endpoint::read(&bundle) {
        Read::Found(address) => Some(address),
        Read::Absent | Read::Corrupt(..) => None,
    });
    let process = container.status().process();
    let meta = container.meta();
    let linked = container.shim().is_some();
    info(&json!({
        "pid": process.map(|process| process.pid.get()),
        "startTicks": process.map(|process| process.start_ticks),
        "sandboxID": meta.map(|meta| meta.pod.as_str()),
        "runtime": meta.map(|meta| &meta.runtime),
        "stopSignal": meta.map(|meta| meta.stop_signal.get()),
        "layers": meta.map(|meta| &meta.layers),
        "shim": {
            "address": address.await.ok().flatten(),
            "connected": linked,
        },
        "bundle": bundle_dir,
        "dir": container.dir(),
        "spec": container.dir().join("config.json"),
        "recovery": match container.recovery() {
            Recovery::Pending => "pending",
            Recovery::Done => "done",
        },
        "phase": match container.phase() {
            Phase::Idle => "idle",
            Phase::Starting => "starting",
            Phase::Stopping => "stopping",
            Phase::Removing => "removing",
        },
    }))
}

/// The `info` of PodSandboxStatus.
pub fn pod(supervisor: &Supervisor, pod: &Pod) -> HashMap<String, String> {
    let checkpoint = pod.checkpoint();
    info(&json!({
        "pid": checkpoint.init.map(|init| init.pid.get()),
        "state": match &checkpoint.state {
            PodState::Creating => "creating",
            PodState::Ready => "ready",
            PodState::NotReady => "not ready",
            PodState::Unknown(_) => "unknown",
        },
        "reason": match &checkpoint.state {
            PodState::Unknown(reason) => reason,
            PodState::Creating | PodState::Ready | PodState::NotReady => "",
        },
        "addresses": pod.addresses(),
        "runtime": pod.meta().map(|meta| &meta.runtime),
        "dir": pod.dir(),
        "namespaces": supervisor.store.layout().pod_state(pod.id()),
    }))
}
