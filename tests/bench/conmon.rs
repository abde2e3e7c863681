//! A container under conmon(8), as podman and CRI-O run it: conmon makes it with the OCI runtime, and writes its output in
//! the CRI log format (`k8s-file`).

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::life::{finish, runtime};
use crate::poll;
use crate::process;
use crate::shim::Bundle;

/// A container that runs under conmon.
pub struct Monitored {
    /// conmon's own pid.
    pub pid: u32,
}

/// Why there is none on this machine, if so.
pub fn absence() -> Option<String> {
    let mut command = Command::new("conmon");
    let output = command.arg("--version").stdin(Stdio::null()).output();
    output.err().map(|error| format!("conmon: {error}"))
}

/// Runs the bundle's container; its output goes to `log`.
pub fn run(bundle: &Bundle, log: &Path) -> Monitored {
    let path = |name: &str| bundle.dir.join(name);
    let mut command = Command::new("conmon");
    command.args(["--cid", &bundle.id, "--cuuid", &bundle.id, "--bundle"]);
    command
        .arg(&bundle.dir)
        .arg("--runtime")
        .arg(format!("/usr/bin/{}", bundle.runtime));
    command.arg("--runtime-arg=--root");
    command.arg(format!("--runtime-arg={}", bundle.root.display()));
    command
        .arg("--log-path")
        .arg(format!("k8s-file:{}", log.display()));
    command.arg("--exit-dir").arg(&bundle.dir);
    command.arg("--socket-dir-path").arg(&bundle.dir);
    command.arg("--container-pidfile").arg(path("init.pid"));
    command.arg("--conmon-pidfile").arg(path("conmon.pid"));
    // Whoever asks for a container does not wait for conmon to give up a pipe.
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    finish(&mut command);
    poll::until("conmon has made the container", || {
        let pid = fs::read_to_string(path("init.pid")).map_err(|error| error.to_string())?;
        pid.trim().parse::<u32>().map_err(|error| error.to_string())
    });
    finish(runtime(bundle, "start").arg(&bundle.id));
    let pid = fs::read_to_string(path("conmon.pid")).unwrap();
    Monitored {
        pid: pid.trim().parse().unwrap(),
    }
}

impl Monitored {
    /// Kills and deletes the container; conmon ends by itself.
    pub fn end(self, bundle: &Bundle) {
        finish(runtime(bundle, "delete").arg("--force").arg(&bundle.id));
        process::gone(self.pid);
    }
}
