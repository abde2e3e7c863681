//! Every field of a container's configuration, set to something: it shows, or it is refused by its name.

use super::*;

/// What becomes of a field.
enum Fate {
    /// The specification is another one with it.
    Shows,
    /// It is refused, and this is named.
    Refused(&'static str),
    /// CreateContainer's, or without effect for the reason that is given.
    Elsewhere,
}
use Fate::{Elsewhere, Refused, Shows};

type Set = fn(&mut Case);

/// The entry is there, which is all that is wanted.
fn touch<T>(_entry: &mut T) {}

fn mount(case: &mut Case) -> &mut cri::Mount {
    if case.config.mounts.is_empty() {
        case.config.mounts.push(cri::Mount {
            container_path: "/place".into(),
            host_path: "/source".into(),
            ..Default::default()
        });
    }
    &mut case.config.mounts[0]
}

fn device(case: &mut Case) -> &mut cri::Device {
    if case.config.devices.is_empty() {
        case.config.devices.push(cri::Device {
            host_path: "/dev/null".into(),
            ..Default::default()
        });
    }
    &mut case.config.devices[0]
}

fn capabilities(case: &mut Case) -> &mut cri::Capability {
    case.context().capabilities.get_or_insert_default()
}

fn page(limit: u64) -> Vec<cri::HugepageLimit> {
    vec![cri::HugepageLimit {
        page_size: "2MB".into(),
        limit,
    }]
}

fn id_mapping() -> Vec<cri::IdMapping> {
    vec![cri::IdMapping {
        length: 1,
        ..Default::default()
    }]
}

fn profile(kind: ProfileType, name: &str) -> Option<cri::SecurityProfile> {
    Some(cri::SecurityProfile {
        profile_type: kind.into(),
        localhost_ref: name.into(),
    })
}

const CONFIG: &[(&str, Fate, Set)] = &[
    ("metadata", Elsewhere, |case| {
        case.config.metadata = Some(cri::ContainerMetadata::default());
    }),
    ("image", Elsewhere, |case| {
        case.config.image = Some(cri::ImageSpec::default());
    }),
    ("labels", Elsewhere, |case| {
        case.config.labels = HashMap::from([("a".into(), "b".into())]);
    }),
    ("log_path", Elsewhere, |case| {
        case.config.log_path = "x".into()
    }),
    ("command", Shows, |case| case.config.command = words(&["x"])),
    ("args", Shows, |case| case.config.args = words(&["x"])),
    ("working_dir", Shows, |case| {
        case.config.working_dir = "/x".into()
    }),
    ("envs", Shows, |case| {
        case.config.envs = vec![cri::KeyValue {
            key: "a".into(),
            value: "b".into(),
        }];
    }),
    ("mounts", Shows, |case| touch(mount(case))),
    ("devices", Shows, |case| touch(device(case))),
    ("annotations", Shows, |case| {
        case.config.annotations = HashMap::from([("a".into(), "b".into())]);
    }),
    ("stdin", Refused("stdin"), |case| case.config.stdin = true),
    ("stdin_once", Refused("stdin_once"), |case| {
        case.config.stdin_once = true
    }),
    ("tty", Refused("tty"), |case| case.config.tty = true),
    ("windows", Refused("windows"), |case| {
        case.config.windows = Some(cri::WindowsContainerConfig::default());
    }),
    ("cdi_devices", Refused("cdi_devices"), |case| {
        case.config.cdi_devices = vec![cri::CdiDevice::default()];
    }),
    ("linux", Shows, |case| case.resources().cpu_shares = 9),
];

const LINUX: &[(&str, Fate, Set)] = &[
    ("resources", Shows, |case| case.resources().cpu_shares = 9),
    ("security_context", Shows, |case| {
        case.context().no_new_privs = true
    }),
];

const MOUNT: &[(&str, Fate, Set)] = &[
    ("container_path", Shows, |case| {
        mount(case).container_path = "/x".into()
    }),
    ("host_path", Shows, |case| {
        mount(case).host_path = "/x".into()
    }),
    ("readonly", Shows, |case| mount(case).readonly = true),
    (
        "selinux_relabel",
        Refused("mounts[0].selinux_relabel"),
        |case| {
            case.host.selinux = Support::Present;
            mount(case).selinux_relabel = true;
        },
    ),
    ("propagation", Shows, |case| mount(case).propagation = 1),
    ("uid_mappings", Refused("mounts[0].uid_mappings"), |case| {
        mount(case).uid_mappings = id_mapping();
    }),
    ("gid_mappings", Refused("mounts[0].gid_mappings"), |case| {
        mount(case).gid_mappings = id_mapping();
    }),
    ("recursive_read_only", Shows, |case| {
        mount(case).readonly = true;
        mount(case).recursive_read_only = true;
    }),
    ("image", Refused("mounts[0].image"), |case| {
        mount(case).image = Some(cri::ImageSpec::default());
    }),
];

const DEVICE: &[(&str, Fate, Set)] = &[
    ("container_path", Shows, |case| {
        device(case).container_path = "/dev/x".into()
    }),
    ("host_path", Shows, |case| {
        device(case).host_path = "/dev/zero".into()
    }),
    ("permissions", Shows, |case| {
        device(case).permissions = "r".into()
    }),
];

const RESOURCES: &[(&str, Fate, Set)] = &[
    ("cpu_period", Shows, |case| {
        case.resources().cpu_period = 10_000
    }),
    ("cpu_quota", Shows, |case| {
        case.resources().cpu_quota = 10_000
    }),
    ("cpu_shares", Shows, |case| case.resources().cpu_shares = 10),
    ("memory_limit_in_bytes", Shows, |case| {
        case.resources().memory_limit_in_bytes = 4096;
    }),
    ("oom_score_adj", Shows, |case| {
        case.resources().oom_score_adj = 10
    }),
    ("cpuset_cpus", Shows, |case| {
        case.resources().cpuset_cpus = "0".into()
    }),
    ("cpuset_mems", Shows, |case| {
        case.resources().cpuset_mems = "0".into()
    }),
    ("hugepage_limits", Shows, |case| {
        case.resources().hugepage_limits = page(0)
    }),
    ("unified", Refused("linux.resources.unified"), |case| {
        case.resources().unified = HashMap::from([("cpu.max".into(), "1".into())]);
    }),
    ("memory_swap_limit_in_bytes", Shows, |case| {
        case.resources().memory_swap_limit_in_bytes = 4096;
    }),
];

#[expect(deprecated, reason = "older clients send the text forms of profiles")]
const CONTEXT: &[(&str, Fate, Set)] = &[
    ("capabilities", Shows, |case| {
        capabilities(case).add_capabilities = words(&["BPF"]);
    }),
    ("privileged", Shows, |case| case.context().privileged = true),
    ("namespace_options", Shows, |case| case.modes().network = 1),
    (
        "selinux_options",
        Refused("linux.security_context.selinux_options"),
        |case| {
            case.context().selinux_options = Some(cri::SeLinuxOption {
                level: "s0".into(),
                ..Default::default()
            });
        },
    ),
    ("run_as_user", Shows, |case| {
        case.context().run_as_user = Some(cri::Int64Value { value: 5 });
    }),
    (
        "run_as_group",
        Refused("linux.security_context.run_as_group"),
        |case| case.context().run_as_group = Some(cri::Int64Value { value: 5 }),
    ),
    (
        "run_as_username",
        Refused("linux.security_context.run_as_username"),
        |case| case.context().run_as_username = "nobody".into(),
    ),
    ("readonly_rootfs", Shows, |case| {
        case.context().readonly_rootfs = true
    }),
    ("supplemental_groups", Shows, |case| {
        case.context().supplemental_groups = vec![9];
    }),
    (
        "supplemental_groups_policy",
        Refused("linux.security_context.supplemental_groups_policy"),
        |case| case.context().supplemental_groups_policy = 2,
    ),
    ("no_new_privs", Shows, |case| {
        case.context().no_new_privs = true
    }),
    ("masked_paths", Shows, |case| {
        case.context().masked_paths = words(&["/x"])
    }),
    ("readonly_paths", Shows, |case| {
        case.context().readonly_paths = words(&["/x"]);
    }),
    ("seccomp", Shows, |case| {
        case.context().seccomp = profile(ProfileType::RuntimeDefault, "");
    }),
    (
        "apparmor",
        Refused("linux.security_context.apparmor"),
        |case| {
            case.context().apparmor = profile(ProfileType::Localhost, "x");
        },
    ),
    (
        "apparmor_profile",
        Refused("linux.security_context.apparmor_profile"),
        |case| case.context().apparmor_profile = "localhost/x".into(),
    ),
    ("seccomp_profile_path", Shows, |case| {
        case.context().seccomp_profile_path = "runtime/default".into();
    }),
];

const MODES: &[(&str, Fate, Set)] = &[
    ("network", Shows, |case| case.modes().network = 2),
    ("pid", Shows, |case| case.modes().pid = 1),
    ("ipc", Shows, |case| case.modes().ipc = 2),
    (
        "target_id",
        Refused("linux.security_context.namespace_options.target_id"),
        |case| case.modes().target_id = "x".into(),
    ),
    (
        "userns_options",
        Refused("linux.security_context.namespace_options.userns_options"),
        |case| case.modes().userns_options = Some(cri::UserNamespace::default()),
    ),
];

const CAPABILITIES: &[(&str, Fate, Set)] = &[
    ("add_capabilities", Shows, |case| {
        capabilities(case).add_capabilities = words(&["BPF"]);
    }),
    ("drop_capabilities", Shows, |case| {
        capabilities(case).drop_capabilities = words(&["CHOWN"]);
    }),
    ("add_ambient_capabilities", Shows, |case| {
        capabilities(case).add_ambient_capabilities = words(&["CHOWN"]);
    }),
];

const PROFILE: &[(&str, Fate, Set)] = &[
    ("profile_type", Shows, |case| {
        case.context().seccomp = profile(ProfileType::RuntimeDefault, "");
    }),
    (
        "localhost_ref",
        Refused("linux.security_context.seccomp.localhost_ref"),
        |case| case.context().seccomp = profile(ProfileType::Localhost, "/no/such/profile"),
    ),
];

fn fields(message: &impl serde::Serialize) -> BTreeSet<String> {
    let json = serde_json::to_value(message).unwrap();
    json.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn the_checklists_have_every_field_that_cri_has() {
    let listed = |list: &[(&str, Fate, Set)]| -> BTreeSet<String> {
        list.iter().map(|(name, ..)| (*name).to_owned()).collect()
    };
    for (list, fields) in [
        (CONFIG, fields(&cri::ContainerConfig::default())),
        (LINUX, fields(&cri::LinuxContainerConfig::default())),
        (MOUNT, fields(&cri::Mount::default())),
        (DEVICE, fields(&cri::Device::default())),
        (RESOURCES, fields(&cri::LinuxContainerResources::default())),
        (
            CONTEXT,
            fields(&cri::LinuxContainerSecurityContext::default()),
        ),
        (MODES, fields(&cri::NamespaceOption::default())),
        (CAPABILITIES, fields(&cri::Capability::default())),
        (PROFILE, fields(&cri::SecurityProfile::default())),
    ] {
        assert_eq!(listed(list), fields);
    }
}

#[test]
fn no_field_is_silently_ignored() {
    let lists = [
        ("", CONFIG, None),
        ("linux.", LINUX, None),
        ("mounts.", MOUNT, Some((|case| touch(mount(case))) as Set)),
        ("devices.", DEVICE, Some(|case| touch(device(case)))),
        ("linux.resources.", RESOURCES, None),
        ("linux.security_context.", CONTEXT, None),
        ("namespace_options.", MODES, None),
        ("capabilities.", CAPABILITIES, None),
        ("seccomp.", PROFILE, None),
    ];
    for (prefix, list, base) in lists {
        let mut plain = Case::new();
        if let Some(base) = base {
            base(&mut plain);
        }
        let plain = plain.json();
        for (name, fate, set) in list {
            let mut case = Case::new();
            if let Some(base) = base {
                base(&mut case);
            }
            set(&mut case);
            match fate {
                Shows => assert_ne!(case.json(), plain, "{prefix}{name} shows nowhere"),
                Elsewhere => assert_eq!(case.json(), plain, "{prefix}{name}"),
                Refused(field) => assert_eq!(case.refused(), *field, "{prefix}{name}"),
            }
        }
    }
}

#[test]
fn what_seems_refused_above_shows_when_it_makes_sense() {
    let plain = Case::new().json();
    let mut case = Case::new();
    case.context().run_as_user = Some(cri::Int64Value { value: 5 });
    let user = case.json();
    case.context().run_as_group = Some(cri::Int64Value { value: 6 });
    assert_ne!(case.json(), user);
    let mut case = Case::new();
    case.host.cgroups = CgroupVersion::V2;
    let v2 = case.json();
    case.resources().unified = HashMap::from([("cpu.max".into(), "1".into())]);
    assert_ne!(case.json(), v2);
    let mut case = Case::new();
    case.modes().userns_options = Some(cri::UserNamespace {
        mode: NamespaceMode::Node.into(),
        ..Default::default()
    });
    assert_eq!(case.json(), plain);
    let mut case = Case::new();
    case.context().selinux_options = Some(cri::SeLinuxOption::default());
    assert_eq!(case.json(), plain);
}

#[test]
fn an_unknown_number_of_an_enumeration_names_its_field() {
    for (field, set) in [
        (
            "mounts[0].propagation",
            (|case| mount(case).propagation = 9) as Set,
        ),
        ("linux.security_context.namespace_options.network", |case| {
            case.modes().network = 9;
        }),
        ("linux.security_context.namespace_options.pid", |case| {
            case.modes().pid = -1;
        }),
        ("linux.security_context.namespace_options.ipc", |case| {
            case.modes().ipc = 3;
        }),
        ("linux.security_context.apparmor.profile_type", |case| {
            case.context().apparmor = Some(cri::SecurityProfile {
                profile_type: 7,
                ..Default::default()
            });
        }),
    ] {
        let mut case = Case::new();
        set(&mut case);
        assert_eq!(case.refused(), field);
    }
}

#[test]
fn paths_that_are_relative_name_their_field() {
    for (field, set) in [
        (
            "linux.security_context.masked_paths[1]",
            (|case| case.context().masked_paths = words(&["/a", "b"])) as Set,
        ),
        ("linux.security_context.readonly_paths[0]", |case| {
            case.context().readonly_paths = words(&["b"]);
        }),
        ("mounts[0].host_path", |case| {
            mount(case).host_path = "b".into()
        }),
        ("mounts[0].recursive_read_only", |case| {
            mount(case).recursive_read_only = true;
        }),
        // What Status does not announce.
        ("mounts[0].recursive_read_only", |case| {
            mount(case).readonly = true;
            mount(case).recursive_read_only = true;
            case.recursive_read_only = Support::Absent;
        }),
    ] {
        let mut case = Case::new();
        set(&mut case);
        assert_eq!(case.refused(), field);
    }
}
