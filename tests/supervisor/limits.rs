//! The supervisor at its limits: signals, the size of files, descriptors, processes. It may refuse, and does not end.

use std::fs;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use outlive::api::cri;
use outlive::sys::dispositions::{Decision, TABLE};

use crate::life::ready;
use crate::support::poll;
use crate::support::supervisor::{Options, Supervisor};
use crate::support::supervisor_calls::stop;

fn log(supervisor: &Supervisor) -> String {
    fs::read_to_string(supervisor.dir().join("log")).unwrap()
}

fn logged(supervisor: &Supervisor, text: &str) {
    poll::until(text, || {
        let log = log(supervisor);
        if log.contains(text) { Ok(()) } else { Err(log) }
    });
}

fn answers(supervisor: &Supervisor) {
    let (mut runtime, _) = supervisor.client();
    let version = supervisor.wait(runtime.version(cri::VersionRequest::default()));
    supervisor.expect(version);
}

/// prlimit(1), soft and hard.
fn limit(supervisor: &Supervisor, what: &str) {
    let pid = supervisor.pid().to_string();
    let set = Command::new("prlimit").args(["--pid", &pid, what]).status();
    assert!(set.unwrap().success(), "{what}");
}

#[test]
fn no_signal_but_those_that_ask_for_it_ends_or_stops_it() {
    let supervisor = Supervisor::start(Options::default());
    let send = |signal: i32| {
        let words = [format!("-{signal}"), supervisor.pid().to_string()];
        let sent = Command::new("/bin/kill").args(words).status().unwrap();
        assert!(sent.success(), "signal {signal}");
        answers(&supervisor);
    };
    let rows = TABLE.iter();
    let ignored = rows.filter(|row| row.supervisor == Decision::Ignore);
    ignored.flat_map(|row| row.signals.clone()).for_each(send);
    for (signal, name) in [
        (nix::libc::SIGHUP, "SIGHUP"),
        (nix::libc::SIGUSR1, "SIGUSR1"),
        (nix::libc::SIGUSR2, "SIGUSR2"),
    ] {
        send(signal);
        logged(&supervisor, name);
    }
    let status = fs::read_to_string(format!("/proc/{}/status", supervisor.pid())).unwrap();
    let set = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name));
        u64::from_str_radix(value.unwrap().trim(), 16).unwrap()
    };
    let (ignored, caught) = (set("SigIgn:"), set("SigCgt:"));
    for row in TABLE {
        for signal in row.signals.clone() {
            let bit = 1_u64 << (signal - 1);
            let fits = match row.supervisor {
                Decision::Handle => caught & bit != 0,
                // The C library's own real-time signals, once it uses them.
                Decision::Ignore => ignored & bit != 0 || (32..34).contains(&signal),
                Decision::Default => ignored & bit == 0,
            };
            assert!(fits, "signal {signal}: {row:?}\n{status}");
        }
    }
}

#[test]
fn a_file_that_may_not_grow_is_an_error_of_one_call() {
    let (supervisor, pod) = ready();
    limit(&supervisor, "--fsize=16:unlimited");
    let (mut runtime, _) = supervisor.client();
    let config = supervisor.container_config("c", &["/bin/true"]);
    let request = cri::CreateContainerRequest {
        pod_sandbox_id: pod.clone(),
        config: Some(config),
        sandbox_config: None,
    };
    let refused = supervisor
        .wait(runtime.create_container(request))
        .unwrap_err();
    assert!(refused.message().contains("too large"), "{refused}");
    limit(&supervisor, "--fsize=unlimited:unlimited");
    supervisor.run(&pod, "c", &["/bin/true"]);
}

/// How many descriptors the supervisor has open, when that has been the same for a while.
fn open_files(supervisor: &Supervisor) -> usize {
    let count = || {
        let open = fs::read_dir(format!("/proc/{}/fd", supervisor.pid()));
        open.unwrap().count()
    };
    let (mut last, mut since) = (count(), Instant::now());
    poll::until("the number of open files is steady", || {
        let now = count();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        let steady = since.elapsed() > Duration::from_millis(500);
        steady.then_some(now).ok_or_else(|| now.to_string())
    })
}

#[test]
fn without_a_free_descriptor_connections_wait_and_that_is_said_once() {
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let metrics = free.local_addr().unwrap();
    drop(free);
    let supervisor = Supervisor::start(Options {
        config: format!("[metrics]\naddress = \"{metrics}\""),
        ..Options::default()
    });
    logged(&supervisor, "the recovery has ended");
    let most = open_files(&supervisor) + 5;
    limit(&supervisor, &format!("--nofile={most}:{most}"));
    let calls: Vec<_> = (0..30)
        .map(|_| UnixStream::connect(supervisor.socket()).unwrap())
        .collect();
    logged(&supervisor, "connections for CRI wait");
    let scrapes: Vec<_> = (0..4)
        .map(|_| TcpStream::connect(metrics).unwrap())
        .collect();
    logged(&supervisor, "connections for metrics wait");
    let events = supervisor.state().join("events.sock");
    let shims: Vec<_> = [events]
        .iter()
        .filter(|path| path.exists())
        .map(|path| UnixStream::connect(path).unwrap())
        .collect();
    poll::until("every listener has said that connections wait", || {
        let said = log(&supervisor);
        let count = said.matches("accept fails").count();
        (count >= 2 + shims.len()).then_some(()).ok_or(said)
    });
    let used = || -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", supervisor.pid())).unwrap();
        let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let (before, begun) = (used(), Instant::now());
    poll::until("a second has passed", || match begun.elapsed() {
        passed if passed > Duration::from_secs(1) => Ok(()),
        passed => Err(format!("{passed:?}")),
    });
    let ticks = used() - before;
    assert!(ticks < 30, "{ticks} ticks of processor time in a second");
    // A descriptor that is closed meanwhile lets one more connection in, and the next one fails anew.
    let said = log(&supervisor);
    let count = said.matches("accept fails").count();
    assert!(count <= 4 + shims.len(), "{said}");
    drop((calls, scrapes, shims));
    logged(&supervisor, "connections for CRI are accepted again");
    logged(&supervisor, "connections for metrics are accepted again");
    answers(&supervisor);
}

/// A cgroup in which nothing can be started.
struct NoFork(PathBuf);

impl Drop for NoFork {
    fn drop(&mut self) {
        fs::write(self.0.join("pids.max"), "max").unwrap_or_default();
        let processes = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        for pid in processes.lines() {
            fs::write(self.0.with_file_name("cgroup.procs"), pid).unwrap_or_default();
        }
        fs::remove_dir(&self.0).unwrap_or_default();
    }
}

#[test]
fn where_neither_thread_nor_process_can_be_started_it_answers_and_stops_containers() {
    let (supervisor, pod) = ready();
    let id = supervisor.run(&pod, "c", &["/bin/sleep", "1000"]);
    let root = PathBuf::from("/sys/fs/cgroup");
    let root = if root.join("cgroup.controllers").exists() {
        fs::write(root.join("cgroup.subtree_control"), "+pids").unwrap();
        root
    } else {
        root.join("pids")
    };
    let group = NoFork(root.join(format!("outlive-test-nofork-{}", supervisor.pid())));
    fs::create_dir(&group.0).unwrap();
    fs::write(group.0.join("cgroup.procs"), supervisor.pid().to_string()).unwrap();
    fs::write(group.0.join("pids.max"), "0").unwrap();
    // Threads that wait for more work end first.
    poll::until("one thread", || {
        let threads = fs::read_dir(format!("/proc/{}/task", supervisor.pid()));
        match threads.unwrap().count() {
            1 => Ok(()),
            threads => Err(format!("{threads} threads")),
        }
    });
    let (_, mut images) = supervisor.client();
    let listed = supervisor.wait(images.list_images(cri::ListImagesRequest::default()));
    assert_eq!(supervisor.expect(listed).images.len(), 1);
    stop(&supervisor, &id, 0).unwrap();
    supervisor.until_state(&id, cri::ContainerState::ContainerExited);
    drop(group);
    supervisor.run(&pod, "d", &["/bin/true"]);
}
