//! A umount(2) that takes as long as one wishes: a filesystem is mounted inside a container's root filesystem, with
//! something to be written that its device does not take.
//!
//! Whoever takes the root filesystem apart (the shim, when the task is deleted; `shim delete`, when the shim is dead) unmounts
//! it first, and the kernel writes what is dirty before umount(2) returns: that waits for the medium, which is frozen. Nobody
//! else shares the device, so nobody else waits. The waiting thread cannot be killed until [`SlowUmount::thaw`]; its process stays a
//! process, deaf to SIGKILL, for as long.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use super::backing::{Backing, unmount};
use super::loop_device::LoopDevice;
use super::tool;
use crate::support::poll;

const BYTES: u64 = 16 << 20;

/// A mount that cannot be taken away before it is thawed.
#[derive(Debug)]
pub struct SlowUmount {
    at: PathBuf,
    _device: LoopDevice,
    backing: Backing,
}

impl SlowUmount {
    /// Mounts it below `rootfs`, which is the `rootfs` of a running container's bundle, with that `propagation`: shared, as
    /// everything is where systemd runs, or private. A copy of the mounts in another mount namespace goes with a shared one. From
    /// a private one only the namespace's own end, or the rmdir(2) of the directory below, takes the copy away.
    pub fn below(rootfs: &Path, propagation: MsFlags) -> Self {
        let at = rootfs.join("slow");
        fs::create_dir(&at).unwrap();
        let none = None::<&str>;
        mount(none, rootfs, none, propagation, none).unwrap();
        let mut backing = Backing::new(BYTES);
        tool(
            "mkfs.ext4",
            &[
                "-q".as_ref(),
                "-O".as_ref(),
                "^has_journal".as_ref(),
                backing.image().as_os_str(),
            ],
        );
        let device = LoopDevice::attach(&backing.image());
        mount(
            Some(device.path()),
            &at,
            Some("ext4"),
            MsFlags::empty(),
            None::<&str>,
        )
        .unwrap();
        // A file is dirty for seconds before the kernel writes it by itself; when it does, it waits as umount(2) does.
        let mut dirty = File::create(at.join("dirty")).unwrap();
        backing.freeze();
        dirty.write_all(&[1; 1 << 16]).unwrap();
        Self {
            at,
            _device: device,
            backing,
        }
    }

    /// Somebody has begun to take it away, and waits.
    pub fn is_awaited(&self) -> bool {
        !mounted(&self.at)
    }

    /// Waits until somebody waits.
    pub fn until_awaited(&self) {
        poll::until("the slow mount is taken away", || {
            self.is_awaited()
                .then_some(())
                .ok_or_else(|| "it is there".to_owned())
        });
    }

    /// Lets it go.
    pub fn thaw(&mut self) {
        self.backing.recover();
    }
}

impl Drop for SlowUmount {
    fn drop(&mut self) {
        self.backing.recover();
        if mounted(&self.at) {
            unmount(&self.at);
        }
    }
}

fn mounted(at: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points.any(|point| Path::new(point) == at)
}
