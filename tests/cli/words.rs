//! What users of docker and podman type: taken where it can be done, else refused with what to do instead.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Output};

use super::support::poll;
use super::support::supervisor::{IMAGE, Supervisor};
use super::{Running, code, json, run, run_words, stderr, stdout, with_image};

#[test]
fn what_is_not_supported_is_refused_with_what_to_do_instead() {
    let supervisor = with_image();
    for (words, expected) in [
        (
            &["run", "-it", IMAGE, "sh"][..],
            "input and terminals are not supported yet",
        ),
        (
            &["run", "-t", IMAGE],
            "input and terminals are not supported yet",
        ),
        (
            &["run", "--interactive", IMAGE],
            "input and terminals are not supported yet",
        ),
        (
            &["run", "--tmpfs", "/x", IMAGE],
            "mount a tmpfs on the host",
        ),
        (&["run", "--ulimit", "nofile=9", IMAGE], "ulimit -n"),
        (
            &["run", "--add-host", "a:1.2.3.4", IMAGE],
            "-v FILE:/etc/hosts",
        ),
        (&["run", "--restart", "always", IMAGE], "systemd"),
        (&["run", "--pull", "always", IMAGE], "outlive image load"),
        (&["run", "--net", "none", IMAGE], "host"),
        (
            &["run", "--net", "host", "--hostname", "x", IMAGE],
            "leave out --net host",
        ),
        (
            &["run", "--net", "host", "-p", "1:1", IMAGE],
            "--publish needs",
        ),
        (
            &["run", "--entrypoint", "", IMAGE],
            "write the program after the image",
        ),
        (&["run", "-v", "data:/data", IMAGE], "no named volumes"),
        (&["run", "-u", ":7", IMAGE], "USER:GROUP"),
        (&["run", "--memory", "much", IMAGE], "is no size"),
        (&["run", "--nonsense", IMAGE], "--nonsense"),
        (&["run"], "IMAGE"),
        (
            &["exec", "-it", "c", "sh"],
            "input and terminals are not supported yet",
        ),
        (&["exec", "-e", "A=b", "c", "sh"], "sh -c"),
        (&["exec", "c"], "COMMAND"),
    ] {
        let output = supervisor.cli(words);
        assert_eq!(code(&output), 125, "{words:?}: {output:?}");
        assert!(stderr(&output).contains(expected), "{words:?}: {output:?}");
    }
    for (words, expected) in [
        (&["ps", "--format", "x"][..], "-o json"),
        (&["inspect", "-f", "x", "c"], "jq"),
        (&["stop", "-a"], "outlive ps -q"),
        (&["rmi", "-f", IMAGE], "remove its containers first"),
    ] {
        let output = supervisor.cli(words);
        assert_eq!(code(&output), 2, "{words:?}: {output:?}");
        assert!(stderr(&output).contains(expected), "{words:?}: {output:?}");
    }
    let pulled = supervisor.cli(&["pull", "no.such/image"]);
    assert_eq!(code(&pulled), 7, "{pulled:?}");
    assert!(stderr(&pulled).contains("outlive image load"), "{pulled:?}");
    let help = supervisor.ok(&["--help"]);
    assert!(!help.contains(" pull "), "{help}");
    assert_eq!(supervisor.ok(&["pods", "-q"]), "", "nothing was made");
}

#[test]
fn what_fails_beside_the_program_is_125() {
    let supervisor = with_image();
    let file = supervisor.dir().join("log");
    let over = format!("{}:/etc", file.display());
    for options in [
        // A file on a directory: runc's message ends as that of a missing program could.
        &["-v", &over][..],
        &["-w", "/bin/busybox"],
        &["--runtime", "nope"],
        &["--cap-add", "NOPE"],
        &["--device", "/dev/nope"],
        &["--env-file", "/no/such/file"],
        &[
            "--mount",
            "type=bind,source=/no/such\u{7f}/\u{1},target=relative",
        ],
    ] {
        let output = run(&supervisor, &[options, &["--rm", IMAGE, "true"]].concat());
        assert_eq!(code(&output), 125, "{options:?}: {output:?}");
    }
    assert_eq!(supervisor.ok(&["pods", "-q"]), "");
}

#[test]
fn an_empty_entrypoint_is_none() {
    let supervisor = with_image();
    let archive = with_entrypoint(&supervisor);
    supervisor.ok(&["image", "load", archive.to_str().unwrap()]);
    let image = "outlive.test/entry:latest";
    let own = run(&supervisor, &["--rm", image]);
    assert_eq!(stdout(&own), "entry command\n", "{own:?}");
    let args = run(&supervisor, &["--rm", image, "word"]);
    assert_eq!(stdout(&args), "entry word\n", "{args:?}");
    let none = run(
        &supervisor,
        &["--rm", "--entrypoint", "", image, "echo", "word"],
    );
    assert_eq!(stdout(&none), "word\n", "{none:?}");
    let other = run(&supervisor, &["--rm", "--entrypoint=echo", image, "word"]);
    assert_eq!(stdout(&other), "word\n", "{other:?}");
}

/// An OCI archive of one image, `outlive.test/entry:latest`, whose entrypoint is `echo entry` and whose command is
/// `command`: Docker's format, packed by tar(1).
fn with_entrypoint(supervisor: &Supervisor) -> PathBuf {
    let dir = supervisor.dir().join("entry");
    let layer = dir.join("rootfs");
    super::support::rootfs::busybox(&layer);
    let tar = |args: &[&str]| {
        let status = Command::new("tar")
            .current_dir(&dir)
            .args(args)
            .status()
            .unwrap();
        assert!(status.success(), "tar {args:?}");
    };
    tar(&["-cf", "layer.tar", "-C", "rootfs", "."]);
    let sum = Command::new("sha256sum")
        .arg(dir.join("layer.tar"))
        .output()
        .unwrap();
    let sum = &stdout(&sum)[..64];
    fs::write(
        dir.join("config.json"),
        format!(
            r#"{{"architecture":"{}","os":"linux","rootfs":{{"type":"layers","diff_ids":["sha256:{sum}"]}},
                "config":{{"Entrypoint":["echo","entry"],"Cmd":["command"]}}}}"#,
            match std::env::consts::ARCH {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                other => other,
            }
        ),
    )
    .unwrap();
    fs::write(
        dir.join("manifest.json"),
        r#"[{"Config":"config.json","RepoTags":["outlive.test/entry:latest"],"Layers":["layer.tar"]}]"#,
    )
    .unwrap();
    let archive = supervisor.dir().join("entry.tar");
    let path = archive.to_str().unwrap();
    tar(&["-cf", path, "config.json", "manifest.json", "layer.tar"]);
    fs::remove_dir_all(dir).unwrap();
    archive
}

#[test]
fn an_archive_comes_by_name_or_on_standard_input() {
    let supervisor = with_image();
    let archive = with_entrypoint(&supervisor);
    let path = archive.to_str().unwrap();
    let fed = |words: &[&str], input: std::process::Stdio| -> Output {
        supervisor.command(words).stdin(input).output().unwrap()
    };
    let piped = || {
        let mut cat = Command::new("cat");
        cat.arg(path).stdout(std::process::Stdio::piped());
        cat.spawn().unwrap().stdout.unwrap()
    };
    let id = supervisor.ok(&["image", "load", "-i", path]);
    assert!(id.contains("outlive.test/entry:latest"), "{id}");
    for words in [
        &["image", "load"][..],
        &["load"],
        &["load", "-"],
        &["load", "-i", "-"],
    ] {
        for (how, input) in [
            ("a file", File::open(&archive).unwrap().into()),
            ("a pipe", piped().into()),
        ] {
            supervisor.ok(&["rmi", "outlive.test/entry"]);
            let output = fed(words, input);
            assert_eq!(code(&output), 0, "{words:?} < {how}: {output:?}");
            assert_eq!(stdout(&output), id, "{words:?} < {how}");
        }
    }
    let quiet = fed(&["load", "-q"], piped().into());
    assert_eq!((code(&quiet), stdout(&quiet)), (0, ""), "{quiet:?}");
    let names = json(&supervisor.ok(&["images", "-o", "json"]));
    assert_eq!(names.as_array().unwrap().len(), 2, "{names}");
    let whole = supervisor.ok(&["images", "--no-trunc"]);
    assert!(whole.contains(id.split(' ').next().unwrap()), "{whole}");
    // A terminal has no archive to give.
    let pty = nix::pty::openpty(None, None).unwrap();
    let output = fed(&["load"], pty.slave.into());
    assert_eq!(code(&output), 2, "{output:?}");
    assert!(
        stderr(&output).contains("outlive image load < FILE"),
        "{output:?}"
    );
}

#[test]
fn limits_devices_and_name_servers_are_the_container_s() {
    let supervisor = with_image();
    let file = supervisor.dir().join("variables");
    fs::write(&file, "# two\nA=1\nB=of the file\n").unwrap();
    let script = "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null; cat /etc/resolv.conf; \
                  echo $A $B; ls /dev/fuse; echo x > /data/x; echo $?; cat /data/y";
    let data = supervisor.dir().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("y"), "y\n").unwrap();
    let mount = format!("type=bind,src={},dst=/data,readonly", data.display());
    let output = run(
        &supervisor,
        &[
            "--rm",
            "--pids-limit",
            "30",
            "--dns",
            "192.0.2.1",
            "--dns-search",
            "a.example",
            "--env-file",
            file.to_str().unwrap(),
            "-e",
            "A=2",
            "--device",
            "/dev/null:/dev/fuse:rw",
            "--mount",
            &mount,
            "--group-add",
            "44",
            "--pull",
            "missing",
            "--restart",
            "no",
            "--security-opt",
            "label=disable",
            IMAGE,
            "sh",
            "-c",
            script,
        ],
    );
    assert_eq!(
        stdout(&output),
        "30\nsearch a.example\nnameserver 192.0.2.1\n2 of the file\n/dev/fuse\n1\ny\n",
        "{output:?}"
    );
}

#[test]
fn containers_are_listed_by_docker_s_filters() {
    let supervisor = with_image();
    let one = supervisor.ok(&run_words(&[
        "-d", "--name", "one", "-l", "a=b", IMAGE, "sleep", "600",
    ]));
    let two = supervisor.ok(&run_words(&["-d", "--name", "two", IMAGE, "true"]));
    poll::until("the end of the second", || {
        let ended = supervisor.ok(&["ps", "-q", "--no-trunc", "-f", "status=exited"]);
        if ended == two { Ok(()) } else { Err(ended) }
    });
    let both = format!("{two}{one}");
    for (filters, expected) in [
        (&["-f", "name=on"][..], &*one),
        (&["-a", "-f", "name=wo"], &*two),
        (&["-a", "--filter", "label=a=b"], &*one),
        (&["-a", "-f", &format!("id={}", &one[..9])], &*one),
        (&["-a", "-f", "name=one", "-f", "status=exited"], ""),
        (&["-a", "-f", "label=a=b", "-f", "label=a=c"], ""),
        (&["-f", "status=exited", "-f", "status=running"], &both),
    ] {
        let words = [&["ps", "-q"], filters].concat();
        assert_eq!(supervisor.ok(&words), expected, "{filters:?}");
    }
    assert!(supervisor.ok(&["ps", "--no-trunc"]).contains(one.trim()));
    assert!(supervisor.ok(&["stats", "--no-stream"]).contains("one"));
    supervisor.ok(&["rm", "-fv", "one", "two"]);
}

#[test]
fn a_log_is_shown_from_and_until_where_the_user_says() {
    let supervisor = with_image();
    let script = "echo 1; echo 2; sleep 600";
    supervisor.ok(&run_words(&[
        "-d", "--name", "app", IMAGE, "sh", "-c", script,
    ]));
    poll::until("both lines", || {
        let text = supervisor.ok(&["logs", "--tail", "all", "app"]);
        if text == "1\n2\n" { Ok(()) } else { Err(text) }
    });
    assert_eq!(supervisor.ok(&["logs", "--tail=-1", "app"]), "1\n2\n");
    assert_eq!(supervisor.ok(&["logs", "-n", "0", "app"]), "");
    assert_eq!(
        supervisor.ok(&["logs", "--since", "1000000000", "app"]),
        "1\n2\n"
    );
    assert_eq!(supervisor.ok(&["logs", "--until", "1000000000", "app"]), "");
    assert_eq!(supervisor.ok(&["logs", "--until", "0s", "app"]), "1\n2\n");
    let wrong = supervisor.cli(&["logs", "--tail", "some", "app"]);
    assert_eq!(code(&wrong), 2);
    // Follows no further than that, though the container runs on.
    let following = Running::start(&supervisor, &["logs", "-f", "--until", "0s", "app"]);
    assert_eq!(following.end(), (0, "1\n2\n".to_owned(), String::new()));
}
