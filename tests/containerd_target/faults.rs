//! What a killed containerd and killed shims leave, and what the calls answer meanwhile.

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::containerd_target::Containerd;
use crate::support::poll;
use crate::target::{State, Target};
use crate::{again, becomes, end, is_gone, is_outlive, obedient, seen, spec};

pub fn ten_kills_leave_running_containers_alone(target: &mut Containerd) {
    let alone = target.run_pod("alone").unwrap();
    let many = target.run_pod("many").unwrap();
    let created = target.create(&spec("created", &alone, "exit 1")).unwrap();
    let mut ids = Vec::new();
    for (name, pod) in [("a", &alone), ("b", &alone), ("c", &many), ("d", &many)] {
        ids.push(obedient(target, name, pod));
    }
    let shims: BTreeSet<u32> = ids.iter().filter_map(|id| target.shim(id)).collect();
    assert_eq!(shims.len(), 3, "the pod of many has one");
    let before = target.list().unwrap();
    for round in 0..10 {
        let killed = Instant::now();
        again(target);
        println!("round {round}: recovered after {:?}", killed.elapsed());
        let mut after = target.list().unwrap();
        after.sort_by(|a, b| a.id.cmp(&b.id));
        assert_eq!(after, before, "round {round}");
        let ended = target.exec(&ids[0], &["/bin/sh", "-c", "exit 4"]).unwrap();
        assert_eq!(ended.code, 4, "round {round}");
    }
    for id in &ids {
        end(target, id);
        assert_eq!(
            becomes(target, id, State::Exited).exit_code,
            Some(7),
            "{id}"
        );
        // Every line that was written, once and in order.
        let log = fs::read_to_string(target.log(id)).unwrap();
        let lines: Vec<usize> = log.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(lines, (0..lines.len()).collect::<Vec<_>>(), "{id}");
    }
    assert_eq!(seen(target, &created).state, State::Created);
}

pub fn an_exit_while_containerd_is_dead(target: &mut Containerd) {
    let pod = target.run_pod("pod").unwrap();
    let id = obedient(target, "mortal", &pod);
    let pid = seen(target, &id).pid.unwrap();
    target.kill9();
    end(target, "mortal");
    is_gone(pid);
    target.spawn(None);
    target.until_answers().unwrap();
    target.until_recovered().unwrap();
    let first = seen(target, &id);
    again(target);
    let second = seen(target, &id);
    target.remove(&id).unwrap();
    let last = target.final_code(&id);
    if is_outlive(target) {
        assert_eq!((first.state, first.exit_code), (State::Exited, Some(7)));
        assert_eq!(second, first);
        assert_eq!(last, Some(7));
    } else {
        println!(
            "{}: an exit while down: {first:?}, then {second:?}, deleted {last:?}",
            target.label()
        );
    }
}

pub fn the_death_of_a_shim(target: &mut Containerd) {
    let pod = target.run_pod("pod").unwrap();
    // One that has ended when its shim is killed, and one that has not.
    for name in ["ended", "running"] {
        let id = obedient(target, name, &pod);
        if name == "ended" {
            end(target, name);
            assert_eq!(becomes(target, &id, State::Exited).exit_code, Some(7));
        }
        let shim = target.shim(&id).expect("a shim");
        kill9(shim);
        poll::until(&format!("{name} has no task"), || {
            let seen = seen(target, &id);
            let is_gone = seen.reason.starts_with("no task");
            is_gone.then_some(()).ok_or_else(|| format!("{seen:?}"))
        });
        // The event comes after the task has gone, if at all.
        let told = poll::within(Duration::from_secs(10), || {
            let code = seen(target, &id).exit_code;
            code.map(drop).ok_or_else(String::new)
        });
        let after = seen(target, &id);
        println!("{}: {name} when its shim died: {after:?}", target.label());
        if is_outlive(target) {
            let code = if name == "ended" { 7 } else { 137 };
            assert_eq!((told, after.exit_code), (Ok(()), Some(code)), "{after:?}");
        }
        target.stop(&id, 0).unwrap();
        target.remove(&id).unwrap();
    }
}

/// Of the exit nobody but the shim knew, and that is told while nobody listens yet: shown, and removed.
pub fn the_death_of_a_shim_while_containerd_is_dead(target: &mut Containerd) {
    let pod = target.run_pod("pod").unwrap();
    let id = obedient(target, "ended", &pod);
    let pid = seen(target, &id).pid.unwrap();
    let shim = target.shim(&id).expect("a shim");
    target.kill9();
    end(target, "ended");
    is_gone(pid);
    kill9(shim);
    target.spawn(None);
    target.until_answers().unwrap();
    target.until_recovered().unwrap();
    let after = seen(target, &id);
    println!(
        "{}: ended, and its shim died, while down: {after:?}",
        target.label()
    );
    target.stop(&id, 0).unwrap();
    target.remove(&id).unwrap();
}

fn kill9(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap());
    kill(pid, Signal::SIGKILL).unwrap();
}

pub fn calls_of_a_dead_containerd_are_refused_at_once(target: &mut Containerd) {
    let pod = target.run_pod("pod").unwrap();
    let id = obedient(target, "one", &pod);
    target.kill9();
    let began = Instant::now();
    target.list().unwrap_err();
    target.stop(&id, 5).unwrap_err();
    target.remove(&id).unwrap_err();
    target.exec(&id, &["/bin/true"]).unwrap_err();
    assert!(target.events().is_err());
    assert!(began.elapsed().as_secs() < 2, "{:?}", began.elapsed());
    target.spawn(None);
    target.until_answers().unwrap();
    killed_in_an_exec(target, &id);
}

/// Others kill the containerd by its pid while a call is under way.
fn killed_in_an_exec(target: &mut Containerd, id: &str) {
    let pid = target.pid();
    let both: &Containerd = target;
    thread::scope(|scope| {
        let call = scope.spawn(|| both.exec(id, &["/bin/sh", "-c", "echo > /runs; sleep 1000"]));
        let runs = both.node.dir().join("rootfs/runs");
        poll::until("the command runs", || {
            runs.exists().then_some(()).ok_or_else(String::new)
        });
        let began = Instant::now();
        kill9(pid);
        let refusal = call.join().unwrap().unwrap_err();
        println!("{refusal}");
        assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    });
    again(target);
}

/// Whatever the calls were at when containerd was killed, none of them hangs, and all that they left can be removed.
pub fn kills_in_the_middle_of_calls(target: &mut Containerd) {
    let pods = ["one", "many"].map(|name| target.run_pod(name).unwrap());
    for round in 0..6_u64 {
        let pid = target.pid();
        let both: &Containerd = target;
        let began = Instant::now();
        thread::scope(|scope| {
            for client in 0..3 {
                let pod = &pods[client % 2];
                scope.spawn(move || lives(both, pod, &format!("k{round}-{client}")));
            }
            let moment = Duration::from_millis(60 + 70 * round);
            poll::until("the moment has come", || match began.elapsed() {
                since if since >= moment => Ok(()),
                since => Err(format!("{since:?}")),
            });
            kill9(pid);
        });
        assert!(began.elapsed() < Duration::from_secs(10), "round {round}");
        again(target);
        for seen in target.list().unwrap() {
            println!("{}: round {round}: {seen:?}", target.label());
            target.stop(&seen.id, 0).unwrap();
            target.remove(&seen.id).unwrap();
        }
    }
}

/// Lives on until it is refused something.
fn lives(target: &Containerd, pod: &str, name: &str) {
    for number in 0.. {
        let life = || {
            let spec = spec(&format!("{name}-{number}"), pod, "sleep 1000");
            let id = target.create(&spec)?;
            target.start(&id)?;
            target.exec(&id, &["/bin/true"])?;
            target.stats(&id)?;
            target.stop(&id, 0)?;
            target.list()?;
            target.remove(&id)
        };
        if life().is_err() {
            return;
        }
    }
}
