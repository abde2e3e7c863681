//! The manager's end of a task's fifos.

use crate::shim::eventually;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

pub fn make(path: &Path) -> PathBuf {
    nix::unistd::mkfifo(path, Mode::from_bits_truncate(0o700)).unwrap();
    path.to_owned()
}

/// A fifo that is read to its end by a thread, from before its writer comes.
#[derive(Clone)]
pub struct Output {
    pub path: PathBuf,
    read: Arc<Mutex<(Vec<u8>, bool)>>,
}

impl Output {
    pub fn new(path: &Path) -> Self {
        Self::attach(&make(path))
    }

    /// Reads a fifo that is there already.
    pub fn attach(path: &Path) -> Self {
        let output = Self {
            path: path.to_owned(),
            read: Arc::default(),
        };
        let mut file = open(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK);
        fcntl(&file, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
        let read = output.read.clone();
        thread::spawn(move || {
            let mut buffer = vec![0; 65536];
            loop {
                // Before the first writer a read would say EOF at once, poll waits.
                let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
                poll(&mut fds, PollTimeout::NONE).unwrap();
                let count = file.read(&mut buffer).unwrap();
                let mut read = read.lock().unwrap();
                if count == 0 {
                    read.1 = true;
                    return;
                }
                read.0.extend(&buffer[..count]);
            }
        });
        output
    }

    /// The URI in a request.
    pub fn uri(&self) -> String {
        self.path.display().to_string()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.read.lock().unwrap().0).into_owned()
    }

    /// Waits until what came so far satisfies `enough`.
    pub fn until(&self, enough: impl Fn(&str) -> bool) -> String {
        eventually("output", || {
            let text = self.text();
            if enough(&text) {
                Ok(text)
            } else {
                Err(format!("{text:?}"))
            }
        })
    }

    /// Waits for the end and returns everything.
    pub fn to_end(&self) -> Vec<u8> {
        eventually("end of output", || {
            let read = self.read.lock().unwrap();
            if read.1 {
                Ok(read.0.clone())
            } else {
                Err(format!("{} bytes, no EOF", read.0.len()))
            }
        })
    }
}

/// The writing end of a stdin fifo; opened read-write, as containerd's client does, so that it never waits.
pub struct Input(File);

impl Input {
    pub fn open(path: &Path) -> Self {
        Self(open(path, OFlag::O_RDWR))
    }
    pub fn write(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }
}

fn open(path: &Path, flags: OFlag) -> File {
    OpenOptions::new()
        .read(true)
        .write(flags.contains(OFlag::O_RDWR))
        .custom_flags((flags - OFlag::O_ACCMODE).bits())
        .open(path)
        .unwrap()
}
