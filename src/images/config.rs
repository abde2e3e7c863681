//! An image's configuration (image-spec, config.md), read as Go programs read what Go programs write: `null` stands for
//! the empty value wherever there may be one, and a field that is missing is empty. The history is passed over.

use std::collections::{BTreeMap, HashMap};

use oci_spec::image::{Arch, Config, ImageConfiguration, Os, RootFs};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// A JSON object as a set of its keys, whatever the values: Go's `map[string]struct{}`.
type Keys = BTreeMap<String, IgnoredAny>;

#[derive(Deserialize)]
struct Document {
    created: Option<String>,
    author: Option<String>,
    architecture: Option<String>,
    os: Option<String>,
    variant: Option<String>,
    #[serde(rename = "os.version")]
    os_version: Option<String>,
    #[serde(rename = "os.features")]
    os_features: Option<Vec<Option<String>>>,
    config: Option<Execution>,
    rootfs: Option<Layers>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Execution {
    user: Option<String>,
    exposed_ports: Option<Keys>,
    env: Option<Vec<Option<String>>>,
    entrypoint: Option<Vec<Option<String>>>,
    cmd: Option<Vec<Option<String>>>,
    volumes: Option<Keys>,
    working_dir: Option<String>,
    labels: Option<HashMap<String, Option<String>>>,
    stop_signal: Option<String>,
}

#[derive(Deserialize)]
struct Layers {
    #[serde(rename = "type")]
    kind: Option<String>,
    diff_ids: Option<Vec<String>>,
}

/// Reads a configuration.
///
/// # Errors
/// It is no JSON, or a field has another type.
pub(super) fn parse(bytes: &[u8]) -> Result<ImageConfiguration, serde_json::Error> {
    let document: Document = serde_json::from_slice(bytes)?;
    let mut rootfs = RootFs::default();
    let (kind, diff_ids) = document
        .rootfs
        .map(|rootfs| (rootfs.kind, rootfs.diff_ids))
        .unwrap_or_default();
    rootfs.set_typ(kind.unwrap_or_else(|| "layers".to_owned()));
    rootfs.set_diff_ids(diff_ids.unwrap_or_default());
    let mut config = ImageConfiguration::default();
    config
        .set_created(document.created)
        .set_author(document.author)
        .set_architecture(Arch::from(
            document.architecture.unwrap_or_default().as_str(),
        ))
        .set_os(Os::from(document.os.unwrap_or_default().as_str()))
        .set_variant(document.variant)
        .set_os_version(document.os_version)
        .set_os_features(document.os_features.map(strings))
        .set_config(document.config.map(execution))
        .set_rootfs(rootfs)
        .set_history(None);
    Ok(config)
}

fn execution(read: Execution) -> Config {
    let keys = |map: Keys| map.into_keys().collect();
    let labels = |map: HashMap<String, Option<String>>| {
        let pairs = map.into_iter();
        pairs
            .map(|(key, value)| (key, value.unwrap_or_default()))
            .collect()
    };
    let mut config = Config::default();
    config
        .set_user(read.user)
        .set_exposed_ports(read.exposed_ports.map(keys))
        .set_env(read.env.map(strings))
        .set_entrypoint(read.entrypoint.map(strings))
        .set_cmd(read.cmd.map(strings))
        .set_volumes(read.volumes.map(keys))
        .set_working_dir(read.working_dir)
        .set_labels(read.labels.map(labels))
        .set_stop_signal(read.stop_signal);
    config
}

fn strings(list: Vec<Option<String>>) -> Vec<String> {
    list.into_iter().map(Option::unwrap_or_default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_and_missing_are_empty() {
        let text = br#"{"config": {
            "Volumes": {"/v": null, "/w": {}}, "ExposedPorts": {"80/tcp": null}, "Labels": {"a": null, "b": "c"},
            "Env": null, "Cmd": ["a", null], "Entrypoint": null, "User": null, "WorkingDir": null
        }, "rootfs": {"type": "layers", "diff_ids": null}, "history": null}"#;
        let config = parse(text).unwrap();
        assert_eq!(config.architecture().to_string(), "");
        assert_eq!(config.os().to_string(), "");
        assert!(config.rootfs().diff_ids().is_empty());
        let config = config.config().as_ref().unwrap();
        let volumes = ["/v".to_owned(), "/w".to_owned()];
        assert_eq!(config.volumes().as_deref(), Some(&volumes[..]));
        assert_eq!(config.exposed_ports().as_ref().unwrap().len(), 1);
        assert_eq!(config.labels().as_ref().unwrap()["a"], "");
        assert_eq!(config.cmd().as_ref().unwrap(), &["a", ""]);
        assert_eq!(*config.env(), None);
        for text in ["null", "{}", r#"{"config": null, "rootfs": null}"#] {
            assert_eq!(parse(text.as_bytes()).is_ok(), text != "null", "{text}");
        }
        assert!(parse(br#"{"architecture": 7}"#).is_err());
    }

    #[test]
    fn what_is_said_is_kept() {
        let text = r#"{"created":"2020-01-01T00:00:00Z","author":"a","architecture":"arm64","os":"linux",
            "variant":"v8","config":{"User":"u","Env":["A=b"],"WorkingDir":"/w","StopSignal":"SIGTERM"},
            "rootfs":{"type":"layers","diff_ids":["x"]}}"#;
        let strict: ImageConfiguration = serde_json::from_str(text).unwrap();
        assert_eq!(parse(text.as_bytes()).unwrap(), strict);
    }
}
