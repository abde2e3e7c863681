//! What Status announces, by use: what is announced works, and what is not is refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use outlive::api::cri;
use tonic::Code;

use crate::support::poll;
use crate::support::program;
use crate::support::rootfs;
use crate::support::supervisor::{Options, Supervisor};

fn status(supervisor: &Supervisor) -> cri::StatusResponse {
    let (mut runtime, _) = supervisor.client();
    let answer = supervisor.wait(runtime.status(cri::StatusRequest { verbose: false }));
    supervisor.expect(answer)
}

fn handler(status: &cri::StatusResponse, name: &str) -> cri::RuntimeHandlerFeatures {
    let found = status.runtime_handlers.iter().find(|one| one.name == name);
    found.unwrap().features.unwrap()
}

/// What the container prints until its end.
fn output(supervisor: &Supervisor, pod: &str, config: cri::ContainerConfig) -> String {
    let name = config.metadata.as_ref().unwrap().name.clone();
    let id = supervisor.create_as(pod, config);
    supervisor.start_container(&id);
    supervisor.until_state(&id, cri::ContainerState::ContainerExited);
    let log = supervisor.log_of(&name);
    let text = poll::until("the container's output", || {
        let text = fs::read_to_string(&log).map_err(|error| error.to_string())?;
        match text.contains(" F end") {
            true => Ok(text),
            false => Err(text),
        }
    });
    let lines = text.lines().filter_map(|line| line.splitn(4, ' ').nth(3));
    let lines: Vec<_> = lines.filter(|line| *line != "end").collect();
    lines.join("\n")
}

/// A tmpfs within a directory.
struct Nested(PathBuf);

impl Nested {
    fn new(dir: &Path) -> Self {
        let inner = dir.join("inner");
        fs::create_dir_all(&inner).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "tmpfs"])
            .arg(&inner)
            .status();
        assert!(mounted.unwrap().success());
        Self(inner)
    }
}

impl Drop for Nested {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

fn mount(source: &Path, recursive_read_only: bool) -> cri::Mount {
    cri::Mount {
        container_path: "/mnt".into(),
        host_path: source.to_str().unwrap().into(),
        readonly: true,
        recursive_read_only,
        ..Default::default()
    }
}

#[test]
fn recursive_read_only_mounts_are_announced_and_cover_what_is_mounted_below() {
    let supervisor = Supervisor::start(Options::default());
    supervisor.load_busybox();
    let told = status(&supervisor);
    for name in ["", "outlive"] {
        let features = handler(&told, name);
        assert!(features.recursive_read_only_mounts, "{told:?}");
        assert!(!features.user_namespaces, "{told:?}");
    }
    let pod = supervisor.run_pod("pod");
    let source = supervisor.dir().join("source");
    let _nested = Nested::new(&source);
    let write = "(echo x > /mnt/inner/file) 2>/dev/null && echo written || echo refused; echo end";
    for (name, recursive, expected) in [("plain", false, "written"), ("recursive", true, "refused")]
    {
        let mut config = supervisor.container_config(name, &["/bin/sh", "-c", write]);
        config.mounts.push(mount(&source, recursive));
        assert_eq!(output(&supervisor, &pod, config), expected, "{name}");
    }
}

#[test]
fn a_handler_whose_oci_runtime_does_not_list_the_option_neither_announces_nor_takes_it() {
    let dir = PathBuf::from(format!("/tmp/outlive-features-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let wrapper = dir.join("old-runc");
    // As crun 1.8 and runc 1.0, which have no such command.
    program::write(
        &wrapper,
        "#!/bin/sh\nfor word; do [ \"$word\" = features ] && exit 1; done\nexec runc \"$@\"\n",
    );
    let shim = std::env::var("OUTLIVE_SHIM")
        .unwrap_or_else(|_| env!("CARGO_BIN_EXE_containerd-shim-outlive-v2").into());
    let supervisor = Supervisor::start(Options {
        config: format!("[runtimes.old]\nshim = {shim:?}\nbinary = {wrapper:?}\n"),
        ..Options::default()
    });
    supervisor.load_busybox();
    let told = status(&supervisor);
    assert!(!handler(&told, "old").recursive_read_only_mounts);
    let (mut runtime, _) = supervisor.client();
    let request = cri::RunPodSandboxRequest {
        config: Some(supervisor.pod_config("pod")),
        runtime_handler: "old".into(),
    };
    let answer = supervisor.wait(runtime.run_pod_sandbox(request));
    let pod = supervisor.expect(answer).pod_sandbox_id;
    supervisor.note(&pod);
    let mut config = supervisor.container_config("c", &["/bin/true"]);
    config.mounts.push(mount(&dir, true));
    let request = cri::CreateContainerRequest {
        pod_sandbox_id: pod,
        config: Some(config),
        sandbox_config: Some(supervisor.pod_config("pod")),
    };
    let refused = supervisor.wait(runtime.create_container(request));
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented, "{refused}");
    let named = "mounts[0].recursive_read_only";
    assert!(refused.message().contains(named), "{refused}");
    drop(supervisor);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn the_supplemental_groups_policy_is_announced_and_a_status_shows_the_user() {
    let supervisor = Supervisor::start(Options::default());
    assert!(
        status(&supervisor)
            .features
            .unwrap()
            .supplemental_groups_policy
    );
    let image = "outlive.test/groups:latest";
    let rootfs = supervisor.dir().join("groups");
    rootfs::busybox(&rootfs);
    fs::create_dir_all(rootfs.join("etc")).unwrap();
    fs::write(rootfs.join("etc/passwd"), "app:x:100:101::/:/bin/sh\n").unwrap();
    fs::write(rootfs.join("etc/group"), "app:x:101:\nlog:x:7:app\n").unwrap();
    supervisor.ok(&["image", "import", rootfs.to_str().unwrap(), image]);
    let pod = supervisor.run_pod("pod");
    for (name, policy, expected) in [
        ("merge", cri::SupplementalGroupsPolicy::Merge, "101 7 3000"),
        ("strict", cri::SupplementalGroupsPolicy::Strict, "101 3000"),
    ] {
        let mut config = supervisor.container_config(name, &["/bin/sh", "-c", "id -G; echo end"]);
        config.image.as_mut().unwrap().image = image.into();
        let context = config.linux.as_mut().unwrap().security_context.as_mut();
        let context = context.unwrap();
        context.run_as_user = Some(cri::Int64Value { value: 100 });
        context.supplemental_groups = vec![3000];
        context.supplemental_groups_policy = policy.into();
        assert_eq!(output(&supervisor, &pod, config), expected, "{name}");
    }
    let (mut runtime, _) = supervisor.client();
    let listed = supervisor.wait(runtime.list_containers(cri::ListContainersRequest::default()));
    for container in supervisor.expect(listed).containers {
        let strict = container.metadata.unwrap().name == "strict";
        let user = supervisor.status(&container.id).user.unwrap();
        let user = user.linux.unwrap();
        let groups = match strict {
            true => vec![101, 3000],
            false => vec![101, 7, 3000],
        };
        assert_eq!(
            (user.uid, user.gid, user.supplemental_groups),
            (100, 101, groups)
        );
    }
}
