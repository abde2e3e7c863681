//! The same through a whole supervisor: an upgrade or a crash of it, and what its callers see.

use std::fs;

use outlive::api::cri;
use outlive::sys::proc;
use outlive::types::Pid;

use crate::support::poll;
use crate::support::supervisor::{Options, Supervisor};

/// The processes in the shared pid namespaces of a supervisor's pods.
fn inits(dir: &std::path::Path) -> Vec<String> {
    let pins = fs::read_dir(dir.join("pods")).into_iter().flatten();
    let inode = |path: std::path::PathBuf| {
        use std::os::unix::fs::MetadataExt as _;
        fs::metadata(path).map(|found| found.ino()).ok()
    };
    let pinned: Vec<_> = pins
        .filter_map(|pod| inode(pod.unwrap().path().join("pid")))
        .collect();
    let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap());
    let processes = processes.filter(|process| {
        inode(process.path().join("ns/pid")).is_some_and(|own| pinned.contains(&own))
    });
    let mut found: Vec<_> = processes
        .map(|process| process.file_name().into_string().unwrap())
        .collect();
    found.sort();
    found
}

#[test]
fn the_init_outlives_the_supervisor_and_is_known_to_the_next_one() {
    let mut supervisor = Supervisor::start(Options::default());
    let mut config = supervisor.pod_config("shared");
    let linux = config.linux.as_mut().unwrap();
    let security = linux.security_context.as_mut().unwrap();
    security.namespace_options.as_mut().unwrap().pid = cri::NamespaceMode::Pod.into();
    let (mut runtime, _) = supervisor.client();
    let answer = supervisor.wait(runtime.run_pod_sandbox(cri::RunPodSandboxRequest {
        config: Some(config),
        runtime_handler: String::new(),
    }));
    let id = supervisor.expect(answer).pod_sandbox_id;
    supervisor.note(&id);
    let before = inits(&supervisor.state());
    assert_eq!(before.len(), 1);
    supervisor.kill9();
    assert_eq!(inits(&supervisor.state()), before);
    supervisor.restart();
    let (mut runtime, _) = supervisor.client();
    poll::until("the pod is ready again", || {
        let answer = supervisor.wait(runtime.pod_sandbox_status(cri::PodSandboxStatusRequest {
            pod_sandbox_id: id.clone(),
            verbose: false,
        }));
        let status = supervisor.expect(answer).status.unwrap();
        match status.state() {
            cri::PodSandboxState::SandboxReady => Ok(()),
            cri::PodSandboxState::SandboxNotready => Err(format!("{status:?}")),
        }
    });
    assert_eq!(inits(&supervisor.state()), before);
    supervisor.remove_all();
    // A zombie, at most: it is the child of whoever takes orphans on this machine.
    let pid = Pid::new(before[0].parse().unwrap()).unwrap();
    assert!(proc::running(pid).is_err());
}
