//! The configuration file as it is written, and its way to [`Config`]: each value keeps its place in the file until it
//! was checked, so that what is wrong can be found.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::identity::Identity;
use super::{
    Config, ConfigError, DEFAULT_FILE, DEFAULT_RUNTIME, LogFormat, LogSettings, Overrides, Runtime,
};
use crate::sys::file::read_bounded;
use crate::sys::socket::MAX_PATH_LEN;

/// Longer than any configuration.
const MAX_LEN: u64 = 1 << 20;
/// The program of our shim, which is installed beside this one.
const SHIM: &str = "containerd-shim-outlive-v2";

pub(super) type Text = Option<Spanned<String>>;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub(super) root: Text,
    pub(super) state: Text,
    pub(super) address: Text,
    default_runtime: Text,
    log: Log,
    metrics: Metrics,
    network: Network,
    cgroup: Cgroup,
    seccomp: Seccomp,
    runtimes: BTreeMap<String, Spanned<Handler>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Log {
    level: Text,
    format: Text,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Metrics {
    address: Text,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Network {
    conf_dir: Text,
    bin_dirs: Option<Vec<Spanned<String>>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Cgroup {
    parent: Text,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Seccomp {
    profile_root: Text,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Handler {
    shim: Text,
    binary: Text,
    root: Text,
}

/// Where a value comes from.
#[derive(Clone)]
pub(super) enum Origin {
    Line(PathBuf, usize),
    Environment(&'static str),
    CommandLine,
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::CommandLine => f.write_str("command line"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value on its way: what it is, which key it belongs to and where it was said.
pub(super) struct Setting {
    pub(super) key: String,
    pub(super) origin: Origin,
    pub(super) value: String,
}

impl Setting {
    pub(super) fn refuse(&self, reason: impl Into<String>) -> ConfigError {
        ConfigError::Value {
            origin: self.origin.to_string(),
            key: self.key.clone(),
            reason: reason.into(),
        }
    }

    pub(super) fn absolute(&self) -> Result<PathBuf, ConfigError> {
        let path = Path::new(&self.value);
        let is_plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
        if path.is_absolute() && path.components().all(is_plain) {
            // Collected again, so that "/a//b/" and "/a/b" are the same.
            Ok(path.components().collect())
        } else {
            Err(self.refuse(format!("{:?} is not an absolute path", self.value)))
        }
    }

    fn program(&self) -> Result<PathBuf, ConfigError> {
        let path = self.absolute()?;
        match path.metadata() {
            Ok(file) if file.is_file() && file.permissions().mode() & 0o111 != 0 => Ok(path),
            Ok(_) => Err(self.refuse(format!("{path:?} is not a program"))),
            Err(error) => Err(self.refuse(format!("{path:?}: {error}"))),
        }
    }

    fn parse<T>(&self, parsed: Option<T>, wanted: &str) -> Result<T, ConfigError> {
        parsed.ok_or_else(|| self.refuse(format!("{:?} is not {wanted}", self.value)))
    }
}

/// The text of a file, to tell lines.
pub(super) struct Source {
    pub(super) path: PathBuf,
    /// Empty where the default file is not there.
    text: String,
    pub(super) is_there: bool,
}

impl Source {
    fn parse(&self) -> Result<File, ConfigError> {
        toml::from_str(&self.text).map_err(|error| ConfigError::Parse {
            path: self.path.clone(),
            line: self.line(error.span().map_or(0, |span| span.start)),
            reason: error.message().trim_end().to_owned(),
        })
    }

    fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().iter().take(offset);
        1 + before.filter(|byte| **byte == b'\n').count()
    }

    pub(super) fn setting(&self, key: impl Into<String>, value: Spanned<String>) -> Setting {
        Setting {
            key: key.into(),
            origin: Origin::Line(self.path.clone(), self.line(value.span().start)),
            value: value.into_inner(),
        }
    }

    /// The value of the file, else the default.
    fn or(&self, key: impl Into<String>, value: Text, default: impl Into<String>) -> Setting {
        let key = key.into();
        match value {
            Some(value) => self.setting(key, value),
            None => default_setting(key, default.into()),
        }
    }
}

pub(super) fn default_setting(key: String, value: String) -> Setting {
    Setting {
        key,
        origin: Origin::Default,
        value,
    }
}

pub(super) fn load(path: Option<&Path>, overrides: &Overrides) -> Result<Config, ConfigError> {
    let source = match path {
        Some(path) => read(path, Missing::IsAnError)?,
        None => read(Path::new(DEFAULT_FILE), Missing::IsEmpty)?,
    };
    build(&source, source.parse()?, overrides)
}

pub(super) fn root_of(path: &Path) -> Result<Option<PathBuf>, ConfigError> {
    let source = read(path, Missing::IsEmpty)?;
    let root = source.parse()?.root;
    root.map(|root| source.setting("root", root).absolute())
        .transpose()
}

/// What a file that is not there means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    IsAnError,
    IsEmpty,
}

fn read(path: &Path, missing: Missing) -> Result<Source, ConfigError> {
    let source = |text, is_there| Source {
        path: path.to_owned(),
        text,
        is_there,
    };
    let text = match read_bounded(path, MAX_LEN) {
        Ok(bytes) => String::from_utf8(bytes)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
        Err(error) if missing == Missing::IsEmpty && error.kind() == io::ErrorKind::NotFound => {
            return Ok(source(String::new(), false));
        }
        Err(error) => Err(error),
    };
    match text {
        Ok(text) => Ok(source(text, true)),
        Err(error) => Err(ConfigError::Read {
            path: path.to_owned(),
            source: error,
        }),
    }
}

fn build(source: &Source, mut file: File, overrides: &Overrides) -> Result<Config, ConfigError> {
    let identity = Identity::of(source, &mut file, overrides)?;
    let (root, state) = (&identity.root, &identity.state);
    let (root_dir, state_dir) = (root.absolute()?, state.absolute()?);
    if root_dir == state_dir {
        return Err(state.refuse(format!(
            "{state_dir:?} is root too: one outlives a reboot, the other must not"
        )));
    }
    // Also in it: the socket that the shims send events to.
    check_socket_path(state, &state_dir.join("events.sock"))?;
    let bin_dirs = file.network.bin_dirs.map_or_else(
        || Ok(vec!["/opt/cni/bin".into(), "/usr/lib/cni".into()]),
        |dirs| {
            let dirs = dirs.into_iter();
            dirs.map(|dir| source.setting("network.bin_dirs", dir).absolute())
                .collect()
        },
    )?;
    let network = source.or("network.conf_dir", file.network.conf_dir, "/etc/cni/net.d");
    let seccomp = source.or(
        "seccomp.profile_root",
        file.seccomp.profile_root,
        "/var/lib/kubelet/seccomp",
    );
    let metrics = file.metrics.address;
    Ok(Config {
        origins: identity.origins(source),
        socket: socket(&identity.address)?,
        runtimes: runtimes(source, file.runtimes, file.default_runtime)?,
        cni_conf_dir: network.absolute()?,
        cni_bin_dirs: bin_dirs,
        cgroup_parent: cgroup_parent(&source.or("cgroup.parent", file.cgroup.parent, "/outlive"))?,
        seccomp_profile_root: seccomp.absolute()?,
        log: log_settings(source, file.log)?,
        metrics: metrics
            .map(|value| metrics_address(&source.setting("metrics.address", value)))
            .transpose()?,
        root: root_dir,
        state: state_dir,
    })
}

fn socket(address: &Setting) -> Result<PathBuf, ConfigError> {
    let path = address.value.strip_prefix("unix://");
    let path = Setting {
        key: address.key.clone(),
        origin: address.origin.clone(),
        value: address.parse(path, "of the form unix:///PATH")?.to_owned(),
    }
    .absolute()?;
    check_socket_path(address, &path)?;
    Ok(path)
}

fn check_socket_path(setting: &Setting, path: &Path) -> Result<(), ConfigError> {
    if path.as_os_str().as_bytes().len() > MAX_PATH_LEN {
        return Err(setting.refuse(format!(
            "{path:?} is longer than the {MAX_PATH_LEN} bytes that a socket's path may have"
        )));
    }
    Ok(())
}

fn cgroup_parent(parent: &Setting) -> Result<String, ConfigError> {
    let path = parent.absolute()?;
    if path == Path::new("/") {
        return Err(parent.refuse("the root of the hierarchy is the machine's own"));
    }
    Ok(path.to_string_lossy().into_owned())
}

fn metrics_address(address: &Setting) -> Result<SocketAddr, ConfigError> {
    address.parse(
        address.value.parse().ok(),
        "an address and port, as 127.0.0.1:9099",
    )
}

fn log_settings(source: &Source, log: Log) -> Result<LogSettings, ConfigError> {
    let level = source.or("log.level", log.level, "info");
    let format = source.or("log.format", log.format, "text");
    Ok(LogSettings {
        level: level.parse(
            level.value.parse().ok(),
            "one of off, error, warn, info, debug, trace",
        )?,
        format: format.parse(
            match format.value.as_str() {
                "text" => Some(LogFormat::Text),
                "json" => Some(LogFormat::Json),
                _ => None,
            },
            "text or json",
        )?,
    })
}

/// The handlers, the default one first. `outlive` is always among them, and its shim is the one beside this program
/// unless it is named.
fn runtimes(
    source: &Source,
    mut handlers: BTreeMap<String, Spanned<Handler>>,
    default: Text,
) -> Result<Vec<Runtime>, ConfigError> {
    handlers
        .entry(DEFAULT_RUNTIME.to_owned())
        .or_insert_with(|| Spanned::new(0..0, Handler::default()));
    let mut runtimes = Vec::with_capacity(handlers.len());
    for (name, handler) in handlers {
        runtimes.push(runtime(source, name, handler)?);
    }
    let default = source.or("default_runtime", default, DEFAULT_RUNTIME);
    let place = runtimes
        .iter()
        .position(|runtime| runtime.name == default.value);
    let place = default.parse(place, "the name of a runtime")?;
    runtimes.swap(0, place);
    Ok(runtimes)
}

fn runtime(
    source: &Source,
    name: String,
    handler: Spanned<Handler>,
) -> Result<Runtime, ConfigError> {
    let key = |field: &str| format!("runtimes.{name}.{field}");
    let own = Setting {
        key: format!("runtimes.{name}"),
        origin: Origin::Line(source.path.clone(), source.line(handler.span().start)),
        value: name.clone(),
    };
    let is_name_character = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_name_character) {
        return Err(own.refuse("a runtime's name has letters, digits, '.', '-' and '_' only"));
    }
    let Handler { shim, binary, root } = handler.into_inner();
    let shim = match shim {
        Some(shim) => source.setting(key("shim"), shim),
        None if name == DEFAULT_RUNTIME => default_setting(key("shim"), beside_us(&own)?),
        None => return Err(own.refuse("shim is missing: the path of the shim's program")),
    };
    let binary = binary.map(|binary| oci_binary(&source.setting(key("binary"), binary)));
    let root = root.map(|root| source.setting(key("root"), root).absolute());
    Ok(Runtime {
        shim: shim.program()?,
        binary: binary.transpose()?,
        runtime_root: root.transpose()?,
        name,
    })
}

/// A program by its path, or by its name on PATH, which is the shim's to look up.
fn oci_binary(binary: &Setting) -> Result<PathBuf, ConfigError> {
    if binary.value.is_empty() || binary.value.contains('/') {
        binary.program()
    } else {
        Ok(PathBuf::from(&binary.value))
    }
}

fn beside_us(setting: &Setting) -> Result<String, ConfigError> {
    let own = std::env::current_exe()
        .map_err(|error| setting.refuse(format!("this program cannot be found: {error}")))?;
    Ok(own.with_file_name(SHIM).to_string_lossy().into_owned())
}
