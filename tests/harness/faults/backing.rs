//! The medium under a filesystem, which can be made to refuse all writes, or to let them wait.
//!
//! ```text
//! DIR/medium.img (sparse) -> loop device -> ext4 on DIR/medium -> DIR/medium/image -> the loop device of a user of this
//! ```
//!
//! ext4 asks for the immutable flag at each write(2), also of a file that is open (`ext4_write_checks`, fs/ext4/file.c):
//! EPERM, which the loop driver answers as an I/O error, and so EIO reaches whoever writes to the filesystem above. A
//! frozen ext4 (FIFREEZE, fsfreeze(8)) lets the same write wait until it is thawed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::loop_device::LoopDevice;
use super::{place, tool, try_tool};

/// A file for a loop device, on a filesystem that nothing else uses.
#[derive(Debug)]
pub struct Backing {
    dir: PathBuf,
    frozen: bool,
    refusing: bool,
    _device: LoopDevice,
}

impl Backing {
    /// Makes an image of `bytes`, of which none is allocated.
    pub fn new(bytes: u64) -> Self {
        let dir = place("medium");
        let (file, at) = (dir.join("medium.img"), dir.join("medium"));
        fs::create_dir(&at).unwrap();
        // Room for the metadata of a filesystem as well.
        File::create(&file)
            .unwrap()
            .set_len(bytes + bytes / 4 + (16 << 20))
            .unwrap();
        tool(
            "mkfs.ext4",
            &[
                "-q".as_ref(),
                "-O".as_ref(),
                "^has_journal".as_ref(),
                file.as_os_str(),
            ],
        );
        let device = LoopDevice::attach(&file);
        mount(
            Some(device.path()),
            &at,
            Some("ext4"),
            MsFlags::empty(),
            None::<&str>,
        )
        .unwrap();
        let backing = Self {
            dir,
            frozen: false,
            refusing: false,
            _device: device,
        };
        File::create(backing.image())
            .unwrap()
            .set_len(bytes)
            .unwrap();
        backing
    }

    /// The file.
    pub fn image(&self) -> PathBuf {
        self.filesystem().join("image")
    }

    fn filesystem(&self) -> PathBuf {
        self.dir.join("medium")
    }

    /// From now on every write fails.
    pub fn refuse(&mut self) {
        tool("chattr", &["+i".as_ref(), self.image().as_os_str()]);
        self.refusing = true;
    }

    /// From now on every write waits. Whoever waits does so in the kernel, and cannot be killed.
    pub fn freeze(&mut self) {
        tool(
            "fsfreeze",
            &["--freeze".as_ref(), self.filesystem().as_os_str()],
        );
        self.frozen = true;
    }

    /// Takes writes again, those that wait first.
    pub fn recover(&mut self) {
        if self.frozen {
            tool(
                "fsfreeze",
                &["--unfreeze".as_ref(), self.filesystem().as_os_str()],
            );
            self.frozen = false;
        }
        if self.refusing {
            tool("chattr", &["-i".as_ref(), self.image().as_os_str()]);
            self.refusing = false;
        }
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        let at = self.filesystem();
        if self.frozen {
            drop(try_tool(
                "fsfreeze",
                &["--unfreeze".as_ref(), at.as_os_str()],
            ));
        }
        if self.refusing {
            drop(try_tool(
                "chattr",
                &["-i".as_ref(), self.image().as_os_str()],
            ));
        }
        unmount(&at);
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            println!("{}: {error}", self.dir.display());
        }
    }
}

/// Takes a mount away at once; while somebody uses it, its filesystem lives on.
pub fn unmount(at: &Path) {
    if let Err(error) = umount2(at, MntFlags::MNT_DETACH) {
        println!("{}: {error}", at.display());
    }
}
