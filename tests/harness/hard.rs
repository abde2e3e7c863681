//! The scenarios whose faults are of one kind of manager or machine: disks, damage, reboots, clocks, pids, umounts,
//! upgrades. Each is carried out by the kernel ([`crate::faults`]) on the supervisor.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::mount::MsFlags;

use crate::fault::{ends, until_dead};
use crate::faults::clock::Clock;
use crate::faults::damage::{Damage, StaleSocket};
use crate::faults::disk::SmallDisk;
use crate::faults::failing::{FailingDisk, FailsAt};
use crate::faults::mount_copy::MountCopy;
use crate::faults::pid_reuse::Bystander;
use crate::faults::reboot::reboot;
use crate::faults::shim::Shim;
use crate::faults::slow_umount::SlowUmount;
use crate::faults::upgrade::Builds;
use crate::history::{MarkKind, Run};
use crate::model::Told;
use crate::scenario::{Start, on_target};
use crate::scenarios::{Play, Scenario};
use crate::supervisor_target::Outlive;
use crate::support::poll;
use crate::support::supervisor::{Options, Supervisor, program};
use crate::target::Target;
use crate::trial::{BYSTANDER, Trial};
use crate::workload::Workload;

const OBEDIENT: Workload = Workload::Obedient { code: 9 };

/// All there are.
pub fn all() -> Vec<Scenario> {
    vec![
        plain("damaged files", true, damaged),
        plain("stale sockets", true, stale_sockets),
        plain("pids of others", true, reused_pids),
        plain("reboot", true, rebooted),
        plain("slow umount", true, slow_umount),
        plain("copy of a slow mount", true, copy_of_a_slow_mount),
        own("clock steps", true, clock_steps),
        own("two builds in turn", true, two_builds),
        own("full state disk", true, |name, repeat| {
            state_disk(name, repeat, Disk::full())
        }),
        own("EIO on the state disk", false, |name, repeat| {
            state_disk(name, repeat, Disk::failing(FailsAt::Write))
        }),
        own("EIO on fsync of the state disk", false, |name, repeat| {
            state_disk(name, repeat, Disk::failing(FailsAt::Fsync))
        }),
        own("full log disk", true, |name, repeat| {
            log_disk(name, repeat, Disk::full())
        }),
        own("EIO on the log disk", false, |name, repeat| {
            log_disk(name, repeat, Disk::failing(FailsAt::Write))
        }),
    ]
}

fn plain(name: &str, is_quick: bool, body: fn(&mut Trial)) -> Scenario {
    let named = name.to_owned();
    let run = move |repeat: &str, start: &Start<'_>| on_target(&named, repeat, start, body);
    scenario(name, is_quick, Box::new(run))
}

/// One that starts its supervisor itself.
fn own(name: &str, is_quick: bool, run: fn(&str, &str) -> Run) -> Scenario {
    let named = name.to_owned();
    scenario(
        name,
        is_quick,
        Box::new(move |repeat, _| run(&named, repeat)),
    )
}

fn scenario(name: &str, is_quick: bool, run: Play) -> Scenario {
    Scenario {
        name: name.to_owned(),
        is_quick,
        needs_outlive: true,
        is_containerds: false,
        run,
    }
}

fn supervisor(trial: &mut Trial) -> &mut Supervisor {
    trial
        .target
        .as_any()
        .downcast_mut::<Outlive>()
        .expect("the scenario is the supervisor's")
        .supervisor()
}

/// From here on nobody sees how the container ends, or has ended.
fn loses_its_witness(trial: &mut Trial, index: usize) {
    let subject = &mut trial.subjects[index];
    subject.has_no_witness = true;
    subject.may_end = true;
    subject.may_lose_lines();
}

/// Status and metadata, torn, missing, empty and of another version; what is put back is believed again.
fn damaged(trial: &mut Trial) {
    let subject = trial.launch("subject", Workload::Slow);
    let dir = supervisor(trial)
        .root()
        .join("containers")
        .join(trial.id(subject));
    for damage in Damage::ALL {
        for file in ["status.json", "container.json"] {
            let fault = format!("{file} {damage:?}");
            trial.kill(&fault);
            let damaged = damage.apply(&dir.join(file));
            trial.subjects[subject].may_be_unknown = true;
            trial.outage();
            trial.restart(&fault, None);
            trial.exec_in_bystander();
            trial.check(&fault);
            trial.kill(&fault);
            drop(damaged);
            trial.subjects[subject].may_be_unknown = false;
            trial.restart(&fault, None);
            trial.check(&format!("{file} is put back"));
        }
    }
    // Stop and Remove of what nothing is known of.
    let fault = "status.json is gone for good";
    trial.kill(fault);
    Damage::Missing.apply(&dir.join("status.json")).keep();
    trial.subjects[subject].may_be_unknown = true;
    trial.restart(fault, None);
    trial.check(fault);
}

/// Sockets that nobody listens on, the shim's and the supervisor's own.
fn stale_sockets(trial: &mut Trial) {
    let subject = trial.launch("subject", Workload::Slow);
    let id = trial.id(subject);
    let state = supervisor(trial).state();
    let address = fs::read_to_string(state.join("tasks").join(&id).join("address")).unwrap();
    let socket = PathBuf::from(address.trim().strip_prefix("unix://").unwrap());
    let fault = "stale sockets";
    trial.kill(fault);
    Shim::of(&id).unwrap().kill9();
    loses_its_witness(trial, subject);
    let own = supervisor(trial).socket();
    let stale = [StaleSocket::put(&socket), StaleSocket::put(&own)];
    trial.outage();
    trial.restart(fault, None);
    trial.exec_in_bystander();
    trial.check(fault);
    drop(stale);
    trial.check("stale sockets are gone");
}

/// The pid of a container, whose shim is dead too, is another's when its supervisor is back.
fn reused_pids(trial: &mut Trial) {
    let subject = trial.launch("subject", OBEDIENT);
    let (id, pid) = (trial.id(subject), trial.subjects[subject].pid.unwrap());
    let fault = "the pid is another's";
    let shim = Shim::of(&id).unwrap();
    trial.kill(fault);
    loses_its_witness(trial, subject);
    shim.kill9();
    ends(trial, subject);
    let mut others = [
        Bystander::with_pid(pid).unwrap(),
        Bystander::with_pid(shim.pid()).unwrap(),
    ];
    trial.mark(MarkKind::Fault, fault);
    trial.restart(fault, None);
    trial.exec_in_bystander();
    trial.check(fault);
    let answer = trial.target.stop(&id, 0);
    trial.was_stopped(subject, answer).unwrap();
    let answer = trial.target.remove(&id);
    trial.was_removed(subject, answer).unwrap();
    assert!(
        others.iter_mut().all(Bystander::is_alive),
        "a process that had the pid of a container was signalled"
    );
}

/// Everything in /run is gone; what was created or has ended is as it was, what ran has ended.
fn rebooted(trial: &mut Trial) {
    let runs = trial.launch("runs", Workload::Slow);
    let ended = trial.launch("ended", OBEDIENT);
    ends(trial, ended);
    trial.create("created", Workload::Slow);
    trial.check("before");
    let fault = "reboot";
    trial.kill(fault);
    reboot(supervisor(trial));
    for index in [BYSTANDER, runs] {
        loses_its_witness(trial, index);
    }
    trial.mark(MarkKind::Fault, fault);
    for _ in 0..2 {
        trial.restart(fault, None);
        trial.check(fault);
        trial.kill(fault);
    }
    trial.restart(fault, None);
}

/// A umount(2) that waits for a disk: its own container waits, and nobody else.
fn slow_umount(trial: &mut Trial) {
    let subject = trial.launch("subject", OBEDIENT);
    let id = trial.id(subject);
    let bundle = supervisor(trial).state().join("tasks").join(&id);
    let mut umount = SlowUmount::below(&bundle.join("rootfs"), MsFlags::MS_SHARED);
    let fault = "slow umount";
    ends(trial, subject);
    umount.until_awaited();
    trial.mark(MarkKind::Fault, fault);
    trial.exec_in_bystander();
    trial.kill(fault);
    trial.outage();
    trial.restart_beside_silence(fault);
    let other = trial.launch("other", Workload::Slow);
    umount.thaw();
    trial.target.until_recovered().unwrap();
    trial.check(fault);
    let answer = trial.target.stop(&trial.id(other), 0);
    trial.was_stopped(other, answer).unwrap();
}

/// Another mount namespace has a copy of a container's mounts, and it is the rmdir(2) of the root filesystem's directory that
/// waits for the disk. The supervisor can be killed meanwhile, and does not wait.
fn copy_of_a_slow_mount(trial: &mut Trial) {
    let subject = trial.launch("subject", OBEDIENT);
    let bundle = supervisor(trial)
        .state()
        .join("tasks")
        .join(trial.id(subject));
    let rootfs = bundle.join("rootfs");
    let mut umount = SlowUmount::below(&rootfs, MsFlags::MS_PRIVATE);
    let fault = "copy of a slow mount";
    let mut copy = MountCopy::new();
    ends(trial, subject);
    umount.until_awaited();
    poll::until("the directory of the mount is gone", || {
        (!rootfs.exists())
            .then_some(())
            .ok_or_else(|| format!("{rootfs:?}"))
    });
    trial.mark(MarkKind::Fault, fault);
    trial.exec_in_bystander();
    trial.kill(fault);
    trial.outage();
    trial.restart(fault, None);
    umount.thaw();
    copy.end();
    trial.check(fault);
}

/// The supervisor's clock steps back and forth by an hour while it is dead; the shims' is the true one.
fn clock_steps(name: &str, repeat: &str) -> Run {
    let clock = Clock::new();
    let start = || -> Box<dyn Target> {
        let clock = clock.as_ref().unwrap();
        let shim = program().with_file_name("containerd-shim-outlive-v2");
        Box::new(Outlive::with(Options {
            config: clock.true_time_for_shims(&shim),
            env: clock.environment(),
            ..Options::default()
        }))
    };
    on_target(name, repeat, &start, |trial| {
        for step in [-3600, 3600] {
            let fault = format!("clock step of {step} s");
            let runs = trial.launch(&format!("runs{step}"), Workload::Slow);
            let subject = trial.launch(&format!("ends{step}"), OBEDIENT);
            trial.kill(&fault);
            clock.as_ref().unwrap().step(step);
            trial.mark(MarkKind::Fault, &fault);
            ends(trial, subject);
            trial.outage();
            trial.restart(&fault, None);
            trial.check(&fault);
            let answer = trial.target.stop(&trial.id(runs), 0);
            trial.was_stopped(runs, answer).unwrap();
            trial.check(&fault);
            clock.as_ref().unwrap().step(0);
        }
    })
}

/// Two builds take turns over the same containers, each of which keeps the shim that it was started with.
fn two_builds(name: &str, repeat: &str) -> Run {
    let builds = Builds::find();
    let start = || -> Box<dyn Target> {
        Box::new(Outlive::with(Options {
            program: Some(builds.as_ref().unwrap().current.clone()),
            ..Options::default()
        }))
    };
    on_target(name, repeat, &start, |trial| {
        let builds = builds.as_ref().unwrap();
        let mut current = builds.current.clone();
        for turn in 0..4 {
            let subject = trial.launch(&format!("subject-{turn}"), OBEDIENT);
            trial.launch(&format!("slow-{turn}"), Workload::Slow);
            let fault = if turn % 2 == 0 {
                "to the other build"
            } else {
                "and back"
            };
            trial.kill(fault);
            current = builds.turn(&current).to_owned();
            supervisor(trial).options().program = Some(current.clone());
            if turn > 1 {
                ends(trial, subject);
            }
            trial.outage();
            trial.restart(fault, None);
            trial.exec_in_bystander();
            trial.check(fault);
        }
    })
}

/// A disk that can be broken and mended.
enum Disk {
    Small(SmallDisk, PathBuf),
    Failing(FailingDisk, PathBuf),
}

impl Disk {
    fn full() -> Self {
        let at = place();
        Self::Small(SmallDisk::mount(&at, 48 << 20), at)
    }

    fn failing(fails_at: FailsAt) -> Self {
        let at = place();
        Self::Failing(FailingDisk::mount(&at, fails_at), at)
    }

    fn breaks(&mut self) {
        match self {
            Self::Small(disk, _) => disk.fill(),
            Self::Failing(disk, _) => disk.fail(),
        }
    }

    fn mends(&mut self) {
        match self {
            Self::Small(disk, _) => disk.free(),
            Self::Failing(disk, _) => disk.heal(),
        }
    }

    fn at(&self) -> &PathBuf {
        match self {
            Self::Small(_, at) | Self::Failing(_, at) => at,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Small(..) => "full disk",
            Self::Failing(..) => "EIO",
        }
    }
}

/// A directory outside of every supervisor's, whose leak check would take the disk for a leak.
fn place() -> PathBuf {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let name = format!("outlive-harness-disk-{}-{serial}", std::process::id());
    let at = std::env::temp_dir().join(name);
    fs::create_dir(&at).unwrap();
    at
}

/// A run on a supervisor with `directory` (`root`, `logs`) on the disk.
fn on_disk(
    name: &str,
    repeat: &str,
    directory: &str,
    disk: Disk,
    body: impl FnOnce(&mut Trial, &RefCell<Disk>),
) -> Run {
    let at = disk.at().clone();
    let disk = RefCell::new(disk);
    let target = on(&at, directory);
    let target = RefCell::new(Some(target));
    let take = std::sync::Mutex::new(target);
    let start = || -> Box<dyn Target> {
        let target = take.lock().unwrap().borrow_mut().take();
        Box::new(target.expect("a run starts one target"))
    };
    let run = on_target(name, repeat, &start, |trial| body(trial, &disk));
    drop(disk);
    fs::remove_dir_all(at).unwrap();
    run
}

fn on(at: &PathBuf, directory: &str) -> Outlive {
    let mut supervisor = Supervisor::start(Options::default());
    assert!(supervisor.stop().success());
    let place = supervisor.dir().join(directory);
    fs::remove_dir_all(&place).unwrap();
    symlink(at, &place).unwrap();
    supervisor.restart();
    Outlive::over(supervisor)
}

/// The disk of the checkpoints takes nothing: ends, stops and removals hold all the same, also over kills.
fn state_disk(name: &str, repeat: &str, disk: Disk) -> Run {
    on_disk(name, repeat, "root", disk, |trial, disk| {
        let fault = disk.borrow().name();
        let names = ["ends", "ends-down", "stops", "goes"];
        let subjects = names.map(|name| trial.launch(name, OBEDIENT));
        let [ended, down, stopped, removed] = subjects;
        let created = trial.create("created", Workload::Slow);
        trial.check("before");
        disk.borrow_mut().breaks();
        trial.mark(MarkKind::Fault, fault);
        ends(trial, ended);
        let answer = trial.target.stop(&trial.id(stopped), 0);
        trial.was_stopped(stopped, answer).unwrap();
        let answer = trial.target.remove(&trial.id(removed));
        drop(trial.was_removed(removed, answer));
        let refused = trial.subject("refused", Workload::Slow);
        let spec = Workload::Slow.spec("refused", &trial.pod);
        let answer = trial.target.create(&spec);
        drop(trial.created(refused, answer));
        trial.check(&format!("{fault}, ends"));
        trial.kill(fault);
        ends(trial, down);
        trial.outage();
        trial.restart(fault, None);
        trial.exec_in_bystander();
        trial.check(&format!("{fault}, kill"));
        disk.borrow_mut().mends();
        trial.check(&format!("{fault} is over"));
        trial.kill(fault);
        trial.restart(fault, None);
        trial.check(&format!("{fault} is over, kill"));
        let is_whole = trial.subjects[created].started == Told::Never;
        assert!(is_whole, "what was created is created");
    })
}

/// The disk of the logs takes nothing: nobody waits in write(), and when it takes something again the log goes on.
fn log_disk(name: &str, repeat: &str, disk: Disk) -> Run {
    on_disk(name, repeat, "logs", disk, |trial, disk| {
        let fault = disk.borrow().name();
        let subject = trial.launch("subject", OBEDIENT);
        let writer = trial.launch("writer", Workload::Slow);
        trial.check("before");
        disk.borrow_mut().breaks();
        trial.mark(MarkKind::Fault, fault);
        for index in [BYSTANDER, subject, writer] {
            trial.subjects[index].may_lose_lines();
        }
        // It would not come to its end if it waited in write().
        ends(trial, subject);
        until_dead(trial.subjects[subject].pid.unwrap());
        trial.check(&format!("{fault}, ends"));
        trial.kill(fault);
        trial.restart(fault, None);
        trial.exec_in_bystander();
        trial.check(&format!("{fault}, kill"));
        disk.borrow_mut().mends();
        let before = trial.subjects[writer].log.len();
        poll::until("the log goes on", || {
            let after = trial.subjects[writer].log.len();
            if after > before + 200 {
                Ok(())
            } else {
                Err(after.to_string())
            }
        });
        trial.check(&format!("{fault} is over"));
    })
}
