//! What is executed, in instructions as callgrind counts them: figures without noise, for one build of the release binary.
//!
//! `make test` holds them to their targets, so that what a change adds is seen.
//!
//! `start` is the whole action. The CRI log format is counted in a shim that carries output, as the difference between
//! more and less of it, for a thousand lines.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::bench::Bench;
use crate::flood::{Carrier, Flood, Sink};
use crate::measure::{Bound, Measure, OUTLIVE, Unit};
use crate::peer::{self, Peer};
use crate::process;
use crate::shim::Ground;

/// Thousands of instructions: a tenth more than was counted when the limit was set, and what one processor differs from another.
const START: f64 = 210.0;
/// The same; how much a read(2) brings, and so how often it is called, is another every time.
const RECORDS: f64 = 260.0;

const WIDTH: usize = 100;
const LESS: usize = 8 << 20;
const MORE: usize = 24 << 20;

pub fn run(bench: &mut Bench) {
    if let Some(why) = absence() {
        return bench.skip("instructions", &why);
    }
    let start = Measure::new(
        "instructions.start",
        "`start` action",
        Unit::KiloInstructions,
    );
    let start = start
        .with(OUTLIVE, vec![of_start(&bench.ground)])
        .held_to(Bound::Below(START));
    let title = format!("a thousand CRI log records of {WIDTH} bytes");
    let records = Measure::new("instructions.records", &title, Unit::KiloInstructions);
    let records = records
        .with(OUTLIVE, vec![of_records(&bench.ground)])
        .held_to(Bound::Below(RECORDS));
    bench.findings.measures.extend([start, records]);
}

/// Why nothing can be counted on this machine, if so.
fn absence() -> Option<String> {
    let mut command = Command::new("valgrind");
    let output = command.arg("--version").stdin(Stdio::null()).output();
    output.err().map(|error| format!("valgrind: {error}"))
}

/// This project's shim; of each process that is counted there is a file `counted.PID`, with its children's too where
/// they are followed.
fn counted(ground: &Ground, follows: bool) -> Peer {
    let events = format!("TTRPC_ADDRESS={}", ground.events.socket.display());
    let words = [
        // How large the environment is would count too.
        "env",
        "-i",
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
        &events,
        "valgrind",
        "--tool=callgrind",
        "--callgrind-out-file=/dev/null",
        // The OCI runtime and all that it starts are not ours.
        "--trace-children-skip=*runc*,*crun*",
        if follows {
            "--trace-children=yes"
        } else {
            "--trace-children=no"
        },
    ];
    let log = format!("--log-file={}/counted.%p", ground.dir.display());
    Peer {
        under: words.map(str::to_owned).into_iter().chain([log]).collect(),
        ..peer::outlive()
    }
}

/// Thousands of instructions that a process had executed at its end; `None` where it became another program.
fn count(counted: &Path) -> Option<f64> {
    let text = fs::read_to_string(counted).unwrap();
    let (_, count) = text.split_once("Collected : ")?;
    let count: f64 = count.lines().next()?.trim().parse().ok()?;
    Some(count / 1000.0)
}

fn of_start(ground: &Ground) -> f64 {
    let bundle = ground.bundle(&["/bin/true"]);
    let (mut shim, _) = bundle.start(ground, &counted(ground, false));
    let pid = shim.pid();
    shim.shutdown();
    process::gone(pid);
    bundle.remove();
    let names = fs::read_dir(&ground.dir).unwrap().flatten();
    let files = names.map(|entry| entry.path());
    let counts: Vec<f64> = files
        .filter(|path| path.file_stem().is_some_and(|stem| stem == "counted"))
        .filter_map(|path| count(&path))
        .collect();
    assert_eq!(counts.len(), 1, "{counts:?}");
    counts[0]
}

fn of_records(ground: &Ground) -> f64 {
    let shim = Carrier::Shim(counted(ground, true));
    let carried = |bytes| {
        let flood = Flood::new(ground, WIDTH, bytes);
        let waiting = flood.prepare(ground, &shim, Sink::Cri);
        waiting.flow();
        let pid = waiting.pid;
        waiting.end();
        let counted = ground.dir.join(format!("counted.{pid}"));
        (count(&counted).expect("callgrind counts"), flood.lines())
    };
    let (less, more) = (carried(LESS), carried(MORE));
    (more.0 - less.0) / (more.1 - less.1) * 1000.0
}
