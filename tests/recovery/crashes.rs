//! A supervisor that dies while it recovers: the next recovery comes to the same.

use std::collections::HashMap;
use std::fs;

use outlive::api::cri::ContainerState as State;
use outlive::bundle::Read;
use outlive::supervisor::store::{Activity, Checkpoint, ContainerStatus};

use crate::scene::is_alive;
use crate::support::poll;
use crate::support::supervisor_calls::pid;
use crate::world::{Runs, World};

/// One container for each way out, all left by one crash.
struct Left {
    world: World,
    created: String,
    exited: String,
    running: Runs,
    paused: Runs,
    stopped: Runs,
    recorded: Runs,
    vanished: Runs,
    lost: Runs,
    orphan: Runs,
    /// Each end that was on disk once.
    ends: HashMap<String, ContainerStatus>,
}

impl Left {
    fn make() -> Self {
        let mut world = World::new();
        let exited = world.run("exited");
        world.end(&exited);
        world
            .supervisor
            .until_state(&exited.id, State::ContainerExited);
        let left = |name| world.run(name);
        let (running, paused, stopped) = (left("running"), left("paused"), left("stopped"));
        let (recorded, vanished) = (left("recorded"), left("vanished"));
        let (lost, orphan) = (left("lost"), left("orphan"));
        let created = world.create("created");
        world.supervisor.kill9();
        world.pause(&paused);
        world.end_recorded(&stopped);
        world.end_recorded(&recorded);
        recorded.kill_shim();
        vanished.kill_shim();
        fs::remove_file(world.supervisor.status_file(&lost.id)).unwrap();
        fs::remove_dir_all(world.container_dir(&orphan.id)).unwrap();
        Self {
            world,
            created,
            exited: exited.id,
            running,
            paused,
            stopped,
            recorded,
            vanished,
            lost,
            orphan,
            ends: HashMap::new(),
        }
    }

    /// Starts with a crash point; true where the supervisor died of it, false where it was not reached any more.
    fn crashes(&mut self, point: &str, passes: u32) -> bool {
        let supervisor = &mut self.world.supervisor;
        supervisor.options().failpoints = Some(format!("{point}={passes}*off->return"));
        let log = supervisor.log().len();
        supervisor.spawn();
        supervisor.options().failpoints = None;
        let pid = i32::try_from(supervisor.pid()).unwrap();
        // The orphan is the last thing that is seen to.
        let done = "removed the task and bundle of no known container";
        let is_last = point == "recover.orphans";
        let has_died = poll::until("a crash, or the end of recovery", || {
            let log = supervisor.log()[log..].to_owned();
            if !is_alive(pid) {
                Ok(true)
            } else if !is_last && (log.contains(done) || log.contains("every container was asked"))
            {
                Ok(false)
            } else {
                Err(log)
            }
        });
        if has_died {
            supervisor.crashed();
        } else {
            supervisor.kill9();
        }
        self.ends_stay();
        has_died
    }

    /// No end that was on disk before is another one now.
    fn ends_stay(&mut self) {
        let runs = [&self.stopped, &self.recorded, &self.vanished];
        let ids = runs.map(|runs| runs.id.clone());
        for id in ids.into_iter().chain([self.exited.clone()]) {
            let read = Checkpoint::read(&self.world.supervisor.status_file(&id));
            let Read::Found(checkpoint) = read else {
                panic!("{read:?}");
            };
            if let end @ ContainerStatus::Exited { .. } = checkpoint.status {
                let first = self.ends.entry(id).or_insert_with(|| end.clone());
                assert_eq!(first, &end);
            }
        }
    }

    /// All is as one recovery without a crash would have left it.
    fn is_recovered(&mut self) {
        self.world.restart();
        let world = &self.world;
        let supervisor = &world.supervisor;
        for runs in [&self.running, &self.paused] {
            assert_eq!(supervisor.status(&runs.id), runs.shown);
            let pid = pid(supervisor, &runs.id);
            assert_eq!(pid, u64::try_from(runs.init).unwrap());
        }
        let saved = supervisor.checkpoint(&self.paused.id).status;
        let is_paused = matches!(
            saved,
            ContainerStatus::Running {
                activity: Activity::Paused,
                ..
            }
        );
        assert!(is_paused, "{saved:?}");
        assert_eq!(world.state(&self.created), State::ContainerCreated);
        assert_eq!(world.state(&self.lost.id), State::ContainerUnknown);
        assert!(is_alive(self.lost.init));
        for (id, code) in [
            (&self.exited, 7),
            (&self.stopped.id, 7),
            (&self.recorded.id, 7),
            (&self.vanished.id, 255),
        ] {
            let shown = supervisor.status(id);
            assert_eq!(shown.state(), State::ContainerExited);
            assert_eq!(shown.exit_code, code);
        }
        poll::until("the orphan is removed", || {
            let orphan = &self.orphan;
            let dir = supervisor.bundle_dir(&orphan.id);
            let is_there = dir.exists() || is_alive(orphan.init) || is_alive(orphan.shim);
            if is_there {
                Err(world.log_of(&orphan.id))
            } else {
                Ok(())
            }
        });
        for id in [&self.stopped.id, &self.recorded.id, &self.vanished.id] {
            assert!(!supervisor.bundle_dir(id).exists(), "{}", world.log_of(id));
        }
        for id in [&self.lost.id, &self.created] {
            supervisor.stop_container(id).unwrap();
            supervisor.remove_container(id).unwrap();
        }
        self.ends_stay();
    }
}

/// Dies at a point again and again, later each time, and recovers then.
fn recovers_after(point: &str, passes: &[u32]) {
    let mut left = Left::make();
    for (attempt, &passes) in passes.iter().enumerate() {
        let has_died = left.crashes(point, passes);
        assert!(has_died || attempt > 0, "{point} was never reached");
    }
    left.is_recovered();
}

#[test]
fn a_crash_when_all_is_loaded_changes_nothing() {
    recovers_after("recover.loaded", &[0]);
}

#[test]
fn a_crash_when_a_shim_was_asked_changes_nothing() {
    recovers_after("recover.asked", &[0, 2, 6]);
}

#[test]
fn a_crash_when_a_status_was_written_changes_nothing() {
    recovers_after("recover.persisted", &[0, 0, 1]);
}

#[test]
fn a_crash_before_an_end_is_announced_changes_nothing() {
    recovers_after("exit.recorded", &[0, 1]);
}

#[test]
fn a_crash_when_a_verdict_was_carried_out_changes_nothing() {
    recovers_after("recover.acted", &[0, 2, 6]);
}

#[test]
fn a_crash_when_a_task_was_deleted_changes_nothing() {
    recovers_after("clean.deleted", &[0]);
}

#[test]
fn a_crash_when_a_dead_shim_was_cleaned_up_after_changes_nothing() {
    recovers_after("clean.shim_deleted", &[0, 0]);
}

#[test]
fn a_crash_before_orphans_are_removed_changes_nothing() {
    recovers_after("recover.orphans", &[0, 0]);
}
