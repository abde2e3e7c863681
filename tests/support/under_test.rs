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

    /// What its containerd says that it is.
    pub fn containerd(self) -> String {
        first_line(&self.bin().join("containerd"))
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
            let daemon = self.containerd();
            let oci = oci_version();
            drop(writeln!(
                std::io::stderr(),
                "tested: {daemon}; {oci}; {}",
                Runtime::of_environment().name()
            ));
        });
    }
}

/// The runtime that the containers of a node are run with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runtime {
    /// This shim, by its binary.
    Outlive(PathBuf),
    /// containerd's own shim, from the same package as containerd. It takes its options in another form.
    Go,
    /// Any other that is found on PATH, by its name.
    Other(String),
}

impl Runtime {
    /// What the environment selects; this shim where it says nothing.
    pub fn of_environment() -> Self {
        match std::env::var("OUTLIVE_RUNTIME").as_deref() {
            Err(_) | Ok("io.containerd.outlive.v2") => Self::Outlive(shim()),
            Ok("io.containerd.runc.v2") => Self::Go,
            Ok(other) => Self::Other(other.to_owned()),
        }
    }

    /// The name that containerd knows it by.
    pub fn name(&self) -> &str {
        match self {
            Self::Outlive(_) => "io.containerd.outlive.v2",
            Self::Go => "io.containerd.runc.v2",
            Self::Other(name) => name,
        }
    }

    /// Its binary for a containerd of `version`, and the name that containerd looks for on its PATH.
    pub(super) fn binary(&self, version: Version) -> Option<(PathBuf, &'static str)> {
        match self {
            Self::Outlive(binary) => Some((binary.clone(), "containerd-shim-outlive-v2")),
            Self::Go => {
                let name = "containerd-shim-runc-v2";
                Some((version.bin().join(name), name))
            }
            Self::Other(_) => None,
        }
    }
}

/// The shim under test.
pub fn shim() -> PathBuf {
    std::env::var_os("OUTLIVE_SHIM").map_or_else(
        || PathBuf::from(env!("CARGO_BIN_EXE_containerd-shim-outlive-v2")),
        PathBuf::from,
    )
}

/// What the OCI runtime says that it is.
pub fn oci_version() -> String {
    let program = oci_runtime().unwrap_or_else(|| "runc".to_owned());
    first_line(Path::new(&program))
}

/// The name of a shim's binary and the version that it says.
pub(super) fn shim_version(binary: &Path) -> String {
    let output = Command::new(binary)
        .arg("-v")
        .output()
        .unwrap_or_else(|e| panic!("{binary:?}: {e}"));
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("Version:"));
    let name = binary.file_name().unwrap_or_default().to_string_lossy();
    format!("{name} {}", version.unwrap_or("?").trim())
}

/// The first line of what `program --version` prints.
fn first_line(program: &Path) -> String {
    let output = Command::new(program)
        .arg("--version")
        .output()
        .unwrap_or_else(|e| panic!("{program:?}: {e}"));
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().unwrap_or("?").to_owned()
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
