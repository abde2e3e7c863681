//! How long after its start the supervisor has every container again.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use outlive::api::cri;

use crate::fleet::{Fleet, alone, is_release, program, shim_of, size};
use crate::support::supervisor::Supervisor;
use crate::support::{poll, stopped};
use crate::usage::load;

const LIMIT: Duration = Duration::from_millis(500);
/// The machine may be busy: the best of these is held to the limit, each of them to three times as much.
const TIMES: usize = 3;
const PAUSE: Duration = Duration::from_millis(2);

/// What one start took, from the call of exec.
#[derive(Debug, Clone, Copy)]
struct Start {
    /// Until ListContainers showed all of them RUNNING.
    listed: Duration,
    /// Until every shim was asked, but for those that do not answer.
    asked: Duration,
}

async fn running(supervisor: &Supervisor) -> Result<usize, tonic::Status> {
    let (mut runtime, _) = supervisor.client();
    let answer = runtime.list_containers(cri::ListContainersRequest::default());
    let mut containers = answer.await?.into_inner().containers;
    containers.retain(|one| one.state() == cri::ContainerState::ContainerRunning);
    Ok(containers.len())
}

/// How many containers' shims were not asked yet.
async fn recovering(supervisor: &Supervisor) -> Result<u64, tonic::Status> {
    let (mut runtime, _) = supervisor.client();
    let request = cri::StatusRequest { verbose: true };
    let info = runtime.status(request).await?.into_inner().info;
    let info: serde_json::Value = serde_json::from_str(&info["info"]).unwrap();
    Ok(info["recovering"].as_u64().unwrap())
}

/// Polls closely: the time that passes until `probe` is content is the figure.
fn time<T>(
    began: Instant,
    mut probe: impl FnMut() -> Result<T, tonic::Status>,
    is_done: impl Fn(&T) -> bool,
) -> Duration {
    loop {
        match probe() {
            Ok(found) if is_done(&found) => return began.elapsed(),
            Err(status) if began.elapsed() > poll::DEADLINE => panic!("{status}"),
            Ok(_) if began.elapsed() > poll::DEADLINE => panic!("not within {:?}", poll::DEADLINE),
            Ok(_) | Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// Kills and starts the supervisor. `silent` shims do not answer.
fn restart(supervisor: &mut Supervisor, silent: u64) -> Start {
    supervisor.kill9();
    let began = Instant::now();
    supervisor.spawn();
    let listed = time(
        began,
        || supervisor.wait(running(supervisor)),
        |count| *count == size(),
    );
    let asked = time(
        began,
        || supervisor.wait(recovering(supervisor)),
        |count| *count <= silent,
    );
    // The shims said so too.
    assert_eq!(supervisor.wait(running(supervisor)).unwrap(), size());
    Start { listed, asked }
}

fn restarts(fleet: &mut Fleet, silent: u64) {
    let starts: Vec<Start> = (0..TIMES)
        .map(|_| restart(&mut fleet.supervisor, silent))
        .collect();
    for start in &starts {
        println!(
            "  restart, {silent} silent: all RUNNING after {:?}, asked after {:?}, load {}",
            start.listed,
            start.asked,
            load()
        );
    }
    if is_release(&program()) && size() == 100 {
        for took in [|start: &Start| start.listed, |start: &Start| start.asked] {
            let took: Vec<Duration> = starts.iter().map(took).collect();
            assert!(took.iter().any(|took| *took < LIMIT), "{took:?}");
            assert!(took.iter().all(|took| *took < 3 * LIMIT), "{took:?}");
        }
    }
}

#[test]
fn a_hundred_containers_are_running_again_within_half_a_second() {
    let _alone = alone();
    let mut fleet = Fleet::start();
    println!("supervisor {}, {} containers", program().display(), size());
    restarts(&mut fleet, 0);
    let shim = Pid::from_raw(shim_of(&fleet.containers[size() / 2]));
    stopped::stop(shim);
    restarts(&mut fleet, 1);
    kill(shim, Signal::SIGCONT).unwrap();
    let began = Instant::now();
    time(
        began,
        || fleet.supervisor.wait(recovering(&fleet.supervisor)),
        |count| *count == 0,
    );
    time(
        began,
        || fleet.supervisor.wait(running(&fleet.supervisor)),
        |count| *count == size(),
    );
}
