//! What is tested: a version of containerd, a runtime, the shim's binary and the OCI runtime below it.
//!
//! `OUTLIVE_RUNTIME` and `OUTLIVE_SHIM` point the suite at another runtime or another binary of the shim, and
//! `OUTLIVE_OCI_RUNTIME=crun` selects the OCI runtime.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

/// A supported line of containerd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Debian 12's own.
    V1_6,
    /// Fetched by tests/setup/containerd.sh.
    V1_7,
    /// The newest, fetched by tests/setup/containerd.sh.
    V2,
}

impl Version {
    /// As the directories under target/containerd spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1_6 => "1.6",
            Self::V1_7 => "1.7",
            Self::V2 => "2.x",
        }
    }

    pub(super) fn bin(self) -> PathBuf {
        match self {
            Self::V1_6 => PathBuf::from("/usr/bin"),
            Self::V1_7 | Self::V2 => Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("target/containerd")
                .join(self.name())
                .join("usr/bin"),
        }
    }

    pub(super) fn check(self) {
        let (bin, remedy) = match self {
            Self::V1_6 => (self.bin(), "apt-get install containerd"),
            Self::V1_7 | Self::V2 => (self.bin(), "tests/setup/containerd.sh"),
        };
        for program in ["containerd", "ctr"] {
            assert!(
                bin.join(program).exists(),
                "containerd {} is missing in {}; run: {remedy}",
                self.name(),
                bin.display()
            );
        }
        self.tell();
    }

    /// Says once per version what is tested, past the capture of the test harness.
    fn tell(self) {
        static TOLD: [Once; 3] = [const { Once::new() }; 3];
        let index = match self {
            Self::V1_6 => 0,
            Self::V1_7 => 1,
            Self::V2 => 2,
        };
        TOLD[index].call_once(|| {
            let first_line = |program: &Path| {
                let output = Command::new(program)
                    .arg("--version")
                    .output()
                    .unwrap_or_else(|e| panic!("{program:?}: {e}"));
                String::from_utf8_lossy(&output.stdout)
                    .lines()
                    .next()
                    .unwrap_or("?")
                    .to_owned()
            };
            let daemon = first_line(&self.bin().join("containerd"));
            let oci = first_line(Path::new(oci_runtime().as_deref().unwrap_or("runc")));
            drop(writeln!(
                std::io::stderr(),
                "tested: {daemon}; {oci}; {}",
                runtime()
            ));
        });
    }
}

/// The runtime name that containers are run with.
pub fn runtime() -> String {
    std::env::var("OUTLIVE_RUNTIME").unwrap_or_else(|_| "io.containerd.outlive.v2".to_owned())
}

/// Whether the suite drives containerd's own shim, which takes its options in another form.
pub fn is_go_shim() -> bool {
    runtime() == "io.containerd.runc.v2"
}

/// The shim under test.
pub fn shim() -> PathBuf {
    std::env::var_os("OUTLIVE_SHIM").map_or_else(
        || PathBuf::from(env!("CARGO_BIN_EXE_containerd-shim-outlive-v2")),
        PathBuf::from,
    )
}

/// The OCI runtime, when it is not the default one.
pub fn oci_runtime() -> Option<String> {
    std::env::var("OUTLIVE_OCI_RUNTIME")
        .ok()
        .filter(|name| name != "runc")
}

/// crun refuses a cgroup2 hierarchy without controllers beside cgroup1: such a machine runs it where that one is hidden.
pub(super) fn check_cgroups() {
    let hybrid = Path::new("/sys/fs/cgroup/unified/cgroup.procs").exists();
    assert!(
        !(hybrid && oci_runtime().is_some_and(|name| name.ends_with("crun"))),
        "crun does not run on hybrid cgroups; run: unshare --mount sh -c 'umount /sys/fs/cgroup/unified && \
         mount -t tmpfs tmpfs /sys/fs/cgroup/unified && exec cargo test --test containerd'"
    );
}

/// The configuration of a containerd of `version` whose every path is below `dir`.
pub(super) fn configuration(version: Version, dir: &Path) -> String {
    let dir = dir.display();
    let (number, disabled) = match version {
        Version::V1_6 | Version::V1_7 => (
            2,
            r#""io.containerd.grpc.v1.cri", "io.containerd.nri.v1.nri""#,
        ),
        Version::V2 => (
            3,
            r#""io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime", "io.containerd.cri.v1.images",
            "io.containerd.podsandbox.controller.v1.podsandbox", "io.containerd.nri.v1.nri""#,
        ),
    };
    format!(
        r#"version = {number}
root = "{dir}/root"
state = "{dir}/state"
disabled_plugins = [{disabled}]
[grpc]
address = "{dir}/c"
[ttrpc]
address = "{dir}/c.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
path = "{dir}/opt"
"#
    )
}
