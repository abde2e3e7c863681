//! A task's whole life, with each shim.

use std::fs;
use std::time::Duration;

use outlive::supervisor::shim_client::{KillScope, ShimClient, ShimError};
use outlive::types::{Signal, TaskStatus, Timestamp};
use tonic::Code;

use crate::lab::{BOTH, Lab, Shim, block_on_with_events};

const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn a_task_is_created_started_and_deleted() {
    for shim in BOTH {
        let lab = Lab::new(shim);
        block_on_with_events(&lab, async {
            let (c, client) = lab.created("c1", "echo hello; exit 7").await;
            let address = fs::read_to_string(c.bundle.address()).unwrap();
            assert!(address.starts_with("unix:///"), "{shim:?}: {address}");
            let report = client.state(LIMIT).await.unwrap();
            assert_eq!(report.status, TaskStatus::Created, "{shim:?}");
            assert_eq!(client.started_at().await.unwrap(), None);
            let before = Timestamp::now();
            let pid = client.start().await.unwrap();
            assert_eq!(report.pid, Some(pid));
            let exit = client.wait().await.unwrap();
            assert_eq!((exit.pid, exit.status.get()), (pid, 7), "{shim:?}");
            assert!(exit.exited_at >= before, "{shim:?}: {exit:?} {before:?}");
            let report = client.state(LIMIT).await.unwrap();
            assert_eq!(report.status, TaskStatus::Stopped(exit), "{shim:?}");
            let started = client.started_at().await.unwrap();
            assert_eq!(started.is_some(), shim == Shim::Ours);
            assert!(started.is_none_or(|at| before <= at && at <= exit.exited_at));
            client.delete().await.unwrap();
            let log = fs::read_to_string(lab.log_of("c1")).unwrap();
            assert!(log.ends_with(" stdout F hello\n"), "{shim:?}: {log}");
            let gone = client.state(LIMIT).await.unwrap_err();
            assert_eq!(gone.code(), Code::NotFound, "{shim:?}: {gone}");
            lab.end_shim(&c, &client).await;
        });
    }
}

#[test]
fn a_second_connection_finds_the_task_and_its_exit() {
    for shim in BOTH {
        let lab = Lab::new(shim);
        block_on_with_events(&lab, async {
            let (c, first) = lab.running("c1", "exec sleep 1000").await;
            drop(first);
            let client = ShimClient::connect(&c.id, &c.bundle).await.unwrap();
            let waiting = client.clone();
            let waiting = tokio::spawn(async move { waiting.wait().await });
            let report = client.state(LIMIT).await.unwrap();
            assert_eq!(report.status, TaskStatus::Running, "{shim:?}");
            client.kill(Signal::KILL, KillScope::All).await.unwrap();
            let exit = waiting.await.unwrap().unwrap();
            assert_eq!((Some(exit.pid), exit.status.get()), (report.pid, 137));
            let again = client
                .kill(Signal::TERM, KillScope::Init)
                .await
                .unwrap_err();
            assert_eq!(again.code(), Code::NotFound, "{shim:?}: {again}");
            client.delete().await.unwrap();
            lab.end_shim(&c, &client).await;
        });
    }
}

#[test]
fn limits_are_changed() {
    for shim in BOTH {
        let lab = Lab::new(shim);
        block_on_with_events(&lab, async {
            let (c, client) = lab.running("c1", "exec sleep 1000").await;
            client
                .update(br#"{"pids":{"limit":77}}"#.to_vec())
                .await
                .unwrap();
            let error = client.update(b"no json".to_vec()).await.unwrap_err();
            assert!(
                matches!(error, ShimError::Refused { .. }),
                "{shim:?}: {error}"
            );
            lab.end(&c, &client).await;
        });
    }
}

#[test]
fn a_task_that_cannot_be_created_leaves_a_shim_that_can_be_ended() {
    for shim in BOTH {
        let lab = Lab::new(shim);
        block_on_with_events(&lab, async {
            let c = lab.bundle("c1", "true");
            fs::write(c.bundle.config(), "{}").unwrap();
            let client = lab.launch(&c).await.unwrap();
            let created = client
                .create(&lab.runtime, &lab.rootfs(), &Default::default())
                .await;
            assert!(
                matches!(created, Err(ShimError::Refused { .. })),
                "{created:?}"
            );
            lab.end_shim(&c, &client).await;
        });
    }
}
