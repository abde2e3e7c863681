//! Taking all mounts of a bundle away.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::mount::MsFlags;

use outlive::sys::mount::{self, MountError, unmount_tree};

use crate::bundle::{Bundle, described};

#[test]
fn mapped_directories_of_a_killed_shim_are_taken_away_and_their_content_stays() {
    let bundle = Bundle::new();
    let source = bundle.dir("source");
    fs::write(source.join("file"), "").unwrap();
    let left = bundle.dir("idmapped/0");
    nix::mount::mount(
        Some(&source),
        &left,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .unwrap();
    bundle.unmount_all_but(&[]);
    assert!(source.join("file").exists());
}

#[test]
fn stacked_and_hidden_mounts_and_odd_names_are_all_unmounted() {
    let bundle = Bundle::new();
    bundle.mount("tmpfs", "one", "", &[]).unwrap();
    bundle.mount("tmpfs", "two", "a b\nc\\d\té#", &[]).unwrap();
    bundle
        .mount("tmpfs", "three", "a b\nc\\d\té#/x\\040y", &[])
        .unwrap();
    bundle.mount("tmpfs", "four", "a b\nc\\d\té#", &[]).unwrap();
    bundle.mount("tmpfs", "five", "", &[]).unwrap();
    bundle.mount("tmpfs", "six", "", &[]).unwrap();
    // Not below it, although the name begins the same.
    let neighbour = bundle.dir("rootfs-neighbour");
    mount::mount(&described("tmpfs", "tmpfs", "", &[]), &neighbour).unwrap();
    assert_eq!(bundle.mounted().len(), 7);
    bundle.unmount_all_but(&["rootfs-neighbour"]);
}

#[test]
fn a_busy_mount_is_detached_after_a_bounded_time() {
    let bundle = Bundle::new();
    bundle.mount("tmpfs", "tmpfs", "", &[]).unwrap();
    bundle.mount("tmpfs", "tmpfs", "below", &[]).unwrap();
    let open = fs::File::create(bundle.rootfs().join("below/file")).unwrap();
    let start = Instant::now();
    bundle.unmount_all_but(&[]);
    let took = start.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    drop(open);
}

#[test]
fn unmounting_where_there_is_nothing_is_fine() {
    let bundle = Bundle::new();
    unmount_tree(&bundle.0.join("none/rootfs")).unwrap();
    unmount_tree(&bundle.0.join("none")).unwrap();
    assert!(matches!(
        unmount_tree(Path::new("/")),
        Err(MountError::Unmount { .. })
    ));
}
