//! `outlive serve` as a process: what it makes, who may have it, what it says, and how it ends.
#![cfg(test)]

mod support;

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use outlive::api::control::{KILL, KillRequest, KillResponse};
use outlive::api::cri;
use tonic::Code;

use support::poll;
use support::supervisor::{Options, Supervisor, program};

/// A directory of its own under /tmp: a socket's path is short.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(format!("/tmp/outlive-d{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn serve(&self) -> Command {
        let mut command = Command::new("timeout");
        command
            .args(["-k", "5", "30"])
            .arg(program())
            .arg("serve")
            .arg("--root")
            .arg(self.path("root"))
            .arg("--state")
            .arg(self.path("state"))
            .stdin(Stdio::null());
        command
    }

    /// What a supervisor says that does not start.
    fn refusal(&self, command: &mut Command) -> String {
        let Output { status, stderr, .. } = command.output().unwrap();
        let text = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(1), "{text}");
        text
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn plain() -> Supervisor {
    Supervisor::start(Options::default())
}

#[test]
fn everything_it_makes_is_its_owners_alone() {
    let supervisor = plain();
    for directory in [supervisor.root(), supervisor.state()] {
        assert_eq!(mode(&directory), 0o700, "{directory:?}");
        for entry in fs::read_dir(&directory).unwrap() {
            let entry = entry.unwrap();
            let expected = if entry.file_type().unwrap().is_dir() {
                0o700
            } else {
                0o600
            };
            assert_eq!(mode(&entry.path()), expected, "{entry:?}");
        }
    }
    let socket = fs::metadata(supervisor.socket()).unwrap();
    assert!(socket.file_type().is_socket());
}

#[test]
fn it_says_what_it_is() {
    let supervisor = plain();
    let (mut runtime, _) = supervisor.client();
    let version = supervisor.wait(runtime.version(cri::VersionRequest::default()));
    let version = supervisor.expect(version);
    assert_eq!(version.runtime_name, "outlive");
    assert_eq!(version.runtime_api_version, "v1");
    assert_eq!(version.runtime_version, env!("CARGO_PKG_VERSION"));
    let status = supervisor.wait(runtime.status(cri::StatusRequest { verbose: true }));
    let status = supervisor.expect(status);
    let conditions = status.status.unwrap().conditions;
    let ready = conditions.iter().find(|one| one.r#type == "RuntimeReady");
    assert!(ready.unwrap().status, "{conditions:?}");
    let handlers: Vec<_> = status
        .runtime_handlers
        .iter()
        .map(|one| &*one.name)
        .collect();
    assert_eq!(handlers, ["", "outlive"]);
    let info: serde_json::Value = serde_json::from_str(&status.info["info"]).unwrap();
    assert_eq!(info["pid"], supervisor.pid());
    let config = supervisor.wait(runtime.runtime_config(cri::RuntimeConfigRequest {}));
    let linux = supervisor.expect(config).linux.unwrap();
    assert_eq!(linux.cgroup_driver(), cri::CgroupDriver::Cgroupfs);
}

#[test]
fn a_network_that_is_not_configured_is_said_in_the_status() {
    let place = Place::new("network");
    let supervisor = Supervisor::start(Options {
        config: format!("[network]\nconf_dir = {:?}", place.path("none")),
        ..Options::default()
    });
    let (mut runtime, _) = supervisor.client();
    let status = supervisor.wait(runtime.status(cri::StatusRequest { verbose: false }));
    let conditions = supervisor.expect(status).status.unwrap().conditions;
    let network = conditions.iter().find(|one| one.r#type == "NetworkReady");
    let network = network.unwrap();
    assert!(!network.status);
    let path = place.path("none").display().to_string();
    assert!(network.message.contains(&path), "{network:?}");
}

/// Every file below a directory, with its size and the time of its last change.
fn listing(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        let changed = metadata.modified().unwrap();
        found.push(format!("{} {} {changed:?}", path.display(), metadata.len()));
        if metadata.is_dir() {
            found.extend(listing(&path));
        }
    }
    found.sort();
    found
}

#[test]
fn a_second_one_on_the_same_directories_is_refused_and_touches_nothing() {
    let supervisor = plain();
    let place = Place::new("second");
    let (root, state) = (supervisor.root(), supervisor.state());
    let (link, bound) = (place.path("link"), place.path("bound"));
    std::os::unix::fs::symlink(&root, &link).unwrap();
    fs::create_dir(&bound).unwrap();
    let none = None::<&str>;
    let bind = nix::mount::MsFlags::MS_BIND;
    nix::mount::mount(Some(&root), &bound, none, bind, none).unwrap();
    let unbind = Unmount(bound.clone());
    let before = (listing(&root), listing(&state));
    let holder = format!("locked by process {}", supervisor.pid());
    for (other_root, other_state, shared) in [
        (root.clone(), place.path("state"), vec!["the root"]),
        (link, place.path("state"), vec!["the root"]),
        (bound, place.path("state"), vec!["the root"]),
        (place.path("root"), state.clone(), vec!["the state"]),
        (root.clone(), state.clone(), vec!["the root", "the state"]),
        // What is one's root is no other's state.
        (state.clone(), root.clone(), vec!["the root", "the state"]),
    ] {
        let mut command = Command::new(program());
        command.arg("serve");
        command.arg("--root").arg(&other_root);
        command.arg("--state").arg(&other_state);
        let address = format!("unix://{}", place.path("s").display());
        command.args(["--address", &address]);
        let text = place.refusal(&mut command);
        for word in &shared {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert_eq!(text.matches(&holder).count(), shared.len(), "{text}");
        assert!(!place.path("root").exists() && !place.path("state").exists());
        assert!(!place.path("s").exists());
        assert_eq!((listing(&root), listing(&state)), before, "{text}");
    }
    drop(unbind);
    let (mut runtime, _) = supervisor.client();
    let version = supervisor.wait(runtime.version(cri::VersionRequest::default()));
    supervisor.expect(version);
}

/// Unmounts when it is dropped.
struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH).unwrap();
    }
}

#[test]
fn one_directory_by_two_names_is_not_root_and_state() {
    let place = Place::new("same");
    fs::create_dir(place.path("root")).unwrap();
    fs::set_permissions(place.path("root"), Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::symlink(place.path("root"), place.path("state")).unwrap();
    let text = place.refusal(&mut place.serve());
    assert!(text.contains("are the same directory"), "{text}");
    assert_eq!(listing(&place.path("root")), [""; 0]);
}

#[test]
fn a_full_root_stops_no_start_and_a_second_one_is_refused_all_the_same() {
    let place = Place::new("full");
    let root = place.path("root");
    fs::create_dir(&root).unwrap();
    let flags = nix::mount::MsFlags::empty();
    // The root directory's own inode is all there is room for.
    let options = Some("size=4k,nr_inodes=1,mode=700");
    nix::mount::mount(Some("tmpfs"), &root, Some("tmpfs"), flags, options).unwrap();
    let _unmount = Unmount(root.clone());
    fs::write(root.join("file"), "").unwrap_err();
    let mut first = place.serve();
    let mut first = first
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    poll::until("the first one serves", || {
        std::os::unix::net::UnixStream::connect(place.path("state/outlive.sock"))
            .map_err(|error| error.to_string())
    });
    let mut second = Command::new(program());
    let second = second.arg("serve").arg("--root").arg(&root);
    let text = place.refusal(second.arg("--state").arg(place.path("other")));
    assert!(
        text.contains(&format!("the root {root:?} is locked")),
        "{text}"
    );
    let pid = nix::unistd::Pid::from_raw(i32::try_from(first.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(first.wait().unwrap().success());
}

#[test]
fn two_that_start_at_the_same_time_do_not_refuse_each_other() {
    let place = Place::new("race");
    let mut served = Vec::new();
    for _ in 0..4 {
        let mut command = place.serve();
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        served.push(command.spawn().unwrap());
    }
    let mut running = Vec::new();
    let deadline = Instant::now() + poll::DEADLINE;
    while served.len() > 1 {
        for mut child in std::mem::take(&mut served) {
            match child.try_wait().unwrap() {
                None => running.push(child),
                Some(status) => {
                    let mut text = String::new();
                    child.stderr.unwrap().read_to_string(&mut text).unwrap();
                    assert_eq!(status.code(), Some(1), "{text}");
                    assert!(text.contains("another supervisor runs on these"), "{text}");
                }
            }
        }
        served.append(&mut running);
        assert!(!served.is_empty(), "all were refused");
        assert!(Instant::now() < deadline, "{} still run", served.len());
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut last = served.pop().unwrap();
    poll::until("the last one serves", || {
        std::os::unix::net::UnixStream::connect(place.path("state/outlive.sock"))
            .map_err(|error| error.to_string())
    });
    let pid = nix::unistd::Pid::from_raw(i32::try_from(last.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    last.wait().unwrap();
}

#[test]
fn the_start_says_where_its_settings_come_from_and_what_the_environment_overrides() {
    let place = Place::new("origins");
    // Refused after its settings were read and said.
    fs::create_dir(place.path("state")).unwrap();
    fs::set_permissions(place.path("state"), Permissions::from_mode(0o777)).unwrap();
    let config = place.path("config.toml");
    let text = format!(
        "root = {:?}\nstate = {:?}\n",
        place.path("file"),
        place.path("state")
    );
    fs::write(&config, text).unwrap();
    let mut command = Command::new(program());
    command.arg("serve").arg("--config").arg(&config);
    command.args(["--address", "unix:///tmp/none.sock"]);
    command.env("OUTLIVE_ROOT", place.path("environment"));
    let said = place.refusal(&mut command);
    let settings: Vec<&str> = said
        .lines()
        .filter(|line| line.contains(" settings "))
        .collect();
    let [line] = settings[..] else {
        panic!("{said}");
    };
    for words in [
        format!("file={}", config.display()),
        format!(
            "root={} root_from=\"environment OUTLIVE_ROOT\"",
            place.path("environment").display()
        ),
        format!(
            "state={} state_from={}:2",
            place.path("state").display(),
            config.display()
        ),
        "address=/tmp/none.sock address_from=\"command line\"".to_owned(),
    ] {
        assert!(line.contains(&words), "{words}: {said}");
    }
    let warning = said.lines().find(|line| line.contains(" WARN ")).unwrap();
    for words in [
        "an environment variable overrides the configuration file variable=OUTLIVE_ROOT".to_owned(),
        format!(
            "setting={}:1 instead_of={}",
            config.display(),
            place.path("file").display()
        ),
    ] {
        assert!(warning.contains(&words), "{words}: {said}");
    }
    assert!(!place.path("file").exists() && !place.path("environment").exists());
}

#[test]
fn one_that_was_killed_leaves_a_socket_that_the_next_one_replaces() {
    let mut supervisor = plain();
    supervisor.kill9();
    assert!(supervisor.socket().exists());
    supervisor.restart();
    assert_eq!(mode(&supervisor.socket()), 0o600);
}

#[test]
fn what_is_not_its_own_socket_stays_where_it_is() {
    let place = Place::new("occupied");
    let file = place.path("file");
    fs::write(&file, "precious").unwrap();
    let address = |path: &Path| format!("unix://{}", path.display());
    let text = place.refusal(place.serve().args(["--address", &address(&file)]));
    assert!(text.contains("is not a socket"), "{text}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");

    let socket = place.path("other.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    let text = place.refusal(place.serve().args(["--address", &address(&socket)]));
    assert!(text.contains("somebody listens there"), "{text}");
    assert!(socket.exists());
}

#[test]
fn a_directory_that_others_can_write_to_is_not_used() {
    let place = Place::new("open");
    fs::create_dir(place.path("state")).unwrap();
    fs::set_permissions(place.path("state"), Permissions::from_mode(0o777)).unwrap();
    let text = place.refusal(&mut place.serve());
    assert!(text.contains("open to others: its mode is 777"), "{text}");
}

#[test]
fn a_wrong_configuration_is_told_with_its_line_before_anything_is_made() {
    let place = Place::new("config");
    let file = place.path("config.toml");
    fs::write(&file, "[log]\nlevel = \"info\"\ncolour = \"red\"\n").unwrap();
    let text = place.refusal(place.serve().arg("--config").arg(&file));
    let expected = format!("{}:3: unknown field `colour`", file.display());
    assert!(text.contains(&expected), "{text}");
    assert!(!place.path("root").exists() && !place.path("state").exists());
}

#[test]
fn the_service_manager_hears_when_it_serves_and_when_it_ends() {
    let place = Place::new("notify");
    let manager = UnixDatagram::bind(place.path("notify")).unwrap();
    manager.set_read_timeout(Some(poll::DEADLINE)).unwrap();
    let mut child = place
        .serve()
        .env("NOTIFY_SOCKET", place.path("notify"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut message = [0; 64];
    let length = manager.recv(&mut message).unwrap();
    assert_eq!(&message[..length], b"READY=1\n");
    assert!(place.path("state/outlive.sock").exists());
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let length = manager.recv(&mut message).unwrap();
    assert_eq!(&message[..length], b"STOPPING=1\n");
    assert!(child.wait().unwrap().success());
    assert!(!place.path("state/outlive.sock").exists());
}

#[test]
fn it_ends_at_once_when_told_although_somebody_listens_to_events() {
    let mut supervisor = plain();
    let (mut runtime, _) = supervisor.client();
    let stream = supervisor.wait(runtime.get_container_events(cri::GetEventsRequest {}));
    let mut stream = supervisor.expect(stream);
    let began = Instant::now();
    assert!(supervisor.stop().success());
    let took = began.elapsed();
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert!(matches!(supervisor.wait(stream.message()), Ok(None)));
    supervisor.restart();
}

#[test]
fn unknown_empty_and_unsupported_are_told_apart() {
    let supervisor = plain();
    let (mut runtime, _) = supervisor.client();
    let id = |id: &str| id.to_owned();
    let status = |container: &str| cri::ContainerStatusRequest {
        container_id: id(container),
        verbose: false,
    };
    let refused = supervisor.wait(runtime.container_status(status("nobody")));
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert!(refused.message().contains("nobody"), "{refused}");
    let refused = supervisor.wait(runtime.container_status(status("")));
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().starts_with("container_id: "), "{refused}");
    let refused = supervisor.wait(runtime.start_container(cri::StartContainerRequest {
        container_id: id("nobody"),
    }));
    assert_eq!(refused.unwrap_err().code(), Code::NotFound);
    let refused = supervisor.wait(runtime.exec(cri::ExecRequest::default()));
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(refused.message().contains("Exec"), "{refused}");

    // What is gone is stopped and removed.
    let stopped = supervisor.wait(runtime.stop_container(cri::StopContainerRequest {
        container_id: id("nobody"),
        timeout: 0,
    }));
    supervisor.expect(stopped);
    let removed = supervisor.wait(runtime.remove_container(cri::RemoveContainerRequest {
        container_id: id("nobody"),
    }));
    supervisor.expect(removed);
    let removed = supervisor.wait(runtime.remove_pod_sandbox(cri::RemovePodSandboxRequest {
        pod_sandbox_id: id("nobody"),
    }));
    supervisor.expect(removed);
    let refused = supervisor.wait(runtime.stop_container(cri::StopContainerRequest {
        container_id: id("nobody"),
        timeout: -1,
    }));
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().starts_with("timeout: "), "{refused}");
}

#[test]
fn the_control_service_is_on_the_same_socket() {
    let supervisor = plain();
    let address = format!("unix://{}", supervisor.socket().display());
    let endpoint = tonic::transport::Endpoint::from_shared(address).unwrap();
    let kill = async |signal| {
        let channel = endpoint.connect().await.unwrap();
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.unwrap();
        let request = tonic::Request::new(KillRequest {
            container_id: "nobody".into(),
            signal,
            all: false,
        });
        let codec = tonic_prost::ProstCodec::<KillRequest, KillResponse>::default();
        let path = tonic::codegen::http::uri::PathAndQuery::from_static(KILL);
        client.unary(request, path, codec).await.unwrap_err()
    };
    let refused = supervisor.wait(kill(65));
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    let refused = supervisor.wait(kill(15));
    assert_eq!(refused.code(), Code::NotFound, "{refused}");
}

#[test]
fn two_hundred_calls_at_once_are_answered() {
    let supervisor = plain();
    let (runtime, _) = supervisor.client();
    let answers = supervisor.wait(async {
        let calls = (0..200).map(|number| {
            let mut runtime = runtime.clone();
            tokio::spawn(async move {
                match number % 2 {
                    0 => runtime
                        .list_containers(cri::ListContainersRequest::default())
                        .await
                        .is_ok(),
                    _ => runtime
                        .stop_container(cri::StopContainerRequest {
                            container_id: "nobody".into(),
                            timeout: 0,
                        })
                        .await
                        .is_ok(),
                }
            })
        });
        let mut answers = Vec::new();
        for call in calls.collect::<Vec<_>>() {
            answers.push(call.await.unwrap());
        }
        answers
    });
    assert_eq!(answers.iter().filter(|answer| **answer).count(), 200);
}

#[test]
fn its_log_can_be_json_and_its_counters_be_asked_for() {
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let supervisor = Supervisor::start(Options {
        config: format!(
            "[log]\nformat = \"json\"\nlevel = \"debug\"\n[metrics]\naddress = {address:?}"
        ),
        ..Options::default()
    });
    let ask = |path: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let answer = ask("/metrics");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    for line in ["outlive_shims 0", "outlive_events_queued 0", "# EOF"] {
        assert!(
            answer.lines().any(|found| found == line),
            "{line}: {answer}"
        );
    }
    assert!(ask("/").starts_with("HTTP/1.1 404 "));
    let log = fs::read_to_string(supervisor.dir().join("log")).unwrap();
    let serving = log.lines().find(|line| line.contains("serving"));
    let serving: serde_json::Value = serde_json::from_str(serving.expect(&log)).unwrap();
    assert_eq!(serving["level"], "info");
    assert_eq!(serving["pid"], supervisor.pid());
}
