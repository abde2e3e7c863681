//! What `outlive run` asks the supervisor for, from its arguments. Pure, but for a random ending of a name and the
//! variables of this process.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use tonic::Code;

use super::{LABEL, LOG_DIRECTORY};
use crate::api::cri;
use crate::cli::args::{Access, Propagation};
use crate::cli::args::{Global, Network, PidMode, RunArgs, VolumeArg};
use crate::cli::error::Error;
use crate::cli::quantity::{CPU_PERIOD, Port, Protocol, User};

/// The pod namespace (Kubernetes' word) of what `run` makes.
const NAMESPACE: &str = "outlive-run";

/// What is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The name of both.
    pub name: String,
    /// The pod.
    pub pod: cri::PodSandboxConfig,
    /// The container.
    pub container: cri::ContainerConfig,
    /// The runtime handler.
    pub runtime: String,
    /// Where the log is.
    pub log_directory: PathBuf,
}

impl Plan {
    /// From the arguments.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn new(global: &Global, args: &RunArgs) -> Result<Self, Error> {
        let name = match &args.name {
            Some(name) => check_name(name)?,
            None => name_after(&args.image)?,
        };
        if args.net == Network::Host && !args.publish.is_empty() {
            return Err(Error::Usage(
                "--publish needs a network of the pod's own; on the host's every port is the host's already"
                    .to_owned(),
            ));
        }
        let log_directory = match &args.log_dir {
            Some(directory) => std::path::absolute(directory).map_err(|source| Error::Io {
                operation: format!("--log-dir {directory:?}"),
                source,
            })?,
            None => global.root().join("logs").join(&name),
        };
        let plan = Self {
            pod: pod(args, &name, &log_directory),
            container: container(args, &name, &log_directory)?,
            runtime: args.runtime.clone().unwrap_or_default(),
            name,
            log_directory,
        };
        Ok(plan)
    }

    /// The log.
    pub fn log_path(&self) -> PathBuf {
        self.log_directory.join(&self.container.log_path)
    }

    /// Whether the log directory is removed with the container.
    pub fn owns_logs(&self) -> bool {
        self.container.annotations.contains_key(LOG_DIRECTORY)
    }

    /// Says what to do where the name is another's.
    pub fn name_taken(&self, error: Error) -> Error {
        match error {
            Error::Call {
                operation,
                mut status,
            } if status.code() == Code::AlreadyExists => {
                let advice = format!(
                    "{}; remove it with `outlive rm {}`, or choose another --name",
                    status.message(),
                    self.name
                );
                *status = tonic::Status::new(Code::AlreadyExists, advice);
                Error::Call { operation, status }
            }
            other => other,
        }
    }
}

/// A name is part of a path, and a word on the command line.
fn check_name(name: &str) -> Result<String, Error> {
    match crate::types::ContainerId::new(name) {
        Ok(_) => Ok(name.to_owned()),
        Err(error) => Err(Error::Usage(format!("--name: {error}"))),
    }
}

/// The last word of an image's name, and four random digits: `busybox-3f9a`.
fn name_after(image: &str) -> Result<String, Error> {
    let mut random = [0_u8; 2];
    let read =
        std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random));
    read.map_err(|source| Error::Io {
        operation: "read /dev/urandom".to_owned(),
        source,
    })?;
    let digits = u16::from_ne_bytes(random);
    Ok(format!("{}-{digits:04x}", stem(image)))
}

/// What of an image's name can be in a container's.
fn stem(image: &str) -> String {
    let path = image.split('@').next().unwrap_or_default();
    let last = path.rsplit('/').next().unwrap_or_default();
    let stem: String = last
        .split(':')
        .next()
        .unwrap_or_default()
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(40)
        .collect();
    if stem.is_empty() {
        "run".to_owned()
    } else {
        stem
    }
}

fn namespaces(args: &RunArgs) -> cri::NamespaceOption {
    let network = match args.net {
        Network::Host => cri::NamespaceMode::Node,
        Network::Pod => cri::NamespaceMode::Pod,
    };
    let pid = match args.pid {
        PidMode::Container => cri::NamespaceMode::Container,
        PidMode::Pod => cri::NamespaceMode::Pod,
        PidMode::Host => cri::NamespaceMode::Node,
    };
    cri::NamespaceOption {
        network: network.into(),
        pid: pid.into(),
        ipc: cri::NamespaceMode::Pod.into(),
        ..Default::default()
    }
}

fn labels(args: &RunArgs) -> HashMap<String, String> {
    let mut labels: HashMap<_, _> = args.label.iter().cloned().collect();
    labels.insert(LABEL.to_owned(), "true".to_owned());
    labels
}

fn annotations(args: &RunArgs, log_directory: &Path) -> HashMap<String, String> {
    let owned = args.log_dir.is_none();
    let directory = owned.then(|| log_directory.to_string_lossy().into_owned());
    directory
        .map(|directory| (LOG_DIRECTORY.to_owned(), directory))
        .into_iter()
        .collect()
}

/// The host name of a pod of this name: a name may have `_` and be longer than the 63 bytes of RFC 1035, 2.3.4.
fn host_name(name: &str) -> String {
    let name = name.trim_start_matches(|one: char| !one.is_ascii_alphanumeric());
    let host: String = name
        .chars()
        .map(|one| {
            if one.is_ascii_alphanumeric() {
                one
            } else {
                '-'
            }
        })
        .take(63)
        .collect();
    host.trim_end_matches('-').to_owned()
}

fn pod(args: &RunArgs, name: &str, log_directory: &Path) -> cri::PodSandboxConfig {
    cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata {
            name: name.to_owned(),
            // The name alone is what must be unique.
            uid: name.to_owned(),
            namespace: NAMESPACE.to_owned(),
            attempt: 0,
        }),
        // On the host's network a pod has the host's name: CRI leaves it empty then.
        hostname: match (&args.hostname, args.net) {
            (Some(hostname), _) => hostname.clone(),
            (None, Network::Host) => String::new(),
            (None, Network::Pod) => host_name(name),
        },
        log_directory: log_directory.to_string_lossy().into_owned(),
        port_mappings: args.publish.iter().map(port_mapping).collect(),
        labels: labels(args),
        annotations: annotations(args, log_directory),
        linux: Some(cri::LinuxPodSandboxConfig {
            security_context: Some(cri::LinuxSandboxSecurityContext {
                namespace_options: Some(namespaces(args)),
                privileged: args.privileged,
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn container(
    args: &RunArgs,
    name: &str,
    log_directory: &Path,
) -> Result<cri::ContainerConfig, Error> {
    Ok(cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata {
            name: name.to_owned(),
            attempt: 0,
        }),
        image: Some(cri::ImageSpec {
            image: args.image.clone(),
            user_specified_image: args.image.clone(),
            ..Default::default()
        }),
        command: args.entrypoint.iter().cloned().collect(),
        args: args.command.clone(),
        working_dir: args.workdir.clone().unwrap_or_default(),
        envs: environment(&args.env)?,
        mounts: args.volumes.iter().map(mount).collect(),
        labels: labels(args),
        annotations: annotations(args, log_directory),
        log_path: format!("{name}.log"),
        linux: Some(cri::LinuxContainerConfig {
            resources: Some(resources(args)),
            security_context: Some(security_context(args)),
        }),
        ..Default::default()
    })
}

fn resources(args: &RunArgs) -> cri::LinuxContainerResources {
    cri::LinuxContainerResources {
        cpu_period: args.cpus.map_or(0, |_| CPU_PERIOD),
        cpu_quota: args.cpus.unwrap_or(0),
        memory_limit_in_bytes: args.memory.unwrap_or(0),
        ..Default::default()
    }
}

fn security_context(args: &RunArgs) -> cri::LinuxContainerSecurityContext {
    let id = |id: u32| Some(cri::Int64Value { value: id.into() });
    let (user, username, group) = match &args.user {
        None => (None, String::new(), None),
        Some(User::Id { user, group }) => (id(*user), String::new(), *group),
        Some(User::Name { user, group }) => (None, user.clone(), *group),
    };
    let capabilities = cri::Capability {
        add_capabilities: args.cap_add.iter().map(|name| capability(name)).collect(),
        drop_capabilities: args.cap_drop.iter().map(|name| capability(name)).collect(),
        ..Default::default()
    };
    cri::LinuxContainerSecurityContext {
        capabilities: Some(capabilities),
        privileged: args.privileged,
        namespace_options: Some(namespaces(args)),
        run_as_user: user,
        run_as_group: group.and_then(id),
        run_as_username: username,
        readonly_rootfs: args.read_only,
        ..Default::default()
    }
}

/// CRI names capabilities without `CAP_`, in capitals.
fn capability(name: &str) -> String {
    let name = name.to_ascii_uppercase();
    name.strip_prefix("CAP_").unwrap_or(&name).to_owned()
}

fn environment(given: &[String]) -> Result<Vec<cri::KeyValue>, Error> {
    let mut variables = Vec::with_capacity(given.len());
    for text in given {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, value.to_owned()),
            None => match std::env::var(text) {
                Ok(value) => (text.as_str(), value),
                // As docker-run(1): what is not set here is not set there.
                Err(std::env::VarError::NotPresent) => continue,
                Err(std::env::VarError::NotUnicode(_)) => {
                    return Err(Error::Usage(format!(
                        "--env {text}: its value is not UTF-8"
                    )));
                }
            },
        };
        if key.is_empty() {
            return Err(Error::Usage(format!("--env {text:?} must be KEY=VALUE")));
        }
        variables.push(cri::KeyValue {
            key: key.to_owned(),
            value,
        });
    }
    Ok(variables)
}

fn mount(volume: &VolumeArg) -> cri::Mount {
    let propagation = match volume.propagation {
        Propagation::Private => cri::MountPropagation::PropagationPrivate,
        Propagation::Slave => cri::MountPropagation::PropagationHostToContainer,
        Propagation::Shared => cri::MountPropagation::PropagationBidirectional,
    };
    cri::Mount {
        host_path: volume.host.clone(),
        container_path: volume.container.clone(),
        readonly: volume.access == Access::ReadOnly,
        propagation: propagation.into(),
        ..Default::default()
    }
}

fn port_mapping(port: &Port) -> cri::PortMapping {
    let protocol = match port.protocol {
        Protocol::Tcp => cri::Protocol::Tcp,
        Protocol::Udp => cri::Protocol::Udp,
        Protocol::Sctp => cri::Protocol::Sctp,
    };
    cri::PortMapping {
        protocol: protocol.into(),
        container_port: port.container.into(),
        host_port: port.host.into(),
        host_ip: port.host_ip.clone(),
    }
}

#[cfg(test)]
mod tests;
