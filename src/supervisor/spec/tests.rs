//! Whole specifications: the checklist of every field of CRI, and what the parts come to together.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use oci_spec::image::ImageConfiguration;
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use serde_json::Value;

use super::*;
use crate::api::cri::{self, NamespaceMode, security_profile::ProfileType};

mod checklist;
mod sandbox_checklist;

/// What a specification is made of, to be changed by a test.
pub(super) struct Case {
    pub(super) config: cri::ContainerConfig,
    pub(super) pod: cri::PodSandboxConfig,
    pub(super) image: ImageConfiguration,
    pub(super) namespaces: PodNamespaces,
    pub(super) files: PodFiles,
    pub(super) host: HostFacts,
    pub(super) recursive_read_only: Support,
    pub(super) target: Option<Pid>,
    pub(super) volumes: Vec<Volume>,
}

pub(super) fn image(config: &str) -> ImageConfiguration {
    serde_json::from_str(&format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":[]}},"config":{config}}}"#
    ))
    .unwrap()
}

impl Case {
    pub(super) fn new() -> Self {
        let pinned = |name: &str| PodNamespace::Pinned(Path::new("/run/pod").join(name));
        Self {
            config: cri::ContainerConfig {
                linux: Some(cri::LinuxContainerConfig {
                    security_context: Some(cri::LinuxContainerSecurityContext {
                        namespace_options: Some(cri::NamespaceOption::default()),
                        ..Default::default()
                    }),
                    resources: Some(cri::LinuxContainerResources::default()),
                }),
                ..Default::default()
            },
            pod: cri::PodSandboxConfig {
                hostname: "pod-1".into(),
                linux: Some(cri::LinuxPodSandboxConfig {
                    security_context: Some(cri::LinuxSandboxSecurityContext {
                        privileged: true,
                        ..Default::default()
                    }),
                    ..Default::default()
                }),
                ..Default::default()
            },
            image: image(
                r#"{"Entrypoint":["/entry"],"Cmd":["one","two"],"Env":["A=image","PATH=/image"],"WorkingDir":"srv"}"#,
            ),
            namespaces: PodNamespaces {
                network: pinned("net"),
                ipc: pinned("ipc"),
                uts: pinned("uts"),
                pid: PodPid::Shared("/run/pod/pid".into()),
            },
            files: PodFiles {
                resolv_conf: Some("/pod/resolv.conf".into()),
                hostname: Some("/pod/hostname".into()),
                hosts: Some("/pod/hosts".into()),
                dev_shm: Some("/pod/shm".into()),
            },
            host: HostFacts::example(),
            recursive_read_only: Support::Present,
            target: Pid::new(77),
            volumes: Vec::new(),
        }
    }

    pub(super) fn context(&mut self) -> &mut cri::LinuxContainerSecurityContext {
        let linux = self.config.linux.as_mut().unwrap();
        linux.security_context.as_mut().unwrap()
    }

    pub(super) fn resources(&mut self) -> &mut cri::LinuxContainerResources {
        let linux = self.config.linux.as_mut().unwrap();
        linux.resources.as_mut().unwrap()
    }

    pub(super) fn modes(&mut self) -> &mut cri::NamespaceOption {
        self.context().namespace_options.as_mut().unwrap()
    }

    pub(super) fn make(&self) -> Result<Spec, SpecError> {
        container(&Inputs {
            id: &ContainerId::new("c1").unwrap(),
            config: &self.config,
            pod: &self.pod,
            image: &self.image,
            layers: &[],
            namespaces: &self.namespaces,
            target: self.target,
            files: &self.files,
            mounts: &[],
            volumes: &self.volumes,
            cgroup_parent: "/outlive/pod",
            seccomp_root: Path::new("/etc/outlive/seccomp"),
            host: &self.host,
            recursive_read_only: self.recursive_read_only,
        })
    }

    pub(super) fn json(&self) -> Value {
        let mut json = serde_json::to_value(self.make().unwrap()).unwrap();
        sort(&mut json);
        json
    }

    pub(super) fn refused(&self) -> String {
        self.make().unwrap_err().field().unwrap().to_owned()
    }
}

/// Sets of capabilities come in any order.
fn sort(json: &mut Value) {
    if let Some(sets) = json["process"]["capabilities"].as_object_mut() {
        for (_, set) in sets {
            let names = set.as_array_mut().unwrap();
            names.sort_by_key(ToString::to_string);
        }
    }
}

/// A mount's source and options.
fn mounted(json: &Value, place: &str) -> Option<(String, Vec<String>)> {
    let mounts = json["mounts"].as_array().unwrap();
    let mut here = mounts.iter().filter(|mount| mount["destination"] == place);
    let mount = here.next()?;
    assert_eq!(here.next(), None, "{place} is mounted twice");
    let options = mount["options"].as_array().unwrap();
    let options = options.iter().map(|one| one.as_str().unwrap().to_owned());
    Some((mount["source"].as_str().unwrap().into(), options.collect()))
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

#[test]
fn a_specification_survives_being_written_and_read() {
    let mut case = Case::new();
    case.context().seccomp = Some(cri::SecurityProfile {
        profile_type: ProfileType::RuntimeDefault.into(),
        localhost_ref: String::new(),
    });
    let spec = case.make().unwrap();
    let read: Spec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
    assert_eq!(read, spec);
    let json = case.json();
    assert_eq!(json["ociVersion"], "1.0.2");
    assert_eq!(json["root"]["path"], "rootfs");
    assert_eq!(json["linux"]["cgroupsPath"], "/outlive/pod/c1");
    assert_eq!(json.get("hostname"), None);
}

#[test]
fn a_command_drops_what_the_image_runs_and_arguments_only_its_arguments() {
    let args = |command: &[&str], args: &[&str]| {
        let mut case = Case::new();
        case.config.command = words(command);
        case.config.args = words(args);
        case.json()["process"]["args"].to_string()
    };
    assert_eq!(args(&[], &[]), r#"["/entry","one","two"]"#);
    assert_eq!(args(&[], &["x"]), r#"["/entry","x"]"#);
    assert_eq!(args(&["/c"], &[]), r#"["/c"]"#);
    assert_eq!(args(&["/c"], &["x"]), r#"["/c","x"]"#);
    let mut case = Case::new();
    case.image = image("{}");
    assert_eq!(case.refused(), "command");
    case.config.args = words(&["/only-args"]);
    assert_eq!(case.json()["process"]["args"][0], "/only-args");
    case.config.args = words(&["a\0b"]);
    assert_eq!(case.refused(), "args[0]");
    case.config.args = words(&["", "b"]);
    assert_eq!(case.refused(), "command[0]");
}

#[test]
fn the_requests_environment_wins_over_the_images_and_that_over_the_default() {
    let mut case = Case::new();
    let env = |case: &Case| case.json()["process"]["env"].to_string();
    assert_eq!(env(&case), r#"["PATH=/image","HOSTNAME=pod-1","A=image"]"#);
    case.config.envs = [("B", "1=2"), ("A", ""), ("HOSTNAME", "h"), ("B", "3")]
        .map(|(key, value)| cri::KeyValue {
            key: key.into(),
            value: value.into(),
        })
        .into();
    assert_eq!(env(&case), r#"["PATH=/image","HOSTNAME=h","A=","B=3"]"#);
    // What no process could be given is left out.
    case.image = image(r#"{"Cmd":["x"],"Env":["","B","=C","PATH","D=="]}"#);
    case.config.envs.clear();
    let json = env(&case);
    assert!(
        json.ends_with(r#":/bin","HOSTNAME=pod-1","D=="]"#),
        "{json}"
    );
    case.image = image(r#"{"Cmd":["x"]}"#);
    case.config.envs.clear();
    case.pod.hostname.clear();
    let json = env(&case);
    assert!(json.contains("/usr/local/sbin:"), "{json}");
    assert!(json.contains("HOSTNAME=node"), "{json}");
    for key in ["", "A=B", "A\0"] {
        case.config.envs = vec![cri::KeyValue {
            key: key.into(),
            value: String::new(),
        }];
        assert_eq!(case.refused(), "envs[0].key");
    }
}

#[test]
fn the_working_directory_is_absolute_in_the_end() {
    let mut case = Case::new();
    assert_eq!(case.json()["process"]["cwd"], "/srv");
    case.config.working_dir = "/a/../b".into();
    assert_eq!(case.json()["process"]["cwd"], "/b");
    case.config.working_dir = "b".into();
    assert_eq!(case.refused(), "working_dir");
}

#[test]
fn a_container_is_in_its_pods_namespaces_unless_it_asks_otherwise() {
    let namespaces = |case: &Case| {
        let spec = case.make().unwrap();
        let linux = spec.linux().as_ref().unwrap();
        let list = linux.namespaces().clone().unwrap();
        list.into_iter()
            .map(|one| (one.typ().to_string(), one.path().clone()))
            .collect::<BTreeMap<String, Option<PathBuf>>>()
    };
    let at = |path: &str| Some(Some(PathBuf::from(path)));
    let mut case = Case::new();
    let found = namespaces(&case);
    assert_eq!(found.get("net").cloned(), at("/run/pod/net"));
    assert_eq!(found.get("ipc").cloned(), at("/run/pod/ipc"));
    assert_eq!(found.get("uts").cloned(), at("/run/pod/uts"));
    assert_eq!(found.get("pid").cloned(), at("/run/pod/pid"));
    assert_eq!(found.get("mnt"), Some(&None));
    assert_eq!(found.len(), 5);

    case.modes().network = NamespaceMode::Node.into();
    case.modes().ipc = NamespaceMode::Container.into();
    case.modes().pid = NamespaceMode::Target.into();
    case.modes().target_id = "other".into();
    let found = namespaces(&case);
    assert_eq!(found.get("net"), None);
    assert_eq!(found.get("ipc"), Some(&None));
    assert_eq!(found.get("pid").cloned(), at("/proc/77/ns/pid"));
    let mut spec = case.make().unwrap();
    set_target(&mut spec, Pid::new(78).unwrap());
    let text = serde_json::to_string(&spec).unwrap();
    assert!(text.contains("/proc/78/ns/pid") && !text.contains("/proc/77/"));
    case.target = None;
    assert!(case.refused().ends_with("target_id"));

    case.namespaces = PodNamespaces {
        network: PodNamespace::Host,
        ipc: PodNamespace::Host,
        uts: PodNamespace::Host,
        pid: PodPid::PerContainer,
    };
    *case.modes() = cri::NamespaceOption::default();
    assert!(case.refused().ends_with("namespace_options.pid"));
    case.context().namespace_options = None;
    case.host.cgroups = CgroupVersion::V2;
    let found = namespaces(&case);
    let names: Vec<_> = found.keys().cloned().collect();
    assert_eq!(names, ["cgroup", "mnt", "pid"]);
    assert_eq!(found.get("pid"), Some(&None));
    case.context().privileged = true;
    assert!(!namespaces(&case).contains_key("cgroup"));
    assert_eq!(LinuxNamespaceType::Mount.to_string(), "mnt");
}

#[test]
fn shared_memory_follows_the_ipc_namespace() {
    let mut case = Case::new();
    let shm = |case: &Case| mounted(&case.json(), "/dev/shm").unwrap().0;
    assert_eq!(shm(&case), "/pod/shm");
    case.modes().ipc = NamespaceMode::Container.into();
    assert_eq!(shm(&case), "shm");
    case.modes().ipc = NamespaceMode::Node.into();
    assert_eq!(shm(&case), "/dev/shm");
    case.modes().ipc = NamespaceMode::Pod.into();
    case.namespaces.ipc = PodNamespace::Host;
    assert_eq!(shm(&case), "/dev/shm");
}

#[test]
fn a_mount_of_the_request_takes_the_place_of_a_default_one() {
    let mount = |place: &str, readonly| cri::Mount {
        container_path: place.into(),
        host_path: "/host".into(),
        readonly,
        ..Default::default()
    };
    let mut case = Case::new();
    case.volumes = vec![Volume {
        container_path: "/data".into(),
        host_path: "/volumes/0".into(),
    }];
    let json = case.json();
    assert_eq!(mounted(&json, "/data").unwrap().0, "/volumes/0");
    assert_eq!(mounted(&json, "/etc/hosts").unwrap().0, "/pod/hosts");
    case.config.mounts = vec![mount("/etc/hosts/", true), mount("/data", false)];
    let json = case.json();
    let hosts = mounted(&json, "/etc/hosts").unwrap();
    assert_eq!(hosts, ("/host".into(), words(&["rbind", "rprivate", "ro"])));
    assert_eq!(mounted(&json, "/data").unwrap().0, "/host");
    // All of /dev: what would be mounted in it goes too. Parents come first.
    case.config.mounts = vec![
        mount("/a/b/c", false),
        mount("/dev", false),
        mount("/a", false),
    ];
    let json = case.json();
    assert!(mounted(&json, "/dev/shm").is_none());
    let places = json["mounts"].as_array().unwrap().iter();
    let places: Vec<_> = places
        .map(|one| one["destination"].as_str().unwrap())
        .collect();
    let position = |place: &str| places.iter().position(|other| *other == place).unwrap();
    assert!(position("/a") < position("/a/b/c"));
    for place in ["relative", "", "/", "/a/.."] {
        case.config.mounts = vec![mount(place, false)];
        assert_eq!(case.refused(), "mounts[0].container_path", "{place:?}");
    }
}

#[test]
fn a_privileged_container_is_confined_by_nothing() {
    let mut case = Case::new();
    let confined = case.json();
    assert!(mounted(&confined, "/sys").unwrap().1.contains(&"ro".into()));
    let masked = confined["linux"]["maskedPaths"].as_array().unwrap();
    assert!(masked.iter().any(|path| path == "/proc/kcore"));
    case.context().privileged = true;
    case.context().masked_paths = words(&["/proc/kcore"]);
    case.context().seccomp = Some(cri::SecurityProfile::default());
    let json = case.json();
    for place in ["/sys", "/sys/fs/cgroup"] {
        assert!(mounted(&json, place).unwrap().1.contains(&"rw".into()));
    }
    for absent in ["maskedPaths", "readonlyPaths", "seccomp"] {
        assert_eq!(json["linux"].get(absent), None, "{absent}");
    }
    let allowed = &json["linux"]["resources"]["devices"][0];
    assert_eq!(allowed["allow"], true);
    let bounding = json["process"]["capabilities"]["bounding"].as_array();
    assert_eq!(bounding.unwrap().len(), 41);
    case.pod.linux = None;
    assert_eq!(case.refused(), "linux.security_context.privileged");
}

#[test]
fn a_further_process_is_like_the_first_but_for_its_arguments() {
    let mut case = Case::new();
    case.resources().oom_score_adj = 7;
    let spec = case.make().unwrap();
    let process = exec_process(&spec, words(&["/bin/ls", "-l"])).unwrap();
    let first = spec.process().as_ref().unwrap();
    assert_eq!(process.args().as_ref().unwrap(), &["/bin/ls", "-l"]);
    assert_eq!(process.user(), first.user());
    assert_eq!(process.capabilities(), first.capabilities());
    assert_eq!(process.terminal(), Some(false));
    for command in [vec![], words(&[""])] {
        let error = exec_process(&spec, command).unwrap_err();
        assert_eq!(error.field(), Some("cmd"));
    }
}

#[test]
fn notes_that_shims_group_containers_by_stay_out() {
    let mut case = Case::new();
    case.config.annotations = HashMap::from([
        ("io.kubernetes.cri.sandbox-id".into(), "p".into()),
        ("io.containerd.runc.v2.group".into(), "p".into()),
        ("io.kubernetes.container.hash".into(), "1".into()),
    ]);
    assert_eq!(
        case.json()["annotations"].to_string(),
        r#"{"io.kubernetes.container.hash":"1"}"#
    );
}

#[test]
fn a_named_apparmor_profile_needs_a_machine_that_has_it() {
    let mut case = Case::new();
    let profile = |kind: ProfileType, name: &str| {
        Some(cri::SecurityProfile {
            profile_type: kind.into(),
            localhost_ref: name.into(),
        })
    };
    case.context().apparmor = profile(ProfileType::RuntimeDefault, "");
    assert_eq!(case.json()["process"].get("apparmorProfile"), None);
    case.host.apparmor = Support::Present;
    assert_eq!(case.refused(), "linux.security_context.apparmor");
    case.context().apparmor = profile(ProfileType::Localhost, "mine");
    assert_eq!(case.json()["process"]["apparmorProfile"], "mine");
    case.context().privileged = true;
    assert_eq!(case.json()["process"].get("apparmorProfile"), None);
}
