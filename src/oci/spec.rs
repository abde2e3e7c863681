//! What the shim reads of a container's `config.json` (OCI runtime spec, `config.md` and `config-linux.md`).

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The longest `config.json` that is read, in bytes; containerd's API caps a request well below it.
const MAX_SPEC_LEN: u64 = 64 << 20;

/// Which containers share a shim, in order of precedence.
const GROUP_ANNOTATIONS: [&str; 2] = [
    "io.containerd.runc.v2.group",
    "io.kubernetes.cri.sandbox-id",
];

/// Why a `config.json` could not be used.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// It cannot be read.
    #[error("read {path:?}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not a container's specification.
    #[error("{path:?} is not an OCI specification")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
}

/// The parts of a specification that matter here.
#[derive(Debug, Default, Clone, Deserialize)]
pub struct Spec {
    /// Free-form notes; grouping is told by them.
    #[serde(default)]
    pub annotations: HashMap<String, String>,
    #[serde(default)]
    linux: Linux,
}

#[derive(Debug, Default, Clone, Deserialize)]
struct Linux {
    #[serde(default)]
    namespaces: Vec<LinuxNamespace>,
}

#[derive(Debug, Clone, Deserialize)]
struct LinuxNamespace {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    path: String,
}

impl Spec {
    /// Reads `bundle/config.json`.
    ///
    /// # Errors
    /// [`SpecError`] names the file.
    pub fn read(bundle: &Path) -> Result<Self, SpecError> {
        let path = bundle.join("config.json");
        match crate::sys::file::read_bounded(&path, MAX_SPEC_LEN) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|source| SpecError::Parse { path, source })
            }
            Err(source) => Err(SpecError::Read { path, source }),
        }
    }

    /// The group whose containers share one shim (containerd `cmd/containerd-shim-runc-v2/manager/manager_linux.go`).
    #[must_use]
    pub fn group(&self) -> Option<&str> {
        let named = GROUP_ANNOTATIONS
            .iter()
            .find_map(|annotation| self.annotations.get(*annotation));
        named.map(String::as_str).filter(|group| !group.is_empty())
    }

    /// Whether init has a pid namespace of its own, so that the kernel kills every other process when it ends
    /// (pid_namespaces(7)). Where it has not, somebody else must.
    #[must_use]
    pub fn has_own_pid_namespace(&self) -> bool {
        self.linux
            .namespaces
            .iter()
            .any(|namespace| namespace.kind == "pid" && namespace.path.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_namespace_with_a_path_is_somebody_elses() {
        let own = |json: &str| {
            serde_json::from_str::<Spec>(json)
                .unwrap()
                .has_own_pid_namespace()
        };
        assert!(own(
            r#"{"linux":{"namespaces":[{"type":"mount"},{"type":"pid"}]}}"#
        ));
        assert!(!own(
            r#"{"linux":{"namespaces":[{"type":"pid","path":"/proc/1/ns/pid"}]}}"#
        ));
        assert!(!own(r#"{"linux":{"namespaces":[]}}"#));
        assert!(!own("{}"));
    }
}
