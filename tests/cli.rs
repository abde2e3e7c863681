//! The command line against a real supervisor: real containers, real signals, real exit codes.
#![cfg(test)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use outlive::api::cri;
use serde_json::Value;
use support::poll;
use support::supervisor::{IMAGE, Options, Supervisor};

#[path = "cli/security.rs"]
mod security;
#[path = "support/mod.rs"]
mod support;
#[path = "cli/unattended.rs"]
mod unattended;
#[path = "cli/words.rs"]
mod words;

fn start() -> Supervisor {
    Supervisor::start(Options::default())
}

fn with_image() -> Supervisor {
    let supervisor = start();
    supervisor.load_busybox();
    supervisor
}

/// `outlive run` on the host's network, with the words after it.
fn run_words<'a>(words: &[&'a str]) -> Vec<&'a str> {
    [&["run", "--net", "host"], words].concat()
}

fn run(supervisor: &Supervisor, words: &[&str]) -> Output {
    supervisor.cli(&run_words(words))
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A command that runs while the test goes on.
struct Running {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
}

impl Running {
    fn start(supervisor: &Supervisor, words: &[&str]) -> Self {
        let mut command = supervisor.command(words);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line
    }

    /// Signals `outlive` itself.
    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    /// Its exit code, the rest of its stdout, and its stderr.
    fn end(mut self) -> (i32, String, String) {
        let mut out = String::new();
        self.out.read_to_string(&mut out).unwrap();
        let mut errors = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut errors).unwrap();
        let status = self.child.wait().unwrap();
        (status.code().unwrap_or(-1), out, errors)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn without_a_supervisor_every_command_says_what_to_do() {
    let mut supervisor = Supervisor::start(Options::default());
    supervisor.kill9();
    let output = supervisor.cli(&["ps"]);
    assert_eq!(code(&output), 5);
    assert!(stderr(&output).contains("nobody listens"), "{output:?}");
    fs::remove_file(supervisor.socket()).unwrap();
    let output = supervisor.cli(&["ps"]);
    assert_eq!(code(&output), 5);
    let text = stderr(&output);
    assert!(text.contains("is `outlive serve` running?"), "{output:?}");
    let version = supervisor.cli(&["version"]);
    assert_eq!(code(&version), 5);
    assert!(stdout(&version).contains(env!("CARGO_PKG_VERSION")));
    assert_eq!(code(&run(&supervisor, &[IMAGE, "true"])), 125);
    supervisor.restart();
}

#[test]
fn wrong_words_are_usage_errors() {
    let supervisor = Supervisor::start(Options::default());
    for words in [
        &["nonsense"][..],
        &["logs", "--since", "yesterday", "x"],
        &["kill", "-s", "NOPE", "x"],
        &["--address", "tcp://localhost", "ps"],
    ] {
        let output = supervisor.cli(words);
        let expected = if words.contains(&"localhost") { 5 } else { 2 };
        assert_eq!(code(&output), expected, "{words:?}: {output:?}");
    }
}

#[test]
fn what_is_not_there_is_not_found() {
    let supervisor = Supervisor::start(Options::default());
    for words in [
        &["inspect", "nope"][..],
        &["logs", "nope"],
        &["stop", "nope"],
        &["kill", "nope"],
        &["rm", "nope"],
        &["pods", "rm", "nope"],
        &["stats", "nope"],
        &["ps", "--pod", "nope"],
    ] {
        let output = supervisor.cli(words);
        assert_eq!(code(&output), 3, "{words:?}: {output:?}");
        assert!(stderr(&output).contains("nope"), "{words:?}: {output:?}");
    }
    assert_eq!(code(&supervisor.cli(&["exec", "nope", "true"])), 125);
    let empty = json(&supervisor.ok(&["ps", "-a", "-o", "json"]));
    assert_eq!(empty, Value::Array(Vec::new()));
    assert!(supervisor.ok(&["pods"]).starts_with("ID "));
}

#[test]
fn versions_are_those_of_both_programs() {
    let supervisor = Supervisor::start(Options::default());
    let version = json(&supervisor.ok(&["version", "-o", "json"]));
    assert_eq!(version["client"], env!("CARGO_PKG_VERSION"));
    assert_eq!(version["runtime_name"], "outlive");
    assert_eq!(version["runtime_api_version"], "v1");
    assert!(supervisor.ok(&["completions", "bash"]).contains("outlive"));
}

#[test]
fn images_are_imported_listed_and_removed() {
    let supervisor = with_image();
    let images = json(&supervisor.ok(&["image", "ls", "-o", "json"]));
    assert_eq!(images[0]["tags"][0], IMAGE);
    assert_eq!(images[0]["layers"], 1);
    let id = images[0]["id"].as_str().unwrap().to_owned();
    assert!(supervisor.ok(&["image", "ls"]).contains(IMAGE));
    assert_eq!(supervisor.ok(&["image", "ls", "-q"]).trim(), id);
    assert_eq!(code(&supervisor.cli(&["image", "rm", "nope"])), 3);
    supervisor.ok(&["image", "rm", IMAGE]);
    assert_eq!(supervisor.ok(&["image", "ls", "-q"]), "");
    assert_eq!(code(&supervisor.cli(&["pull", "nope"])), 7);
}

/// A directory with a root filesystem to import.
fn rootfs(supervisor: &Supervisor) -> String {
    let dir = supervisor.dir().join("import");
    fs::create_dir_all(dir.join("etc")).unwrap();
    dir.to_str().unwrap().to_owned()
}

#[test]
fn images_go_where_the_running_supervisor_has_them() {
    let supervisor = Supervisor::start(Options::default());
    let (dir, other) = (rootfs(&supervisor), supervisor.dir().join("other"));
    let import = |name: &str| supervisor.command(&["image", "import", &dir, name]);

    // No word about the root: it is asked for.
    let output = import("a:1").env_remove("OUTLIVE_ROOT").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(stderr(&output), "");
    let listed = supervisor.ok(&["image", "ls"]);
    assert!(listed.contains("a:1"), "{listed}");

    // Another one is refused, and not filled, whether a flag or the environment names it.
    let by_variable = import("b:1").env("OUTLIVE_ROOT", &other).output().unwrap();
    let root = ["--root", other.to_str().unwrap()];
    let by_flag = import("b:1").args(root).output().unwrap();
    let listing = supervisor
        .command(&["image", "ls"])
        .args(root)
        .output()
        .unwrap();
    let state = ["recover", "--dry-run", "--state", other.to_str().unwrap()];
    let recovery = supervisor.cli(&state);
    for output in [by_variable, by_flag, listing, recovery] {
        assert_eq!(code(&output), 2, "{output:?}");
        let text = stderr(&output);
        assert!(text.contains(other.to_str().unwrap()), "{text}");
        assert!(text.contains(supervisor.dir().to_str().unwrap()), "{text}");
    }
    assert!(!other.exists());

    // The same one by another name is none other.
    let link = supervisor.dir().join("link");
    std::os::unix::fs::symlink(supervisor.root(), &link).unwrap();
    let output = import("c:1").env("OUTLIVE_ROOT", &link).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn without_a_supervisor_the_store_that_is_used_is_named() {
    let mut supervisor = Supervisor::start(Options::default());
    let dir = rootfs(&supervisor);
    supervisor.kill9();
    let store = supervisor.root().join("images");
    let output = supervisor.cli(&["image", "import", &dir, "a:1"]);
    assert!(output.status.success(), "{output:?}");
    let text = stderr(&output);
    assert!(text.contains("no supervisor listens at unix://"), "{text}");
    assert!(text.contains(store.to_str().unwrap()), "{text}");
    assert!(!stdout(&output).contains("no supervisor"), "{output:?}");
    let output = supervisor.cli(&[
        "recover",
        "--dry-run",
        "--state",
        supervisor.state().to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{output:?}");
    let text = stderr(&output);
    assert!(text.contains("no supervisor listens at unix://"), "{text}");

    // Whether one runs is not known where it does not answer.
    supervisor.restart();
    let pid = Pid::from_raw(i32::try_from(supervisor.pid()).unwrap());
    support::stopped::stop(pid);
    let output = supervisor.cli(&["--timeout", "200ms", "image", "import", &dir, "b:1"]);
    let words = ["--timeout", "200ms", "recover", "--dry-run", "--state"];
    let looked = supervisor.cli(&[&words[..], &[supervisor.state().to_str().unwrap()]].concat());
    kill(pid, Signal::SIGCONT).unwrap();
    assert!(looked.status.success(), "{looked:?}");
    assert!(
        stderr(&looked).contains("no answer within 0.2 s"),
        "{looked:?}"
    );
    assert_eq!(code(&output), 6, "{output:?}");
    let listed = supervisor.ok(&["image", "ls"]);
    assert!(
        listed.contains("a:1") && !listed.contains("b:1"),
        "{listed}"
    );
}

#[test]
fn a_program_in_the_foreground_gives_its_output_and_its_exit_code() {
    let supervisor = with_image();
    let script = "echo out; echo err >&2; printf unended; exit 7";
    let output = run(
        &supervisor,
        &["--rm", "--name", "seven", IMAGE, "sh", "-c", script],
    );
    assert_eq!(code(&output), 7, "{output:?}");
    assert_eq!(stdout(&output), "out\nunended");
    assert_eq!(stderr(&output), "err\n");
    assert_eq!(supervisor.ok(&["ps", "-aq"]), "");
    assert_eq!(supervisor.ok(&["pods", "-q"]), "");
    assert!(!supervisor.root().join("logs/seven").exists());
}

#[test]
fn the_last_of_much_output_is_there_too() {
    let supervisor = with_image();
    let script = "seq 1 200000; printf '%060000d' 7";
    let output = run(&supervisor, &["--rm", IMAGE, "sh", "-c", script]);
    let expected: String = (1..=200_000).map(|number| format!("{number}\n")).collect();
    let expected = expected + &format!("{:060000}", 7);
    assert_eq!(code(&output), 0);
    assert!(
        stdout(&output) == expected,
        "{} bytes instead of {}, ends with {:?}",
        output.stdout.len(),
        expected.len(),
        &stdout(&output)[output.stdout.len().saturating_sub(30)..]
    );
}

#[test]
fn programs_that_cannot_run_have_the_shell_s_exit_codes() {
    let supervisor = with_image();
    let missing = run(&supervisor, &["--rm", IMAGE, "no-such-program"]);
    assert_eq!(code(&missing), 127, "{missing:?}");
    let passwd = run(&supervisor, &["--rm", IMAGE, "/etc/passwd"]);
    assert_eq!(code(&passwd), 126, "{passwd:?}");
    let image = run(&supervisor, &["--rm", "no.such/image", "true"]);
    assert_eq!(code(&image), 125, "{image:?}");
    assert_eq!(
        supervisor.ok(&["pods", "-q"]),
        "",
        "nothing is left of them"
    );
    assert!(!supervisor.root().join("logs").join("image").exists());
}

#[test]
fn signals_go_to_the_program_and_its_answer_comes_back() {
    let supervisor = with_image();
    let script = "trap 'echo usr1' USR1; trap 'echo term; exit 3' TERM; echo ready; \
                  while :; do sleep 0.1; done";
    let words = run_words(&["--rm", IMAGE, "sh", "-c", script]);
    let mut running = Running::start(&supervisor, &words);
    assert_eq!(running.line(), "ready\n");
    running.signal(Signal::SIGUSR1);
    assert_eq!(running.line(), "usr1\n");
    running.signal(Signal::SIGTERM);
    let (code, rest, errors) = running.end();
    assert_eq!((code, rest.as_str()), (3, "term\n"), "{errors}");
    assert_eq!(supervisor.ok(&["pods", "-q"]), "");
}

#[test]
fn the_foreground_survives_the_supervisor() {
    let mut supervisor = with_image();
    let script = "for i in 1 2 3 4 5 6 7 8 9 10; do echo $i; sleep 0.3; done; exit 9";
    let words = run_words(&["--name", "long", IMAGE, "sh", "-c", script]);
    let mut running = Running::start(&supervisor, &words);
    assert_eq!(running.line(), "1\n");
    supervisor.kill9();
    assert_eq!(running.line(), "2\n");
    assert_eq!(running.line(), "3\n");
    supervisor.restart();
    let (code, rest, errors) = running.end();
    assert_eq!(rest, "4\n5\n6\n7\n8\n9\n10\n", "{errors}");
    assert_eq!(code, 9, "{errors}");
    assert!(errors.contains("away"), "{errors}");
}

#[test]
fn a_detached_container_is_listed_inspected_and_removed_by_any_of_its_names() {
    let supervisor = with_image();
    let id = supervisor.ok(&run_words(&[
        "-d", "--name", "web", "-l", "a=b", IMAGE, "sleep", "600",
    ]));
    let id = id.trim();
    let taken = run(&supervisor, &["-d", "--name", "web", IMAGE, "sleep", "600"]);
    assert_eq!(code(&taken), 125, "{taken:?}");
    assert!(stderr(&taken).contains("outlive rm web"), "{taken:?}");
    let listed = json(&supervisor.ok(&["ps", "-o", "json"]));
    assert_eq!(listed[0]["id"], id);
    assert_eq!(listed[0]["name"], "web");
    assert_eq!(listed[0]["state"], "running");
    assert_eq!(listed[0]["exit_code"], Value::Null);
    assert_eq!(listed[0]["labels"]["a"], "b");
    assert_eq!(supervisor.ok(&["ps", "-q", "--label", "a=b"]).trim(), id);
    assert_eq!(supervisor.ok(&["ps", "-q", "--label", "a=c"]), "");
    assert_eq!(supervisor.ok(&["ps", "-q", "--state", "exited"]), "");
    let table = supervisor.ok(&["ps"]);
    assert!(
        table.contains("web") && table.contains("running "),
        "{table}"
    );
    for word in ["web", id, &id[..8]] {
        let inspected = json(&supervisor.ok(&["inspect", word]));
        assert_eq!(inspected["status"]["id"], id);
        assert_eq!(inspected["status"]["state"], "running");
        assert!(inspected["info"]["info"]["pid"].as_u64().unwrap() > 1);
    }
    let pod = json(&supervisor.ok(&["inspect", "--pod", "web"]));
    assert_eq!(pod["status"]["state"], "ready");
    let refused = supervisor.cli(&["rm", "web"]);
    assert_eq!(code(&refused), 4, "{refused:?}");
    assert_eq!(
        supervisor.ok(&["stop", "-t", "0", &id[..8]]).trim(),
        &id[..8]
    );
    assert_eq!(supervisor.ok(&["ps", "-q"]), "");
    let exited = json(&supervisor.ok(&["ps", "-a", "-o", "json"]));
    assert_eq!(exited[0]["state"], "exited");
    assert_eq!(exited[0]["exit_code"], 137);
    let late = supervisor.cli(&["kill", "web"]);
    assert_eq!(code(&late), 4, "{late:?}");
    supervisor.ok(&["rm", "web"]);
    assert_eq!(supervisor.ok(&["pods", "-q"]), "", "its pod went with it");
    assert!(!supervisor.root().join("logs/web").exists());
}

#[test]
fn a_name_that_several_have_is_refused_with_their_ids() {
    let supervisor = with_image();
    let ids: Vec<String> = ["one", "two"]
        .iter()
        .map(|pod| supervisor.create(&supervisor.run_pod(pod), "same", &["true"]))
        .collect();
    let output = supervisor.cli(&["inspect", "same"]);
    assert_eq!(code(&output), 2, "{output:?}");
    for id in &ids {
        assert!(stderr(&output).contains(id), "{output:?}");
    }
    supervisor.ok(&["rm", &ids[0]]);
    let left = json(&supervisor.ok(&["inspect", "same"]));
    assert_eq!(left["status"]["id"], ids[1].as_str());
    assert_eq!(supervisor.ok(&["pods", "-q"]).lines().count(), 2);
    supervisor.ok(&["pods", "stop", "one"]);
    supervisor.ok(&["pods", "rm", "one", "two"]);
    assert_eq!(supervisor.ok(&["ps", "-aq"]), "");
}

#[test]
fn logs_are_shown_whole_in_part_and_as_they_grow() {
    let supervisor = with_image();
    let script = "echo 1; echo 2; echo 3; while ! [ -e /go ]; do sleep 0.1; done; echo 4; echo e >&2; exit 5";
    supervisor.ok(&run_words(&[
        "-d", "--name", "app", IMAGE, "sh", "-c", script,
    ]));
    poll::until("the first lines", || {
        let text = supervisor.ok(&["logs", "app"]);
        if text == "1\n2\n3\n" {
            Ok(())
        } else {
            Err(text)
        }
    });
    assert_eq!(supervisor.ok(&["logs", "--tail", "1", "app"]), "3\n");
    assert_eq!(
        supervisor.ok(&["logs", "--since", "1h", "app"]),
        "1\n2\n3\n"
    );
    assert_eq!(supervisor.ok(&["logs", "--since", "2500-01-01", "app"]), "");
    let timed = supervisor.ok(&["logs", "-t", "app"]);
    let first = timed.lines().next().unwrap();
    assert!(first.starts_with("20") && first.ends_with("Z 1"), "{timed}");
    let mut following = Running::start(&supervisor, &["logs", "-f", "-n", "1", "app"]);
    assert_eq!(following.line(), "3\n");
    supervisor.ok(&["exec", "app", "touch", "/go"]);
    let (code, rest, errors) = following.end();
    // The two streams are two pipes: between them there is no order.
    assert_eq!((code, rest.as_str(), errors.as_str()), (0, "4\n", "e\n"));
    let all = supervisor.cli(&["logs", "app"]);
    assert_eq!((stdout(&all), stderr(&all)), ("1\n2\n3\n4\n", "e\n"));
}

#[test]
fn a_log_is_followed_over_its_rotation() {
    let supervisor = with_image();
    let pod = supervisor.run_pod("rotated");
    let script = "i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo $i; sleep 0.01; done";
    let id = supervisor.run(&pod, "rotated", &["sh", "-c", script]);
    let following = Running::start(&supervisor, &["logs", "-f", &id]);
    let log = supervisor.log_of("rotated");
    let (mut runtime, _) = supervisor.client();
    for number in 0..3 {
        let size = |path| fs::metadata(path).map_or(0, |metadata| metadata.len());
        poll::until("the log has grown", || {
            if size(&log) > 100 {
                Ok(())
            } else {
                Err(size(&log).to_string())
            }
        });
        // As the kubelet rotates: rename, then ReopenContainerLog.
        let old = log.with_file_name(format!("rotated.log.20240229-10000{number}"));
        fs::rename(&log, old).unwrap();
        let request = cri::ReopenContainerLogRequest {
            container_id: id.clone(),
        };
        let reopened = supervisor.wait(runtime.reopen_container_log(request));
        supervisor.expect(reopened);
    }
    let (code, text, errors) = following.end();
    let expected: String = (1..=400).map(|number| format!("{number}\n")).collect();
    assert_eq!(text, expected, "{errors}");
    assert_eq!(code, 0);
    assert_eq!(supervisor.ok(&["logs", &id]), expected);
}

#[test]
fn exec_gives_the_output_and_the_exit_code_of_its_program() {
    let supervisor = with_image();
    supervisor.ok(&run_words(&[
        "-d", "--name", "app", "-e", "A=b", IMAGE, "sleep", "600",
    ]));
    let script = "echo $A; echo err >&2; exit 4";
    let output = supervisor.cli(&["exec", "app", "sh", "-c", script]);
    assert_eq!(code(&output), 4, "{output:?}");
    assert_eq!((stdout(&output), stderr(&output)), ("b\n", "err\n"));
    let missing = supervisor.cli(&["exec", "app", "no-such-program"]);
    assert_eq!(code(&missing), 127, "{missing:?}");
    let terminal = supervisor.cli(&["exec", "-t", "app", "sh"]);
    assert_eq!(code(&terminal), 125);
    assert!(stderr(&terminal).contains("not supported yet"));
    let late = supervisor.cli(&["--timeout", "1s", "exec", "app", "sleep", "60"]);
    assert_eq!(code(&late), 125, "{late:?}");
}

#[test]
fn a_signal_reaches_the_program_it_was_sent_to() {
    let supervisor = with_image();
    let script = "trap 'exit 11' HUP; while :; do sleep 0.1; done";
    let id = supervisor.ok(&run_words(&[
        "-d", "--name", "app", IMAGE, "sh", "-c", script,
    ]));
    // A signal without a handler would be lost on a container's init: the shell sets it right after its start.
    poll::until("the end", || {
        drop(supervisor.cli(&["kill", "-s", "hup", "app"]));
        let status = supervisor.status(id.trim());
        if status.state() == cri::ContainerState::ContainerExited {
            assert_eq!(status.exit_code, 11);
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    });
}

#[test]
fn stats_and_events_tell_what_happens() {
    let supervisor = with_image();
    let mut events = Running::start(&supervisor, &["events", "-o", "json"]);
    // Events are those from the connection on, of which nothing tells: make some until one comes.
    let first = supervisor.run_pod("first");
    let id = supervisor.ok(&run_words(&[
        "-d",
        "--name",
        "busy",
        IMAGE,
        "sh",
        "-c",
        "while :; do :; done",
    ]));
    let id = id.trim();
    let stats = poll::until("some processor time", || {
        let stats = json(&supervisor.ok(&["stats", "busy", "-o", "json"]));
        let used = stats[0]["cpu_usage_nanos"].as_u64();
        if used.is_some_and(|used| used > 0) {
            Ok(stats)
        } else {
            Err(stats.to_string())
        }
    });
    assert_eq!(stats[0]["id"], id);
    assert!(
        stats[0]["memory_usage_bytes"].as_u64().unwrap() > 0,
        "{stats}"
    );
    assert!(supervisor.ok(&["stats"]).contains("busy"));
    supervisor.ok(&["rm", "-f", "busy"]);
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last| last != "deleted") {
        let event = json(&events.line());
        if event["container_id"] == id {
            assert_eq!(event["container_name"], "busy");
            seen.push(event["event"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(seen, ["created", "started", "stopped", "deleted"]);
    drop(events);
    supervisor.ok(&["pods", "rm", &first]);
}

#[test]
fn the_plan_of_a_recovery_is_told_without_a_supervisor() {
    let mut supervisor = with_image();
    let id = supervisor.ok(&run_words(&["-d", "--name", "app", IMAGE, "sleep", "600"]));
    supervisor.kill9();
    let state = supervisor.state();
    let words = ["recover", "--dry-run", "--state", state.to_str().unwrap()];
    let plan = json(&supervisor.ok(&[&words[..], &["-o", "json"]].concat()));
    assert_eq!(plan["containers"][0]["id"], id.trim(), "{plan}");
    let table = supervisor.ok(&words);
    assert!(table.contains("app"), "{table}");
    assert_eq!(
        code(&supervisor.cli(&["recover"])),
        2,
        "only --dry-run is there"
    );
    supervisor.restart();
}

#[test]
fn the_exit_code_of_remove_dir_is_what_rmdir_answered() {
    let dir = std::env::temp_dir().join(format!("outlive-remove-dir-{}", std::process::id()));
    fs::create_dir_all(dir.join("full")).unwrap();
    let remove = |path: &std::path::Path| {
        let mut command = std::process::Command::new(support::supervisor::program());
        let status = command.arg("remove-dir").arg(path).status().unwrap();
        status.code().unwrap()
    };
    assert_eq!(remove(&dir), nix::libc::ENOTEMPTY);
    assert_eq!(remove(&dir.join("full")), 0);
    assert_eq!(remove(&dir.join("full")), nix::libc::ENOENT);
    assert_eq!(remove(&dir), 0);
    assert!(!dir.exists());
}
