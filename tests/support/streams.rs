//! The stdio of a process without a container: a reaper and a `LocalSet` as in the shim, a shell as the process, and
//! readers of what it logged that share no code with the shim.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use outlive::logs::Attendance;
use outlive::shim::reaper::{Child, Reaper};
use outlive::shim::stdio::{ChildStdio, DRAIN_CAP, Drained, ProcessStdio, StdioContext};
use outlive::sys::spawn::Spawn;
use outlive::types::Stdio;

/// Longer than anything here takes, and a failure instead of a hang.
const DEADLINE: Duration = Duration::from_secs(240);

/// One process has one reaper, so one test runs at a time.
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

    pub fn uri(&self, scheme: &str, name: &str) -> String {
        format!("{scheme}://{}", self.at(name).display())
    }

    pub fn fifo(&self, name: &str) -> PathBuf {
        let path = self.at(name);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        path
    }

    pub fn program(&self, name: &str, text: &str) -> PathBuf {
        let path = self.at(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    pub async fn open(&self, stdout: &str, stderr: &str) -> (ProcessStdio, ChildStdio) {
        let stdio = Stdio::parse(false, "", stdout, stderr).unwrap();
        let context = StdioContext {
            reaper: &self.reaper,
            container: "c1",
            namespace: "ns1",
            bundle: &self.path,
            name: "init",
            io_uid: 0,
            io_gid: 0,
            // Nothing here goes to a fifo.
            attendance: tokio::sync::watch::channel(Attendance::default()).1,
            spool_bytes: 0,
        };
        ProcessStdio::open(&stdio, context).await.unwrap()
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

    /// Runs `script` with both streams at these URIs to the end of everything, and gives its stdio's counters.
    pub async fn run(
        &self,
        stdout: &str,
        stderr: &str,
        script: &str,
    ) -> outlive::shim::stdio::StdioCounters {
        let (stdio, child) = self.open(stdout, stderr).await;
        let process = self.sh(script, child);
        process.exit.await.unwrap();
        assert_eq!(
            stdio.drained(DRAIN_CAP, || false).await,
            Drained::Everything
        );
        let counters = stdio.counters();
        stdio.close().await.ended().await;
        counters
    }
}

/// Runs `test` as the shim runs: one thread, a reaper.
pub fn in_shim<F: Future<Output = ()>>(name: &str, test: impl FnOnce(Bundle) -> F) {
    let _one = ONE_REAPER.lock().unwrap_or_else(PoisonError::into_inner);
    let path = std::env::temp_dir().join(format!("outlive-sinks-{}-{name}", std::process::id()));
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

/// A directory that goes at the end, failed or not, with what was mounted on it or made immutable in it.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let immutable = Command::new("chattr")
            .args(["-R", "-i"])
            .arg(&self.0)
            .output();
        drop(immutable);
        // Most tests have none.
        nix::mount::umount2(&self.0.join("disk"), nix::mount::MntFlags::MNT_DETACH)
            .unwrap_or_default();
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}

/// Polls without blocking the runtime's thread.
pub async fn until(what: &str, mut reached: impl FnMut() -> Result<(), String>) {
    let end = Instant::now() + Duration::from_secs(60);
    while let Err(last) = reached() {
        assert!(Instant::now() < end, "never: {what}; last: {last}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A record of a CRI log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub stream: String,
    pub full: bool,
    pub content: Vec<u8>,
}

/// The records of a file; every line must be one, with a time that is not before the last one of its stream.
pub fn records(path: &Path) -> Vec<Record> {
    let log = fs::read(path).unwrap();
    let mut times = BTreeMap::new();
    let mut lines: Vec<&[u8]> = log.split(|byte| *byte == b'\n').collect();
    assert_eq!(lines.pop(), Some(&[][..]), "{path:?} ends with a record");
    lines
        .into_iter()
        .map(|line| {
            let fields: Vec<_> = line.splitn(4, |byte| *byte == b' ').collect();
            let [time, stream, tag, content] = fields[..] else {
                panic!("{path:?}: {:?}", String::from_utf8_lossy(line));
            };
            let text = |field: &[u8]| String::from_utf8(field.to_vec()).unwrap();
            let (time, stream) = (text(time), text(stream));
            let form = time.replace(|c: char| c.is_ascii_digit(), "0");
            assert_eq!(form, "0000-00-00T00:00:00.000000000Z", "{time}");
            assert!(stream == "stdout" || stream == "stderr", "{stream}");
            assert!(tag == b"F" || tag == b"P", "{tag:?}");
            let before = times.insert(stream.clone(), time.clone());
            assert!(before.is_none_or(|before| before <= time));
            Record {
                stream,
                full: tag == b"F",
                content: content.to_vec(),
            }
        })
        .collect()
}

/// What a stream was, as far as it is in these records.
pub fn stream(records: &[Record], name: &str) -> String {
    let mut bytes = Vec::new();
    for record in records.iter().filter(|record| record.stream == name) {
        bytes.extend_from_slice(&record.content);
        if record.full {
            bytes.push(b'\n');
        }
    }
    String::from_utf8(bytes).unwrap()
}
