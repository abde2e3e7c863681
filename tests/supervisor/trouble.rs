//! A full disk, and a shim that does not answer.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use outlive::api::cri::{self, ContainerState};
use tonic::Code;

use crate::life::ready;
use crate::support::stopped;
use crate::support::supervisor_calls::{listed, remove, stop};

/// The pids of the shims whose command line names the container.
pub fn shims(id: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let name = entry.unwrap().file_name();
        let Ok(pid) = name.to_str().unwrap().parse() else {
            continue;
        };
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if line.contains("shim") && line.split('\0').any(|word| word == id) {
            found.push(pid);
        }
    }
    found
}

#[test]
fn a_stopped_shim_delays_its_own_container_only() {
    let (supervisor, pod) = ready();
    let stuck = supervisor.run(&pod, "stuck", &["/bin/sleep", "1000"]);
    let other = supervisor.run(&pod, "other", &["/bin/sleep", "1000"]);
    let [shim] = shims(&stuck)[..] else {
        panic!("{:?}", shims(&stuck));
    };
    stopped::stop(Pid::from_raw(shim));
    let (mut runtime, _) = supervisor.client();
    let waiting = supervisor.handle().spawn({
        let (mut runtime, stuck) = (runtime.clone(), stuck.clone());
        async move {
            let request = cri::StopContainerRequest {
                container_id: stuck,
                timeout: 0,
            };
            runtime.stop_container(request).await
        }
    });
    let began = Instant::now();
    let exec = cri::ExecSyncRequest {
        container_id: other.clone(),
        cmd: vec!["/bin/true".to_owned()],
        timeout: 20,
    };
    let answer = supervisor.wait(runtime.exec_sync(exec));
    assert_eq!(supervisor.expect(answer).exit_code, 0);
    stop(&supervisor, &other, 0).unwrap();
    assert_eq!(listed(&supervisor).len(), 2);
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    supervisor.expect(supervisor.wait(waiting).unwrap());
    let ended = supervisor.status(&stuck);
    assert_eq!(ended.state(), ContainerState::ContainerExited);
    kill(Pid::from_raw(shim), Signal::SIGCONT).unwrap();
}

#[test]
fn a_stopped_shim_at_a_restart_is_unknown_and_comes_back() {
    let (mut supervisor, pod) = ready();
    let stuck = supervisor.run(&pod, "stuck", &["/bin/sleep", "1000"]);
    let other = supervisor.run(&pod, "other", &["/bin/sleep", "1000"]);
    let started = supervisor.status(&stuck).started_at;
    let [shim] = shims(&stuck)[..] else {
        panic!("{:?}", shims(&stuck));
    };
    supervisor.kill9();
    stopped::stop(Pid::from_raw(shim));
    let began = Instant::now();
    supervisor.restart();
    supervisor.until_state(&other, ContainerState::ContainerRunning);
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    supervisor.until_state(&stuck, ContainerState::ContainerUnknown);
    kill(Pid::from_raw(shim), Signal::SIGCONT).unwrap();
    let back = supervisor.until_state(&stuck, ContainerState::ContainerRunning);
    assert_eq!(back.started_at, started);
}

#[test]
fn a_killed_shim_is_an_unknown_end_and_nothing_of_it_stays() {
    let (supervisor, pod) = ready();
    let id = supervisor.run(&pod, "c", &["/bin/sleep", "1000"]);
    let [shim] = shims(&id)[..] else {
        panic!("{:?}", shims(&id));
    };
    kill(Pid::from_raw(shim), Signal::SIGKILL).unwrap();
    let ended = supervisor.until_state(&id, ContainerState::ContainerExited);
    assert_eq!((ended.exit_code, ended.reason.as_str()), (255, "Unknown"));
    remove(&supervisor, &id).unwrap();
}

/// A small tmpfs, unmounted on drop.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(dir: &std::path::Path, size: &str) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        nix::mount::mount(
            Some("tmpfs"),
            dir,
            Some("tmpfs"),
            nix::mount::MsFlags::empty(),
            Some(format!("size={size}").as_str()),
        )
        .unwrap();
        Self(dir.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH).unwrap();
    }
}

#[test]
fn a_full_disk_fails_the_call_and_not_the_daemon() {
    let (supervisor, pod) = ready();
    let id = supervisor.run(
        &pod,
        "runs",
        &[
            "/bin/sh",
            "-c",
            "until [ -e /end ]; do usleep 20000; done; exit 6",
        ],
    );
    let containers = supervisor.root().join("containers");
    let kept = supervisor.root().join("kept");
    std::fs::rename(&containers, &kept).unwrap();
    let disk = SmallDisk::mount(&containers, "256k");
    let copied = std::process::Command::new("cp")
        .args([
            "-a",
            &format!("{}/.", kept.display()),
            containers.to_str().unwrap(),
        ])
        .status()
        .unwrap();
    assert!(copied.success());
    let filler = containers.join("filler");
    drop(std::fs::write(&filler, vec![1; 1 << 20]));

    let (mut runtime, _) = supervisor.client();
    let request = || cri::CreateContainerRequest {
        pod_sandbox_id: pod.clone(),
        config: Some(supervisor.container_config("c", &["/bin/true"])),
        sandbox_config: Some(supervisor.pod_config("pod")),
    };
    let refused = supervisor
        .wait(runtime.create_container(request()))
        .unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    let exec = cri::ExecSyncRequest {
        container_id: id.clone(),
        cmd: vec!["/bin/touch".to_owned(), "/end".to_owned()],
        timeout: 20,
    };
    let answer = supervisor.wait(runtime.exec_sync(exec));
    supervisor.expect(answer);
    // The end is known although it cannot be written yet.
    let ended = supervisor.until_state(&id, ContainerState::ContainerExited);
    assert_eq!(ended.exit_code, 6);
    std::fs::remove_file(&filler).unwrap();
    // And it is written when there is room.
    let path = containers.join(&id).join("status.json");
    crate::support::poll::until("the status is on disk", || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        if text.contains("Exited") {
            Ok(())
        } else {
            Err(text)
        }
    });
    let answer = supervisor.wait(runtime.create_container(request()));
    let second = supervisor.expect(answer).container_id;
    supervisor.note(&second);
    remove(&supervisor, &second).unwrap();
    remove(&supervisor, &id).unwrap();
    drop(disk);
    std::fs::remove_dir(&containers).unwrap();
    std::fs::remove_dir_all(&kept).unwrap();
    std::fs::create_dir(&containers).unwrap();
}

#[test]
fn a_second_supervisor_on_the_same_root_leaves_the_first_one_its_containers() {
    let (supervisor, pod) = ready();
    let id = supervisor.run(&pod, "c", &["/bin/sleep", "1000"]);
    let other = supervisor.dir().join("other");
    let output = supervisor.cli(&[
        "serve",
        "--root",
        supervisor.root().to_str().unwrap(),
        "--state",
        other.to_str().unwrap(),
        "--address",
        &format!("unix://{}/s", other.display()),
    ]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains(&format!("locked by process {}", supervisor.pid())),
        "{text}"
    );
    assert!(!other.exists());
    assert_eq!(
        supervisor.status(&id).state(),
        ContainerState::ContainerRunning
    );
    let (mut runtime, _) = supervisor.client();
    let status = supervisor.wait(runtime.pod_sandbox_status(cri::PodSandboxStatusRequest {
        pod_sandbox_id: pod,
        verbose: false,
    }));
    let status = supervisor.expect(status).status.unwrap();
    assert_eq!(status.state(), cri::PodSandboxState::SandboxReady);
}
