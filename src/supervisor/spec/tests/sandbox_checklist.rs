//! Every field of a pod's configuration: refused where it makes no sense, and which mean nothing here.

use super::*;

type Set = fn(&mut cri::PodSandboxConfig);

fn linux(config: &mut cri::PodSandboxConfig) -> &mut cri::LinuxPodSandboxConfig {
    config.linux.get_or_insert_default()
}

fn context(config: &mut cri::PodSandboxConfig) -> &mut cri::LinuxSandboxSecurityContext {
    linux(config).security_context.get_or_insert_default()
}

fn modes(config: &mut cri::PodSandboxConfig) -> &mut cri::NamespaceOption {
    context(config).namespace_options.get_or_insert_default()
}

fn dns(config: &mut cri::PodSandboxConfig) -> &mut cri::DnsConfig {
    config.dns_config.get_or_insert_default()
}

fn port(config: &mut cri::PodSandboxConfig) -> &mut cri::PortMapping {
    config.port_mappings.push(cri::PortMapping {
        container_port: 80,
        ..Default::default()
    });
    config.port_mappings.last_mut().unwrap()
}

fn sysctl(config: &mut cri::PodSandboxConfig, name: &str) {
    linux(config).sysctls.insert(name.into(), "1".into());
}

fn check(set: Set) -> Result<(), SpecError> {
    let mut config = cri::PodSandboxConfig::default();
    set(&mut config);
    check_sandbox(&config, &HostFacts::example())
}

const WRONG: &[(&str, Set)] = &[
    ("hostname", |config| config.hostname = "a b".into()),
    ("hostname", |config| config.hostname = "a".repeat(65)),
    ("log_directory", |config| {
        config.log_directory = "logs".into()
    }),
    ("dns_config.servers[0]", |config| {
        dns(config).servers = words(&["dns.example"])
    }),
    ("dns_config.searches[1]", |config| {
        dns(config).searches = words(&["a", "b\nc"])
    }),
    ("dns_config.options[0]", |config| {
        dns(config).options = words(&[""])
    }),
    ("port_mappings[0].protocol", |config| {
        port(config).protocol = 3
    }),
    ("port_mappings[0].host_port", |config| {
        port(config).host_port = 65_536
    }),
    ("port_mappings[0].container_port", |config| {
        port(config).container_port = -1
    }),
    ("port_mappings[0].host_ip", |config| {
        port(config).host_ip = "x".into()
    }),
    ("windows", |config| {
        config.windows = Some(cri::WindowsPodSandboxConfig::default())
    }),
    ("linux.cgroup_parent", |config| {
        linux(config).cgroup_parent = "a".into()
    }),
    ("linux.cgroup_parent", |config| {
        linux(config).cgroup_parent = "a.slice".into()
    }),
    ("linux.cgroup_parent", |config| {
        linux(config).cgroup_parent = "/a/../b".into()
    }),
    ("linux.sysctls[\"vm.swappiness\"]", |config| {
        sysctl(config, "vm.swappiness")
    }),
    ("linux.sysctls[\"net..x\"]", |config| {
        sysctl(config, "net..x")
    }),
    ("linux.sysctls[\"net.x\"]", |config| {
        sysctl(config, "net.x");
        modes(config).network = NamespaceMode::Node.into();
    }),
    ("linux.sysctls[\"kernel/sem\"]", |config| {
        sysctl(config, "kernel/sem");
        modes(config).ipc = NamespaceMode::Node.into();
    }),
    ("linux.resources.cpu_shares", |config| {
        linux(config).resources.get_or_insert_default().cpu_shares = -1;
    }),
    ("linux.security_context.run_as_group", |config| {
        context(config).run_as_group = Some(cri::Int64Value { value: 1 });
    }),
    ("linux.security_context.run_as_user", |config| {
        context(config).run_as_user = Some(cri::Int64Value { value: -1 });
    }),
    ("linux.security_context.supplemental_groups[0]", |config| {
        context(config).supplemental_groups = vec![-1];
    }),
    (
        "linux.security_context.supplemental_groups_policy",
        |config| {
            context(config).supplemental_groups_policy = 5;
        },
    ),
    ("linux.security_context.selinux_options", |config| {
        context(config).selinux_options = Some(cri::SeLinuxOption {
            user: "u".into(),
            ..Default::default()
        });
    }),
    ("linux.security_context.seccomp.profile_type", |config| {
        context(config).seccomp = Some(cri::SecurityProfile {
            profile_type: 5,
            ..Default::default()
        });
    }),
    (
        "linux.security_context.namespace_options.network",
        |config| {
            modes(config).network = NamespaceMode::Container.into();
        },
    ),
    ("linux.security_context.namespace_options.ipc", |config| {
        modes(config).ipc = 4
    }),
    ("linux.security_context.namespace_options.pid", |config| {
        modes(config).pid = NamespaceMode::Target.into();
    }),
    (
        "linux.security_context.namespace_options.target_id",
        |config| {
            modes(config).target_id = "x".into();
        },
    ),
    (
        "linux.security_context.namespace_options.userns_options",
        |config| {
            modes(config).userns_options = Some(cri::UserNamespace::default());
        },
    ),
];

#[test]
fn what_a_pod_cannot_have_names_its_field() {
    for (field, set) in WRONG {
        let error = check(*set).expect_err(field);
        assert_eq!(error.field(), Some(*field));
    }
}

#[test]
fn what_kubelet_sends_is_taken() {
    check(|config| {
        config.hostname = "web-0.example".into();
        config.log_directory = "/var/log/pods/x".into();
        dns(config).servers = words(&["10.0.0.10", "fe80::1%eth0"]);
        dns(config).searches = words(&["default.svc.cluster.local"]);
        dns(config).options = words(&["ndots:5"]);
        port(config).host_port = 8080;
        linux(config).cgroup_parent = "/kubepods/burstable/pod1".into();
        linux(config).overhead = Some(cri::LinuxContainerResources::default());
        linux(config).resources = Some(cri::LinuxContainerResources {
            unified: HashMap::from([("memory.oom.group".into(), "1".into())]),
            ..Default::default()
        });
        sysctl(config, "net.ipv4.ip_unprivileged_port_start");
        sysctl(config, "kernel.shm_rmid_forced");
        modes(config).pid = NamespaceMode::Container.into();
        modes(config).userns_options = Some(cri::UserNamespace {
            mode: NamespaceMode::Node.into(),
            ..Default::default()
        });
        context(config).privileged = true;
        context(config).seccomp = Some(cri::SecurityProfile::default());
        context(config).run_as_user = Some(cri::Int64Value { value: 0 });
        context(config).run_as_group = Some(cri::Int64Value { value: 0 });
    })
    .unwrap();
    check(|_| ()).unwrap();
}
