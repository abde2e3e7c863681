//! Full and failing disks, without a supervisor: what the kernel answers.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use nix::errno::Errno;

use crate::faults::disk::SmallDisk;
use crate::faults::failing::{FailingDisk, FailsAt};

/// A directory that is removed.
struct Place(std::path::PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("outlive-faults-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Empty again: what was mounted there is gone.
        fs::remove_dir(&self.0).unwrap();
    }
}

fn append(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    file.write_all(bytes)?;
    Ok(file)
}

fn errno<T>(result: io::Result<T>) -> Errno {
    result
        .err()
        .and_then(|error| error.raw_os_error())
        .map_or(Errno::UnknownErrno, Errno::from_raw)
}

#[test]
fn a_full_disk_answers_enospc_and_is_writable_again_after_free() {
    let place = Place::new("full");
    let disk = SmallDisk::mount(&place.0, 1 << 20);
    let file = disk.path().join("file");
    append(&file, b"before").unwrap();
    for _ in 0..2 {
        disk.fill();
        assert_eq!(errno(append(&file, &[b'x'; 8192])), Errno::ENOSPC);
        assert_eq!(
            errno(fs::write(disk.path().join("new"), "x")),
            Errno::ENOSPC
        );
        disk.free();
        append(&file, &[b'x'; 8192]).unwrap();
        fs::write(disk.path().join("new"), "x").unwrap();
        fs::remove_file(disk.path().join("new")).unwrap();
    }
    assert!(fs::read(&file).unwrap().starts_with(b"before"));
    drop(disk);
    assert!(!file.exists());
}

#[test]
fn a_failing_disk_answers_eio_to_write_and_to_nothing_else_and_heals() {
    let place = Place::new("write");
    let mut disk = FailingDisk::mount(&place.0, FailsAt::Write);
    let file = disk.path().join("file");
    append(&file, b"before").unwrap();
    for _ in 0..2 {
        disk.fail();
        assert_eq!(errno(append(&file, b"lost")), Errno::EIO);
        assert_eq!(errno(fs::write(disk.path().join("new"), "x")), Errno::EIO);
        // Names are not data.
        fs::rename(disk.path().join("new"), disk.path().join("renamed")).unwrap();
        fs::remove_file(disk.path().join("renamed")).unwrap();
        fs::create_dir(disk.path().join("dir")).unwrap();
        File::open(disk.path()).unwrap().sync_all().unwrap();
        fs::remove_dir(disk.path().join("dir")).unwrap();
        assert!(fs::read(&file).unwrap().starts_with(b"before"));
        disk.heal();
        append(&file, b"after").unwrap().sync_all().unwrap();
    }
    assert!(fs::read(&file).unwrap().ends_with(b"after"));
}

#[test]
fn a_failing_disk_answers_eio_to_fsync_and_heals() {
    let place = Place::new("fsync");
    let mut disk = FailingDisk::mount(&place.0, FailsAt::Fsync);
    let file = disk.path().join("file");
    for _ in 0..2 {
        append(&file, b"before").unwrap().sync_all().unwrap();
        disk.fail();
        let written = append(&file, b"lost").unwrap();
        assert_eq!(errno(written.sync_all()), Errno::EIO);
        // Told once (fsync(2)).
        written.sync_all().unwrap();
        disk.heal();
        append(&file, b"after").unwrap().sync_all().unwrap();
    }
}
