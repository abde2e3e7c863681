//! One test's own directory, containers and shims; and at its end the proof that nothing is left.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use outlive::bundle::Bundle;
use outlive::config::supervisor::Runtime;
use outlive::supervisor::shim_client::events::serve;
use outlive::supervisor::shim_client::{Home, KillScope, ShimClient, ShimError, delete_action};
use outlive::types::event::TaskIo;
use outlive::types::{ContainerId, Mount, Pid, Signal};
use serde_json::{Value, json};

use crate::{program, rootfs};

/// How long anything may take on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(60);
const NAMESPACE: &str = "outlive";

/// Which shim is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shim {
    Ours,
    /// containerd's, written in Go.
    Go,
}

pub const BOTH: [Shim; 2] = [Shim::Ours, Shim::Go];

impl Shim {
    fn program(self) -> PathBuf {
        match self {
            Self::Ours => std::env::var_os("OUTLIVE_SHIM").map_or_else(
                || env!("CARGO_BIN_EXE_containerd-shim-outlive-v2").into(),
                PathBuf::from,
            ),
            Self::Go => {
                let path = PathBuf::from("/usr/bin/containerd-shim-runc-v2");
                assert!(
                    path.exists(),
                    "{path:?} is missing; run: apt-get install containerd"
                );
                path
            }
        }
    }
}

/// Runs a test's future on a runtime like the supervisor's.
pub fn block_on<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async {
            tokio::time::timeout(DEADLINE * 2, test)
                .await
                .expect("the test ends")
        })
}

/// The same, with an endpoint that takes the shims' events: they hold on to them at their end otherwise.
pub fn block_on_with_events<T>(lab: &Lab, test: impl Future<Output = T>) -> T {
    block_on(async {
        let (sink, mut events) = tokio::sync::mpsc::channel(16);
        let endpoint = serve(&lab.home.events, sink).await.unwrap();
        drop(tokio::spawn(async move {
            while events.recv().await.is_some() {}
        }));
        let result = test.await;
        endpoint.close().await;
        result
    })
}

/// Polls until `attempt` is Ok; shows the last refusal where it never is.
pub async fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(last) if Instant::now() > end => {
                panic!("{what}: not within {DEADLINE:?}; last: {last}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

pub struct Lab {
    pub dir: PathBuf,
    pub home: Home,
    pub runtime: Runtime,
    made: Mutex<Vec<Container>>,
    /// Whether this is another process's lab, which that one cleans up.
    borrowed: bool,
}

/// A bundle.
#[derive(Debug, Clone)]
pub struct Container {
    pub id: ContainerId,
    pub bundle: Bundle,
    cgroup: String,
}

impl Lab {
    pub fn new(shim: Shim) -> Self {
        let dir = nix::unistd::mkdtemp("/tmp/ol-XXXXXX").unwrap();
        rootfs::busybox(&dir.join("rootfs"));
        Self::over(dir, shim.program())
    }

    /// The lab of another process.
    pub fn at(dir: &Path, shim: Shim) -> Self {
        let mut lab = Self::over(dir.to_owned(), shim.program());
        lab.borrowed = true;
        lab
    }

    fn over(dir: PathBuf, shim: PathBuf) -> Self {
        let home = Home {
            address: dir.join("g.sock"),
            events: dir.join("e.sock"),
            namespace: NAMESPACE.to_owned(),
        };
        let runtime = Runtime {
            name: "test".to_owned(),
            shim,
            binary: None,
            runtime_root: Some(dir.join("runc")),
        };
        Self {
            dir,
            home,
            runtime,
            made: Mutex::default(),
            borrowed: false,
        }
    }

    /// A lab whose shim is a script.
    pub fn with_script(script: &str) -> Self {
        let mut lab = Self::new(Shim::Ours);
        lab.runtime.shim = lab.dir.join("shim");
        program::write(&lab.runtime.shim, script);
        lab
    }

    /// A bundle that another process has made.
    pub fn found(&self, id: &str) -> Container {
        let name = self.dir.file_name().unwrap().to_string_lossy();
        let container = Container {
            id: ContainerId::new(id).unwrap(),
            cgroup: format!("/outlive-test-{name}-{id}"),
            bundle: Bundle::new(self.dir.join(id)),
        };
        self.made.lock().unwrap().push(container.clone());
        container
    }

    /// A bundle whose container will run `script`.
    pub fn bundle(&self, id: &str, script: &str) -> Container {
        let container = self.found(id);
        fs::create_dir_all(container.bundle.rootfs()).unwrap();
        let spec = spec(&container.cgroup, script);
        fs::write(container.bundle.config(), spec.to_string()).unwrap();
        container
    }

    pub async fn launch(&self, container: &Container) -> Result<ShimClient, ShimError> {
        ShimClient::launch(&self.home, &self.runtime, &container.id, &container.bundle).await
    }

    /// A created task of `script`, with its output to the CRI log `ID.log`.
    pub async fn created(&self, id: &str, script: &str) -> (Container, ShimClient) {
        let container = self.bundle(id, script);
        let client = self.launch(&container).await.unwrap();
        let uri = format!("cri://{}", self.log_of(id).display());
        let io = TaskIo {
            stdout: uri.clone(),
            stderr: uri,
            ..TaskIo::default()
        };
        let pid = client.create(&self.runtime, &self.rootfs(), &io).await;
        assert!(pid.is_ok(), "{pid:?}");
        (container, client)
    }

    /// A running task of `script`.
    pub async fn running(&self, id: &str, script: &str) -> (Container, ShimClient) {
        let (container, client) = self.created(id, script).await;
        client.start().await.unwrap();
        (container, client)
    }

    pub fn log_of(&self, id: &str) -> PathBuf {
        self.dir.join(format!("{id}.log"))
    }

    /// The container's root filesystem.
    pub fn rootfs(&self) -> Vec<Mount> {
        vec![Mount {
            kind: "bind".to_owned(),
            source: self.dir.join("rootfs").to_string_lossy().into_owned(),
            target: String::new(),
            options: vec!["rbind".to_owned(), "rw".to_owned()],
        }]
    }

    /// Deletes a task and ends its shim.
    pub async fn end(&self, container: &Container, client: &ShimClient) {
        match client.kill(Signal::KILL, KillScope::Init).await {
            Err(error) if error.code() != tonic::Code::NotFound => panic!("{error}"),
            _ => {}
        }
        client.wait().await.unwrap();
        client.delete().await.unwrap();
        self.end_shim(container, client).await;
    }

    /// Ends a shim that has no task any more.
    pub async fn end_shim(&self, container: &Container, client: &ShimClient) {
        client.shutdown().await.unwrap();
        client.gone().await;
        no_shim(container).await;
    }

    /// Has the shim's program clean up after a shim that was killed.
    pub async fn delete_action(&self, container: &Container) {
        delete_action(&self.home, &self.runtime, &container.id, &container.bundle)
            .await
            .unwrap();
    }

    /// The pid of the shim's server.
    pub fn shim_pid(&self, container: &Container) -> Pid {
        let listed = self.shims();
        let id = container.id.as_str();
        let found = listed
            .iter()
            .find(|(_, words)| words.iter().any(|word| word == id));
        found.unwrap_or_else(|| panic!("{listed:?}")).0
    }

    /// The processes that were told this lab's address: its shims.
    fn shims(&self) -> Vec<(Pid, Vec<String>)> {
        let address = self.home.address.to_string_lossy().into_owned();
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let shims = processes.filter_map(|entry| {
            let pid = Pid::new(entry.file_name().to_str()?.parse().ok()?)?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).into_owned();
            let words: Vec<String> = line.split('\0').map(str::to_owned).collect();
            words.contains(&address).then_some((pid, words))
        });
        shims.collect()
    }

    fn mounts(&self) -> Vec<String> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let below = format!("{}/", self.dir.display());
        let targets = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        targets
            .filter(|target| target.starts_with(&below))
            .map(str::to_owned)
            .collect()
    }

    /// What should not be there any more.
    fn left(&self) -> Vec<String> {
        let mut left: Vec<String> = self
            .shims()
            .iter()
            .map(|shim| format!("{shim:?}"))
            .collect();
        left.extend(self.mounts());
        for container in self.made.lock().unwrap().iter() {
            let state = self
                .dir
                .join("runc")
                .join(NAMESPACE)
                .join(container.id.as_str());
            let fifos = [
                container.bundle.foreign_stdio(),
                container.bundle.foreign_stdout(),
            ];
            let cgroup = Path::new("/sys/fs/cgroup/pids").join(&container.cgroup[1..]);
            let exec = fs::read_dir(container.bundle.dir().join("exec"));
            let execs = exec
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path());
            let paths = [state, cgroup].into_iter().chain(fifos).chain(execs);
            left.extend(
                paths
                    .filter(|path| path.exists())
                    .map(|path| path.display().to_string()),
            );
        }
        left
    }

    fn sweep(&self) {
        for (pid, _) in self.shims() {
            send(pid, nix::sys::signal::Signal::SIGKILL);
        }
        for container in self.made.lock().unwrap().iter() {
            let root = self.dir.join("runc").join(NAMESPACE);
            let mut delete = Command::new("runc");
            delete
                .arg("--root")
                .arg(root)
                .args(["delete", "--force", container.id.as_str()]);
            drop(delete.output());
        }
        for mount in self.mounts() {
            let flags = nix::mount::MntFlags::MNT_DETACH;
            nix::mount::umount2(mount.as_str(), flags).unwrap_or_default();
        }
        fs::remove_dir_all(&self.dir).unwrap_or_default();
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.borrowed {
            return;
        }
        let end = Instant::now() + Duration::from_secs(10);
        let mut left = self.left();
        while !std::thread::panicking() && !left.is_empty() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
            left = self.left();
        }
        self.sweep();
        assert!(
            std::thread::panicking() || left.is_empty(),
            "left: {left:#?}"
        );
    }
}

/// Waits until nobody can be connected to any more: a process that dies still has its sockets for a moment.
pub async fn no_shim(container: &Container) {
    let end = Instant::now() + DEADLINE;
    loop {
        match ShimClient::connect(&container.id, &container.bundle).await {
            Err(ShimError::Gone { .. }) => return,
            found => assert!(Instant::now() < end, "there is still a shim: {found:?}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub fn send(pid: Pid, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.as_raw()), signal).unwrap_or_default();
}

/// The OCI `process` that runs `script`.
pub fn process(script: &str) -> Value {
    json!({
        "user": {"uid": 0, "gid": 0},
        "args": ["/bin/sh", "-c", script],
        "env": ["PATH=/bin"],
        "cwd": "/",
        "noNewPrivileges": true,
    })
}

fn spec(cgroup: &str, script: &str) -> Value {
    let namespaces: Vec<Value> = ["pid", "ipc", "uts", "mount"]
        .iter()
        .map(|kind| json!({"type": kind}))
        .collect();
    json!({
        "ociVersion": "1.0.2",
        "process": process(script),
        "root": {"path": "rootfs"},
        "hostname": "outlive",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
        ],
        "linux": {
            "namespaces": namespaces,
            "cgroupsPath": cgroup,
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
        },
    })
}
