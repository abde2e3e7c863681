//! The rules around the table: nobody waits for another's shim, nothing is lost between two steps, and what was another
//! boot's or another process's is not taken for ours.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use outlive::api::cri::{self, ContainerEventType as Kind, ContainerState as State};
use outlive::supervisor::store::{Checkpoint, ContainerStatus};
use outlive::types::ProcessIdentity;

use crate::scene::{PROGRAM, is_alive, now, until_dead};
use crate::support::poll;
use crate::support::supervisor::{Options, Supervisor};
use crate::support::supervisor_leaks;
use crate::watch::Events;
use crate::world::{Runs, World};

#[test]
fn stopped_shims_delay_nobody_and_are_predicted_as_they_are_found() {
    let mut world = World::new();
    let stuck = [world.run("stuck-1"), world.run("stuck-2")];
    let other = world.run("other");
    let created = world.create("created");
    world.supervisor.kill9();
    for runs in &stuck {
        runs.signal_shim(Signal::SIGSTOP);
    }
    let table = world.supervisor.dry_run("table");
    for (id, words) in [
        (&stuck[0].id, "unreachable"),
        (&stuck[0].id, "UNKNOWN"),
        (&other.id, "RUNNING"),
        (&created, "CREATED"),
    ] {
        let line = table.lines().find(|line| line.starts_with(&id[..13]));
        let line = line.unwrap_or_else(|| panic!("no {id} in\n{table}"));
        assert!(line.contains(words), "{line}");
    }
    let began = Instant::now();
    world.supervisor.restart();
    let supervisor = &world.supervisor;
    supervisor.stop_container(&other.id).unwrap();
    supervisor.start_container(&created);
    assert_eq!(world.state(&other.id), State::ContainerExited);
    assert_eq!(world.state(&created), State::ContainerRunning);
    assert_eq!(supervisor.listed().len(), 4);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    for runs in &stuck {
        // Not before its deadline: until then it is what the disk says.
        supervisor.until_state(&runs.id, State::ContainerUnknown);
        assert!(is_alive(runs.init) && is_alive(runs.shim));
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(15), "{took:?}");
    for runs in &stuck {
        runs.signal_shim(Signal::SIGCONT);
        let back = supervisor.until_state(&runs.id, State::ContainerRunning);
        assert_eq!(back, runs.shown);
    }
}

/// What is told of a container whose answer was overtaken by `happens`, which is done before the answer is acted on.
fn overtaken(
    world: &mut World,
    id: &str,
    happens: impl FnOnce(&World),
) -> (cri::ContainerStatus, Vec<Kind>) {
    let log = world.supervisor.log().len();
    let gate = world.supervisor.dir().join("gate");
    fs::write(&gate, "").unwrap();
    let held = format!("recover.asked=return({})", gate.display());
    world.supervisor.options().failpoints = Some(held);
    world.supervisor.restart();
    world.supervisor.options().failpoints = None;
    let mut events = Events::of(&world.supervisor);
    poll::until("its shim has answered", || {
        let log = world.supervisor.log()[log..].to_owned();
        if log.contains("held up") {
            Ok(())
        } else {
            Err(log)
        }
    });
    happens(world);
    fs::remove_file(gate).unwrap();
    let ended = world.supervisor.until_state(id, State::ContainerExited);
    let pod = world.pod.clone();
    let told = events.so_far(&world.supervisor, id, &pod);
    (ended, told)
}

#[test]
fn an_end_while_its_shim_is_asked_is_told_once() {
    let mut world = World::new();
    let runs = world.run("c");
    world.supervisor.kill9();
    let before = now();
    let (ended, told) = overtaken(&mut world, &runs.id, |world| world.end_recorded(&runs));
    assert_eq!(told, [Kind::ContainerStoppedEvent]);
    assert_eq!(
        (ended.exit_code, ended.started_at),
        (7, runs.shown.started_at)
    );
    assert!(ended.finished_at >= before);
}

#[test]
fn a_shim_that_dies_while_it_is_asked_is_an_unknown_end_told_once() {
    let mut world = World::new();
    let runs = world.run("c");
    world.supervisor.kill9();
    let (ended, told) = overtaken(&mut world, &runs.id, |_| runs.kill_shim());
    assert_eq!(told, [Kind::ContainerStoppedEvent]);
    assert_eq!((ended.exit_code, ended.reason.as_str()), (255, "Unknown"));
    until_dead(runs.init);
}

#[test]
fn a_stop_and_a_removal_wait_for_the_recovery_of_their_container() {
    let mut world = World::new();
    let (stopped, removed) = (world.run("stopped"), world.run("removed"));
    world.supervisor.kill9();
    let log = world.supervisor.log().len();
    let calls = world.supervisor.restart_held(|supervisor| {
        let (mut runtime, _) = supervisor.client();
        let stop = cri::StopContainerRequest {
            container_id: stopped.id.clone(),
            timeout: 0,
        };
        let remove = cri::RemoveContainerRequest {
            container_id: removed.id.clone(),
        };
        supervisor.handle().spawn(async move {
            let mut other = runtime.clone();
            tokio::join!(
                async { runtime.stop_container(stop).await.map(drop) },
                async { other.remove_container(remove).await.map(drop) }
            )
        })
    });
    world.supervisor.until_asked(log);
    let (stop, remove) = world.supervisor.wait(calls).unwrap();
    stop.unwrap();
    remove.unwrap();
    assert_eq!(world.supervisor.status(&stopped.id).exit_code, 137);
    let ids: Vec<_> = world.supervisor.listed();
    assert_eq!(ids.len(), 1, "{ids:?}");
    until_dead(removed.init);
}

/// What a reboot takes: processes, what /run has, mounts, cgroups.
fn reboot(world: &World, all: &[&Runs]) {
    for runs in all {
        runs.kill_shim();
        kill(Pid::from_raw(runs.init), Signal::SIGKILL).unwrap();
        until_dead(runs.init);
    }
    for (pid, command) in supervisor_leaks::processes(&world.supervisor.footprint()) {
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL)
            .unwrap_or_else(|error| println!("{command}: {error}"));
    }
    let dir = world.supervisor.dir().to_owned();
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    let own: Vec<_> = points.filter(|point| dir_has(&dir, point)).collect();
    for point in own.iter().rev() {
        umount2(*point, MntFlags::MNT_DETACH).unwrap();
    }
    fs::remove_dir_all(world.supervisor.state()).unwrap();
    // runc's state, the shims' sockets and the cgroups are the test's own clean-up's, whose marks they have.
    supervisor_leaks::remove(&world.supervisor.footprint());
}

fn dir_has(dir: &std::path::Path, point: &str) -> bool {
    std::path::Path::new(point).starts_with(dir)
}

#[test]
fn after_a_reboot_what_ran_has_ended_and_the_rest_is_as_it_was() {
    let mut world = World::new();
    let ended = world.run("ended");
    world.end(&ended);
    let before = world
        .supervisor
        .until_state(&ended.id, State::ContainerExited);
    let runs = world.run("runs");
    let created = world.create("created");
    world.supervisor.kill9();
    reboot(&world, &[&runs]);
    let booted = now();
    world.restart();
    let vanished = world.supervisor.status(&runs.id);
    assert_eq!(
        (
            vanished.state(),
            vanished.exit_code,
            vanished.reason.as_str()
        ),
        (State::ContainerExited, 255, "Unknown")
    );
    assert_eq!(vanished.started_at, runs.shown.started_at);
    assert!(vanished.finished_at >= booted);
    assert_eq!(world.supervisor.status(&ended.id), before);
    assert_eq!(world.state(&created), State::ContainerCreated);
    poll::until("the pod is not ready", || {
        let (mut runtime, _) = world.supervisor.client();
        let request = cri::PodSandboxStatusRequest {
            pod_sandbox_id: world.pod.clone(),
            verbose: false,
        };
        let answer = world.supervisor.wait(runtime.pod_sandbox_status(request));
        let status = world.supervisor.expect(answer).status.unwrap();
        if status.state() == cri::PodSandboxState::SandboxNotready {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    });
    world.crash_and_restart();
    assert_eq!(world.supervisor.status(&runs.id), vanished);
    // A new pod, which takes nothing of the old one's.
    let pod = world.supervisor.run_pod("after");
    let id = world.supervisor.run(&pod, "again", &["/bin/true"]);
    let ended = world.supervisor.until_state(&id, State::ContainerExited);
    assert_eq!(ended.exit_code, 0);
}

#[test]
fn a_process_that_has_the_pid_of_a_container_is_never_signalled() {
    let mut world = World::new();
    let runs = world.run("c");
    world.supervisor.kill9();
    reboot(&world, &[&runs]);
    let mut other = Command::new("sleep").arg("1000").spawn().unwrap();
    let path = world.supervisor.status_file(&runs.id);
    let mut saved = world.supervisor.checkpoint(&runs.id);
    let ContainerStatus::Running { process, .. } = &mut saved.status else {
        panic!("{saved:?}");
    };
    *process = ProcessIdentity {
        pid: outlive::types::Pid::new(other.id()).unwrap(),
        ..*process
    };
    Checkpoint::write(&saved, &path).unwrap();
    world.restart();
    let shown = world.supervisor.status(&runs.id);
    assert_eq!(
        (shown.state(), shown.exit_code),
        (State::ContainerExited, 255)
    );
    world.supervisor.stop_container(&runs.id).unwrap();
    world.supervisor.remove_container(&runs.id).unwrap();
    assert!(other.try_wait().unwrap().is_none(), "it was killed");
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn a_container_whose_shim_is_silent_can_be_stopped_and_removed() {
    let mut world = World::new();
    let (stopped, removed) = (world.run("stopped"), world.run("removed"));
    world.supervisor.kill9();
    for runs in [&stopped, &removed] {
        runs.signal_shim(Signal::SIGSTOP);
    }
    world.supervisor.restart();
    for runs in [&stopped, &removed] {
        world
            .supervisor
            .until_state(&runs.id, State::ContainerUnknown);
        assert!(is_alive(runs.init));
    }
    world.supervisor.stop_container(&stopped.id).unwrap();
    let ended = world.supervisor.status(&stopped.id);
    assert_eq!(
        (ended.state(), ended.exit_code),
        (State::ContainerExited, 137)
    );
    assert_eq!(ended.started_at, stopped.shown.started_at);
    world.supervisor.remove_container(&removed.id).unwrap();
    until_dead(removed.shim);
    // Nothing of what the shim does when it goes on makes another end of it.
    world.supervisor.kill9();
    world.supervisor.restart();
    stopped.signal_shim(Signal::SIGCONT);
    until_dead(stopped.shim);
    assert_eq!(world.supervisor.status(&stopped.id), ended);
    world.supervisor.remove_container(&stopped.id).unwrap();
    assert_eq!(world.supervisor.listed().len(), 0);
}

/// runc, whose `start` has started the program and does not come back while there is a file.
struct SlowStart(std::path::PathBuf);

impl SlowStart {
    fn new() -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let name = format!("outlive-slow-start-{}", std::process::id());
        let made = Self(std::env::temp_dir().join(name));
        fs::create_dir(&made.0).unwrap();
        fs::write(made.gate(), "").unwrap();
        let waits = format!(
            "while [ -e {} ]; do sleep 0.02; done",
            made.gate().display()
        );
        let script = format!(
            "#!/bin/sh\nrunc \"$@\"\ncode=$?\ncase \" $* \" in *\" start \"*) {waits};; esac\nexit $code\n"
        );
        fs::write(made.runtime(), script).unwrap();
        fs::set_permissions(made.runtime(), fs::Permissions::from_mode(0o755)).unwrap();
        made
    }

    fn gate(&self) -> std::path::PathBuf {
        self.0.join("gate")
    }

    fn runtime(&self) -> std::path::PathBuf {
        self.0.join("runc")
    }
}

impl Drop for SlowStart {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn a_start_that_goes_on_in_the_shim_is_not_undone() {
    let slow = SlowStart::new();
    let mut supervisor = Supervisor::start(Options {
        failpoints: Some("sent.Start=return".to_owned()),
        config: format!("[runtimes.outlive]\nbinary = {:?}\n", slow.runtime()),
        ..Options::default()
    });
    supervisor.options().failpoints = None;
    supervisor.load_busybox();
    let pod = supervisor.run_pod("pod");
    let id = supervisor.create(&pod, "c", &PROGRAM);
    let before = now();
    let (mut runtime, _) = supervisor.client();
    let request = cri::StartContainerRequest {
        container_id: id.clone(),
    };
    let answer = supervisor.wait(runtime.start_container(request));
    assert!(answer.is_err(), "{answer:?}");
    supervisor.crashed();
    let runs = || fs::read_to_string(supervisor.log_of("c")).unwrap_or_default();
    poll::until("the program runs", || {
        let log = runs();
        log.contains("runs").then_some(()).ok_or(log)
    });
    let at = now();
    supervisor.restart();
    // Long enough for what would undo it.
    poll::until("it was asked for a while", || {
        assert_eq!(supervisor.status(&id).state(), State::ContainerCreated);
        let asked = now() - at;
        (asked > 500_000_000).then_some(()).ok_or(asked.to_string())
    });
    fs::remove_file(slow.gate()).unwrap();
    let shown = supervisor.until_state(&id, State::ContainerRunning);
    assert!(
        before <= shown.started_at && shown.started_at <= now(),
        "{shown:?}"
    );
    let log = fs::read_to_string(supervisor.log_of("c")).unwrap();
    assert_eq!(log.lines().count(), 1, "it ran twice: {log}");
}
