//! kill -9 at every crash point that the source has, in the middle of a container's life.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::fault::Fault;
use crate::history::MarkKind;
use crate::target::{Answer, is_silence};
use crate::trial::{BYSTANDER, Trial};
use crate::workload::Workload;

/// Points that only a pod with a network of its own or an init passes: `tests/crash` has them.
const OF_OTHER_PODS: [&str; 11] = [
    "run_pod.init",
    "run_pod.init_recorded",
    "run_pod.init_started",
    "run_pod.network",
    "run_pod.network_added",
    "run_pod.network_adding",
    "stop_pod.init",
    "stop_pod.network",
    "stop_pod.network_added",
    "stop_pod.network_deleted",
    "stop_pod.network_deleting",
];

/// Points that are passed when a container's shim has died: `tests/crash` has them too.
const OF_DEAD_SHIMS: [&str; 2] = ["clean.shim_deleted", "stop.cleaned"];

/// Points that only a container of `outlive run -d --rm` passes: `tests/crash` has them.
const OF_UNATTENDED: [&str; 2] = ["remove_when_ended.begun", "remove_when_ended.logs"];

/// Points that a start of the manager passes only after it has died at another one.
const AFTER: [(&str, &str); 2] = [
    ("recover.persisted", "start.started"),
    ("recover.acted", "start.created"),
];

/// The calls to a shim, each of which has a point after it was sent.
const SENT: [&str; 6] = ["Create", "Start", "Kill", "Delete", "Shutdown", "Wait"];

/// The points that are named in the source.
fn named() -> BTreeSet<String> {
    let mut found: BTreeSet<String> = SENT.iter().map(|call| format!("sent.{call}")).collect();
    collect(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src/supervisor"),
        &mut found,
    );
    found
}

fn collect(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            for call in ["crash::point(\"", "crash::gate(\""] {
                let name = line
                    .split_once(call)
                    .and_then(|(_, rest)| rest.split_once('"'));
                found.extend(name.map(|(name, _)| name.to_owned()));
            }
        }
    }
}

/// A kill at each of them.
pub fn every_point(trial: &mut Trial) {
    if !trial.target.has_points() {
        println!("no crash points: this program was built without them");
        return;
    }
    let points = named();
    assert!(points.len() > 30, "{points:?}");
    let mut passed_by = Vec::new();
    for (serial, point) in points.iter().enumerate() {
        let elsewhere = [&OF_OTHER_PODS[..], &OF_DEAD_SHIMS, &OF_UNATTENDED];
        if elsewhere.concat().contains(&point.as_str()) {
            continue;
        }
        let fault = format!("kill at {point}");
        let mut was_passed = true;
        let first = AFTER.iter().find(|(second, _)| second == point);
        if let Some((_, first)) = first {
            in_life(trial, first, serial, &fault);
            Fault::dies_in_start(trial, point, &fault);
        } else if point.starts_with("recover.") {
            trial.kill(&fault);
            Fault::dies_in_start(trial, point, &fault);
        } else {
            was_passed = in_life(trial, point, serial, &fault);
        }
        if !was_passed {
            passed_by.push(point.clone());
        }
        trial.short_outage();
        trial.restart(&fault, None);
        trial.exec_in_bystander();
        trial.check(&fault);
        if !trial.run.violations.is_empty() {
            return;
        }
        clear(trial);
    }
    assert!(passed_by.is_empty(), "not passed: {passed_by:?}");
}

/// A pod, a container, its start, end and removal, until the manager dies of the point; whether it did.
fn in_life(trial: &mut Trial, point: &str, serial: usize, fault: &str) -> bool {
    trial.kill(fault);
    // The recovery of the bystander waits for its end too: that one is let by.
    let skipped = if point == "sent.Wait" { "1*off->" } else { "" };
    let armed = format!("{point}={skipped}return");
    trial.restart(fault, Some(&armed));
    // SIGTERM alone, which its program ignores, is sent where there is time for it.
    let seconds = u32::from(point == "stop.signalled");
    match life(trial, serial, seconds) {
        Err(refusal) if is_silence(&refusal) => {
            trial.target.crashed().unwrap();
            trial.mark(MarkKind::Killed, fault);
            true
        }
        _ => {
            trial.kill(fault);
            false
        }
    }
}

fn life(trial: &mut Trial, serial: usize, seconds: u32) -> Answer<()> {
    let pod = trial.run_pod(&format!("pod-{serial}"))?;
    let name = format!("victim-{serial}");
    let workload = Workload::Slow;
    let index = trial.subject(&name, workload);
    let answer = trial.target.create(&workload.spec(&name, &pod));
    trial.created(index, answer)?;
    let id = trial.id(index);
    let answer = trial.target.start(&id);
    trial.was_started(index, answer)?;
    trial.observe()?;
    let answer = trial.target.stop(&id, seconds);
    trial.was_stopped(index, answer)?;
    let answer = trial.target.remove(&id);
    trial.was_removed(index, answer)?;
    trial.end_last_pod(&pod)
}

/// Removes what the life left, so that the next one begins with the same.
fn clear(trial: &mut Trial) {
    for index in BYSTANDER + 1..trial.subjects.len() {
        if let Some(id) = trial.subjects[index]
            .id
            .clone()
            .filter(|_| trial.subjects[index].is_there())
        {
            let answer = trial.target.remove(&id);
            trial.was_removed(index, answer).unwrap();
        }
    }
    let own = trial.pod.clone();
    for (id, name) in trial.target.pods().unwrap() {
        if id != own {
            trial.target.stop_pod(&id).unwrap();
            trial.target.remove_pod(&id).unwrap();
            for pod in trial.pods.iter_mut().filter(|pod| pod.name == name) {
                pod.removed = crate::model::Told::Acknowledged;
            }
        }
    }
}
