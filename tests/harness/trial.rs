//! One run against one target: containers, and what is done to them and to their manager. `verdict` checks the invariants
//! after each fault, `ending` removes everything.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::history::{Mark, MarkKind, Recovery, Run};
use crate::invariants::{Connection, Ending, Outage, PodBook, Reopened};
use crate::model::{Subject, Told};
use crate::support::poll;
use crate::target::{Answer, Events, Seen, Step, Target};
use crate::witness::{Witness, now};
use crate::workload::Workload;

mod ending;
mod verdict;

/// How long a writer may take to write again while its manager is dead.
const WRITES: Duration = Duration::from_secs(10);

pub struct Trial {
    pub target: Box<dyn Target>,
    pub subjects: Vec<Subject>,
    pub run: Run,
    /// Of the bystander's pod, in which the workloads are too.
    pub pod: String,
    pub pods: Vec<PodBook>,
    /// What was done, in words.
    pub history: Vec<String>,
    pub witness: Witness,
    events: Option<Box<dyn Events>>,
    pub connection: Connection,
    outages: Vec<Outage>,
    pub reopened: Vec<Reopened>,
    endings: Vec<Ending>,
    prompt: Vec<(&'static str, Duration)>,
}

/// The container that every run has and that nothing may happen to.
pub const BYSTANDER: usize = 0;

impl Trial {
    /// A run with a pod and the bystander in it.
    pub fn new(target: Box<dyn Target>, run: Run) -> Self {
        let mut trial = Self {
            target,
            subjects: Vec::new(),
            run,
            pod: String::new(),
            pods: Vec::new(),
            history: Vec::new(),
            witness: Witness::start(),
            events: None,
            connection: Connection::default(),
            outages: Vec::new(),
            reopened: Vec::new(),
            endings: Vec::new(),
            prompt: Vec::new(),
        };
        trial.run.target = trial.target.label();
        trial.listen();
        trial.pod = trial.run_pod("pod").unwrap();
        trial.launch("bystander", Workload::Slow);
        trial
    }

    fn listen(&mut self) {
        self.connection = Connection {
            since: now(),
            ..Connection::default()
        };
        self.events = self.target.events().ok();
    }

    /// A pod of this name is being asked for.
    pub fn expect_pod(&mut self, name: &str) {
        self.pods.push(PodBook {
            name: name.to_owned(),
            created: Told::InDoubt,
            removed: Told::Never,
        });
    }

    /// What came of it.
    pub fn was_run(&mut self, name: &str, is_answered: bool) {
        for pod in self
            .pods
            .iter_mut()
            .filter(|pod| pod.name == name && is_answered)
        {
            pod.created = Told::Acknowledged;
        }
    }

    /// Runs a pod; its id.
    pub fn run_pod(&mut self, name: &str) -> Answer<String> {
        self.expect_pod(name);
        let answer = self.target.run_pod(name);
        self.was_run(name, answer.is_ok());
        answer
    }

    /// Stops and removes the pod that was run last.
    pub fn end_last_pod(&mut self, id: &str) -> Answer<()> {
        self.target.stop_pod(id)?;
        let last = self.pods.len() - 1;
        self.pods[last].removed = Told::InDoubt;
        self.target.remove_pod(id)?;
        self.pods[last].removed = Told::Acknowledged;
        Ok(())
    }

    /// A container that is asked for by this name; nothing is done yet.
    pub fn subject(&mut self, name: &str, workload: Workload) -> usize {
        let (log, format) = (self.target.log(name), self.target.log_format());
        self.subjects
            .push(Subject::new(name, workload, log, format));
        self.subjects.len() - 1
    }

    /// What the manager calls it.
    pub fn id(&self, subject: usize) -> String {
        let subject = &self.subjects[subject];
        let id = subject.id.clone();
        id.unwrap_or_else(|| panic!("{} has no id", subject.name))
    }

    /// Creates a container of this name.
    pub fn create(&mut self, name: &str, workload: Workload) -> usize {
        let index = self.subject(name, workload);
        let spec = workload.spec(name, &self.pod);
        let answer = self.target.create(&spec);
        self.created(index, answer).unwrap();
        index
    }

    /// What came of a create.
    pub fn created(&mut self, index: usize, answer: Answer<String>) -> Answer<()> {
        let subject = &mut self.subjects[index];
        subject.created = Told::InDoubt;
        let id = answer?;
        subject.created = Told::Acknowledged;
        subject.id = Some(id.clone());
        if !self.target.tells_of_tasks_only() {
            self.connection.owed.push((id, Step::Created));
        }
        Ok(())
    }

    /// Starts it, and has its init watched.
    pub fn start(&mut self, index: usize) {
        let answer = self.target.start(&self.id(index));
        self.was_started(index, answer).unwrap();
        self.observe().unwrap();
    }

    /// What came of a start.
    pub fn was_started(&mut self, index: usize, answer: Answer<()>) -> Answer<()> {
        self.subjects[index].started = Told::InDoubt;
        answer?;
        self.subjects[index].started = Told::Acknowledged;
        self.connection.owed.push((self.id(index), Step::Started));
        Ok(())
    }

    /// [`Self::create`] and [`Self::start`].
    pub fn launch(&mut self, name: &str, workload: Workload) -> usize {
        let index = self.create(name, workload);
        self.start(index);
        index
    }

    /// What came of a stop.
    pub fn was_stopped(&mut self, index: usize, answer: Answer<()>) -> Answer<()> {
        let subject = &mut self.subjects[index];
        subject.may_end = true;
        if subject.started == Told::Never {
            subject.was_stopped_unstarted = true;
            return answer;
        }
        subject.stopped = Told::InDoubt;
        answer?;
        subject.stopped = Told::Acknowledged;
        Ok(())
    }

    /// What came of a removal.
    pub fn was_removed(&mut self, index: usize, answer: Answer<()>) -> Answer<()> {
        let subject = &mut self.subjects[index];
        subject.may_end = true;
        subject.removed = Told::InDoubt;
        if answer.is_err() && self.target.tells_of_tasks_only() {
            subject.was_half_removed = true;
        }
        answer?;
        subject.removed = Told::Acknowledged;
        let has_task = subject.started == Told::Acknowledged && !subject.was_half_removed;
        if let Some(id) = subject.id.clone()
            && (has_task || !self.target.tells_of_tasks_only())
        {
            self.connection.owed.push((id, Step::Deleted));
        }
        Ok(())
    }

    /// Looks at all that the manager lists, and has new inits watched.
    pub fn observe(&mut self) -> Answer<Vec<Seen>> {
        let seen = self.target.list()?;
        let at = now();
        for one in &seen {
            if let Some(pid) = one.pid {
                self.witness.watch(pid);
            }
        }
        for subject in &mut self.subjects {
            let its = of(&seen, subject);
            subject.observe(its, at);
        }
        Ok(seen)
    }

    /// Notes a moment for the report.
    pub fn mark(&mut self, kind: MarkKind, fault: &str) {
        self.run.marks.push(Mark {
            at: now(),
            kind,
            fault: fault.to_owned(),
        });
    }

    /// The manager is dead: every writer goes on.
    pub fn outage(&mut self) {
        self.outage_of(|_| true);
    }

    /// The same for the bystander only.
    pub fn short_outage(&mut self) {
        self.outage_of(|index| index == BYSTANDER);
    }

    fn outage_of(&mut self, concerns: impl Fn(usize) -> bool) {
        let writes = |index: &usize| {
            let subject = &self.subjects[*index];
            concerns(*index)
                && subject.should_run()
                && subject.workload.writes_on()
                && !subject.is_paused
                && subject.log.losses == crate::log_book::Losses::None
        };
        let writers: Vec<usize> = (0..self.subjects.len()).filter(writes).collect();
        for index in writers {
            let log = &self.subjects[index].log;
            let (before, began) = (log.len(), Instant::now());
            let grown = poll::within(WRITES, || {
                let after = log.len();
                if after > before {
                    Ok(())
                } else {
                    Err(after.to_string())
                }
            });
            let outage = Outage {
                subject: self.subjects[index].name.clone(),
                before,
                after: if grown.is_ok() { before + 1 } else { before },
                waited: began.elapsed(),
            };
            self.outages.push(outage);
        }
    }

    /// Kills the manager.
    pub fn kill(&mut self, fault: &str) {
        self.target.kill9();
        self.mark(MarkKind::Killed, fault);
    }

    /// Starts the manager again; `points` are crash points that it has.
    pub fn restart(&mut self, fault: &str, points: Option<&str>) {
        self.events = None;
        let began = Instant::now();
        self.target.spawn(points);
        self.target.until_answers().unwrap();
        let answers = began.elapsed();
        self.mark(MarkKind::Answers, fault);
        self.listen();
        let listed = self
            .target
            .list()
            .map(|seen| seen.len())
            .unwrap_or_default();
        self.prompt.push(("list after a restart", began.elapsed()));
        self.target.until_recovered().unwrap();
        let recovered = began.elapsed();
        self.mark(MarkKind::Recovered, fault);
        let millis = |time: Duration| time.as_secs_f64() * 1000.0;
        self.run.recoveries.push(Recovery {
            containers: listed,
            answers_ms: millis(answers),
            recovered_ms: millis(recovered),
        });
    }

    /// The same where a shim is silent: recovery does not end before its deadline, and nobody else waits for it.
    pub fn restart_beside_silence(&mut self, fault: &str) {
        self.events = None;
        let began = Instant::now();
        self.target.spawn(None);
        self.target.until_answers().unwrap();
        self.mark(MarkKind::Answers, fault);
        self.listen();
        self.exec_in_bystander();
        self.prompt
            .push(("list and exec beside a silent shim", began.elapsed()));
    }

    /// A command in the bystander, which is healthy.
    pub fn exec_in_bystander(&mut self) {
        let (id, began) = (self.id(BYSTANDER), Instant::now());
        let ended = self
            .target
            .exec(&id, &["/bin/sh", "-c", "echo well; exit 4"]);
        self.prompt.push(("exec in the bystander", began.elapsed()));
        match ended {
            Ok(ended) if ended.code == 4 && ended.stdout == "well\n" => {}
            other => {
                let saw = format!("{other:?}");
                let sticky = (
                    11,
                    "exec in the bystander answers 4 and `well`".to_owned(),
                    saw,
                );
                self.subjects[BYSTANDER].sticky.push(sticky);
            }
        }
    }

    /// Has the log of a container renamed and opened anew.
    pub fn rotate(&mut self, index: usize) {
        let (id, current) = (
            self.id(index),
            self.subjects[index].log.current().to_owned(),
        );
        let old = renamed(&current, self.reopened.len());
        if std::fs::rename(&current, &old).is_err() {
            return;
        }
        let answer = self.target.reopen(&id);
        self.was_rotated(index, old, &answer);
    }

    /// What came of a reopening of the log that is called `old` now.
    pub fn was_rotated(&mut self, index: usize, old: PathBuf, answer: &Answer<()>) {
        let subject = &mut self.subjects[index];
        let current = subject.log.current().to_owned();
        let is_new = current.exists();
        let (name, length) = (
            subject.name.clone(),
            std::fs::metadata(&old).map_or(0, |is| is.len()),
        );
        if answer.is_ok() || is_new || std::fs::rename(&old, &current).is_err() {
            subject.log.renamed(old.clone());
        }
        // An answer that never came, or that came from nobody, says nothing about the file.
        let is_answer = match answer {
            Ok(()) => true,
            Err(refusal) => !crate::target::is_silence(refusal),
        };
        if is_answer {
            self.reopened.push(Reopened {
                subject: name,
                old,
                length,
                answer: answer.clone().map_err(|_| is_new),
            });
        }
    }
}

/// What is listed of a subject.
pub fn of<'a>(seen: &'a [Seen], subject: &Subject) -> Option<&'a Seen> {
    match &subject.id {
        Some(id) => seen.iter().find(|seen| &seen.id == id),
        None => seen.iter().find(|seen| seen.name == subject.name),
    }
}

/// What a log is renamed to: kubelet's names, which begin with the log's own.
pub fn renamed(current: &std::path::Path, serial: usize) -> PathBuf {
    let mut name = current.as_os_str().to_owned();
    name.push(format!(".{serial:06}"));
    PathBuf::from(name)
}
