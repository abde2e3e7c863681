//! Files that are missing, damaged, of another version or in each other's way: nothing is dropped for them, and nothing
//! that is not certainly nobody's is removed.

use std::fs;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use outlive::api::cri::ContainerState as State;
use outlive::supervisor::store::ContainerStatus;
use outlive::supervisor::store::new_id;

use crate::scene::is_alive;
use crate::support::poll;
use crate::support::supervisor_calls::pid;
use crate::world::{Runs, World};

fn is_untouched(world: &World, runs: &Runs) {
    assert!(is_alive(runs.init) && is_alive(runs.shim));
    assert!(world.bundle(&runs.id).dir().exists());
    assert!(world.container_dir(&runs.id).exists());
}

#[test]
fn metadata_that_cannot_be_believed_is_unknown_kept_watched_and_removable() {
    let mut world = World::new();
    let damage = ["torn", "empty", "future", "another", "directory", "noise"];
    let all = damage.map(|kind| (kind, world.run(kind)));
    world.supervisor.kill9();
    for (kind, runs) in &all {
        let path = world.container_dir(&runs.id).join("container.json");
        let text = fs::read(&path).unwrap();
        match *kind {
            "torn" => fs::write(&path, &text[..text.len() / 2]).unwrap(),
            "empty" => fs::write(&path, "").unwrap(),
            "future" => fs::write(&path, r#"{"version":4711,"soul":"none"}"#).unwrap(),
            "another" => {
                let other = world.container_dir(&all[0].1.id).join("container.json");
                let text = fs::read_to_string(&path).unwrap();
                let id = new_id().unwrap();
                assert!(other.exists() && text.contains(&runs.id));
                fs::write(&path, text.replace(&runs.id, id.as_str())).unwrap();
            }
            "directory" => {
                fs::remove_file(&path).unwrap();
                fs::create_dir(&path).unwrap();
            }
            _ => fs::write(&path, [0xff; 100]).unwrap(),
        }
    }
    for _ in 0..2 {
        world.restart();
        for (kind, runs) in &all {
            let shown = world.supervisor.status(&runs.id);
            assert_eq!(shown.state(), State::ContainerUnknown, "{kind}");
            assert!(shown.message.contains("container.json"), "{shown:?}");
            assert_eq!(shown.started_at, runs.shown.started_at, "{kind}");
            let pid = pid(&world.supervisor, &runs.id);
            assert_eq!(pid, u64::try_from(runs.init).unwrap());
            is_untouched(&world, runs);
        }
        world.supervisor.kill9();
    }
    world.restart();
    for (kind, runs) in &all {
        if *kind == "torn" {
            world.end(runs);
        } else {
            world.supervisor.stop_container(&runs.id).unwrap();
        }
        let ended = world
            .supervisor
            .until_state(&runs.id, State::ContainerExited);
        assert_eq!(ended.exit_code, if *kind == "torn" { 7 } else { 137 });
        world.supervisor.remove_container(&runs.id).unwrap();
        assert!(!world.container_dir(&runs.id).exists());
    }
}

#[test]
fn of_two_containers_with_one_name_the_later_is_quarantined() {
    let mut world = World::new();
    let first = world.run("twin");
    world.supervisor.kill9();
    let second = new_id().unwrap();
    world.supervisor.note(second.as_str());
    let (from, to) = (
        world.container_dir(&first.id),
        world.container_dir(second.as_str()),
    );
    fs::create_dir(&to).unwrap();
    let text = fs::read_to_string(from.join("container.json")).unwrap();
    let created = world.supervisor.status_file(&first.id);
    let mut meta: serde_json::Value = serde_json::from_str(&text).unwrap();
    meta["id"] = second.as_str().into();
    meta["created_at"] = (meta["created_at"].as_u64().unwrap() + 1).into();
    fs::write(to.join("container.json"), meta.to_string()).unwrap();
    fs::copy(created, to.join("status.json")).unwrap();
    for _ in 0..2 {
        world.restart();
        assert_eq!(world.supervisor.status(&first.id), first.shown);
        let shown = world.supervisor.status(second.as_str());
        assert_eq!(shown.state(), State::ContainerUnknown);
        assert!(shown.message.contains(&first.id), "{shown:?}");
        assert_eq!(world.supervisor.listed().len(), 2);
        world.supervisor.kill9();
    }
    world.restart();
    world.supervisor.stop_container(second.as_str()).unwrap();
    world.supervisor.remove_container(second.as_str()).unwrap();
    assert_eq!(world.supervisor.status(&first.id), first.shown);
    is_untouched(&world, &first);
}

#[test]
fn the_task_of_no_container_is_removed_with_its_shim() {
    let mut world = World::new();
    let (orphan, other) = (world.run("orphan"), world.run("other"));
    let dead = world.run("dead");
    world.supervisor.kill9();
    dead.kill_shim();
    for runs in [&orphan, &dead] {
        fs::remove_dir_all(world.container_dir(&runs.id)).unwrap();
    }
    let containers = world.supervisor.root().join("containers");
    for name in [".new-", ".gone-"] {
        fs::create_dir(containers.join(format!("{name}{}", orphan.id))).unwrap();
    }
    fs::create_dir(containers.join("somebody's")).unwrap();
    world.restart();
    poll::until("the orphans are removed", || {
        let there = |runs: &&Runs| {
            is_alive(runs.init) || is_alive(runs.shim) || world.bundle(&runs.id).dir().exists()
        };
        let entries = fs::read_dir(&containers).unwrap().count();
        if [&orphan, &dead].iter().any(there) || entries != 2 {
            Err(world.supervisor.log_tail())
        } else {
            Ok(())
        }
    });
    is_untouched(&world, &other);
    assert_eq!(world.supervisor.status(&other.id), other.shown);
    assert_eq!(world.supervisor.listed().len(), 1);
    fs::remove_dir(containers.join("somebody's")).unwrap();
}

#[test]
fn containers_that_cannot_be_listed_are_no_orphans() {
    let mut world = World::new();
    let runs = world.run("c");
    world.supervisor.kill9();
    let (containers, kept) = (
        world.supervisor.root().join("containers"),
        world.supervisor.root().join("kept"),
    );
    fs::rename(&containers, &kept).unwrap();
    // Twice: what the first start makes must not mislead the second.
    for _ in 0..2 {
        world.restart();
        assert_eq!(world.supervisor.listed().len(), 0);
        until_logged(&world, "what nothing is known of is kept");
        assert!(is_alive(runs.init) && is_alive(runs.shim));
        world.supervisor.kill9();
    }
    fs::rename(&kept, &containers).unwrap();
    world.restart();
    assert_eq!(world.supervisor.status(&runs.id), runs.shown);
}

fn until_logged(world: &World, text: &str) {
    poll::until(text, || {
        if world.supervisor.log().contains(text) {
            Ok(())
        } else {
            Err(world.supervisor.log_tail())
        }
    });
}

#[test]
fn a_record_of_exits_that_cannot_be_read_is_no_end_and_deletes_nothing() {
    let mut world = World::new();
    let runs = world.run("c");
    world.supervisor.kill9();
    world.end_recorded(&runs);
    runs.kill_shim();
    let exits = world.bundle(&runs.id).exits();
    let text = fs::read(&exits).unwrap();
    fs::write(&exits, b"garbage").unwrap();
    world.restart();
    let shown = world.supervisor.status(&runs.id);
    assert_eq!(shown.state(), State::ContainerUnknown);
    assert!(shown.message.contains("exits"), "{shown:?}");
    assert!(exits.exists());
    // And is asked again: it may become readable.
    fs::write(&exits, text).unwrap();
    let ended = world
        .supervisor
        .until_state(&runs.id, State::ContainerExited);
    assert_eq!(
        (ended.exit_code, ended.started_at),
        (7, runs.shown.started_at)
    );
}

#[test]
fn an_address_that_cannot_be_read_is_no_dead_shim() {
    let mut world = World::new();
    let runs = world.run("c");
    let stopped = world.run("stopped");
    world.supervisor.kill9();
    let paths = [&runs, &stopped].map(|runs| world.bundle(&runs.id).address());
    let text = paths.each_ref().map(|path| fs::read(path).unwrap());
    for path in &paths {
        fs::write(path, "tcp://nowhere").unwrap();
    }
    for _ in 0..2 {
        world.restart();
        for runs in [&runs, &stopped] {
            assert_eq!(world.state(&runs.id), State::ContainerUnknown);
            is_untouched(&world, runs);
        }
        world.supervisor.kill9();
    }
    world.restart();
    // Nothing is known of the shim's whereabouts: it and all that it had goes.
    world.supervisor.stop_container(&stopped.id).unwrap();
    assert_eq!(world.state(&stopped.id), State::ContainerExited);
    assert!(!is_alive(stopped.init));
    fs::write(&paths[0], &text[0]).unwrap();
    let back = world
        .supervisor
        .until_state(&runs.id, State::ContainerRunning);
    assert_eq!(back, runs.shown);
}

/// A directory that nothing can be written to while this lives.
struct ReadOnly<'a>(&'a Path);

impl<'a> ReadOnly<'a> {
    fn make(path: &'a Path) -> Self {
        let none = None::<&str>;
        mount(Some(path), path, none, MsFlags::MS_BIND, none).unwrap();
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(none, path, none, flags, none).unwrap();
        Self(path)
    }
}

impl Drop for ReadOnly<'_> {
    fn drop(&mut self) {
        umount2(self.0, MntFlags::MNT_DETACH).unwrap();
    }
}

#[test]
fn a_checkpoint_that_cannot_be_written_is_shown_and_written_later() {
    let mut world = World::new();
    let runs = world.run("c");
    world.supervisor.kill9();
    world.end_recorded(&runs);
    let dir = world.container_dir(&runs.id);
    let read_only = ReadOnly::make(&dir);
    world.restart();
    let ended = world.supervisor.status(&runs.id);
    assert_eq!(
        (ended.state(), ended.exit_code),
        (State::ContainerExited, 7)
    );
    let saved = || world.supervisor.checkpoint(&runs.id).status;
    assert!(matches!(saved(), ContainerStatus::Running { .. }));
    drop(read_only);
    poll::until("the status is written", || match saved() {
        ContainerStatus::Exited { .. } => Ok(()),
        other => Err(format!("{other:?}")),
    });
    world.crash_and_restart();
    assert_eq!(world.supervisor.status(&runs.id), ended);
}

#[test]
fn an_end_that_could_not_be_written_is_not_forgotten_by_a_crash() {
    let mut world = World::new();
    let runs = world.run("c");
    world.supervisor.kill9();
    world.end_recorded(&runs);
    let dir = world.container_dir(&runs.id);
    let read_only = ReadOnly::make(&dir);
    world.restart();
    let ended = world.supervisor.status(&runs.id);
    assert_eq!(
        (ended.state(), ended.exit_code),
        (State::ContainerExited, 7)
    );
    world.supervisor.kill9();
    drop(read_only);
    world.restart();
    assert_eq!(world.supervisor.status(&runs.id), ended);
}

#[test]
fn an_end_that_could_not_be_written_when_it_was_seen_is_not_forgotten_by_a_crash() {
    let mut world = World::new();
    let (ends, stops) = (world.run("ends"), world.run("stops"));
    let dirs = [&ends, &stops].map(|runs| world.container_dir(&runs.id));
    let read_only = dirs.each_ref().map(|dir| ReadOnly::make(dir));
    world.end(&ends);
    world.supervisor.stop_container(&stops.id).unwrap();
    let exited = State::ContainerExited;
    let seen = [&ends, &stops].map(|runs| world.supervisor.until_state(&runs.id, exited));
    assert_eq!(seen.each_ref().map(|status| status.exit_code), [7, 137]);
    world.supervisor.kill9();
    drop(read_only);
    world.restart();
    for before in &seen {
        assert_eq!(&world.supervisor.status(&before.id), before);
        assert!(!world.bundle(&before.id).dir().exists());
    }
}
