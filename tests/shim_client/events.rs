//! What shims tell by themselves, with the endpoint there and away.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use outlive::supervisor::shim_client::events::{ShimEvent, serve};
use outlive::supervisor::shim_client::{KillScope, ShimClient};
use outlive::types::{Event, Signal};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::lab::{BOTH, DEADLINE, Lab, Shim, block_on};

async fn next(events: &mut mpsc::Receiver<ShimEvent>) -> ShimEvent {
    timeout(DEADLINE, events.recv())
        .await
        .expect("an event comes")
        .unwrap()
}

async fn exit_of(events: &mut mpsc::Receiver<ShimEvent>) -> outlive::types::ExitRecord {
    loop {
        let ShimEvent {
            namespace, event, ..
        } = next(events).await;
        assert_eq!(namespace, "outlive");
        if let Event::Exit {
            container,
            exec,
            exit,
        } = event
        {
            assert_eq!((container.as_str(), exec), ("c1", None));
            return exit;
        }
    }
}

#[test]
fn events_arrive_in_order() {
    for shim in BOTH {
        let lab = Lab::new(shim);
        block_on(async {
            // Room for one: the shim waits until it was taken.
            let (sink, mut events) = mpsc::channel(1);
            let endpoint = serve(&lab.home.events, sink).await.unwrap();
            let mode = std::fs::metadata(&lab.home.events)
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600);
            let (c, client) = lab.running("c1", "exit 7").await;
            let exit = client.wait().await.unwrap();
            let started = next(&mut events).await;
            assert!(
                matches!(started.event, Event::Start { pid, .. } if pid == exit.pid),
                "{started:?}"
            );
            assert_eq!(exit_of(&mut events).await, exit, "{shim:?}");
            client.delete().await.unwrap();
            lab.end_shim(&c, &client).await;
            endpoint.close().await;
        });
    }
}

#[test]
fn events_wait_for_an_endpoint_that_was_away() {
    // containerd's shim gives up after some tries.
    let lab = Lab::new(Shim::Ours);
    block_on(async {
        let (sink, events) = mpsc::channel(16);
        let endpoint = serve(&lab.home.events, sink).await.unwrap();
        let (c, client) = lab.running("c1", "exec sleep 1000").await;
        endpoint.close().await;
        drop(events);
        client.kill(Signal::KILL, KillScope::Init).await.unwrap();
        let exit = client.wait().await.unwrap();
        drop(client);
        // A socket that nobody listens on is left, as after a kill.
        assert!(lab.home.events.exists());
        let (sink, mut events) = mpsc::channel(16);
        let endpoint = serve(&lab.home.events, sink).await.unwrap();
        assert_eq!(exit_of(&mut events).await, exit);
        let client = ShimClient::connect(&c.id, &c.bundle).await.unwrap();
        client.delete().await.unwrap();
        lab.end_shim(&c, &client).await;
        endpoint.close().await;
    });
}

#[test]
fn two_endpoints_at_one_place_are_refused() {
    let lab = Lab::new(Shim::Ours);
    block_on(async {
        let (sink, _events) = mpsc::channel(1);
        let endpoint = serve(&lab.home.events, sink.clone()).await.unwrap();
        let error = serve(&lab.home.events, sink).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
        endpoint.close().await;
    });
}

#[test]
fn a_full_sink_holds_up_the_shim_and_loses_nothing() {
    let lab = Lab::new(Shim::Ours);
    block_on(async {
        let (sink, mut events) = mpsc::channel(1);
        let endpoint = serve(&lab.home.events, sink).await.unwrap();
        let (c, client) = lab.running("c1", "exec sleep 1000").await;
        // Start waits in the channel, the rest in the shim.
        assert!(
            timeout(
                Duration::from_millis(100),
                client.kill(Signal::KILL, KillScope::Init)
            )
            .await
            .is_ok()
        );
        let exit = client.wait().await.unwrap();
        assert_eq!(exit_of(&mut events).await, exit);
        client.delete().await.unwrap();
        lab.end_shim(&c, &client).await;
        endpoint.close().await;
    });
}
