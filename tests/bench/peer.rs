//! Who is measured: shims that speak the same task service, each with what it takes to start it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::measure::{GO, OUTLIVE, RUST, Skipped};

/// A shim's binary.
#[derive(Debug, Clone)]
pub struct Peer {
    pub name: &'static str,
    pub binary: PathBuf,
    /// A command that it is run under, with its arguments; mostly none.
    pub under: Vec<String>,
    /// The ttrpc service that it is called by.
    pub service: &'static str,
    /// What it says of itself.
    pub version: String,
}

/// The release binary of this project: `OUTLIVE_SHIM`.
pub fn outlive() -> Peer {
    let binary = std::env::var_os("OUTLIVE_SHIM").map_or_else(
        || PathBuf::from(env!("CARGO_BIN_EXE_containerd-shim-outlive-v2")),
        PathBuf::from,
    );
    Peer {
        name: OUTLIVE,
        version: version_of(&binary).unwrap_or_default(),
        binary,
        under: Vec::new(),
        service: "containerd.task.v2.Task",
    }
}

/// All shims that this machine has, this project's first, and why others are left out.
pub fn all() -> (Vec<Peer>, Vec<Skipped>) {
    let mut found = vec![outlive()];
    let mut skipped = Vec::new();
    let go = Path::new("/usr/bin/containerd-shim-runc-v2");
    // Where `make bench` has cargo put it; it says itself why there is none.
    let rust = std::env::var_os("RUST_SHIM").map(PathBuf::from);
    let others = [
        (GO, Some(go.to_owned()), "containerd.task.v2.Task"),
        (RUST, rust, "containerd.task.v3.Task"),
    ];
    for (name, binary, service) in others {
        let version = match &binary {
            Some(binary) => version_of(binary),
            None => Err("RUST_SHIM names no binary".to_owned()),
        };
        match (version, binary) {
            (Ok(version), Some(binary)) => found.push(Peer {
                name,
                binary,
                under: Vec::new(),
                service,
                version,
            }),
            (version, _) => skipped.push(Skipped {
                what: name.to_owned(),
                why: version.err().unwrap_or_default(),
            }),
        }
    }
    (found, skipped)
}

/// What `-v` prints after "Version:"; an error where it cannot be run.
fn version_of(binary: &Path) -> Result<String, String> {
    let mut command = Command::new(binary);
    let output = command.arg("-v").stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{}: {error}", binary.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines().map(str::trim);
    let version = lines.find_map(|line| line.strip_prefix("Version:"));
    Ok(version.unwrap_or_default().trim().to_owned())
}
