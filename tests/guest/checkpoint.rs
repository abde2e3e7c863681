//! Checkpoint and restore with the real criu.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use containerd_shim_protos::api::Status;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::shim::oci::CheckpointOptions;
use containerd_shim_protos::ttrpc::Code;
use serde_json::Value;

use crate::fifo::Output;
use crate::in_guest;
use crate::leaks;
use crate::rpc::*;
use crate::shim::*;
use crate::unified::{group, keyed};

/// Counts on stdout for ever; SIGTERM makes it exit with 7.
const COUNTER: &str = "trap 'exit 7' TERM; i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done";

fn options(change: impl FnOnce(&mut CheckpointOptions)) -> Option<Any> {
    let mut options = CheckpointOptions::new();
    change(&mut options);
    let bytes = options.write_to_bytes().unwrap();
    Some(any("containerd.runc.v1.CheckpointOptions", bytes))
}

/// A container of `script` whose output goes to a new fifo.
fn with_output(lab: &Lab, id: &str, script: &str) -> (Container, Output) {
    let mut c = lab.shim(id, script);
    let out = Output::new(&c.bundle.join("out"));
    c.set_stdio(&Stdio::to(&out));
    (c, out)
}

/// The numbers in whole lines of a counter's output.
fn numbers(text: &str) -> Vec<u64> {
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(|line| line.parse().unwrap()).collect()
}

fn counted(out: &Output, more_than: usize) -> Vec<u64> {
    numbers(&out.until(|text| numbers(text).len() > more_than))
}

fn images(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn assert_images(dir: &Path) {
    let found = images(dir);
    for part in [
        "inventory.img",
        "pstree.img",
        "pages-1.img",
        "descriptors.json",
    ] {
        assert!(
            found.iter().any(|name| name == part),
            "{part} not in {found:?}"
        );
    }
}

/// Deletes a task that has ended, and its shim and bundle, so that its id can be used again.
fn dismiss(c: Container) {
    let shim = c.shim_pid();
    c.delete().unwrap();
    c.end();
    leaks::gone(shim);
    fs::remove_dir_all(&c.bundle).unwrap();
}

#[test]
fn a_checkpoint_leaves_the_task_running_and_is_announced() {
    in_guest();
    let lab = Lab::new();
    let (c, out) = with_output(&lab, "c1", COUNTER);
    c.create().unwrap();
    let pid = c.start().unwrap();
    counted(&out, 3);
    let path = lab.dir.join("images");
    c.checkpoint(path.to_str().unwrap(), options(|_| ()))
        .unwrap();
    assert_images(&path);
    assert_eq!((c.status(), c.state().unwrap().pid), (Status::RUNNING, pid));
    let before = numbers(&out.text()).len();
    let after = counted(&out, before + 3);
    assert!(
        after.iter().zip(1..).all(|(seen, due)| *seen == due),
        "{after:?}"
    );
    let told = format!("checkpointed c1 {}", path.display());
    lab.events.wait(&told);
    assert_eq!(lab.events.lines(), ["create c1", "start c1", &told]);
    // criu's working directory was the shim's own and is gone.
    let left = images(&c.bundle);
    assert!(!left.iter().any(|name| name.contains("criu")), "{left:?}");
    // All other calls go on as before.
    c.pause().unwrap();
    c.resume().unwrap();
    assert_eq!(c.exec_run("e1", "exit 3").wait().unwrap().exit_status, 3);
    c.kill(15).unwrap();
    assert_eq!(c.wait().unwrap().exit_status, 7);
}

#[test]
fn a_checkpoint_that_ends_the_task_is_an_exit_and_a_restore_goes_on_where_it_was() {
    in_guest();
    let lab = Lab::new();
    let (c, out) = with_output(&lab, "c1", COUNTER);
    c.create().unwrap();
    c.start().unwrap();
    counted(&out, 3);
    let path = lab.dir.join("images");
    c.checkpoint(
        path.to_str().unwrap(),
        options(|options| options.exit = true),
    )
    .unwrap();
    assert_eq!(c.wait().unwrap().exit_status, 137);
    lab.events.wait("exit c1 137");
    let told = format!("checkpointed c1 {}", path.display());
    lab.events.wait(&told);
    assert_images(&path);
    assert_eq!(c.status(), Status::STOPPED);
    let first = numbers(&String::from_utf8(out.to_end()).unwrap());
    let before = lab.events.lines().len();
    dismiss(c);
    lab.events.wait("delete c1 137");

    let (mut c, out) = with_output(&lab, "c1", "exit 99");
    c.request.checkpoint = path.to_str().unwrap().to_owned();
    assert_eq!(c.create().unwrap(), 0, "there is no process yet");
    assert_eq!((c.status(), c.state().unwrap().pid), (Status::CREATED, 0));
    assert_eq!(c.connect().unwrap().task_pid, 0);
    let pid = c.start().unwrap();
    assert!(leaks::alive(pid));
    let shim = c.shim_pid();
    assert_eq!(
        leaks::stat(pid, 4),
        Some(shim.to_string()),
        "the shim is its parent"
    );
    assert_eq!((c.status(), c.state().unwrap().pid), (Status::RUNNING, pid));
    assert_eq!(c.connect().unwrap().task_pid, pid);
    let later = counted(&out, 3);
    // What it wrote into the old pipe before it was frozen may not have come out; what came is without a gap.
    let last = *first.last().unwrap();
    assert!(
        later[0] > last && later[0] <= last + 3,
        "{first:?} then {later:?}"
    );
    assert!(
        later.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{later:?}"
    );

    // It is a task like any other: limits, statistics, signals, execs, the freezer.
    c.update(Some(resources(&serde_json::json!({"pids": {"limit": 33}}))))
        .unwrap();
    assert_eq!(
        leaks::cgroup_file(&c.cgroup, "pids/pids.max", "pids.max"),
        "33"
    );
    c.stats().unwrap();
    assert!(c.pids().unwrap().iter().any(|(listed, _)| *listed == pid));
    assert_eq!(c.exec_run("e1", "exit 3").wait().unwrap().exit_status, 3);
    c.exec("e1").delete().unwrap();
    c.pause().unwrap();
    c.resume().unwrap();
    c.kill(15).unwrap();
    assert_eq!(c.wait().unwrap().exit_status, 7);
    out.to_end();
    assert_eq!(c.delete().unwrap().pid, pid);
    lab.events.wait("delete c1 7");
    let lines = lab.events.lines();
    assert_eq!(
        lines[before..],
        [
            "delete c1 137",
            "create c1",
            "start c1",
            "exec-added c1/e1",
            "exec-started c1/e1",
            "exit c1/e1 3",
            "paused c1",
            "resumed c1",
            "exit c1 7",
            "delete c1 7",
        ]
    );
    let created = &lab.events.seen()[before + 1];
    assert_eq!(created.pid, 0);
    let body =
        containerd_shim_protos::events::task::TaskCreate::parse_from_bytes(&created.body).unwrap();
    assert_eq!(Path::new(&body.checkpoint), path);
    assert_eq!(lab.events.wait("start c1").pid, first_pid(&lab));
    assert_eq!(lab.events.seen()[before + 2].pid, pid);
}

/// The pid in the first start that was told.
fn first_pid(lab: &Lab) -> u32 {
    let seen = lab.events.seen();
    seen.iter()
        .find(|seen| seen.line == "start c1")
        .unwrap()
        .pid
}

#[test]
fn one_checkpoint_starts_several_tasks() {
    in_guest();
    let lab = Lab::new();
    let (c, out) = with_output(&lab, "c1", COUNTER);
    c.create().unwrap();
    c.start().unwrap();
    counted(&out, 3);
    let path = lab.dir.join("images");
    c.checkpoint(path.to_str().unwrap(), options(|_| ()))
        .unwrap();
    for id in ["c2", "c3"] {
        let (mut copy, out) = with_output(&lab, id, "exit 99");
        copy.request.checkpoint = path.to_str().unwrap().to_owned();
        copy.create().unwrap();
        copy.start().unwrap();
        counted(&out, 3);
        copy.kill(15).unwrap();
        assert_eq!(copy.wait().unwrap().exit_status, 7, "{id}");
        copy.delete().unwrap();
        assert_eq!(
            lab.events.wait(&format!("exit {id} 7")).pid,
            lab.events.wait(&format!("start {id}")).pid
        );
    }
    assert_eq!(c.status(), Status::RUNNING);
    counted(&out, numbers(&out.text()).len() + 2);
}

#[test]
fn a_restored_task_can_write_to_a_file_and_end_at_once() {
    in_guest();
    let lab = Lab::new();
    let mut c = lab.shim(
        "c1",
        "until [ -e /go ]; do sleep 0.1; done; echo done; exit 5",
    );
    let file = lab.dir.join("file");
    c.set_stdio(&Stdio {
        stdout: format!("file://{}", file.display()),
        ..Stdio::default()
    });
    c.create().unwrap();
    c.start().unwrap();
    let path = lab.dir.join("images");
    c.checkpoint(
        path.to_str().unwrap(),
        options(|options| options.exit = true),
    )
    .unwrap();
    c.wait().unwrap();
    fs::write(lab.dir.join("rootfs/go"), "").unwrap();
    dismiss(c);
    let mut c = lab.shim("c1", "exit 99");
    c.set_stdio(&Stdio {
        stdout: format!("file://{}", file.display()),
        ..Stdio::default()
    });
    c.request.checkpoint = path.to_str().unwrap().to_owned();
    c.create().unwrap();
    c.start().unwrap();
    assert_eq!(c.wait().unwrap().exit_status, 5);
    c.delete().unwrap();
    lab.events.wait("delete c1 5");
    assert_eq!(fs::read_to_string(&file).unwrap(), "done\n");
}

#[test]
fn a_task_with_a_terminal_is_restored_with_a_new_one() {
    in_guest();
    let lab = Lab::new();
    let terminal = |spec: &mut Value| {
        spec["process"]["terminal"] = true.into();
        spec["process"]["args"] = serde_json::json!(["/bin/sh", "-c", COUNTER]);
    };
    let mut c = lab.shim_of("c1", terminal);
    let out = Output::new(&c.bundle.join("out"));
    c.set_stdio(&Stdio::to(&out).terminal());
    c.create().unwrap();
    c.start().unwrap();
    out.until(|text| text.lines().count() > 3);
    let path = lab.dir.join("images");
    c.checkpoint(
        path.to_str().unwrap(),
        options(|options| (options.exit, options.terminal) = (true, true)),
    )
    .unwrap();
    c.wait().unwrap();
    dismiss(c);
    let mut c = lab.shim_of("c1", terminal);
    let out = Output::new(&c.bundle.join("out"));
    c.set_stdio(&Stdio::to(&out).terminal());
    c.request.checkpoint = path.to_str().unwrap().to_owned();
    c.create().unwrap();
    c.start().unwrap();
    out.until(|text| text.lines().count() > 3);
    c.resize(99, 44).unwrap();
    c.kill(15).unwrap();
    assert_eq!(c.wait().unwrap().exit_status, 7);
    c.delete().unwrap();
}

/// A connection is state that criu takes along only when told to.
#[test]
fn a_failed_checkpoint_names_crius_log_which_stays_in_the_bundle_and_the_task_runs_on() {
    in_guest();
    let lab = Lab::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let c = lab.run("c1", &format!("sleep 1000 | nc 127.0.0.1 {port}"));
    let (_connection, _) = listener.accept().unwrap();
    let path = lab.dir.join("images");
    let failure = c
        .checkpoint(path.to_str().unwrap(), options(|_| ()))
        .unwrap_err();
    let log = c.bundle.join("criu-dump.log");
    assert!(
        failure.message.contains(log.to_str().unwrap()),
        "{failure:?}"
    );
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.contains("--tcp-established"), "{text}");
    assert_eq!(c.status(), Status::RUNNING);
    assert_eq!(c.exec_run("e1", "exit 3").wait().unwrap().exit_status, 3);
    // With an own working directory the log is there as well, and the directory stays.
    let work = lab.dir.join("work");
    let with_work = options(|options| options.work_path = work.to_str().unwrap().to_owned());
    c.checkpoint(path.to_str().unwrap(), with_work).unwrap_err();
    assert!(work.join("dump.log").exists());
    let connections = options(|options| options.open_tcp = true);
    let taken = c.checkpoint(path.to_str().unwrap(), connections);
    assert_eq!(taken, Ok(()), "{}", fs::read_to_string(&log).unwrap());
    lab.events
        .wait(&format!("checkpointed c1 {}", path.display()));
    assert_images(&path);
    assert_eq!(
        lab.events
            .lines()
            .iter()
            .filter(|line| line.starts_with("checkpointed"))
            .count(),
        1
    );
}

#[test]
fn an_option_that_the_runtime_refuses_is_its_error_and_harms_nothing() {
    in_guest();
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    let path = lab.dir.join("images");
    let odd = options(|options| options.cgroups_mode = "nonsense".to_owned());
    let failure = c.checkpoint(path.to_str().unwrap(), odd).unwrap_err();
    assert!(failure.message.contains("cgroups mode"), "{failure:?}");
    assert!(
        !failure.message.contains("criu-dump.log"),
        "criu never ran: {failure:?}"
    );
    assert_eq!(
        code(c.checkpoint("relative", options(|_| ()))),
        Code::INVALID_ARGUMENT
    );
    assert_eq!(
        code(c.checkpoint("", options(|_| ()))),
        Code::INVALID_ARGUMENT
    );
    assert_eq!(c.status(), Status::RUNNING);
    lab.events.wait("start c1");
    assert_eq!(lab.events.lines(), ["create c1", "start c1"]);
}

#[test]
fn only_a_task_that_runs_or_is_paused_can_be_checkpointed() {
    in_guest();
    let lab = Lab::new();
    let path = lab.dir.join("images");
    let take = |c: &Container| c.checkpoint(path.to_str().unwrap(), options(|_| ()));
    let c = lab.shim("c1", "exec sleep 1000");
    assert_eq!(code(take(&c)), Code::NOT_FOUND);
    c.create().unwrap();
    assert_eq!(code(take(&c)), Code::FAILED_PRECONDITION);
    c.start().unwrap();
    take(&c).unwrap();
    c.pause().unwrap();
    take(&c).unwrap();
    assert_eq!(c.status(), Status::PAUSED);
    assert_eq!(keyed(&group(&c), "cgroup.events", "frozen"), Some(1));
    c.resume().unwrap();
    assert_eq!(c.exec_run("e1", "exit 3").wait().unwrap().exit_status, 3);
    c.kill(9).unwrap();
    c.wait().unwrap();
    assert_eq!(code(take(&c)), Code::FAILED_PRECONDITION);
}

#[test]
fn a_restore_from_what_are_no_images_fails_and_can_be_deleted() {
    in_guest();
    let lab = Lab::new();
    let path = lab.dir.join("images");
    fs::create_dir(&path).unwrap();
    let mut c = lab.shim("c1", "exit 99");
    c.request.checkpoint = path.to_str().unwrap().to_owned();
    c.create().unwrap();
    let failure = c.start().unwrap_err();
    assert!(failure.message.contains("restore"), "{failure:?}");
    println!("{failure:?}");
    assert_eq!(c.state().unwrap().pid, 0);
    c.delete().unwrap();
    assert_eq!(code(c.state()), Code::NOT_FOUND);
    assert_eq!(leaks::mounts(&lab.dir), Vec::<PathBuf>::new());
    lab.events.wait("delete c1 0");
    assert_eq!(lab.events.lines(), ["create c1", "delete c1 0"]);
}

#[test]
fn a_restore_that_never_starts_can_be_deleted() {
    in_guest();
    let lab = Lab::new();
    let path = lab.dir.join("images");
    fs::create_dir(&path).unwrap();
    let mut c = lab.shim("c1", "exit 99");
    c.request.checkpoint = path.to_str().unwrap().to_owned();
    c.create().unwrap();
    assert_eq!(code(c.kill(9)), Code::FAILED_PRECONDITION);
    assert_eq!(c.pids().unwrap(), []);
    c.delete().unwrap();
    let mut missing = lab.shim("c2", "exit 99");
    missing.request.checkpoint = "/no/such/images".to_owned();
    assert_eq!(code(missing.create()), Code::INVALID_ARGUMENT);
    assert_eq!(leaks::mounts(&lab.dir), Vec::<PathBuf>::new());
}
