//! Real crashes: this test program starts itself, with the name of the step after which it kills itself.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use outlive::api::cri;
use outlive::supervisor::context::Supervisor;
use outlive::supervisor::pod::sandbox::recover::Verdict;
use outlive::supervisor::pod::{sandbox, sandbox_init};
use outlive::supervisor::store::Pod;
use outlive::types::ContainerId;

use crate::place::*;

const DIR: &str = "OUTLIVE_TEST_DIR";
const CALL: &str = "OUTLIVE_TEST_CALL";

/// What the child does: it runs a pod, and then stops or removes it, until it dies.
#[test]
#[ignore = "the other tests here start it"]
fn child() {
    let _points = fail::FailScenario::setup();
    sandbox_init::set_program(env!("CARGO_BIN_EXE_outlive").into());
    let supervisor = Place::supervisor(Path::new(&std::env::var_os(DIR).unwrap()));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut wanted = config("crashing", cri::NamespaceMode::Pod);
        options(&mut wanted).pid = cri::NamespaceMode::Pod.into();
        let request = cri::RunPodSandboxRequest {
            config: Some(wanted),
            runtime_handler: String::new(),
        };
        let id = sandbox::run(&supervisor, request).await.unwrap();
        let pod = supervisor.store.pod(id.as_str()).unwrap();
        match std::env::var(CALL).unwrap().as_str() {
            "stop" => sandbox::stop(&supervisor, &pod).await.unwrap(),
            "remove" => sandbox::remove(&supervisor, &pod).await.unwrap(),
            _ => {}
        }
    });
}

fn crash(place: &Place, call: &str, point: &str) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crashes::child", "--ignored", "--nocapture"])
        .env(DIR, &place.dir)
        .env(CALL, call)
        .env("FAILPOINTS", format!("{point}=return"))
        .output()
        .unwrap();
    assert_eq!(output.status.signal(), Some(9), "{point}: {output:?}");
}

/// The one pod that is there, as a new supervisor finds it.
async fn found(place: &Place) -> Option<(Arc<Supervisor>, Arc<Pod>, Verdict)> {
    let pods = place.supervisor.store.layout().pods();
    let name = names(&pods)
        .into_iter()
        .find(|name| !name.starts_with('.'))?;
    let (supervisor, pod) = reload(place, &ContainerId::new(&name).unwrap());
    let verdict = sandbox::restore(&supervisor, &pod).await;
    Some((supervisor, pod, verdict))
}

#[test]
fn a_supervisor_killed_after_any_step_of_run_leaves_a_pod_that_is_ready_or_undone() {
    on_a_host_of_its_own(|place| async move {
        place.configure("");
        for step in [
            "named",
            "recorded",
            "namespaces",
            "init",
            "network_adding",
            "network",
            "files",
            "ready",
        ] {
            crash(&place, "run", &format!("run_pod.{step}"));
            let found = found(&place).await;
            match (step, found) {
                ("named", None) => {}
                ("ready", Some((supervisor, pod, verdict))) => {
                    assert!(matches!(verdict, Verdict::Ready(_)), "{verdict:?}");
                    assert!(is_alive(pod.checkpoint().init.unwrap()));
                    sandbox::remove(&supervisor, &pod).await.unwrap();
                }
                (_, Some((supervisor, pod, verdict))) => {
                    assert_eq!(verdict, Verdict::Undo, "{step}");
                    let init = pod.checkpoint().init;
                    sandbox::undo_or_keep(&supervisor, &pod).await;
                    assert!(init.is_none_or(|init| !is_alive(init)), "{step}");
                }
                (step, None) => panic!("nothing is there after {step}"),
            }
            place.assert_nothing_left();
        }
    });
}

#[test]
fn a_supervisor_killed_after_any_step_of_stop_or_remove_leaves_a_pod_that_can_be_removed() {
    on_a_host_of_its_own(|place| async move {
        place.configure("");
        for (call, point, expected) in [
            ("stop", "stop_pod.containers", "Ready"),
            ("stop", "stop_pod.network", "NotReady"),
            ("stop", "stop_pod.namespaces", "NotReady"),
            ("remove", "remove_pod.containers", "Ready"),
            ("remove", "stop_pod.network", "NotReady"),
            ("remove", "remove_pod.renamed", "gone"),
        ] {
            crash(&place, call, point);
            let Some((supervisor, pod, verdict)) = found(&place).await else {
                assert_eq!(expected, "gone", "{point}");
                let pods = place.supervisor.store.layout().pods();
                let left = names(&pods);
                assert!(left.len() == 1 && left[0].starts_with(".gone-"), "{left:?}");
                // What the supervisor's recovery does at its end.
                fs::remove_dir_all(pods.join(&left[0])).unwrap();
                place.assert_nothing_left();
                continue;
            };
            let verdict = format!("{verdict:?}");
            assert!(verdict.starts_with(expected), "{point}: {verdict}");
            sandbox::stop(&supervisor, &pod).await.unwrap();
            sandbox::remove(&supervisor, &pod).await.unwrap();
            place.assert_nothing_left();
        }
    });
}
