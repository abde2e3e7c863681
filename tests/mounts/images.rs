//! Image files through loop devices.

use std::fs;

use outlive::sys::mount::Step;

use crate::bundle::{Bundle, attached, errno, failed_at, poll};

#[test]
fn an_image_is_mounted_through_a_loop_device_that_goes_with_the_mount() {
    let bundle = Bundle::new();
    let image = bundle.image("disk.img");
    bundle.mount("ext4", &image, "", &["loop", "rw"]).unwrap();
    assert_eq!(attached(&bundle.0).len(), 1);
    fs::write(bundle.rootfs().join("file"), "kept").unwrap();
    bundle.unmount_all_but(&[]);
    poll(
        "the device is detached",
        || attached(&bundle.0),
        Vec::is_empty,
    );

    bundle
        .mount("ext4", &image, "", &["ro", "loop", "direct-io"])
        .unwrap();
    let file = bundle.rootfs().join("file");
    assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
    assert_eq!(
        errno(&fs::write(&file, "x").unwrap_err()),
        Some(libc::EROFS)
    );
    bundle.unmount_all_but(&[]);
    poll(
        "the device is detached",
        || attached(&bundle.0),
        Vec::is_empty,
    );
}

#[test]
fn an_image_without_a_filesystem_leaves_no_device_behind() {
    let bundle = Bundle::new();
    let image = bundle.0.join("empty.img");
    fs::File::create(&image).unwrap().set_len(1 << 20).unwrap();
    let code = failed_at(Step::Mount, bundle.mount("ext4", &image, "", &["loop"]));
    assert_eq!(code, Some(libc::EINVAL));
    poll(
        "the device is detached",
        || attached(&bundle.0),
        Vec::is_empty,
    );
    let missing = bundle.mount("ext4", bundle.0.join("none"), "", &["loop"]);
    assert_eq!(failed_at(Step::Loop, missing), Some(libc::ENOENT));
}

#[test]
fn devices_attached_at_the_same_time_do_not_take_each_other_away() {
    let bundle = Bundle::new();
    let images = (0..8)
        .map(|n| bundle.image(&format!("{n}.img")))
        .collect::<Vec<_>>();
    std::thread::scope(|scope| {
        for (n, image) in images.iter().enumerate() {
            let bundle = &bundle;
            scope.spawn(move || {
                bundle
                    .mount("ext4", image, &n.to_string(), &["loop"])
                    .unwrap()
            });
        }
    });
    assert_eq!(attached(&bundle.0).len(), 8);
    bundle.unmount_all_but(&[]);
    poll(
        "the devices are detached",
        || attached(&bundle.0),
        Vec::is_empty,
    );
}
