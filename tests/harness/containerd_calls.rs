//! The steps that the calls of a containerd are made of: `ctr` with a deadline, the end of an init, a specification.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::containerd_target::Containerd;
use crate::support::containerd_api::TaskStatus;
use crate::support::ctr::Output;
use crate::support::poll;
use crate::target::{Answer, Refusal, Spec};

/// How long one call of `ctr` may take.
pub const CALL: Duration = Duration::from_secs(40);

/// How long a process that was killed may take to end, and what has ended to be removed.
const END: Duration = Duration::from_secs(30);

impl Containerd {
    /// Runs `ctr`; whatever it ended with.
    pub fn ctr(&self, args: &[&str]) -> Answer<Output> {
        self.node.try_ctr(args, CALL).map_err(Refusal)
    }

    /// Runs `ctr`, which has to succeed.
    pub fn must(&self, args: &[&str]) -> Answer<Output> {
        let output = self.ctr(args)?;
        if output.code == Some(0) {
            return Ok(output);
        }
        let said = output.stderr.trim();
        Err(Refusal(format!("ctr {}: {said}", args.join(" "))))
    }

    /// The same for an operation after which its object may be gone or have ended: then it has done what it should.
    pub fn must_or_gone(&self, args: &[&str]) -> Answer<()> {
        match self.must(args) {
            Err(Refusal(said)) if is_gone(&said) => Ok(()),
            answer => answer.map(drop),
        }
    }

    pub fn status(&self, id: &str) -> Answer<Option<TaskStatus>> {
        let task = self.node.task_of(id).map_err(refused)?;
        Ok(task.map(|task| task.status()))
    }

    /// Waits until the task of this container has ended or is gone.
    pub fn ends(&self, id: &str, limit: Duration) -> Answer<bool> {
        let mut refusal = None;
        let ended = poll::within(limit, || match self.status(id) {
            Ok(None | Some(TaskStatus::Stopped)) => Ok(true),
            Ok(Some(status)) => {
                refusal = None;
                Err(format!("{status:?}"))
            }
            Err(said) => {
                refusal = Some(said.clone());
                if self.node.is_alive() {
                    Err(said.0)
                } else {
                    Ok(false)
                }
            }
        });
        match ended {
            Ok(true) => Ok(true),
            Ok(false) | Err(_) => refusal.map_or(Ok(false), Err),
        }
    }

    /// Sends a signal to init, where there is one to hear it.
    pub fn signal(&self, id: &str, signal: &str) -> Answer<()> {
        // A frozen process hears nothing.
        if self.status(id)? == Some(TaskStatus::Paused) {
            self.must_or_gone(&["task", "resume", id])?;
        }
        self.must_or_gone(&["task", "kill", "--signal", signal, id])
    }

    /// Kills init and waits for its end.
    pub fn kill(&self, id: &str) -> Answer<()> {
        // Once more, when it was frozen meanwhile or had no process yet.
        for _ in 0..3 {
            if self.ends(id, Duration::ZERO)? {
                return Ok(());
            }
            self.signal(id, "SIGKILL")?;
            if self.ends(id, END / 3)? {
                return Ok(());
            }
        }
        Err(Refusal(format!("{id} does not end of SIGKILL")))
    }

    pub fn spec(&self, spec: &Spec) -> Value {
        let mut made = self.template.clone();
        made["process"]["args"] = json!(spec.command);
        made["root"] = json!({"path": self.node.rootfs()});
        let linux = &mut made["linux"];
        linux["cgroupsPath"] = json!(format!("/{}/{}", self.node.namespace(), spec.name));
        if let Some(bytes) = spec.memory {
            linux["resources"]["memory"] = json!({"limit": bytes});
        }
        let shared: &[&str] = if spec.has_host_pids {
            &["network", "pid"]
        } else {
            &["network"]
        };
        linux["namespaces"]
            .as_array_mut()
            .expect("ctr makes namespaces")
            .retain(|namespace| !shared.iter().any(|name| namespace["type"] == *name));
        if let Some(group) = group(&spec.pod) {
            made["annotations"] = json!({"io.containerd.runc.v2.group": group});
        }
        made
    }
}

/// The group that the containers of a pod share a shim by.
pub fn group(pod: &str) -> Option<&str> {
    pod.starts_with("many").then_some(pod)
}

pub fn refused(status: tonic::Status) -> Refusal {
    Refusal(format!("{:?}: {}", status.code(), status.message()))
}

/// Whether an error of `ctr` says that there is nothing any more to do it to.
pub fn is_gone(said: &str) -> bool {
    ["not found", "already finished", "no running task"]
        .iter()
        .any(|words| said.contains(words))
}

/// The files that process `pid` holds open and whose names begin like that of `log`.
pub fn open_logs(pid: u32, log: &Path) -> Vec<PathBuf> {
    let prefix = log.to_str().unwrap();
    let links = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten();
    links
        .flatten()
        .filter_map(|link| fs::read_link(link.path()).ok())
        .filter(|path| path.to_str().is_some_and(|name| name.starts_with(prefix)))
        .collect()
}
