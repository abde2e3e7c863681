//! The only unsafe code: one kernel object a file, owned descriptors outside, errors as [`std::io::Error`].
//!
//! Every descriptor made here is close-on-exec. Nothing here keeps state of its own or logs.
#![expect(unsafe_code, reason = "system calls are made here and nowhere else")]

pub mod eventfd;
pub mod fifo;
pub mod file;
pub mod inotify;
pub mod memory;
pub mod loopdev;
pub mod mount;
pub mod proc;
pub mod pty;
pub mod spawn;
pub mod userns;
pub mod wait;
