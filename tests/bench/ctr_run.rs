//! `ctr run --rm` of a container that ends at once: what somebody at a terminal waits for, in full, on a containerd 1.6 that
//! runs already. Only the shim is another.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use crate::bench::Bench;
use crate::fleet;
use crate::measure::{GO, Measure, OUTLIVE, Unit};
use crate::peer::Peer;
use crate::process;
use crate::rpc::DEADLINE;
use crate::shim::millis;
use crate::support::node::Node;
use crate::support::under_test::{Runtime, Version};

/// A fifth of them in a quick run is 5.
const ROUNDS: usize = 25;
/// What containerd 1.6 calls a shim by. It takes the answer of `start` for a bare address, too: one in JSON, as shims of
/// version 3 give it, is no address to it.
const SERVICE: &str = "containerd.task.v2.Task";

pub fn run(bench: &mut Bench) {
    if !Path::new("/usr/bin/containerd").exists() {
        bench.skip("ctr.run", "Debian's containerd is missing");
        return;
    }
    let ours = bench.peers.iter().find(|peer| peer.name == OUTLIVE);
    let ours = ours
        .expect("this project is always measured")
        .binary
        .clone();
    let mut node = Node::start_for(Version::V1_6, Runtime::Outlive(ours));
    let mut peers = Vec::new();
    for peer in bench.peers.clone() {
        if peer.service == SERVICE {
            provide(&node, &peer);
            peers.push(peer);
        } else {
            let why = format!("containerd 1.6 speaks {SERVICE}, not {}", peer.service);
            bench.skip(&format!("ctr.run: {}", peer.name), &why);
        }
    }
    let rounds = bench.rounds(ROUNDS);
    let values = bench.alternate("ctr.run", rounds, &peers, |ground, peer| {
        timed(&node, peer, &ground.new_id())
            .unwrap_or_else(|why| panic!("{why}\n{}", node.log_tail()))
    });
    // What a shim leaves that failed goes with the node.
    if values.iter().all(|values| !values.is_empty()) {
        fleet::leave(&mut node);
    }
    let mut measure = Measure::new(
        "ctr.run",
        "`ctr run --rm` of /bin/true, containerd 1.6",
        Unit::Millis,
    );
    for (peer, values) in peers.iter().zip(values) {
        measure = measure.with(peer.name, values);
    }
    bench.findings.measures.push(measure);
}

/// What containerd makes of a runtime's name to find its shim: `io.containerd.NAME.v2` is `containerd-shim-NAME-v2`.
fn name(peer: &Peer) -> &'static str {
    if peer.name == GO { "runc" } else { peer.name }
}

/// Puts the shim on the PATH of this containerd, whose directory of programs comes first there.
fn provide(node: &Node, peer: &Peer) {
    let file = format!("containerd-shim-{}-v2", name(peer));
    let link = node.dir().join("bin").join(file);
    if !link.exists() {
        symlink(&peer.binary, link).unwrap();
    }
}

/// Milliseconds of the whole command; an error where it fails.
fn timed(node: &Node, peer: &Peer, id: &str) -> Result<f64, String> {
    node.grouped_by(id);
    let runtime = format!("io.containerd.{}.v2", name(peer));
    let mut command = node.ctr_command(&["run", "--rm", "--runtime", &runtime]);
    command.arg("--fifo-dir").arg(node.dir().join("fifo"));
    command.arg("--rootfs").arg(node.rootfs());
    command.args([id, "/bin/true"]).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let began = Instant::now();
    let mut child = command.spawn().unwrap();
    let has_ended = process::held(child.id()).is_none_or(|held| held.wait(DEADLINE).unwrap());
    let took = millis(began.elapsed());
    if !has_ended {
        child.kill().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        return Ok(took);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let hangs = if has_ended { "" } else { "does not end; " };
    Err(format!("{hangs}{}: {}", output.status, said.trim()))
}
