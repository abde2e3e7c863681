//! Loop devices: an image file as a block device (loop(4)).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;

/// What may be done through the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading only; the image is opened so, too.
    ReadOnly,
    /// Reading and writing.
    ReadWrite,
}

/// How the device reads and writes its image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageIo {
    /// Through the page cache.
    Cached,
    /// Past the page cache (O_DIRECT), where the image's filesystem can.
    Direct,
}

/// A device that shows an image; it detaches by itself at the last close or unmount.
#[derive(Debug)]
pub struct LoopDevice {
    /// `/dev/loopN`.
    pub path: PathBuf,
    /// Keeps the device attached until it is mounted.
    _open: File,
}

/// Between "this number is free" and taking it any other process may take it.
const ATTEMPTS: u32 = 100;
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Attaches `image` to a free device. Blocks, up to two seconds where others keep taking the free devices.
///
/// # Errors
/// What opening the image, `/dev/loop-control` or the device answered, or loop(4)'s ioctl(2)s; `EBUSY` where no
/// attempt found a device that stayed free.
pub fn attach(image: &Path, access: Access, io: ImageIo) -> io::Result<LoopDevice> {
    let image_file = open(image, access)?;
    let control = open(Path::new("/dev/loop-control"), Access::ReadWrite)?;
    for attempt in 0..ATTEMPTS {
        let number = ioctl(control.as_fd(), LOOP_CTL_GET_FREE, 0)?;
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let attached = open(&path, access).and_then(|device| {
            configure(
                device.as_fd(),
                image_file.as_fd(),
                &Info64::new(image, access, io),
            )?;
            Ok(device)
        });
        match attached {
            Ok(device) => {
                return Ok(LoopDevice {
                    path,
                    _open: device,
                });
            }
            Err(error) if taken(&error) => {
                std::thread::sleep(Duration::from_millis(attempt.into()).min(LONGEST_PAUSE));
            }
            Err(error) => return Err(error),
        }
    }
    Err(Errno::EBUSY.into())
}

/// Whether somebody else attached (`EBUSY`) or removed (`ENXIO`) the device in between.
fn taken(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBUSY | libc::ENXIO))
}

fn open(path: &Path, access: Access) -> io::Result<File> {
    File::options()
        .read(true)
        .write(access == Access::ReadWrite)
        .open(path)
}

/// LOOP_CONFIGURE does all in one step; kernels before 5.8 need two.
fn configure(device: BorrowedFd<'_>, image: BorrowedFd<'_>, info: &Info64) -> io::Result<()> {
    let config = Config {
        fd: u32::try_from(image.as_raw_fd()).map_err(io::Error::other)?,
        block_size: 0,
        info: *info,
        reserved: [0; 8],
    };
    match ioctl_reading(device, LOOP_CONFIGURE, &config) {
        Ok(_) => return Ok(()),
        Err(error) if !matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOTTY)) => {
            return Err(error);
        }
        Err(_) => {}
    }
    let image = usize::try_from(image.as_raw_fd()).map_err(io::Error::other)?;
    ioctl(device, LOOP_SET_FD, image)?;
    let told = set_status(device, info);
    if told.is_err() {
        // The first error is the one to tell; a device that stays attached after this one has no more to say.
        ioctl(device, LOOP_CLR_FD, 0).ok();
    }
    told
}

/// EAGAIN: the kernel is still writing back what was read through the device before it had these settings.
fn set_status(device: BorrowedFd<'_>, info: &Info64) -> io::Result<()> {
    let mut attempt = 0;
    loop {
        match ioctl_reading(device, LOOP_SET_STATUS64, info) {
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) && attempt < ATTEMPTS => {
                attempt += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            other => return other.map(drop),
        }
    }
}

/// A request whose argument is a number.
fn ioctl(fd: BorrowedFd<'_>, request: libc::Ioctl, argument: usize) -> io::Result<libc::c_int> {
    // SAFETY: `fd` is open, and `request` takes `argument` as a number.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request, argument) };
    Ok(Errno::result(result)?)
}

/// A request that reads a structure.
fn ioctl_reading<T>(
    fd: BorrowedFd<'_>,
    request: libc::Ioctl,
    argument: &T,
) -> io::Result<libc::c_int> {
    // SAFETY: `fd` is open; `argument` has the shape that `request` reads, which its caller chose with it, and is borrowed
    // for the length of the call.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request, &raw const *argument) };
    Ok(Errno::result(result)?)
}

// From `linux/loop.h`.
const LOOP_SET_FD: libc::Ioctl = 0x4c00;
const LOOP_CLR_FD: libc::Ioctl = 0x4c01;
const LOOP_SET_STATUS64: libc::Ioctl = 0x4c04;
const LOOP_CONFIGURE: libc::Ioctl = 0x4c0a;
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4c82;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;
const LO_NAME_SIZE: usize = 64;

/// `struct loop_info64`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Info64 {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; LO_NAME_SIZE],
    crypt_name: [u8; LO_NAME_SIZE],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info64,
    reserved: [u64; 8],
}

impl Info64 {
    fn new(image: &Path, access: Access, io: ImageIo) -> Self {
        let mut flags = LO_FLAGS_AUTOCLEAR;
        if access == Access::ReadOnly {
            flags |= LO_FLAGS_READ_ONLY;
        }
        if io == ImageIo::Direct {
            flags |= LO_FLAGS_DIRECT_IO;
        }
        // Only for people to look at, so a name that is too long is cut; the last byte stays 0.
        let mut file_name = [0; LO_NAME_SIZE];
        let name = image.as_os_str().as_bytes().iter().take(LO_NAME_SIZE - 1);
        file_name
            .iter_mut()
            .zip(name)
            .for_each(|(to, from)| *to = *from);
        Self {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            size_limit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags,
            file_name,
            crypt_name: [0; LO_NAME_SIZE],
            encrypt_key: [0; 32],
            init: [0; 2],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_have_the_sizes_of_the_kernel_header() {
        assert_eq!(size_of::<Info64>(), 232);
        assert_eq!(size_of::<Config>(), 304);
    }
}
