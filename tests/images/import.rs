//! Root filesystems that are directories.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use outlive::sys::xattr;

use crate::place::{Place, names, shown};

fn rootfs(path: &Path) {
    fs::create_dir_all(path.join("bin")).unwrap();
    fs::copy("/bin/busybox", path.join("bin/busybox")).unwrap();
    fs::hard_link(path.join("bin/busybox"), path.join("bin/sh")).unwrap();
    symlink("./busybox", path.join("bin/ls")).unwrap();
    fs::create_dir(path.join("tmp")).unwrap();
    fs::set_permissions(path.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::write(path.join("tmp/owned"), "mine").unwrap();
    chown(path.join("tmp/owned"), Some(3_000_000), Some(42)).unwrap();
    fs::set_permissions(path.join("tmp/owned"), fs::Permissions::from_mode(0o2755)).unwrap();
    xattr::set(&path.join("tmp/owned"), OsStr::new("trusted.a"), b"1\n2\0").unwrap();
    nix::unistd::mkfifo(&path.join("tmp/fifo"), Mode::S_IRWXU).unwrap();
    let null = path.join("tmp/null");
    mknod(&null, SFlag::S_IFCHR, Mode::S_IRWXU, makedev(1, 3)).unwrap();
    drop(std::os::unix::net::UnixListener::bind(path.join("tmp/socket")).unwrap());
    let deep = path.join(format!("{}/{}", "d".repeat(200), "e".repeat(200)));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("file"), "deep").unwrap();
}

#[test]
fn a_directory_becomes_an_image_that_runs() {
    let place = Place::new();
    rootfs(&place.path("rootfs"));
    let store = place.store();
    let loaded = store
        .import_rootfs(&place.path("rootfs"), "busybox")
        .unwrap();
    assert_eq!((loaded.unpacked, loaded.shared), (1, 0));
    assert_eq!(loaded.tags, ["docker.io/library/busybox:latest"]);
    let image = store.get("busybox").unwrap();
    let config = image.config.config().clone().unwrap();
    assert_eq!(config.cmd().clone().unwrap(), ["/bin/sh"]);
    assert!(config.env().clone().unwrap()[0].starts_with("PATH=/usr/local/sbin:"));

    let root = place.files("busybox", 0);
    let from = place.path("rootfs");
    let stat = |name: &str| fs::symlink_metadata(root.join(name)).unwrap();
    for name in [
        "",
        "bin",
        "bin/busybox",
        "bin/ls",
        "tmp",
        "tmp/owned",
        "tmp/fifo",
        "tmp/null",
    ] {
        let (one, other) = (stat(name), fs::symlink_metadata(from.join(name)).unwrap());
        let facts = |of: &fs::Metadata| {
            (
                of.mode(),
                of.uid(),
                of.gid(),
                of.mtime(),
                of.mtime_nsec(),
                of.rdev(),
            )
        };
        assert_eq!(facts(&one), facts(&other), "{name}");
    }
    assert_eq!(
        (stat("bin/sh").ino(), stat("bin/sh").nlink()),
        (stat("bin/busybox").ino(), 2)
    );
    assert_eq!(
        fs::read_link(root.join("bin/ls")).unwrap().to_str(),
        Some("./busybox")
    );
    let value = xattr::get(&root.join("tmp/owned"), OsStr::new("trusted.a")).unwrap();
    assert_eq!(value.unwrap(), b"1\n2\0");
    assert!(stat("tmp/fifo").file_type().is_fifo());
    assert_eq!(names(&root.join("tmp")), ["fifo", "null", "owned"]);
    let deep = format!("{}/{}/file", "d".repeat(200), "e".repeat(200));
    assert_eq!(fs::read_to_string(root.join(deep)).unwrap(), "deep");

    let mounted = place.mounted("busybox");
    let output = Command::new("chroot")
        .arg(mounted.path(""))
        .args([
            "/bin/sh",
            "-c",
            "echo it runs > /new; /bin/busybox cat /new",
        ])
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"it runs\n", "{output:?}");
}

#[test]
fn the_same_directory_is_the_same_image() {
    let place = Place::new();
    rootfs(&place.path("rootfs"));
    let store = place.store();
    let one = store.import_rootfs(&place.path("rootfs"), "one").unwrap();
    let two = store.import_rootfs(&place.path("rootfs"), "two").unwrap();
    assert_eq!(one.id, two.id);
    assert_eq!((two.unpacked, two.shared), (0, 1));
    assert_eq!(store.list().unwrap().len(), 1);
    assert_eq!(place.left().len(), 2);
}

#[test]
fn what_is_mounted_in_it_is_left_out() {
    let place = Place::new();
    fs::create_dir_all(place.path("rootfs/proc")).unwrap();
    place.tmpfs("rootfs/proc", "1m");
    fs::write(place.path("rootfs/proc/inside"), "").unwrap();
    place
        .store()
        .import_rootfs(&place.path("rootfs"), "app")
        .unwrap();
    assert_eq!(names(&place.files("app", 0).join("proc")), [""; 0]);
    nix::mount::umount(&place.path("rootfs/proc")).unwrap();
}

#[test]
fn what_cannot_be_imported_is_refused_and_nothing_stays() {
    let place = Place::new();
    let store = place.store();
    fs::create_dir(place.path("rootfs")).unwrap();
    fs::write(place.path("rootfs/.wh.file"), "").unwrap();
    let refused = shown(
        &store
            .import_rootfs(&place.path("rootfs"), "app")
            .unwrap_err(),
    );
    assert!(refused.contains(".wh.file"), "{refused}");
    let file = place.write("file", b"");
    assert!(store.import_rootfs(&file, "app").is_err());
    assert!(store.import_rootfs(&place.path("none"), "app").is_err());
    assert!(
        store
            .import_rootfs(&place.path("rootfs"), "NOT A NAME")
            .is_err()
    );
    place.tmpfs("images", "128k");
    fs::remove_file(place.path("rootfs/.wh.file")).unwrap();
    fs::write(place.path("rootfs/large"), vec![0; 1 << 20]).unwrap();
    let refused = store
        .import_rootfs(&place.path("rootfs"), "app")
        .unwrap_err();
    assert!(shown(&refused).contains("no space"), "{}", shown(&refused));
    assert_eq!(place.left(), [""; 0]);
}
