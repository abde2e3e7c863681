//! A root filesystem of one static busybox, as Debian's package `busybox-static` has it.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::program;

/// Fills `dir` with /bin/busybox, a link for each of its applets, and the directories that a container mounts over.
pub fn busybox(dir: &Path) {
    for name in [
        "bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "var",
    ] {
        std::fs::create_dir_all(dir.join(name)).unwrap();
    }
    let applets = Command::new("/bin/busybox")
        .arg("--list")
        .output()
        .expect("Debian's package busybox-static is installed");
    program::copy(Path::new("/bin/busybox"), &dir.join("bin/busybox"));
    for applet in String::from_utf8(applets.stdout)
        .unwrap()
        .lines()
        .filter(|name| *name != "busybox")
    {
        symlink("busybox", dir.join("bin").join(applet)).unwrap();
    }
    std::fs::write(dir.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
    std::fs::write(dir.join("etc/group"), "root:x:0:\n").unwrap();
}
