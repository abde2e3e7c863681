//! The life of a container.

use std::time::{Duration, Instant};

use outlive::api::cri::{self, ContainerState};

use crate::support::poll;
use crate::support::supervisor::{Options, Supervisor};
use crate::support::supervisor_calls::{listed, pid, remove, stats, stop};

pub fn ready() -> (Supervisor, String) {
    let supervisor = Supervisor::start(Options::default());
    supervisor.load_busybox();
    let pod = supervisor.run_pod("pod");
    (supervisor, pod)
}

#[test]
fn a_container_is_created_runs_ends_and_is_removed() {
    let (supervisor, pod) = ready();
    let id = supervisor.create(&pod, "c", &["/bin/sh", "-c", "echo hello; exit 3"]);
    let created = supervisor.status(&id);
    assert_eq!(created.state(), ContainerState::ContainerCreated);
    assert!(created.created_at > 0 && created.started_at == 0 && created.finished_at == 0);
    supervisor.start_container(&id);
    let ended = supervisor.until_state(&id, ContainerState::ContainerExited);
    assert_eq!((ended.exit_code, ended.reason.as_str()), (3, "Error"));
    assert!(ended.created_at == created.created_at);
    assert!(ended.created_at <= ended.started_at && ended.started_at <= ended.finished_at);
    let log = std::fs::read_to_string(supervisor.log_of("c")).unwrap();
    assert!(log.ends_with(" stdout F hello\n"), "{log:?}");
    remove(&supervisor, &id).unwrap();
    assert_eq!(listed(&supervisor).len(), 0);
    remove(&supervisor, &id).unwrap();
}

#[test]
fn a_success_is_completed() {
    let (supervisor, pod) = ready();
    let id = supervisor.run(&pod, "c", &["/bin/true"]);
    let ended = supervisor.until_state(&id, ContainerState::ContainerExited);
    assert_eq!((ended.exit_code, ended.reason.as_str()), (0, "Completed"));
}

#[test]
fn the_pid_of_a_running_container_is_that_of_its_program() {
    let (supervisor, pod) = ready();
    let id = supervisor.run(&pod, "c", &["/bin/sleep", "1000"]);
    let pid = pid(&supervisor, &id);
    let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(command.starts_with("/bin/sleep"), "{command:?}");
}

/// The pid of a running container's init, as `outlive inspect` tells it.
#[test]
fn stop_sends_sigterm_first_and_kills_after_the_grace() {
    let (supervisor, pod) = ready();
    let polite = [
        "/bin/sh",
        "-c",
        "trap 'exit 5' TERM; while :; do sleep 0.05; done",
    ];
    let id = supervisor.run(&pod, "polite", &polite);
    until_traps(&supervisor, &id, 15);
    stop(&supervisor, &id, 30).unwrap();
    let ended = supervisor.status(&id);
    assert_eq!(
        (ended.state(), ended.exit_code),
        (ContainerState::ContainerExited, 5)
    );

    let deaf = [
        "/bin/sh",
        "-c",
        "trap '' TERM; while :; do sleep 0.05; done",
    ];
    let id = supervisor.run(&pod, "deaf", &deaf);
    until_traps(&supervisor, &id, 15);
    let began = Instant::now();
    stop(&supervisor, &id, 1).unwrap();
    assert!(
        began.elapsed() >= Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(supervisor.status(&id).exit_code, 137);
    stop(&supervisor, &id, 1).unwrap();
}

/// Waits until the container's init handles or ignores `signal`: a signal before that would simply end it.
fn until_traps(supervisor: &Supervisor, id: &str, signal: u32) {
    let pid = pid(supervisor, id);
    poll::until("the trap is set", || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let mask = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
        };
        let traps = mask("SigCgt:") | mask("SigIgn:");
        // The OCI runtime, which becomes the program, catches signals as well.
        let is_shell = status.starts_with("Name:\tsh\n");
        if is_shell && traps & (1 << (signal - 1)) != 0 {
            Ok(())
        } else {
            Err(status)
        }
    });
}

#[test]
fn a_running_container_is_removed_by_force() {
    let (supervisor, pod) = ready();
    let id = supervisor.run(&pod, "c", &["/bin/sleep", "1000"]);
    remove(&supervisor, &id).unwrap();
    assert_eq!(listed(&supervisor).len(), 0);
}

#[test]
fn a_program_that_is_not_there_is_a_start_error_with_128() {
    let (supervisor, pod) = ready();
    let id = supervisor.create(&pod, "c", &["/no/such/program"]);
    let (mut runtime, _) = supervisor.client();
    let refused = supervisor
        .wait(runtime.start_container(cri::StartContainerRequest {
            container_id: id.clone(),
        }))
        .unwrap_err();
    assert!(refused.message().contains("/no/such/program"), "{refused}");
    let ended = supervisor.status(&id);
    assert_eq!(ended.state(), ContainerState::ContainerExited);
    assert_eq!(
        (ended.exit_code, ended.reason.as_str()),
        (128, "StartError")
    );
    assert!(
        ended.message.contains("/no/such/program"),
        "{}",
        ended.message
    );
    assert!(ended.finished_at > 0);
    let again = supervisor
        .wait(runtime.start_container(cri::StartContainerRequest { container_id: id }))
        .unwrap_err();
    assert_eq!(again.code(), tonic::Code::FailedPrecondition, "{again}");
}

#[test]
fn exec_gives_output_and_exit_code() {
    let (supervisor, pod) = ready();
    let id = supervisor.run(&pod, "c", &["/bin/sleep", "1000"]);
    let (mut runtime, _) = supervisor.client();
    let mut exec = |command: &[&str], timeout| {
        let request = cri::ExecSyncRequest {
            container_id: id.clone(),
            cmd: command.iter().map(|&word| word.to_owned()).collect(),
            timeout,
        };
        supervisor
            .wait(runtime.exec_sync(request))
            .map(tonic::Response::into_inner)
    };
    let answer = exec(&["/bin/sh", "-c", "echo out; echo err >&2; exit 9"], 20).unwrap();
    assert_eq!(answer.exit_code, 9);
    assert_eq!(
        (answer.stdout, answer.stderr),
        (b"out\n".to_vec(), b"err\n".to_vec())
    );
    let late = exec(&["/bin/sleep", "1000"], 1).unwrap_err();
    assert_eq!(late.code(), tonic::Code::DeadlineExceeded, "{late}");
    let answer = exec(&["/bin/sh", "-c", "ps | grep -c 'sleep 100[0]'"], 20).unwrap();
    assert_eq!(
        answer.stdout, b"1\n",
        "the exec that was too slow is still there"
    );
}

#[test]
fn limits_are_set_and_changed() {
    let (supervisor, pod) = ready();
    let mut config = supervisor.container_config("c", &["/bin/sleep", "1000"]);
    config.linux.as_mut().unwrap().resources = Some(cri::LinuxContainerResources {
        memory_limit_in_bytes: 64 << 20,
        cpu_shares: 512,
        ..Default::default()
    });
    let id = supervisor.create_as(&pod, config);
    supervisor.start_container(&id);
    let limit = || {
        let path = format!("/sys/fs/cgroup/memory/{}", supervisor.cgroup());
        let mut found = Vec::new();
        find_files(path.as_ref(), "memory.limit_in_bytes", &mut found);
        let leaf = found
            .into_iter()
            .find(|path| path.to_str().unwrap().contains(&id));
        std::fs::read_to_string(leaf.expect("a cgroup"))
            .unwrap()
            .trim()
            .to_owned()
    };
    assert_eq!(limit(), (64 << 20).to_string());
    let update = cri::UpdateContainerResourcesRequest {
        container_id: id.clone(),
        linux: Some(cri::LinuxContainerResources {
            memory_limit_in_bytes: 96 << 20,
            ..Default::default()
        }),
        ..Default::default()
    };
    let (mut runtime, _) = supervisor.client();
    let answer = supervisor.wait(runtime.update_container_resources(update));
    supervisor.expect(answer);
    assert_eq!(limit(), (96 << 20).to_string());
    let resources = supervisor.status(&id).resources.unwrap().linux.unwrap();
    assert_eq!(resources.memory_limit_in_bytes, 96 << 20);
    assert_eq!(resources.cpu_shares, 512);
}

fn find_files(dir: &std::path::Path, name: &str, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            find_files(&path, name, found);
        } else if path.file_name().is_some_and(|file| file == name) {
            found.push(path);
        }
    }
}

#[test]
fn an_out_of_memory_kill_is_named() {
    let (supervisor, pod) = ready();
    let mut config = supervisor.container_config("c", &["/bin/sh", "-c", "tail /dev/zero"]);
    config.linux.as_mut().unwrap().resources = Some(cri::LinuxContainerResources {
        memory_limit_in_bytes: 16 << 20,
        ..Default::default()
    });
    let id = supervisor.create_as(&pod, config);
    supervisor.start_container(&id);
    let ended = supervisor.until_state(&id, ContainerState::ContainerExited);
    assert_eq!(ended.reason, "OOMKilled", "{ended:?}");
    assert_eq!(ended.exit_code, 137);
}

#[test]
fn stats_are_of_the_container() {
    let (supervisor, pod) = ready();
    let id = supervisor.run(&pod, "c", &["/bin/sh", "-c", "while :; do :; done"]);
    poll::until("CPU time is counted", || {
        let stats = stats(&supervisor, &id);
        let cpu = stats
            .cpu
            .as_ref()
            .and_then(|cpu| cpu.usage_core_nano_seconds.as_ref());
        match cpu {
            Some(used) if used.value > 50_000_000 => Ok(()),
            _ => Err(format!("{stats:?}")),
        }
    });
}
