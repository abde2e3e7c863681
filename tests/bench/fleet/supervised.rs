//! `outlive serve` with containers in one pod of the host's network, which has no process of its own.

use std::path::{Path, PathBuf};

use outlive::api::cri;

use super::{COMMAND, Manager};
use crate::support::supervisor::{self, Options, Supervisor};
use crate::support::supervisor_leaks;

struct Supervised {
    supervisor: Supervisor,
    pod: String,
}

/// The supervisor: `OUTLIVE_BIN`, else the one beside the shim that is measured, which it starts.
fn program(shim: &Path) -> PathBuf {
    let beside = shim.with_file_name("outlive");
    if std::env::var_os("OUTLIVE_BIN").is_none() && beside.exists() {
        beside
    } else {
        supervisor::program()
    }
}

pub fn start(shim: &Path) -> Box<dyn Manager> {
    let supervisor = Supervisor::start(Options {
        program: Some(program(shim)),
        ..Options::default()
    });
    supervisor.load_busybox();
    let pod = supervisor.run_pod("pod");
    Box::new(Supervised { supervisor, pod })
}

impl Manager for Supervised {
    fn make(&self, name: &str) -> String {
        self.supervisor.run(&self.pod, name, &COMMAND)
    }

    fn remove(&self, id: &str) {
        let (mut runtime, _) = self.supervisor.client();
        let request = cri::RemoveContainerRequest {
            container_id: id.to_owned(),
        };
        let answer = self.supervisor.wait(runtime.remove_container(request));
        self.supervisor.expect(answer);
    }

    fn kill9(&mut self) {
        self.supervisor.kill9();
    }

    fn spawn(&mut self) {
        self.supervisor.spawn();
    }

    fn running(&self) -> Result<usize, String> {
        let (mut runtime, _) = self.supervisor.client();
        let request = cri::ListContainersRequest::default();
        let answer = self.supervisor.wait(runtime.list_containers(request));
        let answer = answer.map_err(|status| status.to_string())?.into_inner();
        let states = answer.containers.iter().map(cri::Container::state);
        let is_running = |state: &_| *state == cri::ContainerState::ContainerRunning;
        Ok(states.filter(is_running).count())
    }

    fn unasked(&self) -> Result<usize, String> {
        let (mut runtime, _) = self.supervisor.client();
        let request = cri::StatusRequest { verbose: true };
        let answer = self.supervisor.wait(runtime.status(request));
        let info = answer.map_err(|status| status.to_string())?;
        let info: serde_json::Value = serde_json::from_str(&info.get_ref().info["info"]).unwrap();
        Ok(info["recovering"].as_u64().unwrap().try_into().unwrap())
    }

    fn pid(&self) -> u32 {
        self.supervisor.pid()
    }

    fn shims(&self) -> Vec<u32> {
        supervisor_leaks::shims(&self.supervisor.footprint())
    }

    fn log_tail(&self) -> String {
        self.supervisor.log_tail()
    }

    /// The supervisor itself fails when it is dropped and something is left.
    fn finish(&mut self) {}
}
