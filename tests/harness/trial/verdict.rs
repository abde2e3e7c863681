//! What the invariants say of the run as it is, and what was in doubt is decided.

use std::collections::BTreeSet;

use super::{Trial, of};
use crate::history::{Check, Violation};
use crate::invariants::{self, Evidence, Finding};
use crate::model::Told;
use crate::support::poll;
use crate::target::Seen;
use crate::witness::now;

impl Trial {
    /// Checks every invariant as soon as the world is at rest, and decides what was in doubt.
    pub fn check(&mut self, fault: &str) {
        self.judge(fault, false);
        match self.observe() {
            Ok(seen) => {
                for subject in &mut self.subjects {
                    let its = of(&seen, subject).cloned();
                    subject.resolve(its.as_ref());
                }
                self.resolve_pods();
            }
            Err(refusal) => self.broken(format!("no list after {fault}: {refusal}")),
        }
        self.outages.clear();
        self.prompt.clear();
        // What was told by now need not be told again.
        self.connection.owed.clear();
    }

    fn resolve_pods(&mut self) {
        let listed = self.listed_pods();
        for pod in &mut self.pods {
            let is_there = listed.contains(&pod.name);
            if pod.created == Told::InDoubt {
                pod.created = if is_there {
                    Told::Acknowledged
                } else {
                    Told::Never
                };
            }
            if pod.removed == Told::InDoubt {
                pod.removed = if is_there {
                    Told::Never
                } else {
                    Told::Acknowledged
                };
            }
        }
    }

    fn listed_pods(&self) -> Vec<String> {
        let pods = self.target.pods().unwrap_or_default();
        pods.into_iter().map(|(_, name)| name).collect()
    }

    pub(super) fn judge(&mut self, fault: &str, is_at_rest: bool) {
        let mut findings = Vec::new();
        // What is violated once stays so, and is not waited for at each fault that follows.
        let limit = if self.run.violations.is_empty() {
            self.target.patience()
        } else {
            self.target.patience() / 50
        };
        let settled = poll::within(limit, || {
            findings = self.look(is_at_rest);
            if findings
                .iter()
                .all(|(_, found)| found.as_ref().is_none_or(Vec::is_empty))
            {
                Ok(())
            } else {
                Err(String::new())
            }
        });
        for (invariant, found) in findings {
            let Some(found) = found else { continue };
            self.count(fault, invariant, !found.is_empty());
            for finding in found {
                self.violated(fault, invariant, finding);
            }
        }
        if settled.is_err() && self.run.log.is_empty() {
            self.run.log = self.target.log_tail();
        }
        for subject in &mut self.subjects {
            subject.sticky.clear();
        }
    }

    /// One look at everything.
    fn look(&mut self, is_at_rest: bool) -> Vec<(u8, Option<Vec<Finding>>)> {
        let seen = match self.observe() {
            Ok(seen) => seen,
            Err(refusal) => {
                let finding = Finding {
                    subject: "list".to_owned(),
                    expected: "an answer".to_owned(),
                    saw: refusal.to_string(),
                };
                return vec![(1, Some(vec![finding]))];
            }
        };
        for subject in &mut self.subjects {
            subject.log.read();
        }
        if let Some(events) = &mut self.events {
            self.connection.told = events.so_far();
        }
        let traces = self.unexplained(&seen, is_at_rest);
        let listed_pods = self.listed_pods();
        let cgroup = self.target.cgroup();
        let evidence = Evidence {
            cgroup: &cgroup,
            pods: &self.pods,
            listed_pods: &listed_pods,
            subjects: &self.subjects,
            witness: &self.witness,
            seen: &seen,
            outages: &self.outages,
            reopened: &self.reopened,
            endings: &self.endings,
            connection: self.events.as_ref().map(|_| &self.connection),
            prompt: &self.prompt,
            traces: Some(&traces),
            is_at_rest,
        };
        let mut found: Vec<_> = (1..)
            .zip(invariants::ALL)
            .map(|(number, check)| (number, check(&evidence)))
            .collect();
        let delayed = self.subjects.iter().flat_map(|subject| {
            let name = subject.name.clone();
            let of_11 = subject.sticky.iter().filter(|(number, _, _)| *number == 11);
            of_11.map(move |(_, expected, saw)| Finding {
                subject: name.clone(),
                expected: expected.clone(),
                saw: saw.clone(),
            })
        });
        if let Some((_, Some(found))) = found.iter_mut().find(|(number, _)| *number == 11) {
            found.extend(delayed);
        }
        found
    }

    /// The traces in the kernel that belong to no container and no pod that is listed.
    fn unexplained(&self, seen: &[Seen], is_at_rest: bool) -> BTreeSet<String> {
        let mut traces = self.target.traces();
        if is_at_rest {
            return traces;
        }
        let mut ids: Vec<String> = seen.iter().map(|seen| seen.id.clone()).collect();
        // A subject whose removal was not answered may still be on its way.
        ids.extend(
            self.target
                .pods()
                .unwrap_or_default()
                .into_iter()
                .map(|(id, _)| id),
        );
        traces.retain(|trace| {
            !trace.starts_with("socket") && !ids.iter().any(|id| trace.contains(id.as_str()))
        });
        traces
    }

    fn count(&mut self, fault: &str, invariant: u8, is_violated: bool) {
        let checks = &mut self.run.checks;
        let found = checks
            .iter()
            .position(|check| check.fault == fault && check.invariant == invariant);
        let index = found.unwrap_or_else(|| {
            checks.push(Check {
                fault: fault.to_owned(),
                invariant,
                checked: 0,
                violated: 0,
            });
            checks.len() - 1
        });
        checks[index].checked += 1;
        checks[index].violated += u32::from(is_violated);
    }

    /// Says that an invariant does not hold; for what a scenario sees by itself.
    pub fn violated(&mut self, fault: &str, invariant: u8, finding: Finding) {
        let is_known = self.run.violations.iter().any(|known| {
            known.invariant == invariant
                && known.subject == finding.subject
                && known.saw == finding.saw
        });
        if !is_known {
            self.run.violations.push(Violation {
                invariant,
                fault: fault.to_owned(),
                subject: finding.subject,
                expected: finding.expected,
                saw: finding.saw,
                at: now(),
            });
        }
    }

    fn broken(&mut self, why: String) {
        self.run.broken.get_or_insert(why);
    }
}
