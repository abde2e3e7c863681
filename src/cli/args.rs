//! What can be written on the command line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use super::image::{ImageArgs, ListImagesArgs, LoadArgs, RemoveImagesArgs};
use super::time::{Since, duration};
use crate::config::supervisor::{Giver, Givers};
use crate::types::Signal;

mod ps;
mod run;
mod security;
mod unsupported;
mod volume;
pub use ps::{Filter, PsArgs, State};
pub use run::{IpcMode, Network, PidMode, RunArgs};
pub use security::{Profile, SecurityOpt};
pub use unsupported::{LOAD, parse};
pub use volume::{Access, Label, Propagation, VolumeArg};

/// Where the supervisor listens unless told otherwise.
pub const DEFAULT_ADDRESS: &str = "unix:///run/outlive/outlive.sock";
/// What of the supervisor survives a reboot, unless told otherwise.
pub const DEFAULT_ROOT: &str = "/var/lib/outlive";

const EXIT_CODES: &str = "\
Containers and pods are named by their name, their id, or the beginning of an id that no other has.

Exit codes:
    0   done
    1   the call failed
    2   the arguments are wrong, or the supervisor refused them as such (run and exec: 125)
    3   there is no such container, pod or image
    4   it is in the wrong state, or there is one already
    5   the supervisor cannot be reached
    6   it took too long
    7   not supported
  run and exec end with the program's own exit code (128 + N where signal N killed it), and else with
    125 outlive failed: wrong arguments, no supervisor, no image, a mount or a network that cannot be made; or how
        the program ended is not known
    126 the program could not be executed
    127 there is no such program";

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "outlive",
    version,
    about = "Containers that outlive whoever manages them",
    after_help = EXIT_CODES,
    max_term_width = 100,
    disable_help_subcommand = true
)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// Which command.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Global {
    /// The supervisor's socket; wins over the environment, which wins over serve's --config
    /// [default: unix:///run/outlive/outlive.sock]
    #[arg(
        long,
        global = true,
        env = "OUTLIVE_ADDRESS",
        value_name = "unix://PATH"
    )]
    pub address: Option<String>,
    /// The supervisor's directory that survives reboots, for serve, or where no supervisor runs; wins likewise
    /// [default: /var/lib/outlive]
    #[arg(long, global = true, env = "OUTLIVE_ROOT", value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Tables for people, or JSON for programs
    #[arg(
        long,
        short,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    pub output: Format,
    /// How long one call may take: 30s, 2m, 500ms [default: 30s; exec: no limit]
    #[arg(long, global = true, value_parser = duration, value_name = "DURATION")]
    pub timeout: Option<Duration>,
    /// Where the address and the root come from.
    #[arg(skip)]
    pub givers: Givers,
}

impl Cli {
    /// Reads this process's command line and environment.
    ///
    /// # Errors
    /// What is wrong with it, or the text of `--help` or `--version`.
    pub fn read() -> Result<Self, clap::Error> {
        let matches = Self::command().try_get_matches()?;
        let mut cli = Self::from_arg_matches(&matches)?;
        // Flags of every command are told to the innermost one too.
        let mut innermost = &matches;
        while let Some((_, inner)) = innermost.subcommand() {
            innermost = inner;
        }
        let giver = |flag| match innermost.value_source(flag) {
            Some(ValueSource::EnvVariable) => Giver::Environment,
            Some(_) | None => Giver::CommandLine,
        };
        cli.global.givers = Givers {
            root: giver("root"),
            address: giver("address"),
        };
        Ok(cli)
    }
}

impl Global {
    /// The socket's address.
    #[must_use]
    pub fn address(&self) -> &str {
        self.address.as_deref().unwrap_or(DEFAULT_ADDRESS)
    }

    /// The directory that survives reboots, where no supervisor was asked for its own.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.root.as_deref().unwrap_or(Path::new(DEFAULT_ROOT))
    }

    /// How long one call may take.
    #[must_use]
    pub fn call_timeout(&self) -> Duration {
        self.timeout.unwrap_or(Duration::from_secs(30))
    }
}

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// Columns for people; may change.
    #[default]
    Table,
    /// JSON with keys that stay.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the supervisor
    Serve(ServeArgs),
    /// Say what a start of the supervisor would do, container by container, and why
    Recover(RecoverArgs),
    /// Run a program in a new container
    Run(Box<RunArgs>),
    /// Run a further program in a container
    Exec(ExecArgs),
    /// List containers
    Ps(PsArgs),
    /// List pods; stop and remove them
    Pods(PodsArgs),
    /// All that is known of a container or pod, as JSON
    Inspect(InspectArgs),
    /// Print what a container wrote
    Logs(LogsArgs),
    /// Stop containers: their stop signal, and SIGKILL after a while
    Stop(StopArgs),
    /// Send a signal to containers
    Kill(KillArgs),
    /// Remove containers; one that `run` made goes with its pod and its log
    Rm(RmArgs),
    /// What containers use of the machine, once
    Stats(StatsArgs),
    /// Print what happens to containers and pods as it happens
    Events,
    /// Fetch an image, which the supervisor cannot yet
    #[command(hide = true)]
    Pull {
        /// Which image
        image: String,
    },
    /// Work on the local images
    Image(ImageArgs),
    /// List images, as `image ls`
    Images(ListImagesArgs),
    /// Load an archive's images, as `image load`
    Load(LoadArgs),
    /// Remove images, as `image rm`
    Rmi(RemoveImagesArgs),
    /// The versions of this program and of the supervisor
    Version,
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// `serve`.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// The configuration [default: none]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The directory of what does not survive a reboot [default: /run/outlive]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

/// `recover`.
#[derive(Debug, Clone, Args)]
pub struct RecoverArgs {
    /// Change nothing; without it, start the supervisor instead
    #[arg(long, required = true)]
    pub dry_run: bool,
    /// As `serve`'s.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// `exec`.
#[derive(Debug, Clone, Args)]
pub struct ExecArgs {
    /// In which container
    pub container: String,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

/// `pods`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct PodsArgs {
    /// What to do; list them unless given.
    #[command(subcommand)]
    pub command: Option<PodCommand>,
    /// How to list.
    #[command(flatten)]
    pub list: PodListArgs,
}

/// `pods`, without more words.
#[derive(Debug, Args)]
pub struct PodListArgs {
    /// Only those with this label; may be given more than once
    #[arg(long, value_parser = super::quantity::key_value, value_name = "KEY=VALUE")]
    pub label: Vec<(String, String)>,
    /// Ids only
    #[arg(long, short)]
    pub quiet: bool,
    /// Whole ids
    #[arg(long)]
    pub no_trunc: bool,
}

/// What is done with pods.
#[derive(Debug, Subcommand)]
pub enum PodCommand {
    /// Stop pods: end their containers, give up their network
    Stop {
        /// Which pods
        #[arg(required = true)]
        pods: Vec<String>,
    },
    /// Remove pods with their containers
    Rm {
        /// Ready ones, too
        #[arg(long, short)]
        force: bool,
        /// Which pods
        #[arg(required = true)]
        pods: Vec<String>,
    },
}

/// `inspect`.
#[derive(Debug, Clone, Args)]
pub struct InspectArgs {
    /// A pod, where a container has the same name
    #[arg(long)]
    pub pod: bool,
    /// Which containers or pods
    #[arg(required = true)]
    pub names: Vec<String>,
}

/// `logs`.
#[derive(Debug, Clone, Args)]
pub struct LogsArgs {
    /// Go on until the container ends
    #[arg(long, short)]
    pub follow: bool,
    /// Only the last lines
    #[arg(long, short = 'n', default_value = "all", value_parser = Tail::parse, value_name = "LINES",
          allow_negative_numbers = true)]
    pub tail: Tail,
    /// Only lines since then: 10m, 2024-02-29T12:00:00Z, 2024-02-29, @SECONDS
    #[arg(long, value_parser = Since::parse, value_name = "TIME")]
    pub since: Option<Since>,
    /// Only lines until then
    #[arg(long, value_parser = Since::parse, value_name = "TIME")]
    pub until: Option<Since>,
    /// The time before each line
    #[arg(long, short)]
    pub timestamps: bool,
    /// Which container
    pub container: String,
}

/// How much of a log's end is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// Everything.
    All,
    /// So many lines.
    Lines(usize),
}

impl Tail {
    /// `all`, or a number of lines; -1 means all, as with podman-logs(1).
    ///
    /// # Errors
    /// What it should be.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "all" | "-1" => Ok(Self::All),
            number => number
                .parse()
                .map(Self::Lines)
                .map_err(|_| "must be a number of lines, or all".to_owned()),
        }
    }
}

/// `stop`.
#[derive(Debug, Clone, Args)]
pub struct StopArgs {
    /// How long to wait before SIGKILL
    #[arg(long, short, default_value_t = 10, value_name = "SECONDS")]
    pub time: u32,
    /// Which containers
    #[arg(required = true)]
    pub containers: Vec<String>,
}

/// `kill`.
#[derive(Debug, Clone, Args)]
pub struct KillArgs {
    /// Which signal: TERM, SIGTERM, 15, RTMIN+3
    #[arg(long, short, default_value = "KILL", value_parser = super::quantity::signal)]
    pub signal: Signal,
    /// Send it to every process of the container, not to the first alone
    #[arg(long)]
    pub all: bool,
    /// Which containers
    #[arg(required = true)]
    pub containers: Vec<String>,
}

/// `rm`.
#[derive(Debug, Clone, Args)]
pub struct RmArgs {
    /// Running ones, too: they are killed
    #[arg(long, short)]
    pub force: bool,
    /// Changes nothing: a container's volumes always go with it
    #[arg(long, short)]
    pub volumes: bool,
    /// Which containers
    #[arg(required = true)]
    pub containers: Vec<String>,
}

/// `stats`.
#[derive(Debug, Clone, Args)]
pub struct StatsArgs {
    /// Changes nothing: it is always once
    #[arg(long)]
    pub no_stream: bool,
    /// Which containers; all that run unless given
    pub containers: Vec<String>,
}
