//! What goes into a bundle and a request: the OCI configuration of a small container, and mounts.

use crate::rpc::request;
use containerd_shim_protos::api::Mount;
use serde_json::{Value, json};

pub fn mount(kind: &str, source: &str, options: &[&str]) -> Mount {
    let mut mount = request!(Mount {
        type_: kind,
        source: source
    });
    mount.options = options.iter().map(|option| (*option).to_owned()).collect();
    mount
}

/// The OCI `process` that runs `script`.
pub fn process(script: &str) -> Value {
    let capabilities = json!([
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_KILL",
        "CAP_SETUID",
        "CAP_SETGID"
    ]);
    json!({
        "user": {"uid": 0, "gid": 0},
        "args": ["/bin/sh", "-c", script],
        "env": ["PATH=/bin", "TERM=xterm"],
        "cwd": "/",
        "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
        "noNewPrivileges": true,
    })
}

/// A container of namespaces of its own but for the network, in a cgroup of its own.
pub fn spec(cgroup: &str) -> Value {
    let namespaces: Vec<Value> = ["pid", "ipc", "uts", "mount"]
        .iter()
        .map(|kind| json!({"type": kind}))
        .collect();
    json!({
        "ociVersion": "1.0.2",
        "process": process("exec sleep 1000"),
        "root": {"path": "rootfs"},
        "hostname": "outlive",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666", "mode=0620", "gid=0"]},
        ],
        "linux": {
            "namespaces": namespaces,
            "cgroupsPath": cgroup,
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
        },
    })
}
