//! What an image declares as volumes.

use std::fs;
use std::process::Command;

use outlive::api::cri::ContainerState;
use sha2::{Digest as _, Sha256};
use tonic::Code;

use crate::life::ready;
use crate::support::rootfs;
use crate::support::supervisor::Supervisor;
use crate::support::supervisor_calls::{listed, remove};

const NAME: &str = "outlive.test/volumes:latest";

/// A docker archive of busybox with `/full/file` that declares volumes.
fn load(supervisor: &Supervisor, volumes: &[&str]) {
    let dir = supervisor.dir().join("volumes");
    rootfs::busybox(&dir.join("rootfs"));
    fs::create_dir(dir.join("rootfs/full")).unwrap();
    fs::write(dir.join("rootfs/full/file"), "from the image\n").unwrap();
    let volumes: serde_json::Map<_, _> = volumes
        .iter()
        .map(|volume| ((*volume).to_owned(), serde_json::json!({})))
        .collect();
    let tar = |archive: &str, from: &str, names: &[&str]| {
        let mut command = Command::new("tar");
        command.current_dir(&dir).args(["-cf", archive, "-C", from]);
        assert!(command.args(names).status().unwrap().success());
    };
    tar("layer.tar", "rootfs", &["."]);
    let digest = Sha256::digest(fs::read(dir.join("layer.tar")).unwrap());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {"Volumes": volumes},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{hex}")]},
    });
    fs::write(dir.join("config.json"), config.to_string()).unwrap();
    let manifest = serde_json::json!([
        {"Config": "config.json", "RepoTags": [NAME], "Layers": ["layer.tar"]}
    ]);
    fs::write(dir.join("manifest.json"), manifest.to_string()).unwrap();
    let parts = ["manifest.json", "config.json", "layer.tar"];
    tar("image.tar", ".", &parts);
    supervisor.ok(&["image", "load", dir.join("image.tar").to_str().unwrap()]);
}

#[test]
fn a_volume_of_a_readonly_container_can_be_written_to_and_goes_with_it() {
    let (supervisor, pod) = ready();
    load(&supervisor, &["/data", "/full"]);
    let script = "echo here >/data/file && cat /full/file && echo more >>/full/file && ! echo no >/file 2>/dev/null";
    let mut config = supervisor.container_config("c", &["/bin/sh", "-c", script]);
    config.image.as_mut().unwrap().image = NAME.to_owned();
    let security = config.linux.as_mut().unwrap().security_context.as_mut();
    security.unwrap().readonly_rootfs = true;
    let id = supervisor.create_as(&pod, config);
    supervisor.start_container(&id);
    let ended = supervisor.until_state(&id, ContainerState::ContainerExited);
    assert_eq!(ended.exit_code, 0, "{ended:?}");
    remove(&supervisor, &id).unwrap();
    assert_eq!(listed(&supervisor).len(), 0);
}

#[test]
fn a_volume_that_no_layer_has_is_there_and_outlives_the_supervisor() {
    let (mut supervisor, pod) = ready();
    load(&supervisor, &["/data", "/a/b/c"]);
    let script = "cd /data && echo one >file && until [ -e go ]; do sleep 0.05; done; test -d /a/b/c && exit 7";
    let mut config = supervisor.container_config("c", &["/bin/sh", "-c", script]);
    config.image.as_mut().unwrap().image = NAME.to_owned();
    let id = supervisor.create_as(&pod, config);
    supervisor.start_container(&id);
    supervisor.kill9();
    supervisor.restart();
    let volumes = supervisor
        .root()
        .join("containers")
        .join(&id)
        .join("volumes");
    let file = crate::support::poll::until("the file in the volume", || {
        let volume = fs::read_dir(&volumes).map_err(|error| error.to_string())?;
        let file = volume.flatten().map(|entry| entry.path().join("file"));
        let mut written = file.filter(|file| file.exists());
        written.next().ok_or_else(|| "not written".to_owned())
    });
    fs::write(file.with_file_name("go"), "").unwrap();
    let ended = supervisor.until_state(&id, ContainerState::ContainerExited);
    assert_eq!(ended.exit_code, 7, "{ended:?}");
    remove(&supervisor, &id).unwrap();
    assert!(!volumes.exists());
}

#[test]
fn a_volume_that_cannot_be_is_refused_by_name_before_anything_is_made() {
    let (supervisor, pod) = ready();
    load(&supervisor, &["/proc/x"]);
    let mut config = supervisor.container_config("c", &["/bin/true"]);
    config.image.as_mut().unwrap().image = NAME.to_owned();
    let refused = supervisor.try_create_as(&pod, config).unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("/proc/x"), "{refused}");
    assert_eq!(listed(&supervisor).len(), 0);
    let left = fs::read_dir(supervisor.root().join("containers"));
    assert_eq!(left.map_or(0, Iterator::count), 0);
}
