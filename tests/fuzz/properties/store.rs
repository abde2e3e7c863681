//! The supervisor's files of a container and a pod.

use std::io;

use outlive::supervisor::network::cache::Cache;
use outlive::supervisor::store::{Checkpoint, ContainerMeta, PodCheckpoint, PodMeta};
use serde_json::Value;

use super::document::Kind;

/// `containers/ID/status.json`.
pub fn container_status(bytes: &[u8]) {
    let kind = Kind {
        name: "status.json",
        read: Checkpoint::read,
        write: Checkpoint::write,
    };
    kind.check(bytes);
}

/// `containers/ID/container.json`.
pub fn container_config(bytes: &[u8]) {
    let kind = Kind {
        name: "container.json",
        read: ContainerMeta::read,
        write: ContainerMeta::write,
    };
    kind.check(bytes);
}

/// `pods/ID/status.json`.
pub fn pod_status(bytes: &[u8]) {
    let kind = Kind {
        name: "status.json",
        read: PodCheckpoint::read,
        write: PodCheckpoint::write,
    };
    kind.check(bytes);
}

/// `pods/ID/pod.json`.
pub fn pod_config(bytes: &[u8]) {
    let kind = Kind {
        name: "pod.json",
        read: PodMeta::read,
        write: PodMeta::write,
    };
    kind.check(bytes);
}

/// `pods/ID/network.json`.
pub fn pod_network(bytes: &[u8]) {
    // What a plugin has answered may have fractions, of which reading loses the last digit.
    let value = serde_json::from_slice(bytes).unwrap_or_default();
    if has_fractions(&value) {
        return;
    }
    let kind = Kind {
        name: "network.json",
        read: Cache::read,
        write: |cache: &Cache, path| cache.write(path).map_err(io::Error::other),
    };
    kind.check(bytes);
}

fn has_fractions(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => false,
        Value::Number(number) => number.is_f64(),
        Value::Array(items) => items.iter().any(has_fractions),
        Value::Object(object) => object.values().any(has_fractions),
    }
}
