//! Where the bytes of a task go and come from.

use crate::fifo::{Input, Output, make};
use crate::leaks;
use crate::program;
use crate::rpc::*;
use crate::shim::*;
use crate::spec::process;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::ttrpc::Code;
use std::os::unix::fs::PermissionsExt;

fn uri(scheme: &str, path: &std::path::Path) -> String {
    format!("{scheme}://{}", path.display())
}

#[test]
fn stdout_and_stderr_reach_their_fifos_to_the_last_byte() {
    let lab = Lab::new();
    let mut c = lab.shim("c1", "echo out; echo err >&2; printf tail");
    let (out, err) = (
        Output::new(&c.bundle.join("out")),
        Output::new(&c.bundle.join("err")),
    );
    c.set_stdio(&Stdio {
        stdout: out.uri(),
        stderr: err.uri(),
        ..Stdio::default()
    });
    c.create().unwrap();
    let state = c.state().unwrap();
    assert_eq!(
        (state.stdout, state.stderr, state.terminal),
        (out.uri(), err.uri(), false)
    );
    c.start().unwrap();
    c.wait().unwrap();
    c.delete().unwrap();
    assert_eq!(
        (out.to_end(), err.to_end()),
        (b"out\ntail".to_vec(), b"err\n".to_vec())
    );
}

/// containerd's shim fails here: it opens "".
#[test]
fn a_stream_that_nobody_asked_for_goes_nowhere() {
    let lab = Lab::new();
    let mut c = lab.shim("c1", "echo err >&2; echo out");
    let out = Output::new(&c.bundle.join("out"));
    c.set_stdio(&Stdio {
        stdout: out.uri(),
        ..Stdio::default()
    });
    c.create().unwrap();
    c.start().unwrap();
    assert_eq!(out.to_end(), b"out\n");
}

#[test]
fn a_fifo_uri_is_a_fifo() {
    let lab = Lab::new();
    let mut c = lab.shim("c1", "echo out");
    let out = Output::new(&c.bundle.join("out"));
    c.set_stdio(&Stdio {
        stdout: uri("fifo", &out.path),
        stderr: uri("fifo", &out.path),
        ..Stdio::default()
    });
    c.create().unwrap();
    c.start().unwrap();
    assert_eq!(out.to_end(), b"out\n");
}

#[test]
fn ten_megabytes_pass_a_fifo_unchanged() {
    let lab = Lab::new();
    let data = lab.dir.join("rootfs/data");
    let bytes: Vec<u8> = (0..10_000_000_u32)
        .flat_map(|number| {
            number
                .wrapping_mul(2_654_435_761)
                .to_le_bytes()
                .into_iter()
                .take(1)
        })
        .collect();
    std::fs::write(&data, &bytes).unwrap();
    let mut c = lab.shim("c1", "exec cat /data");
    let out = Output::new(&c.bundle.join("out"));
    c.set_stdio(&Stdio::to(&out));
    c.create().unwrap();
    c.start().unwrap();
    c.wait().unwrap();
    c.delete().unwrap();
    assert!(out.to_end() == bytes, "10 MB differ");
}

#[test]
fn stdin_arrives_and_close_io_ends_it() {
    let lab = Lab::new();
    let mut c = lab.shim("c1", "cat; echo end");
    let stdin = make(&c.bundle.join("in"));
    let out = Output::new(&c.bundle.join("out"));
    let mut input = Input::open(&stdin);
    c.set_stdio(&Stdio::to(&out).with_stdin(&stdin));
    c.create().unwrap();
    c.start().unwrap();
    input.write("hello\n");
    out.until(|text| text == "hello\n");
    drop(input);
    c.close_stdin().unwrap();
    assert_eq!(c.wait().unwrap().exit_status, 0);
    assert_eq!(out.to_end(), b"hello\nend\n");
}

#[test]
fn the_stdin_of_an_exec_closes_alone() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    let stdin = make(&c.bundle.join("in"));
    let out = Output::new(&c.bundle.join("out"));
    let mut input = Input::open(&stdin);
    let exec = c.exec("e1");
    exec.add(&process("exec wc -c"), &Stdio::to(&out).with_stdin(&stdin))
        .unwrap();
    exec.start().unwrap();
    input.write("four");
    drop(input);
    exec.close_stdin().unwrap();
    assert_eq!(exec.wait().unwrap().exit_status, 0);
    exec.delete().unwrap();
    assert_eq!(out.to_end(), b"4\n");
}

#[test]
fn a_terminal_has_the_size_it_was_given_and_echoes() {
    let lab = Lab::new();
    let mut c = lab.shim("c1", "stty size; read word; stty size; tty; echo got $word");
    let stdin = make(&c.bundle.join("in"));
    let out = Output::new(&c.bundle.join("out"));
    let mut input = Input::open(&stdin);
    c.set_stdio(&Stdio::to(&out).with_stdin(&stdin).terminal());
    terminal_in_config(&c);
    c.create().unwrap();
    c.resize(100, 40).unwrap();
    c.start().unwrap();
    out.until(|text| text.contains("40 100"));
    c.resize(132, 50).unwrap();
    input.write("word\n");
    assert_eq!(c.wait().unwrap().exit_status, 0);
    let text = String::from_utf8(out.to_end()).unwrap();
    assert_eq!(
        text,
        "40 100\r\nword\r\n50 132\r\n/dev/pts/0\r\ngot word\r\n"
    );
    assert!(c.state().unwrap().terminal);
}

/// With a terminal it is the bundle that says so too; containerd writes both.
fn terminal_in_config(c: &Container) {
    let path = c.bundle.join("config.json");
    let mut spec: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    spec["process"]["terminal"] = true.into();
    std::fs::write(path, spec.to_string()).unwrap();
}

#[test]
fn an_exec_can_have_a_terminal_whatever_its_spec_says() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    let out = Output::new(&c.bundle.join("out"));
    let exec = c.exec("e1");
    exec.add(
        &process("read go; stty size; exit 9"),
        &Stdio::to(&out)
            .with_stdin(&make(&c.bundle.join("in")))
            .terminal(),
    )
    .unwrap();
    exec.start().unwrap();
    exec.resize(80, 25).unwrap();
    Input::open(&c.bundle.join("in")).write("\n");
    assert_eq!(exec.wait().unwrap().exit_status, 9);
    assert!(String::from_utf8(out.to_end()).unwrap().contains("25 80"));
}

#[test]
fn without_a_terminal_a_resize_does_nothing() {
    let lab = Lab::new();
    let c = lab.run("c1", "exec sleep 1000");
    c.resize(80, 25).unwrap();
    c.exec_run("e1", "exec sleep 1000").resize(80, 25).unwrap();
}

#[test]
fn a_size_beyond_a_terminal_is_refused_and_harms_nothing() {
    let lab = Lab::new();
    let mut c = lab.shim("c1", "read go; stty size");
    let stdin = make(&c.bundle.join("in"));
    let out = Output::new(&c.bundle.join("out"));
    c.set_stdio(&Stdio::to(&out).with_stdin(&stdin).terminal());
    terminal_in_config(&c);
    c.create().unwrap();
    c.start().unwrap();
    c.resize(80, 25).unwrap();
    assert_eq!(code(c.resize(u32::MAX, u32::MAX)), Code::INVALID_ARGUMENT);
    assert_eq!(code(c.resize(65536, 25)), Code::INVALID_ARGUMENT);
    Input::open(&stdin).write("\n");
    c.wait().unwrap();
    assert!(out.until(|text| text.contains("25 80")).contains("25 80"));
}

#[test]
fn a_file_takes_both_streams_and_keeps_what_it_had() {
    let lab = Lab::new();
    let path = lab.dir.join("deep/er/log");
    for (id, expected) in [("c1", "out\nerr\n"), ("c2", "out\nerr\nout\nerr\n")] {
        let mut c = lab.shim(id, "echo out; sleep 0.2; echo err >&2");
        c.set_stdio(&Stdio {
            stdout: uri("file", &path),
            stderr: uri("file", &path),
            ..Stdio::default()
        });
        c.create().unwrap();
        c.start().unwrap();
        c.wait().unwrap();
        c.delete().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
    }
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(
        path.parent()
            .unwrap()
            .metadata()
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o755
    );
}

/// The program gets fd 3 and 4, its query as arguments, the container's id and namespace and nothing else; closing fd 5 says ready.
/// SIGTERM asks it to end; it drains first.
fn logging_program(scheme: &str, ready: &str) {
    let lab = Lab::new();
    let program = lab.dir.join("logger");
    let script = format!(
        "#!/bin/sh\ntrap '' TERM\n{{ echo \"$CONTAINER_ID $CONTAINER_NAMESPACE $*\"; {ready} exec 5>&-; cat <&3; cat <&4; }} >{}/logged\n",
        lab.dir.display()
    );
    program::write(&program, script);
    let mut c = lab.shim("c1", "echo out; echo err >&2");
    let uri = format!("{}?key=value&flag=a%20b", uri(scheme, &program));
    c.set_stdio(&Stdio {
        stdout: uri.clone(),
        stderr: uri,
        ..Stdio::default()
    });
    c.create().unwrap();
    c.start().unwrap();
    c.wait().unwrap();
    c.delete().unwrap();
    let logged = std::fs::read_to_string(lab.dir.join("logged")).unwrap();
    assert_eq!(
        logged,
        format!("c1 {} key value flag a b\nout\nerr\n", lab.ns)
    );
}

#[test]
fn a_logging_program_that_closes_its_ready_pipe_gets_both_streams() {
    logging_program("binary", "");
}

/// containerd 1.6 does not know it.
#[test]
fn a_logging_program_that_writes_to_its_ready_pipe_gets_both_streams() {
    logging_program("binary-v2", "printf x >&5;");
}

#[test]
fn an_unknown_scheme_is_an_invalid_argument_and_leaves_nothing() {
    let lab = Lab::new();
    let mut c = lab.shim("c1", "exit 0");
    for bad in ["ftp:///x", "cri2:///x", "file://relative", "relative"] {
        c.set_stdio(&Stdio {
            stdout: bad.to_owned(),
            ..Stdio::default()
        });
        assert_eq!(code(c.create()), Code::INVALID_ARGUMENT, "{bad}");
        assert_eq!(code(c.state()), Code::NOT_FOUND, "{bad}");
        assert_eq!(leaks::mounts(&lab.dir).len(), 0, "{bad}");
    }
    c.set_stdio(&Stdio::default());
    c.create().unwrap();
    c.start().unwrap();
    let exec = c.exec("e1");
    let answer = exec.add(
        &process("exit 0"),
        &Stdio {
            stdout: "ftp:///x".to_owned(),
            ..Stdio::default()
        },
    );
    // The task may have ended already; either way there is no exec.
    assert!(matches!(
        code(answer),
        Code::INVALID_ARGUMENT | Code::FAILED_PRECONDITION
    ));
    assert_eq!(code(exec.state()), Code::NOT_FOUND);
}

/// Seen by the OCI runtime: runc then gives them to the user of the process.
#[test]
fn pipes_belong_to_the_uid_and_gid_of_the_options() {
    let lab = Lab::new();
    let mut c = lab.shim("c1", "exec sleep 1000");
    let (program, record) = (lab.dir.join("recorder"), lab.dir.join("owners"));
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *create*) exec 9>&1; stat -L -c %u:%g /dev/fd/0 /dev/fd/9 /dev/fd/2 >{};; esac\nexec runc \"$@\"\n",
        record.display()
    );
    program::write(&program, script);
    let mut options = lab.options();
    options.binary_name = program.display().to_string();
    (options.io_uid, options.io_gid) = (1234, 5678);
    c.set_options(
        "containerd.runc.v1.Options",
        options.write_to_bytes().unwrap(),
    );
    let (stdin, out) = (
        make(&c.bundle.join("in")),
        Output::new(&c.bundle.join("out")),
    );
    c.set_stdio(&Stdio::to(&out).with_stdin(&stdin));
    let input = Input::open(&stdin);
    c.create().unwrap();
    assert_eq!(
        std::fs::read_to_string(record).unwrap(),
        "1234:5678\n".repeat(3)
    );
    drop(input);
}

/// A restart of the daemon closes its ends of the fifos; the task notices neither.
#[test]
fn a_task_outlives_the_readers_of_its_fifos() {
    let lab = Lab::new();
    let mut c = lab.shim(
        "c1",
        "while read line; do echo $line || exit 9; done; exit 8",
    );
    let (stdin, path) = (make(&c.bundle.join("in")), make(&c.bundle.join("out")));
    let first = Input::open(&path);
    let mut input = Input::open(&stdin);
    c.set_stdio(&Stdio {
        stdin: stdin.display().to_string(),
        stdout: path.display().to_string(),
        stderr: path.display().to_string(),
        terminal: false,
    });
    c.create().unwrap();
    c.start().unwrap();
    input.write("one\n");
    drop((first, input));
    let mut again = Input::open(&stdin);
    again.write("two\n");
    let second = Output::attach(&path);
    second.until(|text| text.contains("two"));
    assert_eq!(second.text(), "one\ntwo\n");
    assert_eq!(c.pids().unwrap().len(), 1);
}
