//! Further processes, run to their ends.

use std::time::{Duration, Instant};

use outlive::supervisor::shim_client::{ExecOutput, ShimClient, ShimError};
use outlive::types::ExecId;
use tonic::Code;

use crate::lab::{BOTH, Lab, block_on_with_events, eventually, process};

const MOST: usize = 16 << 20;

async fn exec(
    client: &ShimClient,
    id: &str,
    script: &str,
    timeout: Option<Duration>,
) -> Result<ExecOutput, ShimError> {
    let process = process(script).to_string().into_bytes();
    let id = ExecId::new(id).unwrap();
    client.exec_sync(&id, process, timeout, MOST).await
}

#[test]
fn an_exec_gives_its_output_and_its_exit_code() {
    for shim in BOTH {
        let lab = Lab::new(shim);
        block_on_with_events(&lab, async {
            let (c, client) = lab.running("c1", "exec sleep 1000").await;
            let begun = Instant::now();
            let output = exec(&client, "e1", "echo out; echo err >&2; exit 3", None)
                .await
                .unwrap();
            assert_eq!(output.stdout, b"out\n");
            assert_eq!(output.stderr, b"err\n");
            assert_eq!(output.exit.status.get(), 3);
            // No limit for quiet output was waited for.
            assert!(
                begun.elapsed() < Duration::from_secs(5),
                "{shim:?}: {:?}",
                begun.elapsed()
            );
            // The id is free again.
            let output = exec(&client, "e1", "true", None).await.unwrap();
            assert_eq!((output.stdout.len(), output.exit.status.get()), (0, 0));
            lab.end(&c, &client).await;
        });
    }
}

#[test]
fn execs_run_beside_each_other() {
    for shim in BOTH {
        let lab = Lab::new(shim);
        block_on_with_events(&lab, async {
            let (c, client) = lab.running("c1", "exec sleep 1000").await;
            let execs: Vec<_> = (0..10)
                .map(|number| {
                    let client = client.clone();
                    tokio::spawn(async move {
                        let id = format!("e{number}");
                        exec(&client, &id, &format!("echo {number}; exit {number}"), None).await
                    })
                })
                .collect();
            for (number, exec) in (0..10).zip(execs) {
                let output = exec.await.unwrap().unwrap();
                assert_eq!(output.stdout, format!("{number}\n").into_bytes());
                assert_eq!(output.exit.status.get(), number);
            }
            lab.end(&c, &client).await;
        });
    }
}

#[test]
fn a_large_output_is_whole_and_an_endless_one_is_cut() {
    for shim in BOTH {
        let lab = Lab::new(shim);
        block_on_with_events(&lab, async {
            let (c, client) = lab.running("c1", "exec sleep 1000").await;
            let script = "yes 0123456789abcde | head -c 1048576";
            let output = exec(&client, "e1", script, None).await.unwrap();
            assert_eq!(output.stdout.len(), 1 << 20, "{shim:?}");
            assert!(
                output
                    .stdout
                    .chunks(16)
                    .all(|line| line == b"0123456789abcde\n")
            );
            let process = process("yes | head -c 10000000; exit 4")
                .to_string()
                .into_bytes();
            let id = ExecId::new("e2").unwrap();
            let output = client.exec_sync(&id, process, None, 1000).await.unwrap();
            assert_eq!((output.stdout.len(), output.exit.status.get()), (1000, 4));
            lab.end(&c, &client).await;
        });
    }
}

#[test]
fn an_exec_that_takes_too_long_is_killed() {
    for shim in BOTH {
        let lab = Lab::new(shim);
        block_on_with_events(&lab, async {
            let (c, client) = lab.running("c1", "exec sleep 1000").await;
            let begun = Instant::now();
            let limit = Some(Duration::from_millis(300));
            let error = exec(&client, "e1", "echo begun; exec sleep 1000", limit)
                .await
                .unwrap_err();
            assert!(
                matches!(error, ShimError::Timeout { .. }),
                "{shim:?}: {error}"
            );
            assert_eq!(error.code(), Code::DeadlineExceeded);
            assert!(
                begun.elapsed() < Duration::from_secs(10),
                "{:?}",
                begun.elapsed()
            );
            let output = exec(&client, "e1", "pidof sleep | wc -w", None)
                .await
                .unwrap();
            assert_eq!(output.stdout, b"1\n", "{shim:?}: the exec was not killed");
            lab.end(&c, &client).await;
        });
    }
}

#[test]
fn a_grandchild_that_keeps_the_output_open_holds_up_nobody_for_long() {
    for shim in BOTH {
        let lab = Lab::new(shim);
        block_on_with_events(&lab, async {
            let (c, client) = lab.running("c1", "exec sleep 1000").await;
            let begun = Instant::now();
            let output = exec(&client, "e1", "echo out; sleep 1000 & exit 5", None)
                .await
                .unwrap();
            assert_eq!(
                (output.stdout.as_slice(), output.exit.status.get()),
                (&b"out\n"[..], 5)
            );
            assert!(
                begun.elapsed() < Duration::from_secs(5),
                "{shim:?}: {:?}",
                begun.elapsed()
            );
            lab.end(&c, &client).await;
        });
    }
}

#[test]
fn an_exec_that_cannot_be_started_is_refused_and_leaves_nothing() {
    for shim in BOTH {
        let lab = Lab::new(shim);
        block_on_with_events(&lab, async {
            let (c, client) = lab.running("c1", "exec sleep 1000").await;
            let mut process = process("true");
            process["args"] = serde_json::json!(["/no/such/program"]);
            let id = ExecId::new("e1").unwrap();
            let run = client.exec_sync(&id, process.to_string().into_bytes(), None, MOST);
            let error = run.await.unwrap_err();
            assert!(
                matches!(error, ShimError::Refused { .. }),
                "{shim:?}: {error}"
            );
            assert!(
                error.to_string().contains("/no/such/program"),
                "{shim:?}: {error}"
            );
            let output = exec(&client, "e1", "echo free", None).await.unwrap();
            assert_eq!(output.stdout, b"free\n");
            lab.end(&c, &client).await;
        });
    }
}

#[test]
fn an_exec_that_nobody_waits_for_any_more_is_killed_and_deleted() {
    for shim in BOTH {
        let lab = Lab::new(shim);
        block_on_with_events(&lab, async {
            let (c, client) = lab.running("c1", "exec sleep 1000").await;
            let waiting = client.clone();
            let waiting = tokio::spawn(async move {
                exec(
                    &waiting,
                    "e1",
                    "echo begun > /tmp/begun; exec sleep 1000",
                    None,
                )
                .await
            });
            let begun = lab.dir.join("rootfs/tmp/begun");
            eventually("the exec runs", || {
                begun
                    .exists()
                    .then_some(())
                    .ok_or_else(|| "no file".to_owned())
            })
            .await;
            waiting.abort();
            let fifos = c.bundle.exec_fifos(&ExecId::new("e1").unwrap());
            eventually("its files are gone", || {
                (!fifos.exists())
                    .then_some(())
                    .ok_or_else(|| "there".to_owned())
            })
            .await;
            let output = exec(&client, "e1", "pidof sleep | wc -w", None)
                .await
                .unwrap();
            assert_eq!(output.stdout, b"1\n", "{shim:?}: the exec was not killed");
            lab.end(&c, &client).await;
        });
    }
}
