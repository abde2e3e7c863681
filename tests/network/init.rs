//! The init of a shared pid namespace: what it is, how it begins and ends.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use outlive::api::cri;
use outlive::supervisor::pod::{sandbox, sandbox_init};
use outlive::supervisor::store::PodState;
use outlive::sys::namespace::Kind;
use outlive::sys::proc;

use crate::place::*;
use crate::support::poll;

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
    sandbox_init::set_program(env!("CARGO_BIN_EXE_outlive").into());
    let waiting = sandbox_init::start(&[]).unwrap();
    let identity = waiting.identity();
    assert!(is_alive(identity));
    drop(waiting);
    poll::until("the init ends", || {
        if is_alive(identity) {
            Err("it is alive".to_owned())
        } else {
            Ok(())
        }
    });
    sandbox_init::end(identity).unwrap();
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
