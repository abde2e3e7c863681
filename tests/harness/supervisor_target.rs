//! `outlive serve` as a target: CRI, and its traces.

use std::any::Any;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use outlive::api::cri;
use outlive::bundle::{Bundle, Read, endpoint};
use tokio_stream::StreamExt as _;
use tonic::{Code, Response, Status};

use crate::support::supervisor::{Options, Supervisor};
use crate::support::{poll, supervisor_leaks, task_call};
use crate::target::{
    Answer, Ended, Events, LogFormat, NO_ANSWER, Refusal, Seen, Spec, State, Step, Target,
};

/// The line of its log after which every container was asked, pods restored, and orphans removed.
const RECOVERED: &str = "the recovery has ended";

/// How long a command in a container may take, in seconds.
const EXEC_SECONDS: i64 = 30;

/// A supervisor of its own.
#[derive(Debug)]
pub struct Outlive {
    supervisor: Supervisor,
    defect: Option<String>,
    is_alive: bool,
    /// How long its log was when it was last started.
    log_before: usize,
}

impl Outlive {
    /// Starts one, with the image of the workloads; `defect` is one that it is to have.
    pub fn start(defect: Option<&str>) -> Self {
        let defect = defect.map(|name| format!("defect.{name}=return"));
        let started = Self::with(Options {
            failpoints: defect.clone(),
            ..Options::default()
        });
        Self { defect, ..started }
    }

    /// Starts one with these options.
    pub fn with(options: Options) -> Self {
        Self::over(Supervisor::start(options))
    }

    /// Takes one that runs.
    pub fn over(supervisor: Supervisor) -> Self {
        supervisor.load_busybox();
        Self {
            supervisor,
            defect: None,
            is_alive: true,
            log_before: 0,
        }
    }

    /// The supervisor itself, for faults that only it can have.
    pub fn supervisor(&mut self) -> &mut Supervisor {
        &mut self.supervisor
    }

    fn log_since_start(&self) -> String {
        let log = fs::read(self.supervisor.dir().join("log")).unwrap_or_default();
        String::from_utf8_lossy(log.get(self.log_before..).unwrap_or_default()).into_owned()
    }

    /// The bundle of a container.
    pub fn bundle(&self, id: &str) -> Bundle {
        Bundle::new(self.supervisor.state().join("tasks").join(id))
    }

    fn task_call(&self, id: &str, method: &str) -> Answer<()> {
        let Read::Found(address) = endpoint::read(&self.bundle(id)) else {
            return Err(Refusal(format!("{id} has no shim")));
        };
        task_call::by_id(&address, method, id).map_err(Refusal)
    }

    fn seen(&self, listed: cri::Container) -> Answer<Seen> {
        let (mut runtime, _) = self.supervisor.client();
        let request = cri::ContainerStatusRequest {
            container_id: listed.id.clone(),
            verbose: true,
        };
        let answer = self.supervisor.wait(runtime.container_status(request));
        let answer = answered(answer)?;
        let status = answer
            .status
            .ok_or_else(|| Refusal(format!("{}: a status without a status", listed.id)))?;
        let info = answer.info.get("info").map_or("", String::as_str);
        let info: serde_json::Value = serde_json::from_str(info).unwrap_or_default();
        let time = |at: i64| (at != 0).then_some(at);
        let state = match status.state() {
            cri::ContainerState::ContainerCreated => State::Created,
            cri::ContainerState::ContainerRunning => State::Running,
            cri::ContainerState::ContainerExited => State::Exited,
            cri::ContainerState::ContainerUnknown => State::Unknown,
        };
        Ok(Seen {
            id: listed.id,
            name: listed.metadata.map(|is| is.name).unwrap_or_default(),
            state,
            pid: info["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()),
            started_at: time(status.started_at),
            finished_at: time(status.finished_at),
            exit_code: (state == State::Exited).then_some(status.exit_code),
            reason: format!("{} {}", status.reason, status.message)
                .trim()
                .to_owned(),
        })
    }
}

fn answered<T>(answer: Result<Response<T>, Status>) -> Answer<T> {
    answer.map(Response::into_inner).map_err(|status| {
        // What a connection that ends makes of a call; the supervisor itself answers none of these codes.
        let is_silence = matches!(
            status.code(),
            Code::Unavailable | Code::Cancelled | Code::Unknown
        );
        let nobody = if is_silence { NO_ANSWER } else { "" };
        Refusal(format!("{nobody}{:?}: {}", status.code(), status.message()))
    })
}

impl Target for Outlive {
    fn label(&self) -> String {
        match &self.defect {
            Some(defect) => format!("outlive with {defect}"),
            None => "outlive".to_owned(),
        }
    }

    fn patience(&self) -> Duration {
        // With a defect nothing comes to rest.
        Duration::from_secs(if self.defect.is_some() { 4 } else { 20 })
    }

    fn pid(&self) -> u32 {
        self.supervisor.pid()
    }

    fn kill9(&mut self) {
        if self.is_alive {
            self.supervisor.note_all();
            self.supervisor.kill9();
            self.is_alive = false;
        }
    }

    fn spawn(&mut self, points: Option<&str>) {
        let log = fs::metadata(self.supervisor.dir().join("log"));
        self.log_before = log.map_or(0, |is| usize::try_from(is.len()).unwrap());
        let armed: Vec<&str> = points.into_iter().chain(self.defect.as_deref()).collect();
        self.supervisor.options().failpoints = (!armed.is_empty()).then(|| armed.join(";"));
        self.supervisor.spawn();
        self.is_alive = true;
    }

    fn crashed(&mut self) -> Result<(), String> {
        self.supervisor.note_all();
        self.is_alive = false;
        self.supervisor.crashed();
        Ok(())
    }

    fn until_answers(&mut self) -> Result<(), String> {
        let (mut runtime, _) = self.supervisor.client();
        poll::within(poll::DEADLINE, || {
            let answer = self
                .supervisor
                .wait(runtime.version(cri::VersionRequest::default()));
            answer
                .map(drop)
                .map_err(|status| format!("{status}\n{}", self.log_tail()))
        })
    }

    fn until_recovered(&self) -> Result<(), String> {
        poll::within(poll::DEADLINE, || {
            let log = self.log_since_start();
            if log.contains(RECOVERED) {
                Ok(())
            } else {
                Err(log)
            }
        })
    }

    fn has_points(&self) -> bool {
        cfg!(feature = "crash-points") && std::env::var_os("OUTLIVE_BIN").is_none()
    }

    fn run_pod(&self, name: &str) -> Answer<String> {
        let request = cri::RunPodSandboxRequest {
            config: Some(self.supervisor.pod_config(name)),
            runtime_handler: String::new(),
        };
        let (mut runtime, _) = self.supervisor.client();
        let answer = self.supervisor.wait(runtime.run_pod_sandbox(request));
        Ok(answered(answer)?.pod_sandbox_id)
    }

    fn stop_pod(&self, id: &str) -> Answer<()> {
        let request = cri::StopPodSandboxRequest {
            pod_sandbox_id: id.to_owned(),
        };
        let (mut runtime, _) = self.supervisor.client();
        answered(self.supervisor.wait(runtime.stop_pod_sandbox(request))).map(drop)
    }

    fn remove_pod(&self, id: &str) -> Answer<()> {
        self.supervisor.note_all();
        let request = cri::RemovePodSandboxRequest {
            pod_sandbox_id: id.to_owned(),
        };
        let (mut runtime, _) = self.supervisor.client();
        answered(self.supervisor.wait(runtime.remove_pod_sandbox(request))).map(drop)
    }

    fn pods(&self) -> Answer<Vec<(String, String)>> {
        let (mut runtime, _) = self.supervisor.client();
        let request = cri::ListPodSandboxRequest::default();
        let listed = answered(self.supervisor.wait(runtime.list_pod_sandbox(request)))?;
        let named = |pod: cri::PodSandbox| (pod.id, pod.metadata.unwrap_or_default().name);
        Ok(listed.items.into_iter().map(named).collect())
    }

    fn create(&self, spec: &Spec) -> Answer<String> {
        let command: Vec<&str> = spec.command.iter().map(String::as_str).collect();
        let mut config = self.supervisor.container_config(&spec.name, &command);
        if let Some(linux) = &mut config.linux {
            if let Some(bytes) = spec.memory {
                linux.resources = Some(cri::LinuxContainerResources {
                    memory_limit_in_bytes: i64::try_from(bytes).unwrap(),
                    ..Default::default()
                });
            }
            let context = linux.security_context.get_or_insert_default();
            if spec.has_host_pids {
                let options = context.namespace_options.get_or_insert_default();
                options.pid = cri::NamespaceMode::Node.into();
            }
        }
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: spec.pod.clone(),
            config: Some(config),
            sandbox_config: Some(self.supervisor.pod_config("pod")),
        };
        let (mut runtime, _) = self.supervisor.client();
        let id = answered(self.supervisor.wait(runtime.create_container(request)))?.container_id;
        self.supervisor.note(&id);
        Ok(id)
    }

    fn start(&self, id: &str) -> Answer<()> {
        let request = cri::StartContainerRequest {
            container_id: id.to_owned(),
        };
        let (mut runtime, _) = self.supervisor.client();
        answered(self.supervisor.wait(runtime.start_container(request))).map(drop)
    }

    fn stop(&self, id: &str, seconds: u32) -> Answer<()> {
        let request = cri::StopContainerRequest {
            container_id: id.to_owned(),
            timeout: i64::from(seconds),
        };
        let (mut runtime, _) = self.supervisor.client();
        answered(self.supervisor.wait(runtime.stop_container(request))).map(drop)
    }

    fn remove(&self, id: &str) -> Answer<()> {
        let request = cri::RemoveContainerRequest {
            container_id: id.to_owned(),
        };
        let (mut runtime, _) = self.supervisor.client();
        answered(self.supervisor.wait(runtime.remove_container(request))).map(drop)
    }

    fn exec(&self, id: &str, command: &[&str]) -> Answer<Ended> {
        let request = cri::ExecSyncRequest {
            container_id: id.to_owned(),
            cmd: command.iter().map(|&word| word.to_owned()).collect(),
            timeout: EXEC_SECONDS,
        };
        let (mut runtime, _) = self.supervisor.client();
        let ended = answered(self.supervisor.wait(runtime.exec_sync(request)))?;
        Ok(Ended {
            code: ended.exit_code,
            stdout: String::from_utf8_lossy(&ended.stdout).into_owned(),
        })
    }

    fn stats(&self, id: &str) -> Answer<()> {
        let request = cri::ContainerStatsRequest {
            container_id: id.to_owned(),
        };
        let (mut runtime, _) = self.supervisor.client();
        answered(self.supervisor.wait(runtime.container_stats(request))).map(drop)
    }

    fn reopen(&self, id: &str) -> Answer<()> {
        let request = cri::ReopenContainerLogRequest {
            container_id: id.to_owned(),
        };
        let (mut runtime, _) = self.supervisor.client();
        answered(self.supervisor.wait(runtime.reopen_container_log(request))).map(drop)
    }

    fn pause(&self, id: &str) -> Answer<()> {
        self.task_call(id, "Pause")
    }

    fn resume(&self, id: &str) -> Answer<()> {
        self.task_call(id, "Resume")
    }

    fn list(&self) -> Answer<Vec<Seen>> {
        let (mut runtime, _) = self.supervisor.client();
        let request = cri::ListContainersRequest::default();
        let listed = answered(self.supervisor.wait(runtime.list_containers(request)))?;
        let all = listed.containers.into_iter();
        all.map(|one| self.seen(one)).collect()
    }

    fn events(&self) -> Answer<Box<dyn Events>> {
        let (mut runtime, _) = self.supervisor.client();
        let request = cri::GetEventsRequest {};
        let mut stream = answered(self.supervisor.wait(runtime.get_container_events(request)))?;
        let told = Arc::new(Mutex::new(Vec::new()));
        let book = Arc::clone(&told);
        self.supervisor.handle().spawn(async move {
            while let Some(Ok(event)) = stream.next().await {
                let step = match event.container_event_type() {
                    cri::ContainerEventType::ContainerCreatedEvent => Step::Created,
                    cri::ContainerEventType::ContainerStartedEvent => Step::Started,
                    cri::ContainerEventType::ContainerStoppedEvent => Step::Stopped,
                    cri::ContainerEventType::ContainerDeletedEvent => Step::Deleted,
                };
                book.lock().unwrap().push((event.container_id, step));
            }
        });
        Ok(Box::new(Told(told)))
    }

    fn log(&self, name: &str) -> PathBuf {
        self.supervisor.log_of(name)
    }

    fn log_format(&self) -> LogFormat {
        LogFormat::Cri
    }

    fn shim(&self, id: &str) -> Option<u32> {
        let all = supervisor_leaks::processes(&self.supervisor.footprint());
        let is_its = |command: &String| command.contains("-address ") && command.contains(id);
        all.into_iter()
            .find(|(_, command)| is_its(command))
            .map(|(pid, _)| pid)
    }

    fn traces(&self) -> BTreeSet<String> {
        let footprint = self.supervisor.footprint();
        let found = supervisor_leaks::find(&footprint).into_iter();
        found
            .chain(supervisor_leaks::zombies(&footprint))
            .map(with_cgroup)
            .collect()
    }

    fn cgroup(&self) -> String {
        self.supervisor.cgroup().to_owned()
    }

    fn log_tail(&self) -> String {
        self.supervisor.log_tail()
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

/// The trace `process PID: ..` with the process's cgroup, which says whose it is.
fn with_cgroup(trace: String) -> String {
    let pid = trace
        .strip_prefix("process ")
        .and_then(|rest| rest.split_once(':'));
    let Some((pid, _)) = pid else { return trace };
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let cgroup = cgroups.lines().next().unwrap_or_default();
    format!("{trace} [{cgroup}]")
}

struct Told(Arc<Mutex<Vec<(String, Step)>>>);

impl Events for Told {
    fn so_far(&mut self) -> Vec<(String, Step)> {
        self.0.lock().unwrap().clone()
    }
}

/// Kills what has this pid, as a crash would.
pub fn kill9(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap());
    // It may have died of a crash point meanwhile, and then nobody is hit: only its parent, which is this, reaps it.
    kill(pid, Signal::SIGKILL).unwrap_or_default();
}
