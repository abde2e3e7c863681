//! The shim below real containerd daemons: every test runs on containerd 1.6, 1.7 and 2.x, driven by the `ctr` of the same version.
//!
//! The names say which: `cargo test --test containerd v1_6::` runs one version's. tests/support/node.rs and under_test.rs list the environment variables.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

#[path = "../support/fifo_reader.rs"]
mod fifo_reader;
#[path = "../support/mod.rs"]
mod support;

/// Makes three tests of each function named, one per version of containerd.
macro_rules! on_every_containerd {
    ($($test:ident),+ $(,)?) => {
        on_every_containerd!(@ v1_6 V1_6 $($test)+);
        on_every_containerd!(@ v1_7 V1_7 $($test)+);
        on_every_containerd!(@ v2 V2 $($test)+);
    };
    (@ $module:ident $version:ident $($test:ident)+) => {
        mod $module {
            $(#[test]
            fn $test() {
                $crate::support::node::on($crate::support::under_test::Version::$version, super::$test);
            })+
        }
    };
}

mod away;
mod crash;
mod events;
mod execs;
mod exits;
mod groups;
mod images;
mod lifecycle;
mod modes;
mod namespaces;
mod outage;
mod shim;
mod stdio;
