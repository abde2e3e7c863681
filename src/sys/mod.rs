//! The only unsafe code: one kernel object a file, owned descriptors outside, errors as [`std::io::Error`].
//!
//! Every descriptor made here is close-on-exec. Nothing here logs.
#![expect(unsafe_code, reason = "system calls are made here and nowhere else")]

pub mod accept;
pub mod dispositions;
pub mod eventfd;
pub mod fdpass;
pub mod fifo;
pub mod file;
pub mod inotify;
pub mod limits;
pub mod listener;
pub mod loopdev;
pub mod memory;
pub mod mount;
pub mod namespace;
pub mod opaque;
pub mod pid_one;
pub mod pidfd;
pub mod pipe;
pub mod prctl;
pub mod proc;
pub mod pty;
pub mod readiness;
pub mod signals;
pub mod socket;
pub mod spawn;
pub mod splice;
pub mod umask;
pub mod userns;
pub mod wait;
pub mod worker;
pub mod xattr;
