//! `container.json` and `pod.json`: what was asked for, written once.
//!
//! ```text
//! {"version":1,"id":"..","created_at":NS,"runtime":"..","config":"base64 of runtime.v1.ContainerConfig",..}
//! ```
//!
//! The configurations are kept as the protobuf that was sent: a supervisor that knows more fields reads an older file,
//! and none has to translate them.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use prost::Message;
use serde::{Deserialize, Serialize};

use super::status::{malformed, parse};
use crate::api::cri;
use crate::bundle::{CorruptReason, Read, read_bytes};
use crate::sys::file;
use crate::types::{ContainerId, Signal, Timestamp};

const VERSION: u32 = 1;
/// A gRPC message has at most 16 MiB (kubelet's limit), base64 makes four bytes of three.
const MAX_LEN: u64 = 24 << 20;

/// What a container was asked to be.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerMeta {
    /// Its id.
    pub id: ContainerId,
    /// Its pod.
    pub pod: ContainerId,
    /// The CRI request's configuration. `image.user_specified_image` has a name of the image also where the request has
    /// only its id.
    pub config: cri::ContainerConfig,
    /// The runtime handler; never empty.
    pub runtime: String,
    /// The image: its id in the store (`sha256:..`).
    pub image_id: String,
    /// The layers of its root filesystem, the lowest first: names in the image store.
    pub layers: Vec<String>,
    /// Where its log is written; `None` for nowhere.
    pub log_path: Option<PathBuf>,
    /// The user of its first process, as its specification has it; `None` where a version before this field wrote it.
    pub user: Option<cri::LinuxContainerUser>,
    /// What stops it.
    pub stop_signal: Signal,
    /// When it was created.
    pub created_at: Timestamp,
}

/// What a pod was asked to be.
#[derive(Debug, Clone, PartialEq)]
pub struct PodMeta {
    /// Its id.
    pub id: ContainerId,
    /// The CRI request's configuration.
    pub config: cri::PodSandboxConfig,
    /// The runtime handler as the request names it; empty for the default.
    pub runtime: String,
    /// When it was created.
    pub created_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ContainerFile {
    version: u32,
    id: String,
    pod: String,
    config: String,
    runtime: String,
    image_id: String,
    layers: Vec<String>,
    log_path: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<cri::LinuxContainerUser>,
    stop_signal: u8,
    created_at: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PodFile {
    version: u32,
    id: String,
    config: String,
    runtime: String,
    created_at: u64,
}

fn encode(message: &impl Message) -> String {
    BASE64.encode(message.encode_to_vec())
}

fn decode<M: Message + Default>(text: &str) -> Result<M, CorruptReason> {
    M::decode(&*BASE64.decode(text).map_err(malformed)?).map_err(malformed)
}

impl ContainerMeta {
    /// Writes it to `path`, durably. Blocks.
    ///
    /// # Errors
    /// What the file system answered.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let file = ContainerFile {
            version: VERSION,
            id: self.id.to_string(),
            pod: self.pod.to_string(),
            config: encode(&self.config),
            runtime: self.runtime.clone(),
            image_id: self.image_id.clone(),
            layers: self.layers.clone(),
            log_path: self.log_path.clone(),
            user: self.user.clone(),
            stop_signal: self.stop_signal.get(),
            created_at: self.created_at.unix_nanos(),
        };
        file::replace(path, &serde_json::to_vec(&file)?)
    }

    /// Reads it from `path`.
    #[must_use]
    pub fn read(path: &Path) -> Read<Self> {
        read_bytes(path, MAX_LEN).and_parse(path, |bytes| Self::parse(&bytes))
    }

    /// Reads it from the bytes of a file.
    ///
    /// # Errors
    /// Why they cannot be believed.
    pub fn parse(bytes: &[u8]) -> Result<Self, CorruptReason> {
        let file: ContainerFile = parse(bytes)?;
        Ok(Self {
            id: ContainerId::new(&file.id).map_err(malformed)?,
            pod: ContainerId::new(&file.pod).map_err(malformed)?,
            config: decode(&file.config)?,
            runtime: file.runtime,
            image_id: file.image_id,
            layers: file.layers,
            log_path: file.log_path,
            user: file.user,
            stop_signal: Signal::new(file.stop_signal.into())
                .ok_or_else(|| malformed("stop_signal"))?,
            created_at: Timestamp::from_unix_nanos(file.created_at),
        })
    }

    /// The name that no other container has, of the parts of containerd's `makeContainerName`: name, pod's name, its
    /// namespace, its uid, attempt.
    #[must_use]
    pub fn name(config: &cri::ContainerConfig, pod: &cri::PodSandboxConfig) -> String {
        let meta = config.metadata.clone().unwrap_or_default();
        let pod = pod.metadata.clone().unwrap_or_default();
        let parts = [&meta.name, &pod.name, &pod.namespace, &pod.uid];
        joined(&parts, meta.attempt)
    }
}

impl PodMeta {
    /// Writes it to `path`, durably. Blocks.
    ///
    /// # Errors
    /// What the file system answered.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let file = PodFile {
            version: VERSION,
            id: self.id.to_string(),
            config: encode(&self.config),
            runtime: self.runtime.clone(),
            created_at: self.created_at.unix_nanos(),
        };
        file::replace(path, &serde_json::to_vec(&file)?)
    }

    /// Reads it from `path`.
    #[must_use]
    pub fn read(path: &Path) -> Read<Self> {
        read_bytes(path, MAX_LEN).and_parse(path, |bytes| {
            let file: PodFile = parse(&bytes)?;
            Ok(Self {
                id: ContainerId::new(&file.id).map_err(malformed)?,
                config: decode(&file.config)?,
                runtime: file.runtime,
                created_at: Timestamp::from_unix_nanos(file.created_at),
            })
        })
    }

    /// The name that no other pod has, of the parts of containerd's `makeSandboxName`: name, namespace, uid, attempt.
    #[must_use]
    pub fn name(config: &cri::PodSandboxConfig) -> String {
        let meta = config.metadata.clone().unwrap_or_default();
        joined(&[&meta.name, &meta.namespace, &meta.uid], meta.attempt)
    }
}

/// Joins the parts of a name with `_`. A `_` within a part becomes `%5F` and a `%` becomes `%25`, so that different
/// parts never make the same name. The result is compared and shown, and is in no file.
fn joined(parts: &[&String], attempt: u32) -> String {
    let mut name = String::new();
    for part in parts {
        name += &part.replace('%', "%25").replace('_', "%5F");
        name.push('_');
    }
    name + &attempt.to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::sys::file::scratch::Scratch;

    fn pod(name: &str, namespace: &str, uid: &str) -> cri::PodSandboxConfig {
        cri::PodSandboxConfig {
            metadata: Some(cri::PodSandboxMetadata {
                name: name.into(),
                namespace: namespace.into(),
                uid: uid.into(),
                attempt: 0,
            }),
            ..Default::default()
        }
    }

    #[test]
    fn different_parts_never_make_the_same_name() {
        let words = ["", "a", "b", "_", "a_b", "a_", "_b", "a%5Fb", "%", "%5F"];
        let mut pods = HashSet::new();
        let mut containers = HashSet::new();
        for one in words {
            for two in words {
                for three in words {
                    let pod = pod(one, two, three);
                    assert!(pods.insert(PodMeta::name(&pod)), "{one} {two} {three}");
                    for name in words {
                        let config = cri::ContainerConfig {
                            metadata: Some(cri::ContainerMetadata {
                                name: name.into(),
                                attempt: 0,
                            }),
                            ..Default::default()
                        };
                        let name = ContainerMeta::name(&config, &pod);
                        assert!(containers.insert(name), "{config:?} {pod:?}");
                    }
                }
            }
        }
        let plain = pod("web", "default", "1-2");
        assert_eq!(PodMeta::name(&plain), "web_default_1-2_0");
    }

    #[test]
    fn a_file_of_before_names_were_escaped_is_read() {
        let scratch = Scratch::new();
        let path = scratch.path().join("pod.json");
        let config = BASE64.encode(pod("a_b", "c", "u").encode_to_vec());
        let text = format!(
            r#"{{"version":1,"id":"0123","config":"{config}","runtime":"","created_at":7}}"#
        );
        scratch.write("pod.json", text);
        let Read::Found(meta) = PodMeta::read(&path) else {
            panic!("{:?}", PodMeta::read(&path));
        };
        assert_eq!(PodMeta::name(&meta.config), "a%5Fb_c_u_0");
    }
}
