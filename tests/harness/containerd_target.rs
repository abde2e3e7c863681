//! containerd as a target: real containerd driven through its own `ctr`, with this shim or with its own.
//!
//! A pod has no state here: it is a group of containers, which share a shim where the pod's name begins with `many`. The
//! id of a pod or a container is its name. The events are the shim's, of tasks: a container that was never started has none,
//! and an event that containerd may not have heard of when it was killed comes again.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::containerd_book::{Book, StepsOf};
use crate::containerd_calls::{CALL, group, is_gone, open_logs, refused};
use crate::support::containerd_api::TaskStatus;
use crate::support::node::Node;
use crate::support::poll;
use crate::support::task_events::Listener;
use crate::support::under_test::{Runtime, Version, oci_version};
use crate::target::{Answer, Ended, Events, LogFormat, Refusal, Seen, Spec, Target};

/// How long a shim may take to hear of a signal.
const REOPENS: Duration = Duration::from_secs(10);

/// Whose shim it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shim {
    /// This one, by its binary.
    Outlive(PathBuf),
    /// containerd's own, from the same package as the containerd.
    Go,
}

/// A containerd of its own.
#[derive(Debug)]
pub struct Containerd {
    pub(crate) node: Node,
    shim: Shim,
    /// What `ctr oci spec` makes.
    pub(crate) template: Value,
    book: Mutex<Book>,
}

impl Containerd {
    /// Starts one.
    pub fn start(version: Version, shim: Shim) -> Self {
        let runtime = match &shim {
            Shim::Outlive(binary) => Runtime::Outlive(binary.clone()),
            Shim::Go => Runtime::Go,
        };
        let mut node = Node::start_for(version, runtime);
        node.is_no_test();
        // The fifos of an exec are its `ctr`'s, which does not outlive containerd.
        node.orphan_fifos();
        for name in ["logs", "specs"] {
            fs::create_dir_all(node.dir().join(name)).unwrap();
        }
        node.ctr(&["namespace", "create", node.namespace()]).ok();
        let template = serde_json::from_str(&node.ctr(&["oci", "spec"]).ok()).unwrap();
        let target = Self {
            node,
            shim,
            template,
            book: Mutex::default(),
        };
        target.listen().unwrap();
        target
    }

    /// What is driven: `containerd`, `shim` and `oci runtime`, each with its version.
    pub fn versions(&self) -> BTreeMap<String, String> {
        let name = |key: &str, text: String| (key.to_owned(), text);
        BTreeMap::from([
            name("containerd", self.node.version().containerd()),
            name("shim", self.node.shim_version()),
            name("oci runtime", oci_version()),
        ])
    }

    /// The node itself, for what only it has.
    pub fn node(&mut self) -> &mut Node {
        &mut self.node
    }

    /// The exit code with which `ctr task delete` removed the task of container `id`, if it did.
    pub fn final_code(&self, id: &str) -> Option<i32> {
        self.book().entry(id).and_then(|entry| entry.final_code)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // What a panic left half written is of one container, and its test has failed.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes from now on what containerd announces.
    fn listen(&self) -> Result<(), String> {
        let listener = Listener::start(&self.node)?;
        self.book().listen(listener);
        Ok(())
    }

    /// The ids of all containers that were ever in the shim of this one.
    fn shares_with(&self, id: &str) -> BTreeSet<String> {
        let book = self.book();
        match book.entry(id).and_then(|entry| group(&entry.pod)) {
            Some(pod) => book.of_pod(pod).collect(),
            None => BTreeSet::from([id.to_owned()]),
        }
    }

    /// The containers of a pod that were not removed, as far as this knows.
    fn containers_of(&self, pod: &str) -> Vec<String> {
        let book = self.book();
        let is_there = |id: &String| book.entry(id).is_some_and(|entry| !entry.is_removed);
        book.of_pod(pod).filter(is_there).collect()
    }
}

impl Target for Containerd {
    fn label(&self) -> String {
        let shim = match self.shim {
            Shim::Outlive(_) => "outlive",
            Shim::Go => "runc",
        };
        format!("containerd {} + {shim}", self.node.version().name())
    }

    fn pid(&self) -> u32 {
        self.node.containerd_pid().expect("containerd was started")
    }

    fn kill9(&mut self) {
        if self.node.containerd_pid().is_some() {
            self.node.kill9();
            self.book().hear_the_last();
        }
    }

    fn spawn(&mut self, _: Option<&str>) {
        self.node.spawn();
    }

    fn crashed(&mut self) -> Result<(), String> {
        Err("containerd has no crash points".to_owned())
    }

    fn until_answers(&mut self) -> Result<(), String> {
        poll::within(poll::DEADLINE, || {
            self.must(&["version"])
                .map(drop)
                .map_err(|refusal| format!("{refusal}\n{}", self.log_tail()))
        })?;
        self.listen()
    }

    /// containerd asks the shims that it finds before it answers its first call (`loadShims` of its task manager): nothing
    /// is left to wait for but an answer about them.
    fn until_recovered(&self) -> Result<(), String> {
        poll::within(poll::DEADLINE, || {
            self.node
                .tasks()
                .map(drop)
                .map_err(|status| format!("{status}\n{}", self.log_tail()))
        })
    }

    fn has_points(&self) -> bool {
        false
    }

    fn run_pod(&self, name: &str) -> Answer<String> {
        self.book().pods.insert(name.to_owned());
        Ok(name.to_owned())
    }

    fn stop_pod(&self, id: &str) -> Answer<()> {
        let all = self.containers_of(id);
        all.iter().try_for_each(|id| self.stop(id, 0))
    }

    fn remove_pod(&self, id: &str) -> Answer<()> {
        let all = self.containers_of(id);
        all.iter().try_for_each(|id| self.remove(id))?;
        self.book().pods.remove(id);
        Ok(())
    }

    fn pods(&self) -> Answer<Vec<(String, String)>> {
        let pods = self.book().pods.clone();
        Ok(pods.into_iter().map(|pod| (pod.clone(), pod)).collect())
    }

    fn create(&self, spec: &Spec) -> Answer<String> {
        let id = spec.name.as_str();
        let config = self.node.dir().join("specs").join(format!("{id}.json"));
        fs::write(&config, self.spec(spec).to_string()).unwrap();
        self.node.grouped_by(group(&spec.pod).unwrap_or(id));
        self.book().add(id, &spec.pod);
        let runtime = self.node.runtime_args();
        let mut args = vec!["container", "create"];
        args.extend(runtime.iter().map(String::as_str));
        args.extend(["--config", config.to_str().unwrap(), id]);
        self.must(&args).map(|_| id.to_owned())
    }

    fn start(&self, id: &str) -> Answer<()> {
        let turn = self.book().turn(id);
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        // Left by a start that a crash interrupted. `ctr` cannot start it: it can be stopped and removed.
        if self.status(id)? == Some(TaskStatus::Created) {
            return Err(Refusal(format!(
                "the task of {id} was created and not started"
            )));
        }
        let uri = format!("file://{}", self.log(id).display());
        self.must(&["task", "start", "--detach", "--log-uri", &uri, id])?;
        self.book().change(id, |entry| entry.is_started = true);
        Ok(())
    }

    fn stop(&self, id: &str, seconds: u32) -> Answer<()> {
        if self.ends(id, Duration::ZERO)? {
            return Ok(());
        }
        self.signal(id, "SIGTERM")?;
        if self.ends(id, Duration::from_secs(seconds.into()))? {
            return Ok(());
        }
        self.kill(id)
    }

    fn remove(&self, id: &str) -> Answer<()> {
        self.book().change(id, |entry| entry.is_removing = true);
        self.kill(id)?;
        if self.status(id)?.is_some() {
            match self.must(&["task", "delete", id]) {
                Ok(output) => {
                    let code = output.task_exit_code();
                    self.book().change(id, |entry| entry.final_code = code);
                }
                Err(Refusal(said)) if is_gone(&said) => {}
                Err(refusal) => return Err(refusal),
            }
        }
        self.must_or_gone(&["container", "delete", id])?;
        self.book().change(id, |entry| entry.is_removed = true);
        Ok(())
    }

    fn exec(&self, id: &str, command: &[&str]) -> Answer<Ended> {
        let exec = self.book().next_exec();
        let args = self.node.exec_args(id, &exec, &[], command);
        let output = self.node.try_ctr(&args, CALL).map_err(Refusal)?;
        // It hands on the command's exit code, or has a word about an error of its own.
        let own = output.stderr.lines().find(|line| line.starts_with("ctr: "));
        match (output.code, own) {
            (Some(code), None) => Ok(Ended {
                code,
                stdout: output.stdout,
            }),
            (_, Some(error)) => Err(Refusal(error.to_owned())),
            (None, None) => Err(Refusal(format!("{output:?}"))),
        }
    }

    fn stats(&self, id: &str) -> Answer<()> {
        self.must(&["task", "metrics", id]).map(drop)
    }

    /// By SIGUSR2, which has no answer: what the shim holds open tells.
    fn reopen(&self, id: &str) -> Answer<()> {
        if self.shim == Shim::Go {
            return Err(Refusal("this shim opens no log anew".to_owned()));
        }
        let shim = self
            .shim(id)
            .ok_or_else(|| Refusal(format!("{id} has no shim")))?;
        let log = self.log(id);
        if open_logs(shim, &log).is_empty() {
            return Err(Refusal(format!("the shim of {id} has no log of it open")));
        }
        let pid = Pid::from_raw(i32::try_from(shim).unwrap());
        kill(pid, Signal::SIGUSR2).map_err(|error| Refusal(error.to_string()))?;
        poll::within(REOPENS, || {
            let open = open_logs(shim, &log);
            if !open.is_empty() && open.iter().all(|path| *path == log) {
                Ok(())
            } else {
                Err(format!("the shim of {id} holds {open:?}"))
            }
        })
        .map_err(Refusal)
    }

    fn pause(&self, id: &str) -> Answer<()> {
        self.must(&["task", "pause", id]).map(drop)
    }

    fn resume(&self, id: &str) -> Answer<()> {
        self.must(&["task", "resume", id]).map(drop)
    }

    fn list(&self) -> Answer<Vec<Seen>> {
        // In this order: a task whose container is not known yet is nobody's, one that is missing is a loss.
        let containers = self.node.containers().map_err(refused)?;
        let tasks = self.node.tasks().map_err(refused)?;
        Ok(self.book().seen(&containers, &tasks))
    }

    fn events(&self) -> Answer<Box<dyn Events>> {
        let listener = Listener::start(&self.node).map_err(Refusal)?;
        Ok(Box::new(StepsOf(listener)))
    }

    fn log(&self, name: &str) -> PathBuf {
        self.node.dir().join("logs").join(format!("{name}.log"))
    }

    fn log_format(&self) -> LogFormat {
        LogFormat::Raw
    }

    fn shim(&self, id: &str) -> Option<u32> {
        self.node.shim_for(&self.shares_with(id))
    }

    fn traces(&self) -> BTreeSet<String> {
        self.node.traces()
    }

    fn cgroup(&self) -> String {
        self.node.namespace().to_owned()
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }

    fn tells_of_tasks_only(&self) -> bool {
        true
    }

    fn log_tail(&self) -> String {
        self.node.log_tail()
    }
}
