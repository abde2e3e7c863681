//! Layers on top of each other, as a container sees them.

use std::fs;
use std::os::unix::fs::MetadataExt;

use tar::EntryType;

use crate::archives::Tar;
use crate::place::{Place, names};

fn lower() -> Vec<u8> {
    Tar::new()
        .dir("a/", 0o755)
        .file("a/one", "1")
        .file("a/two", "2")
        .dir("b/", 0o755)
        .file("b/one", "1")
        .dir("b/sub/", 0o755)
        .file("b/sub/in", "")
        .dir("c/", 0o755)
        .file("c/one", "1")
        .finish()
}

#[test]
fn whiteouts_hide_files_directories_and_what_was_in_a_directory() {
    let place = Place::new();
    let upper = Tar::new()
        .file("a/.wh.one", "")
        .file("b/.wh.sub", "")
        .file("b/.wh.never-there", "")
        .dir("c/", 0o755)
        .file("c/new", "")
        .file("c/.wh..wh..opq", "")
        .finish();
    place.load("app", &[lower(), upper]).unwrap();
    let rootfs = place.mounted("app");
    assert_eq!(rootfs.names("a"), ["two"]);
    assert_eq!(rootfs.names("b"), ["one"]);
    assert_eq!(rootfs.names("c"), ["new"]);
}

#[test]
fn a_whiteout_does_not_hide_what_its_own_layer_has() {
    let place = Place::new();
    let upper = Tar::new()
        // Before and after; a file and a directory.
        .file("a/.wh.one", "")
        .file("a/one", "new")
        .file("a/two", "new")
        .file("a/.wh.two", "")
        .file(".wh.b", "")
        .dir("b/", 0o755)
        .file("b/fresh", "")
        .dir("c/", 0o755)
        .file("c/fresh", "")
        .file(".wh.c", "")
        .finish();
    place.load("app", &[lower(), upper]).unwrap();
    let rootfs = place.mounted("app");
    assert_eq!(
        (rootfs.read("a/one"), rootfs.read("a/two")),
        ("new".into(), "new".into())
    );
    assert_eq!(rootfs.names("b"), ["fresh"]);
    assert_eq!(rootfs.names("c"), ["fresh"]);
}

#[test]
fn a_file_below_a_removed_directory_makes_it_anew() {
    let place = Place::new();
    let upper = Tar::new().file(".wh.b", "").file("b/fresh", "").finish();
    place.load("app", &[lower(), upper]).unwrap();
    assert_eq!(place.mounted("app").names("b"), ["fresh"]);
}

#[test]
fn a_file_over_a_directory_and_the_other_way_round() {
    let place = Place::new();
    let upper = Tar::new()
        .file("b", "a file now")
        .dir("a/one/", 0o755)
        .file("a/one/in", "")
        // A file in between hides what was there before it, even in one layer.
        .file("c", "x")
        .dir("c/", 0o755)
        .finish();
    place.load("app", &[lower(), upper]).unwrap();
    let rootfs = place.mounted("app");
    assert_eq!(rootfs.read("b"), "a file now");
    assert_eq!(rootfs.names("a/one"), ["in"]);
    assert_eq!(rootfs.names("c"), [""; 0]);
}

#[test]
fn a_hard_link_to_a_file_of_a_lower_layer_is_one_file_in_the_upper() {
    let place = Place::new();
    let owned = |header: &mut tar::Header| {
        header.set_mode(0o4711);
        header.set_uid(42);
    };
    let lower = Tar::new()
        .dir("bin/", 0o700)
        .pax(&[("SCHILY.xattr.trusted.note", b"kept")])
        .member(EntryType::Regular, "bin/program", owned, b"content")
        .symlink("bin/link", "program")
        .finish();
    let middle = Tar::new().file("other", "").finish();
    let upper = Tar::new()
        .hard_link("again", "bin/program")
        .hard_link("and-again", "bin/program")
        .hard_link("linked", "bin/link")
        .finish();
    let loaded = place
        .load("app", &[lower.clone(), middle, upper.clone()])
        .unwrap();
    assert_eq!(loaded.unpacked, 3);
    let files = place.files("app", 2);
    let stat = |name: &str| fs::symlink_metadata(files.join(name)).unwrap();
    assert_eq!((stat("again").nlink(), stat("again").uid()), (3, 42));
    assert_eq!(stat("again").mode() & 0o7777, 0o4711);
    assert_eq!(stat("bin").mode() & 0o777, 0o700);
    assert!(stat("linked").is_symlink());
    {
        let rootfs = place.mounted("app");
        assert_eq!(rootfs.read("and-again"), "content");
        assert_eq!(rootfs.names("bin"), ["link", "program"]);
        let ino = |name: &str| fs::metadata(rootfs.path(name)).unwrap().ino();
        assert_eq!(ino("bin/program"), ino("again"));
    }
    // The same layer over another one is another directory: its content came from below.
    let other = Tar::new()
        .dir("bin/", 0o700)
        .file("bin/program", "other content")
        .symlink("bin/link", "program")
        .finish();
    let loaded = place.load("other", &[other, upper]).unwrap();
    assert_eq!((loaded.unpacked, loaded.shared), (2, 0));
    assert_eq!(place.mounted("other").read("again"), "other content");
    assert_eq!(place.mounted("app").read("again"), "content");
}

#[test]
fn a_hidden_file_is_no_target_for_a_hard_link() {
    let place = Place::new();
    let hides = Tar::new().file("a/.wh.one", "").finish();
    let opaque = Tar::new()
        .dir("b/", 0o755)
        .file("b/.wh..wh..opq", "")
        .finish();
    let upper = |target| Tar::new().hard_link("link", target).finish();
    for (middle, target) in [(hides, "a/one"), (opaque, "b/sub/in")] {
        let refused = place.load("app", &[lower(), middle, upper(target)]);
        assert!(refused.is_err(), "{target}");
    }
    assert_eq!(place.left(), [""; 0]);
}

#[test]
fn a_directory_that_a_layer_does_not_describe_is_that_of_the_layer_below() {
    let place = Place::new();
    let lower = Tar::new()
        .dir("tmp/", 0o1777)
        .dir("usr/", 0o755)
        .dir("usr/lib/", 0o711)
        .symlink("lib", "usr/lib")
        .symlink("abs", "/usr/lib/../lib")
        .finish();
    let upper = Tar::new()
        .file("tmp/file", "")
        .file("lib/one", "")
        .file("abs/two", "")
        .file("new/dir/file", "")
        .finish();
    place.load("app", &[lower, upper]).unwrap();
    let rootfs = place.mounted("app");
    let mode = |name: &str| fs::symlink_metadata(rootfs.path(name)).unwrap().mode() & 0o7777;
    assert_eq!(mode("tmp"), 0o1777);
    assert_eq!(mode("usr/lib"), 0o711);
    assert_eq!(mode("new/dir"), 0o755);
    assert!(rootfs.path("lib").is_symlink());
    assert_eq!(rootfs.names("usr/lib"), ["one", "two"]);
    assert_eq!(
        fs::metadata(rootfs.path("tmp")).unwrap().mtime(),
        1_000_000_000
    );
    // Alone, the same layer is another directory; and a layer that describes all of it is shared.
}

#[test]
fn a_layer_that_leans_on_nothing_is_shared_whatever_is_below_it() {
    let place = Place::new();
    let shared = Tar::new().dir("d/", 0o755).file("d/shared", "").finish();
    let one = Tar::new().file("one", "").finish();
    let two = Tar::new().file("two", "").finish();
    place.load("one", &[one, shared.clone()]).unwrap();
    let loaded = place.load("two", &[two, shared]).unwrap();
    assert_eq!((loaded.unpacked, loaded.shared), (1, 1));
    assert_eq!(place.files("one", 1), place.files("two", 1));
    assert_eq!(place.mounted("two").names(""), ["d", "two"]);
}

#[test]
fn an_overlay_of_a_hundred_and_thirty_layers_mounts() {
    let place = Place::new();
    let layers: Vec<_> = (0..130)
        .map(|number| Tar::new().file(&format!("file-{number}"), "").finish())
        .collect();
    place.load("app", &layers).unwrap();
    let rootfs = place.mounted("app");
    assert_eq!(rootfs.names("").len(), 130);
    fs::write(rootfs.path("new"), "written").unwrap();
    assert_eq!(names(&place.path("container/upper")), ["new"]);
}

#[test]
fn an_image_of_too_many_layers_is_refused() {
    let place = Place::new();
    let layer = Tar::new().file("file", "").finish();
    let refused = place.load("app", &vec![layer; 201]).unwrap_err();
    assert!(refused.to_string().contains("201 layers"), "{refused}");
}

#[test]
fn an_image_without_layers_is_an_empty_directory_to_write_in() {
    let place = Place::new();
    let loaded = place.load("scratch-like", &[]).unwrap();
    assert_eq!((loaded.unpacked, loaded.shared), (0, 0));
    let rootfs = place.mounted("scratch-like");
    assert_eq!(rootfs.names(""), [""; 0]);
    fs::write(rootfs.path("new"), "").unwrap();
}

#[test]
fn a_layer_that_an_image_has_twice_is_there_once() {
    let place = Place::new();
    let one = Tar::new().file("file", "one").finish();
    let two = Tar::new().file("file", "two").finish();
    place.load("app", &[one.clone(), two, one]).unwrap();
    assert_eq!(place.store().get("app").unwrap().layers.len(), 3);
    assert_eq!(place.mounted("app").read("file"), "one");
}
