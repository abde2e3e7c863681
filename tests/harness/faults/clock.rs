//! A step of the wall clock, for one supervisor alone: libfaketime answers its calls of clock_gettime(2) for CLOCK_REALTIME.
//! The machine's clock, the monotonic one, and the containers are left alone.
//!
//! A supervisor hands its environment on to its shims, LD_PRELOAD with it. They are witnesses of when a container ended, so
//! that the clock must be the true one for them: a runtime handler whose shim is a script takes the variables away.
//! The library reads the step from a file at each call, so that it can come while the supervisor runs.

use std::fs;
use std::path::{Path, PathBuf};

use super::place;
use crate::support::program;

/// Debian's libfaketime; the one for programs with threads.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// A clock that can be set.
#[derive(Debug)]
pub struct Clock {
    dir: PathBuf,
    library: PathBuf,
}

impl Clock {
    /// One that shows the time. `Err` where libfaketime is not installed.
    pub fn new() -> Result<Self, String> {
        let library =
            library().ok_or("no libfaketime: the Debian package of that name is missing")?;
        let clock = Self {
            dir: place("clock"),
            library,
        };
        clock.step(0);
        Ok(clock)
    }

    /// What the supervisor is started with to have this clock.
    pub fn environment(&self) -> Vec<(String, String)> {
        let pairs = [
            ("LD_PRELOAD", self.library.to_str().unwrap()),
            ("FAKETIME_TIMESTAMP_FILE", self.file().to_str().unwrap()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        pairs.to_vec()
    }

    /// Lines of its configuration, a table: the default runtime handler, with `shim` kept away from this clock.
    pub fn true_time_for_shims(&self, shim: &Path) -> String {
        let script = self.dir.join("containerd-shim-true-time");
        let names = self.environment().into_iter().map(|(name, _)| name);
        let names = names.collect::<Vec<_>>().join(" ");
        let text = format!("#!/bin/sh\nunset {names}\nexec {} \"$@\"\n", shim.display());
        program::write(&script, text);
        format!(
            "[runtimes.outlive]\nshim = {:?}\n",
            script.to_str().unwrap()
        )
    }

    /// It shows the time and so many seconds more, or less, from now on.
    pub fn step(&self, seconds: i64) {
        // In one step: it is read at any moment.
        let new = self.dir.join("new");
        fs::write(&new, format!("{seconds:+}\n")).unwrap();
        fs::rename(&new, self.file()).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.dir.join("offset")
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.dir));
        for entry in fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
            // The library removes what it shares with its own children at its end, which kill -9 is not.
            let name = entry.file_name();
            let pid = name.to_str().and_then(|name| {
                let shared = name.strip_prefix("faketime_shm_");
                shared.or_else(|| name.strip_prefix("sem.faketime_sem_"))
            });
            if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                drop(fs::remove_file(entry.path()));
            }
        }
    }
}

/// In the directory of the machine's kind: `/usr/lib/x86_64-linux-gnu`.
fn library() -> Option<PathBuf> {
    let kinds = fs::read_dir("/usr/lib").ok()?.flatten();
    let mut paths = kinds.map(|kind| kind.path().join(LIBRARY));
    paths.find(|path| path.exists())
}
