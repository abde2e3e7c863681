//! How long the calls of a container's life take, one after the other.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use outlive::api::cri;

use crate::fleet::{alone, program};
use crate::support::supervisor::{Options, Supervisor};
use crate::usage::load;

const TIMES: usize = 20;

#[derive(Default)]
struct Taken(BTreeMap<&'static str, Vec<Duration>>);

impl Taken {
    fn time<T>(&mut self, call: &'static str, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let answer = work();
        self.0.entry(call).or_default().push(began.elapsed());
        answer
    }

    fn print(&mut self) {
        for (call, taken) in &mut self.0 {
            taken.sort();
            let (best, median) = (taken[0], taken[taken.len() / 2]);
            println!("  {call:<22} median {median:>9.1?}, best {best:>9.1?}");
        }
    }
}

#[test]
fn the_calls_of_a_life_are_answered_at_once() {
    let _alone = alone();
    let supervisor = Supervisor::start(Options {
        program: Some(program()),
        ..Options::default()
    });
    supervisor.load_busybox();
    let mut taken = Taken::default();
    for number in 0..TIMES {
        let name = format!("n{number}");
        let pod = taken.time("1 RunPodSandbox", || supervisor.run_pod(&name));
        let (mut runtime, _) = supervisor.client();
        let id = taken.time("2 CreateContainer", || {
            supervisor.create(&pod, &name, &["/bin/sleep", "1000000"])
        });
        taken.time("3 StartContainer", || supervisor.start_container(&id));
        taken.time("4 ContainerStatus", || supervisor.status(&id));
        let stop = cri::StopContainerRequest {
            container_id: id.clone(),
            timeout: 0,
        };
        let stopped = taken.time("5 StopContainer", || {
            supervisor.wait(runtime.stop_container(stop))
        });
        supervisor.expect(stopped);
        let remove = cri::RemoveContainerRequest { container_id: id };
        let removed = taken.time("6 RemoveContainer", || {
            supervisor.wait(runtime.remove_container(remove))
        });
        supervisor.expect(removed);
        let stop = cri::StopPodSandboxRequest {
            pod_sandbox_id: pod.clone(),
        };
        let stopped = taken.time("7 StopPodSandbox", || {
            supervisor.wait(runtime.stop_pod_sandbox(stop))
        });
        supervisor.expect(stopped);
        let remove = cri::RemovePodSandboxRequest {
            pod_sandbox_id: pod,
        };
        let removed = taken.time("8 RemovePodSandbox", || {
            supervisor.wait(runtime.remove_pod_sandbox(remove))
        });
        supervisor.expect(removed);
    }
    println!(
        "calls of {}, {TIMES} times, load {}",
        program().display(),
        load()
    );
    taken.print();
}
