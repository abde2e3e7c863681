//! One cell of the table, from the crash to the container's removal.

use nix::sys::signal::Signal;
use outlive::api::cri::{self, ContainerEventType as Kind, ContainerState as State};
use outlive::supervisor::store::{Activity, ContainerStatus};

use crate::scene::{Between, Scene, init_of, is_alive, now};
use crate::support::poll;
use crate::support::supervisor_calls::shown_pid;
use crate::table::{Becomes, Disk, Reported, Saved, Task, Told, Verdict, verdict};
use crate::watch::Events;

/// Makes the cell, recovers twice, and sees the container through to its end.
pub fn check(reported: Reported, saved: Saved) {
    let mut scene = Scene::make(reported, saved);
    let mut expected = verdict(reported, saved);
    // The dry run waits for a silent shim too: it has a test of its own.
    if reported != Reported::Unreachable {
        scene.is_predicted(expected);
    }
    let disk = scene.disk();
    let (mut events, span) = scene.recover();
    let mut shown = scene.expect(expected, span);
    scene.expect_disk(expected, disk.as_deref());
    let mut told = kinds(expected.told);
    let (id, pod) = (scene.id.clone(), scene.pod.clone());
    assert_eq!(events.so_far(&scene.supervisor, &id, &pod), told);

    if expected.task == Task::Asked {
        expected = verdict(Reported::Running, saved);
        shown = scene.answers_again(expected);
        scene.expect_disk(expected, disk.as_deref());
        told = kinds(expected.told);
        assert_eq!(events.so_far(&scene.supervisor, &id, &pod), told);
    }

    let disk = scene.disk();
    scene.supervisor.kill9();
    let (mut events, span) = scene.recover();
    assert_eq!(scene.expect(expected, span), shown, "twice is not once");
    assert_eq!(scene.disk(), disk, "twice is not once");

    // What is frozen does not end by itself.
    let by_itself = reported != Reported::Paused
        && matches!(saved, Saved::Created | Saved::Running | Saved::Absent);
    let mut expected_events = scene.see_through(expected, by_itself, &shown);
    scene.supervisor.remove_container(&id).unwrap();
    expected_events.push(Kind::ContainerDeletedEvent);
    let last = Kind::ContainerDeletedEvent;
    let told = events.until(&scene.supervisor, &id, &id, last);
    assert_eq!(told, expected_events);
    assert!(scene.supervisor.listed().iter().all(|line| line.id != id));
}

fn kinds(told: Told) -> Vec<Kind> {
    match told {
        Told::Nothing => vec![],
        Told::Started => vec![Kind::ContainerStartedEvent],
        Told::Stopped => vec![Kind::ContainerStoppedEvent],
    }
}

const fn state(becomes: Becomes) -> State {
    match becomes {
        Becomes::Created => State::ContainerCreated,
        Becomes::Running | Becomes::Paused => State::ContainerRunning,
        Becomes::Ended | Becomes::Vanished | Becomes::AsIs => State::ContainerExited,
        Becomes::Unknown => State::ContainerUnknown,
    }
}

fn nanos(at: Option<outlive::types::Timestamp>) -> i64 {
    at.map_or(0, |at| i64::try_from(at.unix_nanos()).unwrap())
}

impl Scene {
    /// Starts the supervisor again and waits until all is done. What it told meanwhile, and when that was.
    fn recover(&mut self) -> (Events, Between) {
        let log = self.supervisor.log().len();
        let before = now();
        let id = self.id.clone();
        let events = self.supervisor.restart_held(|supervisor| {
            // Calls are answered before any shim was asked, and nobody is missing.
            assert!(supervisor.listed().iter().any(|line| line.id == id));
            Events::of(supervisor)
        });
        self.supervisor.until_asked(log);
        (events, Between(before, now()))
    }

    fn is_predicted(&self, expected: Verdict) {
        let disk = self.disk();
        let lines = self.supervisor.predicted();
        let line = &lines[&self.id];
        let word = state(expected.becomes).as_str_name();
        let word = word.trim_start_matches("CONTAINER_");
        assert_eq!(line["status"], word, "{line}");
        let actions = line["actions"].to_string();
        let says = |action| actions.contains(action);
        let facts = [
            ("write status", expected.disk == Disk::Written),
            ("announce start", expected.told == Told::Started),
            ("announce stop", expected.told == Told::Stopped),
            ("monitor", expected.task == Task::Watched),
            ("ask again", expected.task == Task::Asked),
        ];
        for (action, is_due) in facts {
            assert_eq!(says(action), is_due, "{action}: {line}");
        }
        let cleans = says("delete task") || says("remove what");
        assert_eq!(cleans, expected.task == Task::Gone, "{line}");
        assert_eq!(self.disk(), disk, "a dry run writes nothing");
    }

    /// Checks everything that is shown and that there is.
    fn expect(&self, expected: Verdict, span: Between) -> cri::ContainerStatus {
        let shown = self.supervisor.status(&self.id);
        let context = || format!("{shown:?}\n{}", self.supervisor.log_tail());
        assert_eq!(shown.state(), state(expected.becomes), "{}", context());
        let listed = self.supervisor.listed();
        let line = listed.iter().find(|line| line.id == self.id).unwrap();
        assert_eq!(line.state, shown.state);
        assert_eq!(line.created_at, shown.created_at);
        assert_eq!(shown.created_at, self.created_at, "{}", context());
        self.expect_started(expected, &shown);
        match (expected.becomes, &self.checkpoint) {
            (Becomes::Ended, _) => {
                assert_eq!((shown.exit_code, shown.reason.as_str()), (7, "Error"));
                assert!(self.ended.unwrap().has(shown.finished_at), "{}", context());
            }
            (Becomes::Vanished, _) => {
                assert_eq!((shown.exit_code, shown.reason.as_str()), (255, "Unknown"));
                // A second recovery shows when the first one was.
                let since = Between(self.started.unwrap().1, span.1);
                assert!(since.has(shown.finished_at), "{}", context());
            }
            (
                Becomes::AsIs,
                Some(ContainerStatus::Exited {
                    finished_at, exit, ..
                }),
            ) => {
                assert_eq!(shown.exit_code, i32::from(exit.get()));
                assert_eq!(shown.finished_at, nanos(Some(*finished_at)));
            }
            (Becomes::AsIs, other) => panic!("as {other:?}"),
            (Becomes::Unknown, _) => {
                assert!(!shown.message.is_empty(), "{}", context());
                assert_eq!((shown.finished_at, shown.exit_code), (0, 0));
            }
            (Becomes::Created | Becomes::Running | Becomes::Paused, _) => {
                assert_eq!((shown.finished_at, shown.exit_code), (0, 0));
            }
        }
        self.expect_task(expected);
        shown
    }

    fn expect_started(&self, expected: Verdict, shown: &cri::ContainerStatus) {
        let whole = self.checkpoint.as_ref().and_then(|it| it.started_at());
        let known = whole.or(self.start_on_disk);
        let is_told = match expected.becomes {
            Becomes::Running | Becomes::Paused | Becomes::Ended => true,
            Becomes::Unknown => expected.task == Task::Watched,
            Becomes::Created | Becomes::AsIs | Becomes::Vanished => false,
        };
        let started = self.started.filter(|_| known.is_none() && is_told);
        match started {
            Some(started) => assert!(started.has(shown.started_at), "{started:?} {shown:?}"),
            None => assert_eq!(shown.started_at, nanos(known), "{shown:?}"),
        }
    }

    fn expect_task(&self, expected: Verdict) {
        let init = self.init.map(|init| i32::try_from(init.pid.get()).unwrap());
        if expected.task == Task::Gone {
            let processes = [init, self.shim];
            for pid in processes.into_iter().flatten() {
                poll::until("nothing of the task is left", || {
                    if is_alive(pid) {
                        Err(format!("{pid}\n{}", self.supervisor.log_tail()))
                    } else {
                        Ok(())
                    }
                });
            }
            assert!(!self.bundle().dir().exists());
        } else {
            assert!(is_alive(init.unwrap()) && is_alive(self.shim.unwrap()));
            assert!(self.bundle().dir().exists());
        }
        if expected.task == Task::Watched {
            let pid = shown_pid(&self.supervisor, &self.id);
            assert_eq!(pid, init.map(|pid| u64::try_from(pid).unwrap()));
        }
    }

    fn expect_disk(&self, expected: Verdict, before: Option<&[u8]>) {
        match expected.disk {
            Disk::Kept => assert_eq!(self.disk().as_deref(), before, "it was written"),
            Disk::Written => {
                let status = self.supervisor.checkpoint(&self.id).status;
                assert_eq!(status.state(), state(expected.becomes), "{status:?}");
                if let ContainerStatus::Running { activity, .. } = status {
                    let is_paused = expected.becomes == Becomes::Paused;
                    assert_eq!(activity == Activity::Paused, is_paused);
                }
            }
        }
    }

    /// Lets the shim go on, and waits until it was asked again.
    fn answers_again(&self, expected: Verdict) -> cri::ContainerStatus {
        self.signal_shim(Signal::SIGCONT);
        let id = self.id.as_str();
        poll::until("the shim was asked again", || {
            let log = self.supervisor.log();
            let line = |line: &&str| line.contains(id) && line.contains("reported=running");
            match log.lines().find(line) {
                Some(_) => Ok(()),
                None => Err(self.supervisor.log_tail()),
            }
        });
        self.supervisor
            .until_state(&self.id, state(expected.becomes));
        self.expect(expected, Between(0, now()))
    }

    /// What the container still can do, it does. Answers what that announces.
    fn see_through(
        &mut self,
        expected: Verdict,
        by_itself: bool,
        shown: &cri::ContainerStatus,
    ) -> Vec<Kind> {
        let id = self.id.clone();
        match (expected.becomes, expected.task) {
            (Becomes::Created, _) => {
                self.starts();
                vec![Kind::ContainerStartedEvent, Kind::ContainerStoppedEvent]
            }
            (Becomes::Ended | Becomes::Vanished | Becomes::AsIs, _) => {
                self.supervisor.stop_container(&id).unwrap();
                assert_eq!(&self.supervisor.status(&id), shown);
                vec![]
            }
            (Becomes::Unknown, Task::Gone) => {
                self.supervisor.stop_container(&id).unwrap();
                let ended = self.supervisor.status(&id);
                assert_eq!(ended.state(), State::ContainerExited);
                assert_eq!((ended.exit_code, ended.reason.as_str()), (255, "Unknown"));
                vec![Kind::ContainerStoppedEvent]
            }
            (Becomes::Running | Becomes::Paused | Becomes::Unknown, _) => {
                self.ends(by_itself, shown);
                vec![Kind::ContainerStoppedEvent]
            }
        }
    }

    /// It is as if it had never been started.
    fn starts(&mut self) {
        let id = self.id.clone();
        let before = now();
        self.supervisor.start_container(&id);
        let started = Between(before, now());
        self.init = Some(init_of(&self.bundle()));
        self.end();
        let ended = self.supervisor.until_state(&id, State::ContainerExited);
        assert_eq!(ended.exit_code, 7);
        assert!(started.has(ended.started_at), "{started:?} {ended:?}");
        let log = std::fs::read_to_string(self.supervisor.log_of("c")).unwrap();
        assert!(log.ends_with(" stdout F runs\n"), "{log:?}");
        assert_eq!(log.lines().count(), 1, "{log:?}");
    }

    /// A task that is watched ends, by itself or by StopContainer.
    fn ends(&mut self, by_itself: bool, shown: &cri::ContainerStatus) {
        let id = self.id.clone();
        let code = if by_itself {
            self.end();
            7
        } else {
            self.supervisor.stop_container(&id).unwrap();
            137
        };
        let ended = self.supervisor.until_state(&id, State::ContainerExited);
        match &self.checkpoint {
            // Its end was known: it never changes.
            Some(ContainerStatus::Exited {
                finished_at, exit, ..
            }) => {
                assert_eq!(ended.exit_code, i32::from(exit.get()));
                assert_eq!(ended.finished_at, nanos(Some(*finished_at)));
            }
            _ => {
                assert_eq!(ended.exit_code, code, "{ended:?}");
                assert_eq!(ended.started_at, shown.started_at);
                assert!(ended.finished_at >= ended.started_at);
                if by_itself {
                    assert!(self.ended.unwrap().has(ended.finished_at), "{ended:?}");
                }
            }
        }
    }
}
