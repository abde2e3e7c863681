//! The command line of an OCI runtime, as runc defines it (runc(8), `man/*.8.md`) and crun follows it.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::types::{ContainerId, Signal};

/// What `create` is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateArgs {
    /// The bundle directory.
    pub bundle: PathBuf,
    /// Where the runtime writes init's pid.
    pub pid_file: PathBuf,
    /// Where it sends the terminal's descriptor; the process has a terminal exactly if there is one.
    pub console_socket: Option<PathBuf>,
    /// Whether to enter the root filesystem by chroot in place of pivot_root.
    pub no_pivot_root: bool,
    /// Whether the container shares the session keyring.
    pub no_new_keyring: bool,
}

/// What `restore` is told beyond `create`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restore {
    /// As for `create`.
    pub create: CreateArgs,
    /// The directory of the images.
    pub image_path: PathBuf,
    /// criu's working directory.
    pub work_path: PathBuf,
}

/// What `exec` is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecArgs {
    /// The file with the OCI `process` object.
    pub process: PathBuf,
    /// Where the runtime writes the process's pid.
    pub pid_file: PathBuf,
    /// Where it sends the terminal's descriptor.
    pub console_socket: Option<PathBuf>,
}

/// What `checkpoint` is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointArgs {
    /// Where the images go.
    pub image_path: PathBuf,
    /// criu's working directory, where its log is.
    pub work_path: PathBuf,
    /// Whether the container ends with it.
    pub exit: bool,
    /// Whether established TCP connections may be in it.
    pub tcp_established: bool,
    /// Whether unix sockets with a peer outside may be in it.
    pub ext_unix_sk: bool,
    /// Whether a terminal from outside may be in it.
    pub shell_job: bool,
    /// Whether file locks may be in it.
    pub file_locks: bool,
    /// Namespaces to be made anew and empty on restore.
    pub empty_namespaces: Vec<String>,
    /// `soft`, `full` or `strict`; the runtime's default where empty.
    pub cgroups_mode: String,
}

/// One call of the OCI runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Sets a container up, its program not started.
    Create(CreateArgs),
    /// Starts a created container's program.
    Start,
    /// Starts a further process, detached.
    Exec(ExecArgs),
    /// Sends a signal to init, or to every process of the container.
    Kill {
        /// Which.
        signal: Signal,
        /// To whom.
        scope: KillScope,
    },
    /// Removes what the runtime keeps of a container.
    Delete(DeleteMode),
    /// Freezes every process.
    Pause,
    /// Thaws every process.
    Resume,
    /// Sets resource limits; the JSON `LinuxResources` come by stdin.
    Update,
    /// Writes the container's state to images.
    Checkpoint(CheckpointArgs),
    /// Sets a container up and starts it from images, detached.
    Restore(Restore),
    /// Prints what the runtime can do (OCI runtime spec, `features.md`).
    Features,
}

/// To whom a signal goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillScope {
    /// Init alone.
    Init,
    /// Every process of the container's cgroup.
    All,
}

/// Whether `delete` may kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteMode {
    /// Only what is not running.
    Ended,
    /// Kills what is left first.
    Force,
}

impl Command {
    /// The subcommand's name, for errors and logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Start => "start",
            Self::Exec(_) => "exec",
            Self::Kill { .. } => "kill",
            Self::Delete(_) => "delete",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Update => "update",
            Self::Checkpoint(_) => "checkpoint",
            Self::Restore(_) => "restore",
            Self::Features => "features",
        }
    }

    /// The subcommand and its arguments for the container `id`.
    #[must_use]
    pub fn argv(&self, id: &ContainerId) -> Vec<OsString> {
        let mut argv = Argv(vec![self.name().into()]);
        match self {
            Self::Create(args) => argv.create(args),
            Self::Exec(args) => {
                argv.option("--process", &args.process);
                argv.flag(true, "--detach");
                argv.option("--pid-file", &args.pid_file);
                argv.console(args.console_socket.as_ref());
            }
            Self::Kill { scope, .. } => argv.flag(*scope == KillScope::All, "--all"),
            Self::Delete(mode) => argv.flag(*mode == DeleteMode::Force, "--force"),
            Self::Update => argv.option("--resources", "-"),
            Self::Checkpoint(args) => argv.checkpoint(args),
            Self::Restore(args) => argv.restore(args),
            Self::Features => return argv.0,
            Self::Start | Self::Pause | Self::Resume => {}
        }
        argv.0.push(id.as_str().into());
        if let Self::Kill { signal, .. } = self {
            argv.0.push(signal.to_string().into());
        }
        argv.0
    }
}

struct Argv(Vec<OsString>);

impl Argv {
    fn option(&mut self, name: &str, value: impl Into<OsString>) {
        self.0.push(name.into());
        self.0.push(value.into());
    }

    fn flag(&mut self, set: bool, name: &str) {
        if set {
            self.0.push(name.into());
        }
    }

    fn console(&mut self, socket: Option<&PathBuf>) {
        if let Some(socket) = socket {
            self.option("--console-socket", socket);
        }
    }

    fn create(&mut self, args: &CreateArgs) {
        self.option("--bundle", &args.bundle);
        self.option("--pid-file", &args.pid_file);
        self.console(args.console_socket.as_ref());
        self.flag(args.no_pivot_root, "--no-pivot");
        self.flag(args.no_new_keyring, "--no-new-keyring");
    }

    fn images(&mut self, image: &PathBuf, work: &PathBuf) {
        self.option("--image-path", image);
        self.option("--work-path", work);
    }

    fn checkpoint(&mut self, args: &CheckpointArgs) {
        self.images(&args.image_path, &args.work_path);
        self.flag(!args.exit, "--leave-running");
        self.flag(args.tcp_established, "--tcp-established");
        self.flag(args.ext_unix_sk, "--ext-unix-sk");
        self.flag(args.shell_job, "--shell-job");
        self.flag(args.file_locks, "--file-locks");
        for namespace in &args.empty_namespaces {
            self.option("--empty-ns", namespace);
        }
        if !args.cgroups_mode.is_empty() {
            self.option("--manage-cgroups-mode", &args.cgroups_mode);
        }
    }

    fn restore(&mut self, args: &Restore) {
        // `restore` knows no --no-new-keyring; all else is as for `create`.
        self.create(&CreateArgs {
            no_new_keyring: false,
            ..args.create.clone()
        });
        self.images(&args.image_path, &args.work_path);
        self.flag(true, "--detach");
        // The shim is the subreaper; the runtime must not make itself one.
        self.flag(true, "--no-subreaper");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(command: &Command) -> String {
        let argv = command.argv(&ContainerId::new("c1").unwrap());
        argv.into_iter()
            .map(|arg| arg.into_string().unwrap())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn the_id_comes_last_and_the_signal_after_it() {
        let signal = Signal::new(64).unwrap();
        assert_eq!(
            line(&Command::Kill {
                signal,
                scope: KillScope::All
            }),
            "kill --all c1 64"
        );
        assert_eq!(
            line(&Command::Kill {
                signal,
                scope: KillScope::Init
            }),
            "kill c1 64"
        );
        assert_eq!(
            line(&Command::Delete(DeleteMode::Force)),
            "delete --force c1"
        );
        assert_eq!(line(&Command::Update), "update --resources - c1");
        assert_eq!(line(&Command::Features), "features");
    }

    #[test]
    fn create_and_restore_share_their_options() {
        let create = CreateArgs {
            bundle: "/b".into(),
            pid_file: "/b/init.pid".into(),
            console_socket: Some("s".into()),
            no_pivot_root: true,
            no_new_keyring: true,
        };
        let common = "--bundle /b --pid-file /b/init.pid --console-socket s --no-pivot";
        assert_eq!(
            line(&Command::Create(create.clone())),
            format!("create {common} --no-new-keyring c1")
        );
        let restore = Restore {
            create,
            image_path: "/i".into(),
            work_path: "/w".into(),
        };
        assert_eq!(
            line(&Command::Restore(restore)),
            format!("restore {common} --image-path /i --work-path /w --detach --no-subreaper c1")
        );
    }

    #[test]
    fn a_checkpoint_leaves_the_container_running_unless_told_otherwise() {
        let mut args = CheckpointArgs {
            image_path: "/i".into(),
            work_path: "/w".into(),
            exit: false,
            tcp_established: true,
            ext_unix_sk: true,
            shell_job: true,
            file_locks: true,
            empty_namespaces: vec!["network".into()],
            cgroups_mode: "soft".into(),
        };
        assert_eq!(
            line(&Command::Checkpoint(args.clone())),
            "checkpoint --image-path /i --work-path /w --leave-running --tcp-established --ext-unix-sk \
             --shell-job --file-locks --empty-ns network --manage-cgroups-mode soft c1"
        );
        args.exit = true;
        assert!(!line(&Command::Checkpoint(args)).contains("--leave-running"));
    }
}
