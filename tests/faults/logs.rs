//! Logs on a disk that takes nothing for a while: no container waits, every record parses, nothing is there twice or out of
//! order, and what is missing is said.

use std::fs;
use std::path::Path;

use outlive::api::cri::ContainerState as State;

use crate::ends::Health;
use crate::faults::disk::SmallDisk;
use crate::faults::failing::{FailingDisk, FailsAt};
use crate::served::end;
use crate::support::poll;
use crate::support::supervisor::{Options, Supervisor};

/// Ten lines of 200 bytes at once, ten times a second; how many there were is in /n.
const CHATTERS: [&str; 3] = [
    "/bin/sh",
    "-c",
    "n=0; p=$(printf %0200d 0); until [ -e /end ]; do for i in 0 1 2 3 4 5 6 7 8 9; do echo \"$p $n\"; n=$((n+1)); done; \
     echo $n > /n.new; mv /n.new /n; usleep 100000; done; exit 7",
];

const AT_ONCE: u64 = 10;

/// What is in a log.
struct Found {
    numbers: Vec<u64>,
    /// What each record that tells of missing lines says, in lines.
    missing: Vec<u64>,
}

fn read(log: &Path) -> Found {
    let text = String::from_utf8(fs::read(log).unwrap()).unwrap();
    let (mut numbers, mut missing) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        let [_, "stdout", "F", content] = words[..] else {
            panic!("{line}");
        };
        match content.rsplit_once(' ') {
            Some((zeros, number)) if zeros.len() == 200 => numbers.push(number.parse().unwrap()),
            _ => {
                let told = content
                    .split_once(" in ")
                    .and_then(|(_, rest)| rest.split_once(" lines are missing here"));
                let (lines, _) = told.unwrap_or_else(|| panic!("{line}"));
                missing.push(lines.parse().unwrap());
            }
        }
    }
    Found { numbers, missing }
}

fn written(root: &Path) -> u64 {
    fs::read_to_string(root.join("n"))
        .ok()
        .and_then(|n| n.trim().parse().ok())
        .unwrap_or(0)
}

fn goes_on(root: &Path) {
    let before = written(root);
    poll::until("the container writes", || {
        let now = written(root);
        if now > before + 20 {
            Ok(())
        } else {
            Err(format!("{before} {now}"))
        }
    });
}

fn survives(supervisor: &mut Supervisor, mut breaks: impl FnMut(Health)) -> Found {
    let pod = supervisor.run_pod("pod");
    let id = supervisor.run(&pod, "c", &CHATTERS);
    let log = supervisor.log_of("c");
    let root = supervisor.state().join("tasks").join(&id).join("rootfs");
    goes_on(&root);
    breaks(Health::Broken);
    goes_on(&root);
    supervisor.kill9();
    goes_on(&root);
    supervisor.restart();
    breaks(Health::Well);
    goes_on(&root);
    end(supervisor, &id);
    let ended = supervisor.until_state(&id, State::ContainerExited);
    assert_eq!(ended.exit_code, 7);
    let found = read(&log);
    assert_eq!(found.numbers[0], 0);
    let in_order = found.numbers.windows(2).all(|pair| pair[0] < pair[1]);
    assert!(in_order, "{:?}", found.numbers);
    found
}

fn lost(found: &Found) -> u64 {
    let gaps = found.numbers.windows(2).map(|pair| pair[1] - pair[0] - 1);
    gaps.sum()
}

#[test]
fn what_a_full_disk_did_not_take_is_counted_in_one_record() {
    let mut supervisor = Supervisor::start(Options::default());
    supervisor.load_busybox();
    let disk = SmallDisk::mount(&supervisor.dir().join("logs"), 4 << 20);
    let found = survives(&mut supervisor, |health| match health {
        Health::Broken => disk.fill(),
        Health::Well => disk.free(),
    });
    assert_eq!(found.missing, [lost(&found)]);
    drop(disk);
}

#[test]
fn what_a_disk_did_not_write_is_told_and_no_line_is_there_twice() {
    let mut supervisor = Supervisor::start(Options::default());
    supervisor.load_busybox();
    let mut disk = FailingDisk::mount(&supervisor.dir().join("logs"), FailsAt::Write);
    let found = survives(&mut supervisor, |health| match health {
        Health::Broken => disk.fail(),
        Health::Well => disk.heal(),
    });
    // Bytes that write(2) has refused stay in the page cache, and so in the file: the first batch that was refused, and each
    // attempt to tell how many there are by then. The last one knows of all.
    let told = found.missing.last().copied().unwrap();
    let lost = lost(&found);
    assert!(
        (lost..=lost + AT_ONCE).contains(&told),
        "{told}, not {lost}"
    );
    drop(disk);
}
