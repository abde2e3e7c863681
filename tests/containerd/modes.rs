//! The mode of nothing that the shim and the OCI runtime make depends on containerd's umask.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::support::node::Node;
use crate::support::{poll, program};

on_every_containerd![
    no_mode_depends_on_the_umask_of_containerd,
    a_logging_program_has_the_umask_of_containerd,
];

/// The modes of what container `id` has made for it, by name, and the umask of its init and of an exec.
fn made_for(node: &Node, id: &str) -> (BTreeMap<String, String>, [String; 2]) {
    let (host, logs) = (
        node.dir().join("host"),
        node.dir().join(format!("logs-{id}")),
    );
    fs::create_dir_all(&host).unwrap();
    let log = logs.join("deep/c.log");
    let mount = format!(
        "type=bind,src={},dst=/made-{id}/deep,options=rbind:rw",
        host.display()
    );
    let uri = format!("file://{}", log.display());
    node.run_detached(
        id,
        &[
            "--mount",
            &mount,
            "--cwd",
            &format!("/work-{id}"),
            "--log-uri",
            &uri,
        ],
        &["/bin/sh", "-c", "umask; exec sleep 1000"],
    );
    let init = poll::until("init has printed its umask", || {
        let text = fs::read_to_string(&log).map_err(|error| error.to_string())?;
        if text.ends_with('\n') {
            Ok(text.trim().to_owned())
        } else {
            Err(text)
        }
    });
    let exec = node.exec(id, "e", &["/bin/sh", "-c", "umask"]).ok();
    let (rootfs, bundle) = (node.rootfs(), node.bundle(id));
    let made = [
        ("mount point", rootfs.join(format!("made-{id}/deep"))),
        ("its parent", rootfs.join(format!("made-{id}"))),
        ("working directory", rootfs.join(format!("work-{id}"))),
        ("log", log.clone()),
        ("log directory", logs.join("deep")),
        ("OCI state", node.oci_state(id)),
    ];
    let mode = |path: &Path| format!("{:o}", fs::metadata(path).unwrap().mode());
    let mut modes: BTreeMap<String, String> = made
        .iter()
        .map(|(name, path)| ((*name).to_owned(), mode(path)))
        .collect();
    // Those of the shim; what containerd itself writes has its umask.
    for name in ["init.pid", "exits", "log.json", "runtime"] {
        let path = bundle.join(name);
        if path.exists() {
            modes.insert(name.to_owned(), mode(&path));
        }
    }
    assert_eq!(node.destroy(id), 137);
    (modes, [init, exec.trim().to_owned()])
}

fn no_mode_depends_on_the_umask_of_containerd(node: &mut Node) {
    let usual = made_for(node, "usual");
    node.kill9();
    node.set_umask("077");
    node.restart();
    let strict = made_for(node, "strict");
    assert_eq!(usual, strict);
    assert_eq!(usual.1, ["0022", "0022"]);
    // crun 1.8 makes mount points sticky.
    for name in ["mount point", "working directory"] {
        let mode = &usual.0[name];
        assert!(["40755", "41755"].contains(&&**mode), "{name}: {mode}");
    }
}

fn a_logging_program_has_the_umask_of_containerd(node: &mut Node) {
    node.kill9();
    node.set_umask("027");
    node.restart();
    let (logger, seen) = (node.dir().join("logger"), node.dir().join("seen"));
    let script = format!(
        "#!/bin/sh\numask > {0}.new\nmv {0}.new {0}\nexec 5>&-\ncat <&4 >/dev/null &\ncat <&3 >/dev/null\nwait\n",
        seen.display()
    );
    program::write(&logger, script);
    let uri = format!("binary://{}", logger.display());
    node.run_detached("logged", &["--log-uri", &uri], &["/bin/true"]);
    node.wait_for("logged", "STOPPED");
    assert_eq!(fs::read_to_string(&seen).unwrap(), "0027\n");
    assert_eq!(node.delete("logged"), 0);
}
