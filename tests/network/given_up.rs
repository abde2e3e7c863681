//! Networks that the plugins do not delete: the pod is removed all the same, and a record says what may be left.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use outlive::api::cri;
use outlive::supervisor::network::given_up::PATIENCE;
use outlive::supervisor::pod::sandbox;
use outlive::supervisor::store::Pod;
use outlive::types::Timestamp;
use serde_json::{Value, json};
use tonic::Code;

use crate::place::*;

/// A pod in a network whose last plugin answers DEL as the script `on_delete` does.
async fn pod(place: &Place, on_delete: &str) -> Arc<Pod> {
    place.plugin(
        "last",
        &format!("[ \"$CNI_COMMAND\" = DEL ] && {{ {on_delete}; }}\nexec {PLUGINS}/portmap"),
    );
    place.configure(r#",{"type":"last"}"#);
    let wanted = config("web", cri::NamespaceMode::Pod);
    place.run(wanted).await.unwrap()
}

fn refusal(code: u32) -> String {
    format!(r#"echo '{{"cniVersion":"1.0.0","code":{code},"msg":"it is broken"}}'; exit 1"#)
}

fn records(place: &Place) -> Vec<PathBuf> {
    let dir = place.supervisor.store.layout().networks_left();
    let files = names(&dir).into_iter();
    files.map(|name| dir.join(name)).collect()
}

/// Removes the pod, whose network is given up, and checks the record and that nothing else is left.
async fn removed_with_a_record(place: &Place, pod: &Arc<Pod>, why: &str) {
    sandbox::remove(&place.supervisor, pod).await.unwrap();
    let [record] = &records(place)[..] else {
        panic!("{:?}", records(place));
    };
    let name = record.file_stem().unwrap();
    assert_eq!(name, pod.id().as_str());
    let record: Value = serde_json::from_slice(&fs::read(record).unwrap()).unwrap();
    assert_eq!(record["pod"], pod.id().as_str());
    let told = record["error"].as_str().unwrap();
    assert!(told.contains(why), "{told}");
    let list = &record["network"]["networks"][1]["list"];
    assert_eq!(list["name"], "testnet");
    place.assert_nothing_left();
}

#[test]
fn a_plugin_that_refuses_keeps_the_stop_from_success_but_not_the_removal() {
    on_a_host_of_its_own(|place| async move {
        let pod = pod(&place, &refusal(7)).await;
        let error = sandbox::stop(&place.supervisor, &pod).await.unwrap_err();
        assert!(error.to_string().contains("it is broken"), "{error}");
        // The plugins that did work are done, and their namespace waits for the others.
        assert_eq!(place.leases(), [""; 0]);
        assert!(place.state_of(pod.id()).exists());
        let error = sandbox::stop(&place.supervisor, &pod).await.unwrap_err();
        assert!(error.to_string().contains("it is broken"), "{error}");
        assert_eq!(records(&place), [""; 0].map(PathBuf::from));
        removed_with_a_record(&place, &pod, "it is broken").await;
    });
}

#[test]
fn a_plugin_that_is_gone_does_not_keep_its_pod() {
    on_a_host_of_its_own(|place| async move {
        let pod = pod(&place, "exit 0").await;
        fs::remove_file(place.dir.join("bin/last")).unwrap();
        let error = sandbox::stop(&place.supervisor, &pod).await.unwrap_err();
        assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
        // After a restart too.
        let (supervisor, pod) = reload(&place, pod.id());
        sandbox::remove(&supervisor, &pod).await.unwrap();
        place.supervisor.store.remove_pod(pod.id());
        assert_eq!(records(&place).len(), 1);
        place.assert_nothing_left();
    });
}

#[test]
fn a_plugin_that_asks_to_try_again_is_tried_for_a_while() {
    on_a_host_of_its_own(|place| async move {
        let pod = pod(&place, &refusal(11)).await;
        let supervisor = &place.supervisor;
        for _ in 0..2 {
            let error = sandbox::stop(supervisor, &pod).await.unwrap_err();
            assert_eq!(error.code(), Code::Unavailable, "{error}");
            let error = sandbox::remove(supervisor, &pod).await.unwrap_err();
            assert_eq!(error.code(), Code::Unavailable, "{error}");
        }
        // As if the first attempt had been that long ago: kubelet never removes what it cannot stop.
        let path = pod.dir().join("network.json");
        let mut file: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let since = Timestamp::now().unix_nanos() - u64::try_from(PATIENCE.as_nanos()).unwrap();
        file["deleting_since"] = json!(since);
        fs::write(&path, file.to_string()).unwrap();
        sandbox::stop(supervisor, &pod).await.unwrap();
        assert!(!place.state_of(pod.id()).exists());
        removed_with_a_record(&place, &pod, "it is broken").await;
    });
}

#[test]
fn a_pod_that_an_older_version_made_with_a_bad_port_is_removed() {
    on_a_host_of_its_own(|place| async move {
        place.configure("");
        let mut wanted = config("web", cri::NamespaceMode::Pod);
        wanted.port_mappings = vec![cri::PortMapping {
            container_port: 80,
            host_port: 8080,
            ..Default::default()
        }];
        let pod = place.run(wanted).await.unwrap();
        let path = pod.dir().join("network.json");
        let mut file: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        file["capabilities"]["portMappings"][0]["containerPort"] = json!(0);
        fs::write(&path, file.to_string()).unwrap();
        let (supervisor, pod) = reload(&place, pod.id());
        let error = sandbox::stop(&supervisor, &pod).await.unwrap_err();
        assert!(error.to_string().contains("portmap"), "{error}");
        sandbox::remove(&supervisor, &pod).await.unwrap();
        place.supervisor.store.remove_pod(pod.id());
        assert_eq!(records(&place).len(), 1);
        assert!(!pod.dir().exists());
        assert_eq!(place.leases(), [""; 0]);
        assert_eq!(veths(), [""; 0]);
    });
}
