//! CRI logs: by our shim, and by the supervisor for a shim that writes none.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use outlive::supervisor::shim_client::{KillScope, ShimClient};
use outlive::types::Signal;

use crate::lab::{BOTH, Lab, Shim, block_on, block_on_with_events, eventually};

/// The records of a CRI log: stream, tag, content.
fn records(path: &Path) -> Vec<(String, String, String)> {
    let log = fs::read_to_string(path).unwrap_or_default();
    assert!(
        log.is_empty() || log.ends_with('\n'),
        "a torn record: {log}"
    );
    log.lines()
        .map(|line| {
            let mut fields = line.splitn(4, ' ').map(str::to_owned);
            let time = fields.next().unwrap();
            assert!(time.len() == 30 && time.ends_with('Z'), "{line:?}");
            let mut field = || fields.next().unwrap_or_else(|| panic!("{line:?}"));
            (field(), field(), field())
        })
        .collect()
}

fn contents(path: &Path) -> Vec<String> {
    records(path)
        .into_iter()
        .map(|(_, _, content)| content)
        .collect()
}

async fn contains(path: &Path, wanted: &str) {
    eventually(wanted, || {
        let log = contents(path);
        log.iter()
            .any(|line| line == wanted)
            .then_some(())
            .ok_or_else(|| format!("{log:?}"))
    })
    .await;
}

#[test]
fn both_streams_are_in_the_log_and_it_is_whole_when_the_task_is_deleted() {
    for shim in BOTH {
        let lab = Lab::new(shim);
        block_on_with_events(&lab, async {
            let script = "echo out; echo err >&2; seq 1 5000; printf half";
            let (c, client) = lab.running("c1", script).await;
            client.wait().await.unwrap();
            client.delete().await.unwrap();
            let records = records(&lab.log_of("c1"));
            let of = |stream: &str, tag: &str| -> Vec<String> {
                let of = records.iter().filter(|(a, b, _)| a == stream && b == tag);
                of.map(|(_, _, content)| content.clone()).collect()
            };
            assert_eq!(of("stderr", "F"), ["err"], "{shim:?}");
            assert_eq!(of("stdout", "P"), ["half"], "{shim:?}");
            let lines = of("stdout", "F");
            assert_eq!(
                (lines.len(), &*lines[0], &*lines[5000]),
                (5001, "out", "5000")
            );
            lab.end_shim(&c, &client).await;
        });
    }
}

#[test]
fn a_log_that_was_renamed_is_reopened() {
    for shim in BOTH {
        let lab = Lab::new(shim);
        block_on_with_events(&lab, async {
            let script =
                "echo one; while ! [ -e /tmp/go ]; do sleep 0.01; done; echo two; exec sleep 1000";
            let (c, client) = lab.running("c1", script).await;
            let (log, old) = (lab.log_of("c1"), lab.dir.join("old.log"));
            contains(&log, "one").await;
            fs::rename(&log, &old).unwrap();
            client.reopen_logs().await.unwrap();
            fs::write(lab.dir.join("rootfs/tmp/go"), "").unwrap();
            contains(&log, "two").await;
            assert_eq!(contents(&old), ["one"], "{shim:?}");
            lab.end(&c, &client).await;
            assert_eq!(contents(&log), ["two"], "{shim:?}");
        });
    }
}

/// The supervisor that is killed below: this test program, run once more with the directory of the lab and the shim.
#[test]
#[ignore = "run by the test below as a process of its own"]
fn supervisor() {
    let Ok(dir) = std::env::var("SHIM_CLIENT_LAB") else {
        return;
    };
    let go = std::env::var("SHIM_CLIENT_SHIM").is_ok_and(|shim| shim == "Go");
    let lab = Lab::at(Path::new(&dir), if go { Shim::Go } else { Shim::Ours });
    block_on(async {
        let script =
            "i=0; while :; do i=$((i+1)); echo line $i; echo $i >/tmp/count; sleep 0.002; done";
        let (_, client) = lab.running("c1", script).await;
        client.wait().await.unwrap();
    });
}

#[test]
fn a_log_goes_on_after_the_supervisor_was_killed() {
    for shim in BOTH {
        let lab = Lab::new(shim);
        block_on_with_events(&lab, async {
            let mut supervisor = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "logs::supervisor", "--ignored", "--nocapture"])
                .env("SHIM_CLIENT_LAB", &lab.dir)
                .env("SHIM_CLIENT_SHIM", format!("{shim:?}"))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let log = lab.log_of("c1");
            contains(&log, "line 50").await;
            supervisor.kill().unwrap();
            supervisor.wait().unwrap();
            let c = lab.found("c1");
            let counted = || {
                let count = fs::read_to_string(lab.dir.join("rootfs/tmp/count"));
                count
                    .ok()
                    .and_then(|count| count.trim().parse::<usize>().ok())
            };
            let before = eventually("count", || counted().ok_or_else(|| "torn".to_owned())).await;
            eventually("it goes on alone", || {
                let now = counted();
                now.filter(|now| *now > before + 100)
                    .ok_or_else(|| format!("{now:?}"))
            })
            .await;
            let client = ShimClient::connect(&c.id, &c.bundle).await.unwrap();
            let seen = contents(&log).len();
            contains(&log, &format!("line {}", seen + 200)).await;
            let old = lab.dir.join("old.log");
            fs::rename(&log, &old).unwrap();
            client.reopen_logs().await.unwrap();
            let last = contents(&old).len();
            contains(&log, &format!("line {}", last + 50)).await;
            client.kill(Signal::KILL, KillScope::All).await.unwrap();
            lab.end(&c, &client).await;
            let all = [contents(&old), contents(&log)].concat();
            for (number, line) in (1..).zip(&all) {
                assert_eq!(*line, format!("line {number}"), "{shim:?}");
            }
        });
    }
}
