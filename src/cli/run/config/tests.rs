//! What arguments become.

use clap::Parser as _;

use super::*;
use crate::api::cri::security_profile::ProfileType;
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
        &["--net", "host", "--hostname", "x", "busybox"],
        &["--entrypoint", "", "busybox"],
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
    let plan = plan(&["-e", "PATH", "-e", "OUTLIVE_NOT_SET_ANYWHERE", "busybox"]).unwrap();
    let variables = plan.container.envs;
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

#[test]
fn system_calls_are_filtered_unless_told_otherwise() {
    let context = |words: &[&str]| {
        let plan = plan(&[words, &["busybox"]].concat()).unwrap();
        plan.container.linux.unwrap().security_context.unwrap()
    };
    let seccomp = |words: &[&str]| {
        let profile = context(words).seccomp.unwrap();
        (profile.profile_type(), profile.localhost_ref)
    };
    let none = String::new();
    assert_eq!(seccomp(&[]), (ProfileType::RuntimeDefault, none.clone()));
    assert_eq!(
        seccomp(&["--security-opt", "seccomp=unconfined"]),
        (ProfileType::Unconfined, none)
    );
    assert_eq!(
        seccomp(&["--security-opt", "seccomp=/p.json"]),
        (ProfileType::Localhost, "/p.json".to_owned())
    );
    let both = context(&[
        "--security-opt",
        "no-new-privileges",
        "--security-opt",
        "apparmor=unconfined",
    ]);
    assert!(both.no_new_privs);
    let apparmor = both.apparmor.unwrap().profile_type();
    assert_eq!(apparmor, ProfileType::Unconfined);
}

#[test]
fn users_and_groups_have_numbers_or_names() {
    let run_as = |user: &str| {
        let plan = plan(&["-u", user, "busybox"]).unwrap();
        let context = plan.container.linux.unwrap().security_context.unwrap();
        let value = |number: Option<cri::Int64Value>| number.map(|number| number.value);
        (
            value(context.run_as_user),
            context.run_as_username,
            value(context.run_as_group),
        )
    };
    assert_eq!(run_as("7"), (Some(7), String::new(), None));
    assert_eq!(run_as("7:8"), (Some(7), String::new(), Some(8)));
    for text in ["nobody", "nobody:nogroup", "7:nogroup", "nobody:8"] {
        assert_eq!(run_as(text), (None, text.to_owned(), None));
    }
}

#[test]
fn an_empty_entrypoint_makes_the_first_word_the_program() {
    let plan = plan(&["--entrypoint", "", "busybox", "sh", "-c", "true"]).unwrap();
    assert_eq!(plan.container.command, ["sh", "-c", "true"]);
    assert_eq!(plan.container.args, [""; 0]);
}

#[test]
fn only_a_detached_container_is_the_supervisor_s_to_remove() {
    let is_marked = |words: &[&str]| {
        let container = plan(&[words, &["busybox"]].concat()).unwrap().container;
        container
            .annotations
            .get(REMOVE_WHEN_ENDED)
            .map(String::as_str)
            == Some(YES)
    };
    assert!(is_marked(&["-d", "--rm"]));
    assert!(!is_marked(&["--rm"]));
    assert!(!is_marked(&["-d"]));
}

#[test]
fn more_of_docker_s_options_are_cri_s_fields() {
    let plan = plan(&[
        "--network",
        "bridge",
        "--dns",
        "10.0.0.1",
        "--dns-search",
        "a.example",
        "--dns-option",
        "ndots:2",
        "--sysctl",
        "net.ipv4.ip_forward=1",
        "--pids-limit",
        "9",
        "-c",
        "512",
        "--cpuset-cpus",
        "0-1",
        "--memory-swap",
        "1g",
        "--group-add",
        "44",
        "--device",
        "/dev/fuse:rw",
        "--mount",
        "type=bind,src=/a,dst=/b",
        "-v",
        "/c:/d:Z",
        "--ipc",
        "host",
        "--pull",
        "never",
        "--restart=no",
        "busybox",
    ])
    .unwrap();
    let dns = plan.pod.dns_config.as_ref().unwrap();
    assert_eq!(dns.servers, ["10.0.0.1"]);
    assert_eq!(dns.searches, ["a.example"]);
    assert_eq!(dns.options, ["ndots:2"]);
    let container = plan.container;
    assert_eq!(plan.pod.linux.unwrap().sysctls["net.ipv4.ip_forward"], "1");
    let linux = container.linux.unwrap();
    let resources = linux.resources.unwrap();
    assert_eq!(resources.unified["pids.max"], "9");
    assert_eq!(
        (resources.cpu_shares, &*resources.cpuset_cpus),
        (512, "0-1")
    );
    assert_eq!(resources.memory_swap_limit_in_bytes, 1 << 30);
    let context = linux.security_context.unwrap();
    assert_eq!(context.supplemental_groups, [44]);
    let ipc = context.namespace_options.unwrap().ipc();
    assert_eq!(ipc, cri::NamespaceMode::Node);
    assert_eq!(container.devices[0].permissions, "rw");
    let relabelled: Vec<_> = container
        .mounts
        .iter()
        .map(|mount| (mount.host_path.as_str(), mount.selinux_relabel))
        .collect();
    assert_eq!(relabelled, [("/c", true), ("/a", false)]);
}

#[test]
fn variables_come_from_files_too() {
    let file = std::env::temp_dir().join(format!("outlive-env-{}", std::process::id()));
    std::fs::write(&file, "# comment\n\nA=1\n  B=two words \nPATH\n").unwrap();
    let path = file.to_str().unwrap();
    let read = plan(&["--env-file", path, "-e", "A=2", "busybox"]);
    std::fs::remove_file(&file).unwrap();
    let own = std::env::var("PATH").unwrap();
    let variables: Vec<_> = read
        .unwrap()
        .container
        .envs
        .into_iter()
        .map(|variable| (variable.key, variable.value))
        .collect();
    let expected = [("A", "1"), ("B", "two words "), ("PATH", &*own), ("A", "2")];
    assert_eq!(
        variables,
        expected.map(|(key, value)| (key.to_owned(), value.to_owned()))
    );
    assert!(plan(&["--env-file", "/no/such/file", "busybox"]).is_err());
}
