//! Root filesystem mounts with real filesystems. Run as root, with mkfs.ext4 (Debian's package e2fsprogs) on PATH and
//! the kernel's overlay, ext4 and loop; nothing is skipped, what is missing fails the test that needs it.
//!
//! Each test has a mount namespace of its own, that of its thread, so that not even a failed one leaves mounts behind.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails, in its helper functions too"
)]

#[path = "mounts/bundle.rs"]
mod bundle;
#[path = "mounts/idmapped.rs"]
mod idmapped;
#[path = "mounts/images.rs"]
mod images;
#[path = "mounts/overlays.rs"]
mod overlays;
#[path = "mounts/unmounting.rs"]
mod unmounting;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use outlive::sys::mount::{self, MountError, Step};

use bundle::{Bundle, described, errno, failed_at};

#[test]
fn a_tmpfs_gets_its_data_and_its_flags() {
    let bundle = Bundle::new();
    bundle
        .mount("tmpfs", "tmpfs", "", &["size=64k", "noexec", "nosuid"])
        .unwrap();
    let stat = nix::sys::statvfs::statvfs(&bundle.rootfs()).unwrap();
    assert_eq!(stat.blocks() * stat.fragment_size(), 64 << 10);
    let flags = nix::sys::statvfs::FsFlags::ST_NOEXEC | nix::sys::statvfs::FsFlags::ST_NOSUID;
    assert!(stat.flags().contains(flags), "{:?}", stat.flags());
    bundle.unmount_all_but(&[]);
}

#[test]
fn a_read_only_bind_mount_refuses_writes_and_keeps_the_flags_of_its_source() {
    let bundle = Bundle::new();
    let source = bundle.dir("source");
    fs::write(source.join("file"), "content").unwrap();
    bundle
        .mount("bind", &source, "", &["rbind", "nosuid"])
        .unwrap();
    bundle
        .mount("", bundle.rootfs(), "", &["bind", "ro"])
        .unwrap();
    let file = bundle.rootfs().join("file");
    assert_eq!(fs::read_to_string(&file).unwrap(), "content");
    assert_eq!(
        errno(&fs::write(&file, "x").unwrap_err()),
        Some(libc::EROFS)
    );
    fs::write(source.join("file"), "the source stays writable").unwrap();
    let flags = nix::sys::statvfs::statvfs(&file).unwrap().flags();
    assert!(
        flags.contains(nix::sys::statvfs::FsFlags::ST_NOSUID),
        "{flags:?}"
    );
    bundle.unmount_all_but(&[]);
}

#[test]
fn rbind_takes_mounts_below_along_and_bind_does_not() {
    let bundle = Bundle::new();
    let source = bundle.dir("source");
    fs::create_dir(source.join("below")).unwrap();
    mount::mount(&described("tmpfs", "tmpfs", "below", &[]), &source).unwrap();
    fs::write(source.join("below/file"), "").unwrap();
    bundle
        .mount("bind", &source, "recursive", &["rbind", "rprivate"])
        .unwrap();
    bundle
        .mount("bind", &source, "alone", &["bind", "rw"])
        .unwrap();
    assert!(bundle.rootfs().join("recursive/below/file").exists());
    assert!(!bundle.rootfs().join("alone/below/file").exists());
    bundle.unmount_all_but(&["source/below"]);
}

#[test]
fn propagation_is_set_by_calls_of_their_own() {
    let bundle = Bundle::new();
    bundle
        .mount("tmpfs", "tmpfs", "", &["rslave", "ro", "shared"])
        .unwrap();
    let all = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let point = bundle.rootfs().to_str().unwrap().to_owned();
    let line = all
        .lines()
        .find(|line| line.split(' ').nth(4) == Some(&point))
        .unwrap();
    assert!(line.contains(" shared:") && line.contains(" ro,"), "{line}");
    bundle.unmount_all_but(&[]);
}

#[test]
fn a_remount_changes_what_is_mounted_already() {
    let bundle = Bundle::new();
    bundle.mount("tmpfs", "tmpfs", "", &[]).unwrap();
    bundle
        .mount("tmpfs", "tmpfs", "", &["remount", "ro"])
        .unwrap();
    assert_eq!(bundle.mounted().len(), 1);
    assert_eq!(
        errno(&fs::write(bundle.rootfs().join("x"), "").unwrap_err()),
        Some(libc::EROFS)
    );
    bundle.unmount_all_but(&[]);
}

#[test]
fn a_target_never_leaves_the_root_filesystem() {
    let bundle = Bundle::new();
    let outside = bundle.dir("outside");
    let (rootfs, outside_name) = (bundle.rootfs(), outside.to_str().unwrap());
    symlink(outside_name, rootfs.join("absolute")).unwrap();
    symlink("../outside", rootfs.join("relative")).unwrap();
    symlink("..", rootfs.join("up")).unwrap();
    symlink("/proc/self/root", rootfs.join("magic")).unwrap();
    fs::create_dir(rootfs.join("outside")).unwrap();
    let targets = [
        "../outside",
        "../../../../outside",
        "up/outside",
        "relative",
        "up/up/new",
        "/a/../../outside",
    ];
    for target in targets {
        bundle
            .mount("tmpfs", "tmpfs", target, &[])
            .unwrap_or_else(|error| panic!("{target}: {error}"));
    }
    // These point to what the root filesystem does not have.
    for target in ["absolute", "absolute/new", "magic/tmp"] {
        failed_at(Step::Target, bundle.mount("tmpfs", "tmpfs", target, &[]));
    }
    let mounted = bundle.mounted();
    let rootfs = rootfs.to_str().unwrap();
    assert_eq!(mounted.len(), targets.len());
    assert!(
        mounted
            .iter()
            .all(|point| point.starts_with(&format!("{rootfs}/"))),
        "{mounted:?}"
    );
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    bundle.unmount_all_but(&[]);
}

#[test]
fn a_missing_target_is_made_and_an_existing_file_can_be_one() {
    let bundle = Bundle::new();
    bundle.mount("tmpfs", "tmpfs", "a/b/./c", &[]).unwrap();
    fs::write(bundle.rootfs().join("file"), "under").unwrap();
    let source = bundle.dir("source").join("file");
    fs::write(&source, "over").unwrap();
    bundle
        .mount("bind", &source, "/file", &["bind", "ro"])
        .unwrap();
    assert_eq!(
        fs::read_to_string(bundle.rootfs().join("file")).unwrap(),
        "over"
    );
    assert_eq!(bundle.mounted().len(), 2);
    bundle.unmount_all_but(&[]);
}

#[test]
fn fuse_types_are_left_to_their_helper() {
    let bundle = Bundle::new();
    let fuse = described(
        "fuse3.fuse-overlayfs",
        "overlay",
        "a",
        &["lowerdir=/a:/b", "ro"],
    );
    let refused = mount::mount(&fuse, &bundle.rootfs());
    assert!(
        matches!(refused, Err(MountError::NeedsHelper { .. })),
        "{refused:?}"
    );
    let target = mount::target_path(&fuse, &bundle.rootfs()).unwrap();
    assert_eq!(target, bundle.rootfs().join("a"));
    let argv = mount::helper(&fuse, Path::new("/t")).unwrap();
    let expected = [
        "mount.fuse3",
        "overlay",
        "/t",
        "-o",
        "lowerdir=/a:/b",
        "-o",
        "ro",
        "-t",
        "fuse-overlayfs",
    ];
    assert_eq!(argv, expected);
    assert_eq!(
        mount::helper(&described("fuse.x", "s", "", &[]), Path::new("/t")).unwrap()[0],
        "mount.fuse"
    );
    assert_eq!(
        mount::helper(&described("fuseblk", "s", "", &[]), Path::new("/t")),
        None
    );
}

#[test]
fn a_failure_tells_the_step_the_source_and_the_target() {
    let bundle = Bundle::new();
    let error = bundle
        .mount("nosuchfs", "/dev/none", "sub", &[])
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("mounting") && text.contains("/dev/none") && text.contains("rootfs/sub"),
        "{text}"
    );
    assert_eq!(failed_at(Step::Mount, Err(error)), Some(libc::ENODEV));
}
