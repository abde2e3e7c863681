//! What the harness drives containerd by: on containerd 1.6, 1.7 and 2.x, each with this shim and with its own.
//!
//! What this shim promises is asserted of it; of the other it is shown what was seen (`--nocapture`).
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

#[path = "../harness/containerd_book.rs"]
mod containerd_book;
#[path = "../harness/containerd_calls.rs"]
mod containerd_calls;
#[path = "../harness/containerd_target.rs"]
mod containerd_target;
mod faults;
#[path = "../support/mod.rs"]
mod support;
#[expect(
    dead_code,
    reason = "the harness has targets and faults that are not driven here"
)]
#[path = "../harness/target.rs"]
mod target;

use std::fs;
use std::time::Duration;

use containerd_target::{Containerd, Shim};
use faults::{
    an_exit_while_containerd_is_dead, calls_of_a_dead_containerd_are_refused_at_once,
    kills_in_the_middle_of_calls, ten_kills_leave_running_containers_alone, the_death_of_a_shim,
    the_death_of_a_shim_while_containerd_is_dead,
};
use support::poll;
use support::tasks::touch;
use support::under_test::{Version, shim};
use target::{Seen, Spec, State, Step, Target};

/// Makes a test of each function for each version and shim.
macro_rules! on_every_containerd {
    ($($test:ident),+ $(,)?) => {
        on_every_containerd!(@ v1_6 V1_6 $($test)+);
        on_every_containerd!(@ v1_7 V1_7 $($test)+);
        on_every_containerd!(@ v2 V2 $($test)+);
    };
    (@ $module:ident $version:ident $($test:ident)+) => {
        mod $module {
            mod outlive {
                $(#[test]
                fn $test() {
                    $crate::on($crate::Version::$version, $crate::Shim::Outlive($crate::shim()), $crate::$test);
                })+
            }
            mod go {
                $(#[test]
                fn $test() {
                    $crate::on($crate::Version::$version, $crate::Shim::Go, $crate::$test);
                })+
            }
        }
    };
}

on_every_containerd![
    a_life_is_seen_from_its_beginning_to_its_end,
    ten_kills_leave_running_containers_alone,
    an_exit_while_containerd_is_dead,
    the_death_of_a_shim,
    the_death_of_a_shim_while_containerd_is_dead,
    a_paused_container_can_be_stopped_and_removed,
    calls_of_a_dead_containerd_are_refused_at_once,
    kills_in_the_middle_of_calls,
    a_container_can_be_killed_for_its_memory_and_leave_a_grandchild,
    a_dropped_target_leaves_nothing,
];

/// Runs `body`, removes what it left, and checks that nothing stays.
fn on(version: Version, shim: Shim, body: impl FnOnce(&mut Containerd)) {
    let is_outlive = shim != Shim::Go;
    let mut target = Containerd::start(version, shim);
    println!("{}: {:?}", target.label(), target.versions());
    body(&mut target);
    if !target.node().is_alive() {
        return;
    }
    for (pod, _) in target.pods().unwrap() {
        target.remove_pod(&pod).unwrap();
    }
    assert_eq!(target.list().unwrap(), []);
    let limit = if is_outlive {
        poll::DEADLINE
    } else {
        Duration::from_secs(10)
    };
    let left = poll::within(limit, || {
        let traces = target.traces();
        if traces.is_empty() {
            Ok(())
        } else {
            Err(format!("{traces:#?}"))
        }
    });
    match left {
        Ok(()) => {}
        Err(left) if is_outlive => panic!("left: {left}"),
        Err(left) => println!("left: {left}"),
    }
}

fn is_outlive(target: &Containerd) -> bool {
    target.label().ends_with("outlive")
}

fn spec(name: &str, pod: &str, script: &str) -> Spec {
    Spec {
        name: name.to_owned(),
        pod: pod.to_owned(),
        command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        memory: None,
        has_host_pids: false,
    }
}

/// Creates and starts a container that ends with 7 when [`end`] says so, and counts meanwhile.
fn obedient(target: &Containerd, name: &str, pod: &str) -> String {
    let script = format!(
        "n=0; while [ ! -e /end-{name} ]; do echo $n; n=$((n+1)); sleep 0.05; done; exit 7"
    );
    let id = target.create(&spec(name, pod, &script)).unwrap();
    target.start(&id).unwrap();
    id
}

fn end(target: &mut Containerd, name: &str) {
    touch(&target.node().rootfs().join(format!("end-{name}")));
}

fn seen(target: &Containerd, id: &str) -> Seen {
    let all = target.list().unwrap();
    let found = all.iter().find(|seen| seen.id == id);
    found
        .unwrap_or_else(|| panic!("no {id} in {all:?}"))
        .clone()
}

fn becomes(target: &Containerd, id: &str, state: State) -> Seen {
    poll::until(&format!("{id} is {state:?}"), || match seen(target, id) {
        is if is.state == state => Ok(is),
        is => Err(format!("{is:?}")),
    })
}

/// Waits until nobody is left to see the process end but its shim.
fn is_gone(pid: u32) {
    poll::until("the process is gone", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.map_or(Ok(()), |stat| {
            if stat.contains(") Z") {
                Ok(())
            } else {
                Err(stat)
            }
        })
    });
}

fn again(target: &mut Containerd) {
    target.kill9();
    target.spawn(None);
    target.until_answers().unwrap();
    target.until_recovered().unwrap();
}

fn a_life_is_seen_from_its_beginning_to_its_end(target: &mut Containerd) {
    let mut events = target.events().unwrap();
    let pod = target.run_pod("pod").unwrap();
    let id = target
        .create(&spec("life", &pod, "echo out; exec sleep 1000"))
        .unwrap();
    assert_eq!(seen(target, &id).state, State::Created);
    target.start(&id).unwrap();
    let running = seen(target, &id);
    assert_eq!(running.state, State::Running);
    assert!(running.pid.is_some());
    assert!(target.start(&id).is_err(), "it runs already");
    let ended = target
        .exec(&id, &["/bin/sh", "-c", "echo in; exit 4"])
        .unwrap();
    assert_eq!((ended.code, ended.stdout.as_str()), (4, "in\n"));
    target.stats(&id).unwrap();
    target.pause(&id).unwrap();
    assert_eq!(seen(target, &id).state, State::Paused);
    target.resume(&id).unwrap();
    assert_eq!(seen(target, &id).state, State::Running);
    let log = target.log("life");
    poll::until("the log has it", || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        if text == "out\n" { Ok(()) } else { Err(text) }
    });
    let shim = target.shim(&id).expect("a shim");
    assert!(shim > 1);
    rename_and_reopen(target, &id);
    target.stop(&id, 1).unwrap();
    let exited = seen(target, &id);
    assert_eq!((exited.state, exited.exit_code), (State::Exited, Some(137)));
    assert!(exited.finished_at.is_some(), "{exited:?}");
    target.stop(&id, 1).unwrap();
    target.remove(&id).unwrap();
    target.remove(&id).unwrap();
    target.stop(&id, 1).unwrap();
    assert_eq!(target.final_code(&id), Some(137));
    assert_eq!(target.list().unwrap(), []);
    let steps = [Step::Created, Step::Started, Step::Stopped, Step::Deleted];
    let all = steps.map(|step| (id.clone(), step));
    poll::until("the events", || {
        let told = events.so_far();
        // containerd's shim may be gone before its last event is sent.
        if told == all || (!is_outlive(target) && told == all[..3]) {
            Ok(())
        } else {
            Err(format!("{told:?}"))
        }
    });
}

fn rename_and_reopen(target: &Containerd, id: &str) {
    let log = target.log(id);
    fs::rename(&log, log.with_extension("log.1")).unwrap();
    let reopened = target.reopen(id);
    assert_eq!(reopened.is_ok(), is_outlive(target), "{reopened:?}");
    assert_eq!(log.exists(), is_outlive(target));
}

fn a_paused_container_can_be_stopped_and_removed(target: &mut Containerd) {
    let pod = target.run_pod("pod").unwrap();
    let stopped = obedient(target, "stopped", &pod);
    let removed = obedient(target, "removed", &pod);
    for id in [&stopped, &removed] {
        target.pause(id).unwrap();
    }
    target.stop(&stopped, 1).unwrap();
    assert_eq!(seen(target, &stopped).exit_code, Some(137));
    target.remove(&removed).unwrap();
    assert_eq!(target.final_code(&removed), Some(137));
}

fn a_container_can_be_killed_for_its_memory_and_leave_a_grandchild(target: &mut Containerd) {
    let pod = target.run_pod("many").unwrap();
    let hungry = Spec {
        memory: Some(24 << 20),
        ..spec("hungry", &pod, "exec tail /dev/zero")
    };
    let parent = Spec {
        has_host_pids: true,
        ..spec("parent", &pod, "sleep 100000 & exit 5")
    };
    for (spec, code) in [(hungry, 137), (parent, 5)] {
        let id = target.create(&spec).unwrap();
        target.start(&id).unwrap();
        assert_eq!(
            becomes(target, &id, State::Exited).exit_code,
            Some(code),
            "{id}"
        );
    }
}

fn a_dropped_target_leaves_nothing(target: &mut Containerd) {
    let dir = target.node.dir().to_owned();
    let other = Containerd::start(
        target.node().version(),
        if is_outlive(target) {
            Shim::Outlive(shim())
        } else {
            Shim::Go
        },
    );
    let many = other.run_pod("many").unwrap();
    for name in ["a", "b", "c"] {
        obedient(&other, name, &many);
    }
    other.pause("c").unwrap();
    let pids: Vec<u32> = other
        .list()
        .unwrap()
        .iter()
        .filter_map(|seen| seen.pid)
        .collect();
    assert_eq!(pids.len(), 3);
    let shim = other.shim("a").unwrap();
    let gone = other.node.dir().to_owned();
    drop(other);
    for pid in pids.into_iter().chain([shim]) {
        is_gone(pid);
    }
    assert!(!gone.exists());
    assert!(dir.exists(), "the other one's is untouched");
}
