//! The end of a run: everything is ended and removed, twice each.

use std::time::Instant;

use super::Trial;
use crate::history::Timeline;
use crate::invariants::Ending;
use crate::model::{Subject, Told};
use crate::target::{Answer, Target};

impl Trial {
    /// Ends and removes everything, twice each, and looks for what is left.
    pub fn finish(&mut self) {
        let fault = "the end";
        for index in 0..self.subjects.len() {
            let subject = &self.subjects[index];
            let Some(id) = subject.id.clone().filter(|_| subject.is_there()) else {
                continue;
            };
            if subject.is_paused && self.target.resume(&id).is_ok() {
                self.subjects[index].is_paused = false;
            }
            for call in ["stop", "stop again"] {
                let answer = self.ending(index, call, |target| target.stop(&id, 0));
                // The witness of its end is the invariants' next look.
                drop(self.was_stopped(index, answer));
            }
        }
        self.check(fault);
        for index in 0..self.subjects.len() {
            let Some(id) = self.subjects[index].id.clone() else {
                continue;
            };
            if !self.subjects[index].is_there() {
                continue;
            }
            for call in ["remove", "remove again"] {
                let answer = self.ending(index, call, |target| target.remove(&id));
                drop(self.was_removed(index, answer));
            }
        }
        for (id, name) in self.target.pods().unwrap_or_default() {
            for pod in self.pods.iter_mut().filter(|pod| pod.name == name) {
                pod.removed = Told::Acknowledged;
            }
            for call in ["stop of the pod", "stop of the pod again"] {
                self.pod_ending(&name, call, |target| target.stop_pod(&id));
            }
            for call in ["removal of the pod", "removal of the pod again"] {
                self.pod_ending(&name, call, |target| target.remove_pod(&id));
            }
        }
        self.judge(fault, true);
        self.run.containers = self
            .subjects
            .iter()
            .map(|subject| self.timeline(subject))
            .collect();
        self.events = None;
    }

    fn ending(
        &mut self,
        index: usize,
        call: &'static str,
        ends: impl FnOnce(&dyn Target) -> Answer<()>,
    ) -> Answer<()> {
        let name = self.subjects[index].name.clone();
        self.timed(name, call, ends)
    }

    fn pod_ending(
        &mut self,
        name: &str,
        call: &'static str,
        ends: impl FnOnce(&dyn Target) -> Answer<()>,
    ) {
        // Its answer is in the book of endings.
        drop(self.timed(format!("pod {name}"), call, ends));
    }

    fn timed(
        &mut self,
        subject: String,
        call: &'static str,
        ends: impl FnOnce(&dyn Target) -> Answer<()>,
    ) -> Answer<()> {
        let began = Instant::now();
        let answer = ends(self.target.as_ref());
        self.endings.push(Ending {
            subject,
            call,
            answer: answer.clone().map_err(|refusal| refusal.to_string()),
            took: began.elapsed(),
        });
        answer
    }

    fn timeline(&self, subject: &Subject) -> Timeline {
        let testimony = subject.pid.and_then(|pid| self.witness.of(pid));
        let exit = testimony.and_then(|is| Some((i32::from(is.exit?.get()), is.dead_at?)));
        Timeline {
            name: subject.name.clone(),
            workload: subject.workload.name(),
            states: subject.states.clone(),
            log_gaps: subject.log.gaps().to_vec(),
            kernel_exit: exit,
        }
    }
}
