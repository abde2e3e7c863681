//! What a layer's files are besides their content.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use outlive::sys::xattr;
use tar::EntryType;

use crate::archives::Tar;
use crate::place::{Place, names, shown};

#[test]
fn owners_modes_times_and_kinds_are_those_of_the_archive() {
    let place = Place::new();
    let owned = |header: &mut tar::Header| {
        header.set_mode(0o4755);
        header.set_uid(1234);
        header.set_gid(5678);
        header.set_mtime(1_234_567_890);
    };
    let device = |header: &mut tar::Header| {
        header.set_device_major(7).unwrap();
        header.set_device_minor(300).unwrap();
    };
    let layer = Tar::new()
        .dir("./", 0o751)
        .dir("dir/", 0o1777)
        .member(EntryType::Regular, "dir/program", owned, b"#!")
        .symlink("dir/link", "./program")
        .hard_link("dir/again", "dir/program")
        .member(EntryType::Fifo, "dir/fifo", |_| {}, b"")
        .member(EntryType::Char, "dir/char", device, b"")
        .member(EntryType::Block, "dir/block", device, b"")
        .pax(&[("mtime", b"1000000000.25"), ("uid", b"4000000")])
        .file("dir/exact", "")
        .finish();
    place.load("app", &[layer]).unwrap();
    let root = place.files("app", 0);
    let stat = |name: &str| fs::symlink_metadata(root.join(name)).unwrap();
    assert_eq!(stat("").mode() & 0o7777, 0o751);
    assert_eq!(
        (stat("dir").mode() & 0o7777, stat("dir").mtime()),
        (0o1777, 1_000_000_000)
    );
    let program = stat("dir/program");
    assert_eq!(program.mode() & 0o7777, 0o4755);
    assert_eq!(
        (program.uid(), program.gid(), program.mtime()),
        (1234, 5678, 1_234_567_890)
    );
    assert_eq!(
        (program.nlink(), stat("dir/again").ino()),
        (2, program.ino())
    );
    assert_eq!(
        fs::read_link(root.join("dir/link")).unwrap().to_str(),
        Some("./program")
    );
    assert!(stat("dir/fifo").file_type().is_fifo());
    assert!(stat("dir/char").file_type().is_char_device());
    assert!(stat("dir/block").file_type().is_block_device());
    assert_eq!(stat("dir/char").rdev(), nix::sys::stat::makedev(7, 300));
    let exact = stat("dir/exact");
    assert_eq!(
        (exact.mtime(), exact.mtime_nsec(), exact.uid()),
        (1_000_000_000, 250_000_000, 4_000_000)
    );
}

#[test]
fn extended_attributes_are_kept_byte_for_byte_and_overlayfs_own_are_not() {
    let place = Place::new();
    // VFS_CAP_REVISION_2 with cap_net_raw: 0x0a and NUL are in it on purpose.
    let mut capability = vec![0, 0, 0, 2];
    capability.extend([0x0a, 0x20, 0, 0]);
    capability.extend([0; 12]);
    let layer = Tar::new()
        .pax(&[
            ("SCHILY.xattr.security.capability", &capability),
            ("SCHILY.xattr.trusted.note", b"a\nb"),
        ])
        .file("ping", "")
        .pax(&[
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
            ("SCHILY.xattr.trusted.empty", b""),
        ])
        .dir("dir/", 0o755)
        .finish();
    place.load("app", &[layer]).unwrap();
    let root = place.files("app", 0);
    let get =
        |name: &str, attribute: &str| xattr::get(&root.join(name), OsStr::new(attribute)).unwrap();
    assert_eq!(get("ping", "security.capability"), Some(capability));
    assert_eq!(get("ping", "trusted.note"), Some(b"a\nb".to_vec()));
    assert_eq!(get("dir", "trusted.empty"), Some(Vec::new()));
    assert_eq!(get("dir", "trusted.overlay.opaque"), None);
    assert_eq!(get("dir", "trusted.overlay.redirect"), None);
}

#[test]
fn long_names_are_read_as_gnu_and_as_pax_write_them() {
    let place = Place::new();
    let gnu = format!("gnu/{}/{}", "d".repeat(120), "f".repeat(200));
    let pax = format!("pax/{}/{}", "d".repeat(120), "f".repeat(200));
    let target = "t".repeat(300);
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o644);
    header.set_cksum();
    builder.append_data(&mut header, &gnu, &b"x"[..]).unwrap();
    let gnu_part = builder.into_inner().unwrap();
    let pax_part = Tar::new()
        .pax(&[("path", pax.as_bytes())])
        .file("short", "y")
        .pax(&[("linkpath", target.as_bytes())])
        .symlink("link", "short")
        .finish();
    // Two blocks of zeros end the first one.
    let layer = [&gnu_part[..gnu_part.len() - 1024], &pax_part].concat();
    place.load("app", &[layer]).unwrap();
    let root = place.files("app", 0);
    assert_eq!(fs::read_to_string(root.join(gnu)).unwrap(), "x");
    assert_eq!(fs::read_to_string(root.join(pax)).unwrap(), "y");
    let link = fs::read_link(root.join("link")).unwrap();
    assert_eq!(link.to_str(), Some(target.as_str()));
}

#[test]
fn a_later_member_replaces_an_earlier_one_of_its_name() {
    let place = Place::new();
    let layer = Tar::new()
        .file("a", "first, and longer")
        .file("a", "second")
        .dir("b/", 0o755)
        .file("b/in", "")
        .file("b", "a file now")
        .symlink("c", "/etc")
        .dir("c/", 0o700)
        .file("c/in", "")
        .dir("d/", 0o700)
        .file("d/kept", "")
        .dir("d/", 0o711)
        .finish();
    place.load("app", &[layer]).unwrap();
    let root = place.files("app", 0);
    assert_eq!(fs::read_to_string(root.join("a")).unwrap(), "second");
    assert_eq!(fs::read_to_string(root.join("b")).unwrap(), "a file now");
    assert_eq!(names(&root.join("c")), ["in"]);
    assert_eq!(names(&root.join("d")), ["kept"]);
    assert_eq!(root.join("d").metadata().unwrap().mode() & 0o777, 0o711);
}

#[test]
fn what_cannot_be_unpacked_is_said_and_not_left_out() {
    let place = Place::new();
    let sparse = Tar::new()
        .pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0")])
        .file("sparse", "x")
        .finish();
    let unknown = Tar::new()
        .member(EntryType::new(b'Q'), "strange", |_| {}, b"")
        .finish();
    let below_file = Tar::new().file("a", "").file("a/b", "").finish();
    let dangling = Tar::new().hard_link("a", "nothing").finish();
    let to_directory = Tar::new().dir("d/", 0o755).hard_link("a", "d").finish();
    let nothing = Tar::new().file("a/.wh.", "").finish();
    let dots = Tar::new().file("a/.wh...", "").finish();
    let root = Tar::new().file("/", "").symlink("./", "x").finish();
    for (layer, what) in [
        (sparse, "sparse"),
        (unknown, "0x51"),
        (below_file, "no directory"),
        (dangling, "hard link"),
        (to_directory, "hard link"),
        (nothing, "removes nothing"),
        (dots, "removes nothing"),
        (root, "root"),
    ] {
        let refused = shown(&place.load("app", &[layer]).unwrap_err());
        assert!(refused.contains(what), "{what}: {refused}");
        assert_eq!(place.left(), [""; 0], "{what}");
    }
}
