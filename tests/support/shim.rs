//! A shim driven as containerd drives it, without containerd: a bundle, the log fifo, `start`, an events endpoint, the task
//! service; and at the end of each test the proof that nothing is left.
//!
//! `OUTLIVE_SHIM` names another shim binary (containerd's own, as an oracle), `OUTLIVE_TASK_SERVICE` the service to call
//! (`containerd.task.v3.Task` unless set), `OUTLIVE_OCI_RUNTIME` the OCI runtime (runc unless set).

use crate::events::Events;
use crate::leaks;
use crate::rootfs;
use crate::rpc::*;
use crate::spec::{mount, process, spec};
use containerd_shim_protos::api::{CreateTaskRequest, CreateTaskResponse};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::shim::oci::Options;
use containerd_shim_protos::ttrpc::Code;
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::ops::Deref;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio as Pipe};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Polls until `attempt` is Ok; shows the last refusal where it never is.
pub fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(last) if Instant::now() > end => {
                panic!("{what}: not within {DEADLINE:?}; last: {last}")
            }
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// The shim under test.
pub fn binary() -> PathBuf {
    std::env::var_os("OUTLIVE_SHIM").map_or_else(
        || env!("CARGO_BIN_EXE_containerd-shim-outlive-v2").into(),
        PathBuf::from,
    )
}

/// One test's own directory, namespace, events endpoint and containers. Dropped, it ends them and checks for leaks.
pub struct Lab {
    pub dir: PathBuf,
    pub ns: String,
    pub events: Events,
    pub service: String,
    pub made: Mutex<Vec<Made>>,
    /// A program and its first arguments, which runs the shim's actions: none, or `prlimit --nofile=64`.
    pub under: &'static [&'static str],
    log: Arc<Mutex<String>>,
}

/// What clean-up needs to know of a container.
#[derive(Debug, Clone)]
pub struct Made {
    pub task: Process,
    pub cgroup: String,
    pub runc_root: PathBuf,
}

/// A bundle whose shim runs; dereferences to its task's init.
pub struct Container {
    pub bundle: PathBuf,
    pub cgroup: String,
    /// What `create` will send.
    pub request: CreateTaskRequest,
    init: Process,
}

impl Deref for Container {
    type Target = Process;
    fn deref(&self) -> &Process {
        &self.init
    }
}

impl Lab {
    pub fn new() -> Self {
        let service = std::env::var("OUTLIVE_TASK_SERVICE");
        Self::speaking(service.as_deref().unwrap_or("containerd.task.v3.Task"))
    }

    /// A lab whose calls name this service.
    pub fn speaking(service: &str) -> Self {
        let dir = nix::unistd::mkdtemp("/tmp/ol-XXXXXX").unwrap();
        rootfs::busybox(&dir.join("rootfs"));
        Self {
            ns: dir.file_name().unwrap().to_string_lossy().into_owned(),
            events: Events::new(&dir.join("e.sock")),
            service: service.to_owned(),
            made: Mutex::default(),
            under: &[],
            log: Arc::default(),
            dir,
        }
    }

    /// The options that every container gets: the OCI runtime, and a state directory of it that belongs to this test.
    pub fn options(&self) -> Options {
        request!(Options {
            binary_name: std::env::var("OUTLIVE_OCI_RUNTIME").unwrap_or_default(),
            root: self.dir.join("runc").to_str().unwrap()
        })
    }

    /// Has `container` created by an OCI runtime that runs `script` first, whenever it is called.
    pub fn wrap_runtime(&self, container: &mut Container, script: &str) {
        let mut options = self.options();
        let real = match options.binary_name.as_str() {
            "" => "runc",
            name => name,
        };
        let wrapper = container.bundle.join("wrapper");
        crate::program::write(
            &wrapper,
            format!("#!/bin/sh\n{script}\nexec {real} \"$@\"\n"),
        );
        wrapper
            .to_str()
            .unwrap()
            .clone_into(&mut options.binary_name);
        container.set_options(
            "containerd.runc.v1.Options",
            options.write_to_bytes().unwrap(),
        );
    }

    /// Where the OCI runtime keeps the containers of this test: the root of the options and the namespace.
    pub fn runc_root(&self) -> PathBuf {
        self.dir.join("runc").join(&self.ns)
    }

    /// A shim for a container `id` that will run `script`.
    pub fn shim(&self, id: &str, script: &str) -> Container {
        self.shim_of(id, |spec| {
            spec["process"]["args"] = json!(["/bin/sh", "-c", script])
        })
    }

    /// The same with the bundle's configuration changed by `change`.
    pub fn shim_of(&self, id: &str, change: impl FnOnce(&mut Value)) -> Container {
        let mut container = self.bundle(id, change);
        let options = container
            .request
            .options
            .as_ref()
            .unwrap()
            .write_to_bytes()
            .unwrap();
        let reply = self.start(&container, &options);
        assert!(reply.status.success(), "start: {reply:?}");
        container.set_socket(self, &socket_of(&reply.stdout));
        container
    }

    /// A running container.
    pub fn run(&self, id: &str, script: &str) -> Container {
        let container = self.shim(id, script);
        container.create().unwrap();
        container.start().unwrap();
        container
    }

    /// A bundle without a shim: its calls have nowhere to go yet.
    pub fn bundle(&self, id: &str, change: impl FnOnce(&mut Value)) -> Container {
        let bundle = self.dir.join(id);
        std::fs::create_dir(&bundle).unwrap();
        let cgroup = format!("/outlive-test-{}-{id}", self.ns);
        let mut spec = spec(&cgroup);
        change(&mut spec);
        std::fs::write(bundle.join("config.json"), spec.to_string()).unwrap();
        crate::fifo::make(&bundle.join("log"));
        self.read_log(&bundle.join("log"));
        let mut request = request!(CreateTaskRequest {
            id: id,
            bundle: bundle.to_str().unwrap()
        });
        let source = self.dir.join("rootfs");
        request.rootfs = vec![mount("bind", source.to_str().unwrap(), &["rbind", "rw"])];
        request.options = Some(any(
            "containerd.runc.v1.Options",
            self.options().write_to_bytes().unwrap(),
        ))
        .into();
        let client = Client {
            socket: PathBuf::new(),
            service: self.service.clone(),
        };
        Container {
            bundle,
            cgroup,
            request,
            init: client.process(id, ""),
        }
    }

    /// The command line of an action, as containerd's `NewShimCommand` makes it.
    pub fn action(&self, container: &Container, action: &[&str]) -> Command {
        let grpc = self.dir.join("g.sock");
        let mut words = self.under.iter().map(Into::into).chain([binary()]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words);
        command
            .current_dir(&container.bundle)
            .args(["-namespace", &self.ns, "-id", &container.id, "-address"])
            .arg(&grpc);
        command
            .args(["-publish-binary", "/bin/true"])
            .args(action)
            .env("NAMESPACE", &self.ns);
        command
            .env("TTRPC_ADDRESS", &self.events.socket)
            .env("GRPC_ADDRESS", grpc)
            .envs([("MAX_SHIM_VERSION", "2"), ("GOMAXPROCS", "2")]);
        command
    }

    /// Runs `start` and returns what it replied.
    pub fn start(&self, container: &Container, stdin: &[u8]) -> Output {
        let reply = output(self.action(container, &["start"]), stdin);
        assert_eq!(
            String::from_utf8_lossy(&reply.stderr),
            "",
            "containerd reads stderr as part of the reply"
        );
        reply
    }

    /// Reads a log fifo for as long as the process lives, as containerd does.
    fn read_log(&self, fifo: &Path) {
        // Read-write: neither this open nor the shim's ever waits, and no EOF comes.
        let mut log = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(nix::libc::O_CLOEXEC)
            .open(fifo)
            .unwrap();
        let text = self.log.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count) = log.read(&mut buffer) {
                text.lock()
                    .unwrap()
                    .push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        });
    }

    /// What the shims of this test logged.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Ends every container and shim, and panics where anything is left.
    fn finish(&self) {
        let made = self.made.lock().unwrap().clone();
        let pids: Vec<u32> = made
            .iter()
            .filter_map(|made| leaks::listener(&made.task))
            .collect();
        for Made { task, .. } in &made {
            // Ended ones answer NotFound: that is where this loop wants them.
            let running = leaks::listener(task).is_some()
                && task
                    .delete()
                    .is_err_and(|failure| failure.code != Code::NOT_FOUND);
            if running {
                task.resume().unwrap_or_default();
                task.kill_all(9).unwrap_or_default();
                task.wait().unwrap();
                task.delete().unwrap();
            }
        }
        pids.iter().for_each(|pid| leaks::no_zombie_child(*pid));
        for Made { task, .. } in &made {
            if leaks::listener(task).is_some() {
                task.end();
            }
        }
        for pid in pids {
            leaks::gone(pid);
        }
        eventually("end of all processes", || {
            match leaks::processes(&self.ns) {
                left if left.is_empty() => Ok(()),
                left => Err(format!("{left:?}")),
            }
        });
        for Made {
            task,
            cgroup,
            runc_root,
        } in &made
        {
            assert!(
                !task.client.socket.exists(),
                "socket {:?} is left",
                task.client.socket
            );
            assert!(
                !runc_root.join(&task.id).exists(),
                "the runtime's state of {} is left",
                task.id
            );
            assert_eq!(
                leaks::cgroup_dirs(cgroup),
                Vec::<PathBuf>::new(),
                "cgroups are left"
            );
        }
        assert_eq!(
            leaks::mounts(&self.dir),
            Vec::<PathBuf>::new(),
            "mounts are left"
        );
        for seen in self.events.seen() {
            assert_eq!(seen.namespace, self.ns, "{}", seen.line);
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let checked = if thread::panicking() {
            eprintln!(
                "events: {:#?}\nlog of the shims:\n{}",
                self.events.lines(),
                self.log()
            );
            Ok(())
        } else {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.finish()))
        };
        self.events.down();
        leaks::sweep(&self.dir, &self.ns, &self.made.lock().unwrap());
        if let Err(panic) = checked {
            eprintln!(
                "events: {:#?}\nlog of the shims:\n{}",
                self.events.lines(),
                self.log()
            );
            std::panic::resume_unwind(panic);
        }
    }
}

impl Container {
    /// Says where the shim listens, and has the lab clean up after it.
    pub fn set_socket(&mut self, lab: &Lab, socket: &Path) {
        self.init.client.socket = socket.to_owned();
        lab.made.lock().unwrap().push(Made {
            task: self.init.clone(),
            cgroup: self.cgroup.clone(),
            runc_root: lab.runc_root(),
        });
    }

    pub fn create(&self) -> Answer<u32> {
        self.client
            .call("Create", &self.request)
            .map(|answer: CreateTaskResponse| answer.pid)
    }

    /// The exec `id` of this task.
    pub fn exec(&self, id: &str) -> Process {
        self.client.process(&self.id, id)
    }

    /// Adds and starts an exec of `script` without stdio.
    pub fn exec_run(&self, id: &str, script: &str) -> Process {
        let exec = self.exec(id);
        exec.add(&process(script), &Stdio::default()).unwrap();
        exec.start().unwrap();
        exec
    }

    pub fn set_options(&mut self, type_url: &str, value: Vec<u8>) {
        self.request.options = Some(any(type_url, value)).into();
    }
    pub fn set_stdio(&mut self, stdio: &Stdio) {
        self.request.terminal = stdio.terminal;
        self.request.stdin.clone_from(&stdio.stdin);
        self.request.stdout.clone_from(&stdio.stdout);
        self.request.stderr.clone_from(&stdio.stderr);
    }
    pub fn shim_pid(&self) -> u32 {
        self.connect().unwrap().shim_pid
    }
}

/// The socket in a reply to `start`: a bare address, or (the oracle of containerd 2.x) JSON with one.
pub fn socket_of(reply: &[u8]) -> PathBuf {
    let text = std::str::from_utf8(reply).unwrap().trim().to_owned();
    let address = match serde_json::from_str::<Value>(&text) {
        Ok(reply) => reply["address"].as_str().unwrap().to_owned(),
        Err(_) => text,
    };
    PathBuf::from(
        address
            .strip_prefix("unix://")
            .unwrap_or_else(|| panic!("address {address:?}")),
    )
}

/// Runs a command to the end of its stdout and stderr; an action that leaves one of them to its daemon runs into the deadline.
pub fn output(mut command: Command, stdin: &[u8]) -> Output {
    let mut child = command
        .stdin(Pipe::piped())
        .stdout(Pipe::piped())
        .stderr(Pipe::piped())
        .spawn()
        .unwrap();
    // A program that does not read its stdin is in its right.
    child
        .stdin
        .take()
        .unwrap()
        .write_all(stdin)
        .unwrap_or_default();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait_with_output()));
    receiver
        .recv_timeout(DEADLINE)
        .unwrap_or_else(|_| panic!("{command:?}: no end of its output"))
        .unwrap()
}
