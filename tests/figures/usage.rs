//! What the kernel says that a process uses (proc(5)).

use std::fs;
use std::time::Duration;

/// One look at a process. Memory in kB.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    pub rss: u64,
    pub anonymous: u64,
    pub peak: u64,
    pub private_dirty: u64,
    pub threads: u64,
    pub files: usize,
    pub cpu: Duration,
}

/// The number after `field` in a file of lines like `VmRSS:  123 kB`.
fn number(text: &str, field: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let word = line.and_then(|rest| rest.split_ascii_whitespace().next());
    word.and_then(|word| word.parse().ok())
        .unwrap_or_else(|| panic!("no {field} in {text}"))
}

impl Usage {
    pub fn of(pid: u32) -> Self {
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
        let status = read("status");
        // user and system time are the 14th and 15th field; what comes before the second's end may have blanks.
        let stat = read("stat");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split(' ').collect();
        let ticks: u64 = fields[12].parse::<u64>().unwrap() + fields[13].parse::<u64>().unwrap();
        let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK);
        let per_second = u64::try_from(per_second.unwrap().unwrap()).unwrap();
        Self {
            rss: number(&status, "VmRSS:"),
            anonymous: number(&status, "RssAnon:"),
            peak: number(&status, "VmHWM:"),
            private_dirty: number(&read("smaps_rollup"), "Private_Dirty:"),
            threads: number(&status, "Threads:"),
            files: fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count(),
            cpu: Duration::from_millis(ticks * 1000 / per_second),
        }
    }

    pub fn print(&self, when: &str) {
        println!(
            "  {when:<28} RSS {:>6} kB (anonymous {}, Private_Dirty {}), peak {} kB, {} threads, {} files",
            self.rss, self.anonymous, self.private_dirty, self.peak, self.threads, self.files
        );
    }
}

/// How loaded the machine is: figures are worth little without it.
pub fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap();
    load.split(' ').next().unwrap().to_owned()
}
