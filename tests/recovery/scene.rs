//! A container and its task as a dead supervisor left them: each report and each checkpoint of the table, made for real
//! as far as a crash can make it, and by a change of status.json where it cannot.

use std::fs;
use std::time::SystemTime;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use outlive::api::cri;
use outlive::bundle::{Bundle, Read, endpoint, exit_journal};
use outlive::supervisor::store::{Activity, Checkpoint, ContainerStatus, ExitCause};
use outlive::sys::proc;
use outlive::types::{ExitStatus, ProcessIdentity, Timestamp};

use crate::support::supervisor::{Options, Supervisor};
use crate::support::supervisor_leaks;
use crate::support::{poll, stopped, task_call};
use crate::table::{Reported, Saved};

/// Says that it runs, and ends with 7 when there is a file /end.
pub const PROGRAM: [&str; 3] = [
    "/bin/sh",
    "-c",
    "echo runs; until [ -e /end ]; do usleep 20000; done; exit 7",
];

/// A time that lies between two looks at the clock, both in nanoseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub struct Between(pub i64, pub i64);

impl Between {
    pub fn has(self, at: i64) -> bool {
        self.0 <= at && at <= self.1
    }
}

pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.unwrap().as_nanos()).unwrap()
}

/// What was made, and what is true of it. Its supervisor is dead.
pub struct Scene {
    pub supervisor: Supervisor,
    pub pod: String,
    pub id: String,
    pub created_at: i64,
    /// When its program was started.
    pub started: Option<Between>,
    /// When its program ended.
    pub ended: Option<Between>,
    /// Its init, if it ever had one.
    pub init: Option<ProcessIdentity>,
    pub shim: Option<i32>,
    /// What its checkpoint says, where all of it is believed.
    pub checkpoint: Option<ContainerStatus>,
    /// When the disk says that its program was started, where only that is believed.
    pub start_on_disk: Option<Timestamp>,
}

/// Where the supervisor dies by itself.
fn point(reported: Reported, saved: Saved) -> Option<&'static str> {
    match (reported, saved) {
        (Reported::NoShim, _) => None,
        (Reported::Created, _) => Some("start.created"),
        (_, Saved::Created) => Some("start.started"),
        (Reported::Stopped | Reported::NoShimRecord, Saved::Exited) => Some("exit.recorded"),
        _ => None,
    }
}

impl Scene {
    pub fn make(reported: Reported, saved: Saved) -> Self {
        let point = point(reported, saved);
        let mut supervisor = Supervisor::start(Options {
            failpoints: point.map(|name| format!("{name}=return")),
            ..Options::default()
        });
        supervisor.options().failpoints = None;
        supervisor.load_busybox();
        let pod = supervisor.run_pod("pod");
        let id = supervisor.create(&pod, "c", &PROGRAM);
        let created_at = supervisor.status(&id).created_at;
        let mut scene = Self {
            supervisor,
            pod,
            id,
            created_at,
            started: None,
            ended: None,
            init: None,
            shim: None,
            checkpoint: None,
            start_on_disk: None,
        };
        if (reported, saved) == (Reported::NoShim, Saved::Created) {
            scene.supervisor.kill9();
        } else {
            scene.start(point.is_some_and(|name| name.starts_with("start.")));
            scene.report(reported, saved);
        }
        scene.save(saved);
        scene
    }

    fn start(&mut self, crashes: bool) {
        let before = now();
        if crashes {
            let (mut runtime, _) = self.supervisor.client();
            let request = cri::StartContainerRequest {
                container_id: self.id.clone(),
            };
            let answer = self.supervisor.wait(runtime.start_container(request));
            assert!(answer.is_err(), "{answer:?}");
            self.supervisor.crashed();
        } else {
            self.supervisor.start_container(&self.id);
        }
        self.started = Some(Between(before, now()));
        self.init = Some(init_of(&self.bundle()));
        self.shim = Some(shim_of(&self.supervisor, &self.id));
    }

    fn report(&mut self, reported: Reported, saved: Saved) {
        let dies_itself = point(reported, saved).is_some();
        let exited_before = (reported, saved) == (Reported::NoShim, Saved::Exited);
        if !dies_itself && !exited_before {
            self.supervisor.kill9();
        }
        match reported {
            Reported::NoShim if exited_before => {
                self.end();
                let id = self.id.clone();
                let exited = cri::ContainerState::ContainerExited;
                self.supervisor.until_state(&id, exited);
                until_gone(&self.bundle());
                self.supervisor.kill9();
            }
            Reported::NoShim => self.kill_shim(),
            Reported::NoShimRecord | Reported::Stopped => {
                self.end();
                if saved == Saved::Exited {
                    self.supervisor.crashed();
                }
                self.until_recorded();
                if reported == Reported::NoShimRecord {
                    self.kill_shim();
                }
            }
            Reported::Created => self.started = None,
            Reported::Running => {}
            Reported::Paused => pause(&self.bundle(), &self.id),
            Reported::Unreachable => self.signal_shim(Signal::SIGSTOP),
        }
    }

    pub fn bundle(&self) -> Bundle {
        Bundle::new(self.supervisor.bundle_dir(&self.id))
    }

    pub fn signal_shim(&self, signal: Signal) {
        let shim = Pid::from_raw(self.shim.unwrap());
        match signal {
            Signal::SIGSTOP => stopped::stop(shim),
            signal => kill(shim, signal).unwrap(),
        }
    }

    fn kill_shim(&self) {
        self.signal_shim(Signal::SIGKILL);
        until_dead(self.shim.unwrap());
    }

    /// Lets the program end, and waits until it has.
    pub fn end(&mut self) {
        let init = self.init.unwrap();
        let pid = init.pid.get();
        let before = now();
        fs::write(format!("/proc/{pid}/root/end"), "").unwrap();
        until_dead(i32::try_from(pid).unwrap());
        // Dead is not yet reaped, which is when the shim takes notice.
        self.ended = Some(Between(before, now() + 1_000_000_000));
    }

    fn until_recorded(&self) {
        let path = self.bundle().exits();
        poll::until("the end is recorded", || match exit_journal::read(&path) {
            Read::Found(exits) if !exits.entries.is_empty() => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }

    /// Makes the checkpoint what the column says, where the crash has not.
    fn save(&mut self, saved: Saved) {
        let path = self.supervisor.status_file(&self.id);
        let found = self.supervisor.checkpoint(&self.id);
        let text = fs::read(&path).unwrap();
        let status = self.status_to_save(saved, &found.status);
        if status != found.status {
            let changed = Checkpoint {
                status: status.clone(),
                resources: found.resources,
            };
            changed.write(&path).unwrap();
        }
        self.checkpoint = Some(status);
        match saved {
            Saved::Created | Saved::Running | Saved::Exited | Saved::Unknown => return,
            Saved::Absent => fs::remove_file(&path).unwrap(),
            Saved::Torn => fs::write(&path, &text[..text.len() / 2]).unwrap(),
            Saved::Empty => fs::write(&path, "").unwrap(),
            Saved::Future => fs::write(
                &path,
                r#"{"version":4711,"state":{"Hibernating":{"since":1}},"blessing":true}"#,
            )
            .unwrap(),
            Saved::NoMeta => {
                fs::remove_file(path.with_file_name("container.json")).unwrap();
                self.start_on_disk = found.status.started_at();
            }
        }
        self.checkpoint = None;
    }

    fn status_to_save(&self, saved: Saved, found: &ContainerStatus) -> ContainerStatus {
        let created_at = found.created_at().unwrap();
        match (saved, found) {
            (Saved::Created, ContainerStatus::Created { .. })
            | (Saved::Running, ContainerStatus::Running { .. })
            | (Saved::Exited, ContainerStatus::Exited { .. }) => found.clone(),
            (Saved::Created, _) => panic!("the crash left {found:?}"),
            (Saved::Running, _) => ContainerStatus::Running {
                created_at,
                started_at: Timestamp::now(),
                process: self.init.unwrap(),
                activity: Activity::Running,
            },
            (Saved::Exited, _) => ContainerStatus::Exited {
                created_at,
                started_at: found.started_at(),
                finished_at: Timestamp::now(),
                exit: ExitStatus::from_code(3),
                cause: ExitCause::Exited,
            },
            (Saved::Unknown, _) => ContainerStatus::Unknown {
                created_at: Some(created_at),
                started_at: found.started_at(),
                process: found.process(),
                reason: "the test says so".to_owned(),
            },
            (Saved::Absent | Saved::Torn | Saved::Empty | Saved::Future | Saved::NoMeta, found) => {
                found.clone()
            }
        }
    }

    /// The bytes of status.json.
    pub fn disk(&self) -> Option<Vec<u8>> {
        fs::read(self.supervisor.status_file(&self.id)).ok()
    }
}

/// The init that the OCI runtime has written down.
pub fn init_of(bundle: &Bundle) -> ProcessIdentity {
    let pid: u32 = fs::read_to_string(bundle.dir().join("init.pid"))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    proc::identity(outlive::types::Pid::new(pid).unwrap()).unwrap()
}

/// The shim of a container.
pub fn shim_of(supervisor: &Supervisor, id: &str) -> i32 {
    let processes = supervisor_leaks::processes(&supervisor.footprint());
    let is_its = |command: &String| command.contains("-address ") && command.contains(id);
    let found: Vec<_> = processes
        .iter()
        .filter(|(_, command)| is_its(command))
        .collect();
    let [(pid, _)] = found[..] else {
        panic!("not one shim of {id}: {processes:?}");
    };
    i32::try_from(*pid).unwrap()
}

pub fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

pub fn until_dead(pid: i32) {
    poll::until("the process ends", || {
        if is_alive(pid) {
            Err(format!("{pid} runs"))
        } else {
            Ok(())
        }
    });
}

fn until_gone(bundle: &Bundle) {
    poll::until("the bundle is removed", || {
        if bundle.dir().exists() {
            Err(format!("{:?} is there", bundle.dir()))
        } else {
            Ok(())
        }
    });
}

/// Freezes a container behind the back of its supervisor.
pub fn pause(bundle: &Bundle, id: &str) {
    let Read::Found(address) = endpoint::read(bundle) else {
        panic!("no address in {bundle:?}");
    };
    task_call::by_id(&address, "Pause", id).unwrap();
}
