//! The file `runtime`: how the container was made, so that `delete` can undo it after the shim's death.
//!
//! ```text
//! {"version":1,"namespace":"k8s.io","binary":"runc","root":"/run/containerd/runc/k8s.io","systemd_cgroup":false}
//! ```
//!
//! Written at Create, before the OCI runtime is called: from then on there may be something to undo. A key that is
//! not known makes it another version, which must say so.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Bundle, CorruptReason, Read, read_bytes};
use crate::sys::file;

/// The version that is written, and the only one that is read.
const VERSION: u32 = 1;

/// More than two paths need.
const MAX_LEN: u64 = 64 * 1024;

/// How a container was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeRecord {
    /// The containerd namespace.
    pub namespace: String,
    /// The OCI runtime: a name to look for on PATH, or a path.
    pub binary: PathBuf,
    /// Where the OCI runtime keeps its state.
    pub root: PathBuf,
    /// Whether systemd made the cgroups.
    pub systemd_cgroup: bool,
}

/// The record as it is on disk.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OnDisk {
    version: u32,
    namespace: String,
    binary: PathBuf,
    root: PathBuf,
    systemd_cgroup: bool,
}

/// What every version has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// Writes the record, durably.
///
/// # Errors
/// `InvalidData` for a path that is not UTF-8, else what the file system answered.
pub fn write(bundle: &Bundle, record: &RuntimeRecord) -> io::Result<()> {
    let on_disk = OnDisk {
        version: VERSION,
        namespace: record.namespace.clone(),
        binary: record.binary.clone(),
        root: record.root.clone(),
        systemd_cgroup: record.systemd_cgroup,
    };
    let bytes = serde_json::to_vec(&on_disk)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    file::replace(&bundle.runtime(), &bytes)
}

/// Reads the record.
#[must_use]
pub fn read(bundle: &Bundle) -> Read<RuntimeRecord> {
    let path = bundle.runtime();
    read_bytes(&path, MAX_LEN).and_parse(&path, |bytes| parse(&bytes))
}

fn parse(bytes: &[u8]) -> Result<RuntimeRecord, CorruptReason> {
    let malformed = |error: serde_json::Error| CorruptReason::Malformed(error.to_string());
    let Versioned { version } = serde_json::from_slice(bytes).map_err(malformed)?;
    if version != VERSION {
        return Err(CorruptReason::Version(version));
    }
    let on_disk: OnDisk = serde_json::from_slice(bytes).map_err(malformed)?;
    if on_disk.binary.as_os_str().is_empty() || !on_disk.root.is_absolute() {
        return Err(CorruptReason::Malformed(
            "a program and an absolute root are needed".to_owned(),
        ));
    }
    Ok(RuntimeRecord {
        namespace: on_disk.namespace,
        binary: on_disk.binary,
        root: on_disk.root,
        systemd_cgroup: on_disk.systemd_cgroup,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::file::scratch::Scratch;
    use proptest::prelude::*;

    fn record() -> RuntimeRecord {
        RuntimeRecord {
            namespace: "k8s.io".to_owned(),
            binary: "runc".into(),
            root: "/run/containerd/runc/k8s.io".into(),
            systemd_cgroup: true,
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let scratch = Scratch::new();
        let bundle = Bundle::new(scratch.path());
        assert!(matches!(read(&bundle), Read::Absent));
        write(&bundle, &record()).unwrap();
        assert!(matches!(read(&bundle), Read::Found(found) if found == record()));
    }

    #[test]
    fn a_later_version_is_named_and_not_guessed_at() {
        let later = br#"{"version":2,"binary":{"path":"runc"}}"#;
        assert!(matches!(parse(later), Err(CorruptReason::Version(2))));
        let unknown =
            br#"{"version":1,"namespace":"","binary":"r","root":"/","systemd_cgroup":false,"x":1}"#;
        assert!(matches!(parse(unknown), Err(CorruptReason::Malformed(why)) if why.contains('x')));
        let relative =
            br#"{"version":1,"namespace":"","binary":"r","root":"r","systemd_cgroup":false}"#;
        assert!(matches!(parse(relative), Err(CorruptReason::Malformed(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes: Vec<u8>) {
            prop_assert!(parse(&bytes).is_err());
        }
    }
}
