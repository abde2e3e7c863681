//! The options of Create, in both encodings, seen from the OCI runtime's command line.

use crate::leaks;
use crate::program;
use crate::rpc::*;
use crate::shim::*;
use containerd_shim_protos::protobuf::{CodedOutputStream, Message};
use containerd_shim_protos::shim::oci::Options;
use containerd_shim_protos::ttrpc::Code;
use serde_json::json;
use std::fs;
use std::path::PathBuf;

/// A runtime that writes down its arguments and is runc; without `--systemd-cgroup`, because there is no systemd here.
fn recorder(lab: &Lab) -> (PathBuf, PathBuf) {
    let (program, record) = (lab.dir.join("recorder"), lab.dir.join("argv"));
    let script = format!(
        "#!/bin/sh\necho \"$@\" >>{}\nfor word; do shift; [ \"$word\" = --systemd-cgroup ] || set -- \"$@\" \"$word\"; done\nexec runc \"$@\"\n",
        record.display()
    );
    program::write(&program, script);
    (program, record)
}

/// `runtimeoptions.v1.Options`.
fn generic(config_path: &str, config_body: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut out = CodedOutputStream::vec(&mut bytes);
    out.write_string(1, "").unwrap();
    out.write_string(2, config_path).unwrap();
    out.write_bytes(3, config_body.as_bytes()).unwrap();
    out.flush().unwrap();
    drop(out);
    bytes
}

/// Runs a container with the options and returns what the runtime was called with.
fn argv(lab: &Lab, id: &str, type_url: &str, value: Vec<u8>) -> Vec<String> {
    let mut c = lab.shim(id, "exit 7");
    c.set_options(type_url, value);
    c.create().unwrap();
    c.start().unwrap();
    assert_eq!(c.wait().unwrap().exit_status, 7);
    c.delete().unwrap();
    let lines = fs::read_to_string(lab.dir.join("argv")).unwrap();
    fs::remove_file(lab.dir.join("argv")).unwrap();
    lines.lines().map(str::to_owned).collect()
}

fn check(lab: &Lab, lines: &[String]) {
    let root = format!("--root {}", lab.runc_root().display());
    for (line, command) in lines.iter().zip(["create", "start"]) {
        assert!(
            line.contains(&root) && line.contains("--systemd-cgroup") && line.contains(command),
            "{line}"
        );
    }
    assert!(
        lines[0].contains("--no-pivot")
            && lines[0].contains("--no-new-keyring")
            && lines[0].contains("--bundle"),
        "{}",
        lines[0]
    );
    assert!(
        lines.iter().any(|line| line.contains(" delete ")),
        "{lines:?}"
    );
}

#[test]
fn runc_options_reach_the_command_line() {
    let lab = Lab::new();
    let (program, _) = recorder(&lab);
    let mut options = lab.options();
    options.binary_name = program.display().to_string();
    (
        options.no_pivot_root,
        options.no_new_keyring,
        options.systemd_cgroup,
    ) = (true, true, true);
    check(
        &lab,
        &argv(
            &lab,
            "c1",
            "containerd.runc.v1.Options",
            options.write_to_bytes().unwrap(),
        ),
    );
    let mut plain = lab.options();
    plain.binary_name = program.display().to_string();
    let lines = argv(
        &lab,
        "c2",
        "containerd.runc.v1.Options",
        plain.write_to_bytes().unwrap(),
    );
    for flag in ["--no-pivot", "--no-new-keyring", "--systemd-cgroup"] {
        assert!(!lines.concat().contains(flag), "{lines:?}");
    }
}

fn toml(lab: &Lab) -> String {
    let (program, _) = recorder(lab);
    format!(
        "BinaryName = {program:?}\nRoot = {:?}\nNoPivotRoot = true\nNoNewKeyring = true\nSystemdCgroup = true\n",
        lab.dir.join("runc")
    )
}

#[test]
fn runtime_options_in_toml_reach_the_command_line() {
    let lab = Lab::new();
    let body = toml(&lab);
    check(
        &lab,
        &argv(&lab, "c1", "runtimeoptions.v1.Options", generic("", &body)),
    );
    let path = lab.dir.join("options.toml");
    fs::write(&path, body).unwrap();
    check(
        &lab,
        &argv(
            &lab,
            "c2",
            "runtimeoptions.v1.Options",
            generic(path.to_str().unwrap(), ""),
        ),
    );
}

#[test]
fn an_unknown_key_is_an_error_that_names_it() {
    let lab = Lab::new();
    let mut c = lab.shim("c1", "exit 0");
    for (body, word) in [
        ("NoSuchKey = 1\n", "NoSuchKey"),
        ("Root = 1\n", "Root"),
        ("Root = \"relative\"\n", "root"),
        ("Root = ", "config_body"),
    ] {
        c.set_options("runtimeoptions.v1.Options", generic("", body));
        let failure = c.create().unwrap_err();
        assert_eq!(failure.code, Code::INVALID_ARGUMENT);
        assert!(
            failure
                .message
                .to_lowercase()
                .contains(&word.to_lowercase()),
            "{failure:?}"
        );
    }
    c.set_options(
        "runtimeoptions.v1.Options",
        generic("/no/such/file.toml", ""),
    );
    let failure = c.create().unwrap_err();
    assert!(
        failure.message.contains("/no/such/file.toml"),
        "{failure:?}"
    );
    assert_eq!(code(c.state()), Code::NOT_FOUND);
}

#[test]
fn a_runtime_that_does_not_exist_is_named_in_the_error() {
    let lab = Lab::new();
    let mut c = lab.shim("c1", "exit 0");
    let options = request!(Options {
        binary_name: "/no/such/runtime",
        root: lab.dir.join("runc").to_str().unwrap()
    });
    c.set_options(
        "containerd.runc.v1.Options",
        options.write_to_bytes().unwrap(),
    );
    let failure = c.create().unwrap_err();
    assert!(failure.message.contains("/no/such/runtime"), "{failure:?}");
    assert_eq!(code(c.state()), Code::NOT_FOUND);
}

/// The state directory of a namespace in the default root, gone again at the end of the test.
struct DefaultRoot(PathBuf);

impl Drop for DefaultRoot {
    fn drop(&mut self) {
        // Fails where a container is left in it: the check for leaks says so.
        fs::remove_dir(&self.0).unwrap_or_default();
    }
}

#[test]
fn without_options_the_runtime_is_runc_in_containerds_root() {
    let lab = Lab::new();
    let root = DefaultRoot(PathBuf::from("/run/containerd/runc").join(&lab.ns));
    let mut c = lab.bundle("c1", |_| ());
    c.request.options = None.into();
    let reply = lab.start(&c, b"");
    c.set_socket(&lab, &socket_of(&reply.stdout));
    c.create().unwrap();
    assert!(root.0.join("c1/state.json").exists());
    c.start().unwrap();
    c.kill(9).unwrap();
    c.wait().unwrap();
    c.delete().unwrap();
    assert!(!root.0.join("c1").exists());
}

#[test]
fn the_shim_joins_the_cgroup_of_the_options_and_its_container_does_not() {
    let lab = Lab::new();
    let group = format!("/outlive-shim-{}", lab.ns);
    let mut c = lab.bundle("c1", |spec| {
        spec["process"]["args"] = json!(["/bin/sleep", "1000"])
    });
    let mut options = lab.options();
    options.shim_cgroup = group.clone();
    c.set_options(
        "containerd.runc.v1.Options",
        options.write_to_bytes().unwrap(),
    );
    let sent = c.request.options.as_ref().unwrap().write_to_bytes();
    let reply = lab.start(&c, &sent.unwrap());
    c.set_socket(&lab, &socket_of(&reply.stdout));
    let init = c.create().unwrap();
    c.start().unwrap();
    let groups_of = |pid| fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let (shim, init) = (groups_of(c.shim_pid()), groups_of(init));
    assert!(shim.contains(&format!(":{group}\n")), "{shim}");
    assert!(!init.contains(&group), "{init}");
    c.kill(9).unwrap();
    c.wait().unwrap();
    c.delete().unwrap();
    c.end();
    for dir in leaks::cgroup_dirs(&group) {
        eventually("the shim's cgroup is empty", || {
            fs::remove_dir(&dir).map_err(|error| error.to_string())
        });
    }
}
