//! A pod from its beginning to its end: namespaces, requests that are refused, many at once.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::Arc;

use outlive::api::cri;
use outlive::supervisor::pod::sandbox;
use outlive::supervisor::store::PodState;
use outlive::sys::namespace::{self, Kind};
use tonic::Code;

use crate::place::*;

#[test]
fn namespaces_are_the_pods_own_and_need_no_process() {
    on_a_host_of_its_own(|place| async move {
        place.configure("");
        let mut wanted = config("web", cri::NamespaceMode::Pod);
        wanted.hostname = "web-0".into();
        wanted.linux.as_mut().unwrap().sysctls = HashMap::from([
            ("net.ipv4.ip_unprivileged_port_start".into(), "80".into()),
            ("kernel.shmmni".into(), "77".into()),
            ("fs.mqueue.msg_max".into(), "11".into()),
        ]);
        let pod = place.run(wanted).await.unwrap();
        assert!(pod.is_ready());
        for kind in [Kind::Net, Kind::Ipc, Kind::Uts] {
            let pin = place.pin(&pod, kind);
            assert!(namespace::is_pinned(&pin).unwrap(), "{kind:?}");
            assert_ne!(inode(&pin), inode(&own(kind)), "{kind:?}");
        }
        let state = place.state_of(pod.id());
        let pins = state.clone();
        let inside = namespace::in_thread(move || {
            for kind in [Kind::Net, Kind::Ipc, Kind::Uts] {
                namespace::enter(kind, &pins.join(kind.name())).unwrap();
            }
            let read = |name: &str| fs::read_to_string(name).unwrap().trim().to_owned();
            [
                nix::unistd::gethostname().unwrap().into_string().unwrap(),
                read("/proc/sys/net/ipv4/ip_unprivileged_port_start"),
                read("/proc/sys/kernel/shmmni"),
                read("/proc/sys/fs/mqueue/msg_max"),
            ]
        });
        assert_eq!(inside.unwrap(), ["web-0", "80", "77", "11"]);
        let shm = fs::metadata(state.join("shm")).unwrap();
        assert_eq!(shm.permissions().mode() & 0o7777, 0o1777);
        assert_ne!(shm.dev(), fs::metadata(&state).unwrap().dev());
        let hostname = fs::read_to_string(pod.dir().join("hostname")).unwrap();
        assert_eq!(hostname, "web-0\n");
        sandbox::stop(&place.supervisor, &pod).await.unwrap();
        assert_eq!(pod.checkpoint().state, PodState::NotReady);
        assert!(!state.exists());
        sandbox::stop(&place.supervisor, &pod).await.unwrap();
        sandbox::remove(&place.supervisor, &pod).await.unwrap();
        sandbox::remove(&place.supervisor, &pod).await.unwrap();
        place.assert_nothing_left();
    });
}

#[test]
fn a_pod_on_the_hosts_network_needs_no_plugins_and_changes_nothing_there() {
    on_a_host_of_its_own(|place| async move {
        let mut wanted = config("host", cri::NamespaceMode::Node);
        options(&mut wanted).ipc = cri::NamespaceMode::Node.into();
        wanted.dns_config = Some(cri::DnsConfig {
            servers: vec!["10.0.0.10".into()],
            ..Default::default()
        });
        let pod = place.run(wanted.clone()).await.unwrap();
        assert_eq!(names(&place.state_of(pod.id())), [""; 0]);
        assert!(pod.addresses().is_empty());
        let resolv_conf = pod.dir().join("resolv.conf");
        assert_eq!(
            fs::read_to_string(&resolv_conf).unwrap(),
            "nameserver 10.0.0.10\n"
        );
        let mode = fs::metadata(resolv_conf).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        let taken = place.run(wanted.clone()).await.unwrap_err();
        assert_eq!(taken.code(), Code::AlreadyExists);
        assert!(taken.to_string().contains(pod.id().as_str()), "{taken}");
        let mut changing = config("changing", cri::NamespaceMode::Node);
        let sysctls = &mut changing.linux.as_mut().unwrap().sysctls;
        sysctls.insert("net.ipv4.ip_forward".into(), "1".into());
        let refused = place.run(changing).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(
            refused.to_string().contains("net.ipv4.ip_forward"),
            "{refused}"
        );
        sandbox::remove(&place.supervisor, &pod).await.unwrap();
        drop(pod);
        let again = place.run(wanted).await.unwrap();
        sandbox::remove(&place.supervisor, &again).await.unwrap();
        place.assert_nothing_left();
    });
}

#[test]
fn bad_requests_are_refused_by_the_name_of_the_field() {
    on_a_host_of_its_own(|place| async move {
        let refused = |request| async {
            let error = sandbox::run(&place.supervisor, request).await.unwrap_err();
            assert_eq!(error.code(), Code::InvalidArgument, "{error}");
            error.to_string()
        };
        let request = |config| cri::RunPodSandboxRequest {
            config,
            runtime_handler: String::new(),
        };
        assert!(refused(request(None)).await.starts_with("config: "));
        let nameless = cri::PodSandboxConfig::default();
        let nameless = refused(request(Some(nameless))).await;
        assert!(nameless.starts_with("metadata: "), "{nameless}");
        let good = config("a", cri::NamespaceMode::Node);
        let unknown = refused(cri::RunPodSandboxRequest {
            config: Some(good.clone()),
            runtime_handler: "kata".into(),
        });
        let unknown = unknown.await;
        assert!(unknown.starts_with("runtime_handler: "), "{unknown}");
        type Change = fn(&mut cri::PodSandboxConfig);
        let cases: [(&str, Change); 4] = [
            ("port_mappings[0].host_port: ", |pod| {
                pod.port_mappings[0].host_port = 70_000;
            }),
            // CNI's portmap would refuse both ADD and DEL.
            ("port_mappings[0].container_port: ", |pod| {
                pod.port_mappings[0].container_port = 0;
            }),
            ("hostname: ", |pod| pod.hostname = "a\n10.0.0.1 b".into()),
            ("dns_config.options[0]: ", |pod| {
                let options = vec!["x\nnameserver 10.0.0.66".into()];
                pod.dns_config.get_or_insert_default().options = options;
            }),
        ];
        for (expected, change) in cases {
            let mut wanted = good.clone();
            wanted.port_mappings = vec![cri::PortMapping {
                container_port: 80,
                ..Default::default()
            }];
            change(&mut wanted);
            let told = refused(request(Some(wanted))).await;
            assert!(told.starts_with(expected), "{told}");
        }
        // A kernel without this one says so too, when it is too late for the check.
        let mut sysctl = config("b", cri::NamespaceMode::Node);
        let sysctls = &mut sysctl.linux.as_mut().unwrap().sysctls;
        sysctls.insert("fs.mqueue.no_such_thing".into(), "1".into());
        let sysctl = refused(request(Some(sysctl))).await;
        assert!(sysctl.contains("fs.mqueue.no_such_thing"), "{sysctl}");
        place.assert_nothing_left();
    });
}

#[test]
fn many_pods_at_once_have_an_address_each() {
    on_a_host_of_its_own(|place| async move {
        place.configure("");
        let place = Arc::new(place);
        let mut all = tokio::task::JoinSet::new();
        for number in 0..20 {
            let place = Arc::clone(&place);
            all.spawn(async move {
                let wanted = config(&format!("pod{number}"), cri::NamespaceMode::Pod);
                place.run(wanted).await.unwrap()
            });
        }
        let pods = all.join_all().await;
        let addresses: std::collections::BTreeSet<_> =
            pods.iter().flat_map(|pod| pod.addresses()).collect();
        assert_eq!(addresses.len(), 20);
        let mut all = tokio::task::JoinSet::new();
        for pod in pods {
            let supervisor = Arc::clone(&place.supervisor);
            all.spawn(async move { sandbox::remove(&supervisor, &pod).await.unwrap() });
        }
        all.join_all().await;
        place.assert_nothing_left();
    });
}
