//! The life of a container: `start`, Create, Start, Wait, Delete, Shutdown, and what of it is the shim's own: all of it without
//! what the bare OCI runtime takes for the same container.

use std::process::{Command, Stdio};
use std::time::Instant;

use crate::bench::{Bench, Named};
use crate::measure::{Bound, CRUN, GO, Measure, RUNC, RUST, Unit};
use crate::peer::Peer;
use crate::process;
use crate::shim::{Bundle, Ground, millis};

const ROUNDS: usize = 40;
/// The kernel's floor for starting a program: `/bin/true`.
const TRUE: &str = "true";
const PROGRAM: [&str; 1] = ["/bin/true"];

/// The parts, in order; each has its place in [`Life`].
const PARTS: [(&str, &str); 6] = [
    ("start", "`start` action"),
    ("create", "Create"),
    ("task", "Start"),
    ("wait", "Start's answer to Wait's"),
    ("delete", "Delete"),
    ("shutdown", "Shutdown, until the shim is gone"),
];

/// Milliseconds of each part.
type Life = [f64; PARTS.len()];

/// One who is measured: a shim, or an OCI runtime alone.
enum Subject {
    Shim(Peer),
    Runtime(&'static str),
}

impl Named for Subject {
    fn name(&self) -> &'static str {
        match self {
            Self::Shim(peer) => peer.name,
            Self::Runtime(name) => name,
        }
    }
}

pub fn run(bench: &mut Bench) {
    let mut subjects: Vec<Subject> = bench.peers.iter().cloned().map(Subject::Shim).collect();
    subjects.push(Subject::Runtime(RUNC));
    match crun_absence() {
        None => subjects.push(Subject::Runtime(CRUN)),
        Some(why) => bench.skip("life: crun", why),
    }
    let rounds = bench.rounds(ROUNDS);
    let lives = bench.alternate("life", rounds, &subjects, |ground, subject| match subject {
        Subject::Shim(peer) => of_shim(ground, peer),
        Subject::Runtime(name) => of_runtime(ground, name),
    });
    // What the shims call.
    let floor: Vec<f64> = lives[bench.peers.len()].iter().map(total).collect();
    let mut all = Measure::new("life.total", "a container's life", Unit::Millis);
    let mut own = Measure::new("life.own", "the shim's own part of it", Unit::Millis)
        .held_to(Bound::AtMost {
            times: 0.35,
            of: GO,
        })
        .held_to(Bound::AtMost {
            times: 0.6,
            of: RUST,
        });
    let mut parts: Vec<Measure> = PARTS
        .iter()
        .map(|(id, title)| Measure::new(&format!("life.{id}"), title, Unit::Millis))
        .collect();
    parts[0].targets.push(Bound::AtMost { times: 0.2, of: GO });
    for (subject, lives) in subjects.iter().zip(&lives) {
        let totals: Vec<f64> = lives.iter().map(total).collect();
        let Subject::Shim(peer) = subject else {
            all = all.with(subject.name(), totals);
            continue;
        };
        let rest = totals.iter().zip(&floor).map(|(all, bare)| all - bare);
        own = own.with(peer.name, rest.collect());
        all = all.with(peer.name, totals);
        for (at, part) in parts.iter_mut().enumerate() {
            let values = lives.iter().map(|life| life[at]).collect();
            *part = part.clone().with(peer.name, values);
        }
    }
    bench.findings.measures.extend([all, own]);
    bench.findings.measures.extend(parts);
    let one = one_start(bench);
    bench.findings.measures.push(one);
}

/// Why crun cannot be measured, if so.
fn crun_absence() -> Option<&'static str> {
    if std::path::Path::new("/sys/fs/cgroup/unified/cgroup.procs").exists() {
        return Some("it refuses hybrid cgroups; `make bench` hides the second hierarchy");
    }
    let version = quiet(Command::new(CRUN).arg("--version")).status();
    version.is_err().then_some("it is not installed")
}

/// One program started and waited for, which `start` does not go below: it is one, and starts the server.
fn one_start(bench: &mut Bench) -> Measure {
    let truth = Peer {
        name: TRUE,
        binary: "/bin/true".into(),
        ..bench.peers[0].clone()
    };
    let all: Vec<Peer> = bench.peers.iter().cloned().chain([truth]).collect();
    let rounds = bench.rounds(ROUNDS);
    let starts = bench.alternate("life.exec", rounds, &all, |_, peer| {
        let began = Instant::now();
        finish(quiet(Command::new(&peer.binary).arg("-v")));
        millis(began.elapsed())
    });
    let title = "the program alone, with `-v`";
    let measure = Measure::new("life.exec", title, Unit::Millis);
    let all = all.iter().zip(starts);
    all.fold(measure, |measure, (peer, values)| {
        measure.with(peer.name, values)
    })
}

fn total(life: &Life) -> f64 {
    life.iter().sum()
}

/// Milliseconds since `last`, which becomes now.
fn lap(last: &mut Instant) -> f64 {
    let now = Instant::now();
    let took = millis(now - *last);
    *last = now;
    took
}

fn of_shim(ground: &Ground, peer: &Peer) -> Life {
    let bundle = ground.bundle(&PROGRAM);
    let request = bundle.request();
    let (mut shim, start) = bundle.start(ground, peer);
    let held = process::held(shim.pid()).expect("the shim runs");
    let mut last = Instant::now();
    shim.create(&request);
    let create = lap(&mut last);
    let wait = shim.send_wait("");
    shim.start("");
    let task = lap(&mut last);
    shim.waited(wait);
    let waited = lap(&mut last);
    shim.delete("");
    let delete = lap(&mut last);
    shim.shutdown();
    assert!(held.wait(crate::rpc::DEADLINE).unwrap(), "{}", peer.name);
    let shutdown = lap(&mut last);
    bundle.remove();
    [start, create, task, waited, delete, shutdown]
}

/// The same container without a shim: its calls of the OCI runtime, and the time that its program runs.
fn of_runtime(ground: &Ground, name: &str) -> Life {
    let mut bundle = ground.bundle(&PROGRAM);
    name.clone_into(&mut bundle.runtime);
    let pid_file = bundle.dir.join("pid");
    let mut last = Instant::now();
    let mut create = runtime(&bundle, "create");
    create
        .arg("--bundle")
        .arg(&bundle.dir)
        .arg("--pid-file")
        .arg(&pid_file);
    finish(create.arg(&bundle.id));
    let create = lap(&mut last);
    let pid = std::fs::read_to_string(pid_file).unwrap().parse().unwrap();
    let held = process::held(pid).expect("init waits for its start");
    finish(runtime(&bundle, "start").arg(&bundle.id));
    let task = lap(&mut last);
    assert!(held.wait(crate::rpc::DEADLINE).unwrap());
    let waited = lap(&mut last);
    finish(runtime(&bundle, "delete").arg(&bundle.id));
    let delete = lap(&mut last);
    bundle.remove();
    [0.0, create, task, waited, delete, 0.0]
}

pub fn runtime(bundle: &Bundle, action: &str) -> Command {
    let mut command = Command::new(&bundle.runtime);
    command.arg("--root").arg(&bundle.root).arg(action);
    quiet(&mut command);
    command
}

fn quiet(command: &mut Command) -> &mut Command {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
}

pub fn finish(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}
