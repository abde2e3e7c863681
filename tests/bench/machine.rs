//! What the figures are taken on: the kernel, the processors, the memory, the date, and the versions of who is measured.

use std::fs;
use std::process::{Command, Stdio};

use outlive::types::time::Timestamp;

use crate::peer::Peer;
use crate::report::Machine;

/// Programs beside the shims, each with a `--version`.
const PROGRAMS: [&str; 4] = ["runc", "containerd", "conmon", "crun"];

/// Reads them now; each program is run once.
pub fn describe(peers: &[Peer]) -> Machine {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let programs = PROGRAMS.map(|name| (name.to_owned(), version_of(name)));
    let shims = peers.iter().map(|peer| {
        let version = match &*peer.version {
            "" => "says no version".to_owned(),
            version => version.to_owned(),
        };
        (peer.name.to_owned(), version)
    });
    let date = Timestamp::now().rfc3339();
    let date = String::from_utf8_lossy(&date);
    Machine {
        kernel: kernel.trim().to_owned(),
        cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unnamed CPU".to_owned()),
        cpus: std::thread::available_parallelism().map_or(0, usize::from),
        memory_kb: memory(),
        date: format!("{}Z", date.split('.').next().unwrap_or_default()),
        versions: shims.chain(programs).collect(),
    }
}

/// `MemTotal`, which is in kilobytes.
fn memory() -> u64 {
    let total = field("/proc/meminfo", "MemTotal").unwrap_or_default();
    let number = total.split_whitespace().next();
    number.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// What a file of proc(5) says behind the first of such a name.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = pairs.find(|(found, _)| found.trim() == name)?;
    Some(value.trim().to_owned())
}

/// The first line that a program answers to `--version`.
fn version_of(program: &str) -> String {
    let mut command = Command::new(program);
    let output = command.arg("--version").stdin(Stdio::null()).output();
    let Ok(output) = output else {
        return "not there".to_owned();
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    line.unwrap_or("says no version").to_owned()
}
