//! Where output goes when it goes to files and loggers: real files, full and immutable ones, renamed ones, killed
//! loggers; and every byte accounted for.
#![cfg(test)]

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use outlive::logs::Attendance;
use outlive::shim::stdio::{ChildStdio, DRAIN_CAP, Drained, ProcessStdio, StdioCounters};
use outlive::types::Stdio;
use tokio::sync::watch;

#[path = "support/in_shim.rs"]
mod in_shim;
#[path = "support/streams.rs"]
mod streams;

use in_shim::{Bundle, Disk, in_shim};
use streams::{Record, records, stream};

/// Both kinds of log, each with the name of a test.
const KINDS: [&str; 2] = ["file", "cri"];

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

/// The text of one stream of a log, whatever its kind.
fn text(kind: &str, path: &Path, name: &str) -> String {
    match kind {
        "cri" => stream(&records(path), name),
        _ => read(path),
    }
}

fn uri_of(bundle: &Bundle, scheme: &str, name: &str) -> String {
    format!("{scheme}://{}", bundle.at(name).display())
}

/// Opens two streams, neither of them a fifo.
async fn open(bundle: &Bundle, stdout: &str, stderr: &str) -> (ProcessStdio, ChildStdio) {
    let stdio = Stdio::parse(false, "", stdout, stderr).unwrap();
    let attendance = watch::channel(Attendance::default()).1;
    bundle.open(&stdio, attendance, 0).await.unwrap()
}

/// Runs `script` with both streams at these URIs to the end of everything, and gives its stdio's counters.
async fn run(bundle: &Bundle, stdout: &str, stderr: &str, script: &str) -> StdioCounters {
    let (stdio, child) = open(bundle, stdout, stderr).await;
    let process = bundle.sh(script, child);
    process.exit.await.unwrap();
    assert_eq!(
        stdio.drained(DRAIN_CAP, || false).await,
        Drained::Everything
    );
    let counters = stdio.counters();
    stdio.close().await.ended().await;
    counters
}

/// Polls without blocking the runtime's thread.
async fn until(what: &str, mut reached: impl FnMut() -> Result<(), String>) {
    let end = Instant::now() + Duration::from_secs(60);
    while let Err(last) = reached() {
        assert!(Instant::now() < end, "never: {what}; last: {last}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn finished(stdio: ProcessStdio) {
    assert_eq!(
        stdio.drained(DRAIN_CAP, || false).await,
        Drained::Everything
    );
    stdio.close().await.ended().await;
}

/// Counts what is missing in a text of the lines `0\n1\n..` with notices in it, and checks that the notices say so.
fn check_gaps(text: &str, total: u64) -> Vec<(u64, u64)> {
    let mut missing = Vec::new();
    let mut next = 0;
    let mut noticed: Option<(u64, u64)> = None;
    for line in text.lines().chain([total.to_string().as_str()]) {
        if let Some(notice) = line.strip_prefix("outlive: ") {
            assert_eq!(noticed, None, "two notices for one gap");
            let words: Vec<_> = notice.split(' ').collect();
            noticed = Some((words[0].parse().unwrap(), words[5].parse().unwrap()));
            continue;
        }
        let number: u64 = line.parse().unwrap_or_else(|_| panic!("{line:?}"));
        let lost: u64 = (next..number)
            .map(|number| number.to_string().len() as u64 + 1)
            .sum();
        match noticed.take() {
            None => assert_eq!(number, next, "a gap that nobody noticed"),
            Some((bytes, lines)) => {
                assert_eq!((bytes, lines), (lost, number - next), "at {number}");
                missing.push((bytes, lines));
            }
        }
        next = number + 1;
    }
    missing
}

/// Writes the numbered lines below `count` in one piece, then waits for a word on the fifo `go`, and so on.
fn in_stages(stages: &[u64]) -> String {
    let mut script = String::from("exec 3<go\n");
    let mut from = 0;
    for to in stages {
        script += &format!("seq {from} {}; read word <&3\n", to - 1);
        from = *to;
    }
    script
}

struct Staged {
    stdio: ProcessStdio,
    process: outlive::shim::reaper::Child,
    go: File,
}

impl Staged {
    async fn start(bundle: &Bundle, uri: &str, stages: &[u64]) -> Self {
        let go = bundle.fifo("go");
        let go = File::options().read(true).write(true).open(go).unwrap();
        let (stdio, child) = open(bundle, uri, uri).await;
        let process = bundle.sh(&in_stages(stages), child);
        Self { stdio, process, go }
    }

    /// Waits until all lines below `count` are taken.
    async fn taken(&self, count: u64) {
        let bytes: u64 = (0..count)
            .map(|number| number.to_string().len() as u64 + 1)
            .sum();
        until("all of it is taken", || {
            let flow = self.stdio.counters().stdout;
            let all = flow.moved + flow.dropped == bytes;
            all.then_some(())
                .ok_or_else(|| format!("{flow:?} of {bytes}"))
        })
        .await;
    }

    fn go(&mut self) {
        self.go.write_all(b"go\n").unwrap();
    }

    async fn end(self) {
        assert_eq!(self.process.exit.await.unwrap().record.status.get(), 0);
        finished(self.stdio).await;
    }
}

#[test]
fn a_full_disk_costs_what_its_notice_says_and_no_record_is_torn() {
    for kind in KINDS {
        in_shim(&format!("full-{kind}"), |bundle| async move {
            let disk = bundle.at("disk");
            let _mounted = Disk::mount(&disk, "2m");
            fs::write(disk.join("filler"), vec![0; 1 << 20]).unwrap();
            let mut run = Staged::start(
                &bundle,
                &uri_of(&bundle, kind, "disk/log"),
                &[400_000, 400_100],
            )
            .await;
            run.taken(400_000).await;
            assert!(run.stdio.counters().stdout.dropped > 1 << 20);
            fs::remove_file(disk.join("filler")).unwrap();
            run.go();
            run.taken(400_100).await;
            run.go();
            run.end().await;
            let gaps = match kind {
                "cri" => check_gaps(&text(kind, &disk.join("log"), "stdout"), 400_100),
                // Plain bytes are cut anywhere; the line before the notice is what is left of one.
                _ => {
                    let log = read(&disk.join("log"));
                    let (before, after) = log.split_once("\noutlive: ").unwrap();
                    let (bytes, rest) = after.split_once(' ').unwrap();
                    let (notice, after) = rest.split_once('\n').unwrap();
                    assert!(notice.ends_with("No space left on device (os error 28)"));
                    let all: String = (0..400_100).map(|i| format!("{i}\n")).collect();
                    let lost: usize = bytes.parse().unwrap();
                    assert_eq!(before.len() + lost + after.len(), all.len());
                    assert!(all.starts_with(before) && all.ends_with(after));
                    vec![(lost as u64, 0)]
                }
            };
            assert_eq!(gaps.len(), 1, "{gaps:?}");
        });
    }
}

/// Sets or takes the immutable flag; `false` where the file system has none.
fn immutable(path: &Path, flag: &str) -> bool {
    let output = Command::new("chattr").arg(flag).arg(path).output().unwrap();
    if !output.status.success() {
        eprintln!("skipped: {}", String::from_utf8_lossy(&output.stderr));
    }
    output.status.success()
}

#[test]
fn an_immutable_log_goes_on_when_it_is_mutable_again() {
    for kind in KINDS {
        in_shim(&format!("immutable-{kind}"), |bundle| async move {
            let log = bundle.at("log");
            let stages = [1000, 50_000, 50_010, 60_000, 60_010];
            let mut run = Staged::start(&bundle, &uri_of(&bundle, kind, "log"), &stages).await;
            run.taken(1000).await;
            for stages in stages[1..].chunks(2) {
                let before = fs::metadata(&log).unwrap().len();
                if !immutable(&log, "+i") {
                    return;
                }
                run.go();
                run.taken(stages[0]).await;
                assert_eq!(fs::metadata(&log).unwrap().len(), before);
                assert!(immutable(&log, "-i"));
                run.go();
                run.taken(stages[1]).await;
            }
            run.go();
            run.end().await;
            let gaps = check_gaps(&text(kind, &log, "stdout"), 60_010);
            assert_eq!(gaps.len(), 2, "{gaps:?}");
            assert!(read(&log).contains("Operation not permitted"));
        });
    }
}

#[test]
fn an_io_error_does_not_stop_the_writer_and_a_new_file_says_what_is_missing() {
    in_shim("io-error", |bundle| async move {
        // A terminal whose other side is gone answers every write with EIO.
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let master = posix_openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let log = bundle.at("log");
        symlink(ptsname_r(&master).unwrap(), &log).unwrap();
        let uri = uri_of(&bundle, "file", "log");
        let mut run = Staged::start(&bundle, &uri, &[10, 1000, 1010]).await;
        run.taken(10).await;
        drop(master);
        run.go();
        run.taken(1000).await;
        assert!(run.stdio.counters().stdout.dropped > 0);
        fs::remove_file(&log).unwrap();
        run.stdio.reopen_logs().unwrap();
        run.go();
        run.taken(1010).await;
        run.go();
        run.end().await;
        let text = read(&log);
        let (notice, rest) = text.split_once('\n').unwrap();
        assert!(
            notice.contains("in 990 lines are missing here: ") && notice.contains("(os error 5)"),
            "{notice}"
        );
        let lines: String = (1000..1010).map(|line| format!("{line}\n")).collect();
        assert_eq!(rest, lines);
    });
}

#[test]
fn what_is_missing_at_the_end_is_said_at_the_end() {
    in_shim("missing-end", |bundle| async move {
        let log = bundle.at("log");
        let mut run = Staged::start(&bundle, &uri_of(&bundle, "cri", "log"), &[10, 1000]).await;
        run.taken(10).await;
        if !immutable(&log, "+i") {
            return;
        }
        run.go();
        run.taken(1000).await;
        assert!(immutable(&log, "-i"));
        run.go();
        run.end().await;
        let last = records(&log).pop().unwrap();
        assert!(
            last.full
                && last
                    .content
                    .starts_with(b"outlive: 3870 bytes of stdout in 990 lines")
        );
    });
}

/// Lines on both streams until the file `stop` is there; half of those on stderr come in two pieces.
const LOAD: &str = r#"
(n=0; while [ ! -e stop ]; do n=$((n+1)); echo "$n"; done; printf "end $n") &
n=0; while [ ! -e stop ]; do n=$((n+1)); printf "$n"; echo " whole" ; done >&2
wait
"#;

#[test]
fn a_hundred_renames_under_load_lose_nothing_and_leave_the_old_files_alone() {
    for kind in KINDS {
        in_shim(&format!("reopen-{kind}"), |bundle| async move {
            let uri = uri_of(&bundle, kind, "out.log");
            let log = bundle.at("out.log");
            // Two streams in one plain file would not be told apart.
            let err = match kind {
                "cri" => uri.clone(),
                _ => uri_of(&bundle, kind, "err.log"),
            };
            let (stdio, child) = open(&bundle, &uri, &err).await;
            let process = bundle.sh(LOAD, child);
            let mut old: Vec<(PathBuf, u64)> = Vec::new();
            for number in 0..100 {
                let moved = stdio.counters().stdout.moved;
                until("more is written", || {
                    let now = stdio.counters().stdout.moved;
                    (now > moved)
                        .then_some(())
                        .ok_or_else(|| format!("{now} bytes"))
                })
                .await;
                let renamed = bundle.at(&format!("old-{number:03}"));
                fs::rename(&log, &renamed).unwrap();
                stdio.reopen_logs().unwrap();
                let length = fs::metadata(&renamed).unwrap().len();
                old.push((renamed, length));
                assert!(log.exists());
            }
            File::create(bundle.at("stop")).unwrap();
            process.exit.await.unwrap();
            finished(stdio).await;
            for (path, length) in &old {
                assert_eq!(fs::metadata(path).unwrap().len(), *length, "{path:?}");
            }
            let files: Vec<_> = old.into_iter().map(|(path, _)| path).chain([log]).collect();
            let (out, err) = match kind {
                "cri" => {
                    let all: Vec<Record> = files.iter().flat_map(|path| records(path)).collect();
                    let partial = all.iter().filter(|record| !record.full).count();
                    assert!(partial <= 2 * 101, "{partial} partial records");
                    (stream(&all, "stdout"), stream(&all, "stderr"))
                }
                _ => {
                    let out = files.iter().map(|path| read(path)).collect();
                    (out, read(&bundle.at("err.log")))
                }
            };
            let (lines, end) = out.rsplit_once("end ").unwrap();
            assert!(
                lines
                    .lines()
                    .eq((1..=end.parse().unwrap()).map(|n: u64| n.to_string()))
            );
            let count = err.lines().count() as u64;
            assert!(
                err.lines().eq((1..=count).map(|n| format!("{n} whole"))),
                "stderr"
            );
        });
    }
}

#[test]
fn a_reopening_that_fails_makes_no_file_and_changes_nothing() {
    in_shim("reopen-fails", |bundle| async move {
        fs::create_dir(bundle.at("d")).unwrap();
        let (out, err) = (
            uri_of(&bundle, "cri", "d/out"),
            uri_of(&bundle, "cri", "d/err"),
        );
        let go = bundle.fifo("go");
        let (stdio, child) = open(&bundle, &out, &err).await;
        let process = bundle.sh(
            "printf half; echo err >&2; read word <go; echo ' line'",
            child,
        );
        until("both are there", || {
            let counters = stdio.counters();
            let there = counters.stderr.moved == 4;
            there.then_some(()).ok_or_else(|| format!("{counters:?}"))
        })
        .await;
        // The first can be made anew, the second cannot.
        fs::rename(bundle.at("d/out"), bundle.at("out-old")).unwrap();
        fs::rename(bundle.at("d/err"), bundle.at("err-old")).unwrap();
        fs::create_dir(bundle.at("d/err")).unwrap();
        let error = stdio.reopen_logs().unwrap_err();
        assert!(error.to_string().contains("d/err: open"), "{error}");
        assert!(!bundle.at("d/out").exists());
        fs::write(&go, "go\n").unwrap();
        process.exit.await.unwrap();
        finished(stdio).await;
        assert_eq!(
            stream(&records(&bundle.at("out-old")), "stdout"),
            "half line\n"
        );
        assert_eq!(records(&bundle.at("out-old")).len(), 1);
    });
}

#[test]
fn lines_become_the_records_that_containerd_makes_of_them() {
    in_shim("records", |bundle| async move {
        let uri = uri_of(&bundle, "cri", "log");
        let script = r"
            printf 'plain\n\n'; printf 'crlf\r\n\r\n'; printf 'a\rb\r\r\n'; printf 'nul\0nul\n'
            head -c 16384 /dev/zero | tr '\0' a; echo
            head -c 16385 /dev/zero | tr '\0' b; echo
            head -c 32768 /dev/zero | tr '\0' c; printf '\r\n'
            printf tail; printf '\r'
        ";
        let counters = run(&bundle, &uri, "", script).await;
        let long = |letter: &str, count| letter.repeat(count);
        let full = |text: &str| (true, text.to_owned());
        let part = |text: &str| (false, text.to_owned());
        let expected = vec![
            full("plain"),
            full(""),
            full("crlf"),
            full(""),
            full("a\rb\r"),
            full("nul\0nul"),
            full(&long("a", 16384)),
            part(&long("b", 16384)),
            full("b"),
            part(&long("c", 16384)),
            full(&long("c", 16384)),
            part("tail\r"),
        ];
        let found: Vec<_> = records(&bundle.at("log"))
            .into_iter()
            .map(|record| (record.full, String::from_utf8(record.content).unwrap()))
            .collect();
        assert_eq!(found, expected);
        assert_eq!(counters.stdout.dropped, 0);
        let written = 7 + 8 + 6 + 8 + 16385 + 16386 + 32770 + 5;
        assert_eq!(counters.stdout.moved, written);
    });
}

#[test]
fn a_torn_record_that_was_found_is_not_continued() {
    in_shim("torn", |bundle| async move {
        fs::write(
            bundle.at("log"),
            "2024-01-01T00:00:00.000000000Z stdout F to",
        )
        .unwrap();
        run(&bundle, &uri_of(&bundle, "cri", "log"), "", "echo next").await;
        let texts: Vec<_> = records(&bundle.at("log"))
            .into_iter()
            .map(|record| String::from_utf8(record.content).unwrap())
            .collect();
        assert_eq!(texts, ["to", "next"]);
    });
}

#[test]
fn a_log_is_rotated_by_renames_and_only_as_many_are_kept_as_asked_for() {
    for (kind, old) in [("file", "log."), ("cri", ".log.")] {
        in_shim(&format!("rotate-{kind}"), |bundle| async move {
            fs::create_dir(bundle.at("d")).unwrap();
            let uri = uri_of(&bundle, kind, "d/log") + "?max-size=100000&max-files=3";
            let counters = run(&bundle, &uri, &uri, "seq 1 100000; echo last >&2").await;
            assert_eq!(counters.stdout.dropped, 0);
            let mut names: Vec<_> = fs::read_dir(bundle.at("d"))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            let mut expected = vec!["log".to_owned()];
            expected.extend((1..=3).map(|number| format!("{old}{number}")));
            expected.sort();
            assert_eq!(names, expected);
            let files = [3, 2, 1]
                .map(|number| bundle.at(&format!("d/{old}{number}")))
                .into_iter()
                .chain([bundle.at("d/log")]);
            let mut all = String::new();
            for path in files {
                let length = fs::metadata(&path).unwrap().len();
                assert!(length <= 100_000, "{path:?} has {length} bytes");
                all += &text(kind, &path, "stdout");
            }
            let first: u64 = all.lines().next().unwrap().parse().unwrap();
            assert!(first > 1);
            let expected = (first..=100_000).map(|number| number.to_string());
            assert!(all.lines().filter(|line| *line != "last").eq(expected));
        });
    }
}

#[test]
fn rotation_and_two_streams_lose_nothing_while_all_files_are_kept() {
    in_shim("rotate-all", |bundle| async move {
        let uri = uri_of(&bundle, "cri", "log") + "?max-size=50000&max-files=1000&max-line=7";
        run(&bundle, &uri, &uri, "seq 1 20000 & seq 1 20000 >&2; wait").await;
        let mut old: Vec<u32> = fs::read_dir(&bundle.path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter_map(|name| name.strip_prefix(".log.")?.parse().ok())
            .collect();
        old.sort_unstable_by(|one, other| other.cmp(one));
        assert!(old.len() > 10, "{old:?}");
        let paths = old
            .into_iter()
            .map(|number| bundle.at(&format!(".log.{number}")));
        let all: Vec<_> = paths
            .chain([bundle.at("log")])
            .flat_map(|path| records(&path))
            .collect();
        for name in ["stdout", "stderr"] {
            let lines = (1..=20_000).map(|number: u64| number.to_string());
            assert!(stream(&all, name).lines().eq(lines), "{name}");
        }
    });
}

/// A logger that takes one line at a time, so that its death costs one line at most.
const LINE_LOGGER: &str = "#!/bin/sh\nexec 5>&-\necho $$ >> PIDS\nwhile read -r line <&3; do echo \"$line\" >> LOG; done\n";

#[test]
fn a_killed_logger_is_started_again_on_the_same_pipe() {
    in_shim("killed-logger", |bundle| async move {
        const LINES: u64 = 40_000;
        let (log, pids) = (bundle.at("log"), bundle.at("pids"));
        let script = LINE_LOGGER
            .replace("PIDS", pids.to_str().unwrap())
            .replace("LOG", log.to_str().unwrap());
        let logger = bundle.program("logger", &script);
        let uri = format!("binary://{logger}");
        let (stdio, child) = open(&bundle, &uri, "").await;
        let process = bundle.sh(&format!("seq -f 'line %06.0f end' 1 {LINES}"), child);
        let lines = || fs::read_to_string(&log).map_or(0, |text| text.lines().count() as u64);
        for killed in 0..4_u64 {
            let more = lines() + 2000;
            until("the logger logs", || {
                let now = lines();
                (now >= more)
                    .then_some(())
                    .ok_or_else(|| format!("{now} lines"))
            })
            .await;
            let pid: i32 = read(&pids).lines().last().unwrap().parse().unwrap();
            nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid),
                nix::sys::signal::Signal::SIGKILL,
            )
            .unwrap();
            until("another one runs", || {
                let now = stdio.counters().logger_restarts;
                (now == killed + 1)
                    .then_some(())
                    .ok_or_else(|| format!("{now} restarts"))
            })
            .await;
        }
        process.exit.await.unwrap();
        assert_eq!(
            stdio.drained(DRAIN_CAP, || false).await,
            Drained::Everything
        );
        until("the logger has all of it", || {
            let log = read(&log);
            let last = log.lines().last().unwrap_or_default();
            (last == format!("line {LINES:06} end"))
                .then_some(())
                .ok_or_else(|| last.to_owned())
        })
        .await;
        assert_eq!(stdio.counters().stdout.dropped, 0);
        stdio.close().await.ended().await;
        let numbers: Vec<u64> = read(&log)
            .lines()
            .filter_map(|line| line.strip_prefix("line ")?.strip_suffix(" end"))
            .map(|number| number.parse().unwrap())
            .collect();
        assert!(numbers.is_sorted_by(|one, other| one < other));
        let missing = LINES - numbers.len() as u64;
        // A kill can hit between two bytes of the line being read, and then costs that line and cuts its neighbour.
        assert!(missing <= 2 * 4, "{missing} lines are missing");
    });
}

#[test]
fn a_logger_that_died_before_the_end_is_started_once_more_for_what_is_left() {
    in_shim("last-chance", |bundle| async move {
        let log = bundle.at("log");
        // The first one dies at once; the second one has a pause to die in; the third one reads.
        let script = format!(
            "#!/bin/sh\nexec 5>&-\necho >> {0}.runs\n[ $(wc -l < {0}.runs) -lt 3 ] && exit 1\nexec cat <&3 > {0}\n",
            log.display()
        );
        let uri = format!("binary://{}", bundle.program("logger", &script));
        let (stdio, child) = open(&bundle, &uri, "").await;
        let process = bundle.sh("echo the last words", child);
        process.exit.await.unwrap();
        until("it has died twice", || {
            let runs = fs::read_to_string(bundle.at("log.runs")).unwrap_or_default();
            (runs.len() >= 2).then_some(()).ok_or(runs)
        })
        .await;
        finished(stdio).await;
        assert_eq!(read(&log), "the last words\n");
    });
}

/// Takes the first three fields off each line.
fn contents_equal(log: &Path, data: &Path) -> bool {
    let script = r#"LC_ALL=C cut -d' ' -f4- -- "$1" | cmp - "$2""#;
    let status = Command::new("sh")
        .args(["-c", script, "sh"])
        .args([log, data])
        .status();
    status.unwrap().success()
}

#[test]
fn a_quarter_of_a_gigabyte_arrives_byte_for_byte() {
    for kind in KINDS {
        in_shim(&format!("volume-{kind}"), |bundle| async move {
            let (log, data) = (bundle.at("log"), bundle.at("data"));
            // 100 bytes a line with the newline.
            let line = format!(
                "printf '%099d\\n' 0 | yes \"$(cat)\" | head -c {} > data",
                256 << 20
            );
            let made = Command::new("sh")
                .args(["-c", &line])
                .current_dir(&bundle.path)
                .status();
            assert!(made.unwrap().success());
            // Whole lines, so that the last record is not P.
            let length = (256 << 20) / 100 * 100;
            File::options()
                .write(true)
                .open(&data)
                .unwrap()
                .set_len(length)
                .unwrap();
            let begun = Instant::now();
            let counters = run(&bundle, &uri_of(&bundle, kind, "log"), "", "exec cat data").await;
            let took = begun.elapsed();
            let rate =
                Duration::from_secs(1).as_secs_f64() * length as f64 / took.as_secs_f64() / 1e6;
            eprintln!("{kind}: {rate:.0} MB/s in 100-byte lines");
            assert_eq!(
                (counters.stdout.moved, counters.stdout.dropped),
                (length, 0)
            );
            match kind {
                "cri" => assert!(contents_equal(&log, &data)),
                _ => {
                    let same = Command::new("cmp").args([&log, &data]).status();
                    assert!(same.unwrap().success());
                }
            }
        });
    }
}
