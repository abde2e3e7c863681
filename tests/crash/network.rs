//! Pods with a network of the standard plugins: leases, interfaces and rules go with the pod, whatever was cut off.
//!
//! The supervisor has a network namespace of its own for a host.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use outlive::api::cri::{self, NamespaceMode, PodSandboxState};
use outlive::sys::namespace::{self, Kind};

use crate::ground::{Ground, remove_pod, run_pod, stop_pod};
use crate::pods::{config as pod_config, named, remove_whole};
use crate::support::supervisor::{Options, Supervisor};

const RUN: &[&str] = &[
    "run_pod.network_adding",
    "run_pod.network_added",
    // After the second of lo and eth0.
    "run_pod.network_added=1*off->return",
    "run_pod.network",
    "run_pod.files",
];
const STOP: &[&str] = &[
    "stop_pod.network_deleting",
    "stop_pod.network_deleted",
    "stop_pod.network_deleted=1*off->return",
    "stop_pod.network",
    "stop_pod.namespaces",
];

pub fn points() -> Vec<&'static str> {
    let all = [RUN, STOP].concat();
    all.into_iter()
        .map(|point| point.split('=').next().unwrap())
        .collect()
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The plugins' configuration and leases; removed at the end.
struct Plugins(PathBuf);

impl Plugins {
    fn new() -> Self {
        let dir = PathBuf::from(format!("/tmp/outlive-crash-net-{}", std::process::id()));
        fs::create_dir_all(dir.join("net.d")).unwrap();
        let leases = dir.join("leases");
        let list = format!(
            r#"{{"cniVersion":"1.0.0","name":"crashnet","plugins":[
            {{"type":"bridge","bridge":"ocrash0","isGateway":true,"ipMasq":true,
              "ipam":{{"type":"host-local","dataDir":{leases:?},"ranges":[[{{"subnet":"10.98.7.0/24"}}]],
                       "routes":[{{"dst":"0.0.0.0/0"}}]}}}},
            {{"type":"portmap","capabilities":{{"portMappings":true}},"snat":true}}]}}"#
        );
        fs::write(dir.join("net.d/10-crash.conflist"), list).unwrap();
        Self(dir)
    }

    fn settings(&self) -> String {
        let conf_dir = self.0.join("net.d");
        format!("[network]\nconf_dir = {conf_dir:?}\nbin_dirs = [\"/usr/lib/cni\"]\n")
    }

    /// Leases, the host's ends of interfaces, and rules that are some pod's.
    fn left(&self) -> Vec<String> {
        let leases = fs::read_dir(self.0.join("leases/crashnet"))
            .into_iter()
            .flatten();
        let leases = leases.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut left: Vec<String> = leases.filter(|name| name.starts_with("10.")).collect();
        let links = run("ip", &["-o", "link", "show", "type", "veth"]);
        left.extend(links.lines().map(str::to_owned));
        let rules = run("iptables", &["-t", "nat", "-S"]);
        let of_pods = rules
            .lines()
            .filter(|rule| rule.contains("crashnet") || rule.contains("10.98."));
        left.extend(of_pods.map(str::to_owned));
        left
    }
}

impl Drop for Plugins {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// A pod with a network, a mapped port and an init.
fn config(supervisor: &Supervisor) -> cri::PodSandboxConfig {
    let mut config = pod_config(supervisor, "victim");
    let security = config.linux.as_mut().unwrap().security_context.as_mut();
    let options = security.unwrap().namespace_options.as_mut().unwrap();
    options.network = NamespaceMode::Pod.into();
    config.port_mappings = vec![cri::PortMapping {
        container_port: 80,
        host_port: 8080,
        ..Default::default()
    }];
    config
}

fn on_a_host_of_its_own(test: impl FnOnce(&Plugins, Ground) + Send) {
    thread::scope(|scope| {
        let host = scope.spawn(|| {
            namespace::leave(&[Kind::Net]).expect("run as root");
            run("ip", &["link", "set", "lo", "up"]);
            let plugins = Plugins::new();
            let ground = Ground::with(Options {
                config: plugins.settings(),
                ..Options::default()
            });
            test(&plugins, ground);
        });
        if let Err(panic) = host.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

fn record(supervisor: &Supervisor, id: &str) -> PathBuf {
    supervisor.root().join("pods").join(id).join("network.json")
}

fn ready(supervisor: &Supervisor, plugins: &Plugins) -> String {
    let id = run_pod(supervisor, config(supervisor)).unwrap();
    let left = plugins.left();
    for part in ["10.98.7.", "veth", "8080"] {
        assert!(
            left.iter().any(|line| line.contains(part)),
            "{part}: {left:?}"
        );
    }
    assert!(Path::new(&record(supervisor, &id)).exists());
    id
}

#[test]
fn a_network_that_was_cut_off_goes_with_its_pod() {
    on_a_host_of_its_own(|plugins, mut ground| {
        for point in RUN {
            let wanted = config(&ground.supervisor);
            ground.crash(point, |supervisor| run_pod(supervisor, wanted));
            ground.recover();
            assert!(named(&ground.supervisor, "victim").is_none(), "{point}");
            assert_eq!(plugins.left(), [""; 0], "{point}");
            ground.nothing_else_is_left(point);
        }
        for point in STOP {
            for call in [stop_pod, remove_pod] {
                let id = ready(&ground.supervisor, plugins);
                ground.crash(point, |supervisor| call(supervisor, &id));
                ground.recover();
                let pod = named(&ground.supervisor, "victim").expect(point);
                assert_eq!(pod.state(), PodSandboxState::SandboxNotready, "{point}");
                remove_whole(&ground.supervisor, &id).expect(point);
                assert_eq!(plugins.left(), [""; 0], "{point}");
                ground.nothing_else_is_left(point);
            }
        }
        // And again, to see that the port is free.
        let id = ready(&ground.supervisor, plugins);
        remove_whole(&ground.supervisor, &id).unwrap();
        assert_eq!(plugins.left(), [""; 0]);
        ground.nothing_was_lost();
    });
}
