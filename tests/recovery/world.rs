//! Several containers of one supervisor, and what is done to them while it is dead.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use outlive::api::cri::{self, ContainerState as State};
use outlive::bundle::{Bundle, Read, exit_journal};

use crate::scene::{PROGRAM, init_of, pause, shim_of, until_dead};
use crate::support::supervisor::{Options, Supervisor};
use crate::support::{poll, stopped};

/// A supervisor with a pod that is ready.
pub struct World {
    pub supervisor: Supervisor,
    pub pod: String,
}

/// A container that was started.
#[derive(Debug, Clone)]
pub struct Runs {
    pub id: String,
    pub init: i32,
    pub shim: i32,
    /// What was shown of it when it ran.
    pub shown: cri::ContainerStatus,
}

impl World {
    pub fn new() -> Self {
        let supervisor = Supervisor::start(Options::default());
        supervisor.load_busybox();
        let pod = supervisor.run_pod("pod");
        Self { supervisor, pod }
    }

    /// A container of [`PROGRAM`] that runs.
    pub fn run(&self, name: &str) -> Runs {
        let id = self.supervisor.run(&self.pod, name, &PROGRAM);
        let bundle = self.bundle(&id);
        Runs {
            init: i32::try_from(init_of(&bundle).pid.get()).unwrap(),
            shim: shim_of(&self.supervisor, &id),
            shown: self.supervisor.status(&id),
            id,
        }
    }

    pub fn create(&self, name: &str) -> String {
        self.supervisor.create(&self.pod, name, &PROGRAM)
    }

    pub fn bundle(&self, id: &str) -> Bundle {
        Bundle::new(self.supervisor.bundle_dir(id))
    }

    pub fn container_dir(&self, id: &str) -> std::path::PathBuf {
        self.supervisor.root().join("containers").join(id)
    }

    /// Starts again, and waits until every container was judged.
    pub fn restart(&mut self) {
        let log = self.supervisor.log().len();
        self.supervisor.restart();
        self.supervisor.until_asked(log);
    }

    /// Starts again after a kill.
    pub fn crash_and_restart(&mut self) {
        self.supervisor.kill9();
        self.restart();
    }

    pub fn state(&self, id: &str) -> State {
        self.supervisor.status(id).state()
    }

    /// Lets the program of a container end.
    pub fn end(&self, runs: &Runs) {
        fs::write(format!("/proc/{}/root/end", runs.init), "").unwrap();
        until_dead(runs.init);
    }

    /// The same, and waits until its shim has recorded it.
    pub fn end_recorded(&self, runs: &Runs) {
        self.end(runs);
        let path = self.bundle(&runs.id).exits();
        poll::until("the end is recorded", || match exit_journal::read(&path) {
            Read::Found(exits) if !exits.entries.is_empty() => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }

    pub fn pause(&self, runs: &Runs) {
        pause(&self.bundle(&runs.id), &runs.id);
    }

    /// What the log says of a container.
    pub fn log_of(&self, id: &str) -> String {
        let log = self.supervisor.log();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(id)).collect();
        lines.join("\n")
    }
}

impl Runs {
    pub fn signal_shim(&self, signal: Signal) {
        let shim = Pid::from_raw(self.shim);
        match signal {
            Signal::SIGSTOP => stopped::stop(shim),
            signal => kill(shim, signal).unwrap(),
        }
    }

    pub fn kill_shim(&self) {
        self.signal_shim(Signal::SIGKILL);
        until_dead(self.shim);
    }
}
