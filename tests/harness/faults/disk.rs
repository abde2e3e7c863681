//! A small disk: a tmpfs of its own over a directory, which can be filled to the last page and freed again. What is
//! written to it meanwhile is answered ENOSPC by the kernel.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use super::backing::unmount;

/// Its name begins with a dot: directories of containers, pods and logs are listed, and what is hidden is nobody's.
const BALLAST: &str = ".ballast";

/// A disk of few bytes.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of `bytes` on `at`, which is made where it is missing. What was in there is hidden while this lives.
    pub fn mount(at: &Path, bytes: u64) -> Self {
        fs::create_dir_all(at).unwrap();
        let options = format!("size={bytes},mode=0700");
        mount(
            Some("small-disk"),
            at,
            Some("tmpfs"),
            MsFlags::empty(),
            Some(&*options),
        )
        .unwrap();
        Self(at.to_owned())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Takes all that is free. Names can still be made, as on any disk whose inodes were made before; what has room in
    /// its last page (4 KiB) still takes as much.
    pub fn fill(&self) {
        let mut options = OpenOptions::new();
        let path = self.0.join(BALLAST);
        let mut ballast = options.create(true).append(true).open(path).unwrap();
        for size in [1 << 20, 1 << 12, 1] {
            let chunk = vec![0; size];
            loop {
                match ballast.write_all(&chunk) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => panic!("{}: {error}", self.0.display()),
                }
            }
        }
    }

    /// Gives it back.
    pub fn free(&self) {
        let path = self.0.join(BALLAST);
        match OpenOptions::new().write(true).open(&path) {
            // Emptied first: a child of another thread's has the file open too, from its fork to its exec.
            Ok(ballast) => ballast.set_len(0).unwrap(),
            Err(error) if error.kind() == ErrorKind::NotFound => return,
            Err(error) => panic!("{}: {error}", path.display()),
        }
        fs::remove_file(path).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(fs::remove_file(self.0.join(BALLAST)));
        unmount(&self.0);
    }
}
