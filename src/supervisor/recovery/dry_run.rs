//! `outlive recover --dry-run`: what a start would do, container by container, and why. Needs no supervisor, takes no
//! lock, writes nothing: it reads the disk and asks each shim for its task's state, as a start does.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::ask::Question;
use super::classify::{self, Action, Reported, Seen};
use super::load::{JudgedContainer, JudgedPod, Orphans, judge_containers, judge_pods};
use super::reconcile::state_word;
use super::scan::{Listed, scan};
use crate::supervisor::store::{ContainerStatus, Layout, Names, PodState};
use crate::types::Timestamp;

/// How long a shim's answer is waited for.
const WITHIN: Duration = Duration::from_secs(5);
/// How many shims are asked at a time.
const AT_A_TIME: usize = 64;

/// How a report is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// What a start would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Every container.
    pub containers: Vec<ContainerLine>,
    /// Every pod.
    pub pods: Vec<PodLine>,
    /// What would be removed for belonging to nobody.
    pub orphans: Vec<String>,
    /// What is no container's or pod's, and would be left alone.
    pub left_alone: Vec<String>,
    /// Why nothing is taken for an orphan that might be one.
    pub not_listed: Vec<String>,
}

/// One container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContainerLine {
    /// Its id.
    pub id: String,
    /// Its name in its pod; empty where its metadata cannot be believed.
    pub name: String,
    /// Its pod's id; empty likewise.
    pub pod: String,
    /// What the disk says.
    pub checkpoint: String,
    /// What its shim says.
    pub reported: String,
    /// What it would be.
    pub status: &'static str,
    /// What would be done, in this order.
    pub actions: Vec<&'static str>,
    /// Why, where that is not plain from the two.
    pub reason: String,
}

/// One pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PodLine {
    /// Its id.
    pub id: String,
    /// Its name; empty where its metadata cannot be believed.
    pub name: String,
    /// What the disk says.
    pub checkpoint: &'static str,
    /// What would be done.
    pub action: &'static str,
    /// Why.
    pub reason: String,
}

/// Finds out what a start over these directories would do, and prints it. Blocks.
///
/// # Errors
/// No thread of the runtime's, or `out`'s.
pub fn run(layout: &Layout, format: Format, out: &mut impl Write) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let report = runtime.block_on(Report::of(layout));
    match format {
        Format::Table => report.print(out),
        Format::Json => {
            serde_json::to_writer_pretty(&mut *out, &report)?;
            writeln!(out)
        }
    }
}

impl Report {
    /// Reads the disk and asks the shims.
    pub async fn of(layout: &Layout) -> Self {
        let scan = scan(layout);
        let orphans = Orphans::of(&scan);
        let names = Names::default();
        let pods = judge_pods(scan.pods, &names);
        let judged = judge_containers(scan.containers, &pods, &names);
        let turns = Arc::new(Semaphore::new(AT_A_TIME));
        let mut asked = JoinSet::new();
        for container in judged {
            asked.spawn(line(layout.clone(), container, Arc::clone(&turns)));
        }
        let mut containers = asked.join_all().await;
        containers.sort_by(|one, other| one.id.cmp(&other.id));
        let not_listed = [scan.containers_listed, scan.pods_listed];
        Self {
            containers,
            pods: pods.iter().map(pod_line).collect(),
            orphans: orphan_lines(layout, &orphans),
            left_alone: scan
                .strangers
                .iter()
                .map(|path| path.display().to_string())
                .collect(),
            not_listed: not_listed
                .into_iter()
                .filter_map(|listed| match listed {
                    Listed::Whole => None,
                    Listed::Partly(why) => Some(why),
                })
                .collect(),
        }
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let header = [
            "CONTAINER",
            "NAME",
            "CHECKPOINT",
            "SHIM",
            "BECOMES",
            "ACTIONS",
            "WHY",
        ];
        let rows = self.containers.iter().map(|line| {
            [
                short(&line.id).to_owned(),
                line.name.clone(),
                line.checkpoint.clone(),
                line.reported.clone(),
                line.status.to_owned(),
                line.actions.join(", "),
                line.reason.clone(),
            ]
        });
        table(out, header, rows.collect())?;
        if !self.pods.is_empty() {
            writeln!(out)?;
            let rows = self.pods.iter().map(|line| {
                [
                    short(&line.id).to_owned(),
                    line.name.clone(),
                    line.checkpoint.to_owned(),
                    line.action.to_owned(),
                    line.reason.clone(),
                ]
            });
            let header = ["POD", "NAME", "CHECKPOINT", "ACTION", "WHY"];
            table(out, header, rows.collect())?;
        }
        for (title, lines) in [
            ("Belongs to nobody, would be removed:", &self.orphans),
            ("Not ours, left alone:", &self.left_alone),
            (
                "Not readable, so nothing is taken for an orphan:",
                &self.not_listed,
            ),
        ] {
            if !lines.is_empty() {
                writeln!(out, "\n{title}")?;
                for line in lines {
                    writeln!(out, "  {line}")?;
                }
            }
        }
        Ok(())
    }
}

/// The first 13 characters, as containerd's clients show an id.
fn short(id: &str) -> &str {
    id.get(..13).unwrap_or(id)
}

fn table<const N: usize>(
    out: &mut impl Write,
    header: [&str; N],
    rows: Vec<[String; N]>,
) -> io::Result<()> {
    let header = header.map(str::to_owned);
    let all = || std::iter::once(&header).chain(&rows);
    let width = |column: usize| {
        let cells = all().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    for row in all() {
        let cells = row.iter().zip(&widths);
        let line: Vec<String> = cells
            .map(|(cell, &width)| format!("{cell:width$}"))
            .collect();
        writeln!(out, "{}", line.join("  ").trim_end())?;
    }
    Ok(())
}

async fn line(layout: Layout, container: JudgedContainer, turns: Arc<Semaphore>) -> ContainerLine {
    // Nobody closes it.
    let _turn = turns.acquire().await;
    let question = Question {
        bundle: layout.bundle(&container.id),
        id: container.id.clone(),
        started_at: container.seen.started_at(),
    };
    let reported = question.ask(Instant::now() + WITHIN).await.reported;
    let verdict = classify::reconcile(&container.seen, &reported, Timestamp::now());
    let (_, why) = verdict.status.reason();
    let mut reason = container.damage.clone().unwrap_or_default();
    if !reason.contains(why) {
        reason = [why, &reason].join("; ").trim_end_matches("; ").to_owned();
    }
    let name = |meta: &crate::supervisor::store::ContainerMeta| {
        meta.config.metadata.clone().unwrap_or_default().name
    };
    ContainerLine {
        id: container.id.to_string(),
        name: container.meta.as_ref().map(name).unwrap_or_default(),
        pod: container
            .meta
            .as_ref()
            .map(|meta| meta.pod.to_string())
            .unwrap_or_default(),
        checkpoint: match &container.seen {
            Seen::Known(status) => describe(status),
            Seen::Lost { .. } => "lost".to_owned(),
        },
        reported: heard(&reported),
        status: state_word(&verdict.status),
        actions: verdict.actions.into_iter().map(done).collect(),
        reason,
    }
}

fn describe(status: &ContainerStatus) -> String {
    let state = state_word(status);
    match status {
        ContainerStatus::Running { process, .. } => format!("{state} (pid {})", process.pid),
        ContainerStatus::Exited { exit, .. } => format!("{state} ({exit})"),
        ContainerStatus::Created { .. } | ContainerStatus::Unknown { .. } => state.to_owned(),
    }
}

fn heard(reported: &Reported) -> String {
    let word = reported.word();
    match reported {
        Reported::NoShim { exit: Some(entry) } => format!("{word} ({})", entry.status),
        Reported::Running(live) | Reported::Paused(live) => {
            format!("{word} (pid {})", live.process.pid)
        }
        Reported::Stopped(end) => format!("{word} ({})", end.exit),
        Reported::Unreachable(why) => format!("{word}: {why}"),
        Reported::NoShim { exit: None } | Reported::Created => word.to_owned(),
    }
}

const fn done(action: Action) -> &'static str {
    match action {
        Action::Write => "write status",
        Action::AnnounceStarted => "announce start",
        Action::AnnounceStopped => "announce stop",
        Action::DeleteTask => "delete task",
        Action::RemoveLeftovers => "remove what a shim left",
        Action::Monitor => "monitor",
        Action::Retry => "ask again later",
    }
}

fn pod_line(pod: &JudgedPod) -> PodLine {
    let (checkpoint, action, reason) = match &pod.checkpoint.state {
        PodState::Creating => ("CREATING", "undo", "its making was cut off".to_owned()),
        PodState::Ready => ("READY", "restore", String::new()),
        PodState::NotReady => ("NOTREADY", "keep", String::new()),
        PodState::Unknown(why) => ("UNKNOWN", "keep", why.clone()),
    };
    let name = pod
        .meta
        .as_ref()
        .and_then(|meta| meta.config.metadata.clone());
    PodLine {
        id: pod.id.to_string(),
        name: name.unwrap_or_default().name,
        checkpoint,
        action,
        reason,
    }
}

fn orphan_lines(layout: &Layout, orphans: &Orphans) -> Vec<String> {
    let bundles = orphans.bundles.iter().map(|id| {
        let dir = layout.bundle(id);
        format!("{} (task, shim and bundle)", dir.dir().display())
    });
    let namespaces = orphans
        .namespaces
        .iter()
        .map(|id| format!("{} (namespaces)", layout.pod_state(id).display()));
    let ends = orphans
        .ends
        .iter()
        .map(|id| format!("{} (an end that was kept)", layout.end(id).display()));
    let leftovers = orphans
        .leftovers
        .iter()
        .map(|path| path.display().to_string());
    let passing = bundles.chain(namespaces).chain(ends);
    passing.chain(leftovers).collect()
}

#[cfg(test)]
#[path = "tests/dry_run.rs"]
mod tests;
