//! What an image declares as volumes, where the root filesystem is read-only.

use std::fs;
use std::process::Command;

use outlive::api::cri::ContainerState;
use sha2::{Digest as _, Sha256};

use crate::life::ready;
use crate::support::rootfs;
use crate::support::supervisor::Supervisor;
use crate::support::supervisor_calls::{listed, remove};

const NAME: &str = "outlive.test/volumes:latest";

/// A docker archive of busybox that declares `/data`.
fn load(supervisor: &Supervisor) {
    let dir = supervisor.dir().join("volumes");
    rootfs::busybox(&dir.join("rootfs"));
    let tar = |archive: &str, from: &str, names: &[&str]| {
        let mut command = Command::new("tar");
        command.current_dir(&dir).args(["-cf", archive, "-C", from]);
        assert!(command.args(names).status().unwrap().success());
    };
    tar("layer.tar", "rootfs", &["."]);
    let digest = Sha256::digest(fs::read(dir.join("layer.tar")).unwrap());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {"Volumes": {"/data": {}}},
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
    load(&supervisor);
    let script = "echo here >/data/file && ! echo no >/file 2>/dev/null";
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
