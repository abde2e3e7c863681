//! Real reuse of a pid: a process of nobody's gets the number of one that has ended.
//!
//! `/proc/sys/kernel/ns_last_pid` is where the kernel goes on counting (proc(5)). Others fork meanwhile, so it is tried until it is
//! the right one.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::poll;

const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";
/// How long it may take until the number is free and had.
const LIMIT: Duration = Duration::from_secs(10);

/// A process that does nothing, under a number that was another's.
#[derive(Debug)]
pub struct Bystander(Child);

impl Bystander {
    /// Starts one that has exactly `pid`, which has ended. `Err` where it could not be had: a process, a thread, or a process
    /// group or session still has the number.
    pub fn with_pid(pid: u32) -> Result<Self, String> {
        let before = pid.checked_sub(1).ok_or("0 is no pid")?.to_string();
        poll::within(LIMIT, || {
            if Path::new(&format!("/proc/{pid}")).exists() {
                return Err(format!("{pid} is in use"));
            }
            let mut sleep = Command::new("sleep");
            sleep
                .arg("100000")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            fs::write(LAST_PID, &before).map_err(|error| format!("{LAST_PID}: {error}"))?;
            let child = sleep.spawn().map_err(|error| error.to_string())?;
            // One with another number is ended again.
            let bystander = Self(child);
            if bystander.pid() == pid {
                Ok(bystander)
            } else {
                Err(format!("{} was given for {pid}", bystander.pid()))
            }
        })
    }

    /// The pid.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Nobody has ended it.
    pub fn is_alive(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
