//! The shim has nothing of the supervisor in it: what a node pays for each container.

use crate::fleet::{is_release, program};

/// Bytes of the release binary, a third of them the C library's and its own.
const LIMIT: usize = 3_000_000;
/// What only the supervisor and the command line have: names that their crates and our own code bring as text.
const STRANGERS: [&str; 12] = [
    "runtime.v1.",
    "grpc-status",
    "application/grpc",
    "tonic",
    "hyper",
    "prost",
    "clap",
    "oci_spec",
    "oci-spec",
    "k8s_cri",
    "prometheus",
    "ruzstd",
];

fn has(binary: &[u8], text: &str) -> bool {
    binary
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

#[test]
fn the_shim_links_nothing_of_the_supervisor() {
    let supervisor = program();
    let shim = supervisor.with_file_name("containerd-shim-outlive-v2");
    let (supervisor, binary) = (
        std::fs::read(&supervisor).unwrap(),
        std::fs::read(&shim).unwrap(),
    );
    println!(
        "shim {} has {} bytes, the supervisor {}",
        shim.display(),
        binary.len(),
        supervisor.len()
    );
    // One for debugging names the crates that were there when it was built.
    if !is_release(&shim) {
        return;
    }
    let found: Vec<_> = STRANGERS
        .into_iter()
        .filter(|text| has(&binary, text))
        .collect();
    assert!(found.is_empty(), "{found:?} in {}", shim.display());
    assert!(
        has(&supervisor, "runtime.v1.") && has(&supervisor, "grpc-status"),
        "the words that are looked for are in no binary"
    );
    assert!(binary.len() <= LIMIT, "{} bytes", binary.len());
}
