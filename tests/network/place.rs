//! A host and a supervisor of a test's own, and what the tests ask them.

use std::fs;
use std::future::Future;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use outlive::api::cri;
use outlive::bundle::Read;
use outlive::config::supervisor::{Config, Overrides};
use outlive::supervisor::context::Supervisor;
use outlive::supervisor::error::Error;
use outlive::supervisor::pod::{sandbox, sandbox_init};
use outlive::supervisor::spec::HostFacts;
use outlive::supervisor::store::{Pod, PodCheckpoint, PodMeta};
use outlive::sys::namespace::{self, Kind};
use outlive::sys::proc;
use outlive::types::{ContainerId, ProcessIdentity};

use crate::support::program;

pub const SUBNET: &str = "10.97.0.0/24";
pub const GATEWAY: &str = "10.97.0.1";
pub const PLUGINS: &str = "/usr/lib/cni";

/// A supervisor's context on directories of its own.
pub struct Place {
    pub dir: PathBuf,
    pub supervisor: Arc<Supervisor>,
}

/// Runs `test` with a host of its own: a thread in a new network namespace, and a runtime whose threads and programs
/// inherit it.
pub fn on_a_host_of_its_own<F: Future<Output = ()>>(test: impl FnOnce(Place) -> F + Send) {
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
    pub fn new() -> Self {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let dir = format!("/tmp/outlive-net-{}-{serial}", std::process::id());
        let dir = PathBuf::from(dir);
        fs::create_dir_all(dir.join("net.d")).unwrap();
        let supervisor = Self::supervisor(&dir);
        Self { dir, supervisor }
    }

    /// A supervisor that knows nothing yet, as after a restart.
    pub fn supervisor(dir: &Path) -> Arc<Supervisor> {
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
            ..Overrides::default()
        };
        let config = Config::load(Some(&file), &overrides).unwrap();
        Arc::new(Supervisor::new(config, HostFacts::read().unwrap()))
    }

    /// Configures a bridge with portmap and addresses from [`SUBNET`], and what `further` says after them.
    pub fn configure(&self, further: &str) {
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
    pub fn plugin(&self, name: &str, script: &str) {
        let bin = self.dir.join("bin");
        fs::create_dir_all(&bin).unwrap();
        program::write(&bin.join(name), format!("#!/bin/sh\n{script}\n"));
    }

    pub async fn run(&self, config: cri::PodSandboxConfig) -> Result<Arc<Pod>, Error> {
        let request = cri::RunPodSandboxRequest {
            config: Some(config),
            runtime_handler: String::new(),
        };
        let id = sandbox::run(&self.supervisor, request).await?;
        Ok(self.supervisor.store.pod(id.as_str()).unwrap())
    }

    pub fn pin(&self, pod: &Pod, kind: Kind) -> PathBuf {
        self.state_of(pod.id()).join(kind.name())
    }

    pub fn state_of(&self, id: &ContainerId) -> PathBuf {
        self.supervisor.store.layout().pod_state(id)
    }

    /// The leases of the address plugin, whose directory has two files of its own too.
    pub fn leases(&self) -> Vec<String> {
        let all = names(&self.dir.join("leases/testnet"));
        all.into_iter()
            .filter(|name| name.starts_with("10."))
            .collect()
    }

    /// Fails unless nothing of any pod is there: on disk, mounted, in the network.
    pub fn assert_nothing_left(&self) {
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

pub fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

pub fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

pub fn mounts(dir: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points
        .filter(|point| Path::new(point).starts_with(dir))
        .map(str::to_owned)
        .collect()
}

/// The host's ends of the pods' interfaces.
pub fn veths() -> Vec<String> {
    let listed = run("ip", &["-o", "link", "show", "type", "veth"]);
    listed.lines().map(str::to_owned).collect()
}

/// The rules in the host's NAT table that are some pod's; those of the plugin portmap that all share stay.
pub fn rules() -> Vec<String> {
    let all = run("iptables", &["-t", "nat", "-S"]);
    all.lines()
        .filter(|rule| rule.contains("testnet") || rule.contains("10.97."))
        .map(str::to_owned)
        .collect()
}

/// A pod with the given namespaces; its pid namespaces are the containers' own.
pub fn config(name: &str, network: cri::NamespaceMode) -> cri::PodSandboxConfig {
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

pub fn options(config: &mut cri::PodSandboxConfig) -> &mut cri::NamespaceOption {
    let linux = config.linux.get_or_insert_default();
    let security = linux.security_context.get_or_insert_default();
    security.namespace_options.get_or_insert_default()
}

/// The identity of the namespace that is bound at `path`, or is the calling thread's.
pub fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

pub fn own(kind: Kind) -> PathBuf {
    Path::new("/proc/thread-self/ns").join(kind.name())
}

/// Answers every connection to `port` within the network namespace that is bound at `netns`.
pub fn serve(netns: &Path, port: u16, answer: &'static str) {
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
pub fn ask(address: &str) -> String {
    let address = address.parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(10)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

pub fn is_alive(identity: ProcessIdentity) -> bool {
    proc::running(identity.pid).is_ok_and(|found| found == identity)
}

/// A new supervisor with this pod as its files are now.
pub fn reload(place: &Place, id: &ContainerId) -> (Arc<Supervisor>, Arc<Pod>) {
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
