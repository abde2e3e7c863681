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

fn check(set: Set) -> Result<(), SpecError> {
    let mut config = cri::PodSandboxConfig::default();
    set(&mut config);
    check_sandbox(&config, &HostFacts::example())
}

const WRONG: &[(&str, Set)] = &[
    ("log_directory", |config| {
        config.log_directory = "logs".into()
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
        config.log_directory = "/var/log/pods/x".into();
        linux(config).cgroup_parent = "/kubepods/burstable/pod1".into();
        linux(config).overhead = Some(cri::LinuxContainerResources::default());
        linux(config).resources = Some(cri::LinuxContainerResources {
            unified: HashMap::from([("memory.oom.group".into(), "1".into())]),
            ..Default::default()
        });
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
