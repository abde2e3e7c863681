//! An end that was told while ROOT took nothing is the end that the next start finds, whatever the disk says.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use outlive::api::cri::{self, ContainerState as State};

use crate::faults::disk::SmallDisk;
use crate::faults::failing::{FailingDisk, FailsAt};
use crate::faults::shim::Shim;
use crate::served::{PROGRAM, end};
use crate::support::poll;
use crate::support::supervisor::{Options, Supervisor};
use crate::support::supervisor_calls::{remove, stop};

/// A disk of either kind, on a directory that goes with it.
struct Disk {
    change: Box<dyn FnMut(Change)>,
    at: PathBuf,
}

/// How a disk is.
pub enum Health {
    Broken,
    Well,
}

enum Change {
    To(Health),
    Removal,
}

impl Disk {
    fn full() -> Self {
        let at = place("full");
        let mut disk = Some(SmallDisk::mount(&at, 32 << 20));
        let change = move |change| match (change, &disk) {
            (Change::To(Health::Broken), Some(disk)) => disk.fill(),
            (Change::To(Health::Well), Some(disk)) => disk.free(),
            (Change::Removal, _) | (_, None) => disk = None,
        };
        Self {
            change: Box::new(change),
            at,
        }
    }

    fn failing(fails_at: FailsAt) -> Self {
        let at = place("failing");
        let mut disk = Some(FailingDisk::mount(&at, fails_at));
        let change = move |change| match (change, &mut disk) {
            (Change::To(Health::Broken), Some(disk)) => disk.fail(),
            (Change::To(Health::Well), Some(disk)) => disk.heal(),
            (Change::Removal, _) | (_, None) => disk = None,
        };
        Self {
            change: Box::new(change),
            at,
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        (self.change)(Change::Removal);
        fs::remove_dir(&self.at).unwrap();
    }
}

fn place(kind: &str) -> PathBuf {
    let name = format!("outlive-faults-root-{kind}-{}", std::process::id());
    let at = std::env::temp_dir().join(name);
    let thread = std::thread::current();
    let at = at.with_extension(thread.name().unwrap_or_default().replace("::", "-"));
    fs::create_dir(&at).unwrap();
    at
}

/// A supervisor whose ROOT is on `disk`.
fn on(disk: &Disk) -> Supervisor {
    let mut supervisor = Supervisor::start(Options::default());
    assert!(supervisor.stop().success());
    fs::remove_dir_all(supervisor.root()).unwrap();
    symlink(&disk.at, supervisor.root()).unwrap();
    supervisor.restart();
    supervisor.load_busybox();
    supervisor
}

fn start(supervisor: &Supervisor, id: &str) -> Result<(), tonic::Status> {
    let (mut runtime, _) = supervisor.client();
    let request = cri::StartContainerRequest {
        container_id: id.to_owned(),
    };
    supervisor.wait(runtime.start_container(request)).map(drop)
}

fn holds(mut disk: Disk) {
    let mut supervisor = on(&disk);
    let pod = supervisor.run_pod("pod");
    let before = |name| supervisor.run(&pod, name, &PROGRAM);
    let [ends, stops, orphaned, removed] = ["ends", "stops", "orphaned", "removed"].map(before);
    let created = supervisor.create(&pod, "created", &PROGRAM);
    (disk.change)(Change::To(Health::Broken));
    start(&supervisor, &created).unwrap_err();
    end(&supervisor, &ends);
    stop(&supervisor, &stops, 0).unwrap();
    Shim::of(&orphaned).unwrap().kill9();
    remove(&supervisor, &removed).unwrap();
    let told = [&created, &ends, &stops, &orphaned];
    let told = told.map(|id| supervisor.until_state(id, State::ContainerExited));
    let codes = told.each_ref().map(|status| status.exit_code);
    assert_eq!(codes, [128, 7, 137, 255]);
    for health in [None, None, Some(Health::Well), None] {
        supervisor.kill9();
        supervisor.restart();
        // At the first call, not only when their shims were asked.
        for status in &told {
            assert_eq!(&supervisor.status(&status.id), status);
        }
        let Some(health) = health else {
            continue;
        };
        (disk.change)(Change::To(health));
        poll::until("every end is where it belongs", || {
            let kept = fs::read_dir(supervisor.state().join("ends"))
                .unwrap()
                .count();
            if kept == 0 {
                Ok(())
            } else {
                Err(format!("{kept} are not"))
            }
        });
    }
    drop(supervisor);
    drop(disk);
}

#[test]
fn ends_that_a_full_disk_did_not_take_are_kept() {
    holds(Disk::full());
}

#[test]
fn ends_that_a_disk_did_not_write_are_kept() {
    holds(Disk::failing(FailsAt::Write));
}

#[test]
fn ends_that_a_disk_did_not_synchronise_are_kept() {
    holds(Disk::failing(FailsAt::Fsync));
}
