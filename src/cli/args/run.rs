//! What `outlive run` takes.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::quantity;

/// `run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Print the id and return; the container goes on
    #[arg(long, short)]
    pub detach: bool,
    /// Remove the container, its pod and its log when it has ended
    #[arg(long, conflicts_with = "detach")]
    pub rm: bool,
    /// The name of the container and of its pod [default: the image's with a random ending]
    #[arg(long)]
    pub name: Option<String>,
    /// A variable; without a value, this command's own; may be given more than once
    #[arg(long, short, value_name = "KEY[=VALUE]")]
    pub env: Vec<String>,
    /// A label; may be given more than once
    #[arg(long, short, value_parser = quantity::key_value, value_name = "KEY=VALUE")]
    pub label: Vec<(String, String)>,
    /// A directory or file of the host's; may be given more than once
    #[arg(long = "volume", visible_alias = "mount", short = 'v', value_parser = VolumeArg::parse,
          value_name = "HOST:CONTAINER[:ro][,rslave|rshared]")]
    pub volumes: Vec<VolumeArg>,
    /// The host's network, or one of the pod's own
    #[arg(long, value_enum, default_value_t = Network::Pod, value_name = "NETWORK")]
    pub net: Network,
    /// A port of the host's that leads to one of the container's; may be given more than once
    #[arg(long, short, value_parser = quantity::port, value_name = "[IP:]HOST:CONTAINER[/udp]")]
    pub publish: Vec<quantity::Port>,
    /// The most memory: 64m, 1.5g
    #[arg(long, short, value_parser = quantity::bytes, value_name = "BYTES")]
    pub memory: Option<i64>,
    /// The most processor time, in processors: 0.5, 2
    #[arg(long, value_parser = quantity::cpu_quota, value_name = "CPUS")]
    pub cpus: Option<i64>,
    /// The user: UID, UID:GID or a name of the image's [default: the image's]
    #[arg(long, short, value_parser = quantity::user, value_name = "USER")]
    pub user: Option<quantity::User>,
    /// The working directory [default: the image's]
    #[arg(long, short)]
    pub workdir: Option<String>,
    /// The host name [default: the name]
    #[arg(long)]
    pub hostname: Option<String>,
    /// The program, in place of the image's entrypoint
    #[arg(long)]
    pub entrypoint: Option<String>,
    /// All capabilities and devices; nothing is masked
    #[arg(long)]
    pub privileged: bool,
    /// A capability more: NET_ADMIN, ALL; may be given more than once
    #[arg(long, value_name = "CAPABILITY")]
    pub cap_add: Vec<String>,
    /// A capability less; may be given more than once
    #[arg(long, value_name = "CAPABILITY")]
    pub cap_drop: Vec<String>,
    /// Whether the root filesystem cannot be written
    #[arg(long)]
    pub read_only: bool,
    /// The runtime handler [default: the supervisor's]
    #[arg(long, value_name = "HANDLER")]
    pub runtime: Option<String>,
    /// Whose processes it sees
    #[arg(long, value_enum, default_value_t = PidMode::Container, value_name = "NAMESPACE")]
    pub pid: PidMode,
    /// Where the log is made, as NAME.log, and kept [default: ROOT/logs/NAME, removed with the container]
    #[arg(long, value_name = "DIR")]
    pub log_dir: Option<PathBuf>,
    /// The image
    pub image: String,
    /// The program's arguments, in place of the image's command
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

/// Whose network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Network {
    /// The host's.
    Host,
    /// The pod's own, by CNI.
    Pod,
}

/// Whose processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PidMode {
    /// Its own.
    Container,
    /// The pod's.
    Pod,
    /// The host's.
    Host,
}

/// What of the host's is mounted where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeArg {
    /// The host's path, absolute.
    pub host: String,
    /// The container's path, absolute.
    pub container: String,
    /// Whether it can be written.
    pub access: Access,
    /// Which mounts go from one to the other later.
    pub propagation: Propagation,
}

/// Whether a volume can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It can.
    ReadWrite,
    /// It cannot.
    ReadOnly,
}

/// Which mounts go from the host to a volume and back: mount_namespaces(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// None.
    Private,
    /// The host's go into the container.
    Slave,
    /// Both ways.
    Shared,
}

impl VolumeArg {
    /// `HOST:CONTAINER[:OPTION[,OPTION]..]`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, ':');
        let (Some(host), Some(container)) = (parts.next(), parts.next()) else {
            return Err("must be HOST:CONTAINER".to_owned());
        };
        if !host.starts_with('/') || !container.starts_with('/') {
            return Err("both paths must be absolute".to_owned());
        }
        let mut volume = Self {
            host: host.to_owned(),
            container: container.to_owned(),
            access: Access::ReadWrite,
            propagation: Propagation::Private,
        };
        for option in parts.next().into_iter().flat_map(|rest| rest.split(',')) {
            match option {
                "ro" => volume.access = Access::ReadOnly,
                "rw" => volume.access = Access::ReadWrite,
                "rprivate" => volume.propagation = Propagation::Private,
                "rslave" => volume.propagation = Propagation::Slave,
                "rshared" => volume.propagation = Propagation::Shared,
                other => {
                    return Err(format!(
                        "unknown option {other:?}; there are ro, rw, rprivate, rslave, rshared"
                    ));
                }
            }
        }
        Ok(volume)
    }
}
