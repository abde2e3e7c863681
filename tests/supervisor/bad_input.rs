//! What is refused: with the right code, naming what is wrong, and leaving nothing.

use outlive::api::cri;
use tonic::Code;

use crate::life::ready;
use crate::support::supervisor_calls::{listed, remove, stop};

#[test]
fn unknown_ids_are_not_found_and_prefixes_are_ids() {
    let (supervisor, pod) = ready();
    let (mut runtime, _) = supervisor.client();
    let status = |id: &str| cri::ContainerStatusRequest {
        container_id: id.to_owned(),
        verbose: false,
    };
    let missing = supervisor
        .wait(runtime.container_status(status("0123")))
        .unwrap_err();
    assert_eq!(missing.code(), Code::NotFound, "{missing}");
    assert!(missing.message().contains("0123"), "{missing}");
    let start = cri::StartContainerRequest {
        container_id: "none".to_owned(),
    };
    let missing = supervisor.wait(runtime.start_container(start)).unwrap_err();
    assert_eq!(missing.code(), Code::NotFound, "{missing}");
    let empty = supervisor
        .wait(runtime.container_status(status("")))
        .unwrap_err();
    assert_eq!(empty.code(), Code::InvalidArgument, "{empty}");
    let id = supervisor.create(&pod, "c", &["/bin/true"]);
    let found = supervisor.wait(runtime.container_status(status(&id[..12])));
    assert_eq!(supervisor.expect(found).status.unwrap().id, id);
    // What is not there is removed already (cri-api: StopContainer, RemoveContainer).
    stop(&supervisor, "none", 1).unwrap();
    remove(&supervisor, "none").unwrap();
}

#[test]
fn a_name_belongs_to_one_container() {
    let (supervisor, pod) = ready();
    let id = supervisor.create(&pod, "c", &["/bin/true"]);
    let (mut runtime, _) = supervisor.client();
    let request = || cri::CreateContainerRequest {
        pod_sandbox_id: pod.clone(),
        config: Some(supervisor.container_config("c", &["/bin/true"])),
        sandbox_config: Some(supervisor.pod_config("pod")),
    };
    let taken = supervisor
        .wait(runtime.create_container(request()))
        .unwrap_err();
    assert_eq!(taken.code(), Code::AlreadyExists, "{taken}");
    assert!(taken.message().contains(&id), "{taken}");
    remove(&supervisor, &id).unwrap();
    let answer = supervisor.wait(runtime.create_container(request()));
    let second = supervisor.expect(answer).container_id;
    supervisor.note(&second);
    let pod_again = cri::RunPodSandboxRequest {
        config: Some(supervisor.pod_config("pod")),
        runtime_handler: String::new(),
    };
    let taken = supervisor
        .wait(runtime.run_pod_sandbox(pod_again))
        .unwrap_err();
    assert_eq!(taken.code(), Code::AlreadyExists, "{taken}");
    assert!(taken.message().contains(&pod), "{taken}");
}

#[test]
fn names_with_underscores_are_different_names() {
    let (supervisor, _) = ready();
    let (mut runtime, _) = supervisor.client();
    let mut run_pod = |name: &str, namespace: &str| {
        let mut config = supervisor.pod_config("x");
        let metadata = config.metadata.as_mut().unwrap();
        (metadata.name, metadata.namespace) = (name.to_owned(), namespace.to_owned());
        let request = cri::RunPodSandboxRequest {
            config: Some(config),
            runtime_handler: String::new(),
        };
        let answer = supervisor.wait(runtime.run_pod_sandbox(request));
        let id = supervisor.expect(answer).pod_sandbox_id;
        supervisor.note(&id);
        id
    };
    let [first, second] = [run_pod("a_b", "c"), run_pod("a", "b_c")];
    assert_ne!(first, second);
    let third = run_pod("b_a", "c");
    // Container x in pod b_a, container x_b in pod a.
    let fourth = run_pod("a", "c");
    let one = supervisor.create(&third, "x", &["/bin/true"]);
    let two = supervisor.create(&fourth, "x_b", &["/bin/true"]);
    assert_ne!(one, two);
}

/// One change to a configuration, the code that it must be answered with, and the word that must be named.
type Case = (fn(&mut cri::ContainerConfig), Code, &'static str);

#[test]
fn each_wrong_field_is_named_and_nothing_is_left() {
    let (supervisor, pod) = ready();
    let (mut runtime, _) = supervisor.client();
    let cases: [Case; 8] = [
        (
            |config| config.metadata = None,
            Code::InvalidArgument,
            "metadata",
        ),
        (|config| config.image = None, Code::InvalidArgument, "image"),
        (
            |config| config.image.as_mut().unwrap().image = "no/such:image".to_owned(),
            Code::NotFound,
            "no/such:image",
        ),
        (
            |config| config.log_path = "../../etc/log".to_owned(),
            Code::InvalidArgument,
            "log_path",
        ),
        (|config| config.tty = true, Code::Unimplemented, "tty"),
        (
            |config| {
                config.mounts.push(cri::Mount {
                    container_path: "relative".to_owned(),
                    host_path: "/tmp".to_owned(),
                    ..Default::default()
                });
            },
            Code::InvalidArgument,
            "container_path",
        ),
        (
            |config| {
                let context = config.linux.as_mut().unwrap().security_context.as_mut();
                context.unwrap().run_as_group = Some(cri::Int64Value { value: 7 });
            },
            Code::InvalidArgument,
            "run_as_group",
        ),
        (
            |config| {
                config.cdi_devices.push(cri::CdiDevice {
                    name: "vendor/device=1".to_owned(),
                });
            },
            Code::Unimplemented,
            "CDI_devices",
        ),
    ];
    for (change, code, word) in cases {
        let mut config = supervisor.container_config("c", &["/bin/true"]);
        change(&mut config);
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: pod.clone(),
            config: Some(config),
            sandbox_config: Some(supervisor.pod_config("pod")),
        };
        let refused = supervisor
            .wait(runtime.create_container(request))
            .unwrap_err();
        assert_eq!(refused.code(), code, "{word}: {refused}");
        assert!(
            refused
                .message()
                .to_lowercase()
                .contains(&word.to_lowercase()),
            "{word}: {refused}"
        );
    }
    assert_eq!(listed(&supervisor).len(), 0);
    let left: Vec<_> = std::fs::read_dir(supervisor.root().join("containers"))
        .map(|dir| dir.map(|entry| entry.unwrap().file_name()).collect())
        .unwrap_or_default();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn what_is_not_running_cannot_be_execd_into_or_have_its_log_reopened() {
    let (supervisor, pod) = ready();
    let id = supervisor.create(&pod, "c", &["/bin/true"]);
    let (mut runtime, _) = supervisor.client();
    let exec = cri::ExecSyncRequest {
        container_id: id.clone(),
        cmd: vec!["/bin/true".to_owned()],
        timeout: 5,
    };
    let refused = supervisor.wait(runtime.exec_sync(exec)).unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    let reopen = cri::ReopenContainerLogRequest { container_id: id };
    let refused = supervisor
        .wait(runtime.reopen_container_log(reopen))
        .unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
}
