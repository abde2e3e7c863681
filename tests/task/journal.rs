//! The exit journal: on disk before anybody is told, read by `delete` when the shim is dead, and honest about the rest.

use crate::leaks;
use crate::rpc::*;
use crate::shim::*;
use containerd_shim_protos::api::{DeleteResponse, Status};
use containerd_shim_protos::protobuf::Message;
use nix::sys::signal::Signal;
use outlive::bundle::Read;
use outlive::bundle::exit_journal::{self, ExitEntry};
use std::fs;
use std::path::PathBuf;

fn path(c: &Container) -> PathBuf {
    c.bundle.join("exits")
}

fn entries(c: &Container) -> Vec<ExitEntry> {
    match exit_journal::read(&path(c)) {
        Read::Found(exits) => exits.entries,
        Read::Absent => Vec::new(),
        Read::Corrupt(path, reason) => panic!("{path:?}: {reason}"),
    }
}

/// Waits for the record of `exec`, or of init where that is empty.
fn recorded(c: &Container, exec: &str) -> ExitEntry {
    eventually(&format!("record of {:?}", c.id), || {
        let entries = entries(c);
        let of = |entry: &&ExitEntry| entry.exec.as_ref().map_or("", |exec| exec.as_str()) == exec;
        let found = entries.iter().find(of).cloned();
        found.ok_or_else(|| format!("{entries:?}"))
    })
}

fn kill_shim(pid: u32) {
    leaks::signal(pid, Signal::SIGKILL);
    leaks::gone(pid);
}

/// Runs `delete` and returns its answer and what it said on stderr.
fn delete(lab: &Lab, c: &Container) -> (DeleteResponse, String) {
    let bundle = c.bundle.to_str().unwrap();
    let reply = output(lab.action(c, &["-bundle", bundle, "delete"]), b"");
    assert!(reply.status.success(), "{reply:?}");
    let said = String::from_utf8(reply.stderr).unwrap();
    (
        DeleteResponse::parse_from_bytes(&reply.stdout).unwrap(),
        said,
    )
}

fn nothing_left(lab: &Lab, c: &Container) {
    assert_eq!(leaks::mounts(&c.bundle), Vec::<PathBuf>::new());
    assert!(!lab.runc_root().join(&c.id).exists());
    assert!(!c.client.socket.exists());
    assert_eq!(leaks::cgroup_dirs(&c.cgroup), Vec::<PathBuf>::new());
}

#[test]
fn a_shim_killed_after_the_record_and_before_the_event_takes_no_exit_with_it() {
    let lab = Lab::new();
    let c = lab.shim("c1", "until [ -e /go ]; do sleep 0.02; done; exit 7");
    c.create().unwrap();
    c.start().unwrap();
    lab.events.wait("start c1");
    lab.events.down();
    let (shim, pid) = (c.shim_pid(), c.state().unwrap().pid);
    c.exec_run("e1", "exit 9");
    let exec = recorded(&c, "e1");
    assert_eq!(u32::from(exec.status.get()), 9);
    c.exec_run("e2", "touch /go");
    let exit = recorded(&c, "");
    assert!(
        exit.started_at.is_some_and(|start| start < exit.exited_at) && !exit.oom_killed,
        "{exit:?}"
    );
    kill_shim(shim);
    let (answer, said) = delete(&lab, &c);
    assert_eq!((answer.pid, answer.exit_status), (pid, 7));
    let at = answer.exited_at.unwrap();
    assert_eq!(
        (at.seconds, at.nanos),
        (exit.exited_at.seconds(), exit.exited_at.subsec_nanos())
    );
    assert_eq!(said, "", "a known exit needs no excuse");
    nothing_left(&lab, &c);
    lab.events.up();
    assert!(
        lab.events
            .of("c1")
            .iter()
            .all(|line| !line.starts_with("exit")),
        "{:?}",
        lab.events.lines()
    );
}

#[test]
fn whoever_is_told_of_an_exit_finds_it_on_disk() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    for number in 0..15_u32 {
        let id = format!("e{number}");
        let exec = c.exec_run(&id, &format!("exit {number}"));
        // By the answer to Wait, by the event, by State.
        match number % 3 {
            0 => drop(exec.wait().unwrap()),
            1 => drop(lab.events.wait(&format!("exit c1/{id} {number}"))),
            _ => eventually("stopped", || match known(exec.state().unwrap().status) {
                Status::STOPPED => Ok(()),
                other => Err(format!("{other:?}")),
            }),
        }
        let last = entries(&c).pop().unwrap();
        assert_eq!(
            (last.exec.unwrap().as_str(), u32::from(last.status.get())),
            (&*id, number)
        );
    }
}

/// What becomes of a journal's bytes.
type Spoil = fn(&mut Vec<u8>);

#[test]
fn a_journal_that_cannot_be_read_is_told_as_such_and_is_no_obstacle() {
    let lab = Lab::new();
    let damage: [(&str, Spoil, &str); 6] = [
        ("c1", |bytes| bytes.truncate(bytes.len() - 3), "no record"),
        ("c2", |bytes| bytes.truncate(5), "no record"),
        ("c3", |bytes| bytes.clear(), "no record"),
        ("c4", |bytes| bytes[20] ^= 0x40, "no record"),
        ("c5", |bytes| bytes[8] = 99, "99"),
        ("c6", |bytes| *bytes = vec![0xa5; 300], "exits"),
    ];
    for (id, spoil, word) in damage {
        let c = lab.run(id, "exit 7");
        let pid = c.state().unwrap().pid;
        assert_eq!(c.wait().unwrap().exit_status, 7);
        kill_shim(c.shim_pid());
        let mut bytes = fs::read(path(&c)).unwrap();
        spoil(&mut bytes);
        fs::write(path(&c), bytes).unwrap();
        let (answer, said) = delete(&lab, &c);
        assert_eq!((answer.pid, answer.exit_status), (pid, 137), "{said}");
        assert!(
            said.contains(word) && said.contains("exits"),
            "{id}: {said}"
        );
        assert!(
            said.contains("not known") && !said.contains("killed"),
            "{id}: {said}"
        );
        nothing_left(&lab, &c);
        // Again, as after a lost answer.
        assert_eq!(delete(&lab, &c).0.exit_status, 137);
    }
}

#[test]
fn delete_says_whether_it_had_to_kill() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    let pid = c.state().unwrap().pid;
    kill_shim(c.shim_pid());
    let (answer, said) = delete(&lab, &c);
    assert_eq!((answer.pid, answer.exit_status), (pid, 137));
    assert!(
        said.contains(&format!("{pid} ")) && said.contains("was killed"),
        "{said}"
    );
    // One that died after its shim.
    let c = lab.run("c2", "exec sleep 1000");
    let pid = c.state().unwrap().pid;
    kill_shim(c.shim_pid());
    leaks::signal(pid, Signal::SIGTERM);
    leaks::signal(pid, Signal::SIGKILL);
    leaks::gone(pid);
    let (answer, said) = delete(&lab, &c);
    assert_eq!((answer.pid, answer.exit_status), (pid, 137));
    assert!(
        said.contains("dead already") && said.contains("not known"),
        "{said}"
    );
}

#[test]
fn an_exit_that_cannot_be_recorded_is_announced_and_its_record_tried_again() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    // Nothing can be written under this name, root or not.
    fs::create_dir(path(&c)).unwrap();
    c.kill(9).unwrap();
    assert_eq!(c.wait().unwrap().exit_status, 137);
    lab.events.wait("exit c1 137");
    fs::remove_dir(path(&c)).unwrap();
    assert_eq!(u32::from(recorded(&c, "").status.get()), 137);
    assert!(lab.log().contains("append to"), "{}", lab.log());
}

#[test]
fn the_exit_of_an_earlier_task_in_the_bundle_is_not_taken_for_the_later_ones() {
    let lab = Lab::new();
    let c = lab.run(
        "c1",
        "until [ -e /later ]; do exit 7; done; exec sleep 1000",
    );
    assert_eq!(c.wait().unwrap().exit_status, 7);
    c.delete().unwrap();
    fs::write(lab.dir.join("rootfs/later"), "").unwrap();
    c.create().unwrap();
    c.start().unwrap();
    kill_shim(c.shim_pid());
    let (answer, said) = delete(&lab, &c);
    assert_eq!(answer.exit_status, 137);
    assert!(said.contains("was killed"), "{said}");
}
