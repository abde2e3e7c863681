//! Kills at no named point: somewhere between a pod's first call and its container's last.

use std::thread;
use std::time::Instant;

use crate::ground::{Answer, Ground, create, run_pod, start};
use crate::pods::{config, named, remove_whole};
use crate::support::supervisor::Supervisor;
use crate::support::supervisor_calls::{listed, stop};

/// `OUTLIVE_CRASH_ROUNDS` for more.
const ROUNDS: u32 = 24;

/// What was answered, in this order.
#[derive(Debug, Default)]
struct Answered {
    pod: Option<String>,
    container: Option<String>,
    is_started: bool,
    is_stopped: bool,
}

fn life(supervisor: &Supervisor, answered: &mut Answered) -> Answer<()> {
    let pod = run_pod(supervisor, config(supervisor, "victim"))?;
    answered.pod = Some(pod.clone());
    let wanted = supervisor.container_config("in-victim", &["/bin/sleep", "1000"]);
    let id = create(supervisor, wanted, &pod)?;
    answered.container = Some(id.clone());
    start(supervisor, &id)?;
    answered.is_started = true;
    stop(supervisor, &id, 0)?;
    answered.is_stopped = true;
    Ok(())
}

#[test]
fn what_was_answered_holds_whenever_the_supervisor_was_killed() {
    use outlive::api::cri::ContainerState;
    let mut ground = Ground::new();
    let began = Instant::now();
    life(&ground.supervisor, &mut Answered::default()).unwrap();
    let whole = began.elapsed();
    let pod = named(&ground.supervisor, "victim").unwrap();
    remove_whole(&ground.supervisor, &pod.id).unwrap();
    let rounds = std::env::var("OUTLIVE_CRASH_ROUNDS");
    let rounds = rounds.map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    for round in 1..=rounds {
        let after = whole * round / rounds;
        let case = format!("killed after {after:?} of {whole:?}");
        let pid = ground.supervisor.pid();
        let killer = thread::spawn(move || {
            let until = Instant::now() + after;
            thread::sleep(until.saturating_duration_since(Instant::now()));
            let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        });
        let mut answered = Answered::default();
        drop(life(&ground.supervisor, &mut answered));
        killer.join().unwrap();
        ground.crashed();
        ground.recover();
        let pod = named(&ground.supervisor, "victim");
        if let Some(id) = &answered.pod {
            assert_eq!(pod.as_ref().map(|pod| &pod.id), Some(id), "{case}");
        }
        if let Some(id) = &answered.container {
            let status = ground.supervisor.status(id);
            let allowed: &[ContainerState] = match (answered.is_started, answered.is_stopped) {
                (_, true) => &[ContainerState::ContainerExited],
                (true, false) => &[
                    ContainerState::ContainerRunning,
                    ContainerState::ContainerExited,
                ],
                (false, false) => &[
                    ContainerState::ContainerCreated,
                    ContainerState::ContainerRunning,
                ],
            };
            assert!(allowed.contains(&status.state()), "{case}: {status:?}");
            if status.state() == ContainerState::ContainerCreated {
                start(&ground.supervisor, id).expect(&case);
            }
            stop(&ground.supervisor, id, 0).expect(&case);
            assert_eq!(ground.supervisor.status(id).exit_code, 137, "{case}");
        }
        if let Some(pod) = pod {
            remove_whole(&ground.supervisor, &pod.id).expect(&case);
        }
        assert_eq!(listed(&ground.supervisor).len(), 1, "{case}");
        ground.nothing_else_is_left(&case);
    }
    ground.nothing_was_lost();
}
