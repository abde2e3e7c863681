//! What `outlive run` asks the supervisor for, from its arguments. Pure, but for a random ending of a name and the
//! variables of this process.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use tonic::Code;

use super::security::security_context;
use crate::api::annotations::{LABEL, LOG_DIRECTORY, NAMESPACE, REMOVE_WHEN_ENDED, YES};
use crate::api::cri;
use crate::cli::args::{
    Access, Global, IpcMode, Label, Network, PidMode, Propagation, RunArgs, VolumeArg,
};
use crate::cli::error::Error;
use crate::cli::quantity::{CPU_PERIOD, Device, Port, Protocol};

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
        refuse_contradictions(args)?;
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

/// What makes no sense together, which no single option can tell.
fn refuse_contradictions(args: &RunArgs) -> Result<(), Error> {
    let refusals = [
        (
            args.net == Network::Host && !args.publish.is_empty(),
            "--publish needs a network of the pod's own; on the host's every port is the host's already",
        ),
        (
            args.net == Network::Host && args.hostname.is_some(),
            "--hostname needs a network of the pod's own; on the host's a container has the host's name: leave out \
             --net host or --hostname",
        ),
        (
            args.entrypoint.as_deref() == Some("") && args.command.is_empty(),
            "--entrypoint \"\" takes the image's entrypoint and command away: write the program after the image",
        ),
    ];
    match refusals.into_iter().find(|(is_given, _)| *is_given) {
        Some((_, refusal)) => Err(Error::Usage(refusal.to_owned())),
        None => Ok(()),
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

pub(super) fn namespaces(args: &RunArgs) -> cri::NamespaceOption {
    let network = match args.net {
        Network::Host => cri::NamespaceMode::Node,
        Network::Pod => cri::NamespaceMode::Pod,
    };
    let pid = match args.pid {
        PidMode::Container => cri::NamespaceMode::Container,
        PidMode::Pod => cri::NamespaceMode::Pod,
        PidMode::Host => cri::NamespaceMode::Node,
    };
    let ipc = match args.ipc {
        IpcMode::Pod => cri::NamespaceMode::Pod,
        IpcMode::Host => cri::NamespaceMode::Node,
    };
    cri::NamespaceOption {
        network: network.into(),
        pid: pid.into(),
        ipc: ipc.into(),
        ..Default::default()
    }
}

fn labels(args: &RunArgs) -> HashMap<String, String> {
    let mut labels: HashMap<_, _> = args.label.iter().cloned().collect();
    labels.insert(LABEL.to_owned(), "true".to_owned());
    labels
}

/// The log directory goes with the container unless the user chose its place. In the foreground `run` itself removes
/// the container: first it has to print all that it wrote.
fn annotations(args: &RunArgs, log_directory: &Path) -> HashMap<String, String> {
    let mut annotations = HashMap::new();
    if args.log_dir.is_none() {
        let directory = log_directory.to_string_lossy().into_owned();
        annotations.insert(LOG_DIRECTORY.to_owned(), directory);
    }
    if args.rm && args.detach {
        annotations.insert(REMOVE_WHEN_ENDED.to_owned(), YES.to_owned());
    }
    annotations
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
        dns_config: Some(cri::DnsConfig {
            servers: args.dns.iter().map(ToString::to_string).collect(),
            searches: args.dns_search.clone(),
            options: args.dns_option.clone(),
        }),
        port_mappings: args.publish.iter().map(port_mapping).collect(),
        labels: labels(args),
        annotations: annotations(args, log_directory),
        linux: Some(cri::LinuxPodSandboxConfig {
            security_context: Some(cri::LinuxSandboxSecurityContext {
                namespace_options: Some(namespaces(args)),
                privileged: args.privileged,
                ..Default::default()
            }),
            sysctls: args.sysctl.iter().cloned().collect(),
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
    // CRI's command replaces the image's entrypoint and its command; with neither of ours both of the image's hold.
    let (command, arguments) = match args.entrypoint.as_deref() {
        None => (Vec::new(), args.command.clone()),
        Some("") => (args.command.clone(), Vec::new()),
        Some(program) => (vec![program.to_owned()], args.command.clone()),
    };
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
        command,
        args: arguments,
        working_dir: args.workdir.clone().unwrap_or_default(),
        envs: environment(args)?,
        mounts: args.volumes.iter().chain(&args.mounts).map(mount).collect(),
        devices: args.devices.iter().map(device).collect(),
        labels: labels(args),
        annotations: annotations(args, log_directory),
        log_path: format!("{name}.log"),
        linux: Some(cri::LinuxContainerConfig {
            resources: Some(resources(args)),
            security_context: Some(security_context(args)?),
        }),
        ..Default::default()
    })
}

fn resources(args: &RunArgs) -> cri::LinuxContainerResources {
    // As docker-run(1): zero and less are no limit.
    let pids = args.pids_limit.filter(|&limit| limit > 0);
    cri::LinuxContainerResources {
        cpu_period: args.cpus.map_or(0, |_| CPU_PERIOD),
        cpu_quota: args.cpus.unwrap_or(0),
        cpu_shares: args.cpu_shares.unwrap_or(0),
        cpuset_cpus: args.cpuset_cpus.clone().unwrap_or_default(),
        memory_limit_in_bytes: args.memory.unwrap_or(0),
        memory_swap_limit_in_bytes: args.memory_swap.unwrap_or(0),
        unified: pids
            .map(|limit| ("pids.max".to_owned(), limit.to_string()))
            .into_iter()
            .collect(),
        ..Default::default()
    }
}

/// The variables of the files, and then of the options: the later wins.
fn environment(args: &RunArgs) -> Result<Vec<cri::KeyValue>, Error> {
    let mut variables = Vec::new();
    for path in &args.env_file {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Io {
            operation: format!("--env-file {path:?}"),
            source,
        })?;
        for line in text.lines().map(str::trim_start) {
            if !line.is_empty() && !line.starts_with('#') {
                variables.extend(variable("--env-file", line)?);
            }
        }
    }
    for text in &args.env {
        variables.extend(variable("--env", text)?);
    }
    Ok(variables)
}

/// `KEY=VALUE`, or `KEY` for this process's own value; `None` where it has none.
fn variable(option: &str, text: &str) -> Result<Option<cri::KeyValue>, Error> {
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, value.to_owned()),
        None => match std::env::var(text) {
            Ok(value) => (text, value),
            // As docker-run(1): what is not set here is not set there.
            Err(std::env::VarError::NotPresent) => return Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => {
                return Err(Error::Usage(format!(
                    "{option} {text}: its value is not UTF-8"
                )));
            }
        },
    };
    if key.is_empty() {
        return Err(Error::Usage(format!("{option} {text:?} must be KEY=VALUE")));
    }
    Ok(Some(cri::KeyValue {
        key: key.to_owned(),
        value,
    }))
}

fn device(device: &Device) -> cri::Device {
    cri::Device {
        container_path: device.container.clone(),
        host_path: device.host.clone(),
        permissions: device.permissions.clone(),
    }
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
        selinux_relabel: volume.label == Label::Change,
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
