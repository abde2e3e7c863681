//! Debian's containerd 1.6 with containers on one shared root filesystem: no snapshot is made for any.
//!
//! Its API is `api/services/containers/v1` and `api/services/tasks/v1`; of the messages, the fields that are set or read.

use serde_json::{Value, json};
use tonic::Status;

use super::{COMMAND, Manager};
use crate::support::containerd_api::{Task, TaskStatus};
use crate::support::node::Node;
use crate::support::poll;
use crate::support::under_test::{Runtime, Version};

const SIGKILL: u32 = 9;

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ContainerRuntime {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Container {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, optional, tag = "4")]
    runtime: Option<ContainerRuntime>,
    #[prost(message, optional, tag = "5")]
    spec: Option<Any>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CreateContainerRequest {
    #[prost(message, optional, tag = "1")]
    container: Option<Container>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CreateTaskRequest {
    #[prost(string, tag = "1")]
    container_id: String,
    #[prost(string, tag = "5")]
    stdout: String,
    #[prost(string, tag = "6")]
    stderr: String,
}

/// Start, Wait and Delete of a task, and Delete of a container: a container's id is all that they are told.
#[derive(Clone, PartialEq, prost::Message)]
struct IdRequest {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KillRequest {
    #[prost(string, tag = "1")]
    container_id: String,
    #[prost(uint32, tag = "3")]
    signal: u32,
}

struct Containerd {
    node: Node,
    /// The specification of every container, but for its cgroup.
    template: Value,
}

pub fn start(runtime: Runtime) -> Box<dyn Manager> {
    let node = Node::start_for(Version::V1_6, runtime);
    let mut template: Value = serde_json::from_str(&node.ctr(&["oci", "spec"]).ok()).unwrap();
    template["process"]["args"] = json!(COMMAND);
    template["root"] = json!({"path": node.rootfs()});
    template["linux"]["namespaces"]
        .as_array_mut()
        .expect("ctr makes namespaces")
        .retain(|namespace| namespace["type"] != "network");
    Box::new(Containerd { node, template })
}

impl Containerd {
    fn call<Question>(&self, method: &'static str, question: Question)
    where
        Question: prost::Message + Default + 'static,
    {
        if let Err(status) = self.node.call::<_, ()>(method, question) {
            panic!("{method}: {status}\n{}", self.node.log_tail());
        }
    }

    fn spec(&self, id: &str) -> Any {
        let mut spec = self.template.clone();
        let cgroup = format!("/{}/{id}", self.node.namespace());
        spec["linux"]["cgroupsPath"] = json!(cgroup);
        Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/Spec".to_owned(),
            value: spec.to_string().into_bytes(),
        }
    }
}

impl Manager for Containerd {
    fn make(&self, name: &str) -> String {
        self.node.grouped_by(name);
        let name = name.to_owned();
        let container = Container {
            id: name.clone(),
            runtime: Some(ContainerRuntime {
                name: self.node.runtime().name().to_owned(),
            }),
            spec: Some(self.spec(&name)),
        };
        self.call(
            "/containerd.services.containers.v1.Containers/Create",
            CreateContainerRequest {
                container: Some(container),
            },
        );
        let log = self.node.dir().join("out").join(format!("{name}.log"));
        let log = format!("file://{}", log.display());
        self.call(
            "/containerd.services.tasks.v1.Tasks/Create",
            CreateTaskRequest {
                container_id: name.clone(),
                stdout: log.clone(),
                stderr: log,
            },
        );
        let id = IdRequest { id: name.clone() };
        self.call("/containerd.services.tasks.v1.Tasks/Start", id);
        name
    }

    fn remove(&self, id: &str) {
        let kill = KillRequest {
            container_id: id.to_owned(),
            signal: SIGKILL,
        };
        self.call("/containerd.services.tasks.v1.Tasks/Kill", kill);
        let id = IdRequest { id: id.to_owned() };
        for method in [
            "/containerd.services.tasks.v1.Tasks/Wait",
            "/containerd.services.tasks.v1.Tasks/Delete",
            "/containerd.services.containers.v1.Containers/Delete",
        ] {
            self.call(method, id.clone());
        }
    }

    fn kill9(&mut self) {
        self.node.kill9();
    }

    fn spawn(&mut self) {
        self.node.spawn();
    }

    /// containerd asks every shim for the state of its task.
    fn running(&self) -> Result<usize, String> {
        let tasks = self
            .node
            .tasks()
            .map_err(|status: Status| status.to_string())?;
        let is_running = |task: &&Task| task.status() == TaskStatus::Running;
        Ok(tasks.iter().filter(is_running).count())
    }

    /// It finds its shims, and connects to each, before it listens: whatever is answered is answered after that
    /// (`loadExistingTasks` in its runtime/v2/shim_load.go).
    fn unasked(&self) -> Result<usize, String> {
        Ok(0)
    }

    fn pid(&self) -> u32 {
        self.node.containerd_pid().expect("containerd was started")
    }

    fn shims(&self) -> Vec<u32> {
        self.node.shims()
    }

    fn log_tail(&self) -> String {
        self.node.log_tail()
    }

    fn finish(&mut self) {
        leave(&mut self.node);
    }
}

/// Waits until nothing is left of the containers of a node, all of which were removed. Then it may go.
pub fn leave(node: &mut Node) {
    poll::until("nothing is left of containerd's containers", || {
        let left = node.traces();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:#?}"))
        }
    });
    node.is_no_test();
}
