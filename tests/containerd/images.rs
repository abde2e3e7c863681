//! Root filesystems that the shim mounts: an overlay of the layers of an image.

use crate::support::image::LAYERS;
use crate::support::node::Node;

on_every_containerd![
    an_image_of_several_layers_is_mounted_and_unmounted,
    a_failed_create_unmounts_the_image,
    a_mounted_container_survives_a_crash_of_containerd,
];

fn an_image_of_several_layers_is_mounted_and_unmounted(node: &mut Node) {
    let script = "cat /layer-1 /top; echo changed > /top; cat /top";
    let args = node.run_image_args("layered", &["--rm"], &["/bin/sh", "-c", script]);
    let output = node.ctr(&args);
    assert_eq!(
        (output.code, output.stdout),
        (Some(0), format!("1\n{}\nchanged\n", LAYERS - 1)),
        "{}",
        output.stderr
    );
}

fn a_failed_create_unmounts_the_image(node: &mut Node) {
    let args = node.run_image_args("absent", &["--rm"], &["/bin/no-such-program"]);
    assert_ne!(node.ctr(&args).code, Some(0));
    drop(node.ctr(&["container", "delete", "absent"]));
}

fn a_mounted_container_survives_a_crash_of_containerd(node: &mut Node) {
    let args = node.run_image_args("layered", &["--detach"], &["/bin/sleep", "1000"]);
    node.ctr(&args).ok();
    let pid = node.pid("layered");
    node.kill9();
    node.restart();
    assert_eq!(node.task("layered").unwrap(), (pid, "RUNNING".to_owned()));
    assert_eq!(
        node.exec("layered", "probe", &["/bin/cat", "/layer-2"])
            .stdout,
        "2\n"
    );
    assert_eq!(node.destroy("layered"), 137);
}
