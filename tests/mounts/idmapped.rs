//! Owners shifted by id mappings.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use outlive::sys::mount::MountError;

use crate::bundle::{Bundle, attached, errno, poll};

const MAPPED: [&str; 2] = ["uidmap=0:100000:65536", "gidmap=0:200000:65536"];

fn owner(path: &Path) -> (u32, u32) {
    let metadata = fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (metadata.uid(), metadata.gid())
}

#[test]
fn an_idmapped_bind_mount_shows_shifted_owners_and_keeps_its_flags() {
    let bundle = Bundle::new();
    let source = bundle.ext4("source");
    fs::write(source.join("file"), "").unwrap();
    std::os::unix::fs::chown(source.join("file"), Some(7), Some(9)).unwrap();
    let options = ["rbind", "ro", MAPPED[0], MAPPED[1]];
    bundle.mount("bind", &source, "", &options).unwrap();
    assert_eq!(owner(&bundle.rootfs().join("file")), (100_007, 200_009));
    assert_eq!(owner(&source.join("file")), (7, 9));
    let refused = fs::write(bundle.rootfs().join("file"), "x").unwrap_err();
    assert_eq!(errno(&refused), Some(libc::EROFS));
    bundle.unmount_all_but(&["source"]);
}

#[test]
fn an_idmapped_image_shows_shifted_owners() {
    let bundle = Bundle::new();
    let image = bundle.image("disk.img");
    bundle
        .mount("ext4", &image, "", &["loop", MAPPED[0], MAPPED[1]])
        .unwrap();
    assert_eq!(
        owner(&bundle.rootfs().join("lost+found")),
        (100_000, 200_000)
    );
    bundle.unmount_all_but(&[]);
    poll(
        "the device is detached",
        || attached(&bundle.0),
        Vec::is_empty,
    );
}

#[test]
fn an_idmapped_overlay_shows_shifted_owners_and_leaves_no_mapped_directories() {
    let bundle = Bundle::new();
    let disk = bundle.ext4("disk");
    for name in ["lower0", "lower1", "upper", "work"] {
        fs::create_dir(disk.join(name)).unwrap();
    }
    fs::write(disk.join("lower0/zero"), "0").unwrap();
    fs::write(disk.join("lower1/one"), "1").unwrap();
    std::os::unix::fs::chown(disk.join("lower1/one"), Some(7), Some(9)).unwrap();
    let disk = disk.to_str().unwrap();
    let lower = format!("lowerdir={disk}/lower0:{disk}/lower1");
    let upper = format!("upperdir={disk}/upper");
    let work = format!("workdir={disk}/work");
    bundle
        .mount(
            "overlay",
            "overlay",
            "",
            &[&lower, &upper, &work, MAPPED[0], MAPPED[1]],
        )
        .unwrap();
    assert!(!bundle.0.join("idmapped").exists());
    assert_eq!(owner(&bundle.rootfs().join("zero")), (100_000, 200_000));
    assert_eq!(owner(&bundle.rootfs().join("one")), (100_007, 200_009));
    assert_eq!(
        fs::read_to_string(bundle.rootfs().join("one")).unwrap(),
        "1"
    );
    bundle.unmount_all_but(&["disk"]);
}

#[test]
fn an_idmapped_overlay_of_sixty_long_lower_directories_works_too() {
    let bundle = Bundle::new();
    let disk = bundle.ext4("disk");
    let lowerdir = |number: usize| {
        let dir = disk.join(format!("{}-{number}", "n".repeat(90)));
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join(format!("file-{number}")), "").unwrap();
        dir.to_str().unwrap().to_owned()
    };
    let lower = format!(
        "lowerdir={}",
        (0..60).map(lowerdir).collect::<Vec<_>>().join(":")
    );
    assert!(lower.len() > 4096);
    bundle
        .mount("overlay", "overlay", "", &[&lower, MAPPED[0], MAPPED[1]])
        .unwrap();
    assert_eq!(owner(&bundle.rootfs().join("file-59")), (100_000, 200_000));
    bundle.unmount_all_but(&["disk"]);
}

#[test]
fn a_bad_mapping_is_refused_before_anything_is_mounted() {
    let bundle = Bundle::new();
    for options in [
        &["uidmap=0:1", "gidmap=0:1:1"][..],
        &["uidmap=0:1:1"],
        &["gidmap=x:1:1"],
    ] {
        let refused = bundle.mount("tmpfs", "tmpfs", "", options);
        assert!(
            matches!(refused, Err(MountError::BadOption { .. })),
            "{refused:?}"
        );
    }
    let unmappable = bundle.mount("overlay", "overlay", "", &MAPPED);
    assert!(
        matches!(unmappable, Err(MountError::BadOption { .. })),
        "{unmappable:?}"
    );
    assert_eq!(bundle.mounted(), [""; 0]);
}
