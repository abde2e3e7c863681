//! Pods on the real kernel with the real CNI plugins: namespaces without a process, the init of a shared pid namespace,
//! the network, and the way back from every step.
//!
//! Each test has a network namespace of its own for a host: its bridges, addresses and iptables rules are nobody else's,
//! and end with it.

mod support;

use std::collections::HashMap;
use std::fs;
use std::future::Future;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use outlive::api::cri;
use outlive::bundle::Read;
use outlive::config::supervisor::{Config, Overrides};
use outlive::supervisor::context::Supervisor;
use outlive::supervisor::error::Error;
use outlive::supervisor::network::{self, Phase, Plugins};
use outlive::supervisor::pod::namespaces::Plan;
use outlive::supervisor::pod::sandbox::recover::Verdict;
use outlive::supervisor::pod::{sandbox, sandbox_init};
use outlive::supervisor::store::{Pod, PodCheckpoint, PodMeta, PodState, new_id};
use outlive::sys::namespace::{self, Kind};
use outlive::sys::proc;
use outlive::types::{ContainerId, ProcessIdentity, Timestamp};
use support::poll;
use tonic::Code;

const SUBNET: &str = "10.97.0.0/24";
const GATEWAY: &str = "10.97.0.1";
const PLUGINS: &str = "/usr/lib/cni";

/// A supervisor's context on directories of its own.
struct Place {
    dir: PathBuf,
    supervisor: Arc<Supervisor>,
}

/// Runs `test` with a host of its own: a thread in a new network namespace, and a runtime whose threads and programs
/// inherit it.
fn on_a_host_of_its_own<F: Future<Output = ()>>(test: impl FnOnce(Place) -> F + Send) {
    thread::scope(|scope| {
        let host = scope.spawn(|| {
            namespace::leave(&[Kind::Net]).expect("run as root");
            run("ip", &["link", "set", "lo", "up"]);
            sandbox_init::set_program(env!("CARGO_BIN_EXE_outlive").into());
            let place = Place::new();
            let dir = place.dir.clone();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let test = std::panic::AssertUnwindSafe(|| runtime.block_on(test(place)));
            let result = std::panic::catch_unwind(test);
            drop(runtime);
            let left = mounts(&dir);
            for mount in left.iter().rev() {
                run("umount", &["-l", mount]);
            }
            fs::remove_dir_all(&dir).unwrap();
            if let Err(panic) = result {
                std::panic::resume_unwind(panic);
            }
            assert!(left.is_empty(), "left mounted: {left:?}");
        });
        if let Err(panic) = host.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

impl Place {
    fn new() -> Self {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let dir = format!("/tmp/outlive-net-{}-{serial}", std::process::id());
        let dir = PathBuf::from(dir);
        fs::create_dir_all(dir.join("net.d")).unwrap();
        let supervisor = Self::supervisor(&dir);
        Self { dir, supervisor }
    }

    /// A supervisor that knows nothing yet, as after a restart.
    fn supervisor(dir: &Path) -> Arc<Supervisor> {
        let settings = format!(
            "[network]\nconf_dir = {:?}\nbin_dirs = [{:?}, {PLUGINS:?}]\n[cgroup]\nparent = \"/{}\"\n\
             [runtimes.outlive]\nshim = {:?}\n",
            dir.join("net.d"),
            dir.join("bin"),
            dir.file_name().unwrap().to_str().unwrap(),
            env!("CARGO_BIN_EXE_containerd-shim-outlive-v2"),
        );
        let file = dir.join("supervisor.toml");
        fs::write(&file, settings).unwrap();
        let overrides = Overrides {
            root: Some(dir.join("root")),
            state: Some(dir.join("state")),
            address: None,
        };
        let config = Config::load(Some(&file), &overrides).unwrap();
        Arc::new(Supervisor::new(config))
    }

    /// Configures a bridge with portmap and addresses from [`SUBNET`], and what `further` says after them.
    fn configure(&self, further: &str) {
        let leases = self.dir.join("leases");
        let list = format!(
            r#"{{"cniVersion":"1.0.0","name":"testnet","plugins":[
            {{"type":"bridge","bridge":"obr0","isGateway":true,"ipMasq":true,
              "ipam":{{"type":"host-local","dataDir":{leases:?},"ranges":[[{{"subnet":"{SUBNET}"}}]],
                       "routes":[{{"dst":"0.0.0.0/0"}}]}}}},
            {{"type":"portmap","capabilities":{{"portMappings":true}},"snat":true}}{further}]}}"#
        );
        fs::write(self.dir.join("net.d/10-test.conflist"), list).unwrap();
    }

    /// A plugin of the test's own: a shell script.
    fn plugin(&self, name: &str, script: &str) {
        let bin = self.dir.join("bin");
        fs::create_dir_all(&bin).unwrap();
        fs::write(bin.join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    async fn run(&self, config: cri::PodSandboxConfig) -> Result<Arc<Pod>, Error> {
        let request = cri::RunPodSandboxRequest {
            config: Some(config),
            runtime_handler: String::new(),
        };
        let id = sandbox::run(&self.supervisor, request).await?;
        Ok(self.supervisor.store.pod(id.as_str()).unwrap())
    }

    fn pin(&self, pod: &Pod, kind: Kind) -> PathBuf {
        self.state_of(pod.id()).join(kind.name())
    }

    fn state_of(&self, id: &ContainerId) -> PathBuf {
        self.supervisor.store.layout().pod_state(id)
    }

    /// The leases of the address plugin, whose directory has two files of its own too.
    fn leases(&self) -> Vec<String> {
        let all = names(&self.dir.join("leases/testnet"));
        all.into_iter()
            .filter(|name| name.starts_with("10."))
            .collect()
    }

    /// Fails unless nothing of any pod is there: on disk, mounted, in the network.
    fn assert_nothing_left(&self) {
        let layout = self.supervisor.store.layout();
        assert_eq!(names(&layout.pods()), [""; 0]);
        assert_eq!(names(&layout.pods_state()), [""; 0]);
        assert_eq!(mounts(&self.dir), [""; 0]);
        assert_eq!(self.leases(), [""; 0]);
        assert_eq!(veths(), [""; 0]);
        assert_eq!(rules(), [""; 0]);
        assert!(self.supervisor.store.pods().is_empty());
    }
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn mounts(dir: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points
        .filter(|point| Path::new(point).starts_with(dir))
        .map(str::to_owned)
        .collect()
}

/// The host's ends of the pods' interfaces.
fn veths() -> Vec<String> {
    let listed = run("ip", &["-o", "link", "show", "type", "veth"]);
    listed.lines().map(str::to_owned).collect()
}

/// The rules in the host's NAT table that are some pod's; those of the plugin portmap that all share stay.
fn rules() -> Vec<String> {
    let all = run("iptables", &["-t", "nat", "-S"]);
    all.lines()
        .filter(|rule| rule.contains("testnet") || rule.contains("10.97."))
        .map(str::to_owned)
        .collect()
}

/// A pod with the given namespaces; its pid namespaces are the containers' own.
fn config(name: &str, network: cri::NamespaceMode) -> cri::PodSandboxConfig {
    let options = cri::NamespaceOption {
        network: network.into(),
        pid: cri::NamespaceMode::Container.into(),
        ..Default::default()
    };
    cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata {
            name: name.into(),
            uid: format!("uid-{name}"),
            namespace: "default".into(),
            attempt: 0,
        }),
        linux: Some(cri::LinuxPodSandboxConfig {
            security_context: Some(cri::LinuxSandboxSecurityContext {
                namespace_options: Some(options),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn options(config: &mut cri::PodSandboxConfig) -> &mut cri::NamespaceOption {
    let linux = config.linux.get_or_insert_default();
    let security = linux.security_context.get_or_insert_default();
    security.namespace_options.get_or_insert_default()
}

/// The identity of the namespace that is bound at `path`, or is the calling thread's.
fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

fn own(kind: Kind) -> PathBuf {
    Path::new("/proc/thread-self/ns").join(kind.name())
}

/// Answers every connection to `port` within the network namespace that is bound at `netns`.
fn serve(netns: &Path, port: u16, answer: &'static str) {
    let listener = namespace::in_thread(|| {
        namespace::enter(Kind::Net, netns).unwrap();
        TcpListener::bind(("0.0.0.0", port)).unwrap()
    });
    let listener = listener.unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            drop(stream.unwrap().write_all(answer.as_bytes()));
        }
    });
}

/// What the server at `address` answers.
fn ask(address: &str) -> String {
    let address = address.parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(10)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn is_alive(identity: ProcessIdentity) -> bool {
    proc::running(identity.pid).is_ok_and(|found| found == identity)
}

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
        let mut ports = good;
        ports.port_mappings = vec![cri::PortMapping {
            container_port: 80,
            host_port: 70_000,
            ..Default::default()
        }];
        let ports = refused(request(Some(ports))).await;
        assert!(ports.starts_with("port_mappings[0].host_port: "), "{ports}");
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
fn the_init_of_a_shared_pid_namespace_reaps_sees_nothing_and_ends_with_the_pod() {
    on_a_host_of_its_own(|place| async move {
        let mut wanted = config("shared", cri::NamespaceMode::Node);
        options(&mut wanted).pid = cri::NamespaceMode::Pod.into();
        let pod = place.run(wanted.clone()).await.unwrap();
        let init = pod.checkpoint().init.unwrap();
        assert!(is_alive(init));
        let of_init = |name: &str| PathBuf::from(format!("/proc/{}/{name}", init.pid));
        let pin = place.pin(&pod, Kind::Pid);
        assert_eq!(inode(&pin), inode(&of_init("ns/pid")));
        assert_eq!(
            inode(&place.pin(&pod, Kind::Ipc)),
            inode(&of_init("ns/ipc"))
        );
        assert_eq!(names(&of_init("root/")), [""; 0]);
        let status = fs::read_to_string(of_init("status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().to_owned()
        };
        assert_eq!(
            ["Uid:", "CapEff:", "CapPrm:", "NoNewPrivs:"].map(field),
            ["65534", "0000000000000000", "0000000000000000", "1"]
        );
        let stat = fs::read_to_string(of_init("stat")).unwrap();
        let session = stat.rsplit_once(") ").unwrap().1.split(' ').nth(3).unwrap();
        assert_eq!(session, init.pid.to_string(), "a session of its own");

        let within = |command: &str| {
            let pid = format!("--pid={}", pin.display());
            run("nsenter", &[&pid, "/bin/sh", "-c", command])
        };
        // The shell ends first, and the sleeper is the init's.
        within("sleep 0.1 & true");
        // From within nobody ends it.
        within("kill -TERM 1; kill -KILL 1; kill -INT 1");
        poll::until("the init has reaped", || {
            let path = of_init(&format!("task/{}/children", init.pid));
            let children = fs::read_to_string(path).unwrap();
            if children.is_empty() {
                Ok(())
            } else {
                Err(children)
            }
        });
        assert!(is_alive(init));
        sandbox::stop(&place.supervisor, &pod).await.unwrap();
        assert!(!is_alive(init));
        assert!(
            proc::identity(init.pid)
                .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound),
            "no zombie is left"
        );
        sandbox::remove(&place.supervisor, &pod).await.unwrap();
        place.assert_nothing_left();
    });
}

#[test]
fn a_pod_whose_init_is_killed_is_not_ready_any_more_and_can_be_removed() {
    on_a_host_of_its_own(|place| async move {
        let mut wanted = config("killed", cri::NamespaceMode::Node);
        options(&mut wanted).pid = cri::NamespaceMode::Pod.into();
        let pod = place.run(wanted).await.unwrap();
        let init = pod.checkpoint().init.unwrap();
        let raw = nix::unistd::Pid::from_raw(init.pid.as_raw());
        nix::sys::signal::kill(raw, nix::sys::signal::Signal::SIGTERM).unwrap();
        let ended = tokio::time::timeout(poll::DEADLINE, async {
            while pod.is_ready() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        ended.await.expect("SIGTERM ends the init");
        assert_eq!(pod.checkpoint().state, PodState::NotReady);
        sandbox::remove(&place.supervisor, &pod).await.unwrap();
        place.assert_nothing_left();
    });
}

#[test]
fn a_supervisor_that_dies_before_it_has_recorded_the_init_leaves_none() {
    let waiting = sandbox_init_of_its_own();
    let identity = waiting.identity();
    assert!(is_alive(identity));
    drop(waiting);
    poll::until("the init ends", || {
        if is_alive(identity) {
            Err("it is alive")
        } else {
            Ok(())
        }
        .map_err(str::to_owned)
    });
    sandbox_init::end(identity).unwrap();
}

fn sandbox_init_of_its_own() -> sandbox_init::Waiting {
    sandbox_init::set_program(env!("CARGO_BIN_EXE_outlive").into());
    sandbox_init::start(&[]).unwrap()
}

#[test]
fn another_process_with_the_inits_pid_is_not_killed() {
    let mut other = Command::new("/bin/sleep").arg("60").spawn().unwrap();
    let pid = outlive::types::Pid::new(other.id()).unwrap();
    let mut identity = proc::identity(pid).unwrap();
    identity.start_ticks -= 1;
    sandbox_init::end(identity).unwrap();
    assert_eq!(other.try_wait().unwrap(), None);
    other.kill().unwrap();
    other.wait().unwrap();
}

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

#[test]
fn a_delete_that_fails_keeps_the_pod_until_it_works() {
    on_a_host_of_its_own(|place| async move {
        place.plugin(
            "keeps",
            r#"[ "$CNI_COMMAND" = ADD ] && exec cat "${0%/*}/../answer"; echo no >&2; exit 3"#,
        );
        fs::write(
            place.dir.join("answer"),
            r#"{"cniVersion":"1.0.0","ips":[{"address":"10.97.0.9/24"}]}"#,
        )
        .unwrap();
        fs::write(
            place.dir.join("net.d/10.conf"),
            r#"{"cniVersion":"1.0.0","name":"testnet","type":"keeps"}"#,
        )
        .unwrap();
        let pod = place
            .run(config("kept", cri::NamespaceMode::Pod))
            .await
            .unwrap();
        assert_eq!(pod.addresses(), ["10.97.0.9"]);
        let error = sandbox::stop(&place.supervisor, &pod).await.unwrap_err();
        assert!(error.to_string().contains("exit status: 3: no"), "{error}");
        assert!(place.pin(&pod, Kind::Net).exists());
        assert!(sandbox::remove(&place.supervisor, &pod).await.is_err());
        assert_eq!(place.supervisor.store.pods().len(), 1);
        // A restart now would find the network half gone, and not call it ready.
        let again = reload(&place, pod.id());
        let verdict = sandbox::restore(&again.0, &again.1).await;
        assert!(matches!(verdict, Verdict::NotReady(_)), "{verdict:?}");
        place.plugin("keeps", "exit 0");
        sandbox::remove(&place.supervisor, &pod).await.unwrap();
        place.assert_nothing_left();
    });
}

/// A new supervisor with this pod as its files are now.
fn reload(place: &Place, id: &ContainerId) -> (Arc<Supervisor>, Arc<Pod>) {
    let supervisor = Place::supervisor(&place.dir);
    let dir = supervisor.store.layout().pod(id);
    let Read::Found(meta) = PodMeta::read(&dir.join("pod.json")) else {
        panic!("no pod.json");
    };
    let Read::Found(checkpoint) = PodCheckpoint::read(&dir.join("status.json")) else {
        panic!("no status.json");
    };
    let pod = Pod::new(id.clone(), dir, Some(meta), checkpoint, None);
    supervisor.store.insert_pod(Arc::clone(&pod));
    (supervisor, pod)
}

#[test]
fn after_a_restart_a_whole_pod_is_ready_and_one_that_lost_something_is_not() {
    on_a_host_of_its_own(|place| async move {
        place.configure("");
        let mut wanted = config("whole", cri::NamespaceMode::Pod);
        options(&mut wanted).pid = cri::NamespaceMode::Pod.into();
        let pod = place.run(wanted).await.unwrap();
        let written = fs::metadata(pod.dir().join("status.json")).unwrap().ino();
        for _ in 0..2 {
            let (supervisor, again) = reload(&place, pod.id());
            let verdict = sandbox::restore(&supervisor, &again).await;
            assert_eq!(verdict, Verdict::Ready(pod.addresses()));
            assert_eq!(again.addresses(), pod.addresses());
            assert!(again.is_ready());
        }
        let unchanged = fs::metadata(pod.dir().join("status.json")).unwrap().ino();
        assert_eq!(
            written, unchanged,
            "nothing has changed, nothing is written"
        );

        let shm = place.state_of(pod.id()).join("shm");
        run("umount", &[shm.to_str().unwrap()]);
        let (supervisor, again) = reload(&place, pod.id());
        let verdict = sandbox::restore(&supervisor, &again).await;
        assert_eq!(verdict, Verdict::NotReady("shm is not mounted".into()));
        let (supervisor, again) = reload(&place, pod.id());
        assert_eq!(again.checkpoint().state, PodState::NotReady);
        sandbox::remove(&supervisor, &again).await.unwrap();
        place.supervisor.store.remove_pod(pod.id());
        place.assert_nothing_left();
    });
}

/// A pod of which only the first `steps` of RunPodSandbox were done.
async fn half_made(place: &Place, steps: usize) -> ContainerId {
    let layout = place.supervisor.store.layout();
    let mut wanted = config(&format!("half-{steps}"), cri::NamespaceMode::Pod);
    options(&mut wanted).pid = cri::NamespaceMode::Pod.into();
    let id = new_id().unwrap();
    let dir = layout.pod(&id);
    fs::create_dir_all(&dir).unwrap();
    let meta = PodMeta {
        id: id.clone(),
        config: wanted.clone(),
        runtime: String::new(),
        created_at: Timestamp::now(),
    };
    meta.write(&dir.join("pod.json")).unwrap();
    let mut checkpoint = PodCheckpoint {
        state: PodState::Creating,
        init: None,
    };
    checkpoint.write(&dir.join("status.json")).unwrap();
    let state = layout.pod_state(&id);
    if steps > 0 {
        Plan::of(&wanted).unwrap().make(&state).unwrap();
    }
    if steps > 1 {
        let waiting = sandbox_init::start(&[(Kind::Net, state.join("net"))]).unwrap();
        checkpoint.init = Some(waiting.identity());
        checkpoint.write(&dir.join("status.json")).unwrap();
        waiting.release(&state.join("pid")).unwrap();
    }
    if steps > 2 {
        let plugins = Plugins::from(&place.supervisor.config);
        let (netns, record) = (state.join("net"), dir.join("network.json"));
        let attached = network::attach(&plugins, &id, &wanted, &netns, &record);
        attached.await.unwrap();
        if steps == 4 {
            // As after a crash between ADD and its answer.
            let text = fs::read_to_string(&record).unwrap();
            let mut record_json: serde_json::Value = serde_json::from_str(&text).unwrap();
            record_json["phase"] = "Adding".into();
            for network in record_json["networks"].as_array_mut().unwrap() {
                network["result"] = serde_json::Value::Null;
            }
            fs::write(&record, record_json.to_string()).unwrap();
        }
    }
    id
}

#[test]
fn a_crash_after_any_step_of_run_is_undone() {
    on_a_host_of_its_own(|place| async move {
        place.configure("");
        for steps in 0..=4 {
            let id = half_made(&place, steps).await;
            let (supervisor, pod) = reload(&place, &id);
            let init = pod.checkpoint().init;
            assert_eq!(
                sandbox::restore(&supervisor, &pod).await,
                Verdict::Undo,
                "{steps} steps"
            );
            sandbox::undo_or_keep(&supervisor, &pod).await;
            assert!(supervisor.store.pods().is_empty());
            assert!(init.is_none_or(|init| !is_alive(init)), "{steps} steps");
            place.assert_nothing_left();
            sandbox::undo(&supervisor, &id).await.unwrap();
        }
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

/// Real crashes: this test program starts itself, with the name of the step after which it kills itself.
#[cfg(feature = "crash-points")]
mod crashes {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

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
}
