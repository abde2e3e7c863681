//! Specifications that a real runc takes, and what is seen from within the containers that it makes of them.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use oci_spec::image::ImageConfiguration;
use outlive::api::cri::{self, NamespaceMode, security_profile::ProfileType};
use outlive::supervisor::spec::{
    self, HostFacts, Inputs, PodFiles, PodNamespace, PodNamespaces, PodPid, Support,
};
use outlive::types::ContainerId;

mod support;
use support::{poll, rootfs};

/// Namespaces as a pod has them, kept by a process that only sleeps.
struct Pod {
    keeper: Child,
    namespaces: PodNamespaces,
}

impl Pod {
    fn new() -> Self {
        let keeper = Command::new("unshare")
            .args(["--net", "--ipc", "--uts", "sleep", "120"])
            .spawn()
            .unwrap();
        let own = Path::new("/proc").join(keeper.id().to_string()).join("ns");
        let pinned = |name: &str| PodNamespace::Pinned(own.join(name));
        let pod = Self {
            keeper,
            namespaces: PodNamespaces {
                network: pinned("net"),
                ipc: pinned("ipc"),
                uts: pinned("uts"),
                pid: PodPid::PerContainer,
            },
        };
        // unshare(2) makes them all in one step, some time after the start.
        poll::until("namespaces of their own", || {
            let net = std::fs::metadata(own.join("net")).map_err(|error| error.to_string())?;
            if net.ino() == namespace("net") {
                return Err("still ours".into());
            }
            Ok(())
        });
        pod
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        drop(self.keeper.kill());
        drop(self.keeper.wait());
    }
}

/// The number of a namespace of ours.
fn namespace(name: &str) -> u64 {
    let path = Path::new("/proc/self/ns").join(name);
    std::fs::metadata(path).unwrap().ino()
}

/// A bundle, and what runs in it.
struct Container {
    id: ContainerId,
    directory: PathBuf,
    config: cri::ContainerConfig,
    image: ImageConfiguration,
    namespaces: PodNamespaces,
    files: PodFiles,
}

impl Container {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("outlive-spec-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(&id);
        std::fs::create_dir_all(directory.join("rootfs")).unwrap();
        let layer = directory.join("rootfs");
        rootfs::busybox(&layer);
        std::fs::write(
            layer.join("etc/passwd"),
            "root:x:0:0::/root:/bin/sh\napp:x:100:101::/:/bin/sh\n",
        )
        .unwrap();
        std::fs::write(
            layer.join("etc/group"),
            "root:x:0:\napp:x:101:\nlog:x:7:app\n",
        )
        .unwrap();
        Self {
            id: ContainerId::new(&id).unwrap(),
            directory,
            config: cri::ContainerConfig {
                linux: Some(cri::LinuxContainerConfig {
                    security_context: Some(cri::LinuxContainerSecurityContext::default()),
                    ..Default::default()
                }),
                ..Default::default()
            },
            image: serde_json::from_str(
                r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},
                    "config":{"Env":["FROM=image"],"WorkingDir":"/srv"}}"#,
            )
            .unwrap(),
            namespaces: PodNamespaces {
                network: PodNamespace::Host,
                ipc: PodNamespace::Host,
                uts: PodNamespace::Host,
                pid: PodPid::PerContainer,
            },
            files: PodFiles::default(),
        }
    }

    fn context(&mut self) -> &mut cri::LinuxContainerSecurityContext {
        let linux = self.config.linux.as_mut().unwrap();
        linux.security_context.as_mut().unwrap()
    }

    fn seccomp(&mut self, kind: ProfileType) {
        self.context().seccomp = Some(cri::SecurityProfile {
            profile_type: kind.into(),
            localhost_ref: String::new(),
        });
    }

    /// Runs `script` and answers its output; it must exit with 0.
    fn run(&mut self, script: &str) -> String {
        self.config.command = ["/bin/sh", "-e", "-c", script].map(str::to_owned).into();
        self.run_command()
    }

    fn run_command(&mut self) -> String {
        let pod = cri::PodSandboxConfig {
            linux: Some(cri::LinuxPodSandboxConfig {
                security_context: Some(cri::LinuxSandboxSecurityContext {
                    privileged: true,
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        };
        let layers = [self.directory.join("rootfs")];
        let mounts = spec::prepare_mounts(&self.config).unwrap();
        let volumes = self.directory.join("volumes");
        let volumes = spec::prepare_volumes(&self.image, &self.config, &layers, &volumes).unwrap();
        let spec = spec::container(&Inputs {
            id: &self.id,
            config: &self.config,
            pod: &pod,
            image: &self.image,
            layers: &layers,
            namespaces: &self.namespaces,
            target: None,
            files: &self.files,
            mounts: &mounts,
            volumes: &volumes,
            cgroup_parent: &self.parent(),
            seccomp_root: Path::new("/etc/outlive/seccomp"),
            host: &HostFacts::read().unwrap(),
            recursive_read_only: Support::Present,
        })
        .unwrap();
        let json = serde_json::to_vec(&spec).unwrap();
        std::fs::write(self.directory.join("config.json"), json).unwrap();
        let output = Command::new("runc")
            .arg("--root")
            .arg(self.directory.join("runc"))
            .args(["run", "--bundle"])
            .arg(&self.directory)
            .arg(self.id.as_str())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}{errors}");
        text
    }

    fn parent(&self) -> String {
        format!("/{}-pod", self.id)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let parent = self.parent();
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            let group = hierarchy.path().join(parent.trim_start_matches('/'));
            drop(std::fs::remove_dir(group));
        }
        drop(std::fs::remove_dir(
            Path::new("/sys/fs/cgroup").join(parent.trim_start_matches('/')),
        ));
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

/// The value of a line `name:\tvalue`.
fn status<'a>(text: &'a str, name: &str) -> &'a str {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).trim()
}

#[test]
fn a_plain_container_is_who_the_image_says_with_the_default_capabilities() {
    let mut container = Container::new();
    let text = container.run(
        "cat /proc/self/status; pwd; echo FROM=$FROM HOSTNAME=$HOSTNAME; \
         cat /proc/self/oom_score_adj; ulimit -n; cat /proc/1/cgroup",
    );
    assert_eq!(status(&text, "CapEff"), "00000000a80425fb");
    assert_eq!(status(&text, "CapBnd"), "00000000a80425fb");
    assert_eq!(status(&text, "CapInh"), "0000000000000000");
    assert_eq!(status(&text, "NoNewPrivs"), "0");
    assert_eq!(status(&text, "Seccomp"), "0");
    assert_eq!(status(&text, "Uid"), "0\t0\t0\t0");
    assert!(text.contains("\n/srv\n"), "{text}");
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let expected = format!("FROM=image HOSTNAME={}", host.trim());
    assert!(text.contains(&expected), "{text}");
    let place = format!("-pod/{}", container.id);
    assert!(text.contains(&place), "{text}");
}

#[test]
fn a_user_has_the_groups_of_the_image_and_of_the_request() {
    let mut container = Container::new();
    container.context().run_as_username = "app".into();
    container.context().supplemental_groups = vec![3000];
    container.context().no_new_privs = true;
    container.context().capabilities = Some(cri::Capability {
        add_capabilities: vec!["NET_ADMIN".into()],
        drop_capabilities: vec!["ALL".into()],
        add_ambient_capabilities: vec!["NET_BIND_SERVICE".into()],
    });
    let text = container.run("cat /proc/self/status");
    assert_eq!(status(&text, "Uid"), "100\t100\t100\t100");
    assert_eq!(status(&text, "Gid"), "101\t101\t101\t101");
    assert_eq!(status(&text, "Groups"), "7 101 3000");
    assert_eq!(status(&text, "NoNewPrivs"), "1");
    // An execve(2) by another user than root keeps the ambient ones alone.
    assert_eq!(status(&text, "CapEff"), "0000000000000400");
    assert_eq!(status(&text, "CapAmb"), "0000000000000400");
    assert_eq!(status(&text, "CapBnd"), "0000000000001400");
}

#[test]
fn the_default_profile_forbids_what_a_container_needs_not_and_no_more() {
    let mut container = Container::new();
    let enters = "unshare -U true && echo entered";
    assert_eq!(container.run(enters), "entered\n");
    container.seccomp(ProfileType::RuntimeDefault);
    let text = container.run(
        "cat /proc/self/status; ls / >/dev/null; sleep 0.01; date >/dev/null; \
         mkdir /tmp/a; ln -s a /tmp/b; mkfifo /tmp/f; touch -d 2001-01-01 /tmp/t; df / >/dev/null; \
         if unshare -U true; then echo entered; else echo refused; fi 2>&1",
    );
    assert_eq!(status(&text, "Seccomp"), "2");
    assert!(text.contains("refused"), "{text}");
    assert!(text.contains("Operation not permitted"), "{text}");
}

#[test]
fn threads_start_under_the_default_profile() {
    // glibc's, which tries clone3(2) first: the machine's own xz compresses in two of them.
    let mut container = Container::new();
    container.seccomp(ProfileType::RuntimeDefault);
    container.config.mounts = ["/usr", "/lib", "/lib64"]
        .map(|path| cri::Mount {
            container_path: path.into(),
            host_path: path.into(),
            readonly: true,
            ..Default::default()
        })
        .into();
    let text = container.run(
        "i=0; while [ $i -lt 4000 ]; do echo $i; i=$((i+1)); done > /tmp/in; \
         /usr/bin/xz --threads=2 --block-size=4096 --stdout /tmp/in > /tmp/out; \
         /usr/bin/xz --decompress --stdout --format=xz /tmp/out | cmp - /tmp/in && echo same",
    );
    assert_eq!(text, "same\n");
}

#[test]
fn what_is_masked_is_empty_and_what_is_readonly_is_not_written() {
    let mut container = Container::new();
    container.context().readonly_rootfs = true;
    container.context().namespace_options = Some(cri::NamespaceOption {
        pid: NamespaceMode::Container.into(),
        ipc: NamespaceMode::Container.into(),
        ..Default::default()
    });
    container.image = serde_json::from_str(
        r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},
            "config":{"Volumes":{"/var/data":{}}}}"#,
    )
    .unwrap();
    let source = container.directory.join("shared");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("file"), "from the host\n").unwrap();
    let mount = |place: &str, readonly, recursive_read_only| cri::Mount {
        container_path: place.into(),
        host_path: source.to_str().unwrap().into(),
        readonly,
        recursive_read_only,
        ..Default::default()
    };
    container.config.mounts = vec![
        mount("/shared/ro", true, false),
        mount("/shared/rro", true, true),
        mount("/shared/rw", false, false),
    ];
    let hosts = container.directory.join("hosts");
    std::fs::write(&hosts, "127.0.0.1 pod\n").unwrap();
    container.files.hosts = Some(hosts);
    let text = container.run(
        "w() { if (echo x > $1) 2>/dev/null; then echo $1 written; else echo $1 refused; fi; }; \
         w /bin/x; w /shared/ro/x; w /shared/rro/x; w /shared/rw/x; w /var/data/x; w /etc/hosts; \
         w /dev/shm/x; w /proc/sys/kernel/hostname; w /sys/kernel/x; cat /shared/ro/file /etc/hosts; \
         for f in /proc/kcore /proc/keys /proc/timer_list; do if test -e $f; then head -c1 $f | wc -c; else echo 0; fi; done",
    );
    let expected = "/bin/x refused\n/shared/ro/x refused\n/shared/rro/x refused\n/shared/rw/x written\n\
        /var/data/x written\n/etc/hosts refused\n/dev/shm/x written\n/proc/sys/kernel/hostname refused\n\
        /sys/kernel/x refused\nfrom the host\n127.0.0.1 pod\n0\n0\n0\n";
    assert_eq!(text, expected);
}

#[test]
fn a_device_is_there_with_its_permissions_and_no_other() {
    let mut container = Container::new();
    container.config.devices = vec![cri::Device {
        container_path: "/dev/spare".into(),
        host_path: "/dev/zero".into(),
        permissions: "r".into(),
    }];
    let text = container.run(
        "head -c 3 /dev/spare | wc -c; stat -c '%t:%T' /dev/spare; \
         mknod /tmp/kmsg c 1 11; if cat /tmp/kmsg 2>/dev/null | head -c 1; then true; fi; \
         (head -c1 < /tmp/kmsg >/dev/null) 2>&1 | grep -c 'not permitted'; ls /dev | wc -l",
    );
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[..3], ["3", "1:5", "1"], "{text}");
    let confined: usize = lines[3].parse().unwrap();
    container.config.devices.clear();
    container.context().privileged = true;
    let text = container.run(
        "ls /dev | wc -l; test -w /sys/kernel && echo rw; grep CapEff /proc/self/status; \
         mkdir /tmp/m; mount -t tmpfs none /tmp/m && echo mounted; head -c1 /dev/mem >/dev/null 2>&1 || true; \
         grep ' /sys/fs/cgroup ' /proc/mounts | grep -c -w rw",
    );
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].parse::<usize>().unwrap() > confined, "{text}");
    assert_eq!((lines[1], lines[3], lines[4]), ("rw", "mounted", "1"));
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    assert_eq!(status(&text, "CapEff"), status(&own, "CapEff"));
}

#[test]
fn namespaces_are_the_hosts_the_pods_or_the_containers() {
    let list = "for n in net ipc uts pid mnt; do stat -L -c %i /proc/self/ns/$n; done";
    let numbers = |text: &str| -> Vec<u64> {
        let lines = text.lines();
        lines.map(|line| line.parse().unwrap()).collect()
    };
    let host = ["net", "ipc", "uts", "pid", "mnt"].map(namespace);
    let mut container = Container::new();
    container.context().namespace_options = Some(cri::NamespaceOption {
        network: NamespaceMode::Node.into(),
        pid: NamespaceMode::Node.into(),
        ipc: NamespaceMode::Node.into(),
        ..Default::default()
    });
    let found = numbers(&container.run(list));
    assert_eq!(found[..4], host[..4]);
    assert_ne!(found[4], host[4]);

    let pod = Pod::new();
    container.namespaces = pod.namespaces.clone();
    container.context().namespace_options = None;
    let found = numbers(&container.run(list));
    for (index, namespace) in [
        &pod.namespaces.network,
        &pod.namespaces.ipc,
        &pod.namespaces.uts,
    ]
    .into_iter()
    .enumerate()
    {
        let PodNamespace::Pinned(path) = namespace else {
            panic!("{namespace:?}")
        };
        assert_eq!(found[index], std::fs::metadata(path).unwrap().ino());
    }
    assert!(found.iter().zip(&host).all(|(one, other)| one != other));
    container.context().namespace_options = Some(cri::NamespaceOption {
        network: NamespaceMode::Container.into(),
        pid: NamespaceMode::Container.into(),
        ipc: NamespaceMode::Container.into(),
        ..Default::default()
    });
    let own = numbers(&container.run(list));
    assert!(own[..2].iter().zip(&found).all(|(one, other)| one != other));
    assert!(own.iter().zip(&host).all(|(one, other)| one != other));
}

#[test]
fn limits_are_those_of_the_containers_control_group() {
    let mut container = Container::new();
    let linux = container.config.linux.as_mut().unwrap();
    linux.resources = Some(cri::LinuxContainerResources {
        memory_limit_in_bytes: 32 << 20,
        cpu_shares: 300,
        cpu_quota: 50_000,
        cpu_period: 100_000,
        oom_score_adj: 500,
        cpuset_cpus: "0".into(),
        ..Default::default()
    });
    let text = container.run(
        "cd /sys/fs/cgroup; cat /proc/self/oom_score_adj; \
         cat memory/memory.limit_in_bytes memory/memory.memsw.limit_in_bytes cpu/cpu.shares cpu/cpu.cfs_quota_us \
             cpuset/cpuset.cpus",
    );
    assert_eq!(text, "500\n33554432\n33554432\n300\n50000\n0\n");
}

/// A directory that is a mount of its own, with whatever gets mounted in it.
struct Mounted(PathBuf);

impl Mounted {
    /// `propagation` is an option of mount(8): `--make-shared`.
    fn new(path: PathBuf, propagation: &str) -> Self {
        std::fs::create_dir(&path).unwrap();
        let mount = |option: &str, paths: &[&Path]| {
            let done = Command::new("mount").arg(option).args(paths).status();
            assert!(done.unwrap().success(), "mount {option} {paths:?}");
        };
        mount("--bind", &[&path, &path]);
        let mounted = Self(path);
        // Of its own first: it is a peer of what it was bound from.
        mount("--make-private", &[&mounted.0]);
        mount(propagation, &[&mounted.0]);
        mounted
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let done = Command::new("umount")
            .arg("--recursive")
            .arg(&self.0)
            .status();
        assert!(done.is_ok_and(|status| status.success()));
    }
}

#[test]
fn a_mount_spreads_as_far_as_it_was_asked_to() {
    let mut container = Container::new();
    let shared = Mounted::new(container.directory.join("shared"), "--make-shared");
    let marks = |name: &str| shared.0.join(name).join("mark").exists();
    for name in ["private", "slave", "both"] {
        std::fs::create_dir(shared.0.join(name)).unwrap();
    }
    container.context().privileged = true;
    for (name, propagation, seen) in [
        ("private", cri::MountPropagation::PropagationPrivate, false),
        (
            "slave",
            cri::MountPropagation::PropagationHostToContainer,
            false,
        ),
        (
            "both",
            cri::MountPropagation::PropagationBidirectional,
            true,
        ),
    ] {
        container.config.mounts = vec![cri::Mount {
            container_path: "/shared".into(),
            host_path: shared.0.to_str().unwrap().into(),
            propagation: propagation.into(),
            ..Default::default()
        }];
        container.run(&format!(
            "mount -t tmpfs none /shared/{name}; touch /shared/{name}/mark"
        ));
        assert_eq!(marks(name), seen, "{name}");
    }
    let private = Mounted::new(container.directory.join("private"), "--make-private");
    container.config.mounts[0].host_path = private.0.to_str().unwrap().into();
    let refused = spec::prepare_mounts(&container.config).unwrap_err();
    assert_eq!(refused.field(), Some("mounts[0].host_path"));
}
