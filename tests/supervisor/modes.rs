//! The mode of nothing that is made depends on the umask of whoever starts the supervisor or loads an image.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use outlive::api::cri;

use crate::support::places::cgroups_below;
use crate::support::supervisor::{Options, Supervisor};
use crate::support::supervisor_calls::{pid, remove};

/// Each file with its mode and owner, by its name.
type Modes = BTreeMap<String, String>;

fn walk(dir: &Path, name: &str, modes: &mut Modes) {
    let Ok(metadata) = fs::symlink_metadata(dir) else {
        return;
    };
    let (mode, uid, gid) = (metadata.mode(), metadata.uid(), metadata.gid());
    modes.insert(name.to_owned(), format!("{mode:o} {uid}:{gid}"));
    if !metadata.is_dir() {
        return;
    }
    // Named by a digest in which the times of the root filesystem are.
    let is_digest = ["images/layers", "images/configs"]
        .iter()
        .any(|end| dir.ends_with(end));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        // Of the kernel, of another mount, or the same four hundred links twice.
        if ["proc", "sys", "pts", "mqueue", "bin"]
            .iter()
            .any(|name| path.ends_with(name))
        {
            continue;
        }
        let below = match is_digest {
            true => "DIGEST".into(),
            false => entry.file_name().display().to_string(),
        };
        walk(&path, &format!("{name}/{below}"), modes);
    }
}

/// The modes of all that a node, a pod and a container make under `umask`, and the masks of the container's processes.
fn made_under(umask: &'static str) -> (Modes, [String; 2]) {
    let supervisor = Supervisor::start(Options {
        umask: Some(umask),
        ..Options::default()
    });
    supervisor.load_busybox();
    let mut pod = supervisor.pod_config("pod");
    let security = pod.linux.as_mut().unwrap().security_context.as_mut();
    let namespaces = security.unwrap().namespace_options.as_mut().unwrap();
    namespaces.set_pid(cri::NamespaceMode::Pod);
    pod.log_directory += "/made/deep";
    let (mut runtime, _) = supervisor.client();
    let answer = supervisor.wait(runtime.run_pod_sandbox(cri::RunPodSandboxRequest {
        config: Some(pod.clone()),
        runtime_handler: String::new(),
    }));
    let pod_id = supervisor.expect(answer).pod_sandbox_id;
    let script = "umask; mkdir /by-init; exec sleep 1000";
    let mut config = supervisor.container_config("c", &["/bin/sh", "-c", script]);
    config.working_dir = "/made/work".into();
    for (host, container) in [("a/b", "/made/a/b"), ("c", "/run/c")] {
        config.mounts.push(cri::Mount {
            host_path: supervisor
                .dir()
                .join("host")
                .join(host)
                .display()
                .to_string(),
            container_path: container.into(),
            ..Default::default()
        });
    }
    let answer = supervisor.wait(runtime.create_container(cri::CreateContainerRequest {
        pod_sandbox_id: pod_id.clone(),
        config: Some(config),
        sandbox_config: Some(pod),
    }));
    let id = supervisor.expect(answer).container_id;
    supervisor.start_container(&id);
    supervisor.note_all();
    let exec = supervisor.wait(
        runtime.exec_sync(cri::ExecSyncRequest {
            container_id: id.clone(),
            cmd: ["/bin/sh", "-c", "umask; mkdir /by-exec"]
                .map(str::to_owned)
                .into(),
            timeout: 30,
        }),
    );
    let exec = String::from_utf8(supervisor.expect(exec).stdout).unwrap();

    let mut modes = Modes::new();
    walk(supervisor.dir(), "node", &mut modes);
    let root = format!("/proc/{}/root", pid(&supervisor, &id));
    // A link that lstat(2) would not follow.
    walk(&Path::new(&root).join("."), "container", &mut modes);
    walk(
        &Path::new("/run/containerd/runc/outlive").join(&id),
        "runc",
        &mut modes,
    );
    for group in cgroups_below(supervisor.cgroup()) {
        let mode = fs::metadata(&group).unwrap().mode();
        modes.insert(group.display().to_string(), format!("{mode:o}"));
    }
    let log = fs::read_to_string(supervisor.dir().join("logs/made/deep/c.log")).unwrap();
    let init = log.split_whitespace().last().unwrap_or_default().to_owned();
    remove(&supervisor, &id).unwrap();
    let names = |name: String| {
        let name = name.replace(&id, "CONTAINER").replace(&pod_id, "POD");
        name.replace(supervisor.cgroup(), "NODE")
    };
    let modes = modes.into_iter().map(|(name, mode)| (names(name), mode));
    (modes.collect(), [init, exec.trim().to_owned()])
}

#[test]
fn nothing_that_is_made_depends_on_the_umask() {
    let (usual, masks) = made_under("022");
    assert_eq!(masks, ["0022", "0022"]);
    let (strict, masks) = made_under("077");
    let differ = |(name, mode): (&String, &String)| {
        let other = strict.get(name).map_or("missing", String::as_str);
        (mode != other).then(|| format!("{name}: {mode} under 022, {other} under 077"))
    };
    let differences: Vec<String> = usual.iter().filter_map(differ).collect();
    assert!(differences.is_empty(), "{differences:#?}");
    assert_eq!(usual.len(), strict.len());
    assert_eq!(masks, ["0022", "0022"]);
    for (name, mode) in [
        ("container/", "40755 0:0"),
        ("container/made/a/b", "40755 0:0"),
        ("container/made/work", "40755 0:0"),
        ("container/by-exec", "40755 0:0"),
        ("node/host/a/b", "40755 0:0"),
        ("node/logs/made/deep", "40755 0:0"),
        ("node/logs/made/deep/c.log", "100640 0:0"),
        ("node/root", "40700 0:0"),
        ("node/root/images/layers/DIGEST/fs", "40755 0:0"),
        ("node/state/outlive.sock", "140600 0:0"),
    ] {
        let name = name.trim_end_matches('/');
        assert_eq!(
            usual.get(name).map(String::as_str),
            Some(mode),
            "{name}\n{usual:#?}"
        );
    }
}
