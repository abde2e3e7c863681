//! Bytes that nobody wrote on purpose: whatever they are, they are refused or loaded, and nothing panics.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::archives::{Pack, Tar, docker_archive, layout, tar_of};
use crate::place::Place;

fn run<S: Strategy>(cases: u32, strategy: &S, test: impl Fn(S::Value)) {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(strategy, |value| {
            test(value);
            Ok(())
        })
        .unwrap();
}

fn layer() -> Vec<u8> {
    Tar::new()
        .dir("d/", 0o755)
        .pax(&[("path", b"d/long"), ("SCHILY.xattr.trusted.a", b"1")])
        .file("d/file", "content")
        .symlink("d/link", "../d")
        .hard_link("d/again", "d/long")
        .file("d/.wh.x", "")
        .finish()
}

#[test]
fn arbitrary_bytes_are_no_archive() {
    let place = Place::new();
    let bytes = (
        prop::sample::select(vec![
            &b""[..],
            b"\x1f\x8b\x08",
            b"\x28\xb5\x2f\xfd",
            b"\x50\x2a\x4d\x18",
        ]),
        prop::collection::vec(any::<u8>(), 0..4096),
    );
    run(256, &bytes, |(magic, rest)| {
        let path = place.write("archive", &[magic, &rest].concat());
        assert!(place.store().load(&path, None).is_err());
    });
    assert_eq!(place.left(), [""; 0]);
}

#[test]
fn an_archive_with_some_bytes_changed_is_refused_or_loads() {
    let place = Place::new();
    layout(&place.path("layout"), "app", &[layer()], Pack::Zstd);
    let archives = [
        docker_archive(&["app"], &[layer()]),
        tar_of(&place.path("layout")),
    ];
    let changes = (
        0..archives.len(),
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    );
    run(256, &changes, |(which, changes)| {
        let mut bytes = archives[which].clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let path = place.write("archive", &bytes);
        drop(place.store().load(&path, None));
    });
}

/// A layer's digest is made to fit, so that the changed bytes come to the unpacker.
#[test]
fn a_layer_with_some_bytes_changed_is_refused_or_unpacks() {
    let place = Place::new();
    let good = layer();
    let blocks = good.len() / 512;
    let changes = prop::collection::vec((0..blocks, 0..512_usize, any::<u8>()), 0..6);
    run(256, &changes, |changes| {
        let mut bytes = good.clone();
        for (block, at, byte) in changes {
            bytes[block * 512 + at] = byte;
        }
        // With right sums, more than the sum is looked at.
        for block in bytes.chunks_exact_mut(512) {
            if block.iter().any(|&byte| byte != 0) {
                let sum: u32 = block[..148]
                    .iter()
                    .chain(&block[156..])
                    .map(|&byte| u32::from(byte))
                    .sum();
                block[148..156].copy_from_slice(format!("{:06o}\0 ", sum + 256).as_bytes());
            }
        }
        drop(place.load("app", &[bytes]));
    });
}
