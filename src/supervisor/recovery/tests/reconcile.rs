//! What a doubt leaves on disk, and what a later answer starts from.

use super::*;
use crate::bundle::Read;
use crate::supervisor::store::{Activity, ExitCause, Files, Recovery, Saved};
use crate::sys::file::scratch::Scratch;
use crate::types::{ContainerId, ExitStatus, Pid, ProcessIdentity};

fn at(nanos: u64) -> Timestamp {
    Timestamp::from_unix_nanos(nanos)
}

fn container(scratch: &Scratch, status: ContainerStatus) -> Loaded {
    let checkpoint = Checkpoint {
        status: status.clone(),
        resources: Default::default(),
    };
    checkpoint
        .write(&scratch.path().join("status.json"))
        .unwrap();
    let container = Container::new(
        ContainerId::new("a").unwrap(),
        Files {
            dir: scratch.path().to_owned(),
            end: scratch.path().join("end"),
        },
        None,
        (checkpoint, Saved::Yes),
        None,
        Recovery::Pending,
    );
    Loaded {
        container,
        seen: Seen::Known(status),
    }
}

fn on_disk(scratch: &Scratch) -> ContainerStatus {
    match Checkpoint::read(&scratch.path().join("status.json")) {
        Read::Found(checkpoint) => checkpoint.status,
        other => panic!("{other:?}"),
    }
}

fn doubt() -> ContainerStatus {
    ContainerStatus::Unknown {
        created_at: Some(at(1)),
        started_at: Some(at(2)),
        process: None,
        reason: "slow".to_owned(),
    }
}

fn end(finished: u64) -> Ended {
    Ended {
        exit: ExitStatus::from_code(9),
        at: at(finished),
        started_at: None,
        cause: ExitCause::Exited,
    }
}

fn block_on(work: impl Future) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(work);
}

#[test]
fn a_doubt_is_shown_and_the_disk_keeps_what_it_has() {
    let scratch = Scratch::new();
    let running = ContainerStatus::Running {
        created_at: at(1),
        started_at: at(2),
        process: ProcessIdentity {
            pid: Pid::new(7).unwrap(),
            start_ticks: 1,
            boot_id: 1,
        },
        activity: Activity::Running,
    };
    let loaded = container(&scratch, running.clone());
    block_on(async {
        loaded.container.doubt(doubt()).await;
        assert_eq!(loaded.container.status(), doubt());
        assert_eq!(on_disk(&scratch), running);
        assert_eq!(
            loaded.now(),
            Seen::Known(running),
            "a later answer starts from the disk"
        );
        loaded
            .container
            .observe(|before| end(5).apply(before))
            .await;
        assert_eq!(on_disk(&scratch), loaded.container.status());
        let now = loaded.now();
        assert!(
            matches!(&now, Seen::Known(ContainerStatus::Exited { finished_at, .. }) if *finished_at == at(5)),
            "{now:?}"
        );
    });
}

#[test]
fn an_end_that_was_in_doubt_is_the_same_end_afterwards() {
    let scratch = Scratch::new();
    let exited = ContainerStatus::Exited {
        created_at: at(1),
        started_at: None,
        finished_at: at(3),
        exit: ExitStatus::START_ERROR,
        cause: ExitCause::StartError("no program".to_owned()),
    };
    let loaded = container(&scratch, exited.clone());
    block_on(async {
        loaded.container.doubt(doubt()).await;
        loaded
            .container
            .observe(|before| end(5).apply(before))
            .await;
        assert_eq!(loaded.container.status(), exited);
        assert_eq!(on_disk(&scratch), exited);
    });
}
