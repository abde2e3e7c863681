//! CRI's messages as JSON that programs can use: enums by name, times in RFC 3339, nested JSON unpacked.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::time;
use crate::api::cri;

/// A message as JSON, keys in snake_case as the protocol spells them.
fn value(message: &impl serde::Serialize) -> Value {
    serde_json::to_value(message).unwrap_or(Value::Null)
}

/// Replaces the times among the fields: nanoseconds, zero for never.
fn times(object: &mut Value, fields: &[&str]) {
    for field in fields {
        if let Some(slot) = object.get_mut(*field) {
            let at = slot.as_i64().and_then(time::from_cri);
            *slot = at.map_or(Value::Null, |at| Value::String(time::text(at)));
        }
    }
}

fn name(object: &mut Value, field: &str, name: &str) {
    if let Some(slot) = object.get_mut(field) {
        *slot = Value::String(name.to_owned());
    }
}

/// A container's status.
pub fn container(status: &cri::ContainerStatus) -> Value {
    let mut json = value(status);
    times(&mut json, &["created_at", "started_at", "finished_at"]);
    name(&mut json, "state", container_state(status.state()));
    if let Some(Value::Array(mounts)) = json.get_mut("mounts") {
        for (slot, mount) in mounts.iter_mut().zip(&status.mounts) {
            name(slot, "propagation", mount.propagation().as_str_name());
        }
    }
    json
}

/// A pod's status.
pub fn pod(status: &cri::PodSandboxStatus) -> Value {
    let mut json = value(status);
    times(&mut json, &["created_at"]);
    name(&mut json, "state", pod_state(status.state()));
    let options = status
        .linux
        .as_ref()
        .and_then(|linux| linux.namespaces.as_ref()?.options.as_ref());
    if let (Some(options), Some(slot)) = (options, json.pointer_mut("/linux/namespaces/options")) {
        name(slot, "network", options.network().as_str_name());
        name(slot, "pid", options.pid().as_str_name());
        name(slot, "ipc", options.ipc().as_str_name());
    }
    json
}

/// The verbose part of a status: JSON in strings, by key.
pub fn info(info: &HashMap<String, String>) -> Value {
    let entry = |(key, text): (&String, &String)| {
        let value = serde_json::from_str(text);
        (
            key.clone(),
            value.unwrap_or_else(|_| Value::String(text.clone())),
        )
    };
    Value::Object(info.iter().map(entry).collect::<Map<_, _>>())
}

/// A container's state in one word.
pub const fn container_state(state: cri::ContainerState) -> &'static str {
    match state {
        cri::ContainerState::ContainerCreated => "created",
        cri::ContainerState::ContainerRunning => "running",
        cri::ContainerState::ContainerExited => "exited",
        cri::ContainerState::ContainerUnknown => "unknown",
    }
}

/// A pod's state in one word.
pub const fn pod_state(state: cri::PodSandboxState) -> &'static str {
    match state {
        cri::PodSandboxState::SandboxReady => "ready",
        cri::PodSandboxState::SandboxNotready => "not_ready",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_has_names_and_times_instead_of_numbers() {
        let status = cri::ContainerStatus {
            id: "abc".to_owned(),
            state: cri::ContainerState::ContainerExited.into(),
            created_at: 1_709_200_800_000_000_007,
            exit_code: 7,
            mounts: vec![cri::Mount::default()],
            ..Default::default()
        };
        let json = container(&status);
        assert_eq!(json["state"], "exited");
        assert_eq!(json["created_at"], "2024-02-29T10:00:00.000000007Z");
        assert_eq!(json["started_at"], Value::Null);
        assert_eq!(json["exit_code"], 7);
        assert_eq!(json["mounts"][0]["propagation"], "PROPAGATION_PRIVATE");
    }

    #[test]
    fn info_is_unpacked_where_it_is_json() {
        let texts = [("info", r#"{"pid":7}"#), ("note", "not json")];
        let texts = texts.map(|(key, text)| (key.to_owned(), text.to_owned()));
        let json = info(&texts.into_iter().collect());
        assert_eq!(json["info"]["pid"], 7);
        assert_eq!(json["note"], "not json");
    }
}
