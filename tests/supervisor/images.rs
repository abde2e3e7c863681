//! What a container takes from its image before it runs: the root directory, and /etc/passwd and /etc/group.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use outlive::api::cri::{self, ContainerState};
use sha2::{Digest as _, Sha256};
use tonic::Code;

use crate::life::ready;
use crate::support::rootfs;
use crate::support::supervisor::{IMAGE, Supervisor};

/// Bytes of a file of accounts, at most.
const LARGEST: usize = 4 << 20;

fn tar(dir: &Path, archive: &str, args: &[&str]) {
    let mut command = Command::new("tar");
    command.current_dir(dir).args(["-cf", archive]);
    assert!(command.args(args).status().unwrap().success());
}

/// Loads a docker archive of these layers, files in `dir`, with the object `config`.
fn load(supervisor: &Supervisor, dir: &Path, layers: &[&str], name: &str) {
    let digest = |layer: &&str| {
        let digest = Sha256::digest(fs::read(dir.join(layer)).unwrap());
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{hex}")
    };
    let digests: Vec<String> = layers.iter().map(digest).collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": digests},
    });
    fs::write(dir.join("config.json"), config.to_string()).unwrap();
    let manifest = serde_json::json!([
        {"Config": "config.json", "RepoTags": [name], "Layers": layers}
    ]);
    fs::write(dir.join("manifest.json"), manifest.to_string()).unwrap();
    let mut parts = vec!["manifest.json", "config.json"];
    parts.extend(layers);
    tar(dir, "image.tar", &parts);
    supervisor.ok(&["image", "load", dir.join("image.tar").to_str().unwrap()]);
}

/// Imports busybox with this /etc/group, in which the user is `app`.
fn import(supervisor: &Supervisor, name: &str, groups: &str) {
    let dir = supervisor.dir().join("accounts");
    rootfs::busybox(&dir);
    fs::create_dir_all(dir.join("etc")).unwrap();
    fs::write(dir.join("etc/passwd"), "app:x:100:100::/:/bin/sh\n").unwrap();
    fs::write(dir.join("etc/group"), groups).unwrap();
    supervisor.ok(&["image", "import", dir.to_str().unwrap(), name]);
    fs::remove_dir_all(dir).unwrap();
}

fn config(supervisor: &Supervisor, name: &str, image: &str) -> cri::ContainerConfig {
    let mut config = supervisor.container_config(name, &["/bin/true"]);
    config.image.as_mut().unwrap().image = image.to_owned();
    config
}

fn security(config: &mut cri::ContainerConfig) -> &mut cri::LinuxContainerSecurityContext {
    let linux = config.linux.get_or_insert_default();
    linux.security_context.get_or_insert_default()
}

fn peak_kb(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.unwrap()
        .trim()
        .strip_suffix(" kB")
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn the_root_is_as_the_topmost_layer_that_describes_it_says() {
    let (supervisor, pod) = ready();
    let dir = supervisor.dir().join("root");
    rootfs::busybox(&dir.join("low"));
    fs::create_dir(dir.join("top")).unwrap();
    fs::write(dir.join("top/file"), "").unwrap();
    tar(
        &dir,
        "low.tar",
        &["-C", "low", "--owner=7", "--group=8", "--mode=1775", "."],
    );
    // This one says nothing of the root.
    tar(&dir, "top.tar", &["-C", "top", "file"]);
    let name = "outlive.test/root:latest";
    load(&supervisor, &dir, &["low.tar", "top.tar"], name);
    for (image, expected) in [(name, "1775 7 8"), (IMAGE, "755 0 0")] {
        let script = format!("[ \"$(stat -c '%a %u %g' /)\" = '{expected}' ] || exit 9");
        let mut config = config(&supervisor, expected, image);
        config.command = vec!["/bin/sh".into(), "-c".into(), script];
        let id = supervisor.create_as(&pod, config);
        supervisor.start_container(&id);
        let ended = supervisor.until_state(&id, ContainerState::ContainerExited);
        assert_eq!(ended.exit_code, 0, "{expected}: {ended:?}");
    }
}

#[test]
fn large_files_of_accounts_cost_no_memory() {
    let (supervisor, pod) = ready();
    let mut groups = "app:x:100:app\nlarge:x:101:".to_owned();
    let members = (LARGEST - groups.len()) / 2;
    groups.push_str(&"a,".repeat(members));
    let one_line = "outlive.test/one-line:latest";
    import(&supervisor, one_line, &groups);
    groups = "app:x:100:app\n".to_owned();
    while groups.len() + 32 < LARGEST {
        writeln!(groups, "g{}:x:{}:b", groups.len(), groups.len()).unwrap();
    }
    let many_lines = "outlive.test/many-lines:latest";
    import(&supervisor, many_lines, &groups);
    supervisor.create(&pod, "first", &["/bin/true"]);
    let before = peak_kb(supervisor.pid());
    for number in 0..20 {
        let image = if number % 2 == 0 {
            one_line
        } else {
            many_lines
        };
        let mut config = config(&supervisor, &format!("c{number}"), image);
        security(&mut config).run_as_username = "app".to_owned();
        supervisor.create_as(&pod, config);
    }
    // One line of 4 MiB is held, on each of the threads that it may be read on.
    let more = peak_kb(supervisor.pid()) - before;
    assert!(more < 64 << 10, "20 creates took {more} kB more");
}

#[test]
fn more_groups_than_the_kernel_takes_are_refused_at_create() {
    let (supervisor, pod) = ready();
    let mut groups = String::new();
    for gid in 1..=65_537 {
        writeln!(groups, "g{gid}:x:{gid}:app").unwrap();
    }
    let image = "outlive.test/groups:latest";
    import(&supervisor, image, &groups);
    let refused = |change: &dyn Fn(&mut cri::ContainerConfig)| {
        let mut config = config(&supervisor, "c", image);
        change(&mut config);
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: pod.clone(),
            config: Some(config),
            sandbox_config: Some(supervisor.pod_config("pod")),
        };
        let (mut runtime, _) = supervisor.client();
        let refused = supervisor
            .wait(runtime.create_container(request))
            .unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(refused.message().contains("65536"), "{refused}");
        refused.message().to_owned()
    };
    let message = refused(&|config| security(config).run_as_username = "app".to_owned());
    assert!(message.contains("/etc/group"), "{message}");
    let message = refused(&|config| {
        security(config).supplemental_groups = (1..=65_537).collect();
    });
    assert!(message.contains("supplemental_groups"), "{message}");
}
