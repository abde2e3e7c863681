//! What `outlive run` takes: the options of docker-run(1) and podman-run(1) that the supervisor can carry out.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::security::SecurityOpt;
use super::volume::VolumeArg;
use crate::cli::quantity;

/// `run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Print the id and return; the container goes on
    #[arg(long, short)]
    pub detach: bool,
    /// Remove the container, its pod and its log when it has ended; with -d the supervisor does it
    #[arg(long)]
    pub rm: bool,
    /// The name of the container and of its pod [default: the image's with a random ending]
    #[arg(long)]
    pub name: Option<String>,
    /// A variable; without a value, this command's own; may be given more than once
    #[arg(long, short, value_name = "KEY[=VALUE]")]
    pub env: Vec<String>,
    /// A file with a variable on each line, as --env takes it; empty lines and those that begin with # are left out
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// A label; may be given more than once
    #[arg(long, short, value_parser = quantity::key_value, value_name = "KEY=VALUE")]
    pub label: Vec<(String, String)>,
    /// A directory or file of the host's; may be given more than once
    #[arg(long = "volume", short = 'v', value_parser = VolumeArg::parse,
          value_name = "HOST:CONTAINER[:ro][,rslave|rshared][,z]")]
    pub volumes: Vec<VolumeArg>,
    /// As --volume, in docker's other form; may be given more than once
    #[arg(long = "mount", value_parser = VolumeArg::parse_mount,
          value_name = "type=bind,source=HOST,target=CONTAINER[,readonly]")]
    pub mounts: Vec<VolumeArg>,
    /// A device of the host's; may be given more than once
    #[arg(long = "device", value_parser = quantity::device, value_name = "HOST[:CONTAINER][:rwm]")]
    pub devices: Vec<quantity::Device>,
    /// The host's network, or one of the pod's own
    #[arg(long, visible_alias = "network", value_enum, default_value_t = Network::Pod, value_name = "NETWORK")]
    pub net: Network,
    /// A port of the host's that leads to one of the container's; may be given more than once
    #[arg(long, short, value_parser = quantity::port, value_name = "[IP:]HOST:CONTAINER[/udp]")]
    pub publish: Vec<quantity::Port>,
    /// A name server [default: the host's]; may be given more than once
    #[arg(long, value_name = "IP")]
    pub dns: Vec<std::net::IpAddr>,
    /// A domain in which names are looked up; may be given more than once
    #[arg(long, value_name = "DOMAIN")]
    pub dns_search: Vec<String>,
    /// An option of resolv.conf(5); may be given more than once
    #[arg(long, value_name = "OPTION")]
    pub dns_option: Vec<String>,
    /// A kernel parameter of the pod's network or IPC; may be given more than once
    #[arg(long, value_parser = quantity::key_value, value_name = "NAME=VALUE")]
    pub sysctl: Vec<(String, String)>,
    /// The most memory: 64m, 1.5g
    #[arg(long, short, value_parser = quantity::bytes, value_name = "BYTES")]
    pub memory: Option<i64>,
    /// The most memory and swap together
    #[arg(long, value_parser = quantity::bytes, value_name = "BYTES")]
    pub memory_swap: Option<i64>,
    /// The most processor time, in processors: 0.5, 2
    #[arg(long, value_parser = quantity::cpu_quota, value_name = "CPUS")]
    pub cpus: Option<i64>,
    /// The weight where processors are short; 1024 is usual
    #[arg(long, short = 'c', value_name = "WEIGHT")]
    pub cpu_shares: Option<i64>,
    /// The processors to run on: 0-3, 0,2
    #[arg(long, value_name = "CPUS")]
    pub cpuset_cpus: Option<String>,
    /// The most processes and threads [default: as many as the machine has]
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    pub pids_limit: Option<i64>,
    /// The user, and its group, by number or by a name of the image's [default: the image's]
    #[arg(long, short, value_parser = quantity::user, value_name = "USER[:GROUP]")]
    pub user: Option<quantity::User>,
    /// A further group of the user's, by number; may be given more than once
    #[arg(long, value_name = "GID")]
    pub group_add: Vec<u32>,
    /// The working directory [default: the image's]
    #[arg(long, short)]
    pub workdir: Option<String>,
    /// The host name [default: the name]; not on the host's network
    #[arg(long)]
    pub hostname: Option<String>,
    /// The program, in place of the image's entrypoint; "" for none: COMMAND is the program then
    #[arg(long)]
    pub entrypoint: Option<String>,
    /// All capabilities and devices; nothing is masked, no system call filtered
    #[arg(long)]
    pub privileged: bool,
    /// A capability more: NET_ADMIN, ALL; may be given more than once
    #[arg(long, value_name = "CAPABILITY")]
    pub cap_add: Vec<String>,
    /// A capability less; may be given more than once
    #[arg(long, value_name = "CAPABILITY")]
    pub cap_drop: Vec<String>,
    /// seccomp=unconfined or seccomp=FILE, in place of the supervisor's filter of system calls (FILE is a profile in
    /// the OCI's or Docker's format); apparmor=unconfined, apparmor=NAME; no-new-privileges; may be given more than once
    #[arg(long, value_parser = SecurityOpt::parse, value_name = "OPTION")]
    pub security_opt: Vec<SecurityOpt>,
    /// Whether the root filesystem cannot be written
    #[arg(long)]
    pub read_only: bool,
    /// The runtime handler [default: the supervisor's]
    #[arg(long, value_name = "HANDLER")]
    pub runtime: Option<String>,
    /// Whose processes it sees
    #[arg(long, value_enum, default_value_t = PidMode::Container, value_name = "NAMESPACE")]
    pub pid: PidMode,
    /// Whose shared memory it has
    #[arg(long, value_enum, default_value_t = IpcMode::Pod, value_name = "NAMESPACE")]
    pub ipc: IpcMode,
    /// Where the log is made, as NAME.log, and kept [default: ROOT/logs/NAME, removed with the container]
    #[arg(long, value_name = "DIR")]
    pub log_dir: Option<PathBuf>,
    /// Images are never fetched: one that is not there is an error
    #[arg(long, value_parser = pull_policy, value_name = "missing|never")]
    pub pull: Option<()>,
    /// Containers are never started again
    #[arg(long, value_parser = restart_policy, value_name = "no")]
    pub restart: Option<()>,
    /// The image
    pub image: String,
    /// The program's arguments, in place of the image's command
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

fn pull_policy(text: &str) -> Result<(), String> {
    match text {
        "missing" | "never" => Ok(()),
        _ => Err(format!(
            "images cannot be fetched yet; {}",
            super::unsupported::LOAD
        )),
    }
}

fn restart_policy(text: &str) -> Result<(), String> {
    match text {
        "no" => Ok(()),
        _ => Err(
            "nothing is started again here; have a systemd unit with Restart= run the command in the foreground, or a \
             kubelet"
                .to_owned(),
        ),
    }
}

/// Whose network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Network {
    /// The host's.
    Host,
    /// The pod's own, by CNI.
    #[value(aliases = ["bridge", "default"])]
    Pod,
}

/// Whose System V IPC, POSIX message queues and /dev/shm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum IpcMode {
    /// The pod's.
    #[value(alias = "private")]
    Pod,
    /// The host's.
    Host,
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
