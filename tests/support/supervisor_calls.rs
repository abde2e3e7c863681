//! The calls that most tests of the supervisor make: pods and containers of the busybox image on the host's network.

use std::path::PathBuf;

use outlive::api::cri;
use serde_json::Value;

use super::poll;
use super::supervisor::{IMAGE, Supervisor};

impl Supervisor {
    /// What a pod of the host's network is asked for.
    pub fn pod_config(&self, name: &str) -> cri::PodSandboxConfig {
        let namespaces = cri::NamespaceOption {
            network: cri::NamespaceMode::Node.into(),
            pid: cri::NamespaceMode::Container.into(),
            ..Default::default()
        };
        cri::PodSandboxConfig {
            metadata: Some(cri::PodSandboxMetadata {
                name: name.to_owned(),
                uid: format!("uid-{name}"),
                namespace: "default".to_owned(),
                attempt: 0,
            }),
            log_directory: self.dir().join("logs").to_str().unwrap().to_owned(),
            linux: Some(cri::LinuxPodSandboxConfig {
                security_context: Some(cri::LinuxSandboxSecurityContext {
                    namespace_options: Some(namespaces),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    /// What a container of [`IMAGE`] is asked for. Its log is `logs/NAME.log`.
    pub fn container_config(&self, name: &str, command: &[&str]) -> cri::ContainerConfig {
        let namespaces = cri::NamespaceOption {
            network: cri::NamespaceMode::Node.into(),
            pid: cri::NamespaceMode::Container.into(),
            ..Default::default()
        };
        cri::ContainerConfig {
            metadata: Some(cri::ContainerMetadata {
                name: name.to_owned(),
                attempt: 0,
            }),
            image: Some(cri::ImageSpec {
                image: IMAGE.to_owned(),
                ..Default::default()
            }),
            command: command.iter().map(|&word| word.to_owned()).collect(),
            log_path: format!("{name}.log"),
            linux: Some(cri::LinuxContainerConfig {
                security_context: Some(cri::LinuxContainerSecurityContext {
                    namespace_options: Some(namespaces),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    /// The log of the container that [`Self::create`] gave this name.
    pub fn log_of(&self, name: &str) -> PathBuf {
        self.dir().join("logs").join(format!("{name}.log"))
    }

    /// Runs a pod of the host's network; its id.
    pub fn run_pod(&self, name: &str) -> String {
        let request = cri::RunPodSandboxRequest {
            config: Some(self.pod_config(name)),
            runtime_handler: String::new(),
        };
        let (mut runtime, _) = self.client();
        let answer = self.wait(runtime.run_pod_sandbox(request));
        let id = self.expect(answer).pod_sandbox_id;
        self.note(&id);
        id
    }

    /// Creates a container of [`Self::container_config`] in `pod`; its id.
    pub fn create(&self, pod: &str, name: &str, command: &[&str]) -> String {
        self.create_as(pod, self.container_config(name, command))
    }

    /// Creates a container as `config` asks; its id.
    pub fn create_as(&self, pod: &str, config: cri::ContainerConfig) -> String {
        let answer = self.try_create_as(pod, config);
        let id = self.expect(answer).container_id;
        self.note(&id);
        id
    }

    /// Asks for a container as `config` says, and shows the answer.
    pub fn try_create_as(
        &self,
        pod: &str,
        config: cri::ContainerConfig,
    ) -> Result<tonic::Response<cri::CreateContainerResponse>, tonic::Status> {
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: pod.to_owned(),
            config: Some(config),
            sandbox_config: Some(self.pod_config("pod")),
        };
        let (mut runtime, _) = self.client();
        self.wait(runtime.create_container(request))
    }

    /// Starts a container.
    pub fn start_container(&self, id: &str) {
        let (mut runtime, _) = self.client();
        let answer = self.wait(runtime.start_container(cri::StartContainerRequest {
            container_id: id.to_owned(),
        }));
        self.expect(answer);
    }

    /// [`Self::create`], then [`Self::start_container`].
    pub fn run(&self, pod: &str, name: &str, command: &[&str]) -> String {
        let id = self.create(pod, name, command);
        self.start_container(&id);
        id
    }

    /// A container's status.
    pub fn status(&self, id: &str) -> cri::ContainerStatus {
        let (mut runtime, _) = self.client();
        let answer = self.wait(runtime.container_status(cri::ContainerStatusRequest {
            container_id: id.to_owned(),
            verbose: false,
        }));
        self.expect(answer).status.expect("a status")
    }

    /// Waits until a container is in `state`; its status then.
    pub fn until_state(&self, id: &str, state: cri::ContainerState) -> cri::ContainerStatus {
        poll::until(state.as_str_name(), || {
            let status = self.status(id);
            if status.state() == state {
                Ok(status)
            } else {
                Err(format!("{status:?}\n{}", self.log_tail()))
            }
        })
    }

    /// The answer of a call that must succeed.
    pub fn expect<T>(&self, answer: Result<tonic::Response<T>, tonic::Status>) -> T {
        match answer {
            Ok(response) => response.into_inner(),
            Err(status) => panic!("{status}\n{}", self.log_tail()),
        }
    }

    /// Removes every pod and its containers.
    pub fn remove_all(&self) {
        self.note_all();
        let (mut runtime, _) = self.client();
        let listed = self.wait(runtime.list_pod_sandbox(cri::ListPodSandboxRequest::default()));
        for pod in self.expect(listed).items {
            let id = pod.id;
            let stopped = self.wait(runtime.stop_pod_sandbox(cri::StopPodSandboxRequest {
                pod_sandbox_id: id.clone(),
            }));
            self.expect(stopped);
            let removed = self.wait(
                runtime.remove_pod_sandbox(cri::RemovePodSandboxRequest { pod_sandbox_id: id }),
            );
            self.expect(removed);
        }
    }
}

/// Stops a container; it may end by itself for so many seconds.
pub fn stop(supervisor: &Supervisor, id: &str, seconds: i64) -> Result<(), tonic::Status> {
    let (mut runtime, _) = supervisor.client();
    let request = cri::StopContainerRequest {
        container_id: id.to_owned(),
        timeout: seconds,
    };
    supervisor.wait(runtime.stop_container(request)).map(drop)
}

/// Removes a container.
pub fn remove(supervisor: &Supervisor, id: &str) -> Result<(), tonic::Status> {
    let (mut runtime, _) = supervisor.client();
    let request = cri::RemoveContainerRequest {
        container_id: id.to_owned(),
    };
    supervisor.wait(runtime.remove_container(request)).map(drop)
}

/// All containers.
pub fn listed(supervisor: &Supervisor) -> Vec<cri::Container> {
    let (mut runtime, _) = supervisor.client();
    let answer = supervisor.wait(runtime.list_containers(cri::ListContainersRequest::default()));
    supervisor.expect(answer).containers
}

/// What a container uses.
pub fn stats(supervisor: &Supervisor, id: &str) -> cri::ContainerStats {
    let (mut runtime, _) = supervisor.client();
    let request = cri::ContainerStatsRequest {
        container_id: id.to_owned(),
    };
    let answer = supervisor.wait(runtime.container_stats(request));
    supervisor.expect(answer).stats.unwrap()
}

/// The pid that `outlive inspect` shows of a container.
pub fn pid(supervisor: &Supervisor, id: &str) -> u64 {
    shown_pid(supervisor, id).expect("inspect shows a pid")
}

/// The same, where there is one.
pub fn shown_pid(supervisor: &Supervisor, id: &str) -> Option<u64> {
    let json: Value = serde_json::from_str(&supervisor.ok(&["inspect", id])).unwrap();
    find(&json, "pid").and_then(Value::as_u64)
}

/// The first value of that key, however deep.
pub fn find<'a>(json: &'a Value, key: &str) -> Option<&'a Value> {
    match json {
        Value::Object(map) => map
            .get(key)
            .or_else(|| map.values().find_map(|value| find(value, key))),
        Value::Array(items) => items.iter().find_map(|value| find(value, key)),
        _ => None,
    }
}
