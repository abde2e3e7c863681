//! Another runtime-v2 shim: Debian's containerd-shim-runc-v2, whose output the supervisor itself writes to the log.

use outlive::api::cri::{self, ContainerState};

use crate::support::poll;
use crate::support::supervisor::{Options, Supervisor};
use crate::support::supervisor_calls::remove;

fn with_go_shim() -> (Supervisor, String) {
    let supervisor = Supervisor::start(Options {
        config: "[runtimes.go]\nshim = \"/usr/bin/containerd-shim-runc-v2\"\n".to_owned(),
        ..Options::default()
    });
    supervisor.load_busybox();
    let request = cri::RunPodSandboxRequest {
        config: Some(supervisor.pod_config("pod")),
        runtime_handler: "go".to_owned(),
    };
    let (mut runtime, _) = supervisor.client();
    let answer = supervisor.wait(runtime.run_pod_sandbox(request));
    let pod = supervisor.expect(answer).pod_sandbox_id;
    supervisor.note(&pod);
    (supervisor, pod)
}

#[test]
fn a_container_lives_under_the_go_shim() {
    let (supervisor, pod) = with_go_shim();
    let id = supervisor.run(
        &pod,
        "c",
        &["/bin/sh", "-c", "echo hello; echo oh >&2; exit 3"],
    );
    let ended = supervisor.until_state(&id, ContainerState::ContainerExited);
    assert_eq!(ended.exit_code, 3);
    poll::until("both lines are in the log", || {
        let log = std::fs::read_to_string(supervisor.log_of("c")).unwrap_or_default();
        let both = log.contains(" stdout F hello\n") && log.contains(" stderr F oh\n");
        if both { Ok(()) } else { Err(log) }
    });
    remove(&supervisor, &id).unwrap();
}

#[test]
fn a_container_under_the_go_shim_survives_the_supervisor() {
    let (mut supervisor, pod) = with_go_shim();
    let script = "i=0; while :; do i=$((i + 1)); echo line $i; usleep 20000; done";
    let id = supervisor.run(&pod, "c", &["/bin/sh", "-c", script]);
    let count = |supervisor: &Supervisor| {
        let log = std::fs::read_to_string(supervisor.log_of("c")).unwrap_or_default();
        log.lines().count()
    };
    poll::until("lines", || {
        if count(&supervisor) > 5 {
            Ok(())
        } else {
            Err(String::new())
        }
    });
    supervisor.kill9();
    supervisor.restart();
    supervisor.until_state(&id, ContainerState::ContainerRunning);
    let before = count(&supervisor);
    poll::until("more lines", || {
        let now = count(&supervisor);
        if now > before + 10 {
            Ok(())
        } else {
            Err(format!("{now}"))
        }
    });
    remove(&supervisor, &id).unwrap();
    let log = std::fs::read_to_string(supervisor.log_of("c")).unwrap();
    for (number, line) in log.lines().enumerate() {
        assert!(
            line.ends_with(&format!(" stdout F line {}", number + 1)),
            "{number}: {line}"
        );
    }
}

#[test]
fn an_out_of_memory_kill_under_the_go_shim_is_named() {
    let (supervisor, pod) = with_go_shim();
    // Not at once: the shim asks to be told of such kills only after it has started the container (containerd
    // `runtime/v2/runc/v2/service.go`, Start), and does not see one that came before.
    let command = ["/bin/sh", "-c", "sleep 1; tail /dev/zero"];
    let mut config = supervisor.container_config("c", &command);
    config.linux.as_mut().unwrap().resources = Some(cri::LinuxContainerResources {
        memory_limit_in_bytes: 16 << 20,
        ..Default::default()
    });
    let id = supervisor.create_as(&pod, config);
    supervisor.start_container(&id);
    let ended = supervisor.until_state(&id, ContainerState::ContainerExited);
    assert_eq!(
        (ended.exit_code, ended.reason.as_str()),
        (137, "OOMKilled"),
        "{ended:?}"
    );
}
