//! The shim's options.
//!
//! They come with Create (and by stdin of `start` and `-info`) as a protobuf `Any` of one of these kinds:
//!
//! ```text
//! containerd.runc.v1.Options      from containerd's own clients for runc's runtime name (ctr --runc-binary ..)
//! runtimeoptions.v1.Options       from the CRI plugin for every other name:
//!     type_url = 1: string, config_path = 2: string, config_body = 3: bytes; the body, else the file, is TOML
//! containerd.linux.runc.CreateOptions   from the clients of 1.x for every other name, where they set a user namespace:
//!     no_pivot_root = 1, no_new_keyring = 8, shim_cgroup = 9, io_uid = 10, io_gid = 11, criu_work_path = 12,
//!     criu_image_path = 13 (containerd 1.x `runtime/linux/runctypes/runc.proto`)
//! ```
//!
//! The TOML has the same options under containerd's names (`BinaryName`, as in containerd's configuration) or in snake
//! case, and the shim's own. All are optional; a key that is not known is an error.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{self, CodedInputStream, Message};
use containerd_shim_protos::shim::oci::Options as RuncOptions;
use serde::Deserialize;

use crate::sys::file::read_at_once;

/// Where runc keeps its containers' state for containerd, one directory a namespace below it.
pub const DEFAULT_OCI_ROOT: &str = "/run/containerd/runc";
const DEFAULT_OCI_BINARY: &str = "runc";
const DEFAULT_OCI_TIMEOUT_SECONDS: u64 = 300;
const DEFAULT_DRAIN_SECONDS: u64 = 10;
const DEFAULT_IDLE_EXIT_SECONDS: u64 = 600;
const DEFAULT_LOG_SPOOL_BYTES: u64 = 64 << 20;
/// Keeps the sums of a few of them far from the end of a file offset.
const MAX_LOG_SPOOL_BYTES: u64 = 1 << 50;
const MAX_CONFIG_LEN: u64 = 1 << 20;

/// Why options cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// They are of a type that the shim does not take.
    #[error("options of the unknown type {type_url:?}")]
    UnknownType {
        /// The type.
        type_url: String,
    },
    /// They are no message of their type.
    #[error("options are no valid {type_name}")]
    Decode {
        /// The type.
        type_name: &'static str,
        /// Why.
        #[source]
        source: protobuf::Error,
    },
    /// The TOML is wrong: malformed, a key that is not known, or a value of another type.
    #[error("options in {origin}: {source}")]
    Toml {
        /// `config_body`, or the file.
        origin: String,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// The configuration file cannot be read.
    #[error("read options file {path:?}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A value is out of its range.
    #[error("option {key}: {reason}")]
    Value {
        /// Which.
        key: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// The options of one container's shim.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShimOptions {
    /// Enter the root filesystem by chroot in place of pivot_root.
    #[serde(alias = "NoPivotRoot")]
    pub no_pivot_root: bool,
    /// Share the session keyring.
    #[serde(alias = "NoNewKeyring")]
    pub no_new_keyring: bool,
    /// The cgroup to put the shim in; empty: the starter's.
    #[serde(alias = "ShimCgroup")]
    pub shim_cgroup: String,
    /// The owner of the container's stdio pipes.
    #[serde(alias = "IoUid")]
    pub io_uid: u32,
    /// The group of the container's stdio pipes.
    #[serde(alias = "IoGid")]
    pub io_gid: u32,
    /// The OCI runtime: a name on PATH, or a path.
    #[serde(alias = "BinaryName")]
    pub binary_name: String,
    /// Where the OCI runtime keeps its state; the containerd namespace is appended.
    #[serde(alias = "Root")]
    pub root: String,
    /// Have systemd make the cgroups.
    #[serde(alias = "SystemdCgroup")]
    pub systemd_cgroup: bool,
    /// Where checkpoint images go if the request names no place.
    #[serde(alias = "CriuImagePath")]
    pub criu_image_path: String,
    /// criu's working directory; empty: one in the bundle.
    #[serde(alias = "CriuWorkPath")]
    pub criu_work_path: String,
    /// How long one call of the OCI runtime may take before it is killed.
    pub oci_timeout_seconds: u64,
    /// How long the output of a dead process is read on while somebody holds its pipe.
    pub drain_seconds: u64,
    /// How long a shim stays after its last task was deleted; 0 for ever. Taken from the options of `start`.
    pub idle_exit_seconds: u64,
    /// How much of each output stream that goes to a fifo is kept in a file while that is full and no manager is there;
    /// 0: nothing, and the container waits.
    pub log_spool_bytes: u64,
    /// What containerd's CRI plugin leaves in the table; of no meaning here.
    #[serde(rename = "TypeUrl", alias = "type_url")]
    pub(crate) type_url: String,
}

impl Default for ShimOptions {
    fn default() -> Self {
        Self {
            no_pivot_root: false,
            no_new_keyring: false,
            shim_cgroup: String::new(),
            io_uid: 0,
            io_gid: 0,
            binary_name: DEFAULT_OCI_BINARY.to_owned(),
            root: DEFAULT_OCI_ROOT.to_owned(),
            systemd_cgroup: false,
            criu_image_path: String::new(),
            criu_work_path: String::new(),
            oci_timeout_seconds: DEFAULT_OCI_TIMEOUT_SECONDS,
            drain_seconds: DEFAULT_DRAIN_SECONDS,
            idle_exit_seconds: DEFAULT_IDLE_EXIT_SECONDS,
            log_spool_bytes: DEFAULT_LOG_SPOOL_BYTES,
            type_url: String::new(),
        }
    }
}

impl ShimOptions {
    /// Decodes what came with a request; nothing at all gives the defaults.
    ///
    /// # Errors
    /// [`OptionsError`] says what is wrong.
    pub fn from_any(any: Option<&Any>) -> Result<Self, OptionsError> {
        let Some(any) = any.filter(|any| !any.type_url.is_empty() || !any.value.is_empty()) else {
            return Ok(Self::default());
        };
        // typeurl writes bare names, protobuf's own packing a host before them.
        match any.type_url.rsplit('/').next() {
            Some("containerd.runc.v1.Options") => Self::from_runc(&any.value),
            Some("runtimeoptions.v1.Options") => Self::from_generic(&any.value),
            Some("containerd.linux.runc.CreateOptions") => Self::from_linux_runc(&any.value),
            _ => Err(OptionsError::UnknownType {
                type_url: any.type_url.clone(),
            }),
        }
        .and_then(Self::checked)
    }

    fn from_runc(bytes: &[u8]) -> Result<Self, OptionsError> {
        let options =
            RuncOptions::parse_from_bytes(bytes).map_err(|source| OptionsError::Decode {
                type_name: "containerd.runc.v1.Options",
                source,
            })?;
        Ok(Self {
            no_pivot_root: options.no_pivot_root,
            no_new_keyring: options.no_new_keyring,
            shim_cgroup: options.shim_cgroup,
            io_uid: options.io_uid,
            io_gid: options.io_gid,
            binary_name: options.binary_name,
            root: options.root,
            systemd_cgroup: options.systemd_cgroup,
            criu_image_path: options.criu_image_path,
            criu_work_path: options.criu_work_path,
            ..Self::default()
        })
    }

    fn from_linux_runc(bytes: &[u8]) -> Result<Self, OptionsError> {
        let decode = || {
            let mut input = CodedInputStream::from_bytes(bytes);
            let mut options = Self::default();
            while let Some(tag) = input.read_raw_tag_or_eof()? {
                match (tag >> 3, tag & 7) {
                    (1, 0) => options.no_pivot_root = input.read_bool()?,
                    (8, 0) => options.no_new_keyring = input.read_bool()?,
                    (9, 2) => options.shim_cgroup = input.read_string()?,
                    (10, 0) => options.io_uid = input.read_uint32()?,
                    (11, 0) => options.io_gid = input.read_uint32()?,
                    (12, 2) => options.criu_work_path = input.read_string()?,
                    (13, 2) => options.criu_image_path = input.read_string()?,
                    _ => protobuf::rt::skip_field_for_tag(tag, &mut input)?,
                }
            }
            Ok(options)
        };
        decode().map_err(|source| OptionsError::Decode {
            type_name: "containerd.linux.runc.CreateOptions",
            source,
        })
    }

    fn from_generic(bytes: &[u8]) -> Result<Self, OptionsError> {
        let generic = GenericOptions::parse(bytes).map_err(|source| OptionsError::Decode {
            type_name: "runtimeoptions.v1.Options",
            source,
        })?;
        if !generic.config_body.is_empty() {
            return Self::from_toml(&generic.config_body, "config_body");
        }
        if generic.config_path.is_empty() {
            return Ok(Self::default());
        }
        let path = PathBuf::from(generic.config_path);
        match read_at_once(&path, MAX_CONFIG_LEN) {
            Ok(contents) => Self::from_toml(&contents, &path.display().to_string()),
            Err(source) => Err(OptionsError::Read { path, source }),
        }
    }

    fn from_toml(contents: &[u8], origin: &str) -> Result<Self, OptionsError> {
        toml::from_slice(contents).map_err(|source| OptionsError::Toml {
            origin: origin.to_owned(),
            source: Box::new(source),
        })
    }

    /// Fills in what an empty text stands for, and refuses what cannot work.
    fn checked(mut self) -> Result<Self, OptionsError> {
        if self.binary_name.is_empty() {
            DEFAULT_OCI_BINARY.clone_into(&mut self.binary_name);
        }
        if self.root.is_empty() {
            DEFAULT_OCI_ROOT.clone_into(&mut self.root);
        }
        let relative = |path: &str| !path.is_empty() && !Path::new(path).is_absolute();
        for (key, path) in [
            ("root", &self.root),
            ("criu_image_path", &self.criu_image_path),
            ("criu_work_path", &self.criu_work_path),
        ] {
            if relative(path) {
                return Err(OptionsError::Value {
                    key,
                    reason: "must be an absolute path",
                });
            }
        }
        if !(1..=86_400).contains(&self.oci_timeout_seconds) {
            return Err(OptionsError::Value {
                key: "oci_timeout_seconds",
                reason: "must be 1 to 86400",
            });
        }
        if self.drain_seconds > 86_400 {
            return Err(OptionsError::Value {
                key: "drain_seconds",
                reason: "must be at most 86400",
            });
        }
        if self.idle_exit_seconds > 31_536_000 {
            return Err(OptionsError::Value {
                key: "idle_exit_seconds",
                reason: "must be at most 31536000",
            });
        }
        if self.log_spool_bytes > MAX_LOG_SPOOL_BYTES {
            return Err(OptionsError::Value {
                key: "log_spool_bytes",
                reason: "must be at most 2^50",
            });
        }
        Ok(self)
    }

    /// [`ShimOptions::oci_timeout_seconds`].
    #[must_use]
    pub const fn oci_timeout(&self) -> Duration {
        Duration::from_secs(self.oci_timeout_seconds)
    }

    /// [`ShimOptions::idle_exit_seconds`]; `None` for ever.
    #[must_use]
    pub const fn idle_exit(&self) -> Option<Duration> {
        match self.idle_exit_seconds {
            0 => None,
            seconds => Some(Duration::from_secs(seconds)),
        }
    }

    /// [`ShimOptions::drain_seconds`].
    #[must_use]
    pub const fn drain_cap(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }
}

/// `runtimeoptions.v1.Options` (containerd `api/types/runtimeoptions/v1/api.proto`), which the protos crate lacks.
#[derive(Debug, Default)]
struct GenericOptions {
    config_path: String,
    config_body: Vec<u8>,
}

impl GenericOptions {
    fn parse(bytes: &[u8]) -> Result<Self, protobuf::Error> {
        let mut input = CodedInputStream::from_bytes(bytes);
        let mut options = Self::default();
        while let Some(tag) = input.read_raw_tag_or_eof()? {
            let (field, wire) = (tag >> 3, tag & 7);
            match (field, wire) {
                (2, 2) => options.config_path = input.read_string()?,
                (3, 2) => options.config_body = input.read_bytes()?,
                _ => protobuf::rt::skip_field_for_tag(tag, &mut input)?,
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(type_url: &str, value: Vec<u8>) -> Any {
        Any {
            type_url: type_url.to_owned(),
            value,
            ..Any::default()
        }
    }

    /// Fields are (number, contents), all length-delimited.
    fn message(fields: &[(u8, &[u8])]) -> Vec<u8> {
        fields
            .iter()
            .flat_map(|(number, contents)| {
                let len = u8::try_from(contents.len()).unwrap();
                [[number << 3 | 2, len].as_slice(), contents].concat()
            })
            .collect()
    }

    #[test]
    fn no_options_are_the_defaults() {
        let defaults = ShimOptions::default();
        assert_eq!(ShimOptions::from_any(None).unwrap(), defaults);
        assert_eq!(
            ShimOptions::from_any(Some(&Any::default())).unwrap(),
            defaults
        );
        assert_eq!(
            ShimOptions::from_any(Some(&any("containerd.runc.v1.Options", vec![]))).unwrap(),
            defaults
        );
        assert_eq!(
            ShimOptions::from_any(Some(&any("runtimeoptions.v1.Options", vec![]))).unwrap(),
            defaults
        );
    }

    #[test]
    fn both_encodings_give_the_same_options() {
        let runc = RuncOptions {
            binary_name: "crun".into(),
            systemd_cgroup: true,
            io_uid: 7,
            ..RuncOptions::default()
        };
        let runc = ShimOptions::from_any(Some(&any(
            "x.y/containerd.runc.v1.Options",
            runc.write_to_bytes().unwrap(),
        )))
        .unwrap();
        for body in [
            "BinaryName='crun'\nSystemdCgroup=true\nIoUid=7",
            "binary_name='crun'\nsystemd_cgroup=true\nio_uid=7",
        ] {
            let bytes = message(&[(1, b"ignored"), (3, body.as_bytes())]);
            assert_eq!(
                ShimOptions::from_any(Some(&any("runtimeoptions.v1.Options", bytes))).unwrap(),
                runc
            );
        }
        assert_eq!(runc.binary_name, "crun");
    }

    #[test]
    fn the_options_of_older_clients_are_understood() {
        let bytes = vec![
            1 << 3,
            1,
            10 << 3,
            0xe8,
            0x07,
            11 << 3,
            7,
            12 << 3 | 2,
            2,
            b'/',
            b'w',
        ];
        let options =
            ShimOptions::from_any(Some(&any("containerd.linux.runc.CreateOptions", bytes)))
                .unwrap();
        let expected = ShimOptions {
            no_pivot_root: true,
            io_uid: 1000,
            io_gid: 7,
            criu_work_path: "/w".into(),
            ..ShimOptions::default()
        };
        assert_eq!(options, expected);
    }

    #[test]
    fn the_example_configuration_has_every_key_and_parses() {
        let example = include_str!("../../shim-config/outlive.toml");
        let settings: String = example
            .lines()
            .filter_map(|line| {
                line.strip_prefix("# ")
                    .or(line.strip_prefix('#'))
                    .or(Some(line))
            })
            .filter(|line| {
                line.split_once(" = ")
                    .is_some_and(|(key, _)| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
            })
            .fold(String::new(), |all, line| all + line + "\n");
        assert!(
            settings.contains("binary_name") && settings.contains("drain_seconds"),
            "{settings}"
        );
        ShimOptions::from_toml(settings.as_bytes(), "outlive.toml").unwrap();
    }

    #[test]
    fn an_unknown_key_is_named() {
        let bytes = message(&[(3, b"BinaryName='crun'\nBinaryNam='x'")]);
        let error =
            ShimOptions::from_any(Some(&any("runtimeoptions.v1.Options", bytes))).unwrap_err();
        assert!(error.to_string().contains("BinaryNam`"), "{error}");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for body in [
            "root='relative'",
            "oci_timeout_seconds=0",
            "oci_timeout_seconds=-1",
            "idle_exit_seconds=31536001",
            "io_uid='x'",
            "= =",
        ] {
            let bytes = message(&[(3, body.as_bytes())]);
            assert!(
                ShimOptions::from_any(Some(&any("runtimeoptions.v1.Options", bytes))).is_err(),
                "{body}"
            );
        }
        assert!(ShimOptions::from_any(Some(&any("some.other.Type", vec![]))).is_err());
        assert!(
            ShimOptions::from_any(Some(&any("containerd.runc.v1.Options", vec![0xff; 9]))).is_err()
        );
        assert!(
            ShimOptions::from_any(Some(&any("runtimeoptions.v1.Options", vec![0xff; 9]))).is_err()
        );
        let missing = message(&[(2, b"/no/such/file")]);
        assert!(ShimOptions::from_any(Some(&any("runtimeoptions.v1.Options", missing))).is_err());
    }
}
