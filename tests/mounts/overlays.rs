//! Overlays of many, long and oddly named directories.

use std::fs;

use outlive::sys::mount::MountError;

use crate::bundle::Bundle;

/// `count` lower directories with long names, each with a file of its own.
fn lowerdirs(bundle: &Bundle, count: usize) -> Vec<String> {
    let lowerdir = |number: usize| {
        let dir = bundle.dir(&format!("snapshots-{}/{number}/fs", "n".repeat(80)));
        fs::write(dir.join(format!("file-{number}")), number.to_string()).unwrap();
        dir.to_str().unwrap().to_owned()
    };
    (0..count).map(lowerdir).collect()
}

#[test]
fn an_overlay_of_sixty_long_lower_directories_shows_all_of_them() {
    let bundle = Bundle::new();
    // Not every filesystem can be an upper directory (an overlay cannot).
    let scratch = bundle.ext4("scratch");
    for name in ["upper", "work"] {
        fs::create_dir(scratch.join(name)).unwrap();
    }
    let lowerdir = format!("lowerdir={}", lowerdirs(&bundle, 60).join(":"));
    assert!(lowerdir.len() > 4096);
    let upper = format!("upperdir={}", scratch.join("upper").display());
    let work = format!("workdir={}", scratch.join("work").display());
    let before = (
        std::env::current_dir().unwrap(),
        fs::read_dir("/proc/self/task").unwrap().count(),
    );
    bundle
        .mount(
            "overlay",
            "overlay",
            "",
            &["index=off", &work, &upper, &lowerdir],
        )
        .unwrap();
    assert_eq!(std::env::current_dir().unwrap(), before.0);
    for number in 0..60 {
        let path = bundle.rootfs().join(format!("file-{number}"));
        assert_eq!(fs::read_to_string(path).unwrap(), number.to_string());
    }
    fs::write(bundle.rootfs().join("new"), "x").unwrap();
    assert!(scratch.join("upper/new").exists());
    bundle.unmount_all_but(&["scratch"]);
}

#[test]
fn options_that_no_working_directory_makes_short_enough_are_refused() {
    let bundle = Bundle::new();
    let lowerdir = format!(
        "lowerdir={}:/{}",
        lowerdirs(&bundle, 60).join(":"),
        "x".repeat(200)
    );
    match bundle.mount("overlay", "overlay", "", &[&lowerdir]) {
        Err(error @ MountError::OptionsTooLong { .. }) => {
            assert!(error.to_string().contains("4095"), "{error}")
        }
        other => panic!("{other:?}"),
    }
    bundle.unmount_all_but(&[]);
}

#[test]
fn a_lower_directory_with_a_colon_and_a_comma_is_found() {
    let bundle = Bundle::new();
    for name in ["a:b,c", "d"] {
        fs::write(bundle.dir(name).join(name), "").unwrap();
    }
    let base = bundle.0.to_str().unwrap();
    let lowerdir = format!(r"lowerdir={base}/a\:b\,c:{base}/d");
    bundle
        .mount("overlay", "overlay", "", &[&lowerdir])
        .unwrap();
    assert!(bundle.rootfs().join("a:b,c").exists() && bundle.rootfs().join("d").exists());
    bundle.unmount_all_but(&[]);
}
