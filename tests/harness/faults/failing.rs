//! A disk that answers EIO: to write(2), or to fsync(2), and nothing else; and works again afterwards, undamaged.
//!
//! ```text
//! good medium      -> loop device -> XFS's log: metadata is journaled there, and never fails
//! failing Backing  -> loop device -> XFS's data
//! ```
//!
//! XFS, because its log can be elsewhere and because it writes metadata again until it succeeds (xfs(5), `max_retries`):
//! names can be made, renamed and removed while data fails, and no directory is left with an entry of nothing, as
//! ext2 and ext4 without a journal leave it. ext4 with a journal would turn read-only for good. Where the backing file lies on
//! a full filesystem, the error would be ENOSPC and not EIO.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use super::backing::{Backing, unmount};
use super::loop_device::LoopDevice;
use super::{place, tool, try_tool};

/// The smallest that mkfs.xfs(8) makes.
const DATA_BYTES: u64 = 300 << 20;
const LOG_BYTES: u64 = 64 << 20;

/// Which call is answered with EIO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailsAt {
    /// write(2): mounted `sync`, so that each waits for the disk. As from a disk that is known to be bad: the page cache
    /// keeps what was refused, so the file may show bytes of it until they leave memory.
    Write,
    /// fsync(2), once for what was written since: the page cache takes all writes (fsync(2), ERRORS).
    Fsync,
}

/// A disk over a directory.
#[derive(Debug)]
pub struct FailingDisk {
    at: PathBuf,
    log: PathBuf,
    // In the order in which they are given up.
    _devices: [LoopDevice; 2],
    backing: Backing,
}

impl FailingDisk {
    /// Mounts one on `at`, which is made where it is missing. It works. What was in there is hidden while this lives.
    pub fn mount(at: &Path, fails_at: FailsAt) -> Self {
        fs::create_dir_all(at).unwrap();
        let backing = Backing::new(DATA_BYTES);
        let log = place("log");
        let file = log.join("log.img");
        File::create(&file).unwrap().set_len(LOG_BYTES).unwrap();
        let devices = [
            LoopDevice::attach(&backing.image()),
            LoopDevice::attach(&file),
        ];
        let [data, journal] = devices.each_ref().map(LoopDevice::path);
        let external = format!("logdev={journal},size={LOG_BYTES}");
        tool("mkfs.xfs", &["-q", "-K", "-l", &external, data]);
        let flags = match fails_at {
            FailsAt::Write => MsFlags::MS_SYNCHRONOUS,
            FailsAt::Fsync => MsFlags::empty(),
        };
        let options = format!("logdev={journal}");
        mount(Some(data), at, Some("xfs"), flags, Some(&*options)).unwrap();
        Self {
            at: at.to_owned(),
            log,
            _devices: devices,
            backing,
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// What is written from now on fails.
    pub fn fail(&mut self) {
        // Not what was written before. The error of an earlier failure is told here once more, and means nothing now.
        drop(try_tool(
            "sync",
            &["--file-system".as_ref(), self.at.as_os_str()],
        ));
        self.backing.refuse();
    }

    /// It works again.
    pub fn heal(&mut self) {
        self.backing.recover();
    }
}

impl Drop for FailingDisk {
    fn drop(&mut self) {
        // Else the unmounting would try for ever to write metadata.
        self.backing.recover();
        unmount(&self.at);
        drop(fs::remove_dir_all(&self.log));
    }
}
