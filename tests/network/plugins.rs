//! The network: what plugins are asked, what they give, and that nothing of it stays.

use std::fs;
use std::time::{Duration, Instant};

use outlive::api::cri;
use outlive::bundle::Read;
use outlive::supervisor::network::{self, Phase, Plugins};
use outlive::supervisor::pod::namespaces::Plan;
use outlive::supervisor::pod::sandbox;
use outlive::supervisor::store::new_id;
use outlive::sys::namespace::{self, Kind};
use outlive::sys::proc;
use tonic::Code;

use crate::place::*;
use crate::support::poll;

#[test]
fn two_pods_are_reached_by_address_and_by_port_and_leave_nothing_in_the_network() {
    on_a_host_of_its_own(|place| async move {
        place.configure("");
        let mut one = config("one", cri::NamespaceMode::Pod);
        one.port_mappings = vec![
            cri::PortMapping {
                protocol: cri::Protocol::Tcp.into(),
                container_port: 80,
                host_port: 8080,
                host_ip: String::new(),
            },
            cri::PortMapping {
                container_port: 81,
                ..Default::default()
            },
        ];
        let one = place.run(one).await.unwrap();
        let two = place
            .run(config("two", cri::NamespaceMode::Pod))
            .await
            .unwrap();
        let (first, second) = (one.addresses(), two.addresses());
        assert_eq!((first.len(), second.len()), (1, 1));
        assert_ne!(first, second);
        assert_eq!(place.leases().len(), 2);
        assert_eq!(veths().len(), 2);
        let status = network::status(&first).unwrap();
        assert_eq!(
            (status.ip, status.additional_ips.len()),
            (first[0].clone(), 0)
        );
        serve(&place.pin(&one, Kind::Net), 80, "one");
        serve(&place.pin(&two, Kind::Net), 80, "two");
        assert_eq!(ask(&format!("{}:80", first[0])), "one");
        assert_eq!(ask(&format!("{}:80", second[0])), "two");
        assert_eq!(ask(&format!("{GATEWAY}:8080")), "one");
        let between = namespace::in_thread(|| {
            namespace::enter(Kind::Net, &place.pin(&one, Kind::Net)).unwrap();
            ask(&format!("{}:80", second[0]))
        });
        assert_eq!(between.unwrap(), "two");
        let lo = namespace::in_thread(|| {
            namespace::enter(Kind::Net, &place.pin(&one, Kind::Net)).unwrap();
            ask("127.0.0.1:80")
        });
        assert_eq!(lo.unwrap(), "one");

        sandbox::stop(&place.supervisor, &one).await.unwrap();
        assert_eq!(place.leases().len(), 1);
        assert_eq!(veths().len(), 1);
        assert!(!rules().iter().any(|rule| rule.contains(one.id().as_str())));
        assert_eq!(ask(&format!("{}:80", second[0])), "two");
        for pod in [&one, &two] {
            sandbox::remove(&place.supervisor, pod).await.unwrap();
        }
        place.assert_nothing_left();
    });
}

#[test]
fn a_second_delete_is_fine_and_so_is_one_after_a_reboot() {
    on_a_host_of_its_own(|place| async move {
        place.configure("");
        let pod = place
            .run(config("rebooted", cri::NamespaceMode::Pod))
            .await
            .unwrap();
        let plugins = Plugins::from(&place.supervisor.config);
        let record = pod.dir().join("network.json");
        let kept = fs::read(&record).unwrap();
        let netns = place.pin(&pod, Kind::Net);
        // The namespace, with all that the host had: what is left is the lease.
        run("umount", &["-l", netns.to_str().unwrap()]);
        let detach = || network::detach(&plugins, pod.id(), None, &record);
        detach().await.unwrap();
        assert_eq!(place.leases(), [""; 0]);
        assert!(!record.exists());
        detach().await.unwrap();
        fs::write(&record, kept).unwrap();
        detach().await.unwrap();
        // One that cannot be read does not keep the pod for ever.
        fs::write(&record, "{").unwrap();
        detach().await.unwrap();
        assert!(!record.exists());
        sandbox::remove(&place.supervisor, &pod).await.unwrap();
    });
}

#[test]
fn what_was_added_is_deleted_by_the_list_that_added_it() {
    on_a_host_of_its_own(|place| async move {
        place.configure("");
        let pod = place
            .run(config("moved", cri::NamespaceMode::Pod))
            .await
            .unwrap();
        fs::remove_file(place.dir.join("net.d/10-test.conflist")).unwrap();
        sandbox::remove(&place.supervisor, &pod).await.unwrap();
        place.assert_nothing_left();
    });
}

#[test]
fn without_a_configuration_the_error_says_what_to_do_and_nothing_is_left() {
    on_a_host_of_its_own(|place| async move {
        let wanted = config("lonely", cri::NamespaceMode::Pod);
        let error = place.run(wanted.clone()).await.unwrap_err();
        assert_eq!(error.code(), Code::FailedPrecondition);
        let expected = format!(
            "no CNI configuration in {}/net.d: add one, or run the pod on the host's network",
            place.dir.display()
        );
        assert_eq!(error.to_string(), expected);
        let plugins = Plugins::from(&place.supervisor.config);
        assert!(network::readiness(&plugins).is_err());
        place.assert_nothing_left();
        place.configure(r#",{"type":"no-such-plugin"}"#);
        let error = place.run(wanted.clone()).await.unwrap_err();
        assert!(error.to_string().contains("no-such-plugin"), "{error}");
        place.assert_nothing_left();
        place.configure("");
        assert_eq!(network::readiness(&plugins).unwrap(), "testnet");
        // The name is free: the failures have given it back.
        let pod = place.run(wanted).await.unwrap();
        sandbox::remove(&place.supervisor, &pod).await.unwrap();
        place.assert_nothing_left();
    });
}

#[test]
fn ports_that_nobody_would_map_are_refused() {
    on_a_host_of_its_own(|place| async move {
        fs::write(
            place.dir.join("net.d/10.conf"),
            r#"{"cniVersion":"0.4.0","name":"testnet","type":"loopback"}"#,
        )
        .unwrap();
        let mut wanted = config("mapped", cri::NamespaceMode::Pod);
        wanted.port_mappings = vec![cri::PortMapping {
            container_port: 80,
            host_port: 80,
            ..Default::default()
        }];
        let error = place.run(wanted).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        place.assert_nothing_left();
    });
}

#[test]
fn a_plugin_that_refuses_undoes_those_before_it() {
    on_a_host_of_its_own(|place| async move {
        // It also proves what the configuration and the environment say.
        place.plugin(
            "refuses",
            r#"cat > "${0%/*}/../seen.$CNI_COMMAND"; env | grep ^CNI_ | sort >> "${0%/*}/../seen.$CNI_COMMAND"
            [ "$CNI_COMMAND" = DEL ] && exit 0
            echo '{"cniVersion":"1.0.0","code":11,"msg":"not now","details":"ask again"}'; exit 1"#,
        );
        place.configure(r#",{"type":"refuses"}"#);
        let error = place
            .run(config("refused", cri::NamespaceMode::Pod))
            .await
            .unwrap_err();
        assert_eq!(error.code(), Code::Unavailable);
        assert!(
            error
                .to_string()
                .ends_with("not now: ask again (CNI code 11)"),
            "{error}"
        );
        let seen = |name: &str| fs::read_to_string(place.dir.join(name)).unwrap();
        let (add, del) = (seen("seen.ADD"), seen("seen.DEL"));
        assert!(
            add.contains("\"prevResult\"") && add.contains("10.97.0.2/24"),
            "{add}"
        );
        assert!(
            add.contains("K8S_POD_NAME=refused") && add.contains("CNI_IFNAME=eth0"),
            "{add}"
        );
        assert!(del.contains("\"name\":\"testnet\""), "{del}");
        place.assert_nothing_left();
    });
}

#[test]
fn a_plugin_that_hangs_is_killed_with_what_it_started() {
    on_a_host_of_its_own(|place| async move {
        let pids = place.dir.join("pids");
        place.plugin(
            "hangs",
            &format!(
                "sleep 1000 & echo $! > {0}; echo $$ >> {0}; wait",
                pids.display()
            ),
        );
        fs::write(
            place.dir.join("net.d/10.conf"),
            r#"{"cniVersion":"1.0.0","name":"testnet","type":"hangs"}"#,
        )
        .unwrap();
        let plugins = Plugins {
            deadline: Duration::from_millis(500),
            ..Plugins::from(&place.supervisor.config)
        };
        let id = new_id().unwrap();
        let wanted = config("hanging", cri::NamespaceMode::Pod);
        let state = place.state_of(&id);
        Plan::of(&wanted).unwrap().make(&state).unwrap();
        let record = place.dir.join("network.json");
        let began = Instant::now();
        let netns = state.join("net");
        let error = network::attach(&plugins, &id, &wanted, &netns, &record)
            .await
            .unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(30));
        assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
        for pid in fs::read_to_string(&pids).unwrap().lines() {
            let pid = outlive::types::Pid::new(pid.parse().unwrap()).unwrap();
            poll::until("the plugin and its child end", || {
                proc::running(pid).map_or(Ok(()), |found| Err(format!("{found:?}")))
            });
        }
        assert!(matches!(
            network::recorded(&record),
            Read::Found((Phase::Adding, _))
        ));
        place.plugin("hangs", "exit 0");
        network::detach(&plugins, &id, Some(&netns), &record)
            .await
            .unwrap();
        outlive::supervisor::pod::namespaces::unmake(&state).unwrap();
    });
}
