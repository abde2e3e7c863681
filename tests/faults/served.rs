//! Each fault on one container of a real supervisor, with a neighbour that must not notice.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::MsFlags;
use outlive::api::cri::{self, ContainerState as State};
use tokio::task::JoinHandle;

use crate::faults::clock::Clock;
use crate::faults::damage::{Damage, StaleSocket};
use crate::faults::pid_reuse::Bystander;
use crate::faults::reboot::reboot;
use crate::faults::shim::Shim;
use crate::faults::slow_umount::SlowUmount;
use crate::faults::upgrade::Builds;
use crate::support::poll;
use crate::support::supervisor::{Options, Supervisor};
use crate::support::supervisor_calls::{remove, stop};

/// Says a number every twentieth of a second, and ends with 7 when there is a file /end.
pub const PROGRAM: [&str; 3] = [
    "/bin/sh",
    "-c",
    "n=0; until [ -e /end ]; do echo $n; n=$((n+1)); usleep 50000; done; exit 7",
];

fn ready(options: Options) -> (Supervisor, String) {
    let supervisor = Supervisor::start(options);
    supervisor.load_busybox();
    let pod = supervisor.run_pod("pod");
    (supervisor, pod)
}

fn rootfs(supervisor: &Supervisor, id: &str) -> PathBuf {
    supervisor.state().join("tasks").join(id).join("rootfs")
}

fn init_of(supervisor: &Supervisor, id: &str) -> u32 {
    let path = supervisor.state().join("tasks").join(id).join("init.pid");
    fs::read_to_string(path).unwrap().trim().parse().unwrap()
}

pub fn end(supervisor: &Supervisor, id: &str) {
    let init = init_of(supervisor, id);
    fs::write(format!("/proc/{init}/root/end"), "").unwrap();
}

/// Every number is there once, in order.
pub fn assert_whole(supervisor: &Supervisor, name: &str) -> usize {
    let text = fs::read_to_string(supervisor.log_of(name)).unwrap();
    let mut count = 0;
    for (expected, line) in text.lines().enumerate() {
        assert_eq!(
            line.rsplit(' ').next(),
            Some(&*expected.to_string()),
            "{line}"
        );
        count += 1;
    }
    count
}

fn quick<T>(limit: u64, what: &str, call: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let answer = call();
    let took = began.elapsed();
    assert!(took < Duration::from_secs(limit), "{what} took {took:?}");
    answer
}

/// RemoveContainer, whose answer is waited for later.
fn begin_removal(supervisor: &Supervisor, id: &str) -> JoinHandle<Result<(), tonic::Status>> {
    let (mut runtime, _) = supervisor.client();
    let request = cri::RemoveContainerRequest {
        container_id: id.to_owned(),
    };
    supervisor
        .handle()
        .spawn(async move { runtime.remove_container(request).await.map(drop) })
}

/// Everything a neighbour may want, none of which waits for anybody.
fn others_go_on(supervisor: &Supervisor, pod: &str, other: &str) {
    quick(5, "stop of the other", || {
        stop(supervisor, other, 0).unwrap()
    });
    quick(5, "its removal", || remove(supervisor, other).unwrap());
    let third = quick(5, "start of a third", || {
        supervisor.run(pod, &format!("after-{other}"), &PROGRAM)
    });
    quick(5, "its stop", || stop(supervisor, &third, 0).unwrap());
}

#[test]
fn a_umount_that_waits_delays_its_own_container_only() {
    let (supervisor, pod) = ready(Options::default());
    let slow = supervisor.run(&pod, "slow", &PROGRAM);
    let other = supervisor.run(&pod, "other", &PROGRAM);
    let mut umount = SlowUmount::below(&rootfs(&supervisor, &slow), MsFlags::MS_SHARED);
    end(&supervisor, &slow);
    umount.until_awaited();
    let ended = quick(2, "the end", || {
        supervisor.until_state(&slow, State::ContainerExited)
    });
    assert_eq!(ended.exit_code, 7);
    let removal = begin_removal(&supervisor, &slow);
    others_go_on(&supervisor, &pod, &other);
    quick(2, "its stop", || stop(&supervisor, &slow, 0).unwrap_err());
    assert!(!removal.is_finished());
    assert_eq!(supervisor.status(&slow), ended);
    umount.thaw();
    supervisor.wait(removal).unwrap().unwrap();
}

#[test]
fn whoever_waits_for_a_umount_can_be_killed_and_nothing_is_left() {
    let (mut supervisor, pod) = ready(Options::default());
    let slow = supervisor.run(&pod, "slow", &PROGRAM);
    let other = supervisor.run(&pod, "other", &PROGRAM);
    let mut umount = SlowUmount::below(&rootfs(&supervisor, &slow), MsFlags::MS_SHARED);
    end(&supervisor, &slow);
    umount.until_awaited();
    supervisor.kill9();
    let shim = Shim::of(&slow).unwrap();
    shim.send_kill();
    quick(5, "restart", || supervisor.restart());
    let removal = begin_removal(&supervisor, &slow);
    others_go_on(&supervisor, &pod, &other);
    // Killed, and not dead: it is in the kernel.
    assert!(shim.is_alive() && !removal.is_finished());
    assert_eq!(supervisor.status(&slow).exit_code, 7);
    umount.thaw();
    supervisor.wait(removal).unwrap().unwrap();
    poll::until("the killed shim is gone", || {
        if shim.is_alive() {
            Err(format!("{shim:?}"))
        } else {
            Ok(())
        }
    });
}

#[test]
fn a_reused_pid_is_nobodys_container() {
    let (mut supervisor, pod) = ready(Options::default());
    let id = supervisor.run(&pod, "c", &PROGRAM);
    let (init, shim) = (init_of(&supervisor, &id), Shim::of(&id).unwrap());
    supervisor.kill9();
    reboot(&supervisor);
    let mut first = Bystander::with_pid(init).unwrap();
    let mut second = Bystander::with_pid(shim.pid()).unwrap();
    assert_eq!((first.pid(), second.pid()), (init, shim.pid()));
    supervisor.restart();
    let ended = supervisor.until_state(&id, State::ContainerExited);
    assert_eq!((ended.exit_code, ended.reason.as_str()), (255, "Unknown"));
    stop(&supervisor, &id, 0).unwrap();
    remove(&supervisor, &id).unwrap();
    assert!(first.is_alive() && second.is_alive());
}

#[test]
fn a_pid_that_is_reused_while_the_shim_is_dead_is_not_signalled() {
    let (mut supervisor, pod) = ready(Options::default());
    let id = supervisor.run(&pod, "c", &PROGRAM);
    let init = init_of(&supervisor, &id);
    supervisor.kill9();
    Shim::of(&id).unwrap().kill9();
    end(&supervisor, &id);
    let mut bystander = Bystander::with_pid(init).unwrap();
    supervisor.restart();
    let ended = supervisor.until_state(&id, State::ContainerExited);
    assert_eq!((ended.exit_code, ended.reason.as_str()), (255, "Unknown"));
    remove(&supervisor, &id).unwrap();
    assert!(bystander.is_alive());
}

#[test]
fn a_clock_that_steps_changes_no_time_that_was_told() {
    let clock = match Clock::new() {
        Ok(clock) => clock,
        Err(why) => return println!("skipped: {why}"),
    };
    let shim = crate::support::supervisor::program().with_file_name("containerd-shim-outlive-v2");
    let (mut supervisor, pod) = ready(Options {
        config: clock.true_time_for_shims(&shim),
        env: clock.environment(),
        ..Options::default()
    });
    for step in [-3600, 3600] {
        clock.step(0);
        let runs = supervisor.run(&pod, &format!("runs{step}"), &PROGRAM);
        let ends = supervisor.run(&pod, &format!("ends{step}"), &PROGRAM);
        let before = supervisor.status(&runs);
        clock.step(step);
        supervisor.kill9();
        end(&supervisor, &ends);
        supervisor.restart();
        let ended = supervisor.until_state(&ends, State::ContainerExited);
        assert_eq!(ended.exit_code, 7);
        assert!(ended.started_at <= ended.finished_at, "{ended:?}");
        assert!(
            ended.finished_at - ended.started_at < 60_000_000_000,
            "{ended:?}"
        );
        assert_eq!(supervisor.status(&runs), before);
        end(&supervisor, &runs);
        let ended = supervisor.until_state(&runs, State::ContainerExited);
        assert!(ended.started_at <= ended.finished_at, "{ended:?}");
        // Made after the step, started by a shim whose clock is the true one.
        let after = supervisor.run(&pod, &format!("after{step}"), &PROGRAM);
        let shown = supervisor.status(&after);
        println!(
            "{step}: created {} started {}",
            shown.created_at, shown.started_at
        );
        stop(&supervisor, &after, 0).unwrap();
        let shown = supervisor.status(&after);
        assert!(shown.started_at <= shown.finished_at, "{shown:?}");
        // An end that has no witness.
        let killed = supervisor.run(&pod, &format!("killed{step}"), &PROGRAM);
        Shim::of(&killed).unwrap().kill9();
        let shown = supervisor.until_state(&killed, State::ContainerExited);
        assert!(shown.started_at <= shown.finished_at, "{shown:?}");
    }
}

#[test]
fn two_builds_take_turns_over_the_same_containers() {
    let builds = match Builds::find() {
        Ok(builds) => builds,
        Err(why) => return println!("skipped: {why}"),
    };
    let (mut supervisor, pod) = ready(Options {
        program: Some(builds.current.clone()),
        ..Options::default()
    });
    let mut program = builds.current.clone();
    let mut all = Vec::new();
    for turn in 0..4 {
        let name = format!("c{turn}");
        let id = supervisor.run(&pod, &name, &PROGRAM);
        all.push((name, supervisor.status(&id)));
        supervisor.kill9();
        program = builds.turn(&program).to_owned();
        supervisor.options().program = Some(program.clone());
        supervisor.restart();
        for (_, before) in &all {
            assert_eq!(
                &supervisor.until_state(&before.id, State::ContainerRunning),
                before
            );
        }
    }
    for (name, before) in &all {
        end(&supervisor, &before.id);
        let ended = supervisor.until_state(&before.id, State::ContainerExited);
        assert_eq!(ended.exit_code, 7);
        assert!(assert_whole(&supervisor, name) > 0);
    }
}

#[test]
fn a_socket_is_stale_at_once_while_programs_are_being_started() {
    let path = std::env::temp_dir().join(format!("outlive-stale-{}", std::process::id()));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    Command::new("true").status().unwrap();
                }
            });
        }
        let stale = (0..2000).filter(|_| StaleSocket::put(&path).is_there());
        let stale = stale.count();
        done.store(true, Ordering::Relaxed);
        assert_eq!(stale, 2000);
    });
    assert!(!path.exists());
}

#[test]
fn stale_sockets_stop_no_start_and_a_dead_shims_end_is_told() {
    let (mut supervisor, pod) = ready(Options::default());
    let id = supervisor.run(&pod, "c", &PROGRAM);
    let other = supervisor.run(&pod, "other", &PROGRAM);
    let before = supervisor.status(&other);
    let address = supervisor.state().join("tasks").join(&id).join("address");
    let address = fs::read_to_string(address).unwrap();
    let socket = PathBuf::from(address.strip_prefix("unix://").unwrap());
    supervisor.kill9();
    Shim::of(&id).unwrap().kill9();
    let shims = StaleSocket::put(&socket);
    let own = StaleSocket::put(&supervisor.socket());
    assert!(shims.is_there() && own.is_there());
    supervisor.restart();
    assert!(!own.is_there());
    let ended = supervisor.until_state(&id, State::ContainerExited);
    assert_eq!((ended.exit_code, ended.reason.as_str()), (255, "Unknown"));
    assert_eq!(supervisor.status(&other), before);
    drop((shims, own));
    assert_eq!(supervisor.status(&other), before);
}

/// What was begun by an earlier start has no say.
fn until_asked(supervisor: &Supervisor) {
    let log = supervisor.dir().join("log");
    poll::until("every container is asked", || {
        let text = fs::read_to_string(&log).unwrap();
        let mine = text
            .rsplit(" serving ")
            .next()
            .unwrap_or_default()
            .to_owned();
        if mine.contains("the recovery has ended") {
            Ok(())
        } else {
            Err(mine)
        }
    });
}

#[test]
fn damage_is_shown_and_what_is_put_back_is_believed() {
    let (mut supervisor, pod) = ready(Options::default());
    let id = supervisor.run(&pod, "c", &PROGRAM);
    let before = supervisor.status(&id);
    let dir = supervisor.root().join("containers").join(&id);
    for damage in Damage::ALL {
        for file in ["container.json", "status.json"] {
            supervisor.kill9();
            let damaged = damage.apply(&dir.join(file));
            supervisor.restart();
            if file == "container.json" {
                // The checkpoint knows, before anybody was asked.
                assert_eq!(supervisor.status(&id).started_at, before.started_at);
            }
            until_asked(&supervisor);
            let shown = supervisor.status(&id);
            assert_eq!(shown.state(), State::ContainerUnknown, "{damage:?} {file}");
            assert_eq!(shown.started_at, before.started_at, "{damage:?} {file}");
            assert!(!damaged.is_mended(), "{damage:?} {file}");
            supervisor.kill9();
            drop(damaged);
            supervisor.restart();
            until_asked(&supervisor);
            assert_eq!(supervisor.status(&id), before, "{damage:?} {file}");
        }
    }
}
