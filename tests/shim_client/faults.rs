//! Shims that die, stand still, or are none.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal as Kernel;
use outlive::supervisor::shim_client::{KillScope, ShimClient, ShimError};
use outlive::types::{Signal, TaskStatus};

use crate::lab::{BOTH, DEADLINE, Lab, block_on, block_on_with_events, no_shim, send};
use crate::stopped;

#[test]
fn a_killed_shim_ends_every_call_and_its_action_cleans_up() {
    for shim in BOTH {
        let lab = Lab::new(shim);
        block_on_with_events(&lab, async {
            let (c, client) = lab.running("c1", "echo hello; exec sleep 1000").await;
            let waiting = client.clone();
            let waiting = tokio::spawn(async move { waiting.wait().await });
            // The Wait is on its way when this has answered.
            client.state(DEADLINE).await.unwrap();
            send(lab.shim_pid(&c), Kernel::SIGKILL);
            let waited = tokio::time::timeout(Duration::from_secs(2), waiting).await;
            let error = waited.expect("wait ends at once").unwrap().unwrap_err();
            assert!(matches!(error, ShimError::Gone { .. }), "{shim:?}: {error}");
            let error = client.kill(Signal::KILL, KillScope::All).await.unwrap_err();
            assert!(matches!(error, ShimError::Gone { .. }), "{shim:?}: {error}");
            no_shim(&c).await;
            lab.delete_action(&c).await;
        });
    }
}

#[test]
fn a_stopped_shim_is_slow_and_not_gone() {
    for shim in BOTH {
        let lab = Lab::new(shim);
        block_on_with_events(&lab, async {
            let (c, client) = lab.running("c1", "exec sleep 1000").await;
            let waiting = client.clone();
            let waiting = tokio::spawn(async move { waiting.wait().await });
            let pid = lab.shim_pid(&c);
            stopped::stop(nix::unistd::Pid::from_raw(pid.as_raw()));
            let limit = Duration::from_millis(100);
            let begun = Instant::now();
            let error = client.state(limit).await.unwrap_err();
            assert!(
                matches!(error, ShimError::Timeout { .. }),
                "{shim:?}: {error}"
            );
            assert!(
                begun.elapsed() < Duration::from_secs(2),
                "{:?}",
                begun.elapsed()
            );
            // More than the socket's buffer holds, each given up.
            for _ in 0..40 {
                let calls: Vec<_> = (0..20)
                    .map(|_| {
                        let client = client.clone();
                        tokio::spawn(async move { client.state(Duration::from_millis(20)).await })
                    })
                    .collect();
                for call in calls {
                    let error = call.await.unwrap().unwrap_err();
                    assert!(
                        matches!(error, ShimError::Timeout { .. }),
                        "{shim:?}: {error}"
                    );
                }
            }
            send(pid, Kernel::SIGCONT);
            let report = client.state(DEADLINE).await.unwrap();
            assert_eq!(report.status, TaskStatus::Running);
            assert!(!waiting.is_finished());
            client.kill(Signal::KILL, KillScope::Init).await.unwrap();
            assert_eq!(waiting.await.unwrap().unwrap().status.get(), 137);
            client.delete().await.unwrap();
            lab.end_shim(&c, &client).await;
        });
    }
}

#[test]
fn connecting_to_a_stopped_shim_with_a_full_backlog_times_out() {
    let lab = Lab::new(crate::lab::Shim::Ours);
    block_on(async {
        let c = lab.bundle("c1", "true");
        let path = lab.dir.join("full.sock");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(1).unwrap()).unwrap();
        outlive::bundle::endpoint::write(&c.bundle, &format!("unix://{}", path.display())).unwrap();
        let mut taken = Vec::new();
        let begun = Instant::now();
        let error = loop {
            match ShimClient::connect(&c.id, &c.bundle).await {
                Ok(client) => taken.push(client),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, ShimError::Timeout { .. }), "{error}");
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{:?}",
            begun.elapsed()
        );
        let error = taken[0].state(Duration::from_millis(50)).await.unwrap_err();
        assert!(matches!(error, ShimError::Timeout { .. }), "{error}");
        drop(listener);
        let error = ShimClient::connect(&c.id, &c.bundle).await.unwrap_err();
        assert!(matches!(error, ShimError::Gone { .. }), "{error}");
    });
}

#[test]
fn a_bundle_without_an_address_has_no_shim() {
    let lab = Lab::new(crate::lab::Shim::Ours);
    block_on(async {
        let c = lab.bundle("c1", "true");
        let error = ShimClient::connect(&c.id, &c.bundle).await.unwrap_err();
        assert!(matches!(error, ShimError::Gone { .. }), "{error}");
    });
}

/// What launching a script of a shim says.
fn launched(script: &str) -> (String, Duration) {
    let lab = Lab::with_script(script);
    block_on(async {
        let c = lab.bundle("c1", "true");
        let begun = Instant::now();
        let error = lab.launch(&c).await.unwrap_err();
        assert!(matches!(error, ShimError::Launch { .. }), "{error}");
        (error.to_string(), begun.elapsed())
    })
}

#[test]
fn a_shim_that_is_none_is_refused_with_what_it_printed() {
    let (error, _) = launched("#!/bin/sh\necho garbage; echo why >&2");
    assert!(
        error.contains("garbage") && error.contains("why"),
        "{error}"
    );
    let (error, _) = launched("#!/bin/sh\necho broken >&2; exit 9");
    assert!(error.contains("broken") && error.contains('9'), "{error}");
    let (error, _) = launched("#!/no/such/shell\n");
    assert!(error.contains("No such file"), "{error}");
    // More than is read.
    let (error, _) = launched("#!/bin/sh\nyes | head -c 1000000");
    assert!(error.len() < 4096, "{error}");
}

#[test]
fn a_shim_that_hangs_at_its_start_is_killed_with_its_children() {
    let (error, took) = launched("#!/bin/sh\necho waiting >&2; sleep 1000 & sleep 1000; exit $1");
    assert!(
        error.contains("no end within") && error.contains("waiting"),
        "{error}"
    );
    assert!(took < Duration::from_secs(15), "{took:?}");
}
