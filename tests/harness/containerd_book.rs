//! What is known of the containers of a containerd beside what it says at the moment: containerd has no memory of a task
//! that is gone. No I/O but reading what its events have told.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use crate::support::containerd_api::{Task, TaskStatus};
use crate::support::task_events::{Listener, TaskEvent};
use crate::target::{Events, Seen, State, Step};

/// The book of one containerd.
#[derive(Debug, Default)]
pub struct Book {
    /// The pods that there are.
    pub pods: BTreeSet<String>,
    entries: BTreeMap<String, Entry>,
    execs: u32,
    listener: Option<Listener>,
    /// The first exit of each init that was announced: its code, and when.
    exits: HashMap<String, (Option<u32>, Option<i64>)>,
}

/// What is known of a container, also after its end.
#[derive(Debug, Default, Clone)]
pub struct Entry {
    /// Its pod.
    pub pod: String,
    /// Whether a start was acknowledged, or it was seen running.
    pub is_started: bool,
    /// Whether a removal was asked for.
    pub is_removing: bool,
    /// Whether a removal was acknowledged.
    pub is_removed: bool,
    /// What the deletion of its task told.
    pub final_code: Option<i32>,
    turn: Arc<Mutex<()>>,
}

impl Book {
    /// Enters a container that is about to be created.
    pub fn add(&mut self, id: &str, pod: &str) {
        let entry = self.entries.entry(id.to_owned()).or_default();
        pod.clone_into(&mut entry.pod);
    }

    /// What is known of a container.
    pub fn entry(&self, id: &str) -> Option<&Entry> {
        self.entries.get(id)
    }

    /// Notes something of a container.
    pub fn change(&mut self, id: &str, change: impl FnOnce(&mut Entry)) {
        self.entries.get_mut(id).map(change);
    }

    /// The ids of all containers that were ever in this pod.
    pub fn of_pod<'a>(&'a self, pod: &'a str) -> impl Iterator<Item = String> + 'a {
        let of_it = move |(id, entry): (&String, &Entry)| (entry.pod == pod).then(|| id.clone());
        self.entries.iter().filter_map(of_it)
    }

    /// What a start of this container holds: one at a time.
    pub fn turn(&mut self, id: &str) -> Arc<Mutex<()>> {
        let entry = self.entries.entry(id.to_owned()).or_default();
        Arc::clone(&entry.turn)
    }

    /// An exec id that no other has.
    pub fn next_exec(&mut self) -> String {
        self.execs += 1;
        format!("exec-{}", self.execs)
    }

    /// Reads this from now on, in place of what it read before.
    pub fn listen(&mut self, listener: Listener) {
        self.hear();
        self.listener = Some(listener);
    }

    /// Reads what came before the end of the connection.
    pub fn hear_the_last(&mut self) {
        self.hear();
        self.listener = None;
    }

    fn hear(&mut self) {
        let Some(listener) = &mut self.listener else {
            return;
        };
        for event in listener.so_far() {
            if step_of(event) == Some(Step::Stopped) {
                let exit = (event.code, event.exited_at);
                self.exits.entry(event.container.clone()).or_insert(exit);
            }
        }
    }

    /// The containers that there are, by what containerd said of them and of their tasks.
    pub fn seen(&mut self, containers: &[String], tasks: &[Task]) -> Vec<Seen> {
        self.hear();
        let tasks: HashMap<&str, &Task> =
            tasks.iter().map(|task| (task.id.as_str(), task)).collect();
        let mut all = Vec::new();
        for id in containers {
            all.push(match tasks.get(id.as_str()) {
                Some(task) => self.with_task(id, task),
                None => self.without_task(id),
            });
        }
        // Nobody's, and not hidden for it.
        let others = tasks
            .iter()
            .filter(|(id, _)| !containers.iter().any(|known| known == *id));
        for (id, task) in others {
            let mut seen = self.with_task(id, task);
            "a task without a container".clone_into(&mut seen.reason);
            all.push(seen);
        }
        all
    }

    fn with_task(&mut self, id: &str, task: &Task) -> Seen {
        let state = match task.status() {
            TaskStatus::Unknown => State::Unknown,
            TaskStatus::Created => State::Created,
            TaskStatus::Running => State::Running,
            TaskStatus::Stopped => State::Exited,
            TaskStatus::Paused | TaskStatus::Pausing => State::Paused,
        };
        let mut seen = blank(id, state);
        if state == State::Exited {
            seen.exit_code = i32::try_from(task.exit_status).ok();
            // Go's time zero is long before the epoch.
            let at = task.exited_at.map(|at| at.unix_nanos());
            seen.finished_at = at.filter(|at| *at > 0);
        } else {
            seen.pid = Some(task.pid).filter(|pid| *pid != 0);
        }
        if matches!(state, State::Running | State::Paused) {
            self.change(id, |entry| entry.is_started = true);
        }
        if state == State::Unknown {
            "its shim does not answer".clone_into(&mut seen.reason);
        }
        seen
    }

    /// containerd remembers nothing of a task that is gone: what was announced of it is all.
    fn without_task(&self, id: &str) -> Seen {
        let entry = self.entry(id).cloned().unwrap_or_default();
        if entry.final_code.is_some() {
            let mut seen = blank(id, State::Exited);
            seen.exit_code = entry.final_code;
            "its task was deleted".clone_into(&mut seen.reason);
            return seen;
        }
        if let Some((code, at)) = self.exits.get(id) {
            let mut seen = blank(id, State::Exited);
            seen.exit_code = code.and_then(|code| i32::try_from(code).ok());
            seen.finished_at = *at;
            "no task; its end was announced".clone_into(&mut seen.reason);
            return seen;
        }
        if !entry.is_started {
            return blank(id, State::Created);
        }
        let mut seen = blank(id, State::Unknown);
        let reason = if entry.is_removing {
            "no task; its removal was asked for"
        } else {
            "no task"
        };
        reason.clone_into(&mut seen.reason);
        seen
    }
}

fn blank(id: &str, state: State) -> Seen {
    Seen {
        id: id.to_owned(),
        name: id.to_owned(),
        state,
        pid: None,
        started_at: None,
        finished_at: None,
        exit_code: None,
        reason: String::new(),
    }
}

/// The step in a container's life that an event tells; `None` for what is about an exec or no step.
fn step_of(event: &TaskEvent) -> Option<Step> {
    if event.exec.is_some() {
        return None;
    }
    match event.topic.as_str() {
        "create" => Some(Step::Created),
        "start" => Some(Step::Started),
        "exit" => Some(Step::Stopped),
        "delete" => Some(Step::Deleted),
        _ => None,
    }
}

/// A listener that hands on steps.
pub struct StepsOf(pub Listener);

impl Events for StepsOf {
    fn so_far(&mut self) -> Vec<(String, Step)> {
        let step = |event: &TaskEvent| Some((event.container.clone(), step_of(event)?));
        self.0.so_far().iter().filter_map(step).collect()
    }
}
