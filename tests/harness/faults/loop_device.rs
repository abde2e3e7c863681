//! A loop device over a file (loop(4)): detached when it is dropped, or, while a filesystem on it is still in use, by the
//! kernel as soon as that ends.

use std::path::Path;

use super::{tool, try_tool};

/// A loop device that is attached.
#[derive(Debug)]
pub struct LoopDevice(String);

impl LoopDevice {
    /// Attaches the first free device to `file`.
    pub fn attach(file: &Path) -> Self {
        Self(tool(
            "losetup",
            &["--find".as_ref(), "--show".as_ref(), file.as_os_str()],
        ))
    }

    /// `/dev/loopN`.
    pub fn path(&self) -> &str {
        &self.0
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        if let Err(why) = try_tool("losetup", &["--detach", &self.0]) {
            println!("{why}");
        }
    }
}
