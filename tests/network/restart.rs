//! Pods after a restart, and those whose making was cut off.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use outlive::api::cri;
use outlive::supervisor::network::{self, Plugins};
use outlive::supervisor::pod::namespaces::Plan;
use outlive::supervisor::pod::sandbox::recover::Verdict;
use outlive::supervisor::pod::{sandbox, sandbox_init};
use outlive::supervisor::store::{PodCheckpoint, PodMeta, PodState, new_id};
use outlive::sys::namespace::Kind;
use outlive::types::{ContainerId, Timestamp};

use crate::place::*;

#[test]
fn a_delete_that_fails_keeps_the_pod_until_it_works() {
    on_a_host_of_its_own(|place| async move {
        place.plugin(
            "keeps",
            r#"[ "$CNI_COMMAND" = ADD ] && exec cat "${0%/*}/../answer"; echo no >&2; exit 3"#,
        );
        fs::write(
            place.dir.join("answer"),
            r#"{"cniVersion":"1.0.0","ips":[{"address":"10.97.0.9/24"}]}"#,
        )
        .unwrap();
        fs::write(
            place.dir.join("net.d/10.conf"),
            r#"{"cniVersion":"1.0.0","name":"testnet","type":"keeps"}"#,
        )
        .unwrap();
        let pod = place
            .run(config("kept", cri::NamespaceMode::Pod))
            .await
            .unwrap();
        assert_eq!(pod.addresses(), ["10.97.0.9"]);
        let error = sandbox::stop(&place.supervisor, &pod).await.unwrap_err();
        assert!(error.to_string().contains("exit status: 3: no"), "{error}");
        assert!(place.pin(&pod, Kind::Net).exists());
        assert!(sandbox::remove(&place.supervisor, &pod).await.is_err());
        assert_eq!(place.supervisor.store.pods().len(), 1);
        // A restart now would find the network half gone, and not call it ready.
        let again = reload(&place, pod.id());
        let verdict = sandbox::restore(&again.0, &again.1).await;
        assert!(matches!(verdict, Verdict::NotReady(_)), "{verdict:?}");
        place.plugin("keeps", "exit 0");
        sandbox::remove(&place.supervisor, &pod).await.unwrap();
        place.assert_nothing_left();
    });
}

#[test]
fn after_a_restart_a_whole_pod_is_ready_and_one_that_lost_something_is_not() {
    on_a_host_of_its_own(|place| async move {
        place.configure("");
        let mut wanted = config("whole", cri::NamespaceMode::Pod);
        options(&mut wanted).pid = cri::NamespaceMode::Pod.into();
        let pod = place.run(wanted).await.unwrap();
        let written = fs::metadata(pod.dir().join("status.json")).unwrap().ino();
        for _ in 0..2 {
            let (supervisor, again) = reload(&place, pod.id());
            let verdict = sandbox::restore(&supervisor, &again).await;
            assert_eq!(verdict, Verdict::Ready(pod.addresses()));
            assert_eq!(again.addresses(), pod.addresses());
            assert!(again.is_ready());
        }
        let unchanged = fs::metadata(pod.dir().join("status.json")).unwrap().ino();
        assert_eq!(
            written, unchanged,
            "nothing has changed, nothing is written"
        );

        let shm = place.state_of(pod.id()).join("shm");
        run("umount", &[shm.to_str().unwrap()]);
        let (supervisor, again) = reload(&place, pod.id());
        let verdict = sandbox::restore(&supervisor, &again).await;
        assert_eq!(verdict, Verdict::NotReady("shm is not mounted".into()));
        let (supervisor, again) = reload(&place, pod.id());
        assert_eq!(again.checkpoint().state, PodState::NotReady);
        // The first supervisor is dead, and does not see the init's end.
        place.supervisor.store.remove_pod(pod.id());
        drop(pod);
        sandbox::remove(&supervisor, &again).await.unwrap();
        place.assert_nothing_left();
    });
}

/// A pod of which only the first `steps` of RunPodSandbox were done.
async fn half_made(place: &Place, steps: usize) -> ContainerId {
    let layout = place.supervisor.store.layout();
    let mut wanted = config(&format!("half-{steps}"), cri::NamespaceMode::Pod);
    options(&mut wanted).pid = cri::NamespaceMode::Pod.into();
    let id = new_id().unwrap();
    let dir = layout.pod(&id);
    fs::create_dir_all(&dir).unwrap();
    let meta = PodMeta {
        id: id.clone(),
        config: wanted.clone(),
        runtime: String::new(),
        created_at: Timestamp::now(),
    };
    meta.write(&dir.join("pod.json")).unwrap();
    let mut checkpoint = PodCheckpoint {
        state: PodState::Creating,
        init: None,
    };
    checkpoint.write(&dir.join("status.json")).unwrap();
    let state = layout.pod_state(&id);
    if steps > 0 {
        Plan::of(&wanted).unwrap().make(&state).unwrap();
    }
    if steps > 1 {
        let waiting = sandbox_init::start(&[(Kind::Net, state.join("net"))]).unwrap();
        checkpoint.init = Some(waiting.identity());
        checkpoint.write(&dir.join("status.json")).unwrap();
        waiting.release(&state.join("pid")).unwrap();
    }
    if steps > 2 {
        let plugins = Plugins::from(&place.supervisor.config);
        let (netns, record) = (state.join("net"), dir.join("network.json"));
        let attached = network::attach(&plugins, &id, &wanted, &netns, &record);
        attached.await.unwrap();
        if steps == 4 {
            // As after a crash between ADD and its answer.
            let text = fs::read_to_string(&record).unwrap();
            let mut record_json: serde_json::Value = serde_json::from_str(&text).unwrap();
            record_json["phase"] = "Adding".into();
            for network in record_json["networks"].as_array_mut().unwrap() {
                network["result"] = serde_json::Value::Null;
            }
            fs::write(&record, record_json.to_string()).unwrap();
        }
    }
    id
}

#[test]
fn a_crash_after_any_step_of_run_is_undone() {
    on_a_host_of_its_own(|place| async move {
        place.configure("");
        for steps in 0..=4 {
            let id = half_made(&place, steps).await;
            let (supervisor, pod) = reload(&place, &id);
            let init = pod.checkpoint().init;
            assert_eq!(
                sandbox::restore(&supervisor, &pod).await,
                Verdict::Undo,
                "{steps} steps"
            );
            sandbox::undo_or_keep(&supervisor, &pod).await;
            assert!(supervisor.store.pods().is_empty());
            assert!(init.is_none_or(|init| !is_alive(init)), "{steps} steps");
            place.assert_nothing_left();
            sandbox::undo(&supervisor, &id).await.unwrap();
        }
    });
}
