//! Which targets there are by name, and what they run on.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use crate::containerd_target::{Containerd, Shim};
use crate::supervisor_target::Outlive;
use crate::support::under_test::{self, Version};
use crate::target::Target;

/// A kind of target, as the command line names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// `supervisor`: `outlive serve` with its own shim.
    Supervisor,
    /// `defective:NAME`: the same with a seeded defect.
    Defective(String),
    /// `containerd-VERSION+SHIM`: 1.6, 1.7 or 2.x; `outlive`, `go`, or the path of a shim.
    Containerd(Version, Shim),
}

const KINDS: &str = "supervisor, containerd[-1.6|-1.7|-2.x][+outlive|+go|+PATH]";

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "supervisor" {
            return Ok(Self::Supervisor);
        }
        if let Some(name) = text.strip_prefix("defective:") {
            return Ok(Self::Defective(name.to_owned()));
        }
        let (name, shim) = text.split_once('+').unwrap_or((text, "outlive"));
        let version = match name {
            "containerd" | "containerd-2.x" => Version::V2,
            "containerd-1.6" => Version::V1_6,
            "containerd-1.7" => Version::V1_7,
            _ => return Err(format!("no target {text:?}; there are: {KINDS}")),
        };
        let shim = match shim {
            "outlive" => Shim::Outlive(under_test::shim()),
            "go" => Shim::Go,
            path if Path::new(path).is_file() => Shim::Outlive(path.into()),
            path => return Err(format!("no shim {path:?}; there are: outlive, go, a path")),
        };
        Ok(Self::Containerd(version, shim))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Supervisor => formatter.write_str("supervisor"),
            Self::Defective(name) => write!(formatter, "defective:{name}"),
            Self::Containerd(version, shim) => {
                let name = version.name();
                match shim {
                    Shim::Go => write!(formatter, "containerd-{name}+go"),
                    Shim::Outlive(path) if *path == under_test::shim() => {
                        write!(formatter, "containerd-{name}+outlive")
                    }
                    Shim::Outlive(path) => {
                        write!(formatter, "containerd-{name}+{}", path.display())
                    }
                }
            }
        }
    }
}

impl Kind {
    /// Starts one.
    pub fn start(&self) -> Box<dyn Target> {
        match self {
            Self::Supervisor => Box::new(Outlive::start(None)),
            Self::Defective(name) => Box::new(Outlive::start(Some(name))),
            Self::Containerd(version, shim) => Box::new(Containerd::start(*version, shim.clone())),
        }
    }

    pub fn is_outlive(&self) -> bool {
        match self {
            Self::Supervisor | Self::Defective(_) => true,
            Self::Containerd(..) => false,
        }
    }

    /// Whether what it violates is a failure: a peer's is shown and not judged.
    pub fn is_judged(&self) -> bool {
        match self {
            Self::Supervisor | Self::Containerd(_, Shim::Outlive(_)) => true,
            Self::Defective(_) | Self::Containerd(_, Shim::Go) => false,
        }
    }
}

/// The command line of this process, as it can be typed again.
pub fn command_line() -> String {
    std::env::args().collect::<Vec<_>>().join(" ")
}

/// Kernel, processors, and what was driven.
pub fn describe(kinds: &[Kind]) -> BTreeMap<String, String> {
    let mut machine = BTreeMap::new();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    machine.insert("kernel".to_owned(), kernel.trim().to_owned());
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    machine.insert("processors".to_owned(), processors.to_string());
    for kind in kinds {
        if let Kind::Containerd(version, _) = kind {
            machine.insert(
                "containerd ".to_owned() + version.name(),
                version.containerd(),
            );
        }
    }
    machine.insert("OCI runtime".to_owned(), under_test::oci_version());
    machine
}
