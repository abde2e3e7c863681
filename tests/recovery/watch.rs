//! What a supervisor says while it recovers: its events, its log, its dry run.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use outlive::api::cri::{self, ContainerEventType as Kind};
use outlive::supervisor::store::Checkpoint;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;

use crate::support::poll;
use crate::support::supervisor::Supervisor;

/// The line after which every container was judged.
const ASKED: &str = "every container was asked";

/// The events of one start, from before the first of them.
pub struct Events(mpsc::UnboundedReceiver<(String, Kind)>);

impl Events {
    /// Listens from now on.
    pub fn of(supervisor: &Supervisor) -> Self {
        let (mut runtime, _) = supervisor.client();
        let answer = supervisor.wait(runtime.get_container_events(cri::GetEventsRequest {}));
        let mut stream = supervisor.expect(answer);
        let (queue, events) = mpsc::unbounded_channel();
        supervisor.handle().spawn(async move {
            while let Some(Ok(event)) = stream.next().await {
                let kind = event.container_event_type();
                drop(queue.send((event.container_id, kind)));
            }
        });
        Self(events)
    }

    /// What was told of `id`, up to the event `last` of `marker`, which must come.
    pub fn until(
        &mut self,
        supervisor: &Supervisor,
        id: &str,
        marker: &str,
        last: Kind,
    ) -> Vec<Kind> {
        let mut told = Vec::new();
        loop {
            let next = async { tokio::time::timeout(poll::DEADLINE, self.0.recv()).await };
            let next = supervisor.wait(next).ok().flatten();
            let (of, kind) = next
                .unwrap_or_else(|| panic!("no {last:?}, only {told:?}\n{}", supervisor.log_tail()));
            if of == id {
                told.push(kind);
            }
            if of == marker && kind == last {
                return told;
            }
        }
    }

    /// What was told of `id` by now: `pod` gets a container more, whose event comes after all of it.
    pub fn so_far(&mut self, supervisor: &Supervisor, id: &str, pod: &str) -> Vec<Kind> {
        let name = format!("marker-{}", supervisor.log().len());
        let marker = supervisor.create(pod, &name, &["/bin/true"]);
        self.until(supervisor, id, &marker, Kind::ContainerCreatedEvent)
    }
}

impl Supervisor {
    /// Its whole log.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.dir().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Starts again; nothing that a shim said is acted on before `during` is done.
    pub fn restart_held<T>(&mut self, during: impl FnOnce(&Self) -> T) -> T {
        let gate = self.dir().join("gate");
        fs::write(&gate, "").unwrap();
        self.options().failpoints = Some(format!("recover.asked=return({})", gate.display()));
        self.restart();
        self.options().failpoints = None;
        let answer = during(self);
        fs::remove_file(gate).unwrap();
        answer
    }

    /// Waits until every container of the start that `before` bytes of the log came before was judged.
    pub fn until_asked(&self, before: usize) {
        poll::until("every container is asked", || {
            let log = self.log();
            if log[before..].contains(ASKED) {
                Ok(())
            } else {
                Err(log[before..].to_owned())
            }
        });
    }

    pub fn status_file(&self, id: &str) -> PathBuf {
        self.root().join("containers").join(id).join("status.json")
    }

    /// The checkpoint of a container.
    pub fn checkpoint(&self, id: &str) -> Checkpoint {
        match Checkpoint::read(&self.status_file(id)) {
            outlive::bundle::Read::Found(checkpoint) => checkpoint,
            other => panic!("{other:?}"),
        }
    }

    pub fn bundle_dir(&self, id: &str) -> PathBuf {
        self.state().join("tasks").join(id)
    }

    /// `recover --dry-run`.
    pub fn dry_run(&self, format: &str) -> String {
        let state = self.state();
        let arguments = ["-o", format, "recover", "--dry-run", "--state"];
        let mut arguments = arguments.to_vec();
        arguments.push(state.to_str().unwrap());
        self.ok(&arguments)
    }

    /// Each container's line of the dry run.
    pub fn predicted(&self) -> HashMap<String, serde_json::Value> {
        let report: serde_json::Value = serde_json::from_str(&self.dry_run("json")).unwrap();
        let lines = report["containers"].as_array().unwrap();
        lines
            .iter()
            .map(|line| (line["id"].as_str().unwrap().to_owned(), line.clone()))
            .collect()
    }

    pub fn stop_container(&self, id: &str) -> Result<(), tonic::Status> {
        let (mut runtime, _) = self.client();
        let request = cri::StopContainerRequest {
            container_id: id.to_owned(),
            timeout: 0,
        };
        self.wait(runtime.stop_container(request)).map(drop)
    }

    pub fn remove_container(&self, id: &str) -> Result<(), tonic::Status> {
        let (mut runtime, _) = self.client();
        let request = cri::RemoveContainerRequest {
            container_id: id.to_owned(),
        };
        self.wait(runtime.remove_container(request)).map(drop)
    }

    pub fn listed(&self) -> Vec<cri::Container> {
        let (mut runtime, _) = self.client();
        let answer = self.wait(runtime.list_containers(cri::ListContainersRequest::default()));
        self.expect(answer).containers
    }
}
