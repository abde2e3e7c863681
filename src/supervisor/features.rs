//! What Status announces, and what CreateContainer may use: one answer for both.
//!
//! kubelet rejects pods that need a feature which is not announced, and a feature that is used without the OCI runtime
//! knowing it has no effect: an unknown mount option is data to mount(2), which a bind mount ignores.
//!
//! | feature | is there where |
//! |---|---|
//! | recursive_read_only_mounts of a handler | the kernel is 5.12 or later, and the shim's `-info` lists the option `rro` |
//! | user_namespaces of a handler | never yet |
//! | supplemental_groups_policy | always: `spec::user`, and ContainerStatus has `user` |

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::types::introspection::RuntimeInfo;
use serde::Deserialize;

use super::context::Supervisor;
use super::shim_client::launch;
use super::spec::{HostFacts, Support};
use crate::api::cri;
use crate::config::supervisor::Runtime;
use crate::types::error::chain;

/// The mount option of a recursive read-only mount (mount_setattr(2), AT_RECURSIVE).
const RECURSIVE_READ_ONLY: &str = "rro";

/// How long after a shim did not answer it is asked again. kubelet asks for Status every few seconds.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// What the shims answered, by the name of the handler. A shim that has answered is not asked again.
#[derive(Debug, Default)]
pub struct Features(Mutex<HashMap<String, Known>>);

#[derive(Debug)]
enum Known {
    Answered(MountOptions),
    /// It could not be run, or took too long.
    Silent(Instant),
}

/// The mount options that a handler's OCI runtime knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct MountOptions(Vec<String>);

/// What is read of the OCI runtime specification's `features.md`.
#[derive(Debug, Default, Deserialize)]
struct OciFeatures {
    #[serde(default, rename = "mountOptions")]
    mount_options: Vec<String>,
}

impl MountOptions {
    /// Reads a shim's answer to `-info`; empty where it says nothing of mount options.
    fn of(answer: &[u8]) -> Self {
        let info = RuntimeInfo::parse_from_bytes(answer).unwrap_or_default();
        let features = info.features.into_option().unwrap_or_default();
        let features: OciFeatures = serde_json::from_slice(&features.value).unwrap_or_default();
        Self(features.mount_options)
    }

    /// Whether mounts can be read-only with everything below them.
    fn recursive_read_only(&self, host: &HostFacts) -> Support {
        let known = self.0.iter().any(|option| option == RECURSIVE_READ_ONLY);
        match host.recursive_mount_attributes {
            Support::Present if known => Support::Present,
            Support::Present | Support::Absent => Support::Absent,
        }
    }
}

/// The mount options of `runtime`, of which its shim is asked the first time.
async fn mount_options(supervisor: &Supervisor, runtime: &Runtime) -> MountOptions {
    let known = || {
        let answers = supervisor.features.0.lock();
        answers.unwrap_or_else(PoisonError::into_inner)
    };
    match known().get(&runtime.name) {
        Some(Known::Answered(options)) => return options.clone(),
        Some(Known::Silent(since)) if since.elapsed() < ASK_AGAIN => {
            return MountOptions::default();
        }
        Some(Known::Silent(_)) | None => {}
    }
    let (options, answer) = match launch::info(runtime).await {
        Ok(answer) => {
            let options = MountOptions::of(&answer.unwrap_or_default());
            (options.clone(), Known::Answered(options))
        }
        Err(error) => {
            log::warn!(runtime = &*runtime.name, error:% = chain(&error); "the shim does not say what it can do; it is asked again in a minute");
            (MountOptions::default(), Known::Silent(Instant::now()))
        }
    };
    let mut all = known();
    // Another call may have had an answer meanwhile.
    match (all.get(&runtime.name), &answer) {
        (Some(Known::Answered(options)), Known::Silent(_)) => options.clone(),
        (Some(_) | None, _) => {
            all.insert(runtime.name.clone(), answer);
            options
        }
    }
}

/// Whether containers of `runtime` can have recursive read-only mounts.
pub async fn recursive_read_only(supervisor: &Supervisor, runtime: &Runtime) -> Support {
    let options = mount_options(supervisor, runtime).await;
    options.recursive_read_only(&supervisor.host)
}

/// What Status says of `runtime`.
pub async fn of_handler(supervisor: &Supervisor, runtime: &Runtime) -> cri::RuntimeHandlerFeatures {
    cri::RuntimeHandlerFeatures {
        recursive_read_only_mounts: recursive_read_only(supervisor, runtime).await
            == Support::Present,
        user_namespaces: false,
    }
}

/// What Status says of all handlers.
#[must_use]
pub fn of_runtime() -> cri::RuntimeFeatures {
    cri::RuntimeFeatures {
        supplemental_groups_policy: true,
    }
}

#[cfg(test)]
mod tests {
    use containerd_shim_protos::protobuf::well_known_types::any::Any;

    use super::*;

    fn answer(features: Option<&str>) -> Vec<u8> {
        let features = features.map(|json| Any {
            value: json.into(),
            ..Any::default()
        });
        let info = RuntimeInfo {
            features: features.into(),
            ..RuntimeInfo::default()
        };
        info.write_to_bytes().unwrap()
    }

    #[test]
    fn only_an_answer_that_lists_the_option_makes_the_feature() {
        let mut host = HostFacts::read().unwrap();
        host.recursive_mount_attributes = Support::Present;
        let listed = answer(Some(r#"{"mountOptions":["ro","rro"],"hooks":[]}"#));
        for (bytes, expected) in [
            (listed.clone(), Support::Present),
            (answer(Some(r#"{"mountOptions":["ro"]}"#)), Support::Absent),
            (answer(Some("{}")), Support::Absent),
            (answer(Some("{")), Support::Absent),
            (answer(None), Support::Absent),
            (Vec::new(), Support::Absent),
            (b"usage: shim".to_vec(), Support::Absent),
        ] {
            let options = MountOptions::of(&bytes);
            assert_eq!(options.recursive_read_only(&host), expected, "{bytes:?}");
        }
        host.recursive_mount_attributes = Support::Absent;
        let options = MountOptions::of(&listed);
        assert_eq!(options.recursive_read_only(&host), Support::Absent);
    }
}
