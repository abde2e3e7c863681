//! The shim's own parts at work without a container: a reaper and a `LocalSet` as in the shim, a bundle, and a shell as the
//! process.
#![allow(dead_code, reason = "each test crate uses its own part of this module")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use outlive::logs::Attendance;
use outlive::shim::reaper::{Child, Reaper};
use outlive::shim::stdio::{ChildStdio, ProcessStdio, StdioContext, StdioOpenError};
use outlive::sys::spawn::Spawn;
use outlive::types::Stdio;
use tokio::sync::watch;

/// Longer than any test here takes, and a failure instead of a hang.
const DEADLINE: Duration = Duration::from_secs(240);

/// One process has one reaper, so one test runs at a time; and no other thread forks while a program is written.
static ONE_REAPER: Mutex<()> = Mutex::new(());

/// A bundle, removed at the end.
pub struct Bundle {
    pub path: PathBuf,
    pub reaper: Reaper,
}

impl Bundle {
    pub fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes a fifo.
    pub fn fifo(&self, name: &str) -> String {
        let path = self.at(name);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Makes an executable file.
    pub fn program(&self, name: &str, text: &str) -> String {
        let path = self.at(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub async fn open(
        &self,
        stdio: &Stdio,
        attendance: watch::Receiver<Attendance>,
        spool_bytes: u64,
    ) -> Result<(ProcessStdio, ChildStdio), StdioOpenError> {
        let context = StdioContext {
            reaper: &self.reaper,
            container: "c1",
            namespace: "ns1",
            bundle: &self.path,
            name: "init",
            io_uid: 0,
            io_gid: 0,
            attendance,
            spool_bytes,
        };
        ProcessStdio::open(stdio, context).await
    }

    pub fn sh(&self, script: &str, stdio: ChildStdio) -> Child {
        let spawn = Spawn {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            cwd: Some(self.path.clone()),
            stdin: stdio.stdin,
            stdout: stdio.stdout,
            stderr: stdio.stderr,
            ..Spawn::default()
        };
        self.reaper.spawn(spawn).unwrap()
    }
}

/// Runs `test` as the shim runs: one thread, a reaper.
pub fn in_shim<F: Future<Output = ()>>(name: &str, test: impl FnOnce(Bundle) -> F) {
    let _one = ONE_REAPER.lock().unwrap_or_else(PoisonError::into_inner);
    let path = std::env::temp_dir().join(format!("outlive-{}-{name}", std::process::id()));
    fs::create_dir_all(&path).unwrap();
    let _removed = Removed(path.clone());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let outcome = tokio::task::LocalSet::new().block_on(&runtime, async {
        let reaper = Reaper::default();
        tokio::task::spawn_local(reaper.run().unwrap());
        let bundle = Bundle { path, reaper };
        tokio::time::timeout(DEADLINE, test(bundle)).await
    });
    outcome.expect("the test ends in time");
}

/// A directory that goes at the end, failed or not, with what was made immutable in it.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        if fs::remove_dir_all(&self.0).is_ok() {
            return;
        }
        let mut chattr = Command::new("chattr");
        drop(chattr.args(["-R", "-i"]).arg(&self.0).output());
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}

/// A small disk, unmounted at the end.
pub struct Disk(PathBuf);

impl Disk {
    /// Mounts one of `size` (tmpfs(5)) at `path`, which is made.
    pub fn mount(path: &Path, size: &str) -> Self {
        fs::create_dir(path).unwrap();
        let options = format!("size={size}");
        let none = None::<&str>;
        mount(none, path, Some("tmpfs"), MsFlags::empty(), Some(&*options)).unwrap();
        Self(path.to_owned())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(error) = umount2(&self.0, MntFlags::MNT_DETACH) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}
