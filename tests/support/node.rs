//! A private containerd: its own directories, socket, runtime namespace and log, so that many of them can run side by side.
//!
//! The filter `v1_6::` restricts the suite to one version.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use super::ctr;
use super::leaks::{self, Footprint};
use super::under_test::{Runtime, Version, check_cgroups, configuration, shim_version};
use super::{poll, rootfs};

/// Runs `body` on a fresh node of `version`, then checks that it deleted all it made and that nothing leaked.
pub fn on(version: Version, body: impl FnOnce(&mut Node)) {
    let mut node = Node::start(version);
    body(&mut node);
    node.finish();
}

/// A running containerd and what is known about its traces.
#[derive(Debug)]
pub struct Node {
    pub(super) version: Version,
    pub(super) runtime: Runtime,
    pub(super) dir: PathBuf,
    pub(super) namespace: String,
    containerd: Option<Child>,
    pub(super) groupings: Mutex<BTreeSet<String>>,
    pub(super) image: OnceLock<()>,
    fifos_are_orphans: bool,
    umask: Option<&'static str>,
    finished: bool,
}

impl Node {
    /// Starts a containerd of `version` for the runtime that the environment selects, and waits until it answers.
    pub fn start(version: Version) -> Self {
        Self::start_for(version, Runtime::of_environment())
    }

    /// Starts a containerd of `version` for containers of `runtime`, and waits until it answers.
    pub fn start_for(version: Version, runtime: Runtime) -> Self {
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
        if let Some((binary, name)) = runtime.binary(version) {
            assert!(binary.exists(), "{} is missing", binary.display());
            symlink(binary, dir.join("bin").join(name)).unwrap();
        }
        fs::write(dir.join("config.toml"), configuration(version, &dir)).unwrap();
        rootfs::busybox(&dir.join("rootfs"));
        let mut node = Self {
            version,
            runtime,
            dir,
            namespace,
            containerd: None,
            groupings: Mutex::default(),
            image: OnceLock::new(),
            fifos_are_orphans: false,
            umask: None,
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

    /// The runtime of its containers.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// What the shim of its runtime says that it is; where none was put on its PATH, the runtime's name.
    pub fn shim_version(&self) -> String {
        match self.runtime.binary(self.version) {
            Some((binary, _)) => shim_version(&binary),
            None => self.runtime.name().to_owned(),
        }
    }

    /// The pid of its containerd, also when that is dead and nobody has waited for it.
    pub fn containerd_pid(&self) -> Option<u32> {
        self.containerd.as_ref().map(Child::id)
    }

    /// Whether its containerd runs, whoever may have killed it.
    pub fn is_alive(&self) -> bool {
        self.containerd_pid()
            .and_then(leaks::Process::read)
            .is_some_and(|process| !process.is_dead())
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

    /// Gives the next containerd this umask, in octal.
    pub fn set_umask(&mut self, umask: &'static str) {
        self.umask = Some(umask);
    }

    /// Starts containerd over what the last one left, and waits until it answers.
    pub fn restart(&mut self) {
        self.spawn();
        poll::until("containerd answers", || {
            let output = self.ctr(&["version"]);
            if output.code == Some(0) {
                Ok(())
            } else {
                Err(format!("{output:?}\n{}", self.log_tail()))
            }
        });
    }

    /// Starts containerd over what the last one left, and does not wait.
    pub fn spawn(&mut self) {
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
        let containerd = self.version.bin().join("containerd");
        let mut command = match self.umask {
            None => Command::new(containerd),
            Some(umask) => {
                let mut command = Command::new("/bin/sh");
                let script = format!("umask {umask}; exec \"$0\" \"$@\"");
                command.args(["-c", &script]).arg(containerd);
                command
            }
        };
        let child = command
            .arg("--config")
            .arg(self.dir.join("config.toml"))
            .env("PATH", path)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.containerd = Some(child);
    }

    /// The pids of the shims of this node.
    pub fn shims(&self) -> Vec<u32> {
        leaks::shims(&self.footprint(), |_| true)
    }

    /// The pid of a shim that was started for one of these containers.
    pub fn shim_for(&self, ids: &BTreeSet<String>) -> Option<u32> {
        leaks::shims(&self.footprint(), |id| ids.contains(id)).pop()
    }

    /// What the kernel has of this node at this moment, apart from containerd itself.
    pub fn traces(&self) -> BTreeSet<String> {
        leaks::find(&self.footprint()).into_iter().collect()
    }

    /// Says that this node is no test: its containers may be left when it is dropped, and go without a word.
    pub fn is_no_test(&mut self) {
        self.finished = true;
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
