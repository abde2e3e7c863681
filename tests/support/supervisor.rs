//! A private `outlive serve`: its own root, state, socket, cgroup parent and log, so that many can run side by side; killed
//! and started again at will; and at the end of each test the proof that nothing is left.
//!
//! `OUTLIVE_BIN` names another `outlive` binary. Crash points ([`Options::failpoints`]) need `--features crash-points`.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::future::Future;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use outlive::api::cri;
use outlive::api::cri::image_service_client::ImageServiceClient;
use outlive::api::cri::runtime_service_client::RuntimeServiceClient;
use tokio::runtime::Handle;
use tonic::transport::{Channel, Endpoint};

use super::supervisor_leaks::{self, Footprint};
use super::{poll, rootfs};

/// The image of [`Supervisor::load_busybox`].
pub const IMAGE: &str = "outlive.test/busybox:latest";

/// How a supervisor is started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// FAILPOINTS in its environment: `start.created=return`.
    pub failpoints: Option<String>,
    /// Lines before those that every test's configuration has: keys, then tables other than `[cgroup]`.
    pub config: String,
    /// The program; `None` for the one under test.
    pub program: Option<PathBuf>,
    /// More of its environment.
    pub env: Vec<(String, String)>,
    /// The umask of it and of [`Supervisor::cli`], in octal; `None` for the test's own.
    pub umask: Option<&'static str>,
}

/// A supervisor and what is known about its traces.
#[derive(Debug)]
pub struct Supervisor {
    dir: PathBuf,
    name: String,
    options: Options,
    child: Option<Child>,
    runtime: Handle,
    ids: Mutex<BTreeSet<String>>,
}

/// The `outlive` under test.
pub fn program() -> PathBuf {
    std::env::var_os("OUTLIVE_BIN")
        .map_or_else(|| env!("CARGO_BIN_EXE_outlive").into(), PathBuf::from)
}

/// A runtime that a thread of its own drives, so that tests need not be asynchronous and streams run on meanwhile.
fn background_runtime() -> Handle {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let handle = runtime.handle().clone();
    thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    handle
}

impl Supervisor {
    /// Starts one on fresh directories and waits until it answers.
    pub fn start(options: Options) -> Self {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "outlive-s{}-{}",
            std::process::id(),
            SERIAL.fetch_add(1, Ordering::Relaxed)
        );
        // Not below target/: a unix socket's path has at most 107 bytes.
        let dir = Path::new("/tmp").join(&name);
        fs::create_dir_all(dir.join("logs")).unwrap();
        let mut supervisor = Self {
            dir,
            name,
            options,
            child: None,
            runtime: background_runtime(),
            ids: Mutex::default(),
        };
        supervisor.restart();
        supervisor
    }

    /// The directory of everything of this supervisor: `root/`, `state/`, `logs/`, `config.toml`, `log`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What survives a reboot.
    pub fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// What does not.
    pub fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// Its CRI socket.
    pub fn socket(&self) -> PathBuf {
        self.state().join("outlive.sock")
    }

    /// The name of its cgroup parent, which is no other test's.
    pub fn cgroup(&self) -> &str {
        &self.name
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the supervisor runs").id()
    }

    /// The options of the next start.
    pub fn options(&mut self) -> &mut Options {
        &mut self.options
    }

    /// Kills it as a crash would.
    pub fn kill9(&mut self) {
        self.child
            .as_mut()
            .expect("the supervisor runs")
            .kill()
            .unwrap();
        self.ended();
    }

    /// Stops it with SIGTERM, and waits for its end.
    pub fn stop(&mut self) -> ExitStatus {
        let pid = i32::try_from(self.pid()).unwrap();
        kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
        self.ended()
    }

    /// Waits until it has died of a crash point.
    pub fn crashed(&mut self) {
        let status = self.ended();
        assert_eq!(status.signal(), Some(9), "{status}\n{}", self.log_tail());
    }

    fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the supervisor runs");
        let ended = poll::within(poll::DEADLINE, || {
            child.try_wait().unwrap().ok_or_else(|| "it runs".into())
        });
        self.child = ended.is_err().then_some(child);
        ended.unwrap_or_else(|_| panic!("the supervisor does not end\n{}", self.log_tail()))
    }

    /// Starts it over what the last one left, and waits until it answers.
    pub fn restart(&mut self) {
        self.spawn();
        poll::until("the supervisor answers", || {
            let child = self.child.as_mut().unwrap();
            if let Some(status) = child.try_wait().unwrap() {
                self.child = None;
                panic!("the supervisor ended: {status}\n{}", self.log_tail());
            }
            let (mut runtime, _) = self.client();
            self.wait(runtime.version(cri::VersionRequest::default()))
                .map_err(|status| format!("{status}\n{}", self.log_tail()))
        });
    }

    /// Starts it and does not wait.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "the supervisor still runs");
        fs::write(self.dir.join("config.toml"), self.configuration()).unwrap();
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.join("log"))
            .unwrap();
        let program = self.options.program.clone().unwrap_or_else(program);
        let mut command = self.masked(program);
        command
            .arg("serve")
            .arg("--config")
            .arg(self.dir.join("config.toml"))
            .arg("--root")
            .arg(self.root())
            .arg("--state")
            .arg(self.state())
            .arg("--address")
            .arg(format!("unix://{}", self.socket().display()))
            .env_remove("FAILPOINTS")
            .envs(self.options.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        if let Some(points) = &self.options.failpoints {
            command.env("FAILPOINTS", points);
        }
        self.child = Some(command.spawn().unwrap());
    }

    /// A program with the umask of the options.
    fn masked(&self, program: impl AsRef<OsStr>) -> Command {
        let Some(umask) = self.options.umask else {
            return Command::new(program);
        };
        let mut command = Command::new("/bin/sh");
        command
            .arg("-c")
            .arg(format!("umask {umask}; exec \"$0\" \"$@\""))
            .arg(program.as_ref());
        command
    }

    fn configuration(&self) -> String {
        format!(
            "{}\n[cgroup]\nparent = {:?}\n",
            self.options.config,
            format!("/{}", self.name)
        )
    }

    /// Clients of its socket. They connect at the first call, and again after a restart.
    pub fn client(&self) -> (RuntimeServiceClient<Channel>, ImageServiceClient<Channel>) {
        let _guard = self.runtime.enter();
        let address = format!("unix://{}", self.socket().display());
        let channel = Endpoint::from_shared(address)
            .unwrap()
            .timeout(poll::DEADLINE)
            .connect_lazy();
        (
            RuntimeServiceClient::new(channel.clone()),
            ImageServiceClient::new(channel),
        )
    }

    /// Waits for a call: `supervisor.wait(runtime.version(..))`.
    pub fn wait<F: Future>(&self, call: F) -> F::Output {
        self.runtime.block_on(call)
    }

    /// The runtime on which clients live, for tasks that run beside the test.
    pub fn handle(&self) -> &Handle {
        &self.runtime
    }

    /// `outlive` with these arguments, against this supervisor and its root.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(args).stdin(Stdio::null());
        self.environment(&mut command);
        command
    }

    fn environment(&self, command: &mut Command) {
        let address = format!("unix://{}", self.socket().display());
        command
            .env("OUTLIVE_ADDRESS", address)
            .env("OUTLIVE_ROOT", self.root());
    }

    /// Runs [`Self::command`]; killed after a minute.
    pub fn cli(&self, args: &[&str]) -> Output {
        let mut command = self.masked("timeout");
        command
            .args(["--foreground", "-s", "KILL", "60"])
            .arg(program())
            .args(args)
            .stdin(Stdio::null());
        self.environment(&mut command);
        command.output().unwrap()
    }

    /// What `outlive` printed; fails unless it succeeded.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.cli(args);
        assert!(
            output.status.success(),
            "outlive {args:?}: {output:?}\n{}",
            self.log_tail()
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Imports [`IMAGE`], which is Debian's static busybox with all its applets.
    pub fn load_busybox(&self) {
        let dir = self.dir.join("rootfs");
        rootfs::busybox(&dir);
        self.ok(&["image", "import", dir.to_str().unwrap(), IMAGE]);
        fs::remove_dir_all(dir).unwrap();
    }

    /// Tells the leak check of a container or pod that was made otherwise.
    pub fn note(&self, id: &str) {
        self.ids.lock().unwrap().insert(id.to_owned());
    }

    /// Tells the leak check of every container and pod that is on disk.
    pub fn note_all(&self) {
        for kind in ["containers", "pods"] {
            for entry in fs::read_dir(self.root().join(kind)).into_iter().flatten() {
                self.note(entry.unwrap().file_name().to_str().unwrap());
            }
        }
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        let log = fs::read(self.dir.join("log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// Its traces, for [`supervisor_leaks`].
    pub fn footprint(&self) -> Footprint {
        Footprint {
            dir: self.dir.clone(),
            socket: self.socket(),
            cgroup: self.name.clone(),
            ids: self.ids.lock().unwrap().clone(),
            supervisor: self.child.as_ref().map(Child::id),
        }
    }

    /// Removes every pod, stops the supervisor, and says what is left.
    fn finish(&mut self) -> Vec<String> {
        if self.child.is_none() {
            self.options.failpoints = None;
            self.restart();
        }
        self.remove_all();
        let status = self.stop();
        assert!(status.success(), "{status}\n{}", self.log_tail());
        supervisor_leaks::settle(&self.footprint())
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let mut leaked = Vec::new();
        if thread::panicking() {
            println!("---- {}/log\n{}", self.dir.display(), self.log_tail());
            self.note_all();
        } else {
            // A panic in here must not keep the clean-up below from its work.
            let finish = std::panic::AssertUnwindSafe(|| self.finish());
            leaked = std::panic::catch_unwind(finish)
                .unwrap_or_else(|_| vec!["removing every pod failed, see above".to_owned()]);
        }
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
        supervisor_leaks::remove(&self.footprint());
        let log = self.log_tail();
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            println!("{}: {error}", self.dir.display());
        }
        if !thread::panicking() {
            assert!(
                leaked.is_empty(),
                "leaked:\n  {}\n{log}",
                leaked.join("\n  ")
            );
        }
    }
}
