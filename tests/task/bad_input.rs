//! Wrong input to every call: the right code, and nothing changed.

use crate::leaks;
use crate::rpc::*;
use crate::shim::*;
use crate::spec::process;
use containerd_shim_protos::api::{Empty, StateRequest, Status};
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::ttrpc::Code::{self, *};
use serde_json::json;

fn text<T: std::fmt::Debug>(answer: Answer<T>) -> Answer<String> {
    answer.map(|answer| format!("{answer:?}").chars().take(60).collect())
}

/// Every call that names only a task.
fn task_calls(p: &Process) -> Vec<(&'static str, Answer<String>)> {
    let mut init = p.clone();
    init.exec_id = String::new();
    let mut exec = p.clone();
    exec.exec_id = "new".to_owned();
    let mut calls = vec![
        ("Pids", text(p.pids())),
        ("Pause", text(p.pause())),
        ("Resume", text(p.resume())),
        ("Checkpoint", text(p.checkpoint("/tmp/none", None))),
        (
            "Exec",
            text(exec.add(&process("exit 0"), &Stdio::default())),
        ),
        (
            "Update",
            text(p.update(Some(resources(&json!({"pids": {"limit": 7}}))))),
        ),
        ("Stats", text(p.stats())),
    ];
    calls.extend(process_calls(&init));
    calls
}

/// Every call that names a process.
fn process_calls(p: &Process) -> Vec<(&'static str, Answer<String>)> {
    vec![
        ("State", text(p.state())),
        ("Start", text(p.start())),
        ("Kill", text(p.kill(9))),
        ("ResizePty", text(p.resize(80, 25))),
        ("CloseIO", text(p.close_stdin())),
        ("Wait", text(p.wait())),
        ("Delete", text(p.delete())),
    ]
}

/// Ids that no container has, and whether they are identifiers at all.
fn strangers() -> [(String, bool); 5] {
    [
        ("nope".to_owned(), true),
        (String::new(), false),
        ("../c1".to_owned(), false),
        ("c1/".to_owned(), false),
        ("x".repeat(10_000), false),
    ]
}

fn malformed() -> [Any; 4] {
    let garbage = vec![0xff; 64];
    [
        any("", garbage.clone()),
        any("no.such.Type", garbage.clone()),
        any("containerd.runc.v1.Options", garbage.clone()),
        any(
            "types.containerd.io/opencontainers/runtime-spec/1/Process",
            garbage,
        ),
    ]
}

#[test]
fn an_unknown_task_is_not_found_by_every_call() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    let before = (c.state().unwrap(), c.pids().unwrap());
    for (id, is_identifier) in strangers() {
        for (call, answer) in task_calls(&c.client.process(&id, "")) {
            let code = code(answer);
            assert!(
                code == NOT_FOUND || (!is_identifier && code == INVALID_ARGUMENT),
                "{call} of {id:.20?}: {code:?}"
            );
        }
        assert_eq!(
            (c.state().unwrap(), c.pids().unwrap()),
            before,
            "after {id:.20?}"
        );
    }
}

#[test]
fn an_unknown_exec_is_not_found_by_every_call() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    let before = (c.state().unwrap(), c.pids().unwrap());
    for (id, is_identifier) in strangers().into_iter().filter(|(id, _)| !id.is_empty()) {
        for (call, answer) in process_calls(&c.exec(&id)) {
            let code = code(answer);
            assert!(
                code == NOT_FOUND || (!is_identifier && code == INVALID_ARGUMENT),
                "{call} of {id:.20?}: {code:?}"
            );
        }
    }
    assert_eq!((c.state().unwrap(), c.pids().unwrap()), before);
}

#[test]
fn connect_and_shutdown_take_any_id() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    let pid = c.shim_pid();
    for (id, _) in strangers() {
        let stranger = c.client.process(&id, "");
        assert_eq!(stranger.connect().unwrap().shim_pid, pid, "{id:.20?}");
        stranger.shutdown().unwrap();
    }
    assert_eq!(c.status(), Status::RUNNING);
}

fn refuses_create(lab: &Lab, change: impl FnOnce(&mut Container)) -> Code {
    let mut c = lab.shim("c1", "exec sleep 1000");
    let good = c.request.clone();
    change(&mut c);
    let code = code(c.create());
    assert_eq!(crate::rpc::code(c.state()), NOT_FOUND);
    assert_eq!(
        crate::rpc::code(c.client.process(&c.request.id, "").state()),
        NOT_FOUND
    );
    assert_eq!(leaks::mounts(&lab.dir).len(), 0);
    // The shim is as good as before.
    c.request = good;
    c.create().unwrap();
    assert_eq!(c.status(), Status::CREATED);
    code
}

#[test]
fn create_refuses_what_is_no_identifier() {
    for (id, _) in strangers()
        .into_iter()
        .filter(|(_, is_identifier)| !is_identifier)
    {
        let code = refuses_create(&Lab::new(), |c| c.request.id.clone_from(&id));
        assert_eq!(code, INVALID_ARGUMENT, "{id:.20?}");
    }
}

#[test]
fn create_refuses_a_bundle_that_is_relative_missing_or_empty() {
    assert_eq!(
        refuses_create(&Lab::new(), |c| c.request.bundle = "c1".to_owned()),
        INVALID_ARGUMENT
    );
    assert_eq!(
        refuses_create(&Lab::new(), |c| c.request.bundle.clear()),
        INVALID_ARGUMENT
    );
    refuses_create(&Lab::new(), |c| c.request.bundle.push_str("/none"));
    let lab = Lab::new();
    let empty = lab.dir.join("empty");
    std::fs::create_dir(&empty).unwrap();
    refuses_create(&lab, |c| c.request.bundle = empty.display().to_string());
}

#[test]
fn create_refuses_malformed_options() {
    for options in malformed() {
        let code = refuses_create(&Lab::new(), |c| {
            c.request.options = Some(options.clone()).into()
        });
        assert_eq!(code, INVALID_ARGUMENT, "{options:?}");
    }
}

#[test]
fn exec_refuses_a_malformed_spec() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    let exec = c.exec("e1");
    let process_url = "types.containerd.io/opencontainers/runtime-spec/1/Process";
    let more = [
        None,
        Some(any(process_url, "{}")),
        Some(any(process_url, "{")),
        Some(any(process_url, r#"{"args": []}"#)),
    ];
    for spec in malformed().into_iter().map(Some).chain(more) {
        assert_eq!(
            code(exec.add_any(spec.clone(), &Stdio::default())),
            INVALID_ARGUMENT,
            "{spec:?}"
        );
        assert_eq!(code(exec.state()), NOT_FOUND);
    }
    assert_eq!(c.exec_run("e1", "exit 6").wait().unwrap().exit_status, 6);
    lab.events.wait("exit c1/e1 6");
    assert_eq!(
        lab.events
            .lines()
            .iter()
            .filter(|line| line.starts_with("exec-added"))
            .count(),
        1
    );
}

#[test]
fn exec_refuses_what_is_no_identifier() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    for (id, _) in strangers()
        .into_iter()
        .filter(|(_, is_identifier)| !is_identifier)
    {
        let code = code(c.exec(&id).add(&process("exit 0"), &Stdio::default()));
        // The empty exec id is init's, which exists.
        assert!(
            code == INVALID_ARGUMENT || (id.is_empty() && code == ALREADY_EXISTS),
            "{id:.20?}: {code:?}"
        );
    }
    assert_eq!(c.pids().unwrap().len(), 1);
}

#[test]
fn update_refuses_malformed_resources() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    let limit = |c: &Container| leaks::cgroup_file(&c.cgroup, "pids/pids.max", "pids.max");
    let before = limit(&c);
    let wrong_type = resources(&json!({"pids": {"limit": "many"}}));
    for resources in malformed().into_iter().map(Some).chain([
        None,
        Some(resources(&json!([]))),
        Some(wrong_type),
    ]) {
        assert_eq!(
            code(c.update(resources.clone())),
            INVALID_ARGUMENT,
            "{resources:?}"
        );
    }
    assert_eq!((limit(&c), c.status()), (before, Status::RUNNING));
}

#[test]
fn checkpoint_refuses_malformed_options() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    for options in malformed() {
        assert_eq!(
            code(c.checkpoint(&lab.dir.join("image").display().to_string(), Some(options))),
            INVALID_ARGUMENT
        );
    }
    assert_eq!(c.status(), Status::RUNNING);
}

#[test]
fn an_unknown_method_or_service_is_an_error_and_harms_nothing() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    let body = request!(StateRequest { id: "c1" });
    let answer: Answer<Empty> = c.client.call("NoSuchMethod", &body);
    answer.unwrap_err();
    let mut stranger = c.client.clone();
    stranger.service = "no.such.Service".to_owned();
    stranger.call::<Empty>("State", &body).unwrap_err();
    assert_eq!(c.status(), Status::RUNNING);
}
