//! A shim driven as containerd drives it: a bundle, the log fifo, the `start` action, one connection for all calls.

use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use containerd_shim_protos::api::{
    ConnectRequest, ConnectResponse, CreateTaskRequest, CreateTaskResponse, DeleteRequest,
    DeleteResponse, Empty, ExecProcessRequest, KillRequest, ShutdownRequest, StartRequest,
    StartResponse, WaitRequest, WaitResponse,
};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::shim::oci::Options;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;
use serde_json::{Value, json};

use crate::events::Events;
use crate::peer::Peer;
use crate::process;
use crate::rootfs;
use crate::rpc::{Connection, DEADLINE, request};
use crate::spec::{process as program, spec};

/// A directory with a root filesystem and an events endpoint, in which shims are started. Removed when dropped.
pub struct Ground {
    /// On a disk, as logs and images are.
    pub dir: PathBuf,
    /// In memory, as `/run` is: bundles, and the OCI runtime's state.
    run: PathBuf,
    pub namespace: String,
    pub events: Events,
    next: Cell<u32>,
}

impl Ground {
    pub fn new() -> Self {
        // Not below target/: a unix socket's path has at most 107 bytes.
        let dir = nix::unistd::mkdtemp("/tmp/outlive-bench-XXXXXX").unwrap();
        rootfs::busybox(&dir.join("rootfs"));
        let run = dir.join("run");
        fs::create_dir(&run).unwrap();
        let (tmpfs, none) = (Some("tmpfs"), None::<&str>);
        mount(tmpfs, &run, tmpfs, MsFlags::empty(), none).unwrap();
        Self {
            run,
            namespace: dir.file_name().unwrap().to_string_lossy().into_owned(),
            events: Events::listen(&dir.join("events")),
            next: Cell::new(0),
            dir,
        }
    }

    /// An id that nothing had before.
    pub fn new_id(&self) -> String {
        self.next.set(self.next.get() + 1);
        format!("c{}", self.next.get())
    }

    /// A bundle of a container that runs `args`.
    pub fn bundle(&self, args: &[&str]) -> Bundle {
        let id = self.new_id();
        let dir = self.run.join(&id);
        fs::create_dir(&dir).unwrap();
        let mut spec = spec(&format!("/{}-{id}", self.namespace));
        spec["root"]["path"] = json!(self.dir.join("rootfs"));
        spec["process"]["args"] = json!(args);
        fs::write(dir.join("config.json"), spec.to_string()).unwrap();
        for name in ["log", "stdout", "stderr"] {
            nix::unistd::mkfifo(&dir.join(name), Mode::S_IRWXU).unwrap();
        }
        // Nobody ever waits to open one of them. A shim that logs more than a pipe holds would wait; none does.
        let held = ["log", "stdout", "stderr"].map(|name| {
            let mut both = OpenOptions::new();
            both.read(true).write(true);
            both.custom_flags(nix::libc::O_NONBLOCK)
                .open(dir.join(name))
                .unwrap()
        });
        Bundle {
            dir,
            id,
            runtime: self.runtime(),
            root: self.run.join("runc"),
            _held: held,
        }
    }

    /// Ends what a failed measurement left: shims, whose command line names them, and their containers.
    fn sweep(&self) {
        for pid in process::all() {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&words).contains(&self.namespace) {
                process::kill(pid);
            }
        }
        // Shims append the namespace to the root that they are given.
        let root = self.run.join("runc");
        for root in [root.join(&self.namespace), root] {
            for container in fs::read_dir(&root).into_iter().flatten().flatten() {
                let mut delete = Command::new(self.runtime());
                delete.arg("--root").arg(&root);
                delete
                    .args(["delete", "--force"])
                    .arg(container.file_name());
                drop(delete.stdout(Stdio::null()).stderr(Stdio::null()).status());
            }
        }
    }

    /// The OCI runtime's name.
    pub fn runtime(&self) -> String {
        std::env::var("OUTLIVE_OCI_RUNTIME").unwrap_or_else(|_| "runc".to_owned())
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        self.sweep();
        umount2(&self.run, MntFlags::MNT_DETACH)
            .unwrap_or_else(|error| println!("{:?}: {error}", self.run));
        fs::remove_dir_all(&self.dir).unwrap_or_else(|error| println!("{:?}: {error}", self.dir));
    }
}

/// What containerd prepares of a container: a directory, fifos for log, stdout and stderr, which are held open.
pub struct Bundle {
    pub dir: PathBuf,
    pub id: String,
    /// The OCI runtime that the shim is told to call.
    pub runtime: String,
    /// Where that keeps its state.
    pub root: PathBuf,
    _held: [File; 3],
}

impl Bundle {
    fn options(&self) -> Any {
        let options = request!(Options {
            binary_name: &*self.runtime,
            root: self.root.to_str().unwrap()
        });
        request!(Any {
            type_url: "containerd.runc.v1.Options",
            value: options.write_to_bytes().unwrap()
        })
    }

    /// The command line of `start`, as containerd makes it.
    pub fn action(&self, ground: &Ground, peer: &Peer) -> Command {
        let mut command = match peer.under.split_first() {
            None => Command::new(&peer.binary),
            Some((program, words)) => {
                let mut command = Command::new(program);
                command.args(words).arg(&peer.binary);
                command
            }
        };
        command
            .current_dir(&self.dir)
            .args(["-namespace", &ground.namespace, "-id", &self.id, "-address"])
            .arg(ground.dir.join("grpc"))
            .args(["-publish-binary", "/bin/true", "start"])
            .env("TTRPC_ADDRESS", &ground.events.socket)
            .env("GRPC_ADDRESS", ground.dir.join("grpc"))
            .env("NAMESPACE", &ground.namespace)
            .env("GOMAXPROCS", "2");
        command
    }

    /// Runs `start` and connects to what it names; also how long the action took, in milliseconds.
    pub fn start(&self, ground: &Ground, peer: &Peer) -> (Shim, f64) {
        let options = self.options().write_to_bytes().unwrap();
        let began = Instant::now();
        let mut action = self.action(ground, peer);
        action.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = action.stderr(Stdio::piped()).spawn().unwrap();
        // A program that does not read its stdin is in its right.
        drop(child.stdin.take().unwrap().write_all(&options));
        let output = child.wait_with_output().unwrap();
        let took = millis(began.elapsed());
        assert!(output.status.success(), "{}: {output:?}", peer.name);
        let shim = Shim {
            id: self.id.clone(),
            service: peer.service,
            connection: connect(&socket_of(&output.stdout)),
        };
        (shim, took)
    }

    /// What Create is sent, with the bundle's fifos.
    pub fn request(&self) -> CreateTaskRequest {
        let mut request = request!(CreateTaskRequest {
            id: &*self.id,
            bundle: self.dir.to_str().unwrap(),
            stdout: self.dir.join("stdout").to_str().unwrap(),
            stderr: self.dir.join("stderr").to_str().unwrap(),
        });
        request.options = Some(self.options()).into();
        request
    }

    /// A container that runs, under `peer`.
    pub fn run(&self, ground: &Ground, peer: &Peer) -> Running {
        let (mut shim, _) = self.start(ground, peer);
        let init = shim.create(&self.request());
        shim.start("");
        let pid = shim.pid();
        Running { shim, init, pid }
    }

    /// Removes the directory. The fifos go with it.
    pub fn remove(self) {
        fs::remove_dir_all(&self.dir).unwrap();
    }
}

/// A shim whose container runs.
pub struct Running {
    pub shim: Shim,
    /// The pid of the container's init.
    pub init: u32,
    /// The shim's own.
    pub pid: u32,
}

impl Running {
    /// Kills and deletes the container, and ends the shim.
    pub fn end(mut self) {
        let wait = self.shim.send_wait("");
        self.shim.kill(9);
        self.shim.waited(wait);
        self.shim.delete("");
        self.shim.shutdown();
        process::gone(self.pid);
    }
}

/// A connection to a shim. Every call panics where it fails.
pub struct Shim {
    pub id: String,
    pub service: &'static str,
    pub connection: Connection,
}

impl Shim {
    pub fn call<R: Message>(&mut self, method: &str, body: &impl Message) -> R {
        let id = self.connection.send(self.service, method, body).unwrap();
        self.answer(method, id)
    }

    fn answer<R: Message>(&mut self, method: &str, id: u32) -> R {
        let answer = self.connection.receive(id);
        answer
            .unwrap_or_else(|error| panic!("{method}: {error}"))
            .unwrap_or_else(|failure| panic!("{method}: {failure:?}"))
    }

    /// Answers the pid of init.
    pub fn create(&mut self, request: &CreateTaskRequest) -> u32 {
        self.call::<CreateTaskResponse>("Create", request).pid
    }

    /// Starts an exec, or init where there is no name.
    pub fn start(&mut self, exec: &str) -> u32 {
        let request = request!(StartRequest {
            id: &*self.id,
            exec_id: exec
        });
        self.call::<StartResponse>("Start", &request).pid
    }

    /// Adds an exec without stdio.
    pub fn exec(&mut self, exec: &str, args: &[&str]) {
        let mut process = program("");
        process["args"] = json!(args);
        let spec = request!(Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process",
            value: process.to_string(),
        });
        let mut request = request!(ExecProcessRequest {
            id: &*self.id,
            exec_id: exec
        });
        request.spec = Some(spec).into();
        self.call::<Empty>("Exec", &request);
    }

    /// Asks for the end of a process, and does not wait for the answer.
    pub fn send_wait(&mut self, exec: &str) -> u32 {
        let request = request!(WaitRequest {
            id: &*self.id,
            exec_id: exec
        });
        let sent = self.connection.send(self.service, "Wait", &request);
        sent.unwrap()
    }

    /// The exit code that a Wait under way is answered with.
    pub fn waited(&mut self, wait: u32) -> u32 {
        self.answer::<WaitResponse>("Wait", wait).exit_status
    }

    pub fn kill(&mut self, signal: u32) {
        let request = request!(KillRequest {
            id: &*self.id,
            signal: signal
        });
        self.call::<Empty>("Kill", &request);
    }

    pub fn delete(&mut self, exec: &str) {
        let request = request!(DeleteRequest {
            id: &*self.id,
            exec_id: exec
        });
        self.call::<DeleteResponse>("Delete", &request);
    }

    /// The shim's pid.
    pub fn pid(&mut self) -> u32 {
        let request = request!(ConnectRequest { id: &*self.id });
        self.call::<ConnectResponse>("Connect", &request).shim_pid
    }

    /// Ends the shim. It may be gone before it answers.
    pub fn shutdown(&mut self) {
        let request = request!(ShutdownRequest { id: &*self.id });
        let sent = self.connection.send(self.service, "Shutdown", &request);
        if let Ok(id) = sent {
            drop(self.connection.receive::<Empty>(id));
        }
    }
}

/// The address in a reply to `start`: bare, or in JSON.
fn socket_of(reply: &[u8]) -> PathBuf {
    let text = std::str::from_utf8(reply).unwrap().trim();
    let address = match serde_json::from_str::<Value>(text) {
        Ok(reply) => reply["address"].as_str().unwrap_or_default().to_owned(),
        Err(_) => text.to_owned(),
    };
    let path = address.strip_prefix("unix://");
    path.unwrap_or_else(|| panic!("address {text:?}")).into()
}

fn connect(socket: &Path) -> Connection {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    Connection::over(stream)
}

pub fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
