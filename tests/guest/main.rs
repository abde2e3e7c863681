//! What only the guest can show: cgroup v2, out of memory, checkpoint and restore.
//!
//! `make test-guest` boots it (tests/guest/run.sh) and runs this program there; `cargo test` leaves it out
//! (`test = false` in Cargo.toml), so that nothing here can pass on a machine without the means.

use std::fs;

/// The guest says who it is; anywhere else the tests would judge the wrong machine.
fn in_guest() {
    assert_eq!(
        std::env::var("OUTLIVE_GUEST").as_deref(),
        Ok("1"),
        "run by `make test-guest` only"
    );
}

#[test]
fn every_controller_of_cgroup_v2_is_there_and_handed_down() {
    in_guest();
    for file in ["cgroup.controllers", "cgroup.subtree_control"] {
        let text = fs::read_to_string(format!("/sys/fs/cgroup/{file}")).unwrap();
        let found: Vec<&str> = text.split_whitespace().collect();
        for controller in ["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma"] {
            assert!(
                found.contains(&controller),
                "{file} lacks {controller}: {found:?}"
            );
        }
    }
}
