//! `pods/ID/network.json`: what the plugins are asked and what they answered.
//!
//! ```text
//! {"version":1,"phase":"Adding"|"Added"|"Deleting","netns":"..","arguments":"K8S_POD_NAME=..;..",
//!  "capabilities":{"portMappings":[..]},"deleting_since":NS,
//!  "networks":[{"interface":"lo","list":{"name":..,"cniVersion":..,"plugins":[..]},"result":{..}|null}, ..]}
//! ```
//!
//! The file is written before the first plugin runs, so that a crash between ADD and its answer leaves what DEL needs.
//! `deleting_since` is there from the first DEL on.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::NetworkError;
use super::list::List;
use crate::bundle::{CorruptReason, Read, read_bytes};
use crate::sys::file;
use crate::types::Timestamp;

const VERSION: u32 = 1;
/// Larger than any.
const MAX_LEN: u64 = 4 << 20;

/// How far the pod's network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// It is being added, or was when the supervisor died.
    Adding,
    /// It is there.
    Added,
    /// It is being deleted, or was when the supervisor died.
    Deleting,
}

/// The file's content.
#[derive(Debug, Clone, PartialEq)]
pub struct Cache {
    /// How far it is.
    pub phase: Phase,
    /// The network namespace as the plugins are told; empty where it is not known.
    pub netns: PathBuf,
    /// `CNI_ARGS`.
    pub arguments: String,
    /// `runtimeConfig`, of which each plugin gets what it is capable of.
    pub capabilities: Map<String, Value>,
    /// When the first DEL began; `None` before.
    pub deleting_since: Option<Timestamp>,
    /// The interfaces, in the order of ADD.
    pub networks: Vec<Network>,
}

/// One interface.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Its name in the pod.
    pub interface: String,
    /// The plugins that make it.
    pub list: List,
    /// The last plugin's.
    pub result: Option<Value>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CacheFile {
    version: u32,
    phase: Phase,
    netns: PathBuf,
    arguments: String,
    capabilities: Map<String, Value>,
    /// Nanoseconds since the epoch. Files of before this field have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deleting_since: Option<u64>,
    networks: Vec<Network>,
}

/// Only the version of a file: looked at first, since a later one may have any other fields.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

impl Cache {
    /// What can be deleted where nothing is known but the pod's id.
    #[must_use]
    pub fn unknown(interface: &str, list: List) -> Self {
        Self {
            phase: Phase::Deleting,
            netns: PathBuf::new(),
            arguments: "IgnoreUnknown=1".into(),
            capabilities: Map::new(),
            deleting_since: None,
            networks: vec![Network {
                interface: interface.to_owned(),
                list,
                result: None,
            }],
        }
    }

    /// Writes it, durably. Blocks.
    ///
    /// # Errors
    /// [`NetworkError::File`].
    pub fn write(&self, path: &Path) -> Result<(), NetworkError> {
        let cache = self.clone();
        let file = CacheFile {
            version: VERSION,
            phase: cache.phase,
            netns: cache.netns,
            arguments: cache.arguments,
            capabilities: cache.capabilities,
            deleting_since: cache.deleting_since.map(Timestamp::unix_nanos),
            networks: cache.networks,
        };
        let bytes = serde_json::to_vec(&file).map_err(io::Error::other);
        let written = bytes.and_then(|bytes| file::replace(path, &bytes));
        written.map_err(|source| NetworkError::File {
            operation: "write",
            path: path.to_owned(),
            source,
        })
    }

    /// Reads it. Blocks.
    #[must_use]
    pub fn read(path: &Path) -> Read<Self> {
        let malformed = |error: serde_json::Error| CorruptReason::Malformed(error.to_string());
        read_bytes(path, MAX_LEN).and_parse(path, |bytes| {
            let found: Version = serde_json::from_slice(&bytes).map_err(malformed)?;
            if found.version != VERSION {
                return Err(CorruptReason::Version(found.version));
            }
            let file: CacheFile = serde_json::from_slice(&bytes).map_err(malformed)?;
            Ok(Self {
                phase: file.phase,
                netns: file.netns,
                arguments: file.arguments,
                capabilities: file.capabilities,
                deleting_since: file.deleting_since.map(Timestamp::from_unix_nanos),
                networks: file.networks,
            })
        })
    }

    /// Removes the file. Blocks.
    ///
    /// # Errors
    /// [`NetworkError::File`].
    pub fn remove(path: &Path) -> Result<(), NetworkError> {
        let removed = match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.and_then(|()| file::sync_parent(path)),
        };
        removed.map_err(|source| NetworkError::File {
            operation: "remove",
            path: path.to_owned(),
            source,
        })
    }

    /// The addresses of the last network: IPv4 first, as Kubernetes and containerd (`ip_pref`) would have it.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        let result = self
            .networks
            .last()
            .and_then(|network| network.result.as_ref());
        let mut found = result.map(addresses).unwrap_or_default();
        found.sort_by_key(IpAddr::is_ipv6);
        found.iter().map(IpAddr::to_string).collect()
    }
}

/// The addresses of a result that are inside of the pod: those of no interface, or of one with a sandbox (SPEC.md,
/// "ADD Success").
fn addresses(result: &Value) -> Vec<IpAddr> {
    let list = |key: &str| result.get(key).and_then(Value::as_array);
    let inside = |ip: &Value| match ip.get("interface").and_then(Value::as_u64) {
        None => true,
        Some(index) => {
            let interface = usize::try_from(index)
                .ok()
                .and_then(|index| list("interfaces")?.get(index));
            let sandbox = interface.and_then(|interface| interface.get("sandbox")?.as_str());
            sandbox.is_some_and(|path| !path.is_empty())
        }
    };
    let ips = list("ips").map(Vec::as_slice).unwrap_or_default();
    ips.iter()
        .filter(|ip| inside(ip))
        .filter_map(|ip| {
            let address = ip.get("address")?.as_str()?;
            address.split('/').next()?.parse().ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sys::file::scratch::Scratch;

    fn cache() -> Cache {
        let result = json!({"interfaces":[{"name":"br0"},{"name":"eth0","sandbox":"/run/n"}],
            "ips":[{"address":"fd00::2/64","interface":1},{"address":"10.0.0.1/24","interface":0},
                   {"address":"10.0.0.2/24","interface":1},{"address":"10.0.0.3/24"}]});
        Cache {
            phase: Phase::Added,
            netns: "/run/n".into(),
            arguments: "IgnoreUnknown=1".into(),
            capabilities: Map::new(),
            deleting_since: None,
            networks: vec![Network {
                interface: "eth0".into(),
                list: List::loopback(),
                result: Some(result),
            }],
        }
    }

    #[test]
    fn only_addresses_inside_of_the_pod_are_its_own_and_ipv4_comes_first() {
        assert_eq!(cache().addresses(), ["10.0.0.2", "10.0.0.3", "fd00::2"]);
    }

    #[test]
    fn what_was_written_is_read_and_what_is_newer_is_not_believed() {
        let scratch = Scratch::new();
        let path = scratch.path().join("network.json");
        assert!(matches!(Cache::read(&path), Read::Absent));
        cache().write(&path).unwrap();
        assert!(matches!(Cache::read(&path), Read::Found(read) if read == cache()));
        scratch.write("network.json", r#"{"version":2,"what":"ever"}"#);
        let read = Cache::read(&path);
        assert!(matches!(read, Read::Corrupt(_, CorruptReason::Version(2))));
        cache().write(&path).unwrap();
        let written = fs::read_to_string(&path).unwrap();
        for within in [
            "{\"version\":1",
            "{\"interface\":\"eth0\"",
            "{\"name\":\"cni-loopback\"",
        ] {
            scratch.write(
                "network.json",
                written.replace(within, &format!("{within},\"new\":1")),
            );
            let read = Cache::read(&path);
            assert!(
                matches!(&read, Read::Corrupt(_, CorruptReason::Malformed(why)) if why.contains("new")),
                "{within}: {read:?}"
            );
        }
        Cache::remove(&path).unwrap();
        Cache::remove(&path).unwrap();
    }
}
