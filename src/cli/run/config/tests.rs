//! What arguments become.

use clap::Parser as _;

use super::*;
use crate::cli::args::{Cli, Command};

fn plan(words: &[&str]) -> Result<Plan, Error> {
    let words = ["outlive", "--root", "/r", "run", "--name", "web"]
        .iter()
        .chain(words);
    let cli = Cli::try_parse_from(words).unwrap();
    let Command::Run(args) = cli.command else {
        panic!("{:?}", cli.command);
    };
    Plan::new(&cli.global, &args)
}

#[test]
fn everything_after_the_image_is_the_program_s() {
    let plan = plan(&["busybox", "sh", "-c", "exit 7", "--rm"]).unwrap();
    assert_eq!(plan.container.args, ["sh", "-c", "exit 7", "--rm"]);
    assert_eq!(plan.container.command, [""; 0]);
    assert_eq!(plan.container.image.unwrap().image, "busybox");
}

#[test]
fn the_options_are_cri_s_fields() {
    let plan = plan(&[
        "-e",
        "A=1=2",
        "-v",
        "/a:/b:ro,rslave",
        "-p",
        "8080:80/udp",
        "--memory",
        "64m",
        "--cpus",
        "0.5",
        "--user",
        "7:8",
        "--workdir",
        "/w",
        "--hostname",
        "h",
        "--cap-add",
        "cap_net_admin",
        "--cap-drop",
        "ALL",
        "--read-only",
        "--runtime",
        "crun",
        "--pid",
        "pod",
        "--entrypoint",
        "/e",
        "--label",
        "k=v",
        "busybox",
    ])
    .unwrap();
    let container = &plan.container;
    assert_eq!(plan.runtime, "crun");
    assert_eq!(container.command, ["/e"]);
    assert_eq!(container.working_dir, "/w");
    assert_eq!(
        (
            container.envs[0].key.as_str(),
            container.envs[0].value.as_str()
        ),
        ("A", "1=2")
    );
    let mount = &container.mounts[0];
    assert_eq!(
        (mount.host_path.as_str(), mount.container_path.as_str()),
        ("/a", "/b")
    );
    assert!(mount.readonly);
    assert_eq!(
        mount.propagation(),
        cri::MountPropagation::PropagationHostToContainer
    );
    let linux = container.linux.as_ref().unwrap();
    let resources = linux.resources.as_ref().unwrap();
    assert_eq!(
        (
            resources.cpu_quota,
            resources.cpu_period,
            resources.memory_limit_in_bytes
        ),
        (50_000, 100_000, 64 << 20)
    );
    let security = linux.security_context.as_ref().unwrap();
    assert_eq!(security.run_as_user.as_ref().unwrap().value, 7);
    assert_eq!(security.run_as_group.as_ref().unwrap().value, 8);
    assert!(security.readonly_rootfs);
    let capabilities = security.capabilities.as_ref().unwrap();
    assert_eq!(capabilities.add_capabilities, ["NET_ADMIN"]);
    assert_eq!(capabilities.drop_capabilities, ["ALL"]);
    let options = security.namespace_options.as_ref().unwrap();
    assert_eq!(options.pid(), cri::NamespaceMode::Pod);
    assert_eq!(options.network(), cri::NamespaceMode::Pod);
    assert_eq!(plan.pod.hostname, "h");
    let port = &plan.pod.port_mappings[0];
    assert_eq!((port.host_port, port.container_port), (8080, 80));
    assert_eq!(port.protocol(), cri::Protocol::Udp);
    assert_eq!(plan.pod.labels["k"], "v");
    assert_eq!(plan.pod.labels[LABEL], "true");
}

#[test]
fn the_log_is_the_container_s_own_unless_its_place_was_chosen() {
    let own = plan(&["busybox"]).unwrap();
    assert_eq!(own.log_path(), Path::new("/r/logs/web/web.log"));
    assert_eq!(own.container.annotations[LOG_DIRECTORY], "/r/logs/web");
    let chosen = plan(&["--log-dir", "/l", "busybox"]).unwrap();
    assert_eq!(chosen.log_path(), Path::new("/l/web.log"));
    assert!(!chosen.owns_logs());
}

#[test]
fn the_name_alone_makes_a_pod_unique() {
    let one = plan(&["busybox"]).unwrap().pod.metadata;
    assert_eq!(one, plan(&["other", "x"]).unwrap().pod.metadata);
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_made() {
    for words in [
        &["--net", "host", "-p", "1:1", "busybox"][..],
        &["--name", "../x", "busybox"],
        &["-e", "=x", "busybox"],
    ] {
        let words: Vec<&str> = words.to_vec();
        let parsed = Cli::try_parse_from(["outlive", "run"].iter().chain(&words)).unwrap();
        let Command::Run(args) = parsed.command else {
            panic!("{:?}", parsed.command);
        };
        let error = Plan::new(&parsed.global, &args).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
    }
}

#[test]
fn a_variable_without_a_value_is_this_process_s_own() {
    let path = std::env::var("PATH").unwrap();
    let variables = environment(&["PATH".into(), "OUTLIVE_NOT_SET_ANYWHERE".into()]).unwrap();
    assert_eq!(variables.len(), 1);
    assert_eq!(variables[0].value, path);
}

#[test]
fn a_container_is_named_after_its_image() {
    for (image, expected) in [
        ("docker.io/library/busybox:latest", "busybox"),
        ("localhost:5000/a/my-app_x@sha256:00", "myappx"),
        ("///", "run"),
    ] {
        assert_eq!(stem(image), expected);
    }
    let name = name_after("busybox").unwrap();
    assert!(check_name(&name).is_ok(), "{name}");
}

#[test]
fn a_name_that_is_not_a_host_name_becomes_one() {
    let long = format!("{}_b", "a".repeat(62));
    for (name, host) in [
        ("web", "web"),
        ("my_app.v2", "my-app-v2"),
        ("_x-", "x"),
        (&*long, &long[..62]),
    ] {
        assert_eq!(host_name(name), host);
    }
}
