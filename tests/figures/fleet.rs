//! A supervisor with many running containers.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use outlive::api::cri;
use tokio::task::JoinSet;

use crate::support::supervisor::{self, Options, Supervisor};

/// How many calls are under way at a time while the containers are made.
const AT_A_TIME: usize = 8;

/// Figures are taken one test at a time: two would measure each other.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The `outlive` whose figures are taken: `OUTLIVE_BIN`, else the one beside `OUTLIVE_SHIM`, else the one under test.
pub fn program() -> PathBuf {
    let beside = |shim: PathBuf| shim.with_file_name("outlive");
    std::env::var_os("OUTLIVE_SHIM")
        .map(|shim| beside(shim.into()))
        .filter(|path| std::env::var_os("OUTLIVE_BIN").is_none() && path.exists())
        .unwrap_or_else(supervisor::program)
}

/// Whether a binary is one that the limits hold for: one for debugging is larger and slower.
pub fn is_release(path: &Path) -> bool {
    !path.components().any(|part| part.as_os_str() == "debug")
}

/// How many containers there are.
pub fn size() -> usize {
    std::env::var("OUTLIVE_CONTAINERS").map_or(100, |count| count.parse().unwrap())
}

/// A supervisor with [`size`] containers in one pod of the host's network.
pub struct Fleet {
    pub supervisor: Supervisor,
    pub containers: Vec<String>,
}

impl Fleet {
    pub fn start() -> Self {
        let supervisor = Supervisor::start(Options {
            program: Some(program()),
            ..Options::default()
        });
        supervisor.load_busybox();
        let pod = supervisor.run_pod("pod");
        let containers = supervisor.wait(run_all(&supervisor, &pod));
        for id in &containers {
            supervisor.note(id);
        }
        Self {
            supervisor,
            containers,
        }
    }
}

/// The pid of a container's shim: whose command line has its id.
pub fn shim_of(container: &str) -> i32 {
    let mut found = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words = String::from_utf8_lossy(&words).into_owned();
            words.contains("containerd-shim-outlive-v2") && words.contains(container)
        });
    found.next().expect("a shim")
}

async fn run_all(supervisor: &Supervisor, pod: &str) -> Vec<String> {
    let mut running = JoinSet::new();
    let mut containers = Vec::new();
    for number in 0..size() {
        if running.len() == AT_A_TIME {
            containers.push(running.join_next().await.unwrap().unwrap());
        }
        let (mut runtime, _) = supervisor.client();
        let create = cri::CreateContainerRequest {
            pod_sandbox_id: pod.to_owned(),
            config: Some(
                supervisor.container_config(&format!("c{number}"), &["/bin/sleep", "1000000"]),
            ),
            sandbox_config: Some(supervisor.pod_config("pod")),
        };
        let task = async move {
            let id = runtime.create_container(create).await.unwrap();
            let container_id = id.into_inner().container_id;
            let start = cri::StartContainerRequest {
                container_id: container_id.clone(),
            };
            runtime.start_container(start).await.unwrap();
            container_id
        };
        running.spawn_on(task, supervisor.handle());
    }
    while let Some(ended) = running.join_next().await {
        containers.push(ended.unwrap());
    }
    containers
}
