//! What every case starts from: a supervisor with a pod and a bystander, whose program writes a number every tenth of a
//! second. And what every case ends with: nothing is there but these.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use outlive::api::cri::{self, ContainerState};

use crate::support::poll;
use crate::support::supervisor::{Options, Supervisor};
use crate::support::supervisor_calls::{listed, pid};
use crate::support::supervisor_leaks as leaks;

/// Writes without a child process: what runs is compared.
const WRITER: &str =
    "mkfifo /tmp/f; exec 3<>/tmp/f; n=0; while :; do echo $n; n=$((n+1)); read -t 0.1 x <&3; done";

pub type Answer<T> = Result<T, tonic::Status>;

pub struct Ground {
    pub supervisor: Supervisor,
    /// The pod of the cases' containers, and the bystander's.
    pub pod: String,
    bystander: String,
    pid: u64,
    before: BTreeSet<String>,
    own_pods: usize,
}

impl Ground {
    pub fn new() -> Self {
        Self::with(Options::default())
    }

    pub fn with(options: Options) -> Self {
        let supervisor = Supervisor::start(options);
        supervisor.load_busybox();
        let pod = supervisor.run_pod("pod");
        let bystander = supervisor.run(&pod, "bystander", &["/bin/sh", "-c", WRITER]);
        poll::until("the bystander writes", || {
            let written = lines(&supervisor.log_of("bystander"));
            written.checked_sub(3).ok_or_else(|| written.to_string())
        });
        let pid = pid(&supervisor, &bystander);
        let before = leaks::find(&supervisor.footprint()).into_iter().collect();
        Self {
            supervisor,
            pod,
            bystander,
            pid,
            before,
            own_pods: 1,
        }
    }

    /// What is there now belongs to the ground too.
    pub fn beside(mut self) -> Self {
        self.before = leaks::find(&self.supervisor.footprint())
            .into_iter()
            .collect();
        self.own_pods = pods(&self.supervisor).len();
        self
    }

    /// The next supervisor has `point` armed: a name, or what the crate `fail` understands.
    pub fn arm(&mut self, point: &str) {
        self.supervisor.kill9();
        self.supervisor.options().failpoints = Some(armed(point));
        self.supervisor.restart();
        self.settled();
    }

    /// Waits until the supervisor has died of the armed point, and looks at the bystander; disarms.
    pub fn crashed(&mut self) {
        self.supervisor.crashed();
        self.supervisor.note_all();
        self.supervisor.options().failpoints = None;
        let written = lines(&self.supervisor.log_of("bystander"));
        self.is_the_same();
        poll::until("the bystander goes on without a supervisor", || {
            let now = lines(&self.supervisor.log_of("bystander"));
            if now > written {
                Ok(())
            } else {
                Err(now.to_string())
            }
        });
    }

    /// A crash at `point` during `call`, which is not answered.
    pub fn crash<T: std::fmt::Debug>(
        &mut self,
        point: &str,
        call: impl FnOnce(&Supervisor) -> Answer<T>,
    ) {
        self.arm(point);
        let answer = call(&self.supervisor);
        assert!(answer.is_err(), "{point}: answered {answer:?}");
        self.crashed();
    }

    /// A start that dies at `point`.
    pub fn crash_again(&mut self, point: &str) {
        self.supervisor.options().failpoints = Some(armed(point));
        self.supervisor.spawn();
        self.crashed();
    }

    /// Starts it again, and waits until it is done with what it found.
    pub fn recover(&mut self) {
        self.supervisor.restart();
        self.settled();
        let status = self.supervisor.status(&self.bystander);
        assert_eq!(status.state(), ContainerState::ContainerRunning);
        assert_eq!(pid(&self.supervisor, &self.bystander), self.pid);
    }

    /// Waits until every container was asked, pods restored, and orphans removed.
    fn settled(&self) {
        let log = self.supervisor.dir().join("log");
        poll::until("the recovery ends", || {
            let text = fs::read_to_string(&log).unwrap();
            let mine = text.rsplit("serving").next().unwrap_or_default();
            if mine.contains("the recovery has ended") {
                Ok(())
            } else {
                Err(mine.to_owned())
            }
        });
    }

    fn is_the_same(&self) {
        let command = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        assert!(
            String::from_utf8_lossy(&command).contains("mkfifo"),
            "the bystander is gone"
        );
    }

    /// Nothing is there but the bystander and the pod.
    pub fn nothing_else_is_left(&self, case: &str) {
        self.is_the_same();
        let left = poll::within(poll::DEADLINE / 4, || {
            let now: BTreeSet<String> = leaks::find(&self.supervisor.footprint())
                .into_iter()
                .collect();
            if now == self.before {
                Ok(())
            } else {
                let more: Vec<_> = now.difference(&self.before).collect();
                let fewer: Vec<_> = self.before.difference(&now).collect();
                Err(format!("more: {more:#?}\nfewer: {fewer:#?}"))
            }
        });
        if let Err(left) = left {
            panic!("{case}: {left}\n{}", self.supervisor.log_tail());
        }
        // Leftovers hide behind a dot.
        for (dir, expected) in [("containers", 1), ("pods", self.own_pods)] {
            let entries = fs::read_dir(self.supervisor.root().join(dir)).unwrap();
            assert_eq!(entries.count(), expected, "{case}: {dir}");
        }
        assert_eq!(listed(&self.supervisor).len(), 1, "{case}");
    }

    /// Every number is there once, in order.
    pub fn nothing_was_lost(self) {
        let text = fs::read_to_string(self.supervisor.log_of("bystander")).unwrap();
        let whole = &text[..=text.rfind('\n').unwrap()];
        for (expected, line) in whole.lines().enumerate() {
            let number = line.rsplit(' ').next().unwrap();
            assert_eq!(number, expected.to_string(), "{line}");
        }
    }

    /// The container of that name, if there is one.
    pub fn named(&self, name: &str) -> Option<String> {
        let found = listed(&self.supervisor);
        let mut found = found
            .into_iter()
            .filter(|one| one.metadata.as_ref().is_some_and(|is| is.name == name));
        let first = found.next().map(|one| one.id);
        assert!(found.next().is_none(), "two are called {name}");
        first
    }
}

fn armed(point: &str) -> String {
    if point.contains('=') {
        point.to_owned()
    } else {
        format!("{point}=return")
    }
}

fn lines(log: &Path) -> usize {
    fs::read_to_string(log).unwrap_or_default().lines().count()
}

/// Nanoseconds since 1970.
pub fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(now.unwrap().as_nanos()).unwrap()
}

pub fn pods(supervisor: &Supervisor) -> Vec<cri::PodSandbox> {
    let (mut runtime, _) = supervisor.client();
    let answer = supervisor.wait(runtime.list_pod_sandbox(cri::ListPodSandboxRequest::default()));
    supervisor.expect(answer).items
}

pub fn create(supervisor: &Supervisor, config: cri::ContainerConfig, pod: &str) -> Answer<String> {
    let (mut runtime, _) = supervisor.client();
    let request = cri::CreateContainerRequest {
        pod_sandbox_id: pod.to_owned(),
        config: Some(config),
        sandbox_config: Some(supervisor.pod_config("pod")),
    };
    let id = supervisor
        .wait(runtime.create_container(request))?
        .into_inner()
        .container_id;
    supervisor.note(&id);
    Ok(id)
}

pub fn start(supervisor: &Supervisor, id: &str) -> Answer<()> {
    let (mut runtime, _) = supervisor.client();
    let request = cri::StartContainerRequest {
        container_id: id.to_owned(),
    };
    supervisor.wait(runtime.start_container(request)).map(drop)
}

pub fn run_pod(supervisor: &Supervisor, config: cri::PodSandboxConfig) -> Answer<String> {
    let (mut runtime, _) = supervisor.client();
    let request = cri::RunPodSandboxRequest {
        config: Some(config),
        runtime_handler: String::new(),
    };
    let id = supervisor
        .wait(runtime.run_pod_sandbox(request))?
        .into_inner()
        .pod_sandbox_id;
    supervisor.note(&id);
    Ok(id)
}

pub fn stop_pod(supervisor: &Supervisor, id: &str) -> Answer<()> {
    let (mut runtime, _) = supervisor.client();
    let request = cri::StopPodSandboxRequest {
        pod_sandbox_id: id.to_owned(),
    };
    supervisor.wait(runtime.stop_pod_sandbox(request)).map(drop)
}

pub fn remove_pod(supervisor: &Supervisor, id: &str) -> Answer<()> {
    let (mut runtime, _) = supervisor.client();
    let request = cri::RemovePodSandboxRequest {
        pod_sandbox_id: id.to_owned(),
    };
    supervisor
        .wait(runtime.remove_pod_sandbox(request))
        .map(drop)
}
