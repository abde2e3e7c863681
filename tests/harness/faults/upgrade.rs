//! Two builds of `outlive` that take turns over the same containers: each has its own shim beside it, so that a container
//! made under one is found by the other together with the shim it was given.

use std::path::{Path, PathBuf};

use crate::support::supervisor;

/// Which builds those are.
#[derive(Debug, Clone)]
pub struct Builds {
    /// The one under test.
    pub current: PathBuf,
    /// The other one: `OUTLIVE_OLD`, or the release build beside the one that cargo made for this test.
    pub other: PathBuf,
}

impl Builds {
    /// `Err` where there is no other build, or no shim beside one.
    pub fn find() -> Result<Self, String> {
        let built = Path::new(env!("CARGO_BIN_EXE_outlive"));
        let release = built.ancestors().nth(2).unwrap().join("release/outlive");
        let builds = Self {
            current: supervisor::program(),
            other: std::env::var_os("OUTLIVE_OLD").map_or(release, PathBuf::from),
        };
        for program in [&builds.current, &builds.other] {
            let shim = program.with_file_name("containerd-shim-outlive-v2");
            if let Some(missing) = [program, &shim].into_iter().find(|path| !path.exists()) {
                return Err(format!(
                    "no {}: make build, or OUTLIVE_OLD=PATH",
                    missing.display()
                ));
            }
        }
        Ok(builds)
    }

    /// The one that is not `program`.
    pub fn turn(&self, program: &Path) -> &Path {
        if program == self.current {
            &self.other
        } else {
            &self.current
        }
    }
}
