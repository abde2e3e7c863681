//! `outlive remove-dir PATH`: rmdir(2) in a process of its own.
//!
//! Owns: the program, and the call of it. For the directory that a container's root filesystem was mounted on: rmdir(2)
//! takes away what other mount namespaces have mounted there (mount_namespaces(7)). The last mount of a filesystem is taken
//! away when the medium has all that is to be written, and until then the caller does not come back from the kernel, not
//! even to be killed. The supervisor must be able to go on, and to die, meanwhile.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::program::Program;

/// The hidden subcommand that is this program. Its exit code is the error number, 0 where the directory is gone.
pub const SUBCOMMAND: &str = "remove-dir";
/// How long it may take before it is left to itself.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many run at the same time: any number of containers may have ended when the supervisor starts.
static PLACES: Semaphore = Semaphore::const_new(32);
/// Where there is no error number, or it is larger than an exit code.
const FAILED: u8 = u8::MAX;

/// What the subcommand does.
#[must_use]
pub fn run(path: &OsStr) -> ExitCode {
    match std::fs::remove_dir(path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error
            .raw_os_error()
            .and_then(|number| u8::try_from(number).ok())
            .unwrap_or(FAILED)
            .into(),
    }
}

/// Removes an empty directory, by that program, which is given two seconds and may wait for a medium after that.
///
/// # Errors
/// What rmdir(2) answered; `TimedOut` where the directory is still there after that.
pub async fn remove_dir(path: &Path) -> io::Result<()> {
    // The semaphore is never closed.
    let _place = PLACES.acquire().await;
    // Not the path: an upgrade may have put another program there, which may not know this subcommand.
    let mut command = Command::new("/proc/self/exe");
    command
        .args([OsStr::new(SUBCOMMAND), path.as_os_str()])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let (mut remover, _) = Program::start(command)?;
    let Ok(ended) = tokio::time::timeout(PATIENCE, remover.wait()).await else {
        return match path.try_exists()? {
            false => Ok(()),
            true => Err(io::ErrorKind::TimedOut.into()),
        };
    };
    let status = ended?;
    match status.code() {
        Some(0) => Ok(()),
        Some(number) if number != i32::from(FAILED) => Err(io::Error::from_raw_os_error(number)),
        _ => Err(io::Error::other(format!("{SUBCOMMAND}: {status}"))),
    }
}
