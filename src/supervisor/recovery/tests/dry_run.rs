//! What is printed over directories that no shim serves.

use super::*;
use crate::supervisor::store::{Activity, Checkpoint};
use crate::sys::file::scratch::Scratch;
use crate::types::{ContainerId, Pid, ProcessIdentity};

fn printed(scratch: &Scratch, format: Format) -> String {
    let layout = layout(scratch);
    let mut out = Vec::new();
    run(&layout, format, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn layout(scratch: &Scratch) -> Layout {
    Layout::new(scratch.path().join("root"), scratch.path().join("state"))
}

fn files(scratch: &Scratch) -> Vec<String> {
    let output = std::process::Command::new("find")
        .arg(scratch.path())
        .args(["-printf", "%p %s %T@\n"])
        .output()
        .unwrap();
    let mut lines: Vec<String> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}

#[test]
fn it_says_what_would_be_done_and_changes_nothing() {
    let scratch = Scratch::new();
    let layout = layout(&scratch);
    let id = ContainerId::new(&"a".repeat(64)).unwrap();
    let checkpoint = Checkpoint {
        status: ContainerStatus::Running {
            created_at: Timestamp::from_unix_nanos(1),
            started_at: Timestamp::from_unix_nanos(2),
            process: ProcessIdentity {
                pid: Pid::new(7).unwrap(),
                start_ticks: 1,
                boot_id: 1,
            },
            activity: Activity::Running,
        },
        resources: Default::default(),
    };
    std::fs::create_dir_all(layout.container(&id)).unwrap();
    checkpoint
        .write(&layout.container(&id).join("status.json"))
        .unwrap();
    scratch.write("state/tasks/b/config.json", "{}");
    scratch.write("root/containers/.gone-c/x", "");
    let before = files(&scratch);
    let table = printed(&scratch, Format::Table);
    for part in [
        "aaaaaaaaaaaaa ",
        "lost",
        "no shim",
        "UNKNOWN",
        "container.json is missing",
        "/tasks/b (task",
        ".gone-c",
    ] {
        assert!(table.contains(part), "{part:?} is not in\n{table}");
    }
    let json: serde_json::Value = serde_json::from_str(&printed(&scratch, Format::Json)).unwrap();
    assert_eq!(json["containers"][0]["status"], "UNKNOWN");
    assert_eq!(
        json["containers"][0]["actions"][0],
        "remove what a shim left"
    );
    assert_eq!(json["orphans"].as_array().unwrap().len(), 2);
    assert_eq!(files(&scratch), before);
}
