//! A private containerd: its own directories, socket, runtime namespace and log, so that many of them can run side by side.
//!
//! The filter `v1_6::` restricts the suite to one version; `OUTLIVE_RUNTIME` and `OUTLIVE_SHIM` point it at another runtime or
//! another binary of the shim, and `OUTLIVE_OCI_RUNTIME=crun` selects the OCI runtime below it.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, Once, OnceLock};

use serde_json::{Value, json};

use super::ctr::{self, Output, Running};
use super::leaks::{self, Footprint};
use super::{poll, rootfs};

/// A supported line of containerd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Debian 12's own.
    V1_6,
    /// Fetched by tests/setup/containerd.sh.
    V1_7,
    /// The newest, fetched by tests/setup/containerd.sh.
    V2,
}

impl Version {
    /// As the directories under target/containerd spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1_6 => "1.6",
            Self::V1_7 => "1.7",
            Self::V2 => "2.x",
        }
    }

    fn bin(self) -> PathBuf {
        match self {
            Self::V1_6 => PathBuf::from("/usr/bin"),
            Self::V1_7 | Self::V2 => Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("target/containerd")
                .join(self.name())
                .join("usr/bin"),
        }
    }

    fn check(self) {
        let (bin, remedy) = match self {
            Self::V1_6 => (self.bin(), "apt-get install containerd"),
            Self::V1_7 | Self::V2 => (self.bin(), "tests/setup/containerd.sh"),
        };
        for program in ["containerd", "ctr"] {
            assert!(
                bin.join(program).exists(),
                "containerd {} is missing in {}; run: {remedy}",
                self.name(),
                bin.display()
            );
        }
        self.tell();
    }

    /// Says once per version what is tested, past the capture of the test harness.
    fn tell(self) {
        static TOLD: [Once; 3] = [const { Once::new() }; 3];
        let index = match self {
            Self::V1_6 => 0,
            Self::V1_7 => 1,
            Self::V2 => 2,
        };
        TOLD[index].call_once(|| {
            let first_line = |program: &Path| {
                let output = Command::new(program)
                    .arg("--version")
                    .output()
                    .unwrap_or_else(|e| panic!("{program:?}: {e}"));
                String::from_utf8_lossy(&output.stdout)
                    .lines()
                    .next()
                    .unwrap_or("?")
                    .to_owned()
            };
            let daemon = first_line(&self.bin().join("containerd"));
            let oci = first_line(Path::new(oci_runtime().as_deref().unwrap_or("runc")));
            drop(writeln!(
                std::io::stderr(),
                "tested: {daemon}; {oci}; {}",
                runtime()
            ));
        });
    }
}

/// The runtime name that containers are run with.
pub fn runtime() -> String {
    std::env::var("OUTLIVE_RUNTIME").unwrap_or_else(|_| "io.containerd.outlive.v2".to_owned())
}

/// Whether the suite drives containerd's own shim, which takes its options in another form.
pub fn is_go_shim() -> bool {
    runtime() == "io.containerd.runc.v2"
}

/// The shim under test.
pub fn shim() -> PathBuf {
    std::env::var_os("OUTLIVE_SHIM").map_or_else(
        || PathBuf::from(env!("CARGO_BIN_EXE_containerd-shim-outlive-v2")),
        PathBuf::from,
    )
}

/// The OCI runtime, when it is not the default one.
pub fn oci_runtime() -> Option<String> {
    std::env::var("OUTLIVE_OCI_RUNTIME")
        .ok()
        .filter(|name| name != "runc")
}

/// Runs `body` on a fresh node of `version`, then checks that it deleted all it made and that nothing leaked.
pub fn on(version: Version, body: impl FnOnce(&mut Node)) {
    let mut node = Node::start(version);
    body(&mut node);
    node.finish();
}

/// A running containerd and what is known about its traces.
#[derive(Debug)]
pub struct Node {
    version: Version,
    dir: PathBuf,
    namespace: String,
    containerd: Option<Child>,
    groupings: Mutex<BTreeSet<String>>,
    image: OnceLock<()>,
    fifos_are_orphans: bool,
    finished: bool,
}

impl Node {
    /// Starts a containerd of `version` and waits until it answers.
    pub fn start(version: Version) -> Self {
        version.check();
        check_cgroups();
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let namespace = format!(
            "outlive-{}-{}",
            std::process::id(),
            SERIAL.fetch_add(1, Ordering::Relaxed)
        );
        // Not below target/: a unix socket's path has at most 107 bytes.
        let dir = Path::new("/tmp").join(&namespace);
        for name in ["bin", "fifo", "out", "rootfs"] {
            fs::create_dir_all(dir.join(name)).unwrap();
        }
        symlink(shim(), dir.join("bin/containerd-shim-outlive-v2")).unwrap();
        fs::write(dir.join("config.toml"), configuration(version, &dir)).unwrap();
        rootfs::busybox(&dir.join("rootfs"));
        let mut node = Self {
            version,
            dir,
            namespace,
            containerd: None,
            groupings: Mutex::default(),
            image: OnceLock::new(),
            fifos_are_orphans: false,
            finished: false,
        };
        node.restart();
        node
    }

    /// The directory of everything of this node.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its version of containerd.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The containerd namespace of its containers, unlike that of any other node.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The root filesystem that its containers share.
    pub fn rootfs(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    /// The bundle of container `id`.
    pub fn bundle(&self, id: &str) -> PathBuf {
        self.dir
            .join("state/io.containerd.runtime.v2.task")
            .join(&self.namespace)
            .join(id)
    }

    /// The state directory of the OCI runtime for container `id`.
    pub fn oci_state(&self, id: &str) -> PathBuf {
        Path::new("/run/containerd/runc")
            .join(&self.namespace)
            .join(id)
    }

    /// Kills containerd as a crash would.
    pub fn kill9(&mut self) {
        let mut child = self.containerd.take().expect("containerd runs");
        child.kill().unwrap();
        child.wait().unwrap();
        self.orphan_fifos();
    }

    /// Says that who made the fifos will not be there to remove them: they are `ctr`'s, and no shim's to touch.
    pub fn orphan_fifos(&mut self) {
        self.fifos_are_orphans = true;
    }

    /// Starts containerd over what the last one left, and waits until it answers.
    pub fn restart(&mut self) {
        assert!(self.containerd.is_none(), "containerd still runs");
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.join("log"))
            .unwrap();
        let path = format!(
            "{}:{}",
            self.dir.join("bin").display(),
            std::env::var("PATH").unwrap_or_default()
        );
        let child = Command::new(self.version.bin().join("containerd"))
            .arg("--config")
            .arg(self.dir.join("config.toml"))
            .env("PATH", path)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.containerd = Some(child);
        poll::until("containerd answers", || {
            let output = self.ctr(&["version"]);
            if output.code == Some(0) {
                Ok(())
            } else {
                Err(format!("{output:?}\n{}", self.log_tail()))
            }
        });
    }

    /// A `ctr` of the same version, pointed at this containerd.
    pub fn ctr_command<S: AsRef<std::ffi::OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(self.version.bin().join("ctr"));
        command
            .arg("--address")
            .arg(self.dir.join("c"))
            .args(["--namespace", &self.namespace])
            .args(args);
        command
    }

    /// Runs `ctr` to its end.
    pub fn ctr<S: AsRef<std::ffi::OsStr>>(&self, args: &[S]) -> Output {
        ctr::run(&mut self.ctr_command(args), &self.dir.join("out"))
    }

    /// Starts `ctr` and returns at once.
    pub fn spawn_ctr<S: AsRef<std::ffi::OsStr>>(&self, args: &[S]) -> Running {
        Running::start(
            self.ctr_command(args).stdin(Stdio::piped()),
            &self.dir.join("out"),
        )
    }

    /// The arguments of a `ctr run` of `command` as container `id` on the shared root filesystem.
    pub fn run_args(&self, id: &str, flags: &[&str], command: &[&str]) -> Vec<String> {
        let rootfs = self.rootfs();
        self.args(
            "run",
            &[flags, &["--rootfs", rootfs.to_str().unwrap()]].concat(),
            id,
            command,
        )
    }

    /// The arguments of a `ctr run` of `command` as container `id` from the image of several layers.
    pub fn run_image_args(&self, id: &str, flags: &[&str], command: &[&str]) -> Vec<String> {
        self.image.get_or_init(|| super::image::import(self));
        self.args("run", &[flags, &[super::image::NAME]].concat(), id, command)
    }

    /// The arguments of a `ctr run` of `command` as container `id` by a specification that `edit` has changed.
    pub fn run_spec_args(
        &self,
        id: &str,
        flags: &[&str],
        command: &[&str],
        edit: impl FnOnce(&mut Value),
    ) -> Vec<String> {
        let mut spec: Value = serde_json::from_str(&self.ctr(&["oci", "spec"]).ok()).unwrap();
        spec["process"]["args"] = json!(command);
        spec["root"] = json!({"path": self.rootfs()});
        spec["linux"]["cgroupsPath"] = json!(format!("/{}/{id}", self.namespace));
        edit(&mut spec);
        let path = self.dir.join(format!("{id}.json"));
        fs::write(&path, spec.to_string()).unwrap();
        self.args(
            "run",
            &[flags, &["--config", path.to_str().unwrap()]].concat(),
            id,
            &[],
        )
    }

    fn args(&self, verb: &str, flags: &[&str], id: &str, command: &[&str]) -> Vec<String> {
        self.grouped_by(id);
        let fifos = self.dir.join("fifo");
        let mut args = vec![verb.to_owned(), "--runtime".to_owned(), runtime()];
        args.extend(self.oci_runtime_args());
        args.extend(["--fifo-dir".to_owned(), fifos.to_str().unwrap().to_owned()]);
        args.extend(
            [flags, &[id], command]
                .concat()
                .into_iter()
                .map(str::to_owned),
        );
        args
    }

    /// `ctr` refuses --runc-binary for any runtime but Go's; the shim under test is told by a file.
    fn oci_runtime_args(&self) -> Vec<String> {
        let Some(binary) = oci_runtime() else {
            return Vec::new();
        };
        if is_go_shim() {
            return vec!["--runc-binary".to_owned(), binary];
        }
        let options = self.dir.join("options.toml");
        fs::write(&options, format!("binary_name = \"{binary}\"\n")).unwrap();
        vec![
            "--runtime-config-path".to_owned(),
            options.to_str().unwrap().to_owned(),
        ]
    }

    /// Remembers a container id or group name: the socket of its shim has to be gone at the end.
    pub fn grouped_by(&self, name: &str) {
        self.groupings.lock().unwrap().insert(name.to_owned());
    }

    /// Runs `command` as container `id` to its end, and removes it.
    pub fn run(&self, id: &str, flags: &[&str], command: &[&str]) -> Output {
        self.ctr(&self.run_args(id, &[&["--rm"], flags].concat(), command))
    }

    /// Starts `command` as container `id` and leaves it running; returns its pid.
    pub fn run_detached(&self, id: &str, flags: &[&str], command: &[&str]) -> u32 {
        self.ctr(&self.run_args(id, &[&["--detach"], flags].concat(), command))
            .ok();
        self.pid(id)
    }

    /// The arguments of a `ctr task exec`.
    pub fn exec_args(
        &self,
        id: &str,
        exec_id: &str,
        flags: &[&str],
        command: &[&str],
    ) -> Vec<String> {
        let fifos = self.dir.join("fifo");
        let head = [
            "task",
            "exec",
            "--fifo-dir",
            fifos.to_str().unwrap(),
            "--exec-id",
            exec_id,
        ];
        [&head, flags, &[id], command]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect()
    }

    /// Runs `command` in container `id` to its end.
    pub fn exec(&self, id: &str, exec_id: &str, command: &[&str]) -> Output {
        self.ctr(&self.exec_args(id, exec_id, &[], command))
    }

    /// Pid and status of the task of container `id` as `ctr task ls` shows them.
    pub fn task(&self, id: &str) -> Option<(u32, String)> {
        let output = self.ctr(&["task", "ls"]);
        let list = output.ok();
        let line = list
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .find(|words| words.first() == Some(&id))?;
        Some((line[1].parse().unwrap(), line[2].to_owned()))
    }

    /// The pid of the task of container `id`.
    pub fn pid(&self, id: &str) -> u32 {
        self.task(id)
            .unwrap_or_else(|| panic!("no task {id}\n{}", self.log_tail()))
            .0
    }

    /// Waits until `ctr task ls` shows the task of container `id` in `status`.
    pub fn wait_for(&self, id: &str, status: &str) {
        poll::until(&format!("{id} is {status}"), || match self.task(id) {
            Some((_, seen)) if seen == status => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }

    /// Sends `signal` to the init of container `id`.
    pub fn kill(&self, id: &str, signal: &str) {
        self.ctr(&["task", "kill", "--signal", signal, id]).ok();
    }

    /// Deletes the stopped task of container `id`, but not the container; returns the exit code that `ctr` was told.
    pub fn delete_task(&self, id: &str) -> u32 {
        let output = self.ctr(&["task", "delete", id]);
        assert_eq!(
            output.code,
            Some(0),
            "task delete {id}: {output:?}\n{}",
            self.log_tail()
        );
        // `ctr` answers 0 and warns about any other exit code of the task.
        match output.stderr.split_once("non-zero exit code ") {
            Some((_, rest)) => rest
                .chars()
                .take_while(char::is_ascii_digit)
                .collect::<String>()
                .parse()
                .unwrap(),
            None => 0,
        }
    }

    /// Deletes the stopped task of container `id` and the container; returns the exit code.
    pub fn delete(&self, id: &str) -> u32 {
        let code = self.delete_task(id);
        self.ctr(&["container", "delete", id]).ok();
        code
    }

    /// Kills container `id`, waits for its end and deletes it.
    pub fn destroy(&self, id: &str) -> u32 {
        self.kill(id, "SIGKILL");
        self.wait_for(id, "STOPPED");
        self.delete(id)
    }

    /// Kills and deletes all there is, in whatever state a crash left it.
    pub fn sweep(&self) {
        poll::until("everything can be killed and deleted", || {
            let containers = self.ctr(&["container", "ls", "-q"]).ok();
            let tasks = self.ctr(&["task", "ls", "-q"]).ok();
            let ids: BTreeSet<&str> = containers
                .split_whitespace()
                .chain(tasks.split_whitespace())
                .collect();
            let mut said = Vec::new();
            for id in &ids {
                for args in [
                    &["task", "kill", "-s", "SIGKILL"][..],
                    &["task", "delete"][..],
                    &["container", "delete"][..],
                ] {
                    said.push(self.ctr(&[args, &[*id]].concat()).stderr);
                }
            }
            if ids.is_empty() {
                Ok(())
            } else {
                Err(format!("{ids:?} {said:?}"))
            }
        });
    }

    /// The pids of the shims of this node.
    pub fn shims(&self) -> Vec<u32> {
        leaks::shims(&self.footprint())
    }

    /// The end of containerd's log, where the shims' logs go too.
    pub fn log_tail(&self) -> String {
        let log = fs::read(self.dir.join("log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        // Some 60 lines of each start tell which plugins are loaded or skipped.
        let noise = |line: &&str| line.contains("level=info") && line.contains("plugin");
        let lines: Vec<&str> = text.lines().filter(|line| !noise(line)).collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    fn footprint(&self) -> Footprint {
        Footprint {
            dir: self.dir.clone(),
            address: self.dir.join("c"),
            namespace: self.namespace.clone(),
            groupings: self.groupings.lock().unwrap().clone(),
            containerd: self.containerd.as_ref().map(Child::id),
            fifos: if self.fifos_are_orphans {
                None
            } else {
                Some(self.dir.join("fifo"))
            },
        }
    }

    /// Stops the node and fails if anything is left of its containers.
    fn finish(mut self) {
        let listed = |args: &[&str]| self.ctr(args).ok();
        let left = [
            listed(&["task", "ls", "-q"]),
            listed(&["container", "ls", "-q"]),
        ]
        .concat();
        assert_eq!(left, "", "the test left tasks or containers behind");
        let leaked = leaks::settle(&self.footprint());
        if let Some(mut child) = self.containerd.take() {
            Command::new("kill")
                .arg(child.id().to_string())
                .status()
                .unwrap();
            ctr::end(&mut child).expect("containerd stops on SIGTERM");
        }
        let leaked = if leaked.is_empty() {
            leaks::settle(&self.footprint())
        } else {
            leaked
        };
        assert!(
            leaked.is_empty(),
            "leaked:\n  {}\n{}",
            leaked.join("\n  "),
            self.log_tail()
        );
        self.finished = true;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if !self.finished {
            println!(
                "---- {}\n{}",
                self.dir.join("log").display(),
                self.log_tail()
            );
        }
        if let Some(mut child) = self.containerd.take() {
            drop(child.kill());
            drop(child.wait());
        }
        leaks::remove(&self.footprint());
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            println!("{}: {error}", self.dir.display());
        }
    }
}

/// crun refuses a cgroup2 hierarchy without controllers beside cgroup1: such a machine runs it where that one is hidden.
fn check_cgroups() {
    let hybrid = Path::new("/sys/fs/cgroup/unified/cgroup.procs").exists();
    assert!(
        !(hybrid && oci_runtime().is_some_and(|name| name.ends_with("crun"))),
        "crun does not run on hybrid cgroups; run: unshare --mount sh -c 'umount /sys/fs/cgroup/unified && \
         mount -t tmpfs tmpfs /sys/fs/cgroup/unified && exec cargo test --test containerd'"
    );
}

fn configuration(version: Version, dir: &Path) -> String {
    let dir = dir.display();
    let (number, disabled) = match version {
        Version::V1_6 | Version::V1_7 => (
            2,
            r#""io.containerd.grpc.v1.cri", "io.containerd.nri.v1.nri""#,
        ),
        Version::V2 => (
            3,
            r#""io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime", "io.containerd.cri.v1.images",
            "io.containerd.podsandbox.controller.v1.podsandbox", "io.containerd.nri.v1.nri""#,
        ),
    };
    format!(
        r#"version = {number}
root = "{dir}/root"
state = "{dir}/state"
disabled_plugins = [{disabled}]
[grpc]
address = "{dir}/c"
[ttrpc]
address = "{dir}/c.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
path = "{dir}/opt"
"#
    )
}

/// Creates an empty file: the sign that containers of these tests wait for.
pub fn touch(path: &Path) {
    File::create(path).unwrap();
}

/// Takes the container's own pid namespace out of a specification: it then shares the host's.
pub fn without_pid_namespace(spec: &mut Value) {
    spec["linux"]["namespaces"]
        .as_array_mut()
        .unwrap()
        .retain(|namespace| namespace["type"] != "pid");
}
