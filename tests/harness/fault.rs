//! What is done to managers, shims and disks. Each fault ends with a manager that answers and has looked at all it found.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::history::MarkKind;
use crate::supervisor_target::Outlive;
use crate::support::{poll, stopped};
use crate::target::State;
use crate::trial::Trial;
use crate::workload::Workload;

/// A fault that any container can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// kill -9 of the manager.
    Kill,
    /// kill -9 of the manager, three times within its starts, and then it may recover.
    KillInStart,
    /// kill -9 of the manager at this crash point of its recovery.
    KillInRecovery(&'static str),
    /// The container ends while the manager is dead.
    EndsWhileDown,
    /// The container ends after the manager has recovered.
    EndsAfterRecovery,
    /// The container ends while the manager is dead, which then dies at this crash point when it finds that.
    EndsThenKillInRecovery(&'static str),
    /// kill -9 of the shim, with the manager alive.
    ShimKill,
    /// kill -9 of the shim while the manager is dead.
    ShimKillWhileDown,
    /// The container ends while the manager is dead, and then the shim is killed too.
    EndsThenShimKillWhileDown,
    /// SIGSTOP of the shim over a restart of the manager, and SIGCONT.
    ShimStop,
    /// Commands are executed in the container all the time while the manager is killed, three times.
    KillUnderExecs,
    /// The log is renamed and reopened around a kill.
    RotateAndKill,
}

impl Fault {
    pub fn name(self) -> String {
        match self {
            Self::Kill => "kill".to_owned(),
            Self::KillInStart => "kill in start".to_owned(),
            Self::KillInRecovery(point) => format!("kill at {point}"),
            Self::EndsWhileDown => "ends while down".to_owned(),
            Self::EndsAfterRecovery => "ends after the recovery".to_owned(),
            Self::EndsThenKillInRecovery(point) => format!("ends while down, kill at {point}"),
            Self::ShimKill => "kill of the shim".to_owned(),
            Self::ShimKillWhileDown => "kill of the shim while down".to_owned(),
            Self::EndsThenShimKillWhileDown => "ends, then kill of the shim while down".to_owned(),
            Self::ShimStop => "stop of the shim".to_owned(),
            Self::KillUnderExecs => "kill under execs".to_owned(),
            Self::RotateAndKill => "rotate and kill".to_owned(),
        }
    }

    /// Whether it needs crash points.
    pub const fn needs_points(self) -> bool {
        matches!(
            self,
            Self::KillInRecovery(_) | Self::EndsThenKillInRecovery(_)
        )
    }

    /// Starts the manager, which dies at a crash point.
    pub fn dies_in_start(trial: &mut Trial, point: &str, name: &str) {
        dies_at(trial, point, name);
    }

    /// Does it to the container of this index.
    pub fn apply(self, trial: &mut Trial, subject: usize) {
        let name = self.name();
        match self {
            Self::Kill => {
                trial.kill(&name);
                trial.outage();
                trial.restart(&name, None);
            }
            Self::KillInStart => {
                trial.kill(&name);
                for millis in [1, 4, 10] {
                    trial.target.spawn(None);
                    after(Duration::from_millis(millis));
                    trial.kill(&name);
                }
                trial.outage();
                trial.restart(&name, None);
            }
            Self::KillInRecovery(point) => {
                trial.kill(&name);
                dies_at(trial, point, &name);
                trial.outage();
                trial.restart(&name, None);
            }
            Self::EndsWhileDown => {
                trial.kill(&name);
                ends(trial, subject);
                trial.restart(&name, None);
            }
            Self::EndsAfterRecovery => {
                trial.kill(&name);
                trial.restart(&name, None);
                ends(trial, subject);
            }
            Self::EndsThenKillInRecovery(point) => {
                trial.kill(&name);
                ends(trial, subject);
                dies_at(trial, point, &name);
                trial.restart(&name, None);
            }
            Self::ShimKill => {
                kill_shim(trial, subject, &name);
            }
            Self::ShimKillWhileDown => {
                let shim = shim(trial, subject);
                trial.kill(&name);
                kill_process(trial, subject, shim, &name);
                trial.restart(&name, None);
            }
            Self::EndsThenShimKillWhileDown => {
                let shim = shim(trial, subject);
                trial.kill(&name);
                ends(trial, subject);
                // The shim has a moment to write down what it saw: that it does so at once is what is tested.
                recorded(trial, subject);
                if let Some(pid) = shim {
                    kill(raw(pid), Signal::SIGKILL).unwrap();
                    until_dead(pid);
                }
                trial.restart(&name, None);
            }
            Self::ShimStop => silence(trial, subject, &name),
            Self::KillUnderExecs => under_execs(trial, subject, &name),
            Self::RotateAndKill => {
                for _ in 0..3 {
                    trial.rotate(subject);
                    trial.kill(&name);
                    trial.outage();
                    trial.restart(&name, None);
                    trial.rotate(subject);
                }
            }
        }
        trial.exec_in_bystander();
    }
}

fn raw(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap())
}

/// Lets this much time pass: the moment at which something is killed is the fault.
pub fn after(time: Duration) {
    let until = Instant::now() + time;
    thread::sleep(until.saturating_duration_since(Instant::now()));
}

/// Starts the manager, which dies at a crash point.
fn dies_at(trial: &mut Trial, point: &str, name: &str) {
    let armed = format!("{point}=return");
    trial.target.spawn(Some(&armed));
    match trial.target.crashed() {
        Ok(()) => trial.mark(MarkKind::Killed, name),
        Err(error) => panic!("{point} is not passed: {error}"),
    }
}

/// Brings about the end of a container behind its manager's back.
pub fn ends(trial: &mut Trial, index: usize) {
    let subject = &mut trial.subjects[index];
    subject.may_end = true;
    let Some(pid) = subject.pid else { return };
    if let Workload::Obedient { .. } = subject.workload {
        let file = format!("/proc/{pid}/root{}", Workload::end_file(&subject.name));
        // It may have ended already, which is all that is wanted.
        drop(fs::write(file, ""));
    } else if subject.workload.lasts() {
        kill(raw(pid), Signal::SIGKILL).unwrap_or_default();
    }
    until_dead(pid);
}

/// Waits until the shim's record of an end is on disk, where it keeps one.
fn recorded(trial: &mut Trial, index: usize) {
    let id = trial.id(index);
    let Some(outlive) = trial.target.as_any().downcast_ref::<Outlive>() else {
        return;
    };
    let path = outlive.bundle(&id).exits();
    poll::until(
        "the end is recorded",
        || match outlive::bundle::exit_journal::read(&path) {
            outlive::bundle::Read::Found(exits) if !exits.entries.is_empty() => Ok(()),
            other => Err(format!("{other:?}")),
        },
    );
}

pub fn until_dead(pid: u32) {
    poll::until("the process ends", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let is_alive = stat
            .rsplit_once(") ")
            .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']));
        if is_alive { Err(stat) } else { Ok(()) }
    });
}

fn shim(trial: &Trial, index: usize) -> Option<u32> {
    trial.target.shim(&trial.id(index))
}

fn kill_shim(trial: &mut Trial, index: usize, name: &str) {
    let shim = shim(trial, index);
    kill_process(trial, index, shim, name);
}

/// Kills the shim, where there is one; from then on nobody sees how init ends.
fn kill_process(trial: &mut Trial, index: usize, shim: Option<u32>, name: &str) {
    let Some(pid) = shim else { return };
    trial.mark(MarkKind::Fault, name);
    let subject = &mut trial.subjects[index];
    let has_ended = subject
        .last
        .as_ref()
        .is_some_and(|seen| seen.state == State::Exited);
    subject.may_end = true;
    if !has_ended {
        subject.has_no_witness = true;
        subject.may_lose_lines();
    }
    kill(raw(pid), Signal::SIGKILL).unwrap();
    until_dead(pid);
}

fn silence(trial: &mut Trial, index: usize, name: &str) {
    let Some(pid) = shim(trial, index) else {
        trial.kill(name);
        trial.restart(name, None);
        return;
    };
    trial.kill(name);
    stopped::stop(raw(pid));
    trial.mark(MarkKind::Fault, name);
    trial.subjects[index].may_be_unknown = true;
    trial.restart_beside_silence(name);
    // What the manager says meanwhile is either what it knew or that it does not know, and never an end.
    drop(trial.observe());
    kill(raw(pid), Signal::SIGCONT).unwrap();
    trial.target.until_recovered().unwrap();
    trial.mark(MarkKind::Recovered, name);
    trial.subjects[index].may_be_unknown = false;
}

fn under_execs(trial: &mut Trial, index: usize, name: &str) {
    let id = trial.id(index);
    for millis in [7, 60, 150] {
        let pid = trial.target.pid();
        thread::scope(|scope| {
            let target = trial.target.as_ref();
            let callers: Vec<_> = (0..3)
                .map(|_| {
                    let id = &id;
                    scope.spawn(
                        move || while target.exec(id, &["/bin/sh", "-c", "exit 4"]).is_ok() {},
                    )
                })
                .collect();
            after(Duration::from_millis(millis));
            crate::supervisor_target::kill9(pid);
            for caller in callers {
                caller.join().unwrap();
            }
        });
        trial.kill(name);
        trial.outage();
        trial.restart(name, None);
        let ended = trial.target.exec(&id, &["/bin/sh", "-c", "exit 4"]);
        assert_eq!(ended.map(|ended| ended.code), Ok(4), "exec after {name}");
    }
}
