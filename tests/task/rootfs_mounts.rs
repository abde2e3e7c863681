//! The root filesystem: mounted at Create, gone after a failed Create and after Delete.

use crate::fifo::Output;
use crate::leaks;
use crate::rpc::*;
use crate::shim::*;
use crate::spec::mount;
use containerd_shim_protos::api::Status;
use containerd_shim_protos::ttrpc::Code;
use std::fs;

/// The layers as containerd's overlay snapshotter names them: sixty of them are more than the page that mount(2) takes.
#[test]
fn an_overlay_of_sixty_layers_is_mounted() {
    let lab = Lab::new();
    let snapshots = lab
        .dir
        .join("root/io.containerd.snapshotter.v1.overlayfs/snapshots");
    let layer = |number: u32| snapshots.join(format!("{}/fs", 1000 + number));
    for number in 0..60 {
        fs::create_dir_all(layer(number)).unwrap();
        fs::write(layer(number).join(format!("layer{number}")), "").unwrap();
    }
    let (upper, work) = (snapshots.join("2000/fs"), snapshots.join("2000/work"));
    fs::create_dir_all(&upper).unwrap();
    fs::create_dir_all(&work).unwrap();
    let mut lower: Vec<String> = (0..60)
        .map(|number| layer(number).display().to_string())
        .collect();
    lower.push(lab.dir.join("rootfs").display().to_string());
    let options = [
        format!("workdir={}", work.display()),
        format!("upperdir={}", upper.display()),
        format!("lowerdir={}", lower.join(":")),
    ];
    assert!(options[2].len() > 4096);
    let mut c = lab.shim("c1", "ls -d /layer* | wc -l; echo new >/written");
    c.request.rootfs = vec![mount(
        "overlay",
        "overlay",
        &options.each_ref().map(String::as_str),
    )];
    let out = Output::new(&c.bundle.join("out"));
    c.set_stdio(&Stdio::to(&out));
    c.create().unwrap();
    assert_eq!(leaks::mounts(&lab.dir), [c.bundle.join("rootfs")]);
    c.start().unwrap();
    assert_eq!(c.wait().unwrap().exit_status, 0);
    c.delete().unwrap();
    assert_eq!(out.to_end(), b"60\n");
    assert_eq!(fs::read_to_string(upper.join("written")).unwrap(), "new\n");
    assert_eq!(leaks::mounts(&lab.dir).len(), 0);
}

#[test]
fn a_failed_create_unmounts_and_the_next_one_works() {
    let lab = Lab::new();
    let c = lab.shim("c1", "exec sleep 1000");
    let config = c.bundle.join("config.json");
    let good = fs::read_to_string(&config).unwrap();
    for bad in ["{", "{}", &good.replace("\"mount\"", "\"nonsense\"")] {
        fs::write(&config, bad).unwrap();
        let failure = c.create().unwrap_err();
        assert!(!failure.message.is_empty());
        assert_eq!(leaks::mounts(&lab.dir).len(), 0, "after {bad:.9}");
        assert!(!lab.runc_root().join("c1").exists());
        assert_eq!(code(c.state()), Code::NOT_FOUND);
    }
    fs::write(&config, good).unwrap();
    c.create().unwrap();
    c.start().unwrap();
    assert_eq!(c.status(), Status::RUNNING);
    lab.events.wait("start c1");
    assert_eq!(
        lab.events
            .lines()
            .iter()
            .filter(|line| line.starts_with("create"))
            .count(),
        1
    );
}

#[test]
fn a_mount_that_fails_takes_the_ones_before_it_along() {
    let lab = Lab::new();
    let mut c = lab.shim("c1", "exec sleep 1000");
    let good = c.request.rootfs.clone();
    for bad in [
        mount("nosuchfs", "none", &[]),
        mount("bind", "/no/such/source", &["rbind"]),
        mount("overlay", "overlay", &["lowerdir=/no/such"]),
    ] {
        c.request.rootfs = [good.clone(), vec![bad]].concat();
        c.create().unwrap_err();
        assert_eq!(leaks::mounts(&lab.dir).len(), 0);
        assert_eq!(code(c.state()), Code::NOT_FOUND);
    }
    c.request.rootfs = good;
    c.create().unwrap();
}

#[test]
fn a_read_only_bind_is_read_only() {
    let lab = Lab::new();
    let mut c = lab.shim("c1", "touch /x && exit 1; exit 0");
    // The directories that the runtime would have to make are there.
    c.request.rootfs[0].options = vec!["rbind".to_owned(), "ro".to_owned()];
    c.create().unwrap();
    c.start().unwrap();
    assert_eq!(c.wait().unwrap().exit_status, 0);
}

#[test]
fn without_mounts_the_bundles_own_rootfs_is_used() {
    let lab = Lab::new();
    let mut c = lab.shim("c1", "exit 4");
    crate::rootfs::busybox(&c.bundle.join("rootfs"));
    c.request.rootfs.clear();
    c.create().unwrap();
    assert_eq!(leaks::mounts(&lab.dir).len(), 0);
    c.start().unwrap();
    assert_eq!(c.wait().unwrap().exit_status, 4);
    c.delete().unwrap();
    assert!(
        c.bundle.join("rootfs/bin/busybox").exists(),
        "the rootfs is not the shim's to empty"
    );
}

#[test]
fn a_failed_delete_of_nothing_leaves_no_mount() {
    let lab = Lab::new();
    let c = lab.shim("c1", "exec sleep 1000");
    c.create().unwrap();
    assert_eq!(leaks::mounts(&lab.dir), [c.bundle.join("rootfs")]);
    c.delete().unwrap();
    assert_eq!(leaks::mounts(&lab.dir).len(), 0);
    assert_eq!(code(c.delete()), Code::NOT_FOUND);
}
